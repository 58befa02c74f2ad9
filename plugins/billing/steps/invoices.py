"""Invoices as their readers see them: put together from the ledger and from what their close had pinned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, select

from billing.core.cycles import CycleSpan
from billing.core.errors import NotFound
from billing.core.instants import from_day, from_us
from billing.core.model import Customer, Invoice, InvoiceLine, PaymentMethod, Seller, TaxCategory, TaxTreatment
from billing.core.quantity import decimal_of_micro
from billing.core.reference import Reference
from billing.steps.reference import reference_at
from billing.store.home import Home
from billing.store.invoices import from_minor
from billing.store.tables import cycles, documents, invoice_lines, invoices

# A statement of PostgreSQL takes 65,535 parameters at most.
_NUMBERS_AT_ONCE = 1_000


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
        joined = invoices.join(cycles, _own_cycle()).outerjoin(documents, documents.c.number == invoices.c.number)
        columns = (invoices, cycles.c.period_first_day, cycles.c.period_last_day, documents.c.path)
        order = (invoices.c.year, invoices.c.prefix, invoices.c.sequence)
        rows = connection.execute(select(*columns).select_from(joined).order_by(*order)).all()
    return [_listed(home, row) for row in rows]


def read_invoices(home: Home, numbers: Sequence[str]) -> list[Invoice]:
    """Issued invoices, complete, in the order asked for. Raises ``NotFound`` for a number that was never issued."""
    heads: dict[str, Row[Any]] = {}
    lines: dict[str, list[Row[Any]]] = {}
    with home.database.read() as connection:
        for low in range(0, len(numbers), _NUMBERS_AT_ONCE):
            some = numbers[low : low + _NUMBERS_AT_ONCE]
            heads |= {row.number: row for row in _heads(connection, some)}
            query = select(invoice_lines).where(invoice_lines.c.number.in_(some)).order_by(invoice_lines.c.line_no)
            for row in connection.execute(query):
                lines.setdefault(row.number, []).append(row)
    missing = [number for number in numbers if number not in heads]
    if missing:
        raise NotFound(f"No invoice {missing[0]} was ever issued; `billing invoices list` names them all.")
    facts = {load: _Facts(reference_at(home, load)) for load in {row.pinned_load for row in heads.values()}}
    return [_invoice(heads[number], lines[number], facts[heads[number].pinned_load]) for number in numbers]


class _Facts:
    """Names and addresses as they were known at one load."""

    def __init__(self, reference: Reference) -> None:
        self.seller = Seller(**_texts(reference["seller"].iloc[0], Seller))
        self.customers = reference["customers"].set_index("customer_id", drop=False)
        self.teams = reference["teams"].set_index("team_id", drop=False)
        self.apis = reference["apis"].set_index("api", drop=False)
        self.subscriptions = reference["subscriptions"].set_index("subscription_id", drop=False)
        self.payment_methods = reference["payment_methods"].set_index("payment_method_id", drop=False)
        self.unit_rates = reference["unit_rates"].sort_values("valid_from")

    def payment_method(self, subscription_id: str) -> PaymentMethod | None:
        """The stored payment method of a subscription; None where it has none that is known."""
        method = str(self.subscriptions.loc[subscription_id, "payment_method_id"])
        if not method or method not in self.payment_methods.index:
            return None
        return PaymentMethod(**_texts(self.payment_methods.loc[method], PaymentMethod))

    def unit_sizes(self, api: str, cycle: CycleSpan) -> tuple[Decimal, ...]:
        """The unit sizes in force during a cycle, in order of time."""
        mine = self.unit_rates[(self.unit_rates["api"] == api) & (self.unit_rates["valid_from"] < cycle.end_us)]
        before = mine[mine["valid_from"] <= cycle.start_us].tail(1)
        sizes = [*before["unit_size"], *mine[mine["valid_from"] > cycle.start_us]["unit_size"]]
        return tuple(decimal_of_micro(size) for size in dict.fromkeys(int(size) for size in sizes))


def _texts(row: Any, noun: type) -> dict[str, Any]:
    return {name: str(row[name]) for name in noun.__slots__}  # type: ignore[attr-defined]


def _own_cycle() -> Any:
    return (cycles.c.team_id == invoices.c.team_id) & (cycles.c.cycle_start_us == invoices.c.cycle_start_us)


def _heads(connection: Connection, numbers: Sequence[str]) -> Sequence[Row[Any]]:
    columns = (invoices, cycles.c.cycle_end_us, cycles.c.time_zone, cycles.c.payg_subscription_id)
    query = select(*columns).select_from(invoices.join(cycles, _own_cycle())).where(invoices.c.number.in_(numbers))
    return connection.execute(query).all()


def _invoice(head: Row[Any], lines: Sequence[Row[Any]], facts: _Facts) -> Invoice:
    span = CycleSpan(head.cycle_start_us, head.cycle_end_us, head.time_zone, head.payg_subscription_id or None)
    currency = head.currency
    return Invoice(
        number=head.number,
        issued_at=from_us(head.issued_at_us),
        issue_date=from_day(head.issue_day),
        seller=facts.seller,
        customer=Customer(**_texts(facts.customers.loc[head.customer_id], Customer)),
        team_id=head.team_id,
        team_name=str(facts.teams.loc[head.team_id, "name"]),
        subscription_id=head.subscription_id,
        cycle=span.describe(),
        currency=currency,
        lines=tuple(_line(line, span, currency, facts) for line in lines),
        net=from_minor(head.net_minor, currency),
        tax_treatment=TaxTreatment(
            category=TaxCategory(head.tax_category), percent=decimal_of_micro(head.tax_percent_micro)
        ),
        tax=from_minor(head.tax_minor, currency),
        total=from_minor(head.total_minor, currency),
        payment_method=facts.payment_method(head.subscription_id),
    )


def _line(row: Row[Any], cycle: CycleSpan, currency: str, facts: _Facts) -> InvoiceLine:
    return InvoiceLine(
        line_no=row.line_no,
        api=row.api,
        api_name=str(facts.apis.loc[row.api, "name"]),
        usage_unit=str(facts.apis.loc[row.api, "usage_unit"]),
        unit_sizes=facts.unit_sizes(row.api, cycle),
        charged_units=row.charged_units,
        unit_price=decimal_of_micro(row.unit_price_micro),
        net=from_minor(row.net_minor, currency),
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
