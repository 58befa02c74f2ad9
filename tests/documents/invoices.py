"""Invoices to render, as a close would hand them over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from billing.core.model import (
    Customer,
    Cycle,
    Invoice,
    InvoiceLine,
    PaymentMethod,
    Seller,
    TaxCategory,
    TaxTreatment,
)
from billing.core.quantity import minor_digits, round_half_up

TEMPLATES = Path(__file__).parents[2] / "templates" / "invoices"

SELLER = Seller(
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
CUSTOMER = Customer(
    customer_id="c1",
    legal_name="Meridian Structures SARL",
    address_line1="12 rue des Forges",
    address_line2="",
    postal_code="69002",
    city="Lyon",
    region="",
    country="FR",
    vat_id="FR83404833048",
    email="ap@meridian.example",
    locale="en-US",
)
CYCLE = Cycle(
    start=datetime(2025, 7, 15, 8, 30, tzinfo=UTC),
    end=datetime(2025, 8, 14, 22, tzinfo=UTC),
    time_zone="Europe/Paris",
    period_first_day=date(2025, 7, 15),
    period_last_day=date(2025, 8, 14),
    payg_subscription_id="s1",
)
CARD = PaymentMethod(payment_method_id="pm1", gateway="stripe", brand="visa", last4="4242", expires="2028-11")
STANDARD = TaxTreatment(category=TaxCategory.STANDARD, percent=Decimal(20))
REVERSE = TaxTreatment(category=TaxCategory.REVERSE_CHARGE, percent=Decimal(0))
OUT_OF_SCOPE = TaxTreatment(category=TaxCategory.OUT_OF_SCOPE, percent=Decimal(0))

_APIS = (
    ("automation", "Automation", "processing_minute", (Decimal(20),), 1_284, Decimal("2.4")),
    ("context_tokens", "Context tokens", "1,000 tokens", (Decimal(1000),), 48_210, Decimal("0.333333")),
    ("reality_capture", "Reality Capture", "gigapixel", (Decimal("0.5"), Decimal("0.25")), 7, Decimal("11.5")),
)


def line(number: int, currency: str = "EUR", **changes: Any) -> InvoiceLine:
    """The ``number``-th line; ``net`` follows units and price unless it is given."""
    api, name, usage_unit, sizes, units, price = _APIS[(number - 1) % len(_APIS)]
    if number > len(_APIS):
        api, name = f"{api}_{number}", f"{name} {number}"
    values: dict[str, Any] = {
        "line_no": number,
        "api": api,
        "api_name": name,
        "usage_unit": usage_unit,
        "unit_sizes": sizes,
        "charged_units": units,
        "unit_price": price,
    } | changes
    net = round_half_up(values["charged_units"] * values["unit_price"], minor_digits(currency))
    return InvoiceLine(**({"net": net} | values))


def invoice(
    lines: int | tuple[InvoiceLine, ...] = 3, customer: dict[str, str] | None = None, **changes: Any
) -> Invoice:
    """An invoice of so many lines, with totals that add up; ``customer`` changes fields of the buyer."""
    currency = changes.get("currency", "EUR")
    digits = minor_digits(currency)
    treatment = changes.get("tax_treatment", STANDARD)
    parts = tuple(line(number, currency) for number in range(1, lines + 1)) if isinstance(lines, int) else lines
    net = sum((part.net for part in parts), Decimal(0).scaleb(-digits))
    tax = round_half_up(net * treatment.percent / 100, digits)
    values: dict[str, Any] = {
        "number": "INV-2025-000001",
        "issued_at": datetime(2025, 8, 15, 6, 0, 1, 250_000, tzinfo=UTC),
        "issue_date": date(2025, 8, 15),
        "seller": SELLER,
        "customer": replace(CUSTOMER, **(customer or {})),
        "team_id": "t1",
        "team_name": "Bridge team",
        "subscription_id": "s1",
        "cycle": CYCLE,
        "currency": currency,
        "lines": parts,
        "net": net,
        "tax_treatment": treatment,
        "tax": tax,
        "total": net + tax,
        "payment_method": CARD,
    }
    return Invoice(**(values | changes))
