"""Charges as the FinOps Open Cost and Usage Specification (FOCUS) tells them to buyers: what cost how much, and why.

A charge is a row. What an invoice or a credit note bills is a row a line, and one for its tax; what prepaid tokens, the
free tier or nothing paid for is usage at no further cost; tokens that were sold are a purchase, and those that expired
are the unused rest of it. Over the rows of a grant the effective cost adds up to what was paid for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import accumulate, pairwise
from types import MappingProxyType

from billing.core.errors import Finding
from billing.core.model import Kind
from billing.core.quantity import decimal_of_micro, divide_half_up, minor_digits, multiply, signed, total

SERVICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "AI and Machine Learning": (
            *("AI Platforms", "Bots", "Generative AI", "Machine Learning", "Natural Language Processing"),
            "Other (AI and Machine Learning)",
        ),
        "Analytics": (
            *("Analytics Platforms", "Business Intelligence", "Data Processing", "Search", "Streaming Analytics"),
            "Other (Analytics)",
        ),
        "Business Applications": ("Productivity and Collaboration", "Other (Business Applications)"),
        "Compute": (
            *("Containers", "End User Computing", "Quantum Compute", "Serverless Compute", "Virtual Machines"),
            "Other (Compute)",
        ),
        "Developer Tools": (
            *("Developer Platforms", "Continuous Integration and Deployment", "Development Environments"),
            *("Source Code Management", "Quality Assurance", "Other (Developer Tools)"),
        ),
        "Integration": ("API Management", "Messaging", "Workflow Orchestration", "Other (Integration)"),
        "Media": ("Content Creation", "Gaming", "Media Streaming", "Mixed Reality", "Other (Media)"),
        "Web": ("Application Platforms", "Other (Web)"),
        "Other": ("Other (Other)",),
    }
)
"""Service categories of FOCUS that an API platform can be, with their subcategories."""

PRICE_DIGITS = 12
"""Digits after the point of a token's price, where it does not come out even."""
TOKENS = "Tokens"
_PROGRAMS = MappingProxyType({Kind.TOKEN_FLEX: "Token Flex", Kind.FLEX: "Flex"})


class Category(StrEnum):
    """What a charge is."""

    USAGE = "Usage"
    PURCHASE = "Purchase"
    TAX = "Tax"


class CommitmentStatus(StrEnum):
    """Whether prepaid tokens were used or expired."""

    USED = "Used"
    UNUSED = "Unused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """What the seller's APIs are, in the words of FOCUS."""

    category: str = "Developer Tools"
    subcategory: str = "Developer Platforms"


