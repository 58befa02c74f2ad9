"""Reference rows that come too late: what closed cycles they would have changed (rule 3.6).

A closed cycle stands whatever comes later. A load that would have changed one is taken, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sqlalchemy import Connection, select

from billing.core.frames import rows
from billing.core.reference import FOREVER_US, TABLES
from billing.store.reference_history import TableChange
from billing.store.tables import carry, cycles, invoices, reference_history

_LISTED_MAX = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class LateRow:
    """A row that came too late for a closed cycle."""

    table: str
    key: str
    team_id: str
    cycle_start_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Version:
    """A row of a table before and after a load; None where it was or is not known."""

    before: Any
    after: Any

    @property
    def row(self) -> Any:
        """Either of the two, for what both share."""
        return self.after if self.after is not None else self.before

    def changed(self, *columns: str) -> bool:
        """Whether any of these columns differs; True for a row that was added or removed."""
        if self.before is None or self.after is None:
            return True
        return any(getattr(self.before, name) != getattr(self.after, name) for name in columns)

    def each(self, column: str) -> set[Any]:
        """The values of a column, before and after."""
        return {getattr(row, column) for row in (self.before, self.after) if row is not None}


def late_rows(connection: Connection, load_no: int, found: Mapping[str, TableChange]) -> tuple[LateRow, ...]:
    """Every closed cycle that a new, changed or removed row could have changed, with that row (at most 1,000)."""
    closed = _Closed(connection, found)
    if closed.nothing:
        return ()
    tables = [name for name in _TOUCHES if name in found]
    late = {row for name in tables for row in _late(connection, name, found[name], closed)}
    return tuple(sorted(late, key=lambda r: (r.team_id, r.cycle_start_us, r.table, r.key))[:_LISTED_MAX])


def _late(connection: Connection, name: str, change: TableChange, closed: _Closed) -> Iterator[LateRow]:
    for version in _versions(connection, name, change):
        key, hit = _TOUCHES[name](version, closed)
        for team_id, cycle_start_us in hit:
            yield LateRow(table=name, key=key, team_id=team_id, cycle_start_us=cycle_start_us)


def _versions(connection: Connection, name: str, change: TableChange) -> list[_Version]:
    """Rows before and after, put together by the table's key."""
    history, key = reference_history[name], TABLES[name].key
    before: dict[tuple[object, ...], Any] = {}
    for low in range(0, len(change.gone_rows), 500):
        query = select(history).where(history.c.row_no.in_(change.gone_rows[low : low + 500]))
        before |= {tuple(getattr(row, column) for column in key): row for row in connection.execute(query)}
    now = pd.concat([change.added, change.changed], ignore_index=True)
    after = {tuple(getattr(row, column) for column in key): row for row in rows(now)}
    return [_Version(before=before.get(k), after=after.get(k)) for k in before.keys() | after.keys()]


_Cycles = set[tuple[str, int]]
"""Closed cycles by team and start."""


class _Closed:
    """What is closed: cycles, the APIs and invoices in them, and who held and bought what, before and after a load."""

    def __init__(self, connection: Connection, found: Mapping[str, TableChange]) -> None:
        columns = (cycles.c.team_id, cycles.c.cycle_start_us, cycles.c.cycle_end_us, cycles.c.period_last_day)
        self._cycles = {(r.team_id, r.cycle_start_us): r for r in connection.execute(select(*columns))}
        self._with_api: dict[str, _Cycles] = {}
        for r in connection.execute(select(carry.c.api, carry.c.team_id, carry.c.cycle_start_us)):
            self._with_api.setdefault(r.api, set()).add((r.team_id, r.cycle_start_us))
        self._by_team: dict[str, _Cycles] = {}
        for team_id, start_us in self._cycles:
            self._by_team.setdefault(team_id, set()).add((team_id, start_us))
        self._invoiced = set(map(tuple, connection.execute(select(invoices.c.team_id, invoices.c.cycle_start_us))))
        self._countries = _countries(connection) if "tax_rates" in found else {}
        self.held = _held(connection, found)

    @property
    def nothing(self) -> bool:
        """Whether no cycle was ever closed."""
        return not self._cycles

    def of_teams(self, team_ids: set[str], from_us: int) -> _Cycles:
        """Cycles of these teams that end after an instant."""
        mine = {key for team_id in team_ids for key in self._by_team.get(team_id, ())}
        return {key for key in mine if self._cycles[key].cycle_end_us > from_us}

    def with_api(self, api: str, from_us: int) -> _Cycles:
        """Cycles that end after an instant and in which the API was used, or waited."""
        mine = self._with_api.get(api, set()) & self._cycles.keys()
        return {key for key in mine if self._cycles[key].cycle_end_us > from_us}

    def invoiced_in(self, country: str, from_day: int) -> _Cycles:
        """Invoiced cycles of buyers in a country whose last day is not before a day (rule 6.2)."""
        mine = {key for key in self._invoiced if key[0] in self._countries.get(country, ())}
        return {key for key in mine if self._cycles[key].period_last_day >= from_day}


