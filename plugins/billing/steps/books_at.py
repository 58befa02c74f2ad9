"""The books at an instant of the past or now: what was used of every balance before it, and what pay as you go had paid
for in the cycles that it cuts.

A team is rated from the end of its last cycle that was closed and over by then. Where the cycle that holds the instant
has been closed since, it is rated by what its close pinned: what came later is effective later (rule 3.5), and so the
units are the first ones of that cycle's invoice. Where it is open, all that is known now counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from sqlalchemy import Connection, select

from billing.core.balances import used_with
from billing.core.capacity import CARRY_COLUMNS
from billing.core.cycles import CycleSpan, cycle_from, cycles_from, first_start_us
from billing.core.model import Kind, Parked
from billing.core.rating import DRAW_COLUMNS, Rated
from billing.core.reference import Reference
from billing.core.spans import Opening, Used
from billing.core.sums import rate_by_sums
from billing.core.terms import Terms, subscriptions_of
from billing.steps.collector import collector_paused
from billing.steps.reference import reference_at
from billing.store.batches import committed, pinnable
from billing.store.home import Home
from billing.store.ledger import ISSUED, LastClosed, last_closed, plans_of, read_opening
from billing.store.reference_history import last_load
from billing.store.tables import cycles


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Known:
    """What counts: usage up to a batch, reference data of a load (rules 3.4 and 3.7)."""

    batch_no: int
    load_no: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CutCycle:
    """A cycle that holds the instant, neither beginning nor ending at it; whether it is closed, what counts in it."""

    team_id: str
    cycle: CycleSpan
    is_closed: bool
    known: Known


@dataclass(frozen=True, kw_only=True, slots=True)
class Books:
    """``used``: of every balance, by what is effective before the instant. ``cut`` and ``not_closed`` (over by the
    instant, and still not closed) are cycles by (team_id, start in microseconds), ``draws`` and ``carry`` theirs up to
    the instant (columns of ``rating.DRAW_COLUMNS`` and ``capacity.CARRY_COLUMNS``). ``known`` is the newest;
    ``troubles`` are cycles that cannot be rated honestly.
    """

    at_us: int
    known: Known
    reference: Reference
    used: Used
    draws: pd.DataFrame
    carry: pd.DataFrame
    cut: Mapping[tuple[str, int], CutCycle]
    not_closed: Mapping[tuple[str, int], CycleSpan]
    troubles: tuple[Parked, ...]


@collector_paused()
def books_at(home: Home, connection: Connection, at_us: int, teams: Collection[str] | None = None) -> Books:
    """The books at an instant, from one state of them; of some teams only, where these are given: then what others have
    drawn in open cycles on the same subscriptions is left out.
    """
    known = Known(batch_no=pinnable(connection), load_no=last_load(connection))
    reference = reference_at(home, known.load_no)
    last = last_closed(connection, ended_by_us=at_us)

    def asked(team_id: str) -> bool:
        return teams is None or team_id in teams

    closed = (one for one in _closed_since(connection, at_us) if asked(one.team_id))
    cut = {(one.team_id, one.cycle.start_us): one for one in closed}
    settled = {team_id for team_id, _ in cut} | _begun_later(connection, at_us)
    spans = {t: mine for t, mine in _open_spans(reference, last, at_us).items() if t not in settled and asked(t)}
    for team_id, mine in spans.items():
        if mine[-1].end_us > at_us:
            cut[team_id, mine[-1].start_us] = CutCycle(team_id=team_id, cycle=mine[-1], is_closed=False, known=known)
    groups: dict[Known, dict[str, Sequence[CycleSpan]]] = {known: dict(spans)}
    for one in cut.values():
        if one.is_closed:
            groups.setdefault(one.known, {})[one.team_id] = (one.cycle,)
    opening = _opening(home, connection, groups, at_us)
    rated = [_rated(home, connection, group, teams, last, opening, at_us) for group, teams in groups.items() if teams]
    draws = pd.concat([one.draws for one in rated], ignore_index=True) if rated else _no_draws()
    return Books(
        at_us=at_us,
        known=known,
        reference=reference,
        used=used_with(opening.used, draws),
        draws=draws,
        carry=_carry(rated),
        cut=cut,
        not_closed={(t, c.start_us): c for t, mine in spans.items() for c in mine if c.end_us <= at_us},
        troubles=tuple(trouble for one in rated for trouble in one.troubles),
    )


def _closed_since(connection: Connection, at_us: int) -> Iterable[CutCycle]:
    """Closed cycles that hold the instant."""
    holds = (cycles.c.state == ISSUED, cycles.c.cycle_start_us < at_us, cycles.c.cycle_end_us > at_us)
    for row in connection.execute(select(cycles).where(*holds)):
        yield CutCycle(
            team_id=row.team_id,
            cycle=CycleSpan(row.cycle_start_us, row.cycle_end_us, row.time_zone, row.payg_subscription_id or None),
            is_closed=True,
            known=Known(batch_no=row.pinned_batch, load_no=row.pinned_load),
        )


def _begun_later(connection: Connection, at_us: int) -> set[str]:
    """Teams with a closed cycle from the instant on: nothing of theirs before it is open."""
    later = (cycles.c.state == ISSUED, cycles.c.cycle_start_us >= at_us)
    return set(connection.execute(select(cycles.c.team_id).where(*later).distinct()).scalars())


def _open_spans(reference: Reference, last: Mapping[str, LastClosed], at_us: int) -> dict[str, list[CycleSpan]]:
    """By team the cycles that begin before the instant and are not closed; the last one may hold it."""
    found: dict[str, list[CycleSpan]] = {}
    for team_id, held in sorted(subscriptions_of(reference).items()):
        start_us = last[team_id].end_us if team_id in last else first_start_us(held)
        mine = list(cycles_from(held, start_us, at_us)) if start_us < at_us else []
        reached = mine[-1].end_us if mine else start_us
        if reached < at_us:
            mine.append(cycle_from(held, reached))
        if mine:
            found[team_id] = mine
    return found


def _opening(home: Home, connection: Connection, groups: Iterable[Known], at_us: int) -> Opening:
    """Where cycles closed and over by the instant left every subscription that any of the groups knows."""
    ids: set[str] = set()
    for load_no in {group.load_no for group in groups}:
        held = reference_at(home, load_no)["subscriptions"]
        ids.update(held.loc[held["kind"] != Kind.PAYG.value, "subscription_id"])
    return read_opening(connection, None, sorted(ids), ended_by_us=at_us)


def _rated(
    home: Home,
    connection: Connection,
    known: Known,
    teams: Mapping[str, Sequence[CycleSpan]],
    last: Mapping[str, LastClosed],
    opening: Opening,
    at_us: int,
) -> Rated:
    """Teams rated up to the instant by what is known at one batch and load."""
    cut = {name: [_until(cycle, at_us) for cycle in mine] for name, mine in sorted(teams.items())}
    plans = plans_of(cut, last)
    terms = Terms.from_reference(reference_at(home, known.load_no), list(teams))
    return rate_by_sums(terms, plans, home.usage.unbilled(committed(connection, known.batch_no)), opening)


def _until(cycle: CycleSpan, at_us: int) -> CycleSpan:
    return CycleSpan(cycle.start_us, min(cycle.end_us, at_us), cycle.time_zone, cycle.payg_subscription_id)


def _carry(rated: Iterable[Rated]) -> pd.DataFrame:
    there = [one.carry for one in rated if len(one.carry)]
    return pd.concat(there, ignore_index=True) if there else pd.DataFrame([], columns=list(CARRY_COLUMNS))


def _no_draws() -> pd.DataFrame:
    frame = pd.DataFrame([], columns=list(DRAW_COLUMNS), dtype=object)
    return frame.astype({"cycle_start_us": "int64", "charged_units": "int64", "tokens_micro": "int64"})
