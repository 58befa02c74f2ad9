"""Section 6 of the rules: lines, tax, totals, numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.core.cycles import CycleSpan
from billing.core.invoicing import Buyers, DraftInvoice, draft_invoices, in_issue_order, invoice_number, issue_date
from billing.core.model import Parked, ParkedReason
from billing.core.rating import DRAW_COLUMNS

from .small_reference import SmallReference, micro, us

START, END = us("2026-01-15T10:00Z"), us("2026-02-14T23:00Z")
CYCLE = CycleSpan(START, END, "Europe/Paris", "p")
Line = tuple[str, str, int]
"""API, unit price, charged units."""


def payg_draws(lines: Sequence[Line], *, currency: str = "EUR", team: str = "t1", payer: str = "p") -> pd.DataFrame:
    """Draws on pay as you go, as rating gives them."""
    rows = [(team, START, api, "payg", payer, "", micro(price), currency, None, n, 0) for api, price, n in lines]
    frame = pd.DataFrame(rows, columns=list(DRAW_COLUMNS), dtype=object)
    return frame.astype({"cycle_start_us": "int64", "charged_units": "int64", "tokens_micro": "int64"})


def buyers(*, percent: str = "20", country: str = "FR", valid_from: str = "2000-01-01") -> Buyers:
    """A French seller; one buyer of that country."""
    small = SmallReference()
    small.tables["customers"].clear()
    small.tables["teams"].clear()
    for team in ("t1", "t2", "\uff5e", "\U0001f600"):
        small.team(team, country=country)
    small.add("tax_rates", country=country, valid_from=valid_from, percent=percent)
    return Buyers.from_reference(small.frames())


def drafted(draws: pd.DataFrame, of: Buyers | None = None) -> tuple[list[DraftInvoice], list[Parked]]:
    cycles = {(str(team), START): CYCLE for team in set(draws["team_id"])}
    return draft_invoices(draws, cycles, of or buyers())


def only(draws: pd.DataFrame, of: Buyers | None = None) -> DraftInvoice:
    (draft,), troubles = drafted(draws, of)
    assert troubles == []
    return draft


@pytest.mark.parametrize(
    ("currency", "lines", "nets", "net", "tax", "total"),
    [
        pytest.param("EUR", [("a", "0.005", 1)], ["0.01"], "0.01", "0.00", "0.01", id="half up"),
        pytest.param("EUR", [("a", "1.15", 3)], ["3.45"], "3.45", "0.69", "4.14", id="two digits"),
        pytest.param("EUR", [("a", "0.125", 1), ("b", "0.125", 1)], ["0.13"] * 2, "0.26", "0.05", "0.31", id="by line"),
        pytest.param("JPY", [("a", "0.5", 1), ("b", "2.4", 2)], ["1", "5"], "6", "1", "7", id="JPY has no digits"),
        pytest.param(
            "KWD", [("a", "0.0005", 1), ("b", "7", 2)], ["0.001", "14.000"], "14.001", "2.800", "16.801", id="KWD"
        ),
        pytest.param("CLF", [("a", "0.00005", 1)], ["0.0001"], "0.0001", "0.0000", "0.0001", id="CLF has four"),
        pytest.param("EUR", [("a", "0", 9)], ["0.00"], "0.00", "0.00", "0.00", id="a price of 0 is invoiced"),
    ],
)
def test_amounts(currency: str, lines: list[Line], nets: list[str], net: str, tax: str, total: str) -> None:
    """Rules 6.1, 6.2: each line rounded half up to ISO 4217's digits, tax once on the sum."""
    draft = only(payg_draws(lines, currency=currency))
    assert [str(line.net) for line in draft.lines] == nets
    assert [str(draft.net), str(draft.tax), str(draft.total)] == [net, tax, total]


