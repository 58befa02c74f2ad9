"""A draft and its number make an invoice: who, what and when, as it was known at one load (rules 6.1 to 6.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from billing.core.asof import values_during
from billing.core.cycles import CycleSpan
from billing.core.frames import rows
from billing.core.invoicing import DraftInvoice, DraftLine
from billing.core.model import ApiBilling, Invoice, InvoiceLine, InvoiceReference, Statement
from billing.core.particulars import ExchangeRates, due_date, vat_total
from billing.core.parties import Parties
from billing.core.quantity import decimal_of_micro
from billing.core.reference import Reference


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiFacts:
    """An API's name, what it is measured in and how it counts. ``sizes``: instants and unit sizes in 10^-6, in order of
    time.
    """

    name: str
    usage_unit: str
    billing: ApiBilling
    sizes: Sequence[tuple[int, int]]

    def sizes_in(self, cycle: CycleSpan) -> tuple[Decimal, ...]:
        """The unit sizes in force during a cycle, in order of time, each once."""
        return tuple(decimal_of_micro(size) for size in dict.fromkeys(size for _, size in self.changes_in(cycle)))

    def changes_in(self, cycle: CycleSpan) -> list[tuple[int | None, int]]:
        """The same with the instant since when each is in force, None for the one that the cycle began with."""
        return values_during(self.sizes, cycle.start_us, cycle.end_us)


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What an invoice says beside its amounts. ``apis`` is by API."""

    parties: Parties
    exchange_rates: ExchangeRates
    apis: Mapping[str, ApiFacts]

    @classmethod
    def from_reference(cls, reference: Reference) -> Facts:
        """Arrange what was known at one load."""
        return cls(
            parties=Parties.from_reference(reference),
            exchange_rates=ExchangeRates.from_reference(reference),
            apis=api_facts(rows(reference["apis"]), rows(reference["unit_rates"])),
        )


def api_facts(apis: Iterable[Any], unit_rates: Iterable[Any]) -> dict[str, ApiFacts]:
    """By API, of rows of the two tables as they were known at one load; in any order."""
    sizes: dict[str, list[tuple[int, int]]] = {}
    for row in sorted(unit_rates, key=lambda row: int(row.valid_from)):
        sizes.setdefault(row.api, []).append((int(row.valid_from), int(row.unit_size)))
    return {
        row.api: ApiFacts(
            name=row.name, usage_unit=row.usage_unit, billing=ApiBilling(row.billing), sizes=sizes.get(row.api, ())
        )
        for row in apis
    }


def invoice_of(
    draft: DraftInvoice,
    facts: Facts,
    *,
    number: str,
    issued_at: datetime,
    issued_on: date,
    preceding: InvoiceReference | None = None,
    statement: Statement | None = None,
) -> Invoice:
    """The whole invoice. ``issued_on`` is the seller's local date of ``issued_at``."""
    parties, cycle = facts.parties, draft.cycle.describe()
    method = parties.payment_method(draft.subscription_id)
    return Invoice(
        number=number,
        issued_at=issued_at,
        issue_date=issued_on,
        seller=parties.seller,
        customer=parties.customer(draft.customer_id),
        team_id=draft.team_id,
        team_name=parties.team_name[draft.team_id],
        subscription_id=draft.subscription_id,
        cycle=cycle,
        currency=draft.currency,
        lines=tuple(_line(number_, line, draft.cycle, facts) for number_, line in enumerate(draft.lines, start=1)),
        net=draft.net,
        tax_treatment=draft.tax_treatment,
        tax=draft.tax,
        total=draft.total,
        payment_method=method,
        due_date=due_date(issued_on, parties.seller, method),
        purchase_order=parties.purchase_order(draft.subscription_id),
        vat_total=vat_total(draft.tax, draft.currency, parties.seller, cycle.period_last_day, facts.exchange_rates),
        preceding=preceding,
        statement=statement,
    )


def _line(line_no: int, line: DraftLine, cycle: CycleSpan, facts: Facts) -> InvoiceLine:
    api = facts.apis[line.api]
    return InvoiceLine(
        line_no=line_no,
        api=line.api,
        api_name=api.name,
        usage_unit=api.usage_unit,
        unit_sizes=api.sizes_in(cycle),
        charged_units=line.charged_units,
        unit_price=decimal_of_micro(line.unit_price_micro),
        net=line.net,
    )
