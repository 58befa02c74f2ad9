"""Invoices to render: made, each another, the same for the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random

from billing.core.model import (
    ApiBilling,
    Balance,
    Customer,
    Cycle,
    DailyUsage,
    Invoice,
    InvoiceLine,
    Kind,
    PaymentMethod,
    Seller,
    Statement,
    StatementLine,
    TaxCategory,
    TaxTreatment,
)
from billing.core.quantity import round_half_up

_SELLER = Seller(
    legal_name="Example Platform SAS",
    address_line1="1 rue Exemple",
    postal_code="75002",
    city="Paris",
    country="FR",
    vat_id="FR40303265045",
    invoice_prefix="INV",
    time_zone="Europe/Paris",
    iban="FR7630006000011234567890189",
    email="billing@example.com",
)
_CUSTOMER = Customer(
    customer_id="c1",
    legal_name="",
    address_line1="12 rue des Forges",
    address_line2="Bâtiment C",
    postal_code="69002",
    city="Lyon",
    region="",
    country="FR",
    vat_id="FR83404833048",
    email="ap@meridian.example",
    locale="en",
)
_CYCLE = Cycle(
    start=datetime(2026, 7, 14, 22, tzinfo=UTC),
    end=datetime(2026, 8, 14, 22, tzinfo=UTC),
    time_zone="Europe/Paris",
    period_first_day=date(2026, 7, 15),
    period_last_day=date(2026, 8, 14),
    payg_subscription_id="s1",
)
_CARD = PaymentMethod(payment_method_id="pm1", gateway="stripe", brand="visa", last4="4242", expires="2028-11")
_UNITS = ("processing_minute", "job", "gigapixel", "1,000 tokens", "call")
_NAMES = ("Automation", "Model Derivative", "Reality Capture", "Context Tokens", "Flow Graph", "Data Exchange")
_DAYS = 32


def made_invoices(count: int, lines: int, statement: bool) -> Iterator[Invoice]:
    """``count`` invoices of ``lines`` lines; with ``statement`` a second page of usage, three charts and balances."""
    for number in range(1, count + 1):
        yield _invoice(number, lines, statement)


def _invoice(number: int, lines: int, statement: bool) -> Invoice:
    random = Random(number)
    parts = tuple(_line(place, random) for place in range(1, lines + 1))
    net = sum((part.net for part in parts), Decimal("0.00"))
    tax = round_half_up(net * 20 / 100, 2)
    issued_at = datetime(2026, 8, 15, 6, tzinfo=UTC)
    return Invoice(
        number=f"INV-2026-{number:06d}",
        issued_at=issued_at,
        issue_date=date(2026, 8, 15),
        seller=_SELLER,
        customer=replace(_CUSTOMER, legal_name=f"Meridian Structures {number} SARL"),
        team_id=f"t{number}",
        team_name=f"Bridge team {number}",
        subscription_id=f"s{number}",
        cycle=_CYCLE,
        currency="EUR",
        lines=parts,
        net=net,
        tax_treatment=TaxTreatment(category=TaxCategory.STANDARD, percent=Decimal(20)),
        tax=tax,
        total=net + tax,
        payment_method=_CARD,
        due_date=date(2026, 8, 15),
        statement=_statement(parts, random) if statement else None,
    )


def _line(place: int, random: Random) -> InvoiceLine:
    units, price = random.randint(1, 90_000), Decimal(random.randint(1, 400_000)).scaleb(-4)
    return InvoiceLine(
        line_no=place,
        api=f"api_{place:04d}",
        api_name=f"{_NAMES[place % len(_NAMES)]} {place}",
        usage_unit=_UNITS[place % len(_UNITS)],
        unit_sizes=(Decimal(random.choice((1, 5, 10, 20))),),
        charged_units=units,
        unit_price=price,
        net=round_half_up(units * price, 2),
    )


def _statement(parts: tuple[InvoiceLine, ...], random: Random) -> Statement:
    lines = tuple(_used(part, random) for part in parts)
    shown = lines[:3]
    daily = tuple(
        DailyUsage(
            api=line.api,
            api_name=line.api_name,
            usage_unit=line.usage_unit,
            first_day=date(2026, 7, 14),
            quantities=tuple(Decimal(random.randint(0, 5_000)).scaleb(-1) for _ in range(_DAYS)),
        )
        for line in shown
    )
    balances = (
        _balance(Kind.FREE, shown[0], Decimal(150), Decimal(random.randint(0, 150)), refreshes=True),
        _balance(Kind.FLEX, None, Decimal(10_000), Decimal(random.randint(0, 10_000)), refreshes=False),
    )
    return Statement(lines=lines, daily=daily, balances=balances)


def _used(part: InvoiceLine, random: Random) -> StatementLine:
    free, size = random.randint(0, 150), part.unit_sizes[0]
    opening, closing = (Decimal(random.randint(0, 9)).scaleb(-1) for _ in range(2))
    return StatementLine(
        api=part.api,
        api_name=part.api_name,
        usage_unit=part.usage_unit,
        billing=ApiBilling.RATED,
        unit_sizes=part.unit_sizes,
        opening=opening,
        usage=(part.charged_units + free) * size + closing - opening,
        late_usage=Decimal(0),
        units=((Kind.FREE.value, free), (Kind.PAYG.value, part.charged_units)),
        invoiced_units=part.charged_units,
        closing=closing,
    )


def _balance(
    kind: Kind, line: StatementLine | None, granted: Decimal, available: Decimal, *, refreshes: bool
) -> Balance:
    later = datetime(2026, 8, 14, 22, tzinfo=UTC)
    return Balance(
        source=kind,
        subscription_id="s",
        grant_id="" if refreshes else "g",
        api=line.api if line else "",
        api_name=line.api_name if line else "",
        granted=granted,
        available=available,
        ends_at=None if refreshes else later + timedelta(days=200),
        refreshes_at=later if refreshes else None,
    )
