"""Usage as it is shown: actual usage by UTC day, for at most 24 months back (rule 8.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from billing.core.months import Month

MONTHS_BACK = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageSeries:
    """Usage of one API by one app (blank where no app made it): a quantity of 10^-6 a UTC day, from ``first_day`` on.

    A day's quantity can be below 0: a correction counts on the day of what it corrects.
    """

    api: str
    app_id: str
    first_day: date
    quantities_micro: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Freshness:
    """How far what is shown tells: extraction is complete through ``complete_through`` (None: nothing is known of it),
    batches through ``through_batch``, brought up to date at ``at`` (None: never).
    """

    complete_through: datetime | None
    through_batch: int
    at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamUsage:
    """A team's usage from ``first_day`` to ``last_day``, both shown; series are in the order of API and app, without
    those that have nothing in that time.
    """

    team_id: str
    first_day: date
    last_day: date
    series: tuple[UsageSeries, ...]
    freshness: Freshness


def oldest_month(today: date) -> Month:
    """The oldest month that is kept: 24 whole ones before the one that ``today`` is in."""
    months = today.year * 12 + today.month - 1 - MONTHS_BACK
    return Month(months // 12, months % 12 + 1)


def oldest_day(today: date) -> date:
    """The first day that is shown: 24 months back, the day clamped to its month."""
    month = oldest_month(today)
    return month.first_day.replace(day=min(today.day, month.last_day.day))


def with_days(quantities: Sequence[int], added: Mapping[int, int]) -> list[int]:
    """The quantities of a month's days with some more, by the place of the day in the month."""
    found = list(quantities)
    for place, quantity in added.items():
        found[place] += quantity
    return found
