"""Rating by sums gives what rating event by event gives (rules 4.2 to 5.6), on histories that sit on edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.core.attribution import places
from billing.core.cycles import first_start_us
from billing.core.rating import Rated, rate
from billing.core.segments import Cuts, Segment
from billing.core.spans import NOTHING_USED, Opening
from billing.core.streams import TeamPlan
from billing.core.sums import rate_by_sums
from billing.core.terms import Terms

from .small_reference import NEVER_OPENED, Event, SmallReference, drawn, us, usage
from .test_rating import History, next_opening

MICRO = 10**6


class InMemory:
    """What a store does, written the plain way: a row at a time, one dictionary of sums. Says what was asked of it."""

    def __init__(self, events: pd.DataFrame) -> None:
        self._events = events
        self.asked: list[Segment] = []

    def _unbilled(self, plans: Sequence[TeamPlan]) -> pd.DataFrame:
        plan = {p.team_id: p for p in plans}
        keep = [
            row.team_id in plan
            and row.occurred_at_us < plan[row.team_id].until_us
            and (row.occurred_at_us >= plan[row.team_id].start_us or row.batch_no > plan[row.team_id].pinned_batch)
            for row in self._events.itertuples(index=False)
        ]
        return self._events[np.array(keep, dtype=bool)]

    def _segments(self, events: pd.DataFrame, cuts: Cuts) -> list[Segment]:
        return cuts.segments_at(places(events["team_id"], cuts.team_ids), events["occurred_at_us"].to_numpy())

    def sums(self, plans: Sequence[TeamPlan], cuts: Cuts) -> pd.DataFrame:
        events = self._unbilled(plans)
        rows: dict[tuple[object, ...], dict[str, object]] = {}
        for segment, event in zip(self._segments(events, cuts), events.to_dict("records"), strict=True):
            row = rows.setdefault((segment, event["api"]), {**event, "quantity_micro": 0, "by_event": False})
            row["quantity_micro"] += event["quantity_micro"]  # type: ignore[operator]
            row["by_event"] |= event["quantity_micro"] < 0  # type: ignore[operator]
            for name in ("occurred_at_us", "batch_no"):
                row[name] = max(row[name], event[name])  # type: ignore[call-overload]
        kept = {"event_id": "", "is_correction": False}
        frame = pd.DataFrame([row | kept for row in rows.values()], columns=[*events.columns, "by_event"])
        return frame.astype({**events.dtypes.to_dict(), "by_event": bool})

    def events(self, plans: Sequence[TeamPlan], segments: Sequence[Segment]) -> pd.DataFrame:
        self.asked += segments
        events = self._unbilled(plans)
        held = [
            any(s.team_id == row.team_id and s.from_us <= row.occurred_at_us < s.until_us for s in segments)
            for row in events.itertuples(index=False)
        ]
        return events[np.array(held, dtype=bool)]


def rows_of(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    """A frame's rows, whatever their order."""
    plain = frame.astype(object).where(frame.notna(), None)
    return sorted((tuple(row) for row in plain.itertuples(index=False)), key=str)


def both_ways(
    terms: Terms, plans: Sequence[TeamPlan], events: pd.DataFrame, opening: Opening
) -> tuple[Rated, InMemory]:
    """Rated by sums, seen to be what all events give."""
    expected, store = rate(terms, plans, events, opening), InMemory(events)
    found = rate_by_sums(terms, plans, store, opening)
    for name in ("carry", "draws", "days"):
        assert rows_of(getattr(found, name)) == rows_of(getattr(expected, name)), name
    assert sorted(found.troubles, key=str) == sorted(expected.troubles, key=str)
    assert found.unsettled == ()
    return found, store


def small_both_ways(
    reference: SmallReference, events: pd.DataFrame, *plans: TeamPlan, opening: Opening = NEVER_OPENED
) -> tuple[Rated, InMemory]:
    return both_ways(Terms.from_reference(reference.frames()), plans or (reference.plan(1),), events, opening)


def sharing_a_pool(tokens: str) -> SmallReference:
    """API a costs 1 token a unit of 2, b 2 tokens a unit of 3; one grant, and pay as you go after it."""
    reference = SmallReference()
    reference.api("a", size="2", tokens="1", price="1")
    reference.api("b", size="3", tokens="2", price="1")
    reference.bought("p", "payg", "2026-01-10T00:00:00Z")
    reference.bought("x", "flex", "2026-01-10T00:00:00Z")
    reference.tokens("g", "x", tokens, "2026-01-10T00:00:00Z", "2027-01-01T00:00:00Z")
    return reference


