"""A table of ``billing.toml``: its values by what they must be, and how what is wrong is said."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from billing.core.errors import UsageError
from billing.core.instants import from_us, parse_instant_us
from billing.core.mail_addresses import Mailbox, parse_mailbox
from billing.core.quantity import minor_digits

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of the file, and how to speak of it. What is absent is blank, None, or the default.

    What is not as it must be raises ``UsageError`` that names file, table and key. ``name`` is blank at the top.
    """

    file: Path
    name: str
    content: Mapping[str, Any]

    @classmethod
    def of_file(cls, path: Path) -> Table:
        try:
            content = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: {error}") from None
        return cls(file=path, name="", content=content)

    @property
    def folder(self) -> Path:
        return self.file.parent

    def wrong(self, key: str, what: str) -> UsageError:
        """What is wrong with a key, to be raised."""
        where = f"{self.file}: [{self.name}] " if self.name else f"{self.file}: "
        return UsageError(f"{where}{key!r} {what}.")

    def only(self, known: tuple[str, ...]) -> None:
        """Refuse every key but these."""
        for key in self.content:
            if key not in known:
                raise self.wrong(key, f"is not a setting; there are: {', '.join(known)}")

    def table(self, key: str) -> Table | None:
        return self.inner(key) if key in self.content else None

    def inner(self, key: str) -> Table:
        if not isinstance(self.content[key], dict):
            raise self.wrong(key, "is a table; write it as [" + f"{self.name}.{key}]".removeprefix("."))
        return Table(file=self.file, name=f"{self.name}.{key}".removeprefix("."), content=self.content[key])

    def tables(self, key: str) -> list[Table]:
        found = self.content.get(key, [])
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise self.wrong(key, f"is a list of tables; write each as [[{key}]]")
        return [Table(file=self.file, name=f"{key}, {place}", content=one) for place, one in enumerate(found, start=1)]

    def names(self, key: str, known: tuple[str, ...]) -> tuple[str, ...]:
        """A name of these, or a list of them."""
        found = self._texts(key)
        for name in found:
            if name not in known:
                raise self.wrong(key, f"has {name!r}; there are: {', '.join(known)}")
        return found

    def mailboxes(self, key: str) -> tuple[Mailbox, ...]:
        """An address, or a list of them."""
        try:
            return tuple(parse_mailbox(one) for one in self._texts(key))
        except ValueError as error:
            raise self.wrong(key, f"is an address of mail, or a list of them: {error}") from None

    def flag(self, key: str, default: bool) -> bool:
        value = self.content.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "is true or false, without quotes")
        return value

    def _texts(self, key: str) -> tuple[str, ...]:
        value = self.content.get(key, [])
        found = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in found):
            raise self.wrong(key, "is a text, or a list of texts")
        return tuple(found)

    def text(self, key: str) -> str:
        value = self.content.get(key, "")
        if not isinstance(value, str):
            raise self.wrong(key, "is a text; write it in quotes")
        return value

    def path(self, key: str) -> Path | None:
        """Relative to the home."""
        return self.folder / self.text(key) if self.text(key) else None

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        value = self.text(key) or default
        if value not in choices:
            raise self.wrong(
                key, f"is one of {', '.join(choices)}" + (f", not {value!r}" if value else "; it is missing")
            )
        return value

    def number(self, key: str, default: float) -> float:
        value = self.content.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
            raise self.wrong(key, "is a number; write it without quotes")
        return value

    def whole(self, key: str, default: int, *, least: int) -> int:
        value = self.number(key, default)
        if value != int(value) or value < least:
            raise self.wrong(key, f"is a whole number from {least} on")
        return int(value)

    def days(self, key: str) -> tuple[int, ...]:
        value = self.content[key]
        is_whole = isinstance(value, list) and all(isinstance(day, int) and not isinstance(day, bool) for day in value)
        if not is_whole or any(day < 1 for day in value) or sorted(set(value)) != value:
            raise self.wrong(key, "is a list of whole days from 1 on, each more than the one before, like [1, 3, 5]")
        return tuple(value)

    def day(self, key: str) -> date | None:
        value = self.content.get(key)
        if value is not None and (not isinstance(value, date) or isinstance(value, datetime)):
            raise self.wrong(key, "is a date; write it without quotes, like 2026-08-01")
        return value

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        value = self.content.get(key, list(default))
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            raise self.wrong(key, 'is a list of texts; write it as ["a", "b"]')
        return tuple(value)

    def instant(self, key: str) -> datetime | None:
        """In UTC."""
        value = self.content.get(key)
        if isinstance(value, str):
            try:
                return from_us(parse_instant_us(value))
            except ValueError as error:
                raise self.wrong(key, f"cannot be read: {error}") from None
        if value is not None and (not isinstance(value, datetime) or value.tzinfo is None):
            raise self.wrong(key, "is an instant; write it with its offset, like 2026-01-01T00:00:00Z")
        return value and value.astimezone(UTC)

    def without_password(self, key: str) -> str:
        """A URL, blank where it is absent."""
        url = self.text(key)
        if url and "://" not in url:
            raise self.wrong(key, "is a URL; write it as dialect://host/database")
        if _holds_secret(url):
            raise self.wrong(key, "holds a password; define an Airflow connection, and name it as `connection`")
        return url

    def location(self, key: str, example: str) -> str:
        """A URL as it is; a folder absolute."""
        location = self.text(key)
        if not location:
            raise self.wrong(key, f'is missing; give a folder, or a URL like "{example}"')
        if "://" not in location or location.startswith("file://"):
            return str(self.folder / location.removeprefix("file://"))
        return self.without_password(key)

    def connection(self) -> tuple[str, str]:
        """An Airflow connection, or a URL that anyone may read: (``connection``, ``url``), of which one is blank."""
        connection, url = self.text("connection"), self.without_password("url")
        if bool(connection) == bool(url):
            is_wrong = (
                "is there beside url; keep one" if url else "is missing; name an Airflow connection, or give a url"
            )
            raise self.wrong("connection", is_wrong)
        return connection, url

    def amounts(self, key: str, *, least: int) -> Mapping[str, Decimal]:
        """Amounts of money by currency, as numbers or in quotes, in no more digits than the currency has."""
        inner = self.table(key)
        if inner is None:
            return MappingProxyType({})
        found = {}
        for currency in sorted(inner.content):
            if not re.fullmatch("[A-Z]{3}", currency):
                raise inner.wrong(currency, "is no currency; write its three capital letters, like EUR")
            given, digits = inner.content[currency], minor_digits(currency)
            text = given if isinstance(given, str) else str(inner.number(currency, 0))
            if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]*)?", text) or round(Decimal(text), digits) != Decimal(text):
                raise inner.wrong(currency, f"is an amount from {least} on, with at most {digits} decimals")
            found[currency] = Decimal(text)
            if found[currency] < least:
                raise inner.wrong(currency, f"is an amount from {least} on, with at most {digits} decimals")
        return MappingProxyType(found)


def _holds_secret(url: str) -> bool:
    """Whether a user's password, or an option that is one, is in a URL, also where it was not escaped."""
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] != "sqlite" and ":" in rest.rpartition("@")[0]:
        return True
    options = parse_qsl(urlsplit(f"//x/?{rest.partition('?')[2]}").query)
    return any(is_secret(key) for key, _ in options)


def is_secret(key: str) -> bool:
    """Whether a key is called like one that holds a secret."""
    return any(word in key.lower() for word in ("pass", "secret", "token", "account_key"))
