"""Open cycles rated provisionally, and kept, so that balances are told without rating everything again.

A team is rated again only where it has new usage, was closed, or reference data changed: without new usage the passing
of time draws nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select

from billing.core.balances import used_with
from billing.core.instants import to_us
from billing.core.spans import Used
from billing.core.streams import TeamPlan
from billing.core.sums import rate_by_sums
from billing.core.terms import Terms
from billing.steps.collector import collector_paused
from billing.steps.open_cycles import OpenUsage, open_usage, opening_of
from billing.steps.reference import reference_at
from billing.steps.telemetry import say
from billing.store.batches import COMMITTED, committed
from billing.store.home import Home
from billing.store.open_ratings import OpenRating, read_draws, read_rating, write_rating
from billing.store.reference_history import last_load
from billing.store.tables import batches


@dataclass(frozen=True, kw_only=True, slots=True)
class Refreshed:
    """What a refresh did: teams rated again, of all that have open cycles; usage is rated up to ``through_batch``."""

    rated: int
    teams: int
    through_batch: int


@collector_paused()
def used_at(home: Home, connection: Connection, load_no: int, at_us: int) -> tuple[Terms, Used]:
    """What closed cycles and open ones together have used of every balance before an instant.

    Teams that the last refresh has rated as they stand are not rated again, unless the instant lies before its end.
    """
    found = open_usage(home, connection, reference_at(home, load_no), at_us)
    opening, kept = opening_of(connection, found), read_rating(connection)
    stale = _stale(found, kept if kept and kept.until_us <= at_us else None, load_no)
    rated = rate_by_sums(found.terms, stale, found.usage, opening)
    others = {plan.team_id for plan in found.plans} - {plan.team_id for plan in stale}
    return found.terms, used_with(used_with(opening.used, rated.draws), read_draws(connection, others))


@collector_paused()
def refresh_open(home: Home, *, from_scratch: bool = False) -> Refreshed:
    """Rate again what has changed since the last refresh (all ``from_scratch``), and keep it. Run twice, the second
    finds nothing to do.
    """
    with home.database.holding("open cycles"):
        with home.database.read() as connection:
            load_no, through = last_load(connection), committed(connection).through
            until_us = _usage_ends_us(connection)
            found = open_usage(home, connection, reference_at(home, load_no), until_us) if load_no else None
            if found is None:
                return Refreshed(rated=0, teams=0, through_batch=through)
            kept = read_rating(connection)
            stale = _stale(found, None if from_scratch else kept, load_no)
            rated = rate_by_sums(found.terms, stale, found.usage, opening_of(connection, found))
        known = {plan.team_id for plan in found.plans}
        gone = set(kept.teams) - known if kept else set()
        with home.database.exclusive("open ratings") as connection:
            what = {
                "through_batch": through,
                "load_no": load_no,
                "until_us": until_us,
                "at_us": to_us(datetime.now(UTC)),
            }
            write_rating(connection, **what, plans=stale, rated=rated, gone=gone)
    say("open cycles rated", teams=len(found.plans), again=len(stale), through_batch=through)
    return Refreshed(rated=len(stale), teams=len(found.plans), through_batch=through)


def _stale(found: OpenUsage, kept: OpenRating | None, load_no: int) -> Sequence[TeamPlan]:
    """The plans that were not rated as they stand."""
    if kept is None or kept.load_no != load_no:
        return found.plans
    used = found.usage.teams_since(kept.through_batch)
    return [plan for plan in found.plans if plan.team_id in used or not kept.holds(plan)]


def _usage_ends_us(connection: Connection) -> int:
    """An instant before which all usage occurred: none is accepted from after what its batch is complete through."""
    newest = select(func.max(batches.c.window_end_us)).where(batches.c.state == COMMITTED)
    return int(connection.execute(newest).scalar() or 0) + 1
