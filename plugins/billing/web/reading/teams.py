"""The list of teams: to find one, and to see who runs out first, spends most, or has what nothing pays for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import reduce
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, FromClause, Row, Select, and_, case, func, literal
from sqlalchemy import select as sql_select

from billing.store.folding import folded
from billing.store.standings import read_refresh
from billing.store.tables import CodePointText, alerts, parked, reference_history, standings
from billing.web.reading.alerts import TOLD_ONCE
from billing.web.reading.freshness import Freshness, of_standing, of_standings
from billing.web.reading.keys import LAST, after, read_key, write_key
from billing.web.reading.known import instant, is_known, money, quantity
from billing.web.viewer import Viewer

ROWS = 50
MOST_ROWS = 200


class Sort(StrEnum):
    """How teams are sorted; what a team has no figure for comes last, equals go by their id."""

    NAME = "name"
    LEAST_LEFT = "least_left"  # the smallest share left of any balance first
    ENDS = "ends"  # the balance that ends or refreshes soonest first
    SPEND = "spend"  # by currency, the largest first
    UNFUNDED = "unfunded"  # the most units that nothing paid for first
    ALERTS = "alerts"  # the most alerts first


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamRow:
    """A team in the list. ``shows_money`` is False where the viewer may see no figures of it: all of them are None
    then, as they are where the team has no standing yet. ``least_left`` is a share, 0 to 1. ``spend`` and ``projected``
    are net, of the running cycle: what would be invoiced now, and what may be at its end.
    """

    team_id: str
    name: str
    customer_id: str
    customer_name: str
    shows_money: bool
    as_of: datetime | None
    least_left: Decimal | None
    first_end: datetime | None
    currency: str
    spend: Decimal | None
    projected: Decimal | None
    unfunded_units: int | None
    alerts: int | None
    is_parked: bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamsPage:
    """A page of the list. ``total``: how many teams are found. ``next_key``: blank on the last page."""

    teams: tuple[TeamRow, ...]
    total: int
    search: str
    sort: Sort
    next_key: str
    freshness: Freshness


def teams(
    connection: Connection,
    viewer: Viewer,
    *,
    search: str = "",
    sort: Sort = Sort.NAME,
    key: str = "",
    limit: int = ROWS,
) -> TeamsPage:
    """The teams that a viewer may see and whose id, name or customer has ``search`` in it, whatever the case.

    ``key``: ``next_key`` of the page before. Raises ``UsageError`` for what is no key.
    """
    viewer.demand_some_team()
    order, kinds = _order(connection, viewer, sort)
    columns = [column.label(f"key_{place}") for place, column in enumerate(order)]
    first, limit = read_key(key, sort.value, kinds), min(limit, MOST_ROWS)
    # What is searched is counted in the same look: to look for a text in every team is what a search costs. All are
    # counted sooner apart.
    total = (func.count().over() if search else literal(-1)).label("total")
    found = _sought(connection, viewer, search, _joined(sort, search), *columns, total).subquery()
    place = [found.c[column.name] for column in columns]
    page = sql_select(*place, found.c.total).where(*after(place, first))
    rows = connection.execute(page.order_by(*place).limit(limit + 1)).all()
    shown, more = [tuple(row[:-1]) for row in rows[:limit]], len(rows) > limit
    return TeamsPage(
        teams=_rows(connection, viewer, [row[-1] for row in shown]),
        total=int(rows[0].total) if rows and search else _count(connection, viewer, search),
        search=search,
        sort=sort,
        next_key=write_key(sort.value, list(shown[-1])) if more else "",
        freshness=_freshness(connection),
    )


def _count(connection: Connection, viewer: Viewer, search: str) -> int:
    """How many teams are found."""
    count = _sought(connection, viewer, search, _joined(None, search), func.count())
    return int(connection.execute(count).scalar_one())


_TEAM = reference_history["teams"].c
_CUSTOMER = reference_history["customers"].c
_BUYS = and_(_CUSTOMER.customer_id == _TEAM.customer_id, is_known("customers"))
_BETWEEN = "\x1f"
_OPEN_ALERTS = (
    sql_select(alerts.c.team_id, func.count(TOLD_ONCE.distinct()).label("alerts"))
    .where(alerts.c.ended_at_us.is_(None))
    .group_by(alerts.c.team_id)
    .subquery()
)


def _sought(
    connection: Connection, viewer: Viewer, search: str, tables: FromClause, *columns: ColumnElement[Any]
) -> Select[Any]:
    """Some columns of the teams that are looked for."""
    query = sql_select(*columns).select_from(tables).where(is_known("teams"))
    if not viewer.is_operator:
        query = query.where(_TEAM.team_id.in_(viewer.teams))
    if search:
        # One text to look in: what is folded is the price of a search. Nobody types what stands between its parts.
        parts = (_TEAM.team_id, _TEAM.name, func.coalesce(_CUSTOMER.legal_name, ""), _TEAM.customer_id)
        whole = reduce(lambda left, right: left + literal(_BETWEEN) + right, parts)
        query = query.where(folded(connection, whole).contains(search.lower(), autoescape=True))
    return query


def _joined(sort: Sort | None, search: str) -> FromClause:
    """Teams, with what they are sorted and looked for by, and no more."""
    tables: FromClause = reference_history["teams"]
    if search:
        tables = tables.outerjoin(reference_history["customers"], _BUYS)
    if sort is Sort.ALERTS:
        return tables.outerjoin(_OPEN_ALERTS, _OPEN_ALERTS.c.team_id == _TEAM.team_id)
    if sort in (None, Sort.NAME):
        return tables
    return tables.outerjoin(standings, standings.c.team_id == _TEAM.team_id)


def _rows(connection: Connection, viewer: Viewer, team_ids: Sequence[str]) -> tuple[TeamRow, ...]:
    """What is shown of these teams, in their order."""
    figures = ("as_of_us", "least_left_micro", "first_end_us", "currency", "spend_minor", "projected_minor")
    query = (
        sql_select(
            *(_TEAM.team_id, _TEAM.name, _TEAM.customer_id, _CUSTOMER.legal_name),
            *(standings.c[name] for name in (*figures, "unfunded_units")),
            parked.c.team_id.label("parked_team"),
        )
        .select_from(
            reference_history["teams"]
            .outerjoin(reference_history["customers"], _BUYS)
            .outerjoin(standings, standings.c.team_id == _TEAM.team_id)
            .outerjoin(parked, parked.c.team_id == _TEAM.team_id)
        )
        .where(is_known("teams"), _TEAM.team_id.in_(team_ids))
    )
    found: dict[str, Any] = {row.team_id: row for row in connection.execute(query).all()}
    held = sql_select(alerts.c.team_id, func.count(TOLD_ONCE.distinct())).where(
        alerts.c.team_id.in_(team_ids), alerts.c.ended_at_us.is_(None)
    )
    told = {team_id: int(number) for team_id, number in connection.execute(held.group_by(alerts.c.team_id))}
    return tuple(_row(found[team_id], told.get(team_id, 0), viewer) for team_id in team_ids)


def _order(
    connection: Connection, viewer: Viewer, sort: Sort
) -> tuple[list[ColumnElement[Any]], list[type[str] | type[int]]]:
    """The columns to sort by, ascending and never null, and whether each is text or a number."""

    def number(column: ColumnElement[Any], none: int = LAST) -> ColumnElement[Any]:
        return func.coalesce(_if_money(viewer, column), literal(none, BigInteger), type_=BigInteger())

    team_id = _TEAM.team_id
    if sort is Sort.NAME:
        return [folded(connection, _TEAM.name), team_id], [str, str]
    if sort is Sort.SPEND:
        unknown = case((_if_money(viewer, standings.c.currency).is_(None), 1), (standings.c.currency == "", 1), else_=0)
        currency = func.coalesce(_if_money(viewer, standings.c.currency), literal("", CodePointText))
        return [unknown, currency, number(-standings.c.spend_minor), team_id], [int, str, int, str]
    by = {
        Sort.LEAST_LEFT: number(standings.c.least_left_micro),
        Sort.ENDS: number(standings.c.first_end_us),
        Sort.UNFUNDED: number(-standings.c.unfunded_units),
        Sort.ALERTS: number(-_OPEN_ALERTS.c.alerts, none=0),
    }
    return [by[sort], team_id], [int, str]


def _if_money(viewer: Viewer, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A figure only of teams whose figures may be seen: an order tells of them, too."""
    if viewer.is_operator:
        return column
    return case((_TEAM.team_id.in_(viewer.money_teams), column), else_=None)


