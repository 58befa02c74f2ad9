"""A sample of the faults of ``python -m tests.faults``, small enough for every run of the tests."""

from __future__ import annotations

import random

import pytest

from tests.faults import tampering
from tests.faults.kills import kills
from tests.faults.races import closes
from tests.faults.restores import older_tables
from tests.faults.room import full_disks
from tests.faults.tally import Tally, table
from tests.faults.tampers import tampers
from tests.faults.work import Seen
from tests.faults.worlds import World, prepared

pytestmark = pytest.mark.kills

SEEN = ["usage table: a row, in its file", "archive: a bit of a usage file", "row: batch_files, its hash"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two teams on SQLite; on PostgreSQL ``tests/kills`` has its own."""
    return prepared(tmp_path_factory.mktemp("faults"), None, teams=2)


@pytest.mark.parametrize("step", ["ingest", "issue"])
def test_killed_steps_are_taken_again(world: World, step: str) -> None:
    demand(kills(world, step, 2, random.Random(5)))


def test_two_closes_at_once(world: World) -> None:
    demand(closes(world, 1))


def test_a_full_disk_is_said_in_words(world: World) -> None:
    """Also where no file system may be mounted: then files are bounded instead."""
    demand(full_disks(world, "render", rooms_kb=(0,)))


@pytest.mark.parametrize("name", [*SEEN, "log: rows written anew with their hashes"])
def test_a_tamper_is_told_of(world: World, name: str) -> None:
    assert name in tampering.TAMPERS
    for tally in tampers(world, [name]):
        demand(tally)


def test_an_older_usage_table_is_refused(world: World) -> None:
    demand(older_tables(world))


def test_what_is_lost_or_doubled_is_counted(world: World) -> None:
    """The harness itself: one row too few, one too many."""
    seen = world.undisturbed["render"]
    one = next(iter(seen.rows))
    fewer, more = seen.rows.copy(), seen.rows.copy()
    fewer[one] -= 1
    more[one] += 1
    tally = Tally(kind="k", database="d")
    tally.compare("fewer", seen.rows, Seen(status=0, rows=+fewer))
    tally.compare("more", seen.rows, Seen(status=0, rows=more))
    tally.found("nobody saw it", [])
    assert not tally.fine
    assert tally.cells == ("k", "d", "3", "0", "1", "1", "1")
    assert table([tally]).splitlines()[2] == "| k    | d        | 3     | 0         | 1    | 1       | 1      |"


def demand(tally: Tally) -> None:
    assert tally.tried
    assert tally.fine, tally.wrong
