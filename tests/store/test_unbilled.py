"""Usage that no closed cycle has billed, summed by the engine that reads it (rules 3.5, 4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from billing.core.cycles import CycleSpan
from billing.core.segments import DAY_US, Cuts, Segment
from billing.core.streams import TeamPlan
from billing.core.terms import Terms
from billing.store.home import Home
from billing.store.lake import CommittedBatches
from billing.store.unbilled import CUTS_A_DAY, Unbilled
from tests.core.small_reference import SmallReference, us

from . import lake_rows
from .lake_rows import NOON_US

MIDNIGHT_US = NOON_US - DAY_US // 2
LARGEST = 10**18


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home.at(tmp_path / "home")
    home.create()
    yield home
    home.close()


def append(home: Home, batch_no: int, *quantities: int, at_us: int = NOON_US, team_id: str = "t1") -> None:
    """A batch of one event a quantity, a microsecond apart."""
    parts = [
        lake_rows.events([f"e{batch_no}-{n}"], team_id=team_id, occurred_us=at_us + n, quantity_micro=quantity)
        for n, quantity in enumerate(quantities)
    ]
    home.usage.append(batch_no, pa.concat_tables(parts))


def plan(start_us: int, until_us: int, *, pinned_batch: int = 0, team_id: str = "t1") -> TeamPlan:
    return TeamPlan(team_id=team_id, cycles=(CycleSpan(start_us, until_us, "UTC", None),), pinned_batch=pinned_batch)


def terms(*edges_us: int) -> Terms:
    """Team t1 bought early, with a grant of tokens that begins at each of these instants."""
    reference = SmallReference()
    reference.api("render", tokens="1")
    reference.bought("x", "flex", "2026-01-01T00:00:00Z")
    for number, edge_us in enumerate(edges_us):
        start = pd.Timestamp(edge_us, unit="us", tz="UTC").isoformat()
        reference.tokens(f"g{number}", "x", "1", start, "2027-01-01T00:00:00Z")
    return Terms.from_reference(reference.frames())


def unbilled(home: Home, through: int = 9, void: tuple[int, ...] = ()) -> Unbilled:
    return home.usage.unbilled(CommittedBatches(through=through, void=void))


def sums(
    home: Home, plans: list[TeamPlan], *edges_us: int, through: int = 9, void: tuple[int, ...] = ()
) -> list[tuple[int, int, bool]]:
    """By segment: (when the last of it occurred, its sum, whether it must be taken event by event)."""
    found = unbilled(home, through, void).sums(plans, Cuts.of(terms(*edges_us), plans))
    return list(zip(*(found[name].tolist() for name in ("occurred_at_us", "quantity_micro", "by_event")), strict=True))


def test_usage_is_summed_by_day_and_between_cuts(home: Home) -> None:
    """A cut belongs to what follows it, to the microsecond; so does a midnight."""
    append(home, 1, *range(1, 5), at_us=NOON_US - 2)
    append(home, 2, 10, 20, at_us=MIDNIGHT_US + DAY_US - 1)
    month = plan(us("2026-07-01T00:00:00Z"), us("2026-08-01T00:00:00Z"))
    day_end = MIDNIGHT_US + DAY_US
    assert sums(home, [month]) == [(day_end - 1, 20, False), (day_end, 20, False)]
    assert sums(home, [month], NOON_US) == [(NOON_US - 1, 3, False), (day_end - 1, 17, False), (day_end, 20, False)]


def test_a_day_that_is_cut_often_is_summed_by_instant(home: Home) -> None:
    append(home, 1, *[1] * 20)
    edges = [NOON_US + 2 * n for n in range(CUTS_A_DAY + 2)]
    found = sums(home, [plan(NOON_US, NOON_US + DAY_US)], *edges)
    assert found == [(NOON_US + n, 1, False) for n in range(20)]


def test_only_what_is_not_billed_counts(home: Home) -> None:
    """Rules 3.5, 3.7: earlier usage counts where a later batch brought it; nothing of void or later batches."""
    append(home, 1, 1, at_us=NOON_US - 1)
    append(home, 2, 2, at_us=NOON_US - 1)
    append(home, 3, 4, at_us=NOON_US)
    append(home, 4, 8, at_us=NOON_US + 5)
    append(home, 5, 16, at_us=NOON_US, team_id="t9")
    append(home, 6, 32)
    append(home, 7, 64)
    mine = [plan(NOON_US, NOON_US + 5, pinned_batch=1)]
    assert sums(home, mine, through=6, void=(6,)) == [(NOON_US - 1, 2, False), (NOON_US, 4, False)]
    assert [q for _, q, _ in sums(home, mine)] == [2, 4 + 32 + 64]
    assert sums(home, []) == sums(home, mine, through=0) == []


def test_corrections_and_sums_beyond_64_bits_are_told_apart(home: Home) -> None:
    """Rules 2.1, 4.3: their sums are not to be used."""
    append(home, 1, 5, -2, at_us=NOON_US - DAY_US)
    append(home, 2, *[LARGEST] * 10)
    append(home, 3, 7, at_us=NOON_US + DAY_US)
    month = [plan(us("2026-07-01T00:00:00Z"), us("2026-08-01T00:00:00Z"))]
    assert [(q, by_event) for _, q, by_event in sums(home, month)] == [(3, True), (0, True), (7, False)]


def test_usage_before_1970_is_summed_by_its_own_day(home: Home) -> None:
    append(home, 1, 1, 2, 4, at_us=-2)
    assert [q for _, q, _ in sums(home, [plan(-(10**9), 10**9)])] == [3, 4]


def test_events_of_segments(home: Home) -> None:
    """All of a segment, and nothing beside it; with what orders them."""
    append(home, 1, *range(1, 6))
    append(home, 2, -1, at_us=NOON_US + 2)
    plans = [plan(NOON_US + 1, NOON_US + DAY_US, pinned_batch=9)]
    found = unbilled(home).events(plans, [Segment("t1", NOON_US + 2, NOON_US + 4)])
    assert sorted(found["event_id"]) == ["e1-2", "e1-3", "e2-0"]
    assert found["quantity_micro"].sum() == 3 + 4 - 1
    assert set(found["team_id"]) == {"t1"} and found["occurred_at_us"].dtype == np.int64


def test_what_is_used_at_all(home: Home) -> None:
    append(home, 1, 1, 1)
    append(home, 2, 1, at_us=NOON_US - DAY_US, team_id="t2")
    found = unbilled(home).used([plan(NOON_US, NOON_US + DAY_US), plan(0, 2**60, team_id="t2")])
    assert found.to_dict("records") == [
        {"team_id": "t1", "api": "render", "last_us": NOON_US + 1},
        {"team_id": "t2", "api": "render", "last_us": NOON_US - DAY_US},
    ]
