"""Languages, numbers and dates: chosen by locale, formatted without losing a digit."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import pytest
from babel import Locale, localedata
from fontTools.ttLib import TTFont
from hypothesis import given
from hypothesis import strategies as st

from billing.documents import view
from billing.documents.bundle import read_bundle
from billing.documents.errors import TemplateBroken
from billing.documents.texts import Catalogues, Texts

from .invoices import TEMPLATES

BUNDLE = read_bundle(TEMPLATES)
CATALOGUES = Catalogues(BUNDLE)
EN = CATALOGUES.texts("en")
FR = CATALOGUES.texts("fr")


@pytest.mark.parametrize(
    ("locale", "language", "formats"),
    [
        ("fr", "fr", "fr"),
        ("fr-FR", "fr", "fr_FR"),
        ("fr_CA", "fr", "fr_CA"),
        ("FR-ca", "fr", "fr_CA"),
        ("fr-Latn-FR", "fr", "fr_FR"),
        ("fr_FR.UTF-8", "fr", "fr_FR"),
        ("fr-XX", "fr", "fr"),
        ("en-GB", "en", "en_GB"),
        ("ja-JP", "en", "en"),
        ("de", "en", "en"),
        ("", "en", "en"),
        ("C", "en", "en"),
        ("no such thing", "en", "en"),
    ],
)
def test_a_language_without_a_catalogue_is_english(locale: str, language: str, formats: str) -> None:
    texts = CATALOGUES.texts(locale)
    assert (texts.language, str(texts.locale)) == (language, formats)


@pytest.mark.parametrize(
    ("amount", "currency", "english", "french"),
    [
        ("8.66", "EUR", "EUR 8.66", "8,66 EUR"),
        ("1234567.50", "EUR", "EUR 1,234,567.50", "1\u202f234\u202f567,50 EUR"),
        ("450", "JPY", "JPY 450", "450 JPY"),
        ("0.125", "KWD", "KWD 0.125", "0,125 KWD"),
        ("2.000", "KWD", "KWD 2.000", "2,000 KWD"),
        ("100", "ISK", "ISK 100", "100 ISK"),
        ("0", "EUR", "EUR 0.00", "0,00 EUR"),
        ("9999999999999999999.99", "EUR", "EUR 9,999,999,999,999,999,999.99", None),
    ],
)
def test_rule_6_1_money_has_the_minor_digits_of_iso_4217(
    amount: str, currency: str, english: str, french: str | None
) -> None:
    assert EN.money(Decimal(amount), currency).replace("\xa0", " ") == english
    if french is not None:
        assert FR.money(Decimal(amount), currency).replace("\xa0", " ") == french


@pytest.mark.parametrize(
    ("price", "currency", "english"),
    [("0.333333", "EUR", "0.333333"), ("2.4", "EUR", "2.40"), ("0.000001", "JPY", "0.000001"), ("5", "KWD", "5.000")],
)
def test_unit_prices_are_never_cropped(price: str, currency: str, english: str) -> None:
    assert EN.amount(Decimal(price), currency) == english


def test_a_rate_keeps_its_decimals() -> None:
    assert [EN.percent(Decimal(rate)) for rate in ("20", "25.5", "0", "2.125")] == ["20%", "25.5%", "0%", "2.125%"]
    assert FR.percent(Decimal("25.5")) == "25,5\N{NO-BREAK SPACE}%"


def test_days_are_written_with_the_month_in_words() -> None:
    assert EN.day(date(2025, 8, 1)) == "August 1, 2025"
    assert FR.day(date(2025, 8, 15)) == "15 août 2025"
    assert CATALOGUES.texts("en-GB").day(date(2025, 8, 15)) == "15 August 2025"


def test_countries_are_named_where_they_have_a_name() -> None:
    assert (EN.country("DE"), FR.country("DE"), EN.country("??")) == ("Germany", "Allemagne", "??")


@given(st.decimals(min_value=-(10**12), max_value=10**12, places=6), st.sampled_from([EN, FR]))
def test_a_formatted_decimal_reads_back_as_the_same_value(value: Decimal, texts: Texts) -> None:
    symbols = texts.locale.number_symbols["latn"]
    plain = texts.decimal(value).replace(symbols["group"], "").replace(symbols["decimal"], ".")
    assert Decimal(plain.replace(symbols["minusSign"], "-")) == value


def test_every_message_has_a_french_translation_and_none_is_left_over() -> None:
    template = BUNDLE["invoice.html.j2"].decode()
    code = Path(view.__file__).read_text(encoding="utf-8")
    asked = set(re.findall(r'_\("([^"]+)"\)', template)) | set(re.findall(r'\btexts\(\s*"([^"]+)"', code))
    assert asked == set(FR.messages)


@pytest.mark.parametrize("translation", ["Lasku", "Lasku %(numero)s", "100 % %(number)s", "%(number)s %(number)s"])
def test_a_translation_with_other_placeholders_is_refused(translation: str) -> None:
    file = f'msgid "Invoice %(number)s"\nmsgstr "{translation}"\n'.encode()
    with pytest.raises(TemplateBroken, match="must have the same placeholders as"):
        Catalogues({"locales/fi/messages.po": file})


def test_the_fonts_have_what_english_and_french_formats_write_anywhere() -> None:
    regular = set(TTFont(BytesIO(BUNDLE["fonts/SourceSans3-Regular.ttf"])).getBestCmap())
    semibold = set(TTFont(BytesIO(BUNDLE["fonts/SourceSans3-Semibold.ttf"])).getBestCmap())
    written = set("".join(FR.messages.values()) + "\u2212\u202f\xa0")
    for name in localedata.locale_identifiers():
        if re.fullmatch(r"(en|fr)(_[A-Z]{2}|_[0-9]{3})?", name):
            texts = CATALOGUES.texts(name)
            written |= set(texts.money(Decimal("-1234567.25"), "EUR") + texts.percent(Decimal("5.5")))
            written |= set("".join(texts.day(date(2025, month, 1)) for month in range(1, 13)))
            written |= set("".join(map(str, Locale.parse(name).territories.values())))
    assert {character for character in written if ord(character) not in regular & semibold} == set()


def test_a_broken_catalogue_is_named() -> None:
    for content in (b"no catalogue", b'msgid "Net"\nmsgstr "\xff"'):
        with pytest.raises(TemplateBroken, match="locales/fi/messages.po"):
            Catalogues({"locales/fi/messages.po": content})


def test_a_further_language_is_a_further_catalogue() -> None:
    files = {"locales/fi/messages.po": b'msgid "Invoice"\nmsgstr "Lasku"\n\n#, fuzzy\nmsgid "Net"\nmsgstr "?"\n'}
    texts = Catalogues(files).texts("fi-FI")
    assert (texts("Invoice"), texts("Net"), texts("Total")) == ("Lasku", "Net", "Total")