def _row(row: Row[Any], told: int, viewer: Viewer) -> TeamRow:
    shows = viewer.sees_money(row.team_id)
    currency = row.currency or "" if shows else ""
    return TeamRow(
        team_id=row.team_id,
        name=row.name,
        customer_id=row.customer_id,
        customer_name=row.legal_name or "",
        shows_money=shows,
        as_of=instant(row.as_of_us) if shows else None,
        least_left=quantity(row.least_left_micro) if shows else None,
        first_end=instant(row.first_end_us) if shows else None,
        currency=currency,
        spend=money(row.spend_minor, currency) if shows else None,
        projected=money(row.projected_minor, currency) if shows else None,
        unfunded_units=row.unfunded_units if shows else None,
        alerts=told if shows else None,
        is_parked=row.parked_team is not None if shows else None,
    )


def _freshness(connection: Connection) -> Freshness:
    """Figures of a list are as old as the oldest of them, or as the last refresh of all. One that is no newer than that
    is soon found, and spares looking at all.
    """
    last = read_refresh(connection)
    if last is not None:
        older = (standings.c.as_of_us <= last.as_of_us) & (standings.c.through_batch <= last.through_batch)
        if connection.execute(sql_select(standings.c.team_id).where(older).limit(1)).first() is not None:
            return of_standing(connection, last.as_of_us, last.through_batch)
    columns = (func.min(standings.c.as_of_us), func.min(standings.c.through_batch))
    as_of_us, through_batch = connection.execute(sql_select(*columns)).one()
    return of_standings(connection, as_of_us, through_batch)
