"""What a part costs: seconds, CPU and peak memory, measured in a process that does nothing else."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
_EVERY_S = 0.25


@dataclass(kw_only=True, slots=True)
class Figures:
    """Of one part: seconds, seconds of CPU of all its processes, their peak memory in MB, and the events it took (0:
    all there were).
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    events: int = 0


@contextmanager
def measuring(server: int | None = None) -> Iterator[Figures]:
    """Measure the block: this process and its children, and those of the process number ``server`` where there is one.

    Peak memory is this process's from its start on, or the server's; that of several processes is what is seen of it
    four times a second.
    """
    measured = psutil.Process(server)
    roots = [psutil.Process(), *([measured] if server else [])]
    found, done = Figures(), threading.Event()

    def watch() -> None:
        while not done.wait(_EVERY_S):
            found.peak_mb = max(found.peak_mb, _memory_mb(measured))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    cpu_s, began = _cpu_s(roots), time.perf_counter()
    yield found
    found.wall_s, found.cpu_s = time.perf_counter() - began, _cpu_s(roots) - cpu_s
    done.set()
    watcher.join()
    found.peak_mb = max(found.peak_mb, _memory_mb(measured), 0.0 if server else _own_peak_mb())


def run(module: str, *arguments: object) -> dict[str, Figures]:
    """Run a module of this package in a process of its own; what it told by ``tell``, by part."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(f"{' '.join(command)}\n{ended.stdout}{ended.stderr}")
    return {part: Figures(**figures) for part, figures in json.loads(ended.stdout.splitlines()[-1]).items()}


def tell(**parts: Figures) -> None:
    """Say what was measured, as the process's last line."""
    print(json.dumps({part: asdict(figures) for part, figures in parts.items()}))


def _with_children(root: psutil.Process) -> list[psutil.Process]:
    return [root, *root.children(recursive=True)]


def _cpu_s(roots: Sequence[psutil.Process]) -> float:
    """Of these processes, their living children, and those that have ended."""
    total = 0.0
    for process in chain.from_iterable(map(_with_children, roots)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _memory_mb(root: psutil.Process) -> float:
    """Of a process and its children: what each has for itself, and once the most that one of them shares (libraries, a
    database's buffers).
    """
    own = shared = 0
    for process in _with_children(root):
        try:
            memory = process.memory_info()
        except psutil.NoSuchProcess:
            continue
        own += memory.rss - getattr(memory, "shared", 0)
        shared = max(shared, getattr(memory, "shared", 0))
    return float(own + shared) / 2**20


def _own_peak_mb() -> float:
    """This process's. Linux's ``ru_maxrss`` begins with that of the process that started it, so it is asked last."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
