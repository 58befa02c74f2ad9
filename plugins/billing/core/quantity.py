"""Exact numbers: integers of 10^-6 for quantities, tokens and prices; Decimal for money. Never binary floats.

Sources: rule 2.1 (six decimals, exact), rule 6.1 (rounding half away from zero to the minor unit of ISO 4217),
data contract, "Decimals".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from types import MappingProxyType

MICRO = 1_000_000
INT64_MAX = 2**63 - 1
_DECIMAL = re.compile(r"(-?)([0-9]+)(?:\.([0-9]{1,6}))?")
# Amounts have at most 19 digits before the point and 12 after it (units x price, both of 10^-6).
_EXACT = Context(prec=60, rounding=ROUND_HALF_UP)

# ISO 4217 (list one, 2024-06): minor digits of the currencies that do not have two. CLDR differs for some.
_MINOR_DIGITS: Mapping[str, int] = MappingProxyType(
    dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    )
    | dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3)
    | dict.fromkeys(["CLF", "UYW"], 4)
)


def parse_micro(text: str) -> int:
    """``-?[0-9]+(\\.[0-9]{1,6})?`` to an integer of 10^-6. ``ValueError`` for anything else."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a decimal; write digits, a point and at most six decimals")
    sign, whole, fraction = match.groups()
    micro = int(whole) * MICRO + int((fraction or "").ljust(6, "0"))
    return -micro if sign else micro


def format_micro(micro: int) -> str:
    """An integer of 10^-6 as a decimal without trailing zeros."""
    whole, fraction = divmod(abs(int(micro)), MICRO)
    text = f"{whole}.{fraction:06d}".rstrip("0").rstrip(".") if fraction else str(whole)
    return f"-{text}" if micro < 0 else text


def decimal_of_micro(micro: int) -> Decimal:
    """The Decimal of an integer of 10^-6, exact, without trailing zeros after the point."""
    return Decimal(format_micro(micro))


def three_digits(value: Decimal) -> Decimal:
    """Rounded to three digits, and from 100 on to whole numbers: more digits than an estimate has are not shown."""
    if value >= 100:
        return value.to_integral_value()
    return value.quantize(Decimal(1).scaleb(value.adjusted() - 2)) if value else value


def minor_digits(currency: str) -> int:
    """Digits after the point of an ISO 4217 currency: JPY 0, EUR 2, KWD 3."""
    return _MINOR_DIGITS.get(currency, 2)


def round_half_up(amount: Decimal, digits: int) -> Decimal:
    """Round half away from zero to ``digits`` decimals (rules 6.1 and 6.2), keeping exactly that many."""
    return amount.quantize(Decimal(1).scaleb(-digits), context=_EXACT)


def multiply(left: Decimal | int, right: Decimal) -> Decimal:
    """An exact product; more digits than 60 would raise ``decimal.Inexact`` rather than lose one."""
    return _TRAPPING.multiply(Decimal(left), right)


def divide_half_up(amount: Decimal, divisor: Decimal, digits: int) -> Decimal:
    """An exact quotient, rounded half away from zero to ``digits`` decimals; the divisor is above 0."""
    exact = Fraction(amount) / Fraction(divisor) * 10**digits
    whole = (abs(exact) * 2 + 1) // 2
    return Decimal(int(whole) if exact >= 0 else -int(whole)).scaleb(-digits)


def total(amounts: Iterable[Decimal], digits: int) -> Decimal:
    """The exact sum of amounts with ``digits`` decimals, whatever the process's own decimal context is."""
    sum_ = Decimal(0).scaleb(-digits)
    for amount in amounts:
        sum_ = _TRAPPING.add(sum_, amount)
    return sum_


def signed(sign: int, amount: Decimal) -> Decimal:
    """The amount, or its opposite where ``sign`` is below 0, exactly; 0 has no sign."""
    return amount if sign > 0 or not amount else amount.copy_negate()


def fits_int64(value: int) -> bool:
    """Whether an exact integer can be kept in 64 bits."""
    return -INT64_MAX <= value <= INT64_MAX


def _trapping() -> Context:
    from decimal import Inexact

    context = Context(prec=60)
    context.traps[Inexact] = True
    return context


_TRAPPING = _trapping()
