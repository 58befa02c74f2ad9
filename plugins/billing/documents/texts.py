"""The words and number formats of a customer's language.

English is the language of the message ids; every other language is a gettext catalogue
``locales/LANGUAGE/messages.po`` of the bundle. Numbers come in rounded and are never rounded here: a format that
would lose a digit raises ``decimal.Inexact``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Context, Decimal, Inexact, localcontext
from functools import lru_cache
from io import BytesIO

from babel import Locale, UnknownLocaleError, dates, numbers
from babel.messages.pofile import PoFileError, read_po

from billing.core.quantity import minor_digits
from billing.documents.errors import TemplateBroken

DEFAULT_LANGUAGE = "en"
_CATALOGUE = re.compile(r"locales/([a-z]{2,3})/messages\.po")
_PLACEHOLDER = re.compile(r"%\(\w+\)s")
_TAG = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z]{4})?(?:[-_]([A-Za-z]{2}|[0-9]{3}))?(?:[-_.@].*)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """One language: ``messages`` translate message ids, ``locale`` is how its reader writes numbers and dates."""

    language: str
    locale: Locale
    messages: Mapping[str, str]

    def __call__(self, message: str, **values: str) -> str:
        """The text of a message id, with ``%(name)s`` filled in. Without a translation it stays English."""
        text = self.messages.get(message, message)
        return text % values if values else text

    def money(self, amount: Decimal, currency: str) -> str:
        """An amount with its ISO 4217 code and minor digits: ``EUR 8.66``, ``8,66 EUR``."""
        pattern = str(self.locale.currency_formats["standard"].pattern)
        # The code instead of the symbol: unambiguous, in every font. It needs a space where a symbol needs none.
        pattern = re.sub(r"¤(?=[#0])", "¤\N{NO-BREAK SPACE}", pattern)
        pattern = re.sub(r"(?<=[#0])¤", "\N{NO-BREAK SPACE}¤", pattern)
        return self._number(pattern.replace("¤", "¤¤"), amount, minor_digits(currency), currency)

    def amount(self, amount: Decimal, currency: str) -> str:
        """An amount or unit price without its currency: at least the minor digits, and all that it has."""
        return self._number(self._decimal_pattern(), amount, minor_digits(currency))

    def decimal(self, value: Decimal | int) -> str:
        """A number with all of its decimals and no more."""
        return self._number(self._decimal_pattern(), Decimal(value), 0)

    def percent(self, percent: Decimal) -> str:
        """A rate that is given in per cent: ``25.5%``, ``25,5 %``."""
        return self._number(str(self.locale.percent_formats[None].pattern), percent.scaleb(-2), 0)

    def day(self, day: date) -> str:
        """A date with the month in words."""
        return str(dates.format_date(day, format="long", locale=self.locale))

    def month(self, day: date) -> str:
        """The month that a day is in, in words, with its year."""
        return str(dates.format_skeleton("yMMMM", day, locale=self.locale))

    def short_day(self, day: date) -> str:
        """A day of a year that is known from elsewhere, with its weekday: ``Wed, Jul 15``."""
        return str(dates.format_skeleton("MMMEd", day, locale=self.locale))

    def minute(self, local: datetime) -> str:
        """A short date and the time of day of a local instant: ``Jul 15, 2025, 10:30 AM``."""
        day = dates.format_date(local, format="medium", locale=self.locale)
        time = dates.format_time(local, format="short", locale=self.locale)
        return self("%(day)s, %(time)s", day=str(day), time=str(time))

    def country(self, code: str) -> str:
        """The name of an ISO 3166 country; a code without a name stays as it is."""
        return str(self.locale.territories.get(code, code))

    def _decimal_pattern(self) -> str:
        return str(self.locale.decimal_formats[None].pattern)

    def _number(self, pattern: str, value: Decimal, decimals_min: int, currency: str | None = None) -> str:
        with localcontext(_EXACT):
            text = _pattern(pattern, decimals_min).apply(
                value, self.locale, currency=currency, currency_digits=False, decimal_quantization=False
            )
        return str(text)


_EXACT = Context(prec=60, traps=[Inexact])


@lru_cache(maxsize=256)
def _pattern(pattern: str, decimals_min: int) -> numbers.NumberPattern:
    """A CLDR pattern with at least so many decimals."""
    parsed = numbers.parse_pattern(pattern)
    parsed.frac_prec = (decimals_min, decimals_min)
    return parsed


def isolated(text: str) -> str:
    """A name with letters that are written from right to left, kept from turning what stands around it."""
    if text.isascii() or not any(unicodedata.bidirectional(character) in ("R", "AL") for character in text):
        return text
    return f"\N{FIRST STRONG ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}"


class Catalogues:
    """The languages of a bundle."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Read every catalogue of ``files``; ``TemplateBroken`` names the one that is no catalogue."""
        self._messages: dict[str, dict[str, str]] = {DEFAULT_LANGUAGE: {}}
        for path, content in files.items():
            if match := _CATALOGUE.fullmatch(path):
                self._messages[match[1]] = _read_catalogue(path, match[1], content)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that there are, English among them."""
        return tuple(sorted(self._messages))

    def texts(self, locale: str) -> Texts:
        """The texts for a customer's locale: ``fr``, ``fr-FR``, ``fr_CA``. A language that is not there: English."""
        match = _TAG.fullmatch(locale.strip())
        language, territory = (match[1].lower(), match[2]) if match else (DEFAULT_LANGUAGE, None)
        if language not in self._messages:
            language, territory = DEFAULT_LANGUAGE, None
        return Texts(language=language, locale=_locale(language, territory), messages=self._messages[language])


@lru_cache(maxsize=256)
def _locale(language: str, territory: str | None) -> Locale:
    if territory is not None:
        try:
            return Locale(language, territory.upper())
        except UnknownLocaleError:
            pass
    return Locale(language)


def _read_catalogue(path: str, language: str, content: bytes) -> dict[str, str]:
    try:
        catalogue = read_po(BytesIO(content), locale=language, abort_invalid=True)
    except (PoFileError, UnicodeDecodeError, UnknownLocaleError) as error:
        raise TemplateBroken(f"{path} is not a catalogue: {error}") from error
    messages = {
        message.id: message.string
        for message in catalogue
        if isinstance(message.id, str) and isinstance(message.string, str) and message.id and message.string
        if not message.fuzzy
    }
    for message, translation in messages.items():
        _check_placeholders(path, message, translation)
    return messages


def _check_placeholders(path: str, message: str, translation: str) -> None:
    placeholders = sorted(_PLACEHOLDER.findall(message))
    stray = placeholders and "%" in _PLACEHOLDER.sub("", translation)
    if stray or sorted(_PLACEHOLDER.findall(translation)) != placeholders:
        raise TemplateBroken(f"{path}: {translation!r} must have the same placeholders as {message!r}, and no other %")