DAY = (
    ("1", "a", "2026-01-20T08:00:00Z", "2"),
    ("2", "b", "2026-01-20T09:00:00Z", "3"),
    ("3", "a", "2026-01-20T10:00:00Z", "2"),
    ("4", "b", "2026-01-20T11:00:00Z", "3"),
)


@pytest.mark.parametrize(
    ("tokens", "asked"), [("0.5", 0), ("1", 1), ("4", 1), ("5", 1), ("5.5", 1), ("6", 0), ("7", 0)]
)
def test_events_are_taken_only_where_a_shared_pool_may_run_out(tokens: str, asked: int) -> None:
    """Rule 5.3: six tokens pay for all, half a one for nothing; between the two the order decides, also where the pool
    runs out on the very last unit."""
    _, store = small_both_ways(sharing_a_pool(tokens), usage(*DAY))
    assert len(store.asked) == asked


def test_only_the_day_on_which_the_pool_runs_out_is_taken_event_by_event() -> None:
    """Twenty days of two tokens and one each: the pool of ten runs out on the fourth."""
    days = [
        (f"{day}{api}", api, f"2026-01-{day}T1{n}:00:00Z", size)
        for day in range(11, 31)
        for n, (api, size) in enumerate((("a", "2"), ("b", "3")))
    ]
    _, store = small_both_ways(sharing_a_pool("10"), usage(*days))
    assert store.asked == [Segment("t1", us("2026-01-14T00:00:00Z"), us("2026-01-15T00:00:00Z"))]


