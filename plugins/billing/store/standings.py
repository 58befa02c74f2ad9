"""How teams stand, as it was found last: only what changed is written."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, insert, select

from billing.store.database import in_parts, insert_columns
from billing.store.log import canonical
from billing.store.tables import paces, standing_apis, standing_balances, standing_refreshes, standings

_BY_NAME_MAX = 5_000
TABLES: Mapping[str, Table] = {table.name: table for table in (standings, standing_balances, standing_apis)}
_WHEN = ("as_of_us", "through_batch", "load_no")
"""What differs at every refresh although the team stands the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StandingRefresh:
    """How fresh standings are: see ``tables.standing_refreshes``."""

    as_of_us: int
    through_batch: int
    load_no: int
    rating_no: int
    paces_day: int


def read_refresh(connection: Connection) -> StandingRefresh | None:
    """The last refresh; None before the first."""
    row = connection.execute(select(standing_refreshes)).first()
    return None if row is None else StandingRefresh(**{name: getattr(row, name) for name in _REFRESH})


def write_refresh(connection: Connection, refresh: StandingRefresh) -> None:
    """Say how fresh standings are now."""
    connection.execute(delete(standing_refreshes))
    told = {name: getattr(refresh, name) for name in _REFRESH}
    connection.execute(insert(standing_refreshes).values(refresh_no=1, **told))


_REFRESH = ("as_of_us", "through_batch", "load_no", "rating_no", "paces_day")


def changing_by(connection: Connection, as_of_us: int) -> set[str]:
    """The teams that may stand otherwise at an instant, without any usage."""
    due = select(standings.c.team_id).where(standings.c.changes_at_us <= as_of_us)
    return set(connection.execute(due).scalars())


def standing_teams(connection: Connection) -> set[str]:
    """The teams of which a standing is kept."""
    return set(connection.execute(select(standings.c.team_id)).scalars())


def write_standings(
    connection: Connection,
    team_ids: Collection[str],
    rows: Mapping[str, Mapping[str, Sequence[Mapping[str, object]]]],
) -> list[str]:
    """Replace what is kept of these teams where it differs; which ones did, in order.

    ``rows``: by team the rows of each of ``TABLES`` by its name; a team of which there are none is taken out.
    """
    kept = _kept(connection, team_ids)
    changed = [team for team in sorted(team_ids) if kept.get(team, {}) != _comparable(rows.get(team, {}))]
    for some in in_parts(changed):
        for table in TABLES.values():
            connection.execute(delete(table).where(table.c.team_id.in_(some)))
    for name, table in TABLES.items():
        mine = [row for team in changed for row in rows.get(team, {}).get(name, ())]
        insert_columns(connection, table, {c.name: [row[c.name] for row in mine] for c in table.columns})
    return changed


def read_paces(connection: Connection, team_ids: Collection[str]) -> dict[str, dict[str, tuple[int, list[int]]]]:
    """By team and API the first day, and what was used on each from it on."""
    found: dict[str, dict[str, tuple[int, list[int]]]] = {}
    for row in _of_teams(connection, paces, team_ids):
        found.setdefault(row.team_id, {})[row.api] = (row.first_day, json.loads(row.quantities))
    return found


def write_paces(connection: Connection, first_day: int, series: Mapping[tuple[str, str], Sequence[int]]) -> None:
    """Replace all: by team and API what was used on each day from the first on."""
    connection.execute(delete(paces))
    columns: dict[str, list[object]] = {
        "team_id": [team for team, _ in series],
        "api": [api for _, api in series],
        "first_day": [first_day] * len(series),
        "quantities": [canonical(list(one)) for one in series.values()],
    }
    insert_columns(connection, paces, columns)


def _kept(connection: Connection, team_ids: Collection[str]) -> dict[str, dict[str, list[tuple[object, ...]]]]:
    """What is kept of some teams, to compare: the rows of each table as sorted tuples."""
    found: dict[str, dict[str, list[tuple[object, ...]]]] = {}
    for name, table in TABLES.items():
        compared = [place for place, column in enumerate(table.columns) if column.name not in _WHEN]
        for row in _of_teams(connection, table, team_ids):
            mine = found.setdefault(row.team_id, {})
            mine.setdefault(name, []).append(tuple(row[place] for place in compared))
    return {team: {name: sorted(rows, key=repr) for name, rows in mine.items()} for team, mine in found.items()}


def _comparable(rows: Mapping[str, Sequence[Mapping[str, object]]]) -> dict[str, list[tuple[object, ...]]]:
    found = {}
    for name, mine in rows.items():
        names = [column.name for column in TABLES[name].columns if column.name not in _WHEN]
        if mine:
            found[name] = sorted((tuple(row[one] for one in names) for row in mine), key=repr)
    return found


def _of_teams(connection: Connection, table: Table, team_ids: Collection[str]) -> Iterator[Row[Any]]:
    """Rows of some teams: asked for by name unless they are many, else chosen among all."""
    query = select(table)
    if len(team_ids) > _BY_NAME_MAX:
        yield from (row for row in connection.execute(query) if row.team_id in team_ids)
        return
    for some in in_parts(sorted(team_ids)):
        yield from connection.execute(query.where(table.c.team_id.in_(some)))
