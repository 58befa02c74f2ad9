"""Instants and dates by the data contract's conventions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.core.instants import (
    MAX_US,
    MIN_US,
    day_number,
    format_instant,
    format_us,
    from_day,
    from_us,
    parse_day,
    parse_instant_us,
    to_us,
)


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T00:00:00.1Z", 100_000),
        ("1970-01-01T00:00:00.123456000Z", 123_456),
        ("1970-01-01T00:00:00.0000000Z", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("1970-01-01T12:00:00+02:00", 36_000_000_000),
        ("1970-01-01T10:00:00-00:00", 36_000_000_000),
        ("1969-12-31T23:59:00-23:59", 86_280_000_000),
        ("1970-01-01T05:45:00+05:45", 0),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
        ("0001-01-01T00:00:00Z", MIN_US),
        ("9999-12-31T23:59:59.999999Z", MAX_US),
    ],
)
def test_instants_of_the_contract(text: str, us: int) -> None:
    """Data contract: RFC 3339 with Z or an offset, compared by value (rule 2.2)."""
    assert parse_instant_us(text) == us


@pytest.mark.parametrize(
    "text",
    [
        "", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-01-01t00:00:00Z", "2026-01-01T00:00:00z",
        "2026-01-01T00:00Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00,5Z", "2026-01-01T00:00:60Z",
        "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:00.0000001Z", "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-04-31T00:00:00Z", "0000-01-01T00:00:00Z",
        "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+02:60", "2026-01-01T00:00:00+0200", "2026-01-01T00:00:00+02",
        "2026-01-01T00:00:00 Z", " 2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z\n", "٢٠٢٦-01-01T00:00:00Z",
        "2026-1-1T00:00:00Z", "20260101T000000Z", "02026-01-01T00:00:00Z", "2026-01-01T00:00:00−02:00", "1767225600",
        "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "2026-W01-1T00:00:00Z",
    ],
)  # fmt: skip
def test_what_is_no_instant(text: str) -> None:
    """Data contract: without an offset, in lower case, second 60, hour 24, finer than a microsecond: an error."""
    with pytest.raises(ValueError):
        parse_instant_us(text)


@pytest.mark.parametrize(
    ("us", "text"),
    [(0, "1970-01-01T00:00:00Z"), (1, "1970-01-01T00:00:00.000001Z"), (500_000, "1970-01-01T00:00:00.500000Z")]
    + [(MIN_US, "0001-01-01T00:00:00Z"), (MAX_US, "9999-12-31T23:59:59.999999Z"), (-1, "1969-12-31T23:59:59.999999Z")],
)
def test_how_instants_are_written(us: int, text: str) -> None:
    """Data contract: in UTC with Z, six digits of fraction only where it is not zero."""
    assert format_us(us) == text


@given(st.integers(MIN_US, MAX_US))
def test_instants_are_read_back_as_written(us: int) -> None:
    """Exact to the microsecond over all years."""
    assert parse_instant_us(format_us(us)) == us
    assert to_us(from_us(us)) == us
    assert from_us(us).tzinfo is UTC


@given(st.integers(0, MAX_US // 2), st.integers(-1439, 1439))
def test_an_offset_changes_the_spelling_only(us: int, minutes: int) -> None:
    """Rule 2.2: 12:00+02:00 is 10:00Z."""
    local = from_us(us).astimezone(timezone(timedelta(minutes=minutes)))
    assert parse_instant_us(local.isoformat()) == us
    assert to_us(local) == us
    assert format_instant(local) == format_us(us)


def test_a_naive_datetime_is_no_instant() -> None:
    """Data contract: a time without an offset is an error, never a guess."""
    with pytest.raises(ValueError, match="no time zone"):
        to_us(datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(("text", "number"), [("1970-01-01", 0), ("1969-12-31", -1), ("2024-02-29", 19_782)])
def test_days(text: str, number: int) -> None:
    """Data contract: dates, counted from 1970-01-01 and back."""
    assert parse_day(text) == number
    assert from_day(number).isoformat() == text
    assert day_number(from_day(number)) == number


@pytest.mark.parametrize("text", ["", "2026-2-1", "2026-02-30", "20260201", "2026-02-01Z", "2026-02-01\n", "2026-W05"])
def test_what_is_no_day(text: str) -> None:
    """Data contract: a date is YYYY-MM-DD."""
    with pytest.raises(ValueError, match="is not a date"):
        parse_day(text)
