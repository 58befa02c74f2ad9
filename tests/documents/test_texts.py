"""Languages, numbers and dates: chosen by locale, formatted without losing a digit."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import pytest
from babel import Locale, localedata
from babel.messages.extract import extract
from fontTools.ttLib import TTFont
from hypothesis import given
from hypothesis import strategies as st

from billing.documents import view
from billing.documents.bundle import read_bundle
from billing.documents.errors import TemplateBroken
from billing.documents.texts import Catalogues, Texts, isolated

from .invoices import TEMPLATES

BUNDLE = read_bundle(TEMPLATES)
CATALOGUES = Catalogues(BUNDLE)
EN = CATALOGUES.texts("en")
FR = CATALOGUES.texts("fr")
LATIN = ("en", "fr", "de", "fi", "es")


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
        ("ja-JP", "ja", "ja_JP"),
        ("de", "de", "de"),
        ("sv-FI", "en", "en"),
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


def messages_of_the_documents() -> set[str]:
    """What templates and views ask for."""
    found = set()
    for path in sorted(Path(view.__file__).parent.glob("*.py")):
        with path.open("rb") as source:
            found |= {
                str(message) for _, message, _, _ in extract("python", source, keywords={"texts": None, "self": None})
            }
    for path, content in BUNDLE.items():
        if path.endswith(".html.j2"):
            found |= set(re.findall(r'\b_\("([^"]+)"\)', content.decode()))
    return found


@pytest.mark.parametrize("language", ["de", "es", "fi", "fr", "ja"])
def test_every_message_has_a_translation_and_none_is_left_over(language: str) -> None:
    messages = CATALOGUES.texts(language).messages
    assert messages_of_the_documents() == set(messages)


def test_there_are_no_other_languages() -> None:
    assert CATALOGUES.languages == ("de", "en", "es", "fi", "fr", "ja")


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("de-DE", ("Rechnung", "Leistungszeitraum", "Steuerschuldnerschaft des Leistungsempfängers")),
        ("fr-FR", ("Facture", "Période de prestation", "Autoliquidation")),
        ("fi-FI", ("Lasku", "Laskutuskausi", "Käännetty verovelvollisuus")),
        ("es-ES", ("Factura", "Periodo de facturación", "Inversión del sujeto pasivo")),
        ("ja-JP", ("請求書", "対象期間", "リバースチャージ")),
    ],
)
def test_the_words_that_the_law_asks_for(locale: str, words: tuple[str, str, str]) -> None:
    texts = CATALOGUES.texts(locale)
    note = texts("Reverse charge: the customer owes the VAT, Article 196 of Directive 2006/112/EC.")
    assert (texts("Invoice"), texts("Period")) == words[:2]
    assert note.startswith(words[2]) and "196" in note


@pytest.mark.parametrize(
    ("locale", "money", "day", "minute"),
    [
        ("de-DE", "1.234.567,50 EUR", "15. August 2025", "15.08.2025, 10:30"),
        ("fi-FI", "1 234 567,50 EUR", "15. elokuuta 2025", "15.8.2025 klo 10.30"),
        ("es-ES", "1.234.567,50 EUR", "15 de agosto de 2025", "15 ago 2025, 10:30"),
        ("ja-JP", "EUR 1,234,567.50", "2025年8月15日", "2025/08/15 10:30"),
        ("en-US", "EUR 1,234,567.50", "August 15, 2025", "Aug 15, 2025, 10:30 AM"),
    ],
)
def test_amounts_and_dates_are_the_languages_own(locale: str, money: str, day: str, minute: str) -> None:
    texts = CATALOGUES.texts(locale)
    shown = (
        texts.money(Decimal("1234567.50"), "EUR"),
        texts.day(date(2025, 8, 15)),
        texts.minute(datetime(2025, 8, 15, 10, 30, tzinfo=UTC)),
    )
    assert tuple(re.sub("[\xa0\u202f]", " ", text) for text in shown) == (money, day, minute)


def test_a_name_from_right_to_left_turns_nothing_around_it() -> None:
    assert isolated("Meridian 12 (SARL)") == "Meridian 12 (SARL)"
    assert isolated("東京") == "東京"
    assert isolated("גשרים 24") == "\u2068גשרים 24\u2069"


@pytest.mark.parametrize("translation", ["Lasku", "Lasku %(numero)s", "100 % %(number)s", "%(number)s %(number)s"])
def test_a_translation_with_other_placeholders_is_refused(translation: str) -> None:
    file = f'msgid "Invoice %(number)s"\nmsgstr "{translation}"\n'.encode()
    with pytest.raises(TemplateBroken, match="must have the same placeholders as"):
        Catalogues({"locales/fi/messages.po": file})


def test_the_fonts_have_what_the_formats_write_anywhere() -> None:
    regular = set(TTFont(BytesIO(BUNDLE["fonts/SourceSans3-Regular.ttf"])).getBestCmap())
    semibold = set(TTFont(BytesIO(BUNDLE["fonts/SourceSans3-Semibold.ttf"])).getBestCmap())
    written = set(
        "".join("".join(CATALOGUES.texts(name).messages.values()) for name in LATIN) + "\u2212\u202f\u2011\xa0"
    )
    for name in localedata.locale_identifiers():
        if re.fullmatch(rf"({'|'.join(LATIN)})(_[A-Z]{{2}}|_[0-9]{{3}})?", name):
            texts = CATALOGUES.texts(name)
            written |= set(texts.money(Decimal("-1234567.25"), "EUR") + texts.percent(Decimal("5.5")))
            written |= set("".join(texts.day(date(2025, month, 1)) for month in range(1, 13)))
            written |= set("".join(map(str, Locale.parse(name).territories.values())))
    written -= {"\xad"}  # hyphenation only
    assert {character for character in written if ord(character) not in regular & semibold} == set()


def test_a_broken_catalogue_is_named() -> None:
    for content in (b"no catalogue", b'msgid "Net"\nmsgstr "\xff"'):
        with pytest.raises(TemplateBroken, match="locales/fi/messages.po"):
            Catalogues({"locales/fi/messages.po": content})


def test_a_further_language_is_a_further_catalogue() -> None:
    files = {"locales/fi/messages.po": b'msgid "Invoice"\nmsgstr "Lasku"\n\n#, fuzzy\nmsgid "Net"\nmsgstr "?"\n'}
    texts = Catalogues(files).texts("fi-FI")
    assert (texts("Invoice"), texts("Net"), texts("Total")) == ("Lasku", "Net", "Total")
