"""Exact numbers: the data contract's decimals, ISO 4217's digits, rounding half away from zero."""

from __future__ import annotations

from decimal import Decimal, Inexact, localcontext
from fractions import Fraction

import pycountry
import pytest
from babel.numbers import get_currency_precision
from hypothesis import given
from hypothesis import strategies as st

from billing.core.quantity import (
    INT64_MAX,
    decimal_of_micro,
    fits_int64,
    format_micro,
    minor_digits,
    multiply,
    parse_micro,
    round_half_up,
    signed,
    three_digits,
)

# ISO 4217 says more digits than the locale data do: CLDR drops those that are out of use in the streets.
CLDR_DROPS_DIGITS = {
    "AFN": 2, "ALL": 2, "IQD": 3, "IRR": 2, "KPW": 2, "LAK": 2, "LBP": 2, "MGA": 2, "MMK": 2, "RSD": 2, "SOS": 2,
    "SYP": 2, "YER": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        ("0", 0),
        ("-0", 0),
        ("1", 1_000_000),
        ("0.70", 700_000),
        ("0.7", 700_000),
        ("007", 7_000_000),
        ("0.000001", 1),
        ("-0.000001", -1),
        ("-12.5", -12_500_000),
        ("1000000000000", 10**18),
        ("9" * 30, (10**30 - 1) * 10**6),
    ],
)
def test_decimals_of_the_contract(text: str, micro: int) -> None:
    """Data contract: ``-?[0-9]+(\\.[0-9]{1,6})?``."""
    assert parse_micro(text) == micro


@pytest.mark.parametrize(
    "text",
    ["", " ", "1 ", " 1", "1\n", "+1", "--1", "- 1", ".5", "5.", "1.0000001", "1e2", "1E2", "1,5", "1_000", "0x1"]
    + ["nan", "Infinity", "-", "1.2.3", "١", "１", "1.٥", "−1", "true", "1.-5"],
)
def test_what_is_no_decimal(text: str) -> None:
    """Data contract: in ASCII, at most six decimals, nothing around."""
    with pytest.raises(ValueError, match="is not a decimal"):
        parse_micro(text)


@pytest.mark.parametrize(
    ("micro", "text"),
    [(0, "0"), (1, "0.000001"), (-1, "-0.000001"), (1_500_000, "1.5"), (-20_000_000, "-20"), (100_000_000, "100")],
)
def test_decimals_are_written_without_trailing_zeros(micro: int, text: str) -> None:
    """Data contract: written without trailing zeros."""
    assert format_micro(micro) == text


@given(st.integers(-(10**30), 10**30))
def test_what_is_written_is_read_back(micro: int) -> None:
    """Rule 2.1: exact, at any size."""
    assert parse_micro(format_micro(micro)) == micro
    assert Fraction(decimal_of_micro(micro)) == Fraction(micro, 10**6)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**25), max_value=10**25), st.integers(0, 4))
def test_rounding_is_half_away_from_zero(amount: Decimal, digits: int) -> None:
    """Rules 6.1, 6.2: against exact fractions."""
    step = Fraction(1, 10**digits)
    nearest = (abs(Fraction(amount)) / step + Fraction(1, 2)).__floor__() * step
    rounded = round_half_up(amount, digits)
    assert abs(Fraction(rounded)) == nearest
    assert rounded == 0 or (rounded < 0) == (amount < 0)
    assert rounded.as_tuple().exponent == -digits


@pytest.mark.parametrize(
    ("amount", "digits", "rounded"),
    [("0.005", 2, "0.01"), ("0.015", 2, "0.02"), ("0.0149999", 2, "0.01"), ("-0.005", 2, "-0.01"), ("0.5", 0, "1")]
    + [("2.5", 0, "3"), ("0.0005", 3, "0.001"), ("1", 2, "1.00"), ("1E+3", 2, "1000.00")],
)
def test_halves_round_up(amount: str, digits: int, rounded: str) -> None:
    """Rule 6.1: half up, never to even; exactly the currency's digits are kept."""
    assert str(round_half_up(Decimal(amount), digits)) == rounded


@given(st.integers(0, INT64_MAX), st.integers(0, INT64_MAX))
def test_products_are_exact_beyond_28_digits(units: int, price_micro: int) -> None:
    """Rule 2.1: units times price, whatever precision the caller's context has."""
    with localcontext(prec=5):
        product = multiply(units, decimal_of_micro(price_micro))
    assert Fraction(product) == Fraction(units * price_micro, 10**6)


def test_a_product_that_cannot_be_exact_is_refused() -> None:
    """Rule 2.1: never a digit lost in silence."""
    with pytest.raises(Inexact):
        multiply(10**40 + 1, Decimal(10**40 + 1))


@pytest.mark.parametrize(
    ("currency", "digits"),
    [("JPY", 0), ("KRW", 0), ("ISK", 0), ("UGX", 0), ("EUR", 2), ("HUF", 2), ("MRU", 2), ("KWD", 3), ("IQD", 3)]
    + [("TND", 3), ("CLF", 4), ("UYW", 4), ("UYI", 0), ("CLP", 0), ("TWD", 2)],
)
def test_minor_digits(currency: str, digits: int) -> None:
    """Rule 6.1: ISO 4217, not CLDR."""
    assert minor_digits(currency) == digits


def test_minor_digits_of_every_currency_but_where_cldr_differs_on_purpose() -> None:
    """Rule 6.1: ISO 4217, not CLDR; where they differ is pinned, so that a change of either is seen."""
    codes = [currency.alpha_3 for currency in pycountry.currencies]
    assert len(codes) > 150
    assert {c: minor_digits(c) for c in codes if minor_digits(c) != get_currency_precision(c)} == CLDR_DROPS_DIGITS


@pytest.mark.parametrize(("value", "fits"), [(2**63 - 1, True), (2**63, False), (1 - 2**63, True), (-(2**64), False)])
def test_what_fits_in_64_bits(value: int, fits: bool) -> None:
    """Rule 2.1: integers of 10^-6 in 64 bits."""
    assert fits_int64(value) is fits


@pytest.mark.parametrize(
    ("sign", "amount", "text"),
    [(1, "1.50", "1.50"), (-1, "1.50", "-1.50"), (-1, "-1.50", "1.50"), (-1, "0.00", "0.00"), (1, "-1", "-1")],
)
def test_an_opposite_is_exact_and_0_has_no_sign(sign: int, amount: str, text: str) -> None:
    assert str(signed(sign, Decimal(amount))) == text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0", "0"), ("0.000001", "0.000001"), ("0.050010", "0.05"), ("1.2345", "1.23"), ("72.012257", "72"),
        ("99.94", "99.9"), ("99.96", "100"), ("100.4", "100"), ("1234567.5", "1234568"),
    ],
)  # fmt: skip
def test_three_digits_are_all_that_an_estimate_has(value: str, shown: str) -> None:
    assert three_digits(Decimal(value)) == Decimal(shown)
