"""Faults, for real: kills, races, full disks, tampers and restores, each in a home of its own.

    python -m tests.faults [--seed N] [--kills N] [--kind KIND ...] [--step STEP ...] [--database DATABASE ...]

Prints a table, and ends with 1 if anything was lost, doubled, unseen, or not as without the fault.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tests import postgres
from tests.faults import races, worlds
from tests.faults.kills import kills
from tests.faults.restores import restores
from tests.faults.room import full_disks
from tests.faults.tally import Tally, table
from tests.faults.tampers import tampers
from tests.faults.worlds import LINES, World

KILLS = 156
"""On each database: 26 of each step."""
ROUNDS = 6
"""Of each race, on each database."""


class Chosen(argparse.Namespace):
    """What was asked for."""

    seed: int
    kills: int
    rounds: int
    kind: list[str] | None
    step: list[str] | None
    database: list[str] | None


def _kills(world: World, chosen: Chosen, drawn: random.Random) -> Iterator[Tally]:
    for step in chosen.step or LINES:
        yield kills(world, step, -(-chosen.kills // len(LINES)), drawn)


def _tampers(world: World, chosen: Chosen, drawn: random.Random) -> Iterator[Tally]:
    yield from tampers(world)


def _races(world: World, chosen: Chosen, drawn: random.Random) -> Iterator[Tally]:
    yield races.closes(world, chosen.rounds)
    yield races.issuers(world, chosen.rounds, drawn)


def _room(world: World, chosen: Chosen, drawn: random.Random) -> Iterator[Tally]:
    for step in chosen.step or LINES:
        yield full_disks(world, step)


def _restores(world: World, chosen: Chosen, drawn: random.Random) -> Iterator[Tally]:
    yield from restores(world)


KINDS: Mapping[str, Callable[[World, Chosen, random.Random], Iterator[Tally]]] = {
    "kills": _kills,
    "races": _races,
    "room": _room,
    "tampers": _tampers,
    "restores": _restores,
}
"""What a kind does in a world; given how often, and what draws the moments."""


@contextmanager
def world(folder: Path, database: str) -> Iterator[World]:
    """The scenario on a database."""
    with postgres.running() if database == "postgresql" else nullcontext() as server:
        yield worlds.prepared(folder, server)


def main() -> int:
    """Do as the arguments say; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=KILLS, help="on each database")
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    parser.add_argument("--step", action="append", choices=list(LINES), help="of kills and full disks")
    parser.add_argument("--database", action="append", choices=["sqlite", "postgresql"])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each race")
    chosen = parser.parse_args(namespace=Chosen())
    tallies: list[Tally] = []
    for database in chosen.database or ("sqlite", "postgresql"):
        folder = Path(tempfile.mkdtemp(prefix="faults-"))
        with world(folder, database) as made:
            for kind in chosen.kind or KINDS:
                for tally in KINDS[kind](made, chosen, random.Random(chosen.seed)):
                    began = time.strftime("%H:%M:%S")
                    print(
                        f"{began} {' '.join(tally.cells)} swept {tally.swept} cut {tally.cuts}",
                        file=sys.stderr,
                        flush=True,
                    )
                    for problem in tally.wrong:
                        print(f"  {problem}", file=sys.stderr, flush=True)
                    for name, by in tally.seen_by.items():
                        print(f"  {name}: {', '.join(by) or 'nobody'}", file=sys.stderr, flush=True)
                    tallies.append(tally)
        shutil.rmtree(folder, ignore_errors=True)
    print(table(tallies))
    return 0 if all(tally.fine for tally in tallies) else 1


if __name__ == "__main__":
    sys.exit(main())
