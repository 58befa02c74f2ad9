"""Invoice numbers: no gap, no twin, under 16 issuers and forced rollbacks (rule 6.3; odoo #11859, lago-api #5183)."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from threading import Thread

import pytest
from sqlalchemy import func, select

from billing.core.cycles import CycleSpan
from billing.core.instants import parse_instant_us
from billing.core.invoicing import DraftInvoice, DraftLine
from billing.core.model import TaxCategory, TaxTreatment
from billing.store.home import Home
from billing.store.invoices import NewInvoice, from_minor, to_minor, write_invoices
from billing.store.ledger import ISSUED, Close
from billing.store.tables import invoice_lines, invoices

START = parse_instant_us("2026-07-01T00:00:00Z")
CLOSE = Close(close_no=1, state=ISSUED, as_of_us=START, due_through_us=START, pinned_batch=1, pinned_load=1, shards=8)
ISSUERS, ROUNDS = 16, 12


class Rejected(Exception):
    """What makes an issuer roll back."""


def new_invoice(name: str, day: date = date(2026, 8, 1)) -> NewInvoice:
    lines = tuple(
        DraftLine(api=api, charged_units=2, unit_price_micro=1_500_000, net=Decimal("3.00"))
        for api in ("render", "translate")
    )
    draft = DraftInvoice(
        team_id=f"team {name}",
        customer_id="c1",
        subscription_id=f"payg {name}",
        cycle=CycleSpan(START, START + 1, "UTC", f"payg {name}"),
        currency="EUR",
        lines=lines,
        net=Decimal("6.00"),
        tax_treatment=TaxTreatment(category=TaxCategory.STANDARD, percent=Decimal("5.5")),
        tax=Decimal("0.33"),
        total=Decimal("6.33"),
    )
    return NewInvoice(draft=draft, issued_at=datetime(2026, 8, 1, tzinfo=UTC), issue_date=day)


def issue(home: Home, new: list[NewInvoice], *, prefix: str = "INV", fail: bool = False) -> list[str]:
    with home.database.exclusive("books") as connection:
        numbers = write_invoices(connection, CLOSE, prefix, new)
        if fail:
            raise Rejected
    return numbers


def numbers_in(home: Home) -> list[str]:
    with home.database.read() as connection:
        return sorted(connection.execute(select(invoices.c.number)).scalars())


def test_sixteen_issuers_at_once_with_rollbacks_leave_no_gap_and_no_twin(home: Home) -> None:
    given: list[str] = []
    rejected: list[str] = []

    def issuer(name: int) -> None:
        for turn in range(ROUNDS):
            new = [new_invoice(f"{name}-{turn}-{k}") for k in range(1 + (name + turn) % 3)]
            try:
                given.extend(issue(home, new, fail=(name + turn) % 4 == 0))
            except Rejected:
                rejected.append(f"{name}-{turn}")

    threads = [Thread(target=issuer, args=(name,)) for name in range(ISSUERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rejected) == ISSUERS * ROUNDS // 4
    assert sorted(given) == numbers_in(home) == [f"INV-2026-{n:06d}" for n in range(1, len(given) + 1)]
    with home.database.read() as connection:
        lines = connection.execute(select(func.count()).select_from(invoice_lines)).scalar_one()
    assert lines == 2 * len(given), "no line of an invoice that was never issued"


def test_numbers_follow_the_order_given(home: Home) -> None:
    assert issue(home, [new_invoice("b"), new_invoice("a")]) == ["INV-2026-000001", "INV-2026-000002"]
    assert issue(home, [new_invoice("c")]) == ["INV-2026-000003"]
    assert issue(home, []) == []


def test_each_prefix_and_each_year_has_its_own_series(home: Home) -> None:
    """By the local date of issue, not by the cycle's."""
    december, january = date(2026, 12, 31), date(2027, 1, 1)
    assert issue(home, [new_invoice("1", december), new_invoice("2", january)]) == [
        "INV-2026-000001",
        "INV-2027-000001",
    ]
    assert issue(home, [new_invoice("3", january)], prefix="FAC") == ["FAC-2027-000001"]
    assert issue(home, [new_invoice("4", december), new_invoice("5", january)]) == [
        "INV-2026-000002",
        "INV-2027-000002",
    ]


def test_a_prefix_that_begins_like_another_is_another_series(home: Home) -> None:
    assert issue(home, [new_invoice("1")], prefix="I") == ["I-2026-000001"]
    assert issue(home, [new_invoice("2")], prefix="I-2026") == ["I-2026-2026-000001"]
    assert issue(home, [new_invoice("3")], prefix="i") == ["i-2026-000001"]
    assert issue(home, [new_invoice("4")], prefix="é") == ["é-2026-000001"]
    assert issue(home, [new_invoice("5")], prefix="e\u0301") == ["e\u0301-2026-000001"]


def test_seven_digits_after_999_999(home: Home) -> None:
    issue(home, [new_invoice("1")])
    with home.database.write() as connection:
        connection.execute(invoice_lines.delete())
        connection.execute(invoices.update().values(sequence=999_999, number="INV-2026-999999"))
    assert issue(home, [new_invoice("2"), new_invoice("3")]) == ["INV-2026-1000000", "INV-2026-1000001"]


def test_a_cycle_is_invoiced_once(home: Home) -> None:
    """Two runs of one close: the key refuses the twin, and its number is not lost."""
    from sqlalchemy.exc import IntegrityError

    issue(home, [new_invoice("1")])
    with pytest.raises(IntegrityError):
        issue(home, [new_invoice("1")])
    assert issue(home, [new_invoice("2")]) == ["INV-2026-000002"]


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("12.34", "EUR", 1234),
        ("0.00", "EUR", 0),
        ("1234", "JPY", 1234),
        ("1.234", "KWD", 1234),
        ("92233720368547758.07", "EUR", 2**63 - 1),
    ],
)
def test_money_is_kept_in_the_minor_unit(amount: str, currency: str, minor: int) -> None:
    """ISO 4217: JPY has none, KWD three digits."""
    assert to_minor(Decimal(amount), currency) == minor
    assert str(from_minor(minor, currency)) == amount
