"""Usage by UTC day as it is shown (rule 8.2): a row a team, month, API and app. Derived from the usage table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from billing.core.instants import day_number, from_day, from_us
from billing.core.months import Month
from billing.core.usage_views import Freshness, TeamUsage, UsageSeries, oldest_day, with_days
from billing.store.batches import completeness
from billing.store.database import in_parts
from billing.store.tables import usage_months, usage_views
from billing.store.usage_table import DayUsage

_KEY = ("team_id", "first_day", "api", "app_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Up to which batch the table tells, and since when."""

    through_batch: int
    at_us: int


def read_view(connection: Connection) -> View | None:
    """How far the table tells; None before it was made."""
    row = connection.execute(select(usage_views)).first()
    return View(through_batch=row.through_batch, at_us=row.at_us) if row else None


def move_view(connection: Connection, through_batch: int, at_us: int) -> None:
    """Say how far the table tells now: in the transaction that brings it there."""
    connection.execute(delete(usage_views))
    connection.execute(insert(usage_views).values(view_no=1, through_batch=through_batch, at_us=at_us))


def add_month(connection: Connection, month: Month, brought: Iterable[DayUsage]) -> int:
    """Add what came new in a month to what is kept of it; only the rows that it touches are read and written. How many
    they are.
    """
    first_day, empty, rows = day_number(month.first_day), [0] * _days(month), 0
    for some in in_parts(brought, 5_000):
        kept = _kept(connection, first_day, sorted({one.team_id for one in some}))
        changed = [
            {
                "team_id": one.team_id,
                "first_day": first_day,
                "api": one.api,
                "app_id": one.app_id,
                "quantities": _written(with_days(kept.get((one.team_id, one.api, one.app_id), empty), one.by_place)),
            }
            for one in some
        ]
        _upsert(connection, changed)
        rows += len(changed)
    return rows


def forget_before(connection: Connection, month: Month) -> int:
    """Take older months out; how many rows."""
    old = usage_months.c.first_day < day_number(month.first_day)
    return int(connection.execute(delete(usage_months).where(old)).rowcount)


def forget_all(connection: Connection) -> None:
    """Take everything out, to be derived again."""
    connection.execute(delete(usage_months))
    connection.execute(delete(usage_views))


def months_kept(connection: Connection) -> list[Month]:
    """The months of which there is anything, in order."""
    days = connection.execute(select(usage_months.c.first_day).distinct().order_by(usage_months.c.first_day)).scalars()
    return [Month.of(from_day(day)) for day in days]


def of_month(connection: Connection, month: Month) -> Iterator[tuple[tuple[str, str, str], list[int]]]:
    """All that is kept of a month: team, API and app with the quantities of its days, in that order."""
    mine = select(usage_months).where(usage_months.c.first_day == day_number(month.first_day))
    order = (usage_months.c.team_id, usage_months.c.api, usage_months.c.app_id)
    for row in connection.execute(mine.order_by(*order)):
        yield (row.team_id, row.api, row.app_id), json.loads(row.quantities)


def daily_usage(
    connection: Connection,
    team_id: str,
    first_day: date,
    last_day: date,
    api: str | None = None,
    app_id: str | None = None,
) -> TeamUsage:
    """A team's usage from ``first_day`` to ``last_day``, both in it; of one API or app, where one is given.

    Nothing older than 24 months is shown: an earlier ``first_day`` is moved there.
    """
    view = read_view(connection)
    if view is not None:
        first_day = max(first_day, oldest_day(from_us(view.at_us).date()))
    return TeamUsage(
        team_id=team_id,
        first_day=first_day,
        last_day=last_day,
        series=_series(connection, team_id, first_day, last_day, api, app_id),
        freshness=freshness(connection, view),
    )


def month_series(connection: Connection, team_id: str, month: Month) -> tuple[UsageSeries, ...]:
    """A team's usage of a whole month that is kept, as its statement shows it; ``freshness`` is the same of all."""
    return _series(connection, team_id, month.first_day, month.last_day)


def freshness(connection: Connection, view: View | None) -> Freshness:
    """How far what is shown tells."""
    through = view.through_batch if view else 0
    complete_us = completeness(connection, through).through_us if view else None
    return Freshness(
        complete_through=None if complete_us is None else from_us(complete_us),
        through_batch=through,
        at=from_us(view.at_us) if view else None,
    )


def by_api_and_app(
    connection: Connection,
    team_id: str,
    first_day: date,
    last_day: date,
    api: str | None = None,
    app_id: str | None = None,
) -> dict[tuple[str, str], list[int]]:
    """By API and app what a team used, in 10^-6, on each UTC day from ``first_day`` to ``last_day``, both in it; in no
    order. Some may have nothing on these days.
    """
    low, high = day_number(first_day), day_number(last_day) + 1
    found: dict[tuple[str, str], list[int]] = {}
    for row in connection.execute(_rows_of(team_id, first_day, high, api, app_id)):
        days = found.setdefault((row.api, row.app_id), [0] * max(high - low, 0))
        for day, quantity in enumerate(json.loads(row.quantities), start=row.first_day):
            if low <= day < high:
                days[day - low] = quantity
    return found


def _series(
    connection: Connection,
    team_id: str,
    first_day: date,
    last_day: date,
    api: str | None = None,
    app_id: str | None = None,
) -> tuple[UsageSeries, ...]:
    found = by_api_and_app(connection, team_id, first_day, last_day, api, app_id)
    return tuple(
        UsageSeries(api=api, app_id=app_id, first_day=first_day, quantities_micro=tuple(days))
        for (api, app_id), days in sorted(found.items())
        if any(days)
    )


def _rows_of(team_id: str, first_day: date, until: int, api: str | None, app_id: str | None) -> Select[Any]:
    """The months that have a day of an interval."""
    since = day_number(Month.of(first_day).first_day)
    query = select(usage_months).where(
        usage_months.c.team_id == team_id, usage_months.c.first_day >= since, usage_months.c.first_day < until
    )
    for column, wanted in ((usage_months.c.api, api), (usage_months.c.app_id, app_id)):
        if wanted is not None:
            query = query.where(column == wanted)
    return query


def _kept(connection: Connection, first_day: int, teams: list[str]) -> Mapping[tuple[str, str, str], list[int]]:
    found = {}
    for some in in_parts(teams):
        mine = usage_months.c.team_id.in_(some), usage_months.c.first_day == first_day
        for row in connection.execute(select(usage_months).where(*mine)):
            found[row.team_id, row.api, row.app_id] = json.loads(row.quantities)
    return found


def _upsert(connection: Connection, rows: list[dict[str, object]]) -> None:
    if not rows:
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(usage_months)
    statement = statement.on_conflict_do_update(
        index_elements=list(_KEY), set_={"quantities": statement.excluded.quantities}
    )
    connection.execute(statement, rows)


def _days(month: Month) -> int:
    return (month.next.first_day - month.first_day).days


def _written(quantities: list[int]) -> str:
    return json.dumps(quantities, separators=(",", ":"))
