"""Paging by key: a page ends with the key of its last row, and the next one begins after it, whatever came since."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, literal, tuple_

from billing.core.errors import UsageError

LAST = 2**63 - 1
"""Sorts behind every number: what has no value comes last."""
_LONGEST = 8_000


def write_key(order: str, values: Sequence[str | int]) -> str:
    """The key of a row in an order, as text for an address."""
    content = json.dumps([order, *values], separators=(",", ":"), ensure_ascii=False)
    return urlsafe_b64encode(content.encode()).decode().rstrip("=")


def read_key(text: str, order: str, kinds: Sequence[type[str] | type[int]]) -> list[Any] | None:
    """The values of a key; None for a blank one. ``UsageError`` for what is no key of this order."""
    if not text:
        return None
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)) if len(text) <= _LONGEST else b""
        found: list[Any] = json.loads(raw)
        said, values = found[0], list[Any](found[1:])
        fit = [_is(kind, value) for kind, value in zip(kinds, values, strict=True)]
    except (ValueError, TypeError, LookupError, Error, RecursionError):
        said, values, fit = "", [], []
    if said != order or not fit or not all(fit):
        raise UsageError("This is no key of a page in this order; take next_key of the page before, or leave it out.")
    return list(values)


def _is(kind: type[str] | type[int], value: Any) -> bool:
    if kind is int:
        return type(value) is int and -LAST <= value <= LAST
    return isinstance(value, str) and is_text(value)


def is_text(value: str) -> bool:
    """Whether a database takes it as text: no NUL and no half of a surrogate pair."""
    return "\x00" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


def after(columns: Sequence[ColumnElement[Any]], values: Sequence[Any] | None) -> list[ColumnElement[bool]]:
    """The condition that a row comes after a key in ascending order; none for the first page."""
    if values is None:
        return []
    return [tuple_(*columns) > tuple_(*(literal(v, c.type) for c, v in zip(columns, values, strict=True)))]
