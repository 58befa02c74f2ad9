"""The journal's entries: which way money goes, when it is booked, and that every entry is in balance."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.core.accounts import Accounts
from billing.core.journal import (
    Document,
    Entry,
    Payment,
    agrees,
    booking_day,
    document_entry,
    is_balanced,
    moved,
    payment_entry,
    token_entries,
)
from billing.core.model import Kind
from billing.core.payments import EventKind, Money
from billing.core.quantity import minor_digits, total
from billing.core.token_movements import MoneyMovement, SoldGrant

JULY = date(2026, 7, 20)
PAID = Payment(
    number="I-1",
    kind=EventKind.RECEIVED,
    amount=Decimal("12.00"),
    currency="EUR",
    gateway="stripe",
    reference="ch_1",
    day=JULY,
    happened_at="2026-07-20T00:00:00Z",
    customer_id="c1",
    customer="Buyer",
)


def booked(payment: Payment) -> dict[str, str]:
    entry = payment_entry(payment, Accounts())
    return {} if entry is None else {one.account: str(one.amount) for one in entry.postings}


@pytest.mark.parametrize(
    ("kind", "gateway", "other", "receivable"),
    [
        ("received", "stripe", "Assets:Gateway:Stripe", "-12.00"),
        ("received", "manual", "Assets:Bank", "-12.00"),
        ("refunded", "stripe", "Assets:Gateway:Stripe", "12.00"),
        ("disputed", "stripe", "Assets:Gateway:Stripe", "12.00"),
        ("dispute_won", "stripe", "Assets:Gateway:Stripe", "-12.00"),
        ("written_off", "stripe", "Expenses:BadDebt", "-12.00"),
        ("dispute_lost", "stripe", None, ""),
        ("declined", "stripe", None, ""),
        ("authentication_required", "stripe", None, ""),
    ],
)
def test_money_goes_the_way_that_its_event_says(kind: str, gateway: str, other: str | None, receivable: str) -> None:
    found = booked(replace(PAID, kind=EventKind(kind), gateway=gateway))
    if other is None:
        assert found == {}
        return
    assert found == {
        "Assets:Receivable": receivable,
        other: receivable.removeprefix("-") if receivable[0] == "-" else f"-{receivable}",
    }


@given(st.lists(st.tuples(st.sampled_from(list(EventKind)), st.integers(0, 10**9)), max_size=12))
def test_receivables_move_as_what_is_outstanding_does(events: list[tuple[EventKind, int]]) -> None:
    """Rule 6.5 seen from both sides: ``Money`` adds up events, the journal books them."""
    entries = [
        payment_entry(replace(PAID, kind=kind, amount=Decimal(minor).scaleb(-2), reference=f"r{place}"), Accounts())
        for place, (kind, minor) in enumerate(events)
    ]
    after = moved({}, [one for one in entries if one is not None])
    owed = Money.of(events).outstanding(0, 0)
    assert after.get(("Assets:Receivable", "EUR"), Decimal(0)) == Decimal(owed).scaleb(-2)


@given(
    st.sampled_from(["EUR", "JPY", "KWD"]),
    st.lists(st.tuples(st.text(max_size=5), st.integers(0, 10**12)), max_size=6),
    st.integers(0, 10**9),
    st.booleans(),
)
def test_every_document_is_in_balance(
    currency: str, lines: list[tuple[str, int]], tax_minor: int, is_credit: bool
) -> None:
    digits = minor_digits(currency)
    nets = tuple((api, Decimal(minor).scaleb(-digits)) for api, minor in lines)
    tax = Decimal(tax_minor).scaleb(-digits)
    document = Document(
        number="I-1",
        is_credit=is_credit,
        invoice_number="I-1",
        day=JULY,
        customer_id="c1",
        customer="Buyer",
        country="FR",
        team_id="t1",
        subscription_id="s1",
        cycle_start="2026-06-15T00:00:00Z",
        currency=currency,
        lines=nets,
        tax=tax,
        total=total((*(net for _, net in nets), tax), digits),
    )
    entry = document_entry(document, Accounts())
    assert is_balanced([entry]) == []
    assert entry.postings[0].amount * (-1 if is_credit else 1) == document.total
    wrong = document_entry(replace(document, total=document.total + Decimal(1).scaleb(-digits)), Accounts())
    assert len(is_balanced([wrong])) == 1


@pytest.mark.parametrize(
    ("happened", "recorded", "locked", "day"),
    [
        (date(2026, 7, 30), date(2026, 8, 3), None, date(2026, 7, 30)),
        (date(2026, 7, 30), date(2026, 8, 3), date(2026, 6, 30), date(2026, 7, 30)),
        (date(2026, 7, 30), date(2026, 8, 3), date(2026, 7, 31), date(2026, 8, 3)),
        (date(2026, 8, 1), date(2026, 8, 3), date(2026, 7, 31), date(2026, 8, 1)),
    ],
    ids=["never locked", "an earlier month", "its own month", "the first open day"],
)
def test_nothing_comes_into_a_month_that_was_locked(
    happened: date, recorded: date, locked: date | None, day: date
) -> None:
    assert booking_day(happened, recorded, locked) == day


def test_the_same_fact_has_the_same_id_and_no_two_have_one() -> None:
    ids = {
        payment_entry(replace(PAID, **change), Accounts()).entry_id  # type: ignore[arg-type, union-attr]
        for change in (
            {},
            {"number": "I-1:"},
            {"reference": "ch_2"},
            {"kind": EventKind.REFUNDED},
            {"day": date(2026, 8, 1)},
        )
    }
    assert len(ids) == 4, "the day on which it is booked is no part of what it is"


def test_an_id_that_is_there_twice_and_a_balance_that_differs_are_told() -> None:
    entry = payment_entry(PAID, Accounts())
    assert isinstance(entry, Entry)
    assert [one.message for one in is_balanced([entry, entry])] == ["is there twice"]
    key = ("Assets:Receivable", "EUR")
    assert agrees("x", {key: Decimal(1)}, {key: Decimal("1.00")}) == []
    assert len(agrees("x", {key: Decimal(1)}, {})) == 1


@pytest.mark.parametrize(
    ("is_known", "found"),
    [
        (True, {"Income:Tokens": "60.00", "Liabilities:Deferred:Tokens": "-60.00"}),
        (
            False,
            {"Assets:Clearing:Tokens": "100.00", "Income:Tokens": "-40.00", "Liabilities:Deferred:Tokens": "-60.00"},
        ),
    ],
    ids=["it was used up", "it was not known"],
)
def test_a_sale_is_booked_once_also_where_nothing_was_left_of_it(is_known: bool, found: dict[str, str]) -> None:
    """60.00 are owed of a grant of 100.00 of which the journal before left nothing deferred."""
    grant = SoldGrant(
        grant_id="g1",
        team_id="t1",
        subscription_id="s1",
        kind=Kind.FLEX,
        granted_micro=10_000_000,
        sold_at_us=0,
        ended_at_us=10**18,
        currency="EUR",
        amount=Decimal("100.00"),
    )
    owed, nothing = Decimal("60.00"), Decimal("0.00")
    amounts = MoneyMovement(opening=owed, sold=nothing, recognised=nothing, breakage=nothing, deferred=owed)
    days = (JULY, "2026-07", date(2026, 7, 1), date(2026, 7, 31))
    (entry,) = token_entries(grant, amounts, nothing, *days, Accounts(), is_known=is_known)
    assert {one.account: str(one.amount) for one in entry.postings} == found
    assert is_balanced([entry]) == []
