"""Invoices as their readers see them: put together from the ledger and from what their close had pinned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, select

from billing.core.cycles import CycleSpan
from billing.core.errors import NotFound
from billing.core.instants import from_day, from_us
from billing.core.invoicing import DraftInvoice, DraftLine
from billing.core.issuing import Facts, invoice_of
from billing.core.model import Invoice, InvoiceReference, TaxCategory, TaxTreatment
from billing.core.quantity import decimal_of_micro
from billing.steps.reference import reference_at
from billing.steps.statements import Statements
from billing.store.database import in_parts
from billing.store.documents import PDF, own_document
from billing.store.home import Home
from billing.store.invoices import from_minor
from billing.store.tables import cycles, documents, invoice_lines, invoices


@dataclass(frozen=True, kw_only=True, slots=True)
class InvoiceListed:
    """An invoice in a list, with where its document is (blank until it is rendered)."""

    number: str
    team_id: str
    customer: str
    issue_date: str
    period: str
    total: str
    currency: str
    document: str


def list_invoices(home: Home) -> list[InvoiceListed]:
    """Every invoice in the order of its number."""
    with home.database.read() as connection:
        joined = invoices.join(cycles, _own_cycle()).outerjoin(documents, own_document(invoices.c.number, PDF))
        columns = (invoices, cycles.c.period_first_day, cycles.c.period_last_day, documents.c.path)
        order = (invoices.c.year, invoices.c.prefix, invoices.c.sequence)
        rows = connection.execute(select(*columns).select_from(joined).order_by(*order)).all()
    return [_listed(home, row) for row in rows]


def read_invoices(home: Home, numbers: Sequence[str]) -> list[Invoice]:
    """Issued invoices, complete, in the order asked for. Raises ``NotFound`` for a number that was never issued."""
    heads: dict[str, Row[Any]] = {}
    lines: dict[str, list[Row[Any]]] = {}
    with home.database.read() as connection:
        for some in in_parts(numbers):
            heads |= {row.number: row for row in _heads(connection, some)}
            query = select(invoice_lines).where(invoice_lines.c.number.in_(some)).order_by(invoice_lines.c.line_no)
            for row in connection.execute(query):
                lines.setdefault(row.number, []).append(row)
        missing = [number for number in numbers if number not in heads]
        if missing:
            raise NotFound(f"No invoice {missing[0]} was ever issued; `billing invoices list` names them all.")
        loads = {load for row in heads.values() for load in (row.pinned_load, row.cycle_load)}
        references = {load: reference_at(home, load) for load in loads}
        statements = Statements.read(connection, list(heads.values()), references)
        replaced = _replaced(connection, list(heads.values()))
    facts = {load: Facts.from_reference(reference) for load, reference in references.items()}
    return [_invoice(heads[n], lines[n], facts, statements, replaced.get(heads[n].replaces)) for n in numbers]


def _own_cycle() -> Any:
    return (cycles.c.team_id == invoices.c.team_id) & (cycles.c.cycle_start_us == invoices.c.cycle_start_us)


def _heads(connection: Connection, numbers: Sequence[str]) -> Sequence[Row[Any]]:
    cycle_load = cycles.c.pinned_load.label("cycle_load")
    columns = (invoices, cycles.c.cycle_end_us, cycles.c.time_zone, cycles.c.payg_subscription_id, cycle_load)
    query = select(*columns).select_from(invoices.join(cycles, _own_cycle())).where(invoices.c.number.in_(numbers))
    return connection.execute(query).all()


def _replaced(connection: Connection, heads: Sequence[Row[Any]]) -> dict[str, InvoiceReference]:
    """The invoices that others took the place of, by number."""
    names = [head.replaces for head in heads if head.replaces]
    query = select(invoices.c.number, invoices.c.issue_day).where(invoices.c.number.in_(names))
    return {
        row.number: InvoiceReference(number=row.number, issue_date=from_day(row.issue_day))
        for row in connection.execute(query)
    }


def _invoice(
    head: Row[Any],
    lines: Sequence[Row[Any]],
    facts: Mapping[int, Facts],
    statements: Statements,
    preceding: InvoiceReference | None,
) -> Invoice:
    """Parties and rates are those of the invoice's own load, which a corrected one has later than its cycle; APIs,
    sizes and balances those by which the cycle was rated.
    """
    rated_by = facts[head.cycle_load].apis
    return invoice_of(
        _draft(head, lines),
        replace(facts[head.pinned_load], apis=rated_by),
        number=head.number,
        issued_at=from_us(head.issued_at_us),
        issued_on=from_day(head.issue_day),
        preceding=preceding,
        statement=statements.of(head, rated_by),
    )


def _draft(head: Row[Any], lines: Sequence[Row[Any]]) -> DraftInvoice:
    """The draft that an invoice was issued from."""
    currency = head.currency
    return DraftInvoice(
        team_id=head.team_id,
        customer_id=head.customer_id,
        subscription_id=head.subscription_id,
        cycle=CycleSpan(head.cycle_start_us, head.cycle_end_us, head.time_zone, head.payg_subscription_id or None),
        currency=currency,
        lines=tuple(
            DraftLine(
                api=line.api,
                charged_units=line.charged_units,
                unit_price_micro=line.unit_price_micro,
                net=from_minor(line.net_minor, currency),
            )
            for line in lines
        ),
        net=from_minor(head.net_minor, currency),
        tax_treatment=TaxTreatment(
            category=TaxCategory(head.tax_category), percent=decimal_of_micro(head.tax_percent_micro)
        ),
        tax=from_minor(head.tax_minor, currency),
        total=from_minor(head.total_minor, currency),
    )


def _listed(home: Home, row: Row[Any]) -> InvoiceListed:
    customers = reference_at(home, row.pinned_load)["customers"]
    name = customers.loc[customers["customer_id"] == row.customer_id, "legal_name"].iloc[0]
    return InvoiceListed(
        number=row.number,
        team_id=row.team_id,
        customer=str(name),
        issue_date=from_day(row.issue_day).isoformat(),
        period=f"{from_day(row.period_first_day)} to {from_day(row.period_last_day)}",
        total=str(from_minor(row.total_minor, row.currency)),
        currency=row.currency,
        document=str(home.documents.locate(row.path)) if row.path else "",
    )