def test_tax_is_computed_once_on_the_sum() -> None:
    """Rule 6.2: 3 x 0.13 at 25.5 % is 0.10 on the sum; line by line it would be 0.09."""
    draft = only(payg_draws([(api, "0.13", 1) for api in "abc"]), buyers(percent="25.5"))
    assert (str(draft.net), str(draft.tax)) == ("0.39", "0.10")
    assert (str(draft.tax_treatment.category), draft.tax_treatment.percent) == ("S", Decimal("25.5"))


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 10**10), st.integers(1, 10**6)), min_size=1, max_size=8),
    st.sampled_from([("JPY", 0), ("EUR", 2), ("KWD", 3)]),
    st.integers(0, 30_000_000),
)
def test_amounts_are_those_of_exact_fractions(
    lines: list[tuple[str, int, int]], money: tuple[str, int], percent: int
) -> None:
    """Rules 6.1, 6.2: printed lines add up to the printed total; one line per API and price."""
    currency, digits = money
    draws = payg_draws([(api, "0", n) for api, _, n in lines], currency=currency)
    draws["unit_price_micro"] = [price for _, price, _ in lines]
    draft = only(draws, buyers(percent=str(Decimal(percent).scaleb(-6))))

    def minor(exact: Fraction) -> int:
        return int(exact * 10**digits + Fraction(1, 2))

    units = {(api, price): sum(n for a, p, n in lines if (a, p) == (api, price)) for api, price, _ in lines}
    nets = [minor(Fraction(key[1] * count, 10**6)) for key, count in sorted(units.items())]
    assert [(line.api, line.unit_price_micro) for line in draft.lines] == sorted(units)
    assert [line.net.scaleb(digits) for line in draft.lines] == nets
    assert draft.net.scaleb(digits) == sum(nets)
    assert draft.tax.scaleb(digits) == minor(Fraction(sum(nets) * percent, 10**8 * 10**digits))
    assert draft.total == draft.net + draft.tax


def test_lines_are_ordered_by_api_then_by_price() -> None:
    """Rule 6.1: APIs code point by code point, prices as numbers: 2 before 10."""
    lines = [("b", "10", 1), ("\U0001f600", "1", 1), ("b", "2", 1), ("\uff5e", "1", 1), ("B", "3", 1), ("b", "2.4", 1)]
    draft = only(payg_draws(lines))
    assert [(line.api, line.unit_price_micro) for line in draft.lines] == [
        ("B", 3_000_000),
        ("b", 2_000_000),
        ("b", 2_400_000),
        ("b", 10_000_000),
        ("\uff5e", 1_000_000),
        ("\U0001f600", 1_000_000),
    ]


def test_one_price_is_one_line() -> None:
    """Rule 6.1: one line per API and unit price, rounded once."""
    draft = only(payg_draws([("a", "0.005", 1), ("a", "0.0050", 1), ("a", "0.005", 1)]))
    assert [(line.charged_units, str(line.net)) for line in draft.lines] == [(3, "0.02")]


def test_long_amounts_stay_exact() -> None:
    """Rule 2.1: 19 digits of money at a rate of 8 digits: nothing is rounded on the way to the one rounding."""
    draft = only(payg_draws([("a", "0.010001", 7_123_456_789_012_345_678)]), buyers(percent="25.123457"))
    net = int(Fraction(7_123_456_789_012_345_678 * 10_001, 10**4) + Fraction(1, 2))
    assert draft.net.scaleb(2) == net
    assert draft.tax.scaleb(2) == int(Fraction(net * 25_123_457, 10**8) + Fraction(1, 2))


def test_amounts_beyond_64_bits_park_the_team() -> None:
    """Rule 3.8: ``bound_exceeded``; the other team's invoice is drafted."""
    draws = pd.concat([payg_draws([("a", "1000000", 10**18)]), payg_draws([("a", "1", 1)], team="t2")])
    drafts, troubles = drafted(draws)
    assert [draft.team_id for draft in drafts] == ["t2"]
    assert [(p.team_id, p.reason) for p in troubles] == [("t1", ParkedReason.BOUND_EXCEEDED)]


