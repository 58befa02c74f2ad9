"""The register of invoices and credit notes, reconciled with the ledger before it is shown (rules 6.1 to 6.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, func, select

from billing.core import checks
from billing.core.crediting import vat_of_credit
from billing.core.cycles import start_of_local_day_us
from billing.core.errors import Finding, UsageError
from billing.core.instants import day_number, format_us, from_day, from_us
from billing.core.model import Kind, TaxCategory, TaxTreatment
from billing.core.particulars import ExchangeRates, vat_total
from billing.core.parties import Parties
from billing.core.quantity import decimal_of_micro
from billing.core.register import (
    Booked,
    DocumentKind,
    Register,
    Registered,
    RegisterTotals,
    Units,
    differences,
    payment_kind,
    register_of,
)
from billing.outbound.spreadsheets import Cell, Sheet, write_sheets
from billing.steps.reference import reference_at, seller_zone
from billing.store.documents import PDF, own_document
from billing.store.home import Home
from billing.store.invoices import from_minor
from billing.store.ledger import ISSUED
from billing.store.reference_history import last_load
from billing.store.tables import closes, credit_notes, cycles, documents, draws, invoice_lines, invoices

COLUMNS = (
    "kind",
    "number",
    "about_invoice",
    "issue_date",
    "issued_at",
    "customer_id",
    "customer",
    "country",
    "vat_id",
    "team_id",
    "subscription_id",
    "period_first_day",
    "period_last_day",
    "cycle_start",
    "cycle_end",
    "currency",
    "net",
    "tax_category",
    "tax_percent",
    "tax",
    "total",
    "vat_currency",
    "tax_in_vat_currency",
    "payment",
    "document_sha256",
)
TOTALS_COLUMNS = ("currency", "tax_category", "tax_percent", "invoices", "credit_notes", "net", "tax", "total")
ALL_TAXES = "all"
"""The tax category of a currency's own total."""

_CYCLE = (cycles.c.cycle_end_us, cycles.c.period_first_day, cycles.c.period_last_day)
_OF_CYCLE = (cycles.c.team_id == invoices.c.team_id) & (cycles.c.cycle_start_us == invoices.c.cycle_start_us)
_PAID = and_(
    draws.c.team_id == invoices.c.team_id,
    draws.c.cycle_start_us == invoices.c.cycle_start_us,
    draws.c.subscription_id == invoices.c.subscription_id,
    draws.c.source == Kind.PAYG.value,
    draws.c.charged_units > 0,
)


def register(home: Home, first_day: date, last_day: date) -> Register:
    """What was issued in these days, both included, dates of the seller's zone.

    Raises ``ConservationBroken`` naming every invoice that is not, to the cent, what the ledger says.
    """
    if last_day < first_day:
        raise UsageError(f"The register from {first_day} to {last_day} has no day in it.")
    with home.database.read() as connection:
        return read_register(home, connection, first_day, last_day)


def read_register(home: Home, connection: Connection, first_day: date, last_day: date) -> Register:
    """The same, of one state of the books."""
    days = (day_number(first_day), day_number(last_day))
    checks.demand([*differences(_booked(connection, days)), *_never_invoiced(home, connection, first_day, last_day)])
    facts: dict[int, _Facts] = {}
    found = [(DocumentKind.INVOICE, row) for row in _issued(connection, days)]
    found += [(DocumentKind.CREDIT_NOTE, row) for row in _credited(connection, days)]
    for load in {row.pinned_load for _, row in found}:
        facts[load] = _Facts.at(home, load)
    return register_of(first_day, last_day, (_registered(kind, row, facts[row.pinned_load]) for kind, row in found))


def register_sheets(found: Register) -> tuple[Sheet, Sheet]:
    """The register and its totals."""
    return (
        Sheet(name="Register", columns=COLUMNS, rows=tuple(_cells(row) for row in found.rows)),
        Sheet(name="Totals", columns=TOTALS_COLUMNS, rows=tuple(totals_cells(one) for one in found.totals)),
    )


