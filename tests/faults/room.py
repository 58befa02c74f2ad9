"""A disk that is full, in every step: a small file system of its own where one can be mounted, else a bound on the size
of every file that the process writes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.faults import work
from tests.faults.tally import Tally
from tests.faults.work import Where
from tests.faults.worlds import LINES, LONG_S, World

ROOMS_KB = (0, 4, 16, 48, 128, 256, 512)
"""So much room is left when a step begins."""
_MORE_KB = 32_768
_WORDS = ("no room left", "Make room", "run the same again")


def full_disks(world: World, step: str, rooms_kb: Sequence[int] = ROOMS_KB) -> Tally:
    """A step with less and less room, each in a home of its own; then room is made, and it is taken again.

    Counted are the times at which it failed; it must say so in words.
    """
    tally = Tally(kind=f"disk full: {step}", database=world.engine)
    for room in rooms_kb:
        with small_disk(world, world.before[step]) as disk:
            said = world.folder / "said-of-room"
            said.unlink(missing_ok=True)
            status = disk.step(LINES[step], said, room)
            if status == 0:
                break
            disk.make_room()
            what = f"{step} with {room} KB"
            words = said.read_text(errors="replace")
            if "Traceback" in words or not all(word in words for word in _WORDS):
                tally.wrong.append(f"{what}: ended with {status}, and said: {words[-600:]}")
            tally.compare(what, world.undisturbed[step].rows, world.finish(disk.where, [LINES[step]]))
    return tally


class Disk:
    """A home on a disk that can be filled."""

    def __init__(self, world: World, where: Where, mounted: Path | None) -> None:
        self.where, self._world, self._mounted = where, world, mounted

    def step(self, line: list[str], said: Path, room_kb: int) -> int | None:
        """Give a command with so much room, and its status."""
        bound = None if self._mounted else room_kb * 1024
        if self._mounted:
            self._fill(self._mounted, room_kb * 1024)
        process = self._world.forks.Process(target=work.bounded, args=(self.where, [line], said, bound))
        process.start()
        process.join(LONG_S)
        return process.exitcode

    def make_room(self) -> None:
        """Delete what fills it."""
        if self._mounted:
            (self._mounted / "filler").unlink(missing_ok=True)

    @staticmethod
    def _fill(folder: Path, leave: int) -> None:
        free = os.statvfs(folder)
        size = free.f_bavail * free.f_frsize - leave
        with (folder / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, max(size, 1))


@contextmanager
def small_disk(world: World, source: Where) -> Iterator[Disk]:
    """A copy of a home on a disk of its own."""
    mounted = _mounted(world.folder / "disk", source.home)
    where = world.copy(source, (mounted or world.folder / "disk") / "home")
    try:
        yield Disk(world, where, mounted)
    finally:
        world.drop(where)
        if mounted:
            subprocess.run(["umount", str(mounted)], check=True)
        shutil.rmtree(world.folder / "disk", ignore_errors=True)


def _mounted(folder: Path, home: Path) -> Path | None:
    """A file system that a home fits into with some room, or None where we may not mount one."""
    folder.mkdir(exist_ok=True)
    size_kb = sum(path.stat().st_size for path in home.rglob("*")) // 1024 + _MORE_KB
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, check=False, capture_output=True)
    except FileNotFoundError:
        return None
    return folder if done.returncode == 0 else None
