"""Amounts as Stripe takes them: integers of its own smallest unit, which is not always that of ISO 4217.

Source: https://docs.stripe.com/currencies. What cannot be said exactly is refused, never rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

from billing.core.quantity import minor_digits
from billing.outbound.payment_gateway import GatewayRefused

# ISK and UGX have no minor unit any more, but are still written with two digits, always 00. MGA has two in ISO 4217.
_ZERO_DECIMAL = frozenset("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF".split())
_THREE_DECIMAL = frozenset("BHD JOD KWD OMR TND".split())

MINIMUM: Mapping[str, Decimal] = MappingProxyType(
    {
        "AED": Decimal("2.00"),
        "AUD": Decimal("0.50"),
        "BGN": Decimal("1.00"),
        "BRL": Decimal("0.50"),
        "CAD": Decimal("0.50"),
        "CHF": Decimal("0.50"),
        "CZK": Decimal("15.00"),
        "DKK": Decimal("2.50"),
        "EUR": Decimal("0.50"),
        "GBP": Decimal("0.30"),
        "HKD": Decimal("4.00"),
        "HUF": Decimal("175.00"),
        "INR": Decimal("0.50"),
        "JPY": Decimal(50),
        "MXN": Decimal(10),
        "MYR": Decimal(2),
        "NOK": Decimal("3.00"),
        "NZD": Decimal("0.50"),
        "PLN": Decimal("2.00"),
        "RON": Decimal("2.00"),
        "SEK": Decimal("3.00"),
        "SGD": Decimal("0.50"),
        "THB": Decimal(10),
        "USD": Decimal("0.50"),
    }
)
"""The smallest charge by the currency that the account settles in. For others Stripe demands the worth of one of these
at the day's rate, which it says only by a refusal (``amount_too_small``).
"""


def to_stripe(amount_minor: int, currency: str) -> int:
    """An amount in the currency's minor unit (ISO 4217) as Stripe counts it.

    Raises ``GatewayRefused`` (``amount_not_expressible``) where Stripe has no such amount: 0.005 KWD (its last digit
    must be 0), 0.50 MGA.
    """
    amount = _rescaled(amount_minor, minor_digits(currency), _digits(currency))
    if amount is None or (currency in _THREE_DECIMAL and amount % 10):
        raise GatewayRefused(
            "amount_not_expressible",
            f"{amount_minor} minor units of {currency} cannot be charged by Stripe, which takes no amount that fine in "
            "this currency. Collect it by bank transfer, or correct the invoice to an amount that it takes.",
        )
    return amount


def from_stripe(amount: int, currency: str) -> int:
    """An amount as Stripe counts it in the currency's minor unit. Raises ``GatewayRefused`` where it is not whole."""
    amount_minor = _rescaled(amount, _digits(currency), minor_digits(currency))
    if amount_minor is None:
        raise GatewayRefused(
            "amount_not_expressible",
            f"Stripe tells of {amount} in {currency}, which is no whole number of its minor units.",
        )
    return amount_minor


def minimum_minor(currency: str, overrides: Mapping[str, Decimal]) -> int:
    """The smallest charge in minor units: what ``overrides`` says, else Stripe's table, else 0."""
    least = overrides.get(currency, MINIMUM.get(currency, Decimal(0)))
    return int(least.scaleb(minor_digits(currency)))


def _digits(currency: str) -> int:
    if currency in _ZERO_DECIMAL:
        return 0
    return 3 if currency in _THREE_DECIMAL else 2


def _rescaled(amount: int, digits: int, wanted_digits: int) -> int | None:
    """None where it would have to be rounded."""
    if wanted_digits >= digits:
        return int(amount * 10 ** (wanted_digits - digits))
    whole, rest = divmod(amount, 10 ** (digits - wanted_digits))
    return None if rest else whole
