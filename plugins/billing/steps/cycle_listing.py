"""Billing cycles as they are told: those that are closed, and each team's running one, by what is known now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, select

from billing.core.cycles import CycleSpan, cycle_from, day_of, first_start_us
from billing.core.instants import format_us, from_day
from billing.core.terms import subscriptions_of
from billing.core.zones import TZDATA_VERSION
from billing.steps.reference import current_reference
from billing.store.home import Home
from billing.store.ledger import ISSUED, last_closed
from billing.store.tables import closes, cycles, parked

RUNNING = "running"


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedCycle:
    """A cycle: half-open instants, the local dates of its first and last instants, its state (``issued`` is closed,
    ``rated`` or ``approved`` by a close that has not issued yet, ``running``, or ``parked: REASON``), and the version
    of the time zone data that bounds it.
    """

    team_id: str
    start: str
    end: str
    first_day: str
    last_day: str
    time_zone: str
    state: str
    tzdata: str


def list_cycles(home: Home, team_id: str | None = None) -> list[ListedCycle]:
    """Closed cycles and the first one that is not, by team and start; of one team only where it is given."""
    _, reference = current_reference(home)
    held = subscriptions_of(reference) if reference else {}
    with home.database.read() as connection:
        last = last_closed(connection)
        reasons = {row.team_id: row.reason for row in connection.execute(select(parked))}
        found = list(_closed(connection))
        pending = select(cycles.c.team_id, cycles.c.cycle_start_us, cycles.c.state).where(cycles.c.state != ISSUED)
        states = {(row.team_id, row.cycle_start_us): row.state for row in connection.execute(pending)}
    for team, mine in held.items():
        span = cycle_from(mine, last[team].end_us if team in last else first_start_us(mine))
        state = f"parked: {reasons[team]}" if team in reasons else RUNNING
        state = states.get((team, span.start_us), state)
        found.append(_listed(team, span, state, TZDATA_VERSION))
    return sorted((c for c in found if team_id in (None, c.team_id)), key=lambda c: (c.team_id, c.start))


def _closed(connection: Connection) -> Iterator[ListedCycle]:
    query = select(cycles, closes.c.tzdata).join(closes, closes.c.close_no == cycles.c.close_no)
    for row in connection.execute(query.where(cycles.c.state == ISSUED)):
        yield ListedCycle(
            team_id=row.team_id,
            start=format_us(row.cycle_start_us),
            end=format_us(row.cycle_end_us),
            first_day=from_day(row.period_first_day).isoformat(),
            last_day=from_day(row.period_last_day).isoformat(),
            time_zone=row.time_zone,
            state=row.state,
            tzdata=row.tzdata,
        )


def _listed(team_id: str, span: CycleSpan, state: str, tzdata: str) -> ListedCycle:
    return ListedCycle(
        team_id=team_id,
        start=format_us(span.start_us),
        end=format_us(span.end_us),
        first_day=from_day(day_of(span.time_zone, span.start_us)).isoformat(),
        last_day=from_day(day_of(span.time_zone, span.end_us - 1)).isoformat(),
        time_zone=span.time_zone,
        state=state,
        tzdata=tzdata,
    )
