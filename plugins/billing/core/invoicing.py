"""Draws on pay as you go to invoices: lines, tax, totals, numbers (section 6 of the rules)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import pandas as pd

from billing.core.cycles import CycleSpan, local_date
from billing.core.instants import to_us
from billing.core.model import Kind, Parked, ParkedReason, TaxTreatment
from billing.core.particulars import ExchangeRates, missing_particulars
from billing.core.parties import Parties
from billing.core.quantity import decimal_of_micro, fits_int64, minor_digits, multiply, round_half_up, total
from billing.core.reference import Reference
from billing.core.tax import TaxRates, tax_on, tax_treatment


@dataclass(frozen=True, kw_only=True, slots=True)
class DraftLine:
    """Charged units of one API at one price. ``net`` has the currency's minor digits."""

    api: str
    charged_units: int
    unit_price_micro: int
    net: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class DraftInvoice:
    """An invoice before it is issued: everything but its number and dates (rule 6.1)."""

    team_id: str
    customer_id: str
    subscription_id: str
    cycle: CycleSpan
    currency: str
    lines: tuple[DraftLine, ...]
    net: Decimal
    tax_treatment: TaxTreatment
    tax: Decimal
    total: Decimal

    @property
    def issue_order(self) -> tuple[int, str, str]:
        """Numbers are given in the order of cycle end, team id, subscription id (rule 6.3)."""
        return (self.cycle.end_us, self.team_id, self.subscription_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Buyers:
    """Who buys for which team and where, who sells, and the rates: what an invoice's tax and particulars depend on.

    ``production`` asks for all that the law wants of a real invoice (``core.particulars``). ``decided`` asks for
    nothing: what is rated was complete for the version that rated it, and what a close pinned cannot be mended.
    """

    parties: Parties
    rates: TaxRates
    exchange_rates: ExchangeRates
    production: bool
    decided: bool = False

    @classmethod
    def from_reference(cls, reference: Reference, *, production: bool = False, decided: bool = False) -> Buyers:
        """Arrange what was known at one load."""
        return cls(
            parties=Parties.from_reference(reference),
            rates=TaxRates.from_reference(reference),
            exchange_rates=ExchangeRates.from_reference(reference),
            production=production,
            decided=decided,
        )

    def treatment(self, team_id: str, last_day: date) -> TaxTreatment | None:
        """The tax that an invoice to the team bears; None where no rate is in force."""
        customer_id = self.parties.customer_by_team[team_id]
        return tax_treatment(
            seller_country=self.parties.seller.country,
            buyer_country=self.parties.country(customer_id),
            buyer_vat_id=self.parties.vat_id(customer_id),
            last_day=last_day,
            rates=self.rates,
        )

    def missing(self, draft: DraftInvoice, last_day: date) -> tuple[str, ...]:
        """What an invoice lacks so that it may be issued."""
        if self.decided:
            return ()
        return missing_particulars(
            seller=self.parties.seller,
            customer=self.parties.customer(draft.customer_id),
            method=self.parties.payment_method(draft.subscription_id),
            treatment=draft.tax_treatment,
            tax=draft.tax,
            currency=draft.currency,
            last_day=last_day,
            rates=self.exchange_rates,
            production=self.production,
        )


def draft_invoices(
    draws: pd.DataFrame, cycles: Mapping[tuple[str, int], CycleSpan], buyers: Buyers
) -> tuple[list[DraftInvoice], list[Parked]]:
    """One invoice for each ``payg`` subscription that paid for units in a cycle, and the cycles that cannot be
    invoiced.

    ``draws`` has the columns of ``rating.DRAW_COLUMNS``; ``cycles`` is by team_id and start in microseconds.
    """
    drafts: list[DraftInvoice] = []
    troubles: list[Parked] = []
    for (team_id, start_us, subscription_id), paid in sorted(_paid(draws).items()):
        draft, trouble = _draft_or_trouble(team_id, subscription_id, cycles[team_id, start_us], paid, buyers)
        if draft is not None:
            drafts.append(draft)
        if trouble is not None:
            troubles.append(trouble)
    return drafts, troubles


@dataclass(slots=True)
class _Paid:
    """What one ``payg`` subscription paid for in a cycle: units by API and price in 10^-6."""

    currency: str
    units: dict[tuple[str, int], int]


def _paid(draws: pd.DataFrame) -> dict[tuple[str, int, str], _Paid]:
    """By team_id, start of the cycle and subscription_id."""
    mine = draws[(draws["source"] == Kind.PAYG) & (draws["charged_units"] > 0)]
    names = ("team_id", "cycle_start_us", "subscription_id", "currency", "api", "unit_price_micro", "charged_units")
    found: dict[tuple[str, int, str], _Paid] = {}
    for team_id, start_us, subscription_id, currency, api, price, units in zip(
        *(mine[name].tolist() for name in names), strict=True
    ):
        paid = found.setdefault((team_id, int(start_us), subscription_id), _Paid(currency, {}))
        paid.units[api, int(price)] = paid.units.get((api, int(price)), 0) + int(units)
    return found


def _draft_or_trouble(
    team_id: str, subscription_id: str, cycle: CycleSpan, paid: _Paid, buyers: Buyers
) -> tuple[DraftInvoice | None, Parked | None]:
    """One of the two: the first trouble in the order of rule 3.8."""

    def parked(reason: ParkedReason, detail: str = "") -> Parked:
        return Parked(team_id=team_id, cycle_start_us=cycle.start_us, reason=reason, detail=detail)

    last_day = local_date(cycle.time_zone, cycle.end_us - 1)
    treatment = buyers.treatment(team_id, last_day)
    if treatment is None:
        return None, parked(ParkedReason.NO_TAX_RATE)
    draft = _draft(team_id, buyers.parties.customer_by_team[team_id], subscription_id, cycle, paid, treatment)
    if not fits_int64(int(draft.total.scaleb(minor_digits(draft.currency)))):
        return None, parked(ParkedReason.BOUND_EXCEEDED)
    if missing := buyers.missing(draft, last_day):
        return None, parked(ParkedReason.MISSING_PARTICULARS, "; ".join(missing))
    return draft, None


def _draft(
    team_id: str, customer_id: str, subscription_id: str, cycle: CycleSpan, paid: _Paid, treatment: TaxTreatment
) -> DraftInvoice:
    digits = minor_digits(paid.currency)
    lines = tuple(
        DraftLine(
            api=api,
            charged_units=units,
            unit_price_micro=price,
            net=round_half_up(multiply(units, decimal_of_micro(price)), digits),
        )
        for (api, price), units in sorted(paid.units.items())
    )
    net = total((line.net for line in lines), digits)
    tax = tax_on(net, treatment.percent, digits)
    return DraftInvoice(
        team_id=team_id,
        customer_id=customer_id,
        subscription_id=subscription_id,
        cycle=cycle,
        currency=paid.currency,
        lines=lines,
        net=net,
        tax_treatment=treatment,
        tax=tax,
        total=total((net, tax), digits),
    )


def invoice_number(prefix: str, year: int, sequence: int) -> str:
    """``PREFIX-YEAR-NNNNNN``; seven digits after 999,999 (rule 6.3)."""
    return f"{prefix}-{year}-{sequence:06d}"


def issue_date(issued_at: datetime, seller_time_zone: str) -> date:
    """The local date of the issue instant in the seller's time zone (rule 6.3)."""
    return local_date(seller_time_zone, to_us(issued_at))


def in_issue_order(drafts: Sequence[DraftInvoice]) -> list[DraftInvoice]:
    """Drafts in the order in which they get their numbers (rule 6.3)."""
    return sorted(drafts, key=lambda draft: draft.issue_order)