def test_what_one_segment_leaves_makes_the_next_one_open() -> None:
    """Rule 5.3: by sums the first day empties the pool, in its order it leaves a token, over which two APIs meet on the
    second."""
    reference = SmallReference()
    for api, tokens in (("a", "1.5"), ("b", "2"), ("c", "1"), ("d", "0.5")):
        reference.api(api, tokens=tokens, price="1")
    reference.bought("p", "payg", "2026-01-10T00:00:00Z")
    reference.bought("x", "flex", "2026-01-10T00:00:00Z")
    reference.tokens("g", "x", "3", "2026-01-10T00:00:00Z", "2027-01-01T00:00:00Z")
    order = (("b", "20T08"), ("a", "20T09"), ("a", "20T10"), ("d", "21T08"), ("c", "21T09"))
    events = [(str(n), api, f"2026-01-{at}:00:00Z", "1") for n, (api, at) in enumerate(order)]
    events.append(("9", "b", "2026-01-20T11:00:00Z", "0.5"))  # completes nothing, but the sum of b is the last
    rated, store = small_both_ways(reference, usage(*events))
    assert [segment.from_us for segment in store.asked] == [us("2026-01-20T00:00:00Z"), us("2026-01-21T00:00:00Z")]
    assert drawn(rated)["01-10", "d", "flex", "g"] == (1, MICRO // 2)
    assert drawn(rated)["01-10", "c", "payg", "p"] == (1, 0)


def test_a_correction_that_cancels_a_unit_is_taken_in_its_place() -> None:
    """Rules 4.2, 4.3: at one instant it is first, and leaves a credit; later, a unit is charged and not taken back."""
    reference = sharing_a_pool("0")
    first = usage(("1", "a", "2026-01-20T08:00:00Z", "1"), ("2", "a", "2026-01-20T08:00:00Z", "-1"), *DAY[2:3])
    later = usage(("1", "a", "2026-01-20T08:00:00Z", "2"), ("2", "a", "2026-01-20T12:00:00Z", "-2"), *DAY[2:3])
    for events, units in ((first, 1), (later, 2)):
        rated, store = small_both_ways(reference, events)
        assert drawn(rated) == {("01-10", "a", "payg", "p"): (units, 0)}
        assert len(store.asked) == 1


def test_a_refresh_in_the_same_microsecond_is_first() -> None:
    """Rule 3.2: an event at the boundary belongs to what begins there."""
    reference = SmallReference()
    reference.api("a", price="1")
    reference.free("f", "2026-01-10T10:00:00Z", {"a": 1})
    reference.bought("p", "payg", "2026-01-10T10:00:00Z")
    events = usage(("1", "a", "2026-02-09T23:59:59.999999Z", "2"), ("2", "a", "2026-02-10T00:00:00Z", "1"))
    rated, store = small_both_ways(reference, events, reference.plan(2))
    assert drawn(rated) == {
        ("01-10", "a", "free", "f"): (1, 0),
        ("01-10", "a", "payg", "p"): (1, 0),
        ("02-10", "a", "free", "f"): (1, 0),
    }
    assert store.asked == []


def test_late_usage_of_two_payers_is_taken_in_order() -> None:
    """Rules 3.5, 5.1: usage of a pay as you go that has ended is paid by it, what lies between two by nobody."""
    reference = SmallReference()
    reference.api("a", size="2", price="1")
    reference.bought("p", "payg", "2026-01-10T00:00:00Z", ends="2026-01-20T12:00:00Z")
    reference.bought("q", "payg", "2026-01-20T18:00:00Z", ends="2026-01-25T00:00:00Z")
    events = usage(
        *((str(n), "a", f"2026-01-20T{hour:02}:00:00Z", "1") for n, hour in enumerate((9, 10, 13, 14, 15, 19, 20, 21))),
        batch=2,
    )
    plan = reference.plan(2, after=3, batch=1)
    rated, _ = small_both_ways(reference, events, plan)
    assert {key[2] for key in drawn(rated)} == {"payg", "unfunded"}


@given(st.integers(0, 2**40))
@settings(max_examples=30)
def test_both_ways_agree_on_worlds_full_of_edges(seed: int) -> None:
    """Rules 3 to 5: late usage, corrections, prices, sizes, grants and periods that change, in two closes."""
    history = History(seed)
    terms, events = Terms.from_reference(history.frames), history.events()
    opening, after = NEVER_OPENED, {team: first_start_us(held) for team, held in history.subscriptions.items()}
    for batch in (1, 2):
        plans = history.plans(after, batch)
        rated, _ = both_ways(terms, plans, events[events["batch_no"] <= batch], opening)
        opening = next_opening(rated, opening)
        after |= {plan.team_id: plan.until_us for plan in plans}


EDGE = datetime(2026, 1, 20, 12, tzinfo=UTC)
INSTANTS = [EDGE + timedelta(hours=h, microseconds=m) for h in (-40, -12, -1, 0, 1, 12, 40) for m in (-1, 0, 1)]
QUANTITIES = ["0.000001", "0.5", "0.999999", "1", "1.000001", "2", "3"]


@st.composite
def on_the_edge(draw: st.DrawFn) -> tuple[SmallReference, list[Event], Mapping[str, str]]:
    """Three APIs that share small pools; grants that begin, end and run out where events are; corrections."""
    reference = SmallReference()
    for api in "abc":
        cells = {
            "size": draw(st.sampled_from(["1", "2", "0.5"])),
            "tokens": draw(st.sampled_from(["", "1", "2", "0.3"])),
        }
        reference.api(api, price=draw(st.sampled_from(["", "1"])), **cells)
        if draw(st.booleans()):
            reference.rate(api, draw(st.sampled_from(INSTANTS)).isoformat(), "1.5", draw(st.sampled_from(["", "1"])))
    reference.bought("p", "payg", "2026-01-10T06:30:00Z", ends=draw(st.sampled_from(["", EDGE.isoformat()])))
    reference.free("f", draw(st.sampled_from(["2025-12-20T12:00:00Z", "2025-11-20T00:00:00Z"])), {"a": 1, "b": 2})
    for kind in ("flex", "token_flex"):
        reference.bought(kind, kind, "2026-01-01T00:00:00Z")
        for number in range(draw(st.integers(0, 3))):
            start, end = sorted(draw(st.lists(st.sampled_from(INSTANTS), min_size=2, max_size=2, unique=True)))
            tokens = draw(st.sampled_from(["0.3", "1", "2", "3", "4"]))
            reference.tokens(f"{kind}{number}", kind, tokens, start.isoformat(), end.isoformat())
    events: list[Event] = []
    for number in range(draw(st.integers(1, 14))):
        if events and draw(st.integers(0, 5)) == 0:
            _, api, at, quantity = draw(st.sampled_from(events))
            events.append((f"e{number}", api, at, f"-{quantity.lstrip('-')}"))
            continue
        at = draw(st.sampled_from(INSTANTS)).isoformat()
        events.append((f"e{number}", draw(st.sampled_from("abc")), at, draw(st.sampled_from(QUANTITIES))))
    carry = {api: draw(st.sampled_from(["0", "0.4", "-0.7"])) for api in "abc"}
    return reference, events, carry


@given(on_the_edge(), st.sampled_from([0, 1, 2]), st.booleans())
@settings(max_examples=200, deadline=None)
def test_both_ways_agree_on_the_edge(
    made: tuple[SmallReference, list[Event], Mapping[str, str]], after: int, is_late: bool
) -> None:
    """Rules 4.2 to 5.5: pools that run out on the last unit, units that a correction cancels, changes in the very
    microsecond of an event; on time, and late into a later cycle."""
    reference, events, carry = made
    opening = Opening(
        carry_micro={("t1", api): round(float(amount) * MICRO) for api, amount in carry.items()}, used=NOTHING_USED
    )
    plan = reference.plan(3, after=after, batch=1)
    small_both_ways(reference, usage(*events, batch=2 if is_late else 1), plan, opening=opening)
