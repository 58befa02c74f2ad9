"""Every noun of the business on one page: immutable values, keyword-only.

Instants are aware datetimes in UTC, dates are dates in the zone that governs them, quantities are
``int`` of 10^-6 (``*_micro``), money and prices are ``Decimal``. Intervals are half-open: the first
instant belongs, the end does not; ``None`` as an end means open.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum


class Kind(StrEnum):
    """Kinds of subscription (rule 1.3). The first four pay for charged units, in this order (rule 5.1)."""

    FREE = "free"
    TOKEN_FLEX = "token_flex"
    FLEX = "flex"
    PAYG = "payg"
    CAPACITY = "capacity"


UNFUNDED = "unfunded"
"""The source of a unit that nothing could pay for (rule 5.5)."""


class ApiBilling(StrEnum):
    """How usage of an API counts."""

    RATED = "rated"
    UNRATED = "unrated"
    CAPACITY = "capacity"


class ParkedReason(StrEnum):
    """Why a team's cycle could not be billed honestly, in the order in which reasons are given (rule 3.8)."""

    NO_UNIT_SIZE = "no_unit_size"
    NO_TAX_RATE = "no_tax_rate"
    BOUND_EXCEEDED = "bound_exceeded"


class TaxCategory(StrEnum):
    """VAT category codes of EN 16931 that rule 6.2 uses."""

    STANDARD = "S"
    REVERSE_CHARGE = "AE"
    OUT_OF_SCOPE = "O"


@dataclass(frozen=True, kw_only=True, slots=True)
class Subscription:
    """What a team bought (rule 1.3). ``team_id`` is ``None`` until it is assigned; active in ``[purchased_at,
    ends_at)``.
    """

    subscription_id: str
    team_id: str | None
    kind: Kind
    purchased_at_us: int
    time_zone: str
    ends_at_us: int
    currency: str | None
    payment_method_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cycle:
    """One billing cycle of a team, ``[start, end)`` (rules 3.2, 3.3). Local days are those of its first and last
    instants.
    """

    start: datetime
    end: datetime
    time_zone: str
    period_first_day: date
    period_last_day: date
    payg_subscription_id: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked:
    """A cycle that cannot be billed honestly, and why (rule 3.8)."""

    team_id: str
    cycle_start_us: int
    reason: ParkedReason


@dataclass(frozen=True, kw_only=True, slots=True)
class Seller:
    """Who bills: one per home."""

    legal_name: str
    address_line1: str
    postal_code: str
    city: str
    country: str
    vat_id: str
    invoice_prefix: str
    time_zone: str
    iban: str
    email: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Customer:
    """The buyer, who owns teams (rule 1.1)."""

    customer_id: str
    legal_name: str
    address_line1: str
    address_line2: str
    postal_code: str
    city: str
    region: str
    country: str
    vat_id: str
    email: str
    locale: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PaymentMethod:
    """How a pay-as-you-go buyer pays: never more of a card than its brand and last four digits."""

    payment_method_id: str
    gateway: str
    brand: str
    last4: str
    expires: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TaxTreatment:
    """The category and rate of rule 6.2. ``percent`` is 0 where nothing is charged."""

    category: TaxCategory
    percent: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class InvoiceLine:
    """Charged units of one API at one price (rule 6.1). ``unit_sizes`` are those in force in the cycle, in order of
    time.
    """

    line_no: int
    api: str
    api_name: str
    usage_unit: str
    unit_sizes: tuple[Decimal, ...]
    charged_units: int
    unit_price: Decimal
    net: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class Invoice:
    """An issued invoice, complete: all that a document needs, nothing left to compute (rules 6.1 to 6.3).

    ``net``, ``tax`` and ``total`` carry the currency's minor digits. ``buyer_reference`` is the team's name.
    """

    number: str
    issued_at: datetime
    issue_date: date
    seller: Seller
    customer: Customer
    team_id: str
    team_name: str
    subscription_id: str
    cycle: Cycle
    currency: str
    lines: tuple[InvoiceLine, ...]
    net: Decimal
    tax_treatment: TaxTreatment
    tax: Decimal
    total: Decimal
    payment_method: PaymentMethod | None
