"""The register: its order, its totals, and that a difference to the ledger is named (rules 6.1 to 6.4)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.core.model import PaymentMethod, TaxCategory, TaxTreatment
from billing.core.register import (
    Booked,
    DocumentKind,
    Registered,
    Units,
    differences,
    line_net,
    payment_kind,
    register_of,
    totals_of,
)

MICRO = 10**6
DAY = date(2026, 8, 2)
FRENCH = TaxTreatment(category=TaxCategory.STANDARD, percent=Decimal(20))
REVERSE = TaxTreatment(category=TaxCategory.REVERSE_CHARGE, percent=Decimal(0))


def issued(
    number: str, net: str = "10.00", tax: str = "2.00", *, currency: str = "EUR", day: date = DAY, kind: str = "invoice"
) -> Registered:
    """A document of the register; what does not matter is the same in all."""
    at = datetime(2026, 8, 2, tzinfo=UTC)
    return Registered(
        kind=DocumentKind(kind),
        number=number,
        about="",
        issue_date=day,
        issued_at=at,
        customer_id="c1",
        customer_name="Buyer",
        country="FR",
        vat_id="",
        team_id="t1",
        subscription_id="p1",
        period_first_day=date(2026, 7, 1),
        period_last_day=date(2026, 7, 31),
        cycle_start=at,
        cycle_end=at,
        currency=currency,
        net=Decimal(net),
        tax_treatment=FRENCH,
        tax=Decimal(tax),
        total=Decimal(net) + Decimal(tax),
        vat_currency="",
        vat_tax=None,
        payment="card",
        sha256="",
    )


def test_the_order_is_issue_date_then_number_in_its_series() -> None:
    """Rule 6.3: seven digits after 999,999."""
    later = replace(issued("INV-2026-000001"), issue_date=date(2026, 8, 3))
    rows = [later, issued("INV-2026-1000000"), issued("INV-2026-999999"), issued("CRE-2026-000001")]
    found = register_of(DAY, later.issue_date, rows)
    assert [row.number for row in found.rows] == [
        "CRE-2026-000001",
        "INV-2026-999999",
        "INV-2026-1000000",
        "INV-2026-000001",
    ]


def test_totals_are_by_currency_and_tax_and_by_currency() -> None:
    rows = [
        issued("INV-2026-000001"),
        issued("CRE-2026-000001", "-4.00", "-0.80", kind="credit note"),
        replace(issued("INV-2026-000002", "5.00", "0.00"), tax_treatment=REVERSE),
        issued("INV-2026-000003", "7", "1", currency="JPY"),
    ]
    assert [
        (one.currency, one.tax_treatment, one.invoices, one.credit_notes, str(one.net), str(one.tax), str(one.total))
        for one in totals_of(rows)
    ] == [
        ("EUR", REVERSE, 1, 0, "5.00", "0.00", "5.00"),
        ("EUR", FRENCH, 1, 1, "6.00", "1.20", "7.20"),
        ("EUR", None, 2, 1, "11.00", "1.20", "12.20"),
        ("JPY", FRENCH, 1, 0, "7", "1", "8"),
        ("JPY", None, 1, 0, "7", "1", "8"),
    ]


@given(st.lists(st.tuples(st.sampled_from(["EUR", "KWD", "JPY"]), st.integers(-(10**15), 10**15)), max_size=12))
def test_a_currencys_total_is_the_sum_of_its_rows_whatever_their_size(documents: list[tuple[str, int]]) -> None:
    digits = {"EUR": 2, "KWD": 3, "JPY": 0}
    rows = [
        replace(issued(f"INV-2026-{k:06d}", currency=currency), net=Decimal(minor).scaleb(-digits[currency]))
        for k, (currency, minor) in enumerate(documents)
    ]
    for one in totals_of(rows):
        minors = [minor for currency, minor in documents if currency == one.currency]
        assert int(one.net.scaleb(digits[one.currency])) == sum(minors)
        assert one.invoices == len(minors)


# --- beside the ledger -----------------------------------------------------------------------------------------------

BOUGHT = (Units(api="render", unit_price_micro=1_150_000, charged_units=52),)


def booked(
    net: str = "59.80",
    line_net: str = "59.80",
    units: int = 52,
    drawn: tuple[Units, ...] = BOUGHT,
    price: int = 1_150_000,
) -> Booked:
    line = Units(api="render", unit_price_micro=price, charged_units=units)
    lines = {line: Decimal(line_net)}
    return Booked(number="INV-2026-000001", currency="EUR", net=Decimal(net), lines=lines, drawn=drawn)


def test_an_invoice_that_is_what_was_drawn_differs_nowhere() -> None:
    assert differences([booked()]) == []
    parts = tuple(replace(BOUGHT[0], unit_price_micro=333_000, charged_units=units) for units in (1, 1))
    whole = booked(net="0.67", line_net="0.67", units=2, price=333_000, drawn=parts)
    assert differences([whole]) == [], "draws of one line come in parts, and are rounded together"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (booked(net="59.81"), "net 59.81 EUR, by the ledger 59.80"),
        (booked(line_net="59.79"), "render: 52 x 1.15 is 59.80, the line says 59.79"),
        (booked(units=51, line_net="58.65"), "render at 1.15: 51 units on the invoice, 52 drawn"),
        (booked(price=1_160_000, line_net="60.32"), "render at 1.16: 52 units on the invoice, 0 drawn"),
        (booked(drawn=()), "render at 1.15: 52 units on the invoice, 0 drawn"),
    ],
)
def test_a_difference_names_the_invoice_and_itself(wrong: Booked, said: str) -> None:
    found = differences([booked(), wrong])
    assert said in [one.message for one in found]
    assert {one.file for one in found} == {"INV-2026-000001"}


def test_lines_are_rounded_one_by_one() -> None:
    """Rule 6.1: 3 x 0.335 is 1.01 and 1.005 rounds to 1.01; the sum is not of what was not rounded."""
    drawn = tuple(Units(api=api, unit_price_micro=335_000, charged_units=1) for api in ("a", "b", "c"))
    lines = {one: Decimal("0.34") for one in drawn}
    one = Booked(number="INV-2026-000001", currency="EUR", net=Decimal("1.02"), lines=lines, drawn=drawn)
    assert differences([one]) == []
    assert [f.message for f in differences([replace(one, net=Decimal("1.01"))])] == ["net 1.01 EUR, by the ledger 1.02"]
    assert line_net(Units(api="a", unit_price_micro=5_000, charged_units=1), "EUR") == Decimal("0.01")
    assert str(line_net(Units(api="a", unit_price_micro=500_000, charged_units=1), "JPY")) == "1"


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        (None, "transfer"),
        ({"brand": "visa", "last4": "4242"}, "card"),
        ({"brand": "", "last4": "4242"}, "card"),
        ({"mandate": "M-1"}, "direct debit"),
        ({}, "stripe"),
    ],
)
def test_how_it_is_collected_is_one_word(method: dict[str, str] | None, kind: str) -> None:
    blank = PaymentMethod(payment_method_id="pm", gateway="stripe", brand="", last4="", expires="")
    assert payment_kind(None if method is None else replace(blank, **method)) == kind
