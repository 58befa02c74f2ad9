"""Rule 8.1: what is available of what was granted, at an instant."""

from __future__ import annotations

import pytest

from billing.core.balances import balances_at, used_with
from billing.core.reference import FOREVER_US
from billing.core.spans import NOTHING_USED, Used
from billing.core.terms import Terms

from .small_reference import SmallReference, us, usage

MICRO = 10**6
JANUARY, FEBRUARY, MARCH = (f"2026-0{month}-10T00:00:00Z" for month in (1, 2, 3))
APRIL = "2026-04-10T00:00:00Z"


def small() -> SmallReference:
    """150 tokens until March, a free unit a month, 5 assets; everything bought on 10 January."""
    result = SmallReference()
    result.api("a", tokens="1", price="1")
    result.api("assets", size="", billing="capacity")
    result.free("f", JANUARY, {"a": 3})
    result.bought("x", "flex", JANUARY)
    result.tokens("g", "x", "150", JANUARY, MARCH)
    result.bought("c", "capacity", JANUARY, ends=MARCH)
    result.capacity("k", "c", "assets", "5", FEBRUARY, "2027-01-01T00:00:00Z")
    return result


def shown(reference: SmallReference, used: Used, at: str) -> dict[str, tuple[int, int, int, str, str]]:
    """By grant or subscription: granted, used, available (10^-6), the days of the end and of the refresh."""
    frame = balances_at(Terms.from_reference(reference.frames()).teams, used, us(at))
    days = {us(text): text[5:10] for text in (JANUARY, FEBRUARY, MARCH, APRIL, "2026-02-01T00:00:00Z")} | {
        FOREVER_US: ""
    }
    return {
        row.grant_id or row.subscription_id: (
            row.granted_micro,
            row.used_micro,
            row.available_micro,
            days[row.ends_at_us],
            days[row.refreshes_at_us],
        )
        for row in frame.itertuples(index=False)
    }


def test_available_of_granted() -> None:
    """Rule 8.1: 140 of 150, when it ends, when it refreshes."""
    used = Used(
        free_units={("f", "a", us(JANUARY)): 2, ("f", "a", us(FEBRUARY)): 1},
        granted_micro={"g": 10 * MICRO, "k": MICRO // 2},
    )
    assert shown(small(), used, "2026-01-20T00:00:00Z") == {
        "f": (3 * MICRO, 2 * MICRO, MICRO, "", "02-10"),
        "g": (150 * MICRO, 10 * MICRO, 140 * MICRO, "03-10", ""),
    }
    assert shown(small(), used, "2026-02-20T00:00:00Z") == {
        "f": (3 * MICRO, MICRO, 2 * MICRO, "", "03-10"),
        "g": (150 * MICRO, 10 * MICRO, 140 * MICRO, "03-10", ""),
        "k": (5 * MICRO, MICRO // 2, 5 * MICRO - MICRO // 2, "03-10", ""),
    }


@pytest.mark.parametrize(
    ("at", "valid"),
    [
        ("2026-01-09T23:59:59.999999Z", set()),
        (JANUARY, {"f", "g"}),
        ("2026-02-09T23:59:59.999999Z", {"f", "g"}),
        (FEBRUARY, {"f", "g", "k"}),
        ("2026-03-09T23:59:59.999999Z", {"f", "g", "k"}),
        (MARCH, {"f"}),
    ],
)
def test_half_open_validity(at: str, valid: set[str]) -> None:
    """Rules 5.1, 5.3, 8.1: from the first instant on, until the end; a grant no longer than its subscription."""
    assert set(shown(small(), NOTHING_USED, at)) == valid


@pytest.mark.parametrize(("ends", "refreshes"), [(FEBRUARY, ""), ("2026-02-01T00:00:00Z", ""), (MARCH, "02-10")])
def test_no_refresh_at_or_after_the_end(ends: str, refreshes: str) -> None:
    """Rule 8.1: a free balance has no refresh where its subscription ends no later than that."""
    reference = SmallReference()
    reference.api("a")
    reference.free("f", JANUARY, {"a": 1}, ends=ends)
    assert shown(reference, NOTHING_USED, "2026-01-20T00:00:00Z")["f"][3:] == (ends[5:10], refreshes)


def test_nothing_is_less_than_none() -> None:
    """Rule 8.1: available is never negative."""
    used = Used(free_units={("f", "a", us(JANUARY)): 9}, granted_micro={"g": 151 * MICRO})
    assert {row[2] for row in shown(small(), used, JANUARY).values()} == {0}


def test_what_draws_have_taken_since() -> None:
    """Rules 5.6, 5.7, 8.1: used by closed cycles and by the draws of open ones: in whole units and in grants."""
    reference = small()
    events = usage(
        ("1", "a", "2026-01-20T00:00:00Z", "5.5"),
        ("2", "a", "2026-02-20T00:00:00Z", "1"),
        ("3", "assets", "2026-02-20T00:00:00Z", "2.5"),
    )
    rated = reference.rated(events, reference.plan(2))
    before = Used(free_units={("f", "a", us(JANUARY)): 0, ("z", "a", 0): 7}, granted_micro={"g": MICRO})
    used = used_with(before, rated.draws)
    assert used.free_units == {("f", "a", us(JANUARY)): 3, ("f", "a", us(FEBRUARY)): 1, ("z", "a", 0): 7}
    assert used.granted_micro == {"g": 3 * MICRO, "k": 2_500_000}
    assert before.granted_micro == {"g": MICRO}, "what was given is not changed"
