"""Issued credit notes: written once with their number, never changed (rules 6.3 and 6.4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from billing.core.crediting import Credit, CreditLine
from billing.core.errors import DataRefused
from billing.core.instants import day_number, from_day, from_us, to_us
from billing.core.invoicing import invoice_number
from billing.core.quantity import decimal_of_micro, parse_micro
from billing.store.database import in_parts
from billing.store.invoices import from_minor, to_minor
from billing.store.tables import credit_note_lines, credit_notes, documents, invoices


@dataclass(frozen=True, kw_only=True, slots=True)
class NewCreditNote:
    """What a credit note gives back of which invoice and why, its issue instant, and the seller's local date of it."""

    invoice_number: str
    currency: str
    reason: str
    credit: Credit
    issued_at: datetime
    issue_date: date


@dataclass(frozen=True, kw_only=True, slots=True)
class CreditNote:
    """An issued credit note as it is kept."""

    number: str
    invoice_number: str
    reason: str
    credit: Credit
    issued_at: datetime
    issue_date: date


def write_credit_note(connection: Connection, prefix: str, new: NewCreditNote) -> str:
    """Number and write a credit note, gapless per prefix and year. The caller holds the lock ``books``.

    Raises ``DataRefused`` for a prefix that numbers invoices.
    """
    _demand_no_invoices(connection, prefix)
    year = new.issue_date.year
    sequence = _last_sequence(connection, prefix, year) + 1
    number = invoice_number(prefix, year, sequence)
    row = _row(new) | {"number": number, "prefix": prefix, "year": year, "sequence": sequence}
    connection.execute(insert(credit_notes).values(**row))
    connection.execute(insert(credit_note_lines), _line_rows(new, number))
    return number


def of_invoices(connection: Connection, invoice_numbers: Iterable[str]) -> dict[str, list[CreditNote]]:
    """By invoice its credit notes in the order of their issue; invoices without any are not in it."""
    found: dict[str, list[CreditNote]] = {}
    for some in in_parts(sorted(set(invoice_numbers))):
        for note in _read(connection, credit_notes.c.invoice_number.in_(some)):
            found.setdefault(note.invoice_number, []).append(note)
    return found


def invoice_of(connection: Connection, numbers: Sequence[str]) -> dict[str, str]:
    """By credit note the number of its invoice; those that were never issued are not in it."""
    found: dict[str, str] = {}
    query = select(credit_notes.c.number, credit_notes.c.invoice_number)
    for some in in_parts(numbers):
        rows = connection.execute(query.where(credit_notes.c.number.in_(some)))
        found |= {row.number: row.invoice_number for row in rows}
    return found


def without_document(connection: Connection, kind: str) -> list[str]:
    """Numbers of credit notes that have no document of a kind yet, in order."""
    mine = (documents.c.number == credit_notes.c.number) & (documents.c.kind == kind)
    query = select(credit_notes.c.number).outerjoin(documents, mine).where(documents.c.number.is_(None))
    order = (credit_notes.c.year, credit_notes.c.prefix, credit_notes.c.sequence)
    return list(connection.execute(query.order_by(*order)).scalars())


def _demand_no_invoices(connection: Connection, prefix: str) -> None:
    if connection.execute(select(invoices.c.number).where(invoices.c.prefix == prefix).limit(1)).first():
        raise DataRefused(
            f"{prefix!r} numbers invoices, and credit notes have a series of their own (rule 6.4): give the seller "
            "another credit_note_prefix and load it."
        )


def _last_sequence(connection: Connection, prefix: str, year: int) -> int:
    mine = credit_notes.c.prefix == prefix, credit_notes.c.year == year
    last = select(func.coalesce(func.max(credit_notes.c.sequence), 0)).where(*mine)
    return int(connection.execute(last).scalar_one())


def _row(new: NewCreditNote) -> dict[str, object]:
    return {
        "invoice_number": new.invoice_number,
        "reason": new.reason,
        "net_minor": to_minor(new.credit.net, new.currency),
        "tax_minor": to_minor(new.credit.tax, new.currency),
        "total_minor": to_minor(new.credit.total, new.currency),
        "issued_at_us": to_us(new.issued_at),
        "issue_day": day_number(new.issue_date),
    }


def _line_rows(new: NewCreditNote, number: str) -> list[dict[str, object]]:
    return [
        {
            "number": number,
            "line_no": line_no,
            "invoice_line_no": line.invoice_line_no,
            "charged_units": line.charged_units,
            "unit_price_micro": parse_micro(f"{line.unit_price:f}"),
            "net_minor": to_minor(line.net, new.currency),
            "by_amount": int(line.by_amount),
        }
        for line_no, line in enumerate(new.credit.lines, start=1)
    ]


def _read(connection: Connection, wanted: Any) -> list[CreditNote]:
    """Credit notes in the order of their issue."""
    columns = (credit_notes, invoices.c.currency)
    query = select(*columns).join(invoices, invoices.c.number == credit_notes.c.invoice_number).where(wanted)
    order = (credit_notes.c.issued_at_us, credit_notes.c.year, credit_notes.c.prefix, credit_notes.c.sequence)
    heads = connection.execute(query.order_by(*order)).all()
    lines: dict[str, list[Row[Any]]] = {}
    mine = select(credit_note_lines).join(credit_notes, credit_notes.c.number == credit_note_lines.c.number)
    for row in connection.execute(mine.where(wanted).order_by(credit_note_lines.c.line_no)):
        lines.setdefault(row.number, []).append(row)
    return [_note(head, lines[head.number]) for head in heads]


def _note(head: Row[Any], lines: Sequence[Row[Any]]) -> CreditNote:
    def money(minor: int) -> Decimal:
        return from_minor(minor, head.currency)

    credit = Credit(
        lines=tuple(
            CreditLine(
                invoice_line_no=line.invoice_line_no,
                charged_units=line.charged_units,
                unit_price=decimal_of_micro(line.unit_price_micro),
                net=money(line.net_minor),
                by_amount=bool(line.by_amount),
            )
            for line in lines
        ),
        net=money(head.net_minor),
        tax=money(head.tax_minor),
        total=money(head.total_minor),
    )
    return CreditNote(
        number=head.number,
        invoice_number=head.invoice_number,
        reason=head.reason,
        credit=credit,
        issued_at=from_us(head.issued_at_us),
        issue_date=from_day(head.issue_day),
    )
