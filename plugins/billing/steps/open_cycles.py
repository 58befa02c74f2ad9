"""Open cycles, rated from the last close on: what balances, and checks of a load, are told of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import pandas as pd
from sqlalchemy import Connection

from billing.core.balances import used_with
from billing.core.cycles import CycleSpan, cycle_from, cycles_from, first_start_us
from billing.core.reference import Reference
from billing.core.spans import Opening, Used
from billing.core.streams import TeamPlan
from billing.core.sums import rate_by_sums
from billing.core.terms import TeamTerms, Terms
from billing.store.batches import committed
from billing.store.home import Home
from billing.store.ledger import LastClosed, last_closed, read_opening
from billing.store.unbilled import Unbilled

_EVER_US = 2**60


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenUsage:
    """What is not billed before ``until_us``: teams' terms, where each one's first open cycle begins, its usage.
    ``last``: the last closed cycle of every team that has one.
    """

    terms: Terms
    last: Mapping[str, LastClosed]
    plans: tuple[TeamPlan, ...]
    usage: Unbilled
    until_us: int

    def used(self) -> pd.DataFrame:
        """Which teams used which APIs, and when last: see ``store.unbilled``."""
        return self.usage.used(self.plans)


def open_usage(home: Home, connection: Connection, reference: Reference, until_us: int = _EVER_US) -> OpenUsage:
    """All usage of no closed cycle that occurred before ``until_us``, late usage with it, whatever batch brought it."""
    terms = home.terms(reference)
    last = last_closed(connection)
    plans = [
        plan for team_id, team in terms.teams.items() if (plan := _plan(team_id, team, last.get(team_id), until_us))
    ]
    usage = home.usage.unbilled(committed(connection))
    return OpenUsage(terms=terms, last=last, plans=tuple(plans), usage=usage, until_us=until_us)


def rate_open(connection: Connection, found: OpenUsage) -> Used:
    """What closed cycles and open ones together have used of every balance, all rated now."""
    opening = opening_of(connection, found)
    return used_with(opening.used, rate_by_sums(found.terms, found.plans, found.usage, opening).draws)


def opening_of(connection: Connection, found: OpenUsage, team_ids: Collection[str] | None = None) -> Opening:
    """Where closed cycles left all that the teams hold (some teams, where they are given)."""
    since_us = min([found.until_us, *(plan.start_us for plan in found.plans)])
    return read_opening(connection, None, found.terms.with_balances(team_ids), since_us=since_us)


def in_cycles(found: OpenUsage, plans: Iterable[TeamPlan]) -> list[TeamPlan]:
    """The same plans, each cut into its cycles; the last one may end before its time."""
    return [_in_cycles(found.terms.teams[plan.team_id], plan) for plan in plans]


def _in_cycles(team: TeamTerms, plan: TeamPlan) -> TeamPlan:
    mine = list(cycles_from(team.subscriptions, plan.start_us, plan.until_us))
    reached = mine[-1].end_us if mine else plan.start_us
    if reached < plan.until_us:
        mine.append(replace(cycle_from(team.subscriptions, reached), end_us=plan.until_us))
    return TeamPlan(team_id=plan.team_id, cycles=tuple(mine), pinned_batch=plan.pinned_batch)


def through_last_event(found: OpenUsage) -> OpenUsage:
    """The same, its plans ending just after the last event rather than at some instant."""
    used = found.used()
    last = int(used["last_us"].max()) + 1 if len(used) else 0
    plans = [_until(plan, max(last, plan.start_us + 1)) for plan in found.plans]
    return replace(found, plans=tuple(plans))


def _plan(team_id: str, team: TeamTerms, last: LastClosed | None, until_us: int) -> TeamPlan | None:
    """One stretch from the first open cycle's start to ``until_us``; None where that is empty."""
    start_us = last.end_us if last else first_start_us(team.subscriptions)
    if start_us >= until_us:
        return None
    stretch = CycleSpan(start_us, until_us, "UTC", None)
    return TeamPlan(team_id=team_id, cycles=(stretch,), pinned_batch=last.pinned_batch if last else 0)


def _until(plan: TeamPlan, until_us: int) -> TeamPlan:
    stretch = CycleSpan(plan.start_us, until_us, "UTC", None)
    return TeamPlan(team_id=plan.team_id, cycles=(stretch,), pinned_batch=plan.pinned_batch)
