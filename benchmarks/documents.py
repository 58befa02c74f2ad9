"""Documents: invoices a second and core with their XML, beside other ways to make the same page, in one run.

    python -m benchmarks documents [--invoices 500] [--rounds 3] [--memory 5000]

Each way runs in a process of its own (``contenders.py`` says what each does). The table has medians of the rounds:
documents per second of CPU, CPU and elapsed ms a document, peak memory of the process and its children, size. A way
whose program is not on this machine is left out, and said.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
from statistics import median

from benchmarks.contenders import CONTENDERS, chromium

# As many as make a run of some seconds; the slow ones need no more to be known.
_SHARES = {
    "ours": 1.0,
    "ours_public": 0.4,
    "typst": 1.0,
    "naive": 0.2,
    "chromium_warm": 0.4,
    "chromium_tab": 0.2,
    "chromium_each": 0.02,
}
_SHAPES = (
    ("plain", 10, "one page, 10 lines"),
    ("statement", 5, "two pages, 5 lines, 3 charts"),
    ("statement", 10, "two pages, 10 lines, 3 charts"),
)
_MEMORY_LINES = 5


def main() -> None:
    """Measure and print; nothing is written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--invoices", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, default=5_000, help="documents in one process; 0: not measured")
    chosen = parser.parse_args()
    _install_chromium()
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}")
    for pages, lines, what in _SHAPES:
        print(f"\n{what}: {chosen.invoices} invoices, medians of {chosen.rounds}")
        _table(chosen.invoices, chosen.rounds, pages, lines)
    if chosen.memory:
        _memory(chosen.memory)


def _table(invoices: int, rounds: int, pages: str, lines: int) -> None:
    print(f"{'':14} {'docs/s/core':>11} {'CPU ms':>8} {'ms':>8} {'peak MB':>8} {'KB':>6}")
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):  # in turn, so that a busy minute is not one contender's alone
        for name in CONTENDERS:
            if (found := _run(name, max(3, int(invoices * _SHARES[name])), pages, lines)) is not None:
                runs[name].append(found)
    for name, each in runs.items():
        if not each:
            print(f"{name:14} not on this machine")
            continue
        cpu_ms, ms, peak_mb, kb = (median(one[key] for one in each) for key in ("cpu_ms", "ms", "peak_mb", "kb"))
        print(f"{name:14} {1000 / cpu_ms:11.1f} {cpu_ms:8.1f} {ms:8.1f} {peak_mb:8.0f} {kb:6.0f}")


def _run(name: str, count: int, pages: str, lines: int) -> dict[str, float] | None:
    if name.startswith("chromium") and chromium() is None:
        return None
    command = [sys.executable, "-m", "benchmarks.contenders", name, str(count), str(lines), pages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        "cpu_ms": found["cpu_s"] * 1000 / found["documents"],
        "ms": found["wall_s"] * 1000 / found["documents"],
        "peak_mb": found["peak_mb"],
        "kb": found["bytes"] / found["documents"] / 1024,
    }


def _memory(documents: int) -> None:
    """Resident memory of one process after 100 two-page documents and after all of them."""
    command = [sys.executable, "-m", "benchmarks.contenders", "memory", str(documents), str(_MEMORY_LINES), "statement"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    growth = found["after_all_mb"] / found["after_100_mb"] - 1
    print(
        f"\nmemory: {found['after_100_mb']:.0f} MB after 100 documents, {found['after_all_mb']:.0f} MB after "
        f"{documents:,} ({growth:+.1%})"
    )


def _install_chromium() -> None:
    """Debian's, where this may be done; it is there for the comparison only."""
    if chromium() is None and shutil.which("apt-get"):
        command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "chromium"]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            subprocess.run(["apt-get", "update", "-qq"], capture_output=True, check=False)
            subprocess.run(command, capture_output=True, check=False)


if __name__ == "__main__":
    main()