def write_register(found: Register, path: Path) -> list[Path]:
    """Write it as CSV or XLSX, by the suffix; the paths that were written."""
    end = from_day(day_number(found.last_day) + 1)
    stamped = max((row.issued_at for row in found.rows), default=from_us(start_of_local_day_us("UTC", end)))
    return write_sheets(path, register_sheets(found), stamped)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Facts:
    """Names, addresses and rates as they were known at one load."""

    parties: Parties
    exchange_rates: ExchangeRates

    @classmethod
    def at(cls, home: Home, load_no: int) -> _Facts:
        reference = reference_at(home, load_no)
        return cls(parties=Parties.from_reference(reference), exchange_rates=ExchangeRates.from_reference(reference))

    def vat_tax(self, kind: DocumentKind, row: Any) -> Decimal | None:
        """The tax in the seller's VAT currency: of a credit note what it adds to the sum that is given back, which is
        what is rounded.
        """
        seller, currency, last_day = self.parties.seller, row.currency, from_day(row.period_last_day)
        of_invoice = from_minor(row.invoice_tax_minor, currency)
        vat = vat_total(of_invoice, currency, seller, last_day, self.exchange_rates)
        if kind is DocumentKind.INVOICE or vat is None:
            return vat
        tax_before = from_minor(int(row.tax_so_far_minor) - row.tax_minor, currency)
        tax = from_minor(row.tax_minor, currency)
        return vat_of_credit(tax_before, tax, currency, seller, last_day, self.exchange_rates).copy_negate()


def _issued(connection: Connection, days: tuple[int, int]) -> Iterable[Any]:
    """Invoices with the cycle that they are of."""
    named = (invoices.c.replaces.label("about"), invoices.c.tax_minor.label("invoice_tax_minor"))
    query = select(invoices, *named, *_CYCLE, documents.c.sha256).join(cycles, _OF_CYCLE)
    query = query.outerjoin(documents, own_document(invoices.c.number, PDF))
    return connection.execute(query.where(invoices.c.issue_day.between(*days)))


def _credited(connection: Connection, days: tuple[int, int]) -> Iterable[Any]:
    """Credit notes with the cycle and the tax category of their invoice. ``tax_so_far_minor`` is what the invoice's
    credit notes up to this one give back.
    """
    order = (credit_notes.c.issued_at_us, credit_notes.c.year, credit_notes.c.prefix, credit_notes.c.sequence)
    so_far = func.sum(credit_notes.c.tax_minor).over(partition_by=credit_notes.c.invoice_number, order_by=order)
    notes = select(credit_notes, so_far.label("tax_so_far_minor")).subquery()
    names = ("number", "net_minor", "tax_minor", "total_minor", "tax_so_far_minor", "issued_at_us", "issue_day")
    of_invoice = [column for column in invoices.c if column.name not in names]
    query = select(*(notes.c[name] for name in names), notes.c.invoice_number.label("about"), *of_invoice, *_CYCLE)
    query = query.add_columns(documents.c.sha256, invoices.c.tax_minor.label("invoice_tax_minor"))
    query = query.join(invoices, invoices.c.number == notes.c.invoice_number)
    query = query.join(cycles, _OF_CYCLE)
    query = query.outerjoin(documents, own_document(notes.c.number, PDF))
    return connection.execute(query.where(notes.c.issue_day.between(*days)))


def _registered(kind: DocumentKind, row: Any, facts: _Facts) -> Registered:
    customer, seller = facts.parties.customer(row.customer_id), facts.parties.seller
    in_vat = facts.vat_tax(kind, row)
    sign = -1 if kind is DocumentKind.CREDIT_NOTE else 1
    return Registered(
        kind=kind,
        number=row.number,
        about=row.about,
        issue_date=from_day(row.issue_day),
        issued_at=from_us(row.issued_at_us),
        customer_id=row.customer_id,
        customer_name=customer.legal_name,
        country=customer.country,
        vat_id=customer.vat_id,
        team_id=row.team_id,
        subscription_id=row.subscription_id,
        period_first_day=from_day(row.period_first_day),
        period_last_day=from_day(row.period_last_day),
        cycle_start=from_us(row.cycle_start_us),
        cycle_end=from_us(row.cycle_end_us),
        currency=row.currency,
        net=from_minor(sign * row.net_minor, row.currency),
        tax_treatment=TaxTreatment(
            category=TaxCategory(row.tax_category), percent=decimal_of_micro(row.tax_percent_micro)
        ),
        tax=from_minor(sign * row.tax_minor, row.currency),
        total=from_minor(sign * row.total_minor, row.currency),
        vat_currency="" if in_vat is None else seller.vat_currency,
        vat_tax=in_vat,
        payment=payment_kind(facts.parties.payment_method(row.subscription_id)),
        sha256=row.sha256 or "",
    )