def demand_service(service: Service) -> None:
    """Raise ``ValueError``, saying what there is, for a category or subcategory that FOCUS does not know."""
    if service.category not in SERVICES:
        raise ValueError(f"is one of {', '.join(SERVICES)}, not {service.category!r}")
    if service.subcategory not in SERVICES[service.category]:
        known = ", ".join(SERVICES[service.category])
        raise ValueError(f"{service.category} goes with a service_subcategory of {known}, not {service.subcategory!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Payer:
    """Whom a charge is for, and who bills: ids with the names they had."""

    seller: str
    customer_id: str
    customer: str
    team_id: str
    team: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Period:
    """``[start, end)`` in microseconds: what the charge is of, and the billing period that it is told in."""

    start_us: int
    end_us: int
    billing_start_us: int
    billing_end_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Metered:
    """An API as it is sold: its name, the unit of its usage and the one that is charged, whether tokens can pay."""

    api: str
    name: str
    usage_unit: str
    charged_unit: str
    takes_tokens: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """Prepaid tokens. ``amount`` is None where it is not known what was paid."""

    grant_id: str
    subscription_id: str
    kind: Kind
    granted_micro: int
    currency: str
    amount: Decimal | None

    @property
    def program(self) -> str:
        """The kind of commitment, in words."""
        return _PROGRAMS[self.kind]

    @property
    def token_price(self) -> Decimal:
        """What a token cost; 0 where that is not known."""
        if self.amount is None:
            return Decimal(0)
        return divide_half_up(self.amount, decimal_of_micro(self.granted_micro), PRICE_DIGITS).normalize()

    def cost_of(self, used_micro: int) -> Decimal:
        """The share of the amount that so many tokens are, rounded half up."""
        digits = minor_digits(self.currency)
        if self.amount is None:
            return total((), digits)
        return divide_half_up(multiply(used_micro, self.amount), Decimal(self.granted_micro), digits)


@dataclass(frozen=True, kw_only=True, slots=True)
class Commitment:
    """Tokens of a grant in a charge: bought, used or left over."""

    grant: Grant
    tokens_micro: int
    status: CommitmentStatus | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """A row. Costs are in ``currency``; ``unit_price`` is per ``pricing_unit``. What does not apply is None or blank.

    ``pricing_currency`` is the currency, or ``TOKENS`` where tokens pay; ``tokens`` is then the same cost in them.
    ``consumed_micro`` is actual usage in 10^-6 of ``metered.usage_unit``. ``detail_id`` is the line of the document.
    """

    payer: Payer
    period: Period
    currency: str
    category: Category
    description: str
    billed: Decimal
    effective: Decimal
    priced: Decimal
    is_correction: bool = False
    metered: Metered | None = None
    sku_id: str = ""
    sku_price_id: str = ""
    unit_price: Decimal | None = None
    pricing_quantity: Decimal | None = None
    pricing_unit: str = ""
    consumed_micro: int | None = None
    commitment: Commitment | None = None
    resource_id: str = ""
    resource_type: str = ""
    invoice_id: str = ""
    detail_id: str = ""
    source: str = ""
    charged_units: int | None = None
    tax_category: str = ""
    tax_percent: Decimal | None = None
    about: str = ""

    @property
    def pays_in_tokens(self) -> bool:
        """Whether prepaid tokens paid for it."""
        return self.commitment is not None and self.commitment.status is CommitmentStatus.USED


@dataclass(frozen=True, kw_only=True, slots=True)
class BilledLine:
    """A line of an invoice or credit note. ``charged_units`` and ``net`` of a credit note are what it gives back."""

    line_no: int
    metered: Metered
    charged_units: int
    unit_price: Decimal
    net: Decimal
    by_amount: bool = False


def line_charge(
    line: BilledLine,
    *,
    payer: Payer,
    period: Period,
    currency: str,
    number: str,
    about: str,
    subscription_id: str,
    is_credit: bool,
    is_correction: bool,
    consumed_micro: int | None,
) -> Charge:
    """A line of a document: units at their price, or an amount that is given back."""
    sign = -1 if is_credit else 1
    exact = multiply(line.charged_units, line.unit_price)
    units = sign * line.charged_units
    what = f"{line.charged_units} x {line.unit_price:f} {currency} for {line.metered.name}"
    return Charge(
        payer=payer,
        period=period,
        currency=currency,
        category=Category.USAGE,
        description=f"Credit of {what}" if is_credit else what,
        billed=signed(sign, line.net),
        effective=signed(sign, line.net),
        priced=signed(sign, exact),
        is_correction=is_correction,
        metered=line.metered,
        sku_id=line.metered.api,
        sku_price_id=f"{line.metered.api}:{currency}:{line.unit_price:f}",
        unit_price=line.unit_price,
        pricing_quantity=None if line.by_amount else Decimal(units),
        pricing_unit="" if line.by_amount else line.metered.charged_unit,
        consumed_micro=consumed_micro,
        resource_id=subscription_id,
        resource_type="Subscription",
        invoice_id=number,
        detail_id=str(line.line_no),
        source=Kind.PAYG.value,
        charged_units=None if line.by_amount else units,
        about=about,
    )


def tax_charge(
    *,
    payer: Payer,
    period: Period,
    currency: str,
    number: str,
    about: str,
    is_correction: bool,
    tax_category: str,
    tax_percent: Decimal,
    tax: Decimal,
) -> Charge:
    """The tax of a document, also where it is 0; ``tax`` is below 0 in a credit note."""
    return Charge(
        payer=payer,
        period=period,
        currency=currency,
        category=Category.TAX,
        description=f"VAT {tax_category} {tax_percent:f} %",
        billed=tax,
        effective=tax,
        priced=tax,
        is_correction=is_correction,
        invoice_id=number,
        detail_id="tax",
        tax_category=tax_category,
        tax_percent=tax_percent,
        about=about,
    )


def free_charge(
    metered: Metered,
    *,
    payer: Payer,
    period: Period,
    currency: str,
    source: str,
    subscription_id: str,
    charged_units: int,
    consumed_micro: int,
) -> Charge:
    """Units that cost nothing: free, or that nothing paid for; with 0 units what waits in the carry-over."""
    nothing = total((), minor_digits(currency))
    said = {Kind.FREE.value: "in the free tier", "unfunded": "that nothing pays for"}.get(source, "carried over")
    return Charge(
        payer=payer,
        period=period,
        currency=currency,
        category=Category.USAGE,
        description=f"{charged_units} units of {metered.name} {said}" if charged_units else f"{metered.name}, {said}",
        billed=nothing,
        effective=nothing,
        priced=nothing,
        metered=metered,
        sku_id=metered.api,
        sku_price_id=f"{metered.api}:{source or 'carried'}",
        unit_price=Decimal(0),
        pricing_quantity=Decimal(charged_units),
        pricing_unit=metered.charged_unit,
        consumed_micro=consumed_micro,
        resource_id=subscription_id,
        resource_type="Subscription" if subscription_id else "",
        source=source,
        charged_units=charged_units,
    )


def token_charge(
    metered: Metered,
    grant: Grant,
    *,
    payer: Payer,
    period: Period,
    charged_units: int,
    tokens_micro: int,
    used_before_micro: int,
    consumed_micro: int,
) -> Charge:
    """Units that tokens of a grant paid for, of which so many were used before: nothing is billed, the share of what
    was paid for the grant is its effective cost.
    """
    tokens, digits = decimal_of_micro(tokens_micro), minor_digits(grant.currency)
    parts = (grant.cost_of(used_before_micro + tokens_micro), grant.cost_of(used_before_micro).copy_negate())
    known = "" if grant.amount is not None else "; what was paid for them is not known"
    return Charge(
        payer=payer,
        period=period,
        currency=grant.currency,
        category=Category.USAGE,
        description=f"{charged_units} units of {metered.name} for {tokens:f} tokens{known}",
        billed=total((), digits),
        effective=total(parts, digits),
        priced=multiply(tokens, grant.token_price),
        metered=metered,
        sku_id=metered.api,
        sku_price_id=f"{metered.api}:{grant.currency} a token:{grant.token_price:f}",
        unit_price=grant.token_price,
        pricing_quantity=tokens,
        pricing_unit=TOKENS,
        consumed_micro=consumed_micro,
        commitment=Commitment(grant=grant, tokens_micro=tokens_micro, status=CommitmentStatus.USED),
        resource_id=grant.subscription_id,
        resource_type="Subscription",
        source=grant.kind.value,
        charged_units=charged_units,
    )


def purchase_charge(grant: Grant, *, payer: Payer, period: Period) -> Charge:
    """Tokens that were sold, of no invoice of ours; what they cost is effective as they are used."""
    tokens = decimal_of_micro(grant.granted_micro)
    return Charge(
        payer=payer,
        period=period,
        currency=grant.currency,
        category=Category.PURCHASE,
        description=f"{tokens:f} tokens of {grant.program}",
        billed=grant.amount or Decimal(0),
        effective=total((), minor_digits(grant.currency)),
        priced=multiply(tokens, grant.token_price),
        sku_id=f"tokens:{grant.kind.value}",
        sku_price_id=f"tokens:{grant.kind.value}:{grant.currency}:{grant.token_price:f}",
        unit_price=grant.token_price,
        pricing_quantity=tokens,
        pricing_unit=TOKENS,
        commitment=Commitment(grant=grant, tokens_micro=grant.granted_micro, status=None),
        resource_id=grant.grant_id,
        resource_type="Token grant",
        source=grant.kind.value,
    )


def unused_charge(grant: Grant, *, payer: Payer, period: Period, used_micro: int) -> Charge:
    """Tokens of a grant that is over, and that nothing used: the rest of what was paid for it."""
    left_micro, digits = grant.granted_micro - used_micro, minor_digits(grant.currency)
    left = decimal_of_micro(left_micro)
    whole = grant.amount if grant.amount is not None else total((), digits)
    return Charge(
        payer=payer,
        period=period,
        currency=grant.currency,
        category=Category.USAGE,
        description=f"{left:f} tokens of {grant.program} that expired",
        billed=total((), digits),
        effective=total((whole, grant.cost_of(used_micro).copy_negate()), digits),
        priced=multiply(left, grant.token_price),
        sku_id=f"tokens:{grant.kind.value}",
        sku_price_id=f"tokens:{grant.kind.value}:{grant.currency}:{grant.token_price:f}",
        unit_price=grant.token_price,
        pricing_quantity=left,
        pricing_unit=TOKENS,
        commitment=Commitment(grant=grant, tokens_micro=left_micro, status=CommitmentStatus.UNUSED),
        resource_id=grant.grant_id,
        resource_type="Token grant",
        source=grant.kind.value,
    )


def shared_out(whole_micro: int, weights: Sequence[int]) -> list[int]:
    """Actual usage over rows by their charged units, to the last 10^-6: the parts add up to the whole. Where no row has
    units the first one has it all.
    """
    if not any(weights):
        return [whole_micro, *[0] * (len(weights) - 1)]
    sum_ = sum(weights)
    reached = [0, *(whole_micro * done // sum_ for done in accumulate(weights))]
    return [after - before for before, after in pairwise(reached)]


def reconciles(charges: Iterable[Charge], totals: Mapping[str, Decimal]) -> list[Finding]:
    """Billed cost by document is net and tax of that document, to the minor unit (rules 6.1, 6.2)."""
    billed: dict[str, list[Decimal]] = {}
    for charge in charges:
        if charge.invoice_id:
            billed.setdefault(charge.invoice_id, []).append(charge.billed)
    found = []
    for number in sorted({*billed, *totals}):
        sum_, said = total(billed.get(number, ()), 0), totals.get(number)
        if said is None or sum_ != said:
            found.append(Finding(file=number, message=f"its charges add up to {sum_}, the document says {said}"))
    return found