def _countries(connection: Connection) -> dict[str, set[str]]:
    """By country, the teams whose buyer is or was there."""
    customers, teams = reference_history["customers"], reference_history["teams"]
    query = select(teams.c.team_id, customers.c.country).join(customers, customers.c.customer_id == teams.c.customer_id)
    found: dict[str, set[str]] = {}
    for row in connection.execute(query.distinct()):
        found.setdefault(row.country, set()).add(row.team_id)
    return found


def _held(connection: Connection, found: Mapping[str, TableChange]) -> dict[str, tuple[str, int]]:
    """By subscription its team and purchase: as this load says, or else as they were last known."""
    history = reference_history["subscriptions"]
    query = select(history.c.subscription_id, history.c.team_id, history.c.purchased_at).order_by(history.c.row_no)
    held = {row.subscription_id: (row.team_id, int(row.purchased_at)) for row in connection.execute(query)}
    if "subscriptions" in found:
        for frame in (found["subscriptions"].added, found["subscriptions"].changed):
            held |= {row.subscription_id: (row.team_id, int(row.purchased_at)) for row in rows(frame)}
    return held


_Touch = Callable[[_Version, _Closed], tuple[str, _Cycles]]
"""A row's key, and the closed cycles that it could have changed."""


def _subscription(version: _Version, closed: _Closed) -> tuple[str, _Cycles]:
    from_us = FOREVER_US  # how it is paid changes no cycle
    if version.changed("team_id", "kind", "purchased_at", "time_zone", "currency"):
        from_us = min(version.each("purchased_at"))
    elif version.changed("ends_at"):
        from_us = min(version.each("ends_at"))
    return version.row.subscription_id, closed.of_teams(version.each("team_id"), from_us)


def _allowance(version: _Version, closed: _Closed) -> tuple[str, _Cycles]:
    team_id, bought_us = closed.held[version.row.subscription_id]
    return f"{version.row.subscription_id}, {version.row.api}", closed.of_teams({team_id}, bought_us)


def _grant(version: _Version, closed: _Closed) -> tuple[str, _Cycles]:
    rest = [c.name for c in TABLES["token_grants"].columns if c.name != "expires_at"]
    if hasattr(version.row, "quantity"):
        rest = [c.name for c in TABLES["capacity_grants"].columns if c.name != "expires_at"]
    from_us = min(version.each("valid_from" if version.changed(*rest) else "expires_at"))
    teams = {closed.held[subscription_id][0] for subscription_id in version.each("subscription_id")}
    return version.row.grant_id, closed.of_teams(teams, from_us)


def _rate(version: _Version, closed: _Closed) -> tuple[str, _Cycles]:
    key = ", ".join(filter(None, (version.row.api, getattr(version.row, "currency", ""))))
    return key, closed.with_api(version.row.api, version.row.valid_from)


def _tax_rate(version: _Version, closed: _Closed) -> tuple[str, _Cycles]:
    return version.row.country, closed.invoiced_in(version.row.country, version.row.valid_from)


_TOUCHES: Mapping[str, _Touch] = {
    "subscriptions": _subscription,
    "free_allowances": _allowance,
    "token_grants": _grant,
    "capacity_grants": _grant,
    "unit_rates": _rate,
    "unit_prices": _rate,
    "tax_rates": _tax_rate,
}
