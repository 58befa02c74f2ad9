"""The register of what was issued: invoices and credit notes, their totals, and that they are what the ledger says
(rules 6.1 to 6.4).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from billing.core.errors import Finding
from billing.core.model import PaymentMethod, TaxTreatment
from billing.core.quantity import decimal_of_micro, format_micro, minor_digits, multiply, round_half_up, total


class DocumentKind(StrEnum):
    """What is in the register."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit note"


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """An invoice or credit note as the register shows it. Amounts carry the currency's minor digits; those of a credit
    note are below 0.

    ``about`` is the invoice that a credit note names, or that an invoice takes the place of (blank: none). ``vat_tax``
    is the tax in the seller's VAT currency (None: the same, or none). ``payment`` is how it is collected, ``sha256``
    that of the PDF (blank: none yet). Names are those known at the load that the document was issued from.
    """

    kind: DocumentKind
    number: str
    about: str
    issue_date: date
    issued_at: datetime
    customer_id: str
    customer_name: str
    country: str
    vat_id: str
    team_id: str
    subscription_id: str
    period_first_day: date
    period_last_day: date
    cycle_start: datetime
    cycle_end: datetime
    currency: str
    net: Decimal
    tax_treatment: TaxTreatment
    tax: Decimal
    total: Decimal
    vat_currency: str
    vat_tax: Decimal | None
    payment: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisterTotals:
    """Documents of one currency (and of one tax category and rate, or of all where ``tax_treatment`` is None)."""

    currency: str
    tax_treatment: TaxTreatment | None
    invoices: int
    credit_notes: int
    net: Decimal
    tax: Decimal
    total: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class Register:
    """What was issued from ``first_day`` to ``last_day``, both included, local days of the seller; in the order of
    issue date, then of number. ``totals``: by currency, within it by tax, before the currency's own.
    """

    first_day: date
    last_day: date
    rows: tuple[Registered, ...]
    totals: tuple[RegisterTotals, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Units:
    """Charged units of one API at one price, in 10^-6 of the currency: of an invoice's line, or drawn in its cycle."""

    api: str
    unit_price_micro: int
    charged_units: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Booked:
    """One invoice beside the ledger: its net, its ``lines`` with their nets, and what pay as you go paid for under its
    subscription in its cycle.
    """

    number: str
    currency: str
    net: Decimal
    lines: Mapping[Units, Decimal]
    drawn: tuple[Units, ...]


def register_of(first_day: date, last_day: date, documents: Iterable[Registered]) -> Register:
    """The register of documents in any order."""
    rows = tuple(sorted(documents, key=lambda one: (one.issue_date, *_in_series(one.number))))
    return Register(first_day=first_day, last_day=last_day, rows=rows, totals=totals_of(rows))


def _in_series(number: str) -> tuple[str, int]:
    """``PREFIX-YEAR-NNNNNN`` (rule 6.3): 999,999 comes before 1,000,000."""
    series, _, sequence = number.rpartition("-")
    return series, int(sequence)


def totals_of(rows: Iterable[Registered]) -> tuple[RegisterTotals, ...]:
    """Totals by currency, category and rate, and by currency."""
    by_tax: dict[tuple[str, str, Decimal], list[Registered]] = defaultdict(list)
    for row in rows:
        by_tax[row.currency, row.tax_treatment.category.value, row.tax_treatment.percent].append(row)
    found: list[RegisterTotals] = []
    for currency in sorted({key[0] for key in by_tax}):
        mine = [by_tax[key] for key in sorted(by_tax) if key[0] == currency]
        found += [_totals(currency, some[0].tax_treatment, some) for some in mine]
        found.append(_totals(currency, None, [row for some in mine for row in some]))
    return tuple(found)


def _totals(currency: str, tax_treatment: TaxTreatment | None, rows: Sequence[Registered]) -> RegisterTotals:
    digits = minor_digits(currency)
    invoices = sum(1 for row in rows if row.kind is DocumentKind.INVOICE)
    return RegisterTotals(
        currency=currency,
        tax_treatment=tax_treatment,
        invoices=invoices,
        credit_notes=len(rows) - invoices,
        net=total((row.net for row in rows), digits),
        tax=total((row.tax for row in rows), digits),
        total=total((row.total for row in rows), digits),
    )


def line_net(units: Units, currency: str) -> Decimal:
    """Units x price, rounded half up once, as on an invoice's line (rule 6.1)."""
    exact = multiply(units.charged_units, decimal_of_micro(units.unit_price_micro))
    return round_half_up(exact, minor_digits(currency))


def differences(booked: Iterable[Booked]) -> list[Finding]:
    """Where invoices are not what the ledger's draws say, to the minor unit (rule 6.1)."""
    return [finding for one in booked for finding in _differences(one)]


def _differences(one: Booked) -> list[Finding]:
    found: list[str] = []
    said, drawn = (_by_line(units) for units in (one.lines, one.drawn))
    for api, price in sorted({*said, *drawn}):
        if said.get((api, price), 0) != drawn.get((api, price), 0):
            told = f"{said.get((api, price), 0)} units on the invoice, {drawn.get((api, price), 0)} drawn"
            found.append(f"{api} at {format_micro(price)}: {told}")
    for units, net in one.lines.items():
        if net != line_net(units, one.currency):
            exact = f"{units.charged_units} x {format_micro(units.unit_price_micro)} is {line_net(units, one.currency)}"
            found.append(f"{units.api}: {exact}, the line says {net}")
    whole = (Units(api=api, unit_price_micro=price, charged_units=units) for (api, price), units in drawn.items())
    sum_ = total((line_net(units, one.currency) for units in whole), minor_digits(one.currency))
    if one.net != sum_:
        found.append(f"net {one.net} {one.currency}, by the ledger {sum_}")
    return [Finding(file=one.number, message=message) for message in found]


def _by_line(units: Iterable[Units]) -> dict[tuple[str, int], int]:
    sums: dict[tuple[str, int], int] = defaultdict(int)
    for one in units:
        sums[one.api, one.unit_price_micro] += one.charged_units
    return sums


def payment_kind(method: PaymentMethod | None) -> str:
    """How a document is collected, in one word: a card, a direct debit, another way of a gateway, or a transfer."""
    if method is None:
        return "transfer"
    if method.mandate:
        return "direct debit"
    return "card" if method.last4 or method.brand else method.gateway
