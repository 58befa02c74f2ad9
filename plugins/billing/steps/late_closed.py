"""Closed cycles as the search for late rows sees them, and what it finds: a row that would have touched one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, func, or_, select

from billing.core.model import ApiBilling
from billing.steps.reference_versions import Version
from billing.store.database import in_parts
from billing.store.invoices import stands
from billing.store.late_rows import Figure, Touched
from billing.store.tables import carry, cycles, invoices


@dataclass(frozen=True, kw_only=True, slots=True)
class ClosedCycle:
    """A closed cycle; ``is_first``: no closed one of its team lies before it. ``charged`` are the APIs of which units
    were charged in it, ``counted`` the resources that were counted against capacity.
    """

    team_id: str
    start_us: int
    end_us: int
    is_first: bool
    charged: frozenset[str]
    counted: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A version of a row, and what of a closed cycle it would have changed."""

    version: Version
    team_id: str
    cycle_start_us: int
    touched: frozenset[Touched]
    figures: tuple[Figure, ...] = ()


def anything_closed(connection: Connection) -> bool:
    """Whether any cycle was ever closed."""
    return connection.execute(select(cycles.c.team_id).limit(1)).first() is not None


def cycle_of(table: Any) -> Any:
    """The condition that joins a table's rows to their cycle."""
    return and_(cycles.c.team_id == table.c.team_id, cycles.c.cycle_start_us == table.c.cycle_start_us)


def named(connection: Connection, query: Select[Any], column: Any, names: Collection[object]) -> Iterator[Any]:
    """The rows of a query in which ``column`` is one of any number of names."""
    for some in in_parts(sorted(names)):  # type: ignore[type-var]
        yield from connection.execute(query.where(column.in_(some)))


def closed_of_teams(connection: Connection, team_ids: Collection[str], from_us: int) -> dict[str, list[ClosedCycle]]:
    """By team its closed cycles that end at an instant or after it, in order."""
    used = _used(connection, team_ids, from_us)
    start = func.min(cycles.c.cycle_start_us).label("start")
    first = select(cycles.c.team_id, start).group_by(cycles.c.team_id)
    first_us = {row.team_id: row.start for row in named(connection, first, cycles.c.team_id, team_ids)}
    spans = select(cycles.c.team_id, cycles.c.cycle_start_us, cycles.c.cycle_end_us)
    ordered = spans.where(cycles.c.cycle_end_us >= from_us).order_by(cycles.c.team_id, cycles.c.cycle_start_us)
    found: dict[str, list[ClosedCycle]] = {}
    for row in named(connection, ordered, cycles.c.team_id, team_ids):
        cycle = ClosedCycle(
            team_id=row.team_id,
            start_us=row.cycle_start_us,
            end_us=row.cycle_end_us,
            is_first=row.cycle_start_us == first_us[row.team_id],
            charged=frozenset(used.get((row.team_id, row.cycle_start_us, False), ())),
            counted=frozenset(used.get((row.team_id, row.cycle_start_us, True), ())),
        )
        found.setdefault(row.team_id, []).append(cycle)
    return found


def _used(connection: Connection, team_ids: Collection[str], from_us: int) -> dict[tuple[str, int, bool], set[str]]:
    """By team, cycle and whether it is counted against capacity: the APIs of which anything was charged or counted."""
    capacity = carry.c.billing == ApiBilling.CAPACITY.value
    query = select(carry.c.team_id, carry.c.cycle_start_us, carry.c.api, carry.c.billing).join(cycles, cycle_of(carry))
    paid = query.where(or_(carry.c.charged_units > 0, capacity), cycles.c.cycle_end_us >= from_us)
    used: dict[tuple[str, int, bool], set[str]] = {}
    for row in named(connection, paid, carry.c.team_id, team_ids):
        used.setdefault((row.team_id, row.cycle_start_us, row.billing == ApiBilling.CAPACITY.value), set()).add(row.api)
    return used


def invoice_numbers(connection: Connection, hits: Iterable[Hit]) -> Mapping[tuple[str, int], tuple[str, ...]]:
    """By team and cycle the numbers of its invoices that stand, in order."""
    wanted = {(hit.team_id, hit.cycle_start_us) for hit in hits}
    query = select(invoices.c.team_id, invoices.c.cycle_start_us, invoices.c.number).where(stands())
    query = query.order_by(invoices.c.number)
    found: dict[tuple[str, int], tuple[str, ...]] = {}
    for row in named(connection, query, invoices.c.team_id, {team_id for team_id, _ in wanted}):
        key = (row.team_id, row.cycle_start_us)
        if key in wanted:
            found[key] = (*found.get(key, ()), row.number)
    return found
