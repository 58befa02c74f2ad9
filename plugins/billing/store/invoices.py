"""Issued invoices: written once with their number, never changed (rules 6.3 and 6.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection, func, insert, select

from billing.core.instants import day_number, to_us
from billing.core.invoicing import DraftInvoice, invoice_number
from billing.core.quantity import minor_digits, parse_micro
from billing.store.ledger import Close
from billing.store.tables import invoice_lines, invoices


@dataclass(frozen=True, kw_only=True, slots=True)
class NewInvoice:
    """A draft with its issue instant, and the seller's local date of it."""

    draft: DraftInvoice
    issued_at: datetime
    issue_date: date


def write_invoices(connection: Connection, close: Close, prefix: str, new: Sequence[NewInvoice]) -> list[str]:
    """Number and write invoices in order, gapless per prefix and year. The caller holds the lock ``books``."""
    numbers: list[str] = []
    for invoice in new:
        year = invoice.issue_date.year
        sequence = _last_sequence(connection, prefix, year) + 1
        number = invoice_number(prefix, year, sequence)
        connection.execute(insert(invoices).values(**_row(close, invoice, prefix, year, sequence, number)))
        connection.execute(insert(invoice_lines), _line_rows(invoice.draft, number))
        numbers.append(number)
    return numbers


def to_minor(amount: Decimal, currency: str) -> int:
    """An amount of money as an integer of the currency's minor unit, exactly."""
    return int(amount.scaleb(minor_digits(currency)))


def from_minor(minor: int, currency: str) -> Decimal:
    """An integer of the minor unit as an amount with the currency's digits."""
    return Decimal(minor).scaleb(-minor_digits(currency))


def _last_sequence(connection: Connection, prefix: str, year: int) -> int:
    mine = invoices.c.prefix == prefix, invoices.c.year == year
    return int(connection.execute(select(func.coalesce(func.max(invoices.c.sequence), 0)).where(*mine)).scalar_one())


def _row(close: Close, invoice: NewInvoice, prefix: str, year: int, sequence: int, number: str) -> dict[str, object]:
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
    }


def _line_rows(draft: DraftInvoice, number: str) -> list[dict[str, object]]:
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
