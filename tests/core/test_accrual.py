"""Accrued revenue: the first units of a cycle's own invoice (rules 3.5, 4.2, 5.1, 6.1)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import example, given
from hypothesis import strategies as st

from billing.core.accrual import AccruedLine, accrued_lines, net_by_currency
from billing.core.cycles import CycleSpan

from .small_reference import SmallReference, us, usage

START = us("2026-01-10T00:00Z")
HOUR = 3_600_000_000
CYCLE_HOURS = 31 * 24


def world() -> SmallReference:
    """Two APIs at odd prices, one of them dearer from 20 January on; some free units, some tokens; pay as you go."""
    made = SmallReference()
    made.api("a", size="3", tokens="1", price="0.335")
    made.api("b", size="2", tokens="2", price="1.005")
    made.price("a", "2026-01-20T00:00:00Z", "0.415")
    made.free("f", "2026-01-10T00:00:00Z", {"a": 2})
    made.bought("x", "flex", "2026-01-10T00:00:00Z")
    made.tokens("g", "x", "5", "2026-01-12T00:00:00Z", "2026-01-25T00:00:00Z")
    made.bought("p", "payg", "2026-01-10T00:00:00Z")
    return made


Used = tuple[str, int, int]
"""API, hours into the cycle, quantity (below 0: a correction)."""


def lines(used: list[Used], until_us: int | None = None) -> tuple[AccruedLine, ...]:
    """What pay as you go paid for in the cycle, up to an instant or to its end."""
    made = world()
    plan = made.plan(1)
    if until_us is not None:
        plan = replace(plan, cycles=(CycleSpan(START, until_us, "UTC", "p"),))
    events = usage(
        *((f"e{k:02}", api, _instant(hours), str(quantity)) for k, (api, hours, quantity) in enumerate(used))
    )
    return accrued_lines(made.rated(events, plan).draws, {("t1", START)})


def _instant(hours: int) -> str:
    return f"2026-{1 + (9 + hours // 24) // 31:02d}-{(9 + hours // 24) % 31 + 1:02d}T{hours % 24:02d}:00:00+00:00"


EVENTS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, CYCLE_HOURS - 1), st.integers(-9, 40).filter(bool)), max_size=12
)


@given(EVENTS, st.integers(1, CYCLE_HOURS - 1))
@example([("a", 0, 40), ("b", 500, 40)], 400)
@example([*[("a", 0, 1)] * 6, ("a", 0, 2), ("a", 48, 1), ("a", 48, 3), ("a", 49, 1), ("b", 48, 4)], 49)
def test_an_accrual_is_the_beginning_of_its_invoice(used: list[Used], cut_hours: int) -> None:
    """Accrual + (invoice - accrual) = invoice, with neither part below 0, line by line."""
    accrued = {(one.api, one.unit_price): one for one in lines(used, START + cut_hours * HOUR)}
    invoiced = {(one.api, one.unit_price): one for one in lines(used)}
    assert set(accrued) <= set(invoiced)
    for key, one in accrued.items():
        assert 0 < one.charged_units <= invoiced[key].charged_units
        assert 0 <= one.net <= invoiced[key].net
    only_before = [event for event in used if event[1] < cut_hours]
    assert lines(only_before, START + cut_hours * HOUR) == tuple(accrued.values()), "what comes after it counts nowhere"


def test_each_line_is_rounded_as_on_an_invoice() -> None:
    """Rule 6.1: 11 x 0.335 = 3.685 is 3.69; and after the price changed it is a line of its own."""
    found = lines([("a", 24, 39), ("a", 13 * 24, 30)], START + 14 * 24 * HOUR)
    assert [(one.api, one.charged_units, str(one.unit_price), str(one.net)) for one in found] == [
        ("a", 11, "0.335", "3.69"),
        ("a", 5, "0.415", "2.08"),
    ], "2 units are free, and on day 13 five are paid in tokens"


def test_only_the_cycles_that_are_cut_count() -> None:
    made = world()
    draws = made.rated(usage(("e1", "b", "2026-02-01T00:00:00+00:00", "20")), made.plan(1)).draws
    assert len(accrued_lines(draws, {("t1", START)})) == 1
    assert accrued_lines(draws, {("t1", START + 1)}) == accrued_lines(draws, set()) == ()


def test_sums_are_by_currency_and_exact() -> None:
    large = Decimal("90071992547409931234567890.01")
    found = net_by_currency([("KWD", Decimal("1.005")), ("EUR", large), ("EUR", Decimal("0.01"))])
    assert {currency: str(net) for currency, net in found.items()} == {
        "EUR": "90071992547409931234567890.02",
        "KWD": "1.005",
    }
