"""Usage by day, brought up to date with the batches that are new, so that pages read a few rows (rule 8.2).

What is kept is derived: it can be made again from the usage table at any time, and says the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import select

from billing.core.errors import NotFound
from billing.core.instants import from_us, to_us
from billing.core.months import Month
from billing.core.quantity import format_micro
from billing.core.usage_views import TeamUsage, oldest_month, with_days
from billing.steps.progress import Progress, silent
from billing.steps.telemetry import say
from billing.store.batches import committed, demand_rows, pinnable
from billing.store.home import Home
from billing.store.lake import CommittedBatches
from billing.store.tables import reference_history
from billing.store.usage_months import (
    add_month,
    daily_usage,
    forget_all,
    forget_before,
    months_kept,
    move_view,
    of_month,
    read_view,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewsRefreshed:
    """What was done: rows written, old ones forgotten; the views tell up to ``through_batch``."""

    rows: int
    forgotten: int
    through_batch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewDiffers:
    """A row of the views that is not what the usage table says; quantities of 10^-6 by day, None where there is no such
    row.
    """

    month: Month
    team_id: str
    api: str
    app_id: str
    kept_micro: tuple[int, ...] | None
    derived_micro: tuple[int, ...] | None


def refresh_views(home: Home, now: datetime, *, rebuild: bool = False, progress: Progress = silent) -> ViewsRefreshed:
    """Add what came in batches since the last time; ``rebuild`` derives everything anew.

    One transaction moves the rows and the number of the batch that they tell up to: run twice, the second finds nothing
    to do; killed, nothing was done. Months that are older than 24 before ``now`` are forgotten.
    """
    with home.database.holding("usage views"):
        with home.database.read() as connection:
            view = None if rebuild else read_view(connection)
            batches = committed(connection, pinnable(connection))
            demand_rows(home, connection, batches.through)
        since, oldest = view.through_batch if view else 0, oldest_month(now.date())
        begun = view is not None and Month.of(from_us(view.at_us).date()) == Month.of(now.date())
        months = _months(home, batches, since, oldest) if batches.through > since else []
        with home.database.exclusive("usage views written") as connection:
            if view is None:
                forget_all(connection)
            rows = 0
            for done, month in enumerate(months):
                progress("usage by day", done, len(months))
                rows += add_month(connection, month, home.usage.by_day(batches, since, month))
            forgotten = 0 if begun else forget_before(connection, oldest)
            move_view(connection, max(since, batches.through), to_us(now))
    say("usage views refreshed", rows=rows, forgotten=forgotten, through_batch=batches.through)
    return ViewsRefreshed(rows=rows, forgotten=forgotten, through_batch=max(since, batches.through))


def read_usage(
    home: Home, team_id: str, first_day: date, last_day: date, *, api: str | None = None, app_id: str | None = None
) -> TeamUsage:
    """A team's usage by day as it was brought up to date last: see ``store.usage_months.daily_usage``.

    ``NotFound`` for a team that reference data never knew.
    """
    with home.database.read() as connection:
        team = reference_history["teams"]
        if connection.execute(select(team.c.team_id).where(team.c.team_id == team_id).limit(1)).first() is None:
            raise NotFound(f"There is no team {team_id!r}.")
        return daily_usage(connection, team_id, first_day, last_day, api, app_id)


def day_rows(found: TeamUsage) -> Iterator[tuple[str, str, str, str]]:
    """Day, API, app and quantity of every day that has any, as text."""
    for series in found.series:
        for place, quantity in enumerate(series.quantities_micro):
            if quantity:
                day = series.first_day + timedelta(days=place)
                yield day.isoformat(), series.api, series.app_id, format_micro(quantity)


def views_that_differ(home: Home, now: datetime, progress: Progress = silent) -> Iterator[ViewDiffers]:
    """Compare every row of the views with what the usage table says through the same batch, month by month."""
    with home.database.read() as connection:
        view = read_view(connection)
        if view is None:
            return
        batches, oldest = committed(connection, view.through_batch), oldest_month(now.date())
        kept_months = [month for month in months_kept(connection) if month >= oldest]
        months = sorted({*kept_months, *_months(home, batches, 0, oldest)})
        for done, month in enumerate(months):
            progress("usage by day", done, len(months))
            kept = dict(of_month(connection, month))
            days = (month.next.first_day - month.first_day).days
            for one in home.usage.by_day(batches, 0, month):
                derived, mine = with_days([0] * days, one.by_place), kept.pop((one.team_id, one.api, one.app_id), None)
                if derived != mine:
                    yield _differs(month, (one.team_id, one.api, one.app_id), mine, derived)
            for key, mine in kept.items():
                yield _differs(month, key, mine, None)


def _differs(month: Month, key: tuple[str, str, str], kept: list[int] | None, derived: list[int] | None) -> ViewDiffers:
    return ViewDiffers(
        month=month,
        team_id=key[0],
        api=key[1],
        app_id=key[2],
        kept_micro=None if kept is None else tuple(kept),
        derived_micro=None if derived is None else tuple(derived),
    )


def _months(home: Home, batches: CommittedBatches, since: int, oldest: Month) -> list[Month]:
    """The months that later batches may have touched, without those that are not shown any more."""
    found = home.usage.months_since(batches, since)
    return [Month.parse(text) for text in found if text >= str(oldest)]
