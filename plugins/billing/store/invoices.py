"""Issued invoices: written once with their number, never changed (rules 6.3 and 6.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
from sqlalchemy import ColumnElement, Connection, and_, func, literal, select

from billing.core.errors import DataRefused
from billing.core.instants import day_number, to_us
from billing.core.invoicing import DraftInvoice, invoice_number
from billing.core.model import Kind
from billing.core.quantity import minor_digits, parse_micro
from billing.store.database import in_parts, insert_rows
from billing.store.ledger import Close
from billing.store.tables import closes, credit_note_lines, credit_notes, draws, invoice_lines, invoices


@dataclass(frozen=True, kw_only=True, slots=True)
class NewInvoice:
    """A draft with its issue instant, and the seller's local date of it. ``replaces`` is the invoice of the same cycle
    and subscription that it takes the place of; ``revision`` counts them.
    """

    draft: DraftInvoice
    issued_at: datetime
    issue_date: date
    revision: int = 1
    replaces: str = ""


def write_invoices(connection: Connection, close: Close, prefix: str, new: Sequence[NewInvoice]) -> list[str]:
    """Number and write invoices in order, gapless per prefix and year. The caller holds the lock ``books``.

    Raises ``DataRefused`` for a prefix that numbers credit notes.
    """
    demand_no_credit_notes(connection, prefix)
    last: dict[int, int] = {}
    made: list[dict[str, object]] = []
    lines: list[dict[str, object]] = []
    for invoice in new:
        year = invoice.issue_date.year
        last[year] = (last[year] if year in last else _last_sequence(connection, prefix, year)) + 1
        number = invoice_number(prefix, year, last[year])
        made.append(invoice_row(close, invoice, prefix, year, last[year], number))
        lines += line_rows(invoice.draft, number)
    insert_rows(connection, invoices, made)
    insert_rows(connection, invoice_lines, lines)
    return [str(row["number"]) for row in made]


def demand_no_credit_notes(connection: Connection, prefix: str) -> None:
    """Raise ``DataRefused`` where a prefix numbers credit notes, which have a series of their own (rule 6.4)."""
    if connection.execute(select(credit_notes.c.number).where(credit_notes.c.prefix == prefix).limit(1)).first():
        raise DataRefused(
            f"{prefix!r} numbers credit notes, and they have a series of their own (rule 6.4): give the seller another "
            "invoice_prefix and load it."
        )


def last_issue_us(connection: Connection) -> int | None:
    """When anything was last issued: a close, an invoice, a credit note; None before the first (rule 6.3)."""
    columns = (closes.c.issued_at_us, invoices.c.issued_at_us, credit_notes.c.issued_at_us)
    found = [connection.execute(select(func.max(column))).scalar() for column in columns]
    return max((us for us in found if us is not None), default=None)


def last_invoice_us(connection: Connection) -> int | None:
    """When an invoice was last issued; None before the first."""
    return connection.execute(select(func.max(invoices.c.issued_at_us))).scalar()


def stands() -> ColumnElement[bool]:
    """What leaves out invoices that another one has taken the place of (rule 6.4)."""
    return invoices.c.number.not_in(select(invoices.c.replaces).where(invoices.c.replaces != ""))


def replaced_by(connection: Connection, number: str) -> str | None:
    """The invoice that took the place of one; None where none did."""
    later = invoices.alias()
    same = and_(*(later.c[name] == invoices.c[name] for name in ("team_id", "cycle_start_us", "subscription_id")))
    query = select(later.c.number).join(invoices, and_(same, later.c.revision == invoices.c.revision + 1))
    return connection.execute(query.where(invoices.c.number == number)).scalar()


def pinned_loads(connection: Connection, numbers: Sequence[str]) -> dict[str, int]:
    """By invoice the load of reference data that it was made from."""
    found: dict[str, int] = {}
    query = select(invoices.c.number, invoices.c.pinned_load)
    for some in in_parts(numbers):
        rows = connection.execute(query.where(invoices.c.number.in_(some)))
        found |= {row.number: row.pinned_load for row in rows}
    return found


def issued_lines(connection: Connection, first: date, last: date) -> Iterator[Any]:
    """Lines of every invoice and credit note issued from one day to another, both included, in order: number, line_no,
    api, charged_units, unit_price_micro, net_minor, by_amount. Those of a credit note say what it gives back.
    """
    days = (day_number(first), day_number(last))
    line, given = invoice_lines.c, credit_note_lines.c
    own = select(line.number, line.line_no, line.api, line.charged_units, line.unit_price_micro, line.net_minor)
    own = own.add_columns(literal(0).label("by_amount")).join(invoices, invoices.c.number == line.number)
    yield from connection.execute(own.where(invoices.c.issue_day.between(*days)).order_by(line.number, line.line_no))
    columns = (given.number, given.line_no, line.api, given.charged_units, given.unit_price_micro, given.net_minor)
    back = select(*columns, given.by_amount).join(credit_notes, credit_notes.c.number == given.number)
    same = and_(line.number == credit_notes.c.invoice_number, line.line_no == given.invoice_line_no)
    back = back.join(invoice_lines, same).where(credit_notes.c.issue_day.between(*days))
    yield from connection.execute(back.order_by(given.number, given.line_no))


def invoiced_draws(connection: Connection, number: str) -> pd.DataFrame:
    """The draws that an invoice charges, as its close had pinned them: a frame with the columns of
    ``core.rating.DRAW_COLUMNS``.
    """
    mine = (
        (invoices.c.team_id == draws.c.team_id)
        & (invoices.c.cycle_start_us == draws.c.cycle_start_us)
        & (invoices.c.subscription_id == draws.c.subscription_id)
    )
    columns = [c for c in draws.c if c.name != "draw_no"]
    paid = select(*columns).join(invoices, mine).where(invoices.c.number == number, draws.c.source == Kind.PAYG.value)
    rows = connection.execute(paid.order_by(draws.c.draw_no)).all()
    return pd.DataFrame(rows, columns=[c.name for c in columns], dtype=object)


def to_minor(amount: Decimal, currency: str) -> int:
    """An amount of money as an integer of the currency's minor unit, exactly."""
    return int(amount.scaleb(minor_digits(currency)))


