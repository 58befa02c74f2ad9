"""Processes killed by SIGKILL in every step: at each commit point by themselves, and at random moments from outside."""

from __future__ import annotations

import random
import signal
import time

from tests.faults import work
from tests.faults.tally import Tally
from tests.faults.work import Where
from tests.faults.worlds import LINES, LONG_S, POINTS, World, after

DOCUMENTS_EVERY = 6
"""In one round of so many the scenario goes on to its end, and all documents are made again."""


def kills(world: World, step: str, count: int, drawn: random.Random) -> Tally:
    """Kill a step so many times, each time in a home of its own; take it again, and compare.

    A third dies at commit points, each time a later one; the others at random moments.
    """
    tally = Tally(kind=f"kill: {step}", database=world.engine)
    points, times, number = POINTS[step], 1, 0
    while tally.tried < count:
        with world.copied(world.before[step]) as where:
            if number % 3 == 0:
                point = points[number // 3 % len(points)]
                what = f"{step} killed at {point!r} ({times})"
                killed = _at_point(world, where, step, point, times)
                times = times % 3 + 1 if number // 3 % len(points) == len(points) - 1 else times
            else:
                moment = drawn.uniform(0, world.seconds[step])
                what = f"{step} killed after {moment:.3f} s"
                killed = _at_moment(world, where, step, moment)
            number += 1
            if killed:
                _finish(world, tally, where, step, what)
    return tally


def _finish(world: World, tally: Tally, where: Where, step: str, what: str) -> None:
    """Take the step again, in some rounds also all that follows, and compare with the run that nobody disturbed."""
    whole = tally.tried % DOCUMENTS_EVERY == 0
    lines = [LINES[step], *(after(step) if whole else [])]
    wanted = world.undisturbed["render" if whole else step]
    tally.compare(what, wanted.rows, world.finish(where, lines, documents=whole))


def _at_point(world: World, where: Where, step: str, point: str, times: int) -> bool:
    """Whether the process died at the point; it does not come there so often in every step."""
    arguments = (where, [LINES[step]], world.said, point, times)
    process = world.forks.Process(target=work.killed_at, args=arguments)
    process.start()
    process.join(LONG_S)
    return process.exitcode == -signal.SIGKILL


def _at_moment(world: World, where: Where, step: str, moment: float) -> bool:
    """Whether the process was still at work after so many seconds, and died."""
    process = world.start(where, [LINES[step]])
    time.sleep(moment)
    process.kill()
    process.join(LONG_S)
    return process.exitcode == -signal.SIGKILL
