"""Reference rows that come too late: what closed cycles they would have changed (rule 3.6).

A closed cycle stands whatever comes later. A load that would have changed one is taken, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
from sqlalchemy import Connection, select

from billing.core.frames import rows
from billing.core.instants import DAY_US, MIN_US
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


def late_rows(connection: Connection, load_no: int, found: Mapping[str, TableChange]) -> tuple[LateRow, ...]:
    """Every closed cycle that a new, changed or removed row could have changed, with that row (at most 1,000)."""
    closed = _closed_cycles(connection)
    if closed.empty:
        return ()
    late = [row for name, change in found.items() for row in _late_in_table(connection, name, change, closed)]
    return tuple(sorted(late, key=lambda r: (r.team_id, r.cycle_start_us, r.table, r.key))[:_LISTED_MAX])


def _closed_cycles(connection: Connection) -> pd.DataFrame:
    found = connection.execute(select(cycles.c.team_id, cycles.c.cycle_start_us, cycles.c.cycle_end_us)).all()
    return pd.DataFrame(found, columns=["team_id", "cycle_start_us", "cycle_end_us"])


def _late_in_table(connection: Connection, name: str, change: TableChange, closed: pd.DataFrame) -> Iterator[LateRow]:
    frame = pd.concat([change.added, change.changed, change.removed], ignore_index=True)
    if frame.empty or name not in _TOUCHED:
        return
    for key, team_ids, from_us in _TOUCHED[name](connection, frame):
        hit = closed[closed["team_id"].isin(team_ids) & (closed["cycle_end_us"] > from_us)]
        for cycle in rows(hit):
            yield LateRow(table=name, key=key, team_id=str(cycle.team_id), cycle_start_us=int(cycle.cycle_start_us))


_Touched = Iterator[tuple[str, set[str], int]]
"""For each row: its key, the teams that it concerns, and the instant from which it counts."""


def _subscriptions(connection: Connection, frame: pd.DataFrame) -> _Touched:
    for row in rows(frame):
        yield row.subscription_id, {row.team_id}, int(row.purchased_at)


def _of_subscriptions(connection: Connection, frame: pd.DataFrame) -> _Touched:
    history = reference_history["subscriptions"]
    query = select(history.c.subscription_id, history.c.team_id, history.c.purchased_at).order_by(history.c.row_no)
    owners = {row.subscription_id: (row.team_id, int(row.purchased_at)) for row in connection.execute(query)}
    for row in rows(frame):
        team_id, bought = owners.get(row.subscription_id, ("", MIN_US))
        key = getattr(row, "grant_id", "") or f"{row.subscription_id}, {row.api}"
        yield key, {team_id}, int(getattr(row, "valid_from", bought))


def _of_apis(connection: Connection, frame: pd.DataFrame) -> _Touched:
    users: dict[str, set[str]] = {}
    for api, team_id in connection.execute(select(carry.c.api, carry.c.team_id).distinct()):
        users.setdefault(api, set()).add(team_id)
    for row in rows(frame):
        yield (
            f"{row.api}, {getattr(row, 'currency', '')}".removesuffix(", "),
            users.get(row.api, set()),
            int(row.valid_from),
        )


def _of_countries(connection: Connection, frame: pd.DataFrame) -> _Touched:
    teams = set(connection.execute(select(invoices.c.team_id).distinct()).scalars())
    customers = reference_history["customers"]
    owners = reference_history["teams"]
    query = select(owners.c.team_id, customers.c.country).join(
        customers, customers.c.customer_id == owners.c.customer_id
    )
    by_country: dict[str, set[str]] = {}
    for team_id, country in connection.execute(query.distinct()):
        by_country.setdefault(country, set()).add(team_id)
    for row in rows(frame):
        yield row.country, by_country.get(row.country, set()) & teams, int(row.valid_from) * DAY_US


_TOUCHED = {
    "subscriptions": _subscriptions,
    "free_allowances": _of_subscriptions,
    "token_grants": _of_subscriptions,
    "capacity_grants": _of_subscriptions,
    "unit_rates": _of_apis,
    "unit_prices": _of_apis,
    "tax_rates": _of_countries,
}
