"""Months of the seller's calendar: half-open, bounded by local midnights (rule 3.2)."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.core.cycles import local_date
from billing.core.months import Month

from .small_reference import us

ZONES = ["UTC", "Europe/Paris", "America/Sao_Paulo", "Pacific/Apia", "Asia/Tokyo", "Africa/Cairo"]


@pytest.mark.parametrize(
    ("text", "first", "last", "following"),
    [
        ("2026-07", date(2026, 7, 1), date(2026, 7, 31), "2026-08"),
        ("2026-12", date(2026, 12, 1), date(2026, 12, 31), "2027-01"),
        ("2028-02", date(2028, 2, 1), date(2028, 2, 29), "2028-03"),
        ("0001-01", date(1, 1, 1), date(1, 1, 31), "0001-02"),
    ],
)
def test_a_month_has_a_first_and_a_last_day_and_a_next(text: str, first: date, last: date, following: str) -> None:
    month = Month.parse(text)
    assert (month.first_day, month.last_day, str(month.next), str(month)) == (first, last, following, text)
    assert month.next.before == month


@pytest.mark.parametrize(
    "text", ["2026-7", "2026-13", "2026-00", "26-07", "2026-07-01", "", "９９９９-07", "9999-12", "0000-05"]
)
def test_anything_else_is_no_month(text: str) -> None:
    with pytest.raises(ValueError, match="is not a month; write YYYY-MM"):
        Month.parse(text)


def test_a_month_ends_where_the_next_local_day_begins() -> None:
    july = Month.parse("2026-07")
    assert july.start_us("Europe/Paris") == us("2026-06-30T22:00Z")
    assert july.end_us("Europe/Paris") == us("2026-07-31T22:00Z")
    assert july.end_us("UTC") == us("2026-08-01T00:00Z")


@given(st.dates(date(1990, 1, 1), date(2040, 1, 1)), st.sampled_from(ZONES))
def test_every_instant_is_in_the_month_of_its_local_date(day: date, zone: str) -> None:
    month = Month.of(day)
    assert month.before.end_us(zone) == month.start_us(zone) < month.end_us(zone)
    assert Month.of(local_date(zone, month.start_us(zone))) == month
    assert Month.of(local_date(zone, month.end_us(zone) - 1)) == month
    assert month.last_day + timedelta(days=1) == month.next.first_day
