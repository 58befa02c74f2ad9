"""Actual usage by UTC day, API and app, for at most 24 months back (rule 8.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from operator import add

from sqlalchemy import Connection, select

from billing.core.errors import UsageError
from billing.core.instants import to_us
from billing.core.quantity import decimal_of_micro
from billing.core.usage_views import oldest_day
from billing.store.tables import reference_history
from billing.store.usage_months import by_api_and_app
from billing.web.reading import known
from billing.web.reading.freshness import Freshness, of_usage
from billing.web.reading.team import head_of
from billing.web.viewer import Viewer

SHOWN = timedelta(days=30)
SERIES = 500
"""So many rows of days at most, the ones that used most of their API first; of all others only the totals are told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageSeries:
    """Usage of an API a day from the page's ``first_day`` on, by an app, or of all where it is not by app (``app_id``
    is None then; blank is usage that no app made, of a ``capacity`` resource, say). In the API's usage unit.
    """

    api: str
    api_name: str
    usage_unit: str
    app_id: str | None
    app_name: str
    total: Decimal
    quantities: tuple[Decimal, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageTotal:
    """Usage of an API, or by an app of it, in all of the days."""

    api: str
    api_name: str
    usage_unit: str
    app_id: str | None
    app_name: str
    total: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class UsagePage:
    """Daily usage of a team in UTC days ``[first_day, until_day)``, of one API where ``api`` is not blank.

    ``earliest_day``: nothing is shown from before. ``only_hub``: the viewer sees what the apps of the team's hub used,
    and no more. ``totals`` are all there are, by API and then the largest first; ``series`` in the same order the 500
    largest, ``series_left_out`` says of how many more only the total is told.
    """

    team_id: str
    team_name: str
    first_day: date
    until_day: date
    earliest_day: date
    by_app: bool
    api: str
    only_hub: bool
    totals: tuple[UsageTotal, ...]
    series: tuple[UsageSeries, ...]
    series_left_out: int
    freshness: Freshness


def usage(
    connection: Connection,
    viewer: Viewer,
    team_id: str,
    *,
    at: datetime,
    first_day: date | None = None,
    until_day: date | None = None,
    api: str = "",
    by_app: bool = False,
) -> UsagePage:
    """Usage of a team's UTC days, the last 30 where none are given; what lies before the earliest day is cut off.

    Raises ``NotForYou``, ``NotFound`` for an id that no team ever had (to operators), ``UsageError`` for days that are
    no interval.
    """
    viewer.demand_team(team_id)
    head, earliest = head_of(connection, team_id), oldest_day(at.astimezone(UTC).date())
    first, until = _interval(first_day, until_day, at, earliest)
    apps = None if viewer.sees_money(team_id) else _hub_apps(connection, team_id, to_us(at))
    sums: dict[tuple[str, str | None], list[int]] = {}
    found = by_api_and_app(connection, team_id, first, until - timedelta(days=1), api or None)
    for (one, app_id), days in found.items():
        if apps is None or app_id in apps:
            key = (one, app_id if by_app else None)
            sums[key] = list(map(add, sums[key], days)) if key in sums else days
    named = _Names.read(connection, list(sums))
    total = {key: sum(days) for key, days in sums.items()}
    ordered = sorted(sums, key=lambda key: (key[0], -total[key], key[1] or ""))
    largest = set(sorted(sums, key=lambda key: (-total[key], key[0], key[1] or ""))[:SERIES])
    shown = [key for key in ordered if key in largest]
    return UsagePage(
        team_id=team_id,
        team_name=head.name,
        first_day=first,
        until_day=until,
        earliest_day=earliest,
        by_app=by_app,
        api=api,
        only_hub=apps is not None,
        totals=tuple(named.total(key, sums[key]) for key in ordered),
        series=tuple(named.series(key, sums[key]) for key in shown),
        series_left_out=len(ordered) - len(shown),
        freshness=of_usage(connection),
    )


def _interval(first: date | None, until: date | None, at: datetime, earliest: date) -> tuple[date, date]:
    tomorrow = at.astimezone(UTC).date() + timedelta(days=1)
    until = max(min(until or tomorrow, tomorrow), earliest)
    first = max(first or until - SHOWN, earliest)
    if first >= until:
        raise UsageError(
            f"There are no days to show from {first} until before {until}; usage is shown from {earliest} on."
        )
    return first, until


def _hub_apps(connection: Connection, team_id: str, at_us: int) -> frozenset[str]:
    """The apps that ever belonged to the hub that the team has now."""
    assigned = reference_history["app_hubs"].c
    query = select(assigned.app_id).where(known.is_known("app_hubs"))
    hubs = known.hubs_of(connection, team_id, at_us)
    return frozenset(connection.execute(query.where(assigned.hub_id.in_(hubs))).scalars())


@dataclass(frozen=True, kw_only=True, slots=True)
class _Names:
    """What APIs and apps are called."""

    apis: dict[str, known.Api]
    apps: dict[str, str]

    @classmethod
    def read(cls, connection: Connection, keys: Sequence[tuple[str, str | None]]) -> _Names:
        return cls(
            apis=known.apis(connection, {api for api, _ in keys}),
            apps=known.names(connection, "apps", {app for _, app in keys if app}),
        )

    def total(self, key: tuple[str, str | None], micros: Sequence[int]) -> UsageTotal:
        api = self.apis[key[0]]
        return UsageTotal(
            api=api.api,
            api_name=api.name,
            usage_unit=api.usage_unit,
            app_id=key[1],
            app_name=self.apps.get(key[1] or "", ""),
            total=decimal_of_micro(sum(micros)),
        )

    def series(self, key: tuple[str, str | None], micros: Sequence[int]) -> UsageSeries:
        api = self.apis[key[0]]
        return UsageSeries(
            api=api.api,
            api_name=api.name,
            usage_unit=api.usage_unit,
            app_id=key[1],
            app_name=self.apps.get(key[1] or "", ""),
            total=decimal_of_micro(sum(micros)),
            quantities=tuple(decimal_of_micro(micro) for micro in micros),
        )
