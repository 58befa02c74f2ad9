"""Prepaid tokens: sold, used, expired unused, still owed; in tokens and in money, exactly (rules 5.3, 8.1)."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.core.model import Kind
from billing.core.token_movements import MoneyMovement, SoldGrant, TokenMovement, money, movement, sold_grants

from .small_reference import SmallReference, us

JUNE, JULY, AUGUST, SEPTEMBER = (us(f"2026-{month:02d}-01T00:00Z") for month in (6, 7, 8, 9))
MICRO = 10**6


def sold(
    tokens: str = "10", *, at: int = JUNE, ended: int = SEPTEMBER, amount: str | None = "100.00", currency: str = "EUR"
) -> SoldGrant:
    return SoldGrant(
        grant_id="g",
        team_id="t1",
        subscription_id="x",
        kind=Kind.FLEX,
        granted_micro=int(Decimal(tokens) * MICRO),
        sold_at_us=at,
        ended_at_us=ended,
        currency=currency,
        amount=None if amount is None else Decimal(amount),
    )


def told(moved: TokenMovement | None) -> tuple[int, ...]:
    """Opening, sold, used, expired, remaining in whole tokens."""
    assert moved is not None
    fields = ("opening_micro", "sold_micro", "used_micro", "expired_micro", "remaining_micro")
    return tuple(getattr(moved, name) // MICRO for name in fields)


def paid(moved: TokenMovement | None) -> tuple[str, ...]:
    """Opening, sold, recognised, breakage, deferred."""
    assert moved is not None
    amounts = money(moved)
    assert amounts is not None
    return tuple(str(getattr(amounts, name)) for name in MoneyMovement.__slots__)


@pytest.mark.parametrize(
    ("grant", "used_before", "used", "expected"),
    [
        (sold(), 0, 3, (10, 0, 3, 0, 7)),
        (sold(at=JULY), 0, 3, (0, 10, 3, 0, 7)),
        (sold(at=AUGUST - 1), 0, 0, (0, 10, 0, 0, 10)),
        (sold(ended=JULY), 3, 3, (7, 0, 0, 7, 0)),
        (sold(ended=AUGUST - 1), 3, 5, (7, 0, 2, 5, 0)),
        (sold(ended=AUGUST), 3, 5, (7, 0, 2, 0, 5)),
        (sold(at=JULY, ended=JULY), 0, 0, (0, 10, 0, 10, 0)),
        (sold(ended=JULY), 10, 10, (0, 0, 0, 0, 0)),
    ],
    ids=["runs", "sold", "sold last", "ends first", "ends last", "ends at the end", "never usable", "used up"],
)
def test_a_month_is_half_open(grant: SoldGrant, used_before: int, used: int, expected: tuple[int, ...]) -> None:
    """Breakage of July is what ended in [1 July, 1 August); what ends on 1 August is still owed in July."""
    assert told(movement(grant, used_before * MICRO, used * MICRO, JULY, AUGUST)) == expected


@pytest.mark.parametrize("grant", [sold(at=AUGUST), sold(ended=JULY - 1)], ids=["sold later", "over before"])
def test_a_grant_that_a_month_does_not_touch_is_not_told(grant: SoldGrant) -> None:
    assert movement(grant, 0, 0, JULY, AUGUST) is None


@pytest.mark.parametrize(
    ("grant", "used_before", "used", "expected"),
    [
        (sold("3", amount="100.00"), 0, 1, ("100.00", "0.00", "33.33", "0.00", "66.67")),
        (sold("3", amount="100.00"), 1, 2, ("66.67", "0.00", "33.34", "0.00", "33.33")),
        (sold("3", amount="100.00"), 2, 3, ("33.33", "0.00", "33.33", "0.00", "0.00")),
        (sold("3", amount="100.00", ended=JULY), 1, 1, ("66.67", "0.00", "0.00", "66.67", "0.00")),
        (sold("3", amount="100.00", at=JULY), 0, 1, ("0.00", "100.00", "33.33", "0.00", "66.67")),
        (sold("3", amount="1000", currency="JPY"), 0, 2, ("1000", "0", "667", "0", "333")),
        (sold("3", amount="0.00"), 0, 2, ("0.00", "0.00", "0.00", "0.00", "0.00")),
    ],
)
def test_recognised_is_rounded_over_all_that_was_used(
    grant: SoldGrant, used_before: int, used: int, expected: tuple[str, ...]
) -> None:
    """100.00 for 3 tokens: 33.33, then 66.67 to date, then all of it; never 33.33 three times."""
    assert paid(movement(grant, used_before * MICRO, used * MICRO, JULY, AUGUST)) == expected


def test_without_an_amount_there_is_no_money() -> None:
    moved = movement(sold(amount=None), 0, MICRO, JULY, AUGUST)
    assert moved is not None and money(moved) is None


@given(
    granted=st.integers(1, 10**13),
    shares=st.lists(st.integers(0, 10**13), max_size=6),
    sold_in=st.integers(0, 5),
    lasts=st.integers(0, 6),
    cents=st.integers(0, 10**14),
)
def test_months_follow_on_each_other_and_nothing_is_lost(
    granted: int, shares: list[int], sold_in: int, lasts: int, cents: int
) -> None:
    """granted = used + expired + remaining, amount = recognised + breakage + deferred, at the end of every month."""
    edges = [JUNE + k * 1000 for k in range(8)]
    ended = edges[sold_in] + lasts * 700
    grant = SoldGrant(
        grant_id="g",
        team_id="",
        subscription_id="x",
        kind=Kind.TOKEN_FLEX,
        granted_micro=granted,
        sold_at_us=edges[sold_in],
        ended_at_us=ended,
        currency="EUR",
        amount=Decimal(cents).scaleb(-2),
    )
    used, remaining, deferred = 0, 0, Decimal("0.00")
    sums = {"recognised": Decimal(0), "breakage": Decimal(0), "used": 0, "expired": 0}
    for month in range(7):
        share = shares[month] if month < len(shares) else 0
        may_use = edges[month] < ended and month >= sold_in
        now = min(granted, used + share) if may_use else used
        moved = movement(grant, used, now, edges[month], edges[month + 1])
        if moved is None:
            assert month < sold_in or (remaining, deferred) == (0, 0)
            continue
        amounts = money(moved)
        assert amounts is not None
        assert moved.opening_micro == remaining and amounts.opening == deferred
        assert moved.opening_micro + moved.sold_micro == now - used + moved.expired_micro + moved.remaining_micro
        assert amounts.opening + amounts.sold == amounts.recognised + amounts.breakage + amounts.deferred
        assert min(moved.used_micro, moved.expired_micro, moved.remaining_micro) >= 0
        assert min(amounts.recognised, amounts.breakage, amounts.deferred) >= 0
        used, remaining, deferred = now, moved.remaining_micro, amounts.deferred
        sums["used"] += moved.used_micro
        sums["expired"] += moved.expired_micro
        sums["recognised"] += amounts.recognised
        sums["breakage"] += amounts.breakage
        assert granted == sums["used"] + sums["expired"] + remaining
        assert grant.amount == sums["recognised"] + sums["breakage"] + deferred


def test_grants_are_sold_when_they_can_first_be_used_and_end_with_their_subscription() -> None:
    """Rule 8.1: a grant ends at the earlier of its own and its subscription's end."""
    made = SmallReference()
    made.bought("x", "flex", "2026-07-05T00:00:00Z", ends="2026-08-05T00:00:00Z")
    made.bought("late", "token_flex", "2026-07-05T00:00:00Z", team="")
    made.tokens("g1", "x", "10", "2026-07-01T00:00:00Z", "2026-12-01T00:00:00Z")
    made.tokens("g2", "x", "10", "2026-07-10T00:00:00Z", "2026-07-20T00:00:00Z")
    made.tokens("g3", "x", "10", "2026-09-01T00:00:00Z", "2026-10-01T00:00:00Z")
    made.tokens("g0", "late", "10", "2026-07-01T00:00:00Z", "2026-12-01T00:00:00Z")
    made.tables["token_grants"][1] |= {"amount": "12.345", "currency": "EUR"}
    made.tables["token_grants"][2] |= {"amount": "12"}
    found = {one.grant_id: one for one in sold_grants(made.frames())}
    day = {name: us(f"2026-{name}T00:00Z") for name in ("07-05", "07-10", "07-20", "08-05", "09-01", "12-01")}
    assert {name: (one.sold_at_us, one.ended_at_us) for name, one in found.items()} == {
        "g0": (day["07-05"], day["12-01"]),
        "g1": (day["07-05"], day["08-05"]),
        "g2": (day["07-10"], day["07-20"]),
        "g3": (day["09-01"], day["09-01"]),
    }, "one that never could be used is over when it is sold"
    assert found["g0"].team_id == "", "sold, though not assigned to a team yet"
    assert [found[name].amount for name in ("g1", "g2", "g3")] == [None, Decimal("12.35"), None]
