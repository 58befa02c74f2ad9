"""Codes of the world against a second source, and the folders that come with the contract."""

from __future__ import annotations

import zoneinfo
from pathlib import Path

import pycountry
import pytest
from babel.core import get_global

from billing.core.quantity import minor_digits
from billing.intake.reference_codes import (
    EU_MEMBERS,
    countries,
    currencies,
    has_card_number,
    mask_card_numbers,
    time_zones,
)

from .folders import load

CASES = Path(__file__).parents[3] / "shared" / "cases"

# Rule 6.1: "ISO 4217, not CLDR". CLDR drops the minor unit of these, ISO keeps it.
CLDR_DROPS = {"AFN", "ALL", "IQD", "IRR", "KPW", "LAK", "LBP", "MGA", "MMK", "RSD", "SLL", "SOS", "SYP", "YER"}


def test_minor_digits_agree_with_cldr_except_where_iso_is_known_to_differ():
    fractions = get_global("currency_fractions")
    cldr = {code: fractions.get(code, fractions["DEFAULT"])[0] for code in currencies()}
    assert {code for code in currencies() if minor_digits(code) != cldr[code]} == CLDR_DROPS


def test_currencies_are_those_of_pycountry_that_have_a_minor_unit():
    listed = {currency.alpha_3 for currency in pycountry.currencies}
    assert {"EUR", "USD", "JPY", "KWD", "CLF"} <= currencies()
    assert {code for code in listed - currencies() if not code.startswith("X")} == set()
    assert not {"XXX", "XTS", "XAU", "XDR"} & currencies()
    assert {"XAF", "XOF", "XPF", "XCD"} <= currencies()


def test_time_zones_are_those_that_zoneinfo_can_open_from_the_wheel():
    path = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(())
    try:
        assert time_zones() == zoneinfo.available_timezones() - {"Factory"}
        for name in time_zones():
            zoneinfo.ZoneInfo.no_cache(name)
    finally:
        zoneinfo.reset_tzpath(path)


def test_countries():
    assert len(EU_MEMBERS) == 27
    assert countries() >= EU_MEMBERS
    assert "GR" in countries()
    assert not {"EL", "UK", "EU", "XI", "fr", ""} & countries()


@pytest.mark.parametrize(
    ("text", "card"),
    [
        ("4111111111111111", True),
        ("tok_4111111111111111x", True),
        ("4111  1111 \u00a01111-1111", True),
        ("6304 000000000000000", True),  # 19 digits
        ("1234 4111111111111111", True),
        ("4111111111111112", False),
        ("411111111111", False),  # 12 digits
        ("41111111111111111111", False),  # 20 digits
        ("4111\n111111111111", False),
        ("0f8fad5b-d9cb-469f-8165-411111111111", False),
        ("", False),
    ],
)
def test_card_numbers(text, card):
    assert has_card_number(text) == card
    assert (mask_card_numbers(text) == text) != card
    assert not has_card_number(mask_card_numbers(text))


@pytest.mark.skipif(not CASES.is_dir(), reason="the contract's cases are not here")
def test_every_case_loads_without_findings():
    folders = sorted(CASES.glob("*/reference*"))
    assert folders
    assert {str(folder): load(folder) for folder in folders if load(folder)} == {}