def _booked(connection: Connection, days: tuple[int, int]) -> Iterator[Booked]:
    """Every invoice of these days beside what the ledger's draws say of its cycle."""
    mine = invoices.c.issue_day.between(*days)
    columns = (invoices.c.number, draws.c.api, draws.c.unit_price_micro)
    sums = select(*columns, func.sum(draws.c.charged_units).label("charged_units")).join(draws, _PAID)
    drawn: dict[str, list[Any]] = {}
    for row in connection.execute(sums.where(mine).group_by(*columns)):
        drawn.setdefault(row.number, []).append(row)
    lines: dict[str, list[Any]] = {}
    for row in connection.execute(select(invoice_lines).join(invoices).where(mine)):
        lines.setdefault(row.number, []).append(row)
    for head in connection.execute(select(invoices).where(mine).order_by(invoices.c.number)):
        yield Booked(
            number=head.number,
            currency=head.currency,
            net=from_minor(head.net_minor, head.currency),
            lines={_units(row): from_minor(row.net_minor, head.currency) for row in lines.get(head.number, ())},
            drawn=tuple(_units(row) for row in drawn.get(head.number, ())),
        )


def _units(row: Any) -> Units:
    return Units(api=row.api, unit_price_micro=int(row.unit_price_micro), charged_units=int(row.charged_units))


def _never_invoiced(home: Home, connection: Connection, first_day: date, last_day: date) -> Iterable[Finding]:
    """Cycles closed in these days that pay as you go paid for, without an invoice (rule 6.1)."""
    load_no = last_load(connection)
    if not load_no:
        return ()
    zone = seller_zone(reference_at(home, load_no))
    edges = [start_of_local_day_us(zone, day) for day in (first_day, last_day + timedelta(days=1))]
    paid = and_(draws.c.team_id == cycles.c.team_id, draws.c.cycle_start_us == cycles.c.cycle_start_us)
    query = (
        select(draws.c.team_id, draws.c.cycle_start_us, draws.c.subscription_id)
        .distinct()
        .join(cycles, paid)
        .join(closes, closes.c.close_no == cycles.c.close_no)
        .outerjoin(invoices, _PAID)
        .where(cycles.c.state == ISSUED, draws.c.source == Kind.PAYG.value, draws.c.charged_units > 0)
        .where(invoices.c.number.is_(None), closes.c.issued_at_us >= edges[0], closes.c.issued_at_us < edges[1])
    )
    return [
        Finding(
            file=f"team {row.team_id}, cycle of {format_us(row.cycle_start_us)}",
            message=f"{row.subscription_id} paid as it went, and no invoice was issued",
        )
        for row in connection.execute(query)
    ]


def _cells(row: Registered) -> tuple[Cell, ...]:
    treatment = row.tax_treatment
    return (
        row.kind.value,
        row.number,
        row.about,
        row.issue_date,
        row.issued_at,
        row.customer_id,
        row.customer_name,
        row.country,
        row.vat_id,
        row.team_id,
        row.subscription_id,
        row.period_first_day,
        row.period_last_day,
        row.cycle_start,
        row.cycle_end,
        row.currency,
        row.net,
        treatment.category.value,
        treatment.percent,
        row.tax,
        row.total,
        row.vat_currency,
        row.vat_tax,
        row.payment,
        row.sha256,
    )


def totals_cells(one: RegisterTotals) -> tuple[Cell, ...]:
    """A total as a row of ``TOTALS_COLUMNS``."""
    tax: Sequence[Cell] = (ALL_TAXES, None)
    if one.tax_treatment is not None:
        tax = (one.tax_treatment.category.value, one.tax_treatment.percent)
    return (one.currency, *tax, one.invoices, one.credit_notes, one.net, one.tax, one.total)
