"""Open cycles rated provisionally, and kept, so that balances are told without rating everything again.

A team is rated again only where it has new usage, was closed, or reference data changed that concern it: without new
usage the passing of time draws nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd
from sqlalchemy import Connection, func, select

from billing.core.balances import used_with
from billing.core.instants import to_us
from billing.core.spans import Opening, Used
from billing.core.streams import TeamPlan
from billing.core.sums import rate_by_sums
from billing.core.terms import Terms
from billing.steps.collector import collector_paused
from billing.steps.open_cycles import OpenUsage, in_cycles, open_usage, opening_of
from billing.steps.reference import reference_at
from billing.steps.reference_touched import teams_rated_otherwise
from billing.steps.telemetry import say
from billing.store.batches import COMMITTED, committed
from billing.store.home import Home
from billing.store.open_ratings import CARRIED, OpenRating, read_carry, read_draws, read_rating, write_rating
from billing.store.reference_history import last_load
from billing.store.tables import batches


@dataclass(frozen=True, kw_only=True, slots=True)
class Refreshed:
    """What a refresh did: teams rated again, of all that have open cycles; usage is rated up to ``through_batch``."""

    rated: int
    teams: int
    through_batch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenBooks:
    """Cycles that are not closed, of some teams, before an instant: ``draws`` with ``rating.DRAW_COLUMNS``, ``carry``
    with ``store.open_ratings.CARRIED``, a row of each for every cycle; and where closed ones left these teams.
    """

    terms: Terms
    opening: Opening
    draws: pd.DataFrame
    carry: pd.DataFrame

    @property
    def used(self) -> Used:
        """What closed cycles and open ones together have used of every balance."""
        return used_with(self.opening.used, self.draws)


@collector_paused()
def used_at(home: Home, connection: Connection, load_no: int, at_us: int) -> tuple[Terms, Used]:
    """What closed cycles and open ones together have used of every balance before an instant."""
    books = open_books(connection, open_usage(home, connection, reference_at(home, load_no), at_us), load_no)
    return books.terms, books.used


def open_books(
    connection: Connection,
    found: OpenUsage,
    load_no: int,
    team_ids: Collection[str] | None = None,
    again: Collection[str] | None = None,
    opening: Opening | None = None,
) -> OpenBooks:
    """The books of what is open, by one load; of some teams where they are given, and of nobody else. ``again`` and
    ``opening``: ``stale_teams`` and what closed cycles left, if they are at hand.

    Teams that the last refresh has rated as they stand are not rated again, unless the instant lies before its end.
    """
    wanted = None if team_ids is None else frozenset(team_ids)
    plans = [plan for plan in found.plans if wanted is None or plan.team_id in wanted]
    opening = opening_of(connection, found, wanted) if opening is None else opening
    again = stale_teams(connection, found, read_rating(connection), load_no) if again is None else again
    stale = [plan for plan in plans if plan.team_id in again]
    rated = rate_by_sums(found.terms, in_cycles(found, stale), found.usage, opening)
    others = {plan.team_id for plan in plans} - {plan.team_id for plan in stale}
    return OpenBooks(
        terms=found.terms,
        opening=opening,
        draws=_joined(read_draws(connection, others), rated.draws),
        carry=_joined(read_carry(connection, others), rated.carry[list(CARRIED)]),
    )


def stale_teams(connection: Connection, found: OpenUsage, kept: OpenRating | None, load_no: int) -> set[str]:
    """The teams with open cycles that the last refresh (``kept``) has not rated as they stand before the instant."""
    usable = kept if kept and kept.until_us <= found.until_us else None
    return {plan.team_id for plan in _stale(connection, found, usable, load_no)}


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
            stale = _stale(connection, found, None if from_scratch else kept, load_no)
            opening = opening_of(connection, found, {plan.team_id for plan in stale})
            rated = rate_by_sums(found.terms, in_cycles(found, stale), found.usage, opening)
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


def _stale(connection: Connection, found: OpenUsage, kept: OpenRating | None, load_no: int) -> Sequence[TeamPlan]:
    """The plans that were not rated as they stand."""
    touched = None if kept is None else teams_rated_otherwise(connection, kept.load_no, load_no)
    if kept is None or touched is None:
        return found.plans
    again = touched | found.usage.teams_since(kept.through_batch)
    return [plan for plan in found.plans if plan.team_id in again or not kept.holds(plan)]


def _joined(kept: pd.DataFrame, rated: pd.DataFrame) -> pd.DataFrame:
    frames = [frame for frame in (kept, rated) if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else kept


def _usage_ends_us(connection: Connection) -> int:
    """An instant before which all usage occurred: none is accepted from after what its batch is complete through."""
    newest = select(func.max(batches.c.window_end_us)).where(batches.c.state == COMMITTED)
    return int(connection.execute(newest).scalar() or 0) + 1
