"""Amounts, prices and texts as EN 16931 writes them: exact, without exponents, never empty."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from billing.core.model import Invoice
from billing.core.quantity import minor_digits, multiply
from billing.documents.e_invoice.errors import NotInTheNorm
from billing.documents.e_invoice.syntaxes import Syntax

_AMOUNT_DECIMALS_MAX = 2
# Factur-X, 4.4.1; also what French platforms take.
_PRICE_DECIMALS_MAX = 4
_PRICE_BASE = 1000
# What reference data may have and the rules of factur-x 7.8 do not know; a test holds the two together.
_LISTED_NOWHERE = frozenset("ANG BGN CUC HRK SLL VEF XAD ZWL".split())
_NOT_LISTED = {Syntax.CII: _LISTED_NOWHERE, Syntax.UBL: _LISTED_NOWHERE | {"STN"}}
# What XML 1.0 cannot hold in any way (2.2, production 2).
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def amount(value: Decimal, currency: str) -> str:
    """An amount with the currency's minor digits, but at most the two that the norm allows (BR-DEC).

    A third digit that is 0 is left out, which changes no value: KWD 12.340 is written 12.34. ``ValueError`` where it is
    another: ``why_not`` names such invoices beforehand.
    """
    digits = min(minor_digits(currency), _AMOUNT_DECIMALS_MAX)
    text = plain(value)
    whole, _, fraction = text.partition(".")
    if len(fraction) > digits:
        raise ValueError(f"{currency} {text} has more than {digits} decimals")
    return f"{whole}.{fraction.ljust(digits, '0')}" if digits else whole


def price(unit_price: Decimal) -> tuple[str, str]:
    """The price (BT-146) and the number of units that it is for (BT-149): ``("333.333", "1000")`` for 0.333333 each.

    The base is blank, which means 1, unless the price has more decimals than receivers take.
    """
    text = plain(unit_price)
    if len(text.partition(".")[2]) <= _PRICE_DECIMALS_MAX:
        return text, ""
    return plain(multiply(_PRICE_BASE, unit_price)), str(_PRICE_BASE)


def plain(value: Decimal) -> str:
    """All digits of a decimal, without an exponent and without zeros at the end."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def clean(text: str) -> str:
    """A text without what XML cannot hold, and without blanks around it; ``""`` where nothing is left.

    Characters that no reader can see are dropped: reference data that a close has pinned can never be mended, and
    its invoice must still be written.
    """
    return _NOT_XML.sub("", text).strip()


def why_not(invoice: Invoice, syntax: Syntax) -> str:
    """Why EN 16931 cannot write an invoice; ``""`` where it can.

    The norm's amounts have two decimals (BR-DEC-09 to BR-DEC-23), prices as many as they need. An amount in a currency
    with three, or four, can be written where what is beyond the second is 0. Currencies are those of its code lists
    (BR-CL-04, BR-CL-05), which withdrawn ones leave and new ones enter late.
    """
    for name, value, currency in _amounts(invoice):
        if currency in _NOT_LISTED[syntax]:
            return f"{currency} is not in the list of currencies of EN 16931"
        if len(plain(value).partition(".")[2]) > _AMOUNT_DECIMALS_MAX:
            return f"EN 16931 allows two decimals, and {name} is {currency} {value:f}"
    return ""


def demand_expressible(invoice: Invoice, syntax: Syntax) -> None:
    """Raise ``NotInTheNorm`` where ``why_not`` has a reason."""
    if reason := why_not(invoice, syntax):
        raise NotInTheNorm(invoice.number, reason)


def _amounts(invoice: Invoice) -> Iterator[tuple[str, Decimal, str]]:
    currency = invoice.currency
    yield from (("the total", invoice.total, currency), ("the tax", invoice.tax, currency))
    yield from ((f"the net amount of line {line.line_no}", line.net, currency) for line in invoice.lines)
    if invoice.vat_total is not None:
        yield "the VAT total", invoice.vat_total, invoice.seller.vat_currency