def from_minor(minor: int, currency: str) -> Decimal:
    """An integer of the minor unit as an amount with the currency's digits."""
    return Decimal(minor).scaleb(-minor_digits(currency))


def _last_sequence(connection: Connection, prefix: str, year: int) -> int:
    mine = invoices.c.prefix == prefix, invoices.c.year == year
    return int(connection.execute(select(func.coalesce(func.max(invoices.c.sequence), 0)).where(*mine)).scalar_one())


def invoice_row(
    close: Close, invoice: NewInvoice, prefix: str, year: int, sequence: int, number: str
) -> dict[str, object]:
    """An invoice as it is written."""
    draft = invoice.draft
    return {
        "number": number,
        "prefix": prefix,
        "year": year,
        "sequence": sequence,
        "team_id": draft.team_id,
        "customer_id": draft.customer_id,
        "subscription_id": draft.subscription_id,
        "cycle_start_us": draft.cycle.start_us,
        "currency": draft.currency,
        "net_minor": to_minor(draft.net, draft.currency),
        "tax_category": draft.tax_treatment.category.value,
        "tax_percent_micro": parse_micro(f"{draft.tax_treatment.percent:f}"),
        "tax_minor": to_minor(draft.tax, draft.currency),
        "total_minor": to_minor(draft.total, draft.currency),
        "issued_at_us": to_us(invoice.issued_at),
        "issue_day": day_number(invoice.issue_date),
        "close_no": close.close_no,
        "pinned_load": close.pinned_load,
        "revision": invoice.revision,
        "replaces": invoice.replaces,
    }


def line_rows(draft: DraftInvoice, number: str) -> list[dict[str, object]]:
    """Its lines as they are written."""
    return [
        {
            "number": number,
            "line_no": line_no,
            "api": line.api,
            "charged_units": line.charged_units,
            "unit_price_micro": line.unit_price_micro,
            "net_minor": to_minor(line.net, draft.currency),
        }
        for line_no, line in enumerate(draft.lines, start=1)
    ]
