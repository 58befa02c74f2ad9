"""An invoice as the business terms of EN 16931: the one mapping that both syntaxes are written from.

Keys are the norm's (BT a term, BG a group of them), values as factur-x takes them: texts, also for all numbers, so
that no digit is lost; dates; lists of the same. What is blank is left out. ``docs/decisions/e-invoice.md`` says why
terms are filled as they are.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from billing.core.model import Invoice, InvoiceLine, InvoiceType, TaxCategory
from billing.documents.e_invoice.parties import buyer_terms, seller_terms
from billing.documents.e_invoice.payment import payment_terms
from billing.documents.e_invoice.values import amount, clean, plain, price

PROFILE = "urn:cen.eu:en16931:2017"
_ZERO_RATED = "Z"
_ONE = "C62"
# Code (VATEX) and text of why no VAT is charged (BR-AE-10, BR-O-10).
_EXEMPTION = {
    TaxCategory.REVERSE_CHARGE: ("VATEX-EU-AE", "Reverse charge"),
    TaxCategory.OUT_OF_SCOPE: ("VATEX-EU-O", "Not subject to VAT"),
}


def business_terms(invoice: Invoice) -> dict[str, Any]:
    """All terms of an invoice or credit note. ``NotInTheNorm`` is for the caller to ask first (``values.why_not``).

    A new dictionary each time: factur-x changes what it is given.
    """
    return {
        "BT-1": clean(invoice.number),
        "BT-2": invoice.issue_date,
        "BT-3": invoice.type.value,
        "BT-5": invoice.currency,
        "BT-24": PROFILE,
        "BT-72": invoice.cycle.period_last_day,
        "BT-73": invoice.cycle.period_first_day,
        "BT-74": invoice.cycle.period_last_day,
        "BG-4": seller_terms(invoice),
        "BG-7": buyer_terms(invoice),
        "BG-23": [_vat_breakdown(invoice)],
        "BG-25": [_line(line, invoice) for line in invoice.lines],
        **_totals(invoice),
        **_references(invoice),
        **payment_terms(invoice),
    }


def vat_category(invoice: Invoice) -> str:
    """BT-118 and BT-151: a rate of 0 is a category of its own in the norm (BR-S-05)."""
    treatment = invoice.tax_treatment
    if treatment.category is TaxCategory.STANDARD and not treatment.percent:
        return _ZERO_RATED
    return treatment.category.value


def _references(invoice: Invoice) -> dict[str, Any]:
    notes = [{"BT-22": note} for note in _notes(invoice)]
    before = invoice.preceding
    preceding = [{"BT-25": clean(before.number), "BT-26": before.issue_date}] if before else []
    found = {
        "BT-10": clean(invoice.buyer_reference),
        "BT-13": clean(invoice.purchase_order),
        "BG-1": notes,
        "BG-3": preceding,
    }
    return {term: value for term, value in found.items() if value}


def _notes(invoice: Invoice) -> list[str]:
    notes = [clean(invoice.reason)]
    if invoice.preceding and invoice.type is InvoiceType.INVOICE:
        notes.append(clean(f"Takes the place of invoice {invoice.preceding.number}"))
    return [note for note in notes if note]


def _totals(invoice: Invoice) -> dict[str, str]:
    currency = invoice.currency
    totals = {
        "BT-106": amount(invoice.net, currency),
        "BT-109": amount(invoice.net, currency),
        "BT-110": amount(invoice.tax, currency),
        "BT-112": amount(invoice.total, currency),
        "BT-115": amount(invoice.total, currency),
    }
    # Both or neither (BR-53).
    if invoice.vat_total is not None:
        vat_currency = invoice.seller.vat_currency
        totals |= {"BT-6": vat_currency, "BT-111": amount(invoice.vat_total, vat_currency)}
    return totals


def _vat_breakdown(invoice: Invoice) -> dict[str, str]:
    category = invoice.tax_treatment.category
    terms = {
        "BT-116": amount(invoice.net, invoice.currency),
        "BT-117": amount(invoice.tax, invoice.currency),
        "BT-118": vat_category(invoice),
    }
    if category is not TaxCategory.OUT_OF_SCOPE:
        terms["BT-119"] = plain(invoice.tax_treatment.percent)
    if category in _EXEMPTION:
        terms["BT-121"], terms["BT-120"] = _EXEMPTION[category]
    return terms


def _line(line: InvoiceLine, invoice: Invoice) -> dict[str, Any]:
    units, unit_price = as_written(line)
    written_price, base = price(unit_price)
    terms = {
        "BT-126": str(line.line_no),
        "BT-129": str(units),
        "BT-130": _ONE,
        "BT-131": amount(line.net, invoice.currency),
        "BT-134": invoice.cycle.period_first_day,
        "BT-135": invoice.cycle.period_last_day,
        "BT-146": written_price,
        "BT-149": base,
        "BT-151": vat_category(invoice),
        "BT-152": "" if invoice.tax_treatment.category is TaxCategory.OUT_OF_SCOPE else _rate(invoice),
        "BT-153": clean(line.api_name) or clean(line.api) or str(line.line_no),
        "BT-154": _unit(line),
        "BT-155": clean(line.api),
    }
    return {term: value for term, value in terms.items() if value}


def as_written(line: InvoiceLine) -> tuple[int, Decimal]:
    """Quantity and price of a line: a credit of an amount is written as 1 x the amount."""
    return (1, line.net) if line.by_amount else (line.charged_units, line.unit_price)


def _rate(invoice: Invoice) -> str:
    return plain(invoice.tax_treatment.percent)


def _unit(line: InvoiceLine) -> str:
    """How much usage one unit is (BT-154), with every size that was in force."""
    measure = clean(line.usage_unit.replace("_", " "))
    sizes = ", then ".join(f"{plain(size)} x {measure}" for size in line.unit_sizes)
    return "" if line.by_amount or not sizes else f"1 unit = {sizes}"