def test_the_largest_amount_that_is_billed() -> None:
    """Rule 3.8: up to 2^63 - 1 of the minor unit, and not one more."""
    most = 2**63 - 1
    assert (
        str(only(payg_draws([("a", "0.01", most)]), buyers(country="US", percent="0")).total) == "92233720368547758.07"
    )
    _, troubles = drafted(payg_draws([("a", "0.01", most), ("b", "0.01", 1)]), buyers(country="US", percent="0"))
    assert [p.reason for p in troubles] == [ParkedReason.BOUND_EXCEEDED]


def test_no_rate_on_the_last_day_parks() -> None:
    """Rules 3.8, 6.2: the period's last day is 14 February in Paris, though the cycle ends at 23:00 UTC that day."""
    draws = payg_draws([("a", "1", 1)])
    assert only(draws, buyers(valid_from="2026-02-14")).total == Decimal("1.20")
    drafts, troubles = drafted(draws, buyers(valid_from="2026-02-15"))
    assert drafts == []
    assert troubles == [Parked(team_id="t1", cycle_start_us=START, reason=ParkedReason.NO_TAX_RATE)]


def test_an_invoice_for_each_subscription_that_paid() -> None:
    """Rule 6.1: one for each ``payg`` subscription that paid for units in the cycle; other draws make none."""
    others = payg_draws([("a", "1", 5)])
    others["source"] = "flex"
    nothing = payg_draws([("a", "1", 0)], payer="q")
    draws = pd.concat([payg_draws([("a", "1", 1)]), payg_draws([("a", "1", 2)], payer="o"), others, nothing])
    drafts, _ = drafted(draws)
    assert [(d.subscription_id, d.net) for d in drafts] == [("o", Decimal("2.00")), ("p", Decimal("1.00"))]
    assert {(d.team_id, d.customer_id, d.cycle) for d in drafts} == {("t1", "c-t1", CYCLE)}
    assert drafted(others) == ([], [])


def test_drafts_do_not_depend_on_the_order_of_draws() -> None:
    """Section 6: shuffled draws, the same drafts."""
    draws = payg_draws([(api, price, n) for n, api in enumerate("cab", 1) for price in ("2", "10", "0.5")])
    assert drafted(draws.sample(frac=1, random_state=7)) == drafted(draws)


# Rule 6.3


@pytest.mark.parametrize(
    ("sequence", "number"),
    [(1, "INV-2026-000001"), (999_999, "INV-2026-999999"), (1_000_000, "INV-2026-1000000")],
)
def test_numbers(sequence: int, number: str) -> None:
    """Rule 6.3: ``PREFIX-YEAR-NNNNNN``; seven digits after 999,999."""
    assert invoice_number("INV", 2026, sequence) == number


def test_the_order_of_issue() -> None:
    """Rule 6.3: cycle end, then team id, then subscription id, by code point."""
    parts = [
        payg_draws([("a", "1", 1)], team=team, payer=payer)
        for team, payer in (("\U0001f600", "p"), ("\uff5e", "p"), ("t2", "b"), ("t2", "B"), ("t1", "z"))
    ]
    drafts, _ = drafted(pd.concat(parts))
    cycles = {("t1", START): CycleSpan(START, END + 1, "UTC", "z")}
    later, _ = draft_invoices(parts[-1], cycles, buyers())
    order = in_issue_order([*later, *(d for d in reversed(drafts) if d.team_id != "t1")])
    assert [(d.team_id, d.subscription_id) for d in order] == [
        ("t2", "B"),
        ("t2", "b"),
        ("\uff5e", "p"),
        ("\U0001f600", "p"),
        ("t1", "z"),
    ]


@pytest.mark.parametrize(
    ("zone", "day"),
    [("Europe/Paris", date(2027, 1, 1)), ("UTC", date(2026, 12, 31)), ("Pacific/Apia", date(2027, 1, 1))],
)
def test_the_issue_date_is_the_sellers(zone: str, day: date) -> None:
    """Rule 6.3: the local date of the issue instant in the seller's time zone."""
    assert issue_date(datetime.fromisoformat("2026-12-31T23:30:00Z"), zone) == day
