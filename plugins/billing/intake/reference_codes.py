"""What is known of the world: time zones, currencies, countries, VAT ids, card numbers.

Sources: IANA names from the ``tzdata`` wheel, ISO 4217 and ISO 3166-1 from ``pycountry``, VAT ids from
``python-stdnum`` (data contract, "Reference data": "an unknown time zone, currency or country; a malformed VAT id").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.resources import files
from types import MappingProxyType

import pycountry
from stdnum.eu import vat as eu_vat
from stdnum.util import get_cc_module

# "Factory" marks a machine whose zone nobody has set; the other two are copies of whatever a machine has.
_NOT_A_PLACE = frozenset({"Factory", "localtime", "posixrules"})

# ISO 4217 gives these no minor unit ("N.A."): metals, units of account, testing. Rule 6.1 cannot round to it.
_NO_MINOR_UNIT = frozenset("XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XTS XUA XXX".split())

# Left list one of ISO 4217 since 2018; a load is a full picture, so prices of those years must stay loadable.
_WITHDRAWN_CURRENCIES = frozenset("ANG BGN CUC HRK SLL VEF ZWL".split())

EU_MEMBERS = frozenset("AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split())

# Prefixes that python-stdnum's eu.vat knows: members, EL for Greece, Northern Ireland, two of the one-stop shop.
_EU_PREFIXES = EU_MEMBERS | {"EL", "XI", "EU", "IM"}

# How national ids are also written where python-stdnum wants the fiscal mark: Norway "MVA", Switzerland "MWST".
_FISCAL_MARK = MappingProxyType({"NO": "MVA", "CH": "MWST"})

_DIGIT_RUN = re.compile(r"\d+(?:[ \t\u00a0\u2007\u202f\u2009\-\u2010-\u2015\u2212]+\d+)*")
_UUID = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Fa-f])")
_CARD_DIGITS_MIN, _CARD_DIGITS_MAX = 13, 19
_MASK = "[card number withheld]"


@cache
def time_zones() -> frozenset[str]:
    """IANA names of the ``tzdata`` wheel, whatever the machine's own copy holds."""
    names = files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    return frozenset(names) - _NOT_A_PLACE


@cache
def currencies() -> frozenset[str]:
    """ISO 4217 codes that money can be in: those with a minor unit, and those withdrawn since 2018."""
    return (frozenset(c.alpha_3 for c in pycountry.currencies) - _NO_MINOR_UNIT) | _WITHDRAWN_CURRENCIES


@cache
def countries() -> frozenset[str]:
    """ISO 3166-1 alpha-2 codes (Greece is GR)."""
    return frozenset(c.alpha_2 for c in pycountry.countries)


def compact_vat_id(vat_id: str) -> str:
    """Without blanks, dots and dashes, in capitals (rule 6.2)."""
    return re.sub(r"[\s.\-]", "", vat_id).upper()


@lru_cache(maxsize=100_000)
def vat_id_fault(vat_id: str, country: str) -> str | None:
    """What is wrong with a VAT id of somebody in ``country``, or ``None``.

    An id with an EU prefix must be one of that member (python-stdnum's ``eu.vat``). In the EU a prefix is part of
    the id (EN 16931, BR-CO-09), so one without any is refused there. Elsewhere the country's own check decides,
    with or without prefix; a country that python-stdnum has no check for takes everything.
    """
    number = compact_vat_id(vat_id)
    prefix = number[:2]
    if prefix in _EU_PREFIXES and eu_vat.is_valid(number):
        return None
    if country in EU_MEMBERS and not re.fullmatch(r"[A-Z]{2}", prefix):
        return f"has no country prefix; write it with its member state's, like {_eu_prefix(country)}{number}"
    if country in EU_MEMBERS and prefix not in _EU_PREFIXES:
        return _national_fault(number, prefix)
    if country not in EU_MEMBERS and _is_national(number, country):
        return None
    if prefix in _EU_PREFIXES:
        return f"is not a valid VAT id of {prefix}"
    return _national_fault(number, country)


def _national_fault(number: str, country: str) -> str | None:
    """``None`` also where ``country`` is one that python-stdnum has no check for."""
    if country not in countries():
        return f"begins with {country!r}, which is no country's prefix"
    if _vat_module(country) is None or _is_national(number, country):
        return None
    return f"is not a valid VAT id of {country}"


def _is_national(number: str, country: str) -> bool:
    module = _vat_module(country)
    return module is not None and any(module.is_valid(spelling) for spelling in _spellings(number, country))


@cache
def _vat_module(country: str):  # type: ignore[no-untyped-def]  # a module of python-stdnum, or None
    return get_cc_module(country, "vat")


def _spellings(number: str, country: str) -> Iterator[str]:
    """``number`` with and without its country's prefix and fiscal mark."""
    bare = number.removeprefix(country)
    for spelling in (number, bare, country + bare):
        yield spelling
        if country in _FISCAL_MARK:
            yield spelling + _FISCAL_MARK[country]
    if country == "JP":  # Registration numbers of qualified invoice issuers are T and the corporate number.
        yield number.removeprefix("T")


def _eu_prefix(country: str) -> str:
    return "EL" if country == "GR" else country


def has_card_number(text: str) -> bool:
    """Whether a full card number stands anywhere in ``text`` (data contract: "never a full card number").

    That is 13 to 19 digits that pass Luhn's check, with blanks and dashes between them or not. A UUID is none:
    one in some ten thousand would pass by chance.
    """
    return any(True for _ in _card_spans(text))


def mask_card_numbers(text: str) -> str:
    """``text`` without the digits of any card number."""
    for begin, end in sorted(_card_spans(text), reverse=True):
        text = text[:begin] + _MASK + text[end:]
    return text


def _card_spans(text: str) -> Iterator[tuple[int, int]]:
    blanked = _UUID.sub(lambda match: "x" * len(match.group()), text)
    for run in _DIGIT_RUN.finditer(blanked):
        if _run_has_card(run.group()):
            yield run.span()


def _run_has_card(run: str) -> bool:
    """Whether some neighbouring groups of digits in ``run`` are together a card number."""
    groups = re.findall(r"\d+", run)
    for first in range(len(groups)):
        digits = ""
        for group in groups[first:]:
            digits += group
            if len(digits) > _CARD_DIGITS_MAX:
                break
            if len(digits) >= _CARD_DIGITS_MIN and _passes_luhn(digits):
                return True
    return False


def _passes_luhn(digits: str) -> bool:
    values = [unicodedata.digit(digit) for digit in reversed(digits)]
    return (sum(values[0::2]) + sum(sum(divmod(2 * value, 10)) for value in values[1::2])) % 10 == 0
