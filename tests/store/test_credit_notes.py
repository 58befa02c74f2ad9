"""Credit notes' numbers: no gap, no twin, a series of their own (rules 6.3 and 6.4)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from threading import Thread

import pytest
from sqlalchemy import func, select

from billing.core.crediting import Credit, CreditLine
from billing.core.errors import DataRefused
from billing.core.instants import to_us
from billing.store.credit_notes import NewCreditNote, of_invoices, write_credit_note
from billing.store.home import Home
from billing.store.invoices import invoiced_draws, last_issue_us, replaced_by
from billing.store.tables import credit_note_lines, credit_notes, invoices

from .test_invoice_numbers import Rejected, issue, new_invoice

INVOICE = "INV-2026-000001"
ISSUED_AT = datetime(2026, 8, 2, tzinfo=UTC)
ISSUERS, ROUNDS = 16, 8
CREDIT = Credit(
    lines=(
        CreditLine(invoice_line_no=1, charged_units=1, unit_price=Decimal("1.5"), net=Decimal("1.50"), by_amount=False),
        CreditLine(invoice_line_no=2, charged_units=1, unit_price=Decimal("0.1"), net=Decimal("0.10"), by_amount=True),
    ),
    net=Decimal("1.60"),
    tax=Decimal("0.09"),
    total=Decimal("1.69"),
)


def new_note(
    day: date = date(2026, 8, 2), *, of: str = INVOICE, at: datetime = ISSUED_AT, reason: str = "r"
) -> NewCreditNote:
    return NewCreditNote(invoice_number=of, currency="EUR", reason=reason, credit=CREDIT, issued_at=at, issue_date=day)


def give(home: Home, *new: NewCreditNote, prefix: str = "CN", fail: bool = False) -> list[str]:
    with home.database.exclusive("books") as connection:
        numbers = [write_credit_note(connection, prefix, note) for note in new]
        if fail:
            raise Rejected
    return numbers


def test_sixteen_issuers_at_once_with_rollbacks_leave_no_gap_and_no_twin(home: Home) -> None:
    """Rule 6.3; and no line of a credit note that was never issued."""
    issue(home, [new_invoice("1")])
    given: list[str] = []
    rejected: list[int] = []

    def issuer(name: int) -> None:
        for turn in range(ROUNDS):
            try:
                given.extend(give(home, *[new_note()] * (1 + (name + turn) % 3), fail=(name + turn) % 4 == 0))
            except Rejected:
                rejected.append(name)

    threads = [Thread(target=issuer, args=(name,)) for name in range(ISSUERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with home.database.read() as connection:
        kept = sorted(connection.execute(select(credit_notes.c.number)).scalars())
        lines = connection.execute(select(func.count()).select_from(credit_note_lines)).scalar_one()
    assert len(rejected) == ISSUERS * ROUNDS // 4
    assert sorted(given) == kept == [f"CN-2026-{n:06d}" for n in range(1, len(given) + 1)]
    assert lines == 2 * len(given)


def test_each_prefix_and_each_year_has_its_own_series(home: Home) -> None:
    """Rule 6.3: by the local date of issue."""
    issue(home, [new_invoice("1")])
    december, january = new_note(date(2026, 12, 31)), new_note(date(2027, 1, 1))
    assert give(home, december, january, december) == ["CN-2026-000001", "CN-2027-000001", "CN-2026-000002"]
    assert give(home, january, prefix="AV") == ["AV-2027-000001"]
    assert give(home, january) == ["CN-2027-000002"]


def test_seven_digits_after_999_999(home: Home) -> None:
    """Rule 6.3."""
    issue(home, [new_invoice("1")])
    give(home, new_note())
    with home.database.write() as connection:
        connection.execute(credit_note_lines.delete())
        connection.execute(credit_notes.update().values(sequence=999_999, number="CN-2026-999999"))
    assert give(home, new_note(), new_note()) == ["CN-2026-1000000", "CN-2026-1000001"]


def test_the_two_series_never_share_a_prefix(home: Home) -> None:
    """Rule 6.4, both ways; by code point: ``inv`` is another prefix than ``INV``."""
    issue(home, [new_invoice("1")])
    with pytest.raises(DataRefused, match="'INV' numbers invoices"):
        give(home, new_note(), prefix="INV")
    assert give(home, new_note(), prefix="inv") == ["inv-2026-000001"]
    with pytest.raises(DataRefused, match="'inv' numbers credit notes"):
        issue(home, [new_invoice("2")], prefix="inv")
    assert issue(home, [new_invoice("2")]) == ["INV-2026-000002"]


def test_what_was_written_is_read_in_the_order_of_its_issue(home: Home) -> None:
    issue(home, [new_invoice("1"), new_invoice("2")])
    later = ISSUED_AT + timedelta(microseconds=1)
    give(home, new_note(at=later, reason="third"), prefix="A")
    give(home, new_note(reason="first"), new_note(of="INV-2026-000002"), new_note(reason="second"), prefix="B")
    with home.database.read() as connection:
        found = of_invoices(connection, [INVOICE, "INV-2026-000002", "INV-2026-000003"])
    assert {number: [note.number for note in notes] for number, notes in found.items()} == {
        INVOICE: ["B-2026-000001", "B-2026-000003", "A-2026-000001"],
        "INV-2026-000002": ["B-2026-000002"],
    }
    last = found[INVOICE][-1]
    assert (last.credit, last.reason, last.issued_at, last.issue_date) == (CREDIT, "third", later, date(2026, 8, 2))
    assert [note.reason for note in found[INVOICE]] == ["first", "second", "third"]


def test_when_anything_was_last_issued(home: Home) -> None:
    """Rule 6.3: invoices and credit notes alike."""
    with home.database.read() as connection:
        assert last_issue_us(connection) is None
    issue(home, [new_invoice("1")])
    with home.database.read() as connection:
        assert last_issue_us(connection) == to_us(datetime(2026, 8, 1, tzinfo=UTC))
    give(home, new_note())
    with home.database.read() as connection:
        assert last_issue_us(connection) == to_us(ISSUED_AT)


def test_an_invoice_that_replaces_none_charges_its_own_draws(home: Home) -> None:
    """Rule 6.4: what took the place of which is found by cycle, subscription and revision."""
    issue(home, [new_invoice("1")])
    with home.database.write() as connection:
        assert replaced_by(connection, INVOICE) is None
        assert invoiced_draws(connection, INVOICE).empty
        later = dict(connection.execute(select(invoices)).one()._mapping)
        later |= {"number": "INV-2026-000002", "sequence": 2, "revision": 2, "replaces": INVOICE}
        connection.execute(invoices.insert().values(**later))
        assert replaced_by(connection, INVOICE) == "INV-2026-000002"
        assert replaced_by(connection, "INV-2026-000002") is None
