"""Usage of resources that are not APIs, counted against the capacity that was bought (rule 5.6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd

from billing.core.drawdown import Draw, Drawn, GrantBalance, use_capacity
from billing.core.model import ApiBilling, Kind, Parked, ParkedReason
from billing.core.quantity import fits_int64
from billing.core.spans import Opening, Used, balance_of, capacity_cuts
from billing.core.streams import Stream, TeamPlan
from billing.core.terms import Grant, Terms

CARRY_COLUMNS = (
    "team_id",
    "cycle_start_us",
    "api",
    "billing",
    "opening_micro",
    "usage_micro",
    "late_usage_micro",
    "charged_units",
    "closing_micro",
)
"""The columns of a carry frame: a row per team, cycle and API. ``billing`` is ``rated`` or ``capacity``."""


def count_capacity(
    terms: Terms, plans: Sequence[TeamPlan], stream: Stream, opening: Opening
) -> tuple[pd.DataFrame, list[tuple[int, int, Drawn]], list[Parked]]:
    """Rule 5.6 for every team and resource: carry rows (closing is minus the credit), draws of the quantity used, and
    cycles whose usage leaves 64 bits.
    """
    counted: list[_Counted] = []
    draws: list[tuple[int, int, Drawn]] = []
    for place, api in _resources_at_work(terms, plans, stream, opening):
        plan, name = plans[place], terms.apis[api]
        mine = stream.take(np.flatnonzero((stream.team == place) & (stream.api == api)))
        credit = -opening.carry_micro.get((plan.team_id, name), 0)
        grants = [g for g in terms.teams[plan.team_id].capacity_grants if g.api == name]
        rows, drawn = _count_resource(plan, name, grants, mine, credit, opening.used)
        counted += rows
        draws += [(place, start, one) for start, one in drawn]
    beyond = [row for row in counted if not all(map(fits_int64, row[4:]))]
    troubles = [Parked(team_id=r[0], cycle_start_us=r[1], reason=ParkedReason.BOUND_EXCEEDED) for r in beyond]
    kept = [row for row in counted if row not in beyond]
    return pd.DataFrame(kept, columns=list(CARRY_COLUMNS)), draws, troubles


_Counted: TypeAlias = tuple[str, int, str, str, int, int, int, int, int]
"""A row of the carry, with exact integers of any size."""


def _resources_at_work(
    terms: Terms, plans: Sequence[TeamPlan], stream: Stream, opening: Opening
) -> list[tuple[int, int]]:
    """Places of teams and of capacity APIs that have events, or a credit from before."""
    team_place = {p.team_id: place for place, p in enumerate(plans)}
    api_place = {
        a: n for n, (a, b) in enumerate(zip(terms.apis, terms.billing, strict=True)) if b is ApiBilling.CAPACITY
    }
    credits = {
        (team_place[team], api_place[api])
        for (team, api), micro in opening.carry_micro.items()
        if micro and team in team_place and api in api_place
    }
    return sorted(credits | set(zip(stream.team.tolist(), stream.api.tolist(), strict=True)))


def _count_resource(
    plan: TeamPlan, api: str, grants: Sequence[Grant], stream: Stream, credit: int, used: Used
) -> tuple[list[_Counted], list[tuple[int, Drawn]]]:
    """One team's usage of one resource, cycle by cycle: carry rows, and (start of the cycle, draw)."""
    balances = {g.grant_id: balance_of(g, used) for g in grants}
    carry: list[_Counted] = []
    draws: list[tuple[int, Drawn]] = []
    for cycle in plan.cycles:
        opened, before = credit, {key: b.used_micro for key, b in balances.items()}
        low, high = np.searchsorted(stream.effective_us, [cycle.start_us, cycle.end_us])
        mine = stream.take(np.arange(low, high))
        credit = _count_cycle(grants, balances, mine, credit)
        if high > low or opened or credit:
            usage, late = sum(mine.quantity_micro.tolist()), sum(mine.quantity_micro[mine.late].tolist())
            billing = ApiBilling.CAPACITY.value
            carry.append((plan.team_id, cycle.start_us, api, billing, -opened, usage, late, 0, -credit))
        for key, balance in balances.items():
            if taken := balance.used_micro - before[key]:
                draws.append((cycle.start_us, Drawn(Draw(api, Kind.CAPACITY, balance.subscription_id, key), 0, taken)))
    return carry, draws


def _count_cycle(grants: Sequence[Grant], balances: Mapping[str, GrantBalance], events: Stream, credit: int) -> int:
    """Count a cycle's events against the grants, stretch by stretch between their beginnings and ends; the credit
    left.
    """
    cuts = np.array(capacity_cuts(grants), dtype=np.int64)
    stretch = np.searchsorted(cuts, events.effective_us, side="right")
    for part in np.split(np.arange(len(stretch)), np.flatnonzero(np.diff(stretch)) + 1):
        if len(part):
            at_us = int(events.effective_us[part[0]])
            valid = [balances[g.grant_id] for g in grants if g.valid_at(at_us)]
            quantities = events.quantity_micro[part].tolist()
            # Without a correction the order does not matter: the sum is taken at once.
            credit = use_capacity(quantities if min(quantities) < 0 else [sum(quantities)], valid, credit)
    return credit
