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
SOURCES = (Kind.FREE.value, Kind.TOKEN_FLEX.value, Kind.FLEX.value, Kind.PAYG.value, UNFUNDED)
"""Where units come from, in the order in which sources pay (rule 5.1)."""


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
    MISSING_PARTICULARS = "missing_particulars"
    INVALID_INVOICE = "invalid_invoice"
    REJECTED = "rejected"  # by a person, at approval (rule 6.7)


class Role(StrEnum):
    """What a person is to a team (table ``team_members``)."""

    BUYER = "buyer"
    PRIMARY_ADMIN = "primary_admin"
    SECONDARY_ADMIN = "secondary_admin"
    SSO_ADMIN = "sso_admin"
    HUB_ADMIN = "hub_admin"
    DEVELOPER = "developer"

    @property
    def sees_money(self) -> bool:
        """Whether balances, spend and invoices are for this role; all others see their hub's usage."""
        return self not in (Role.HUB_ADMIN, Role.DEVELOPER)


class InvoiceType(StrEnum):
    """UNTDID 1001 codes of the documents that are issued (EN 16931, BT-3)."""

    INVOICE = "380"
    CREDIT_NOTE = "381"


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
    """A cycle that cannot be billed honestly, and why (rule 3.8). ``detail`` names what is missing, where the reason
    alone does not say it.
    """

    team_id: str
    cycle_start_us: int
    reason: ParkedReason
    detail: str = ""

    @property
    def described(self) -> str:
        """Why, in words for a person."""
        return f"{self.reason.value} ({self.detail})" if self.detail else self.reason.value


@dataclass(frozen=True, kw_only=True, slots=True)
class Seller:
    """Who bills: one per home. What may be blank is ``""``; BT numbers are those of EN 16931.

    ``registration_id`` (BT-30) with its ISO 6523 scheme, ``electronic_address`` (BT-34) with its EAS scheme,
    ``creditor_id`` (BT-90) for direct debits, ``legal_information`` (BT-33). ``payment_days``: when a bank transfer is
    due after the issue date. ``vat_currency`` (BT-6): the currency in which VAT is accounted for, where invoices may be
    in another.
    """

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
    address_line2: str = ""
    region: str = ""
    registration_id: str = ""
    registration_scheme: str = ""
    electronic_address: str = ""
    electronic_address_scheme: str = ""
    contact_name: str = ""
    phone: str = ""
    bic: str = ""
    creditor_id: str = ""
    legal_information: str = ""
    payment_days: int | None = None
    vat_currency: str = ""
    credit_note_prefix: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Customer:
    """The buyer, who owns teams (rule 1.1). ``buyer_reference`` is BT-10; ``vat_id_checked_at`` and ``..._ref`` are the
    evidence that the VAT id was checked, on which a reverse charge rests.
    """

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
    registration_id: str = ""
    registration_scheme: str = ""
    electronic_address: str = ""
    electronic_address_scheme: str = ""
    buyer_reference: str = ""
    vat_id_checked_at: datetime | None = None
    vat_id_check_ref: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PaymentMethod:
    """How a pay-as-you-go buyer pays: never more of a card than its brand and last four digits. ``mandate`` is the
    reference of a direct debit's mandate (BT-89).
    """

    payment_method_id: str
    gateway: str
    brand: str
    last4: str
    expires: str
    mandate: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaxTreatment:
    """The category and rate of rule 6.2. ``percent`` is 0 where nothing is charged."""

    category: TaxCategory
    percent: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class InvoiceLine:
    """Charged units of one API at one price (rule 6.1). ``unit_sizes`` are those in force in the cycle, in order of
    time. ``by_amount``: a credit of an amount rather than of units; it is written as 1 x the amount.
    """

    line_no: int
    api: str
    api_name: str
    usage_unit: str
    unit_sizes: tuple[Decimal, ...]
    charged_units: int
    unit_price: Decimal
    net: Decimal
    by_amount: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class StatementLine:
    """How one API's usage became units in a cycle (rule 6.6). Quantities are in the API's usage unit.

    ``usage`` includes ``late_usage``. ``units`` are those drawn from each source, in the order in which sources pay,
    without those that gave none; ``invoiced_units`` are the ones on this invoice. An API that is not rated has usage
    only.
    """

    api: str
    api_name: str
    usage_unit: str
    billing: ApiBilling
    unit_sizes: tuple[Decimal, ...]
    opening: Decimal
    usage: Decimal
    late_usage: Decimal
    units: tuple[tuple[str, int], ...]
    invoiced_units: int
    closing: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class DailyUsage:
    """Actual usage of one API in the UTC days that a cycle touches, from ``first_day`` on, late apart (rule 8.2)."""

    api: str
    api_name: str
    usage_unit: str
    first_day: date
    quantities: tuple[Decimal, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Balance:
    """What is available of what was granted (rule 8.1). ``api`` is blank for tokens; ends and refreshes are instants,
    None where there is none.
    """

    source: Kind
    subscription_id: str
    grant_id: str
    api: str
    api_name: str
    granted: Decimal
    available: Decimal
    ends_at: datetime | None
    refreshes_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """What a buyer needs to check an invoice by hand (rule 6.6). ``balances`` are those at the cycle's last instant;
    ``daily`` is of the rated APIs, in the order of ``lines``.
    """

    lines: tuple[StatementLine, ...]
    daily: tuple[DailyUsage, ...]
    balances: tuple[Balance, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class InvoiceReference:
    """Another document that this one is about (BT-25, BT-26)."""

    number: str
    issue_date: date


@dataclass(frozen=True, kw_only=True, slots=True)
class Invoice:
    """An issued invoice or credit note, complete: all that a document needs, nothing left to compute (rules 6.1 to 6.4,
    6.6).

    ``net``, ``tax`` and ``total`` carry the currency's minor digits; those of a credit note are what it gives back,
    above 0. ``vat_total`` is the tax in the seller's ``vat_currency``, None where that is the invoice's own.
    ``preceding`` is the invoice that a credit note names, or the one that this invoice takes the place of. ``reason``
    is a credit note's.
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
    type: InvoiceType = InvoiceType.INVOICE
    due_date: date | None = None
    purchase_order: str = ""
    vat_total: Decimal | None = None
    preceding: InvoiceReference | None = None
    reason: str = ""
    statement: Statement | None = None

    @property
    def buyer_reference(self) -> str:
        """What the buyer files it under (BT-10): its own reference, else the team's name, else its id."""
        return self.customer.buyer_reference or self.team_name or self.team_id
