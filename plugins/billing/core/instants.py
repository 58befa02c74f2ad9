"""Instants: RFC 3339 text, aware datetimes, and int64 microseconds since 1970-01-01T00:00Z (``*_us``)."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = date(1970, 1, 1)
DAY_US = 86_400_000_000
_MICROSECOND = timedelta(microseconds=1)

# Digits past the sixth may only be zeros: nothing is finer than a microsecond (data contract, "Instants").
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])(?:\.([0-9]{1,6})0*)?(?:(Z)|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)


def parse_instant_us(text: str) -> int:
    """RFC 3339 text to microseconds since the epoch.

    Raises ``ValueError``, saying what is expected, for anything else: an instant without an offset, lower
    case letters, second 60, hour 24, a finer fraction, a date that does not exist.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not an instant; write YYYY-MM-DDTHH:MM:SS[.ffffff] and Z or an offset like +02:00"
        )
    clock, fraction, _, sign, hours, minutes = match.groups()
    try:
        local = datetime.fromisoformat(clock)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an instant: {error}") from None
    us = (local - EPOCH.replace(tzinfo=None)) // _MICROSECOND + int((fraction or "").ljust(6, "0"))
    if sign:
        offset_us = (int(hours) * 60 + int(minutes)) * 60_000_000
        us -= offset_us if sign == "+" else -offset_us
    if not MIN_US <= us <= MAX_US:
        raise ValueError(f"{text!r} is outside the years 0001 to 9999 in UTC")
    return us


def to_us(instant: datetime) -> int:
    """An aware datetime to microseconds since the epoch, exactly. ``ValueError`` where it is naive."""
    if instant.tzinfo is None:
        raise ValueError(f"{instant!r} has no time zone; an instant needs one")
    return (instant - EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """Microseconds since the epoch to an aware datetime in UTC."""
    return EPOCH + timedelta(microseconds=int(us))


def format_us(us: int) -> str:
    """RFC 3339 in UTC with ``Z``; six digits of fraction only where it is not zero."""
    return from_us(us).isoformat().replace("+00:00", "Z")


def format_instant(instant: datetime) -> str:
    """Like ``format_us``, from an aware datetime."""
    return format_us(to_us(instant))


def parse_day(text: str) -> int:
    """A date ``YYYY-MM-DD`` to days since 1970-01-01. ``ValueError`` for anything else."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError(f"{text!r} is not a date; write YYYY-MM-DD")
    try:
        return (date.fromisoformat(text) - EPOCH_DAY).days
    except ValueError as error:
        raise ValueError(f"{text!r} is not a date: {error}") from None


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - EPOCH_DAY).days


def from_day(number: int) -> date:
    """The date that lies ``number`` days after 1970-01-01."""
    return EPOCH_DAY + timedelta(days=int(number))


MIN_US = to_us(datetime.min.replace(tzinfo=UTC))
MAX_US = to_us(datetime.max.replace(tzinfo=UTC))
