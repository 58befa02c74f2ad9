"""What is available of what was granted, at an instant (rule 8.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from billing.core.cycles import next_anniversary_us, period_start_us
from billing.core.frames import rows
from billing.core.model import Kind
from billing.core.reference import FOREVER_US
from billing.core.spans import Used
from billing.core.terms import TeamTerms

BALANCE_COLUMNS = (
    "team_id",
    "source",
    "subscription_id",
    "grant_id",
    "api",
    "granted_micro",
    "used_micro",
    "available_micro",
    "ends_at_us",
    "refreshes_at_us",
)
_MICRO = 1_000_000


def used_with(used: Used, draws: pd.DataFrame) -> Used:
    """``used`` and what ``draws`` (columns of ``rating.DRAW_COLUMNS``) have taken since."""
    free, granted = dict(used.free_units), dict(used.granted_micro)
    for row in rows(draws):
        if row.source == Kind.FREE:
            key = (row.subscription_id, row.api, int(row.period_start_us))
            free[key] = free.get(key, 0) + int(row.charged_units)
        elif row.grant_id:
            granted[row.grant_id] = granted.get(row.grant_id, 0) + int(row.tokens_micro)
    return Used(free_units=free, granted_micro=granted)


def balances_at(teams: Mapping[str, TeamTerms], used: Used, at_us: int) -> pd.DataFrame:
    """Every balance valid at the instant: a frame with ``BALANCE_COLUMNS``; an open end is ``FOREVER_US``.

    Free balances are in whole units (10^6 micro each). ``used`` counts all that is effective before ``at_us``.
    """
    rows = [row for team_id, team in teams.items() for row in balances_of(team_id, team, used, at_us)]
    return pd.DataFrame(rows, columns=list(BALANCE_COLUMNS))


def balances_of(team_id: str, team: TeamTerms, used: Used, at_us: int) -> Iterator[tuple[Any, ...]]:
    """One team's, each with the values of ``BALANCE_COLUMNS``."""
    for s, allowances in team.free:
        if not s.purchased_at_us <= at_us < s.ends_at_us:
            continue
        period = period_start_us(s.time_zone, s.purchased_at_us, at_us)
        refresh = next_anniversary_us(s.time_zone, s.purchased_at_us, at_us)
        refresh = FOREVER_US if s.ends_at_us <= refresh else refresh
        for api, units in allowances.items():
            spent = used.free_units.get((s.subscription_id, api, period), 0)
            numbers = (units * _MICRO, spent * _MICRO, max(0, units - spent) * _MICRO)
            yield (team_id, Kind.FREE.value, s.subscription_id, "", api, *numbers, s.ends_at_us, refresh)
    for grant in (*team.token_grants[Kind.TOKEN_FLEX], *team.token_grants[Kind.FLEX], *team.capacity_grants):
        if grant.valid_at(at_us):
            spent = used.granted_micro.get(grant.grant_id, 0)
            numbers = (grant.granted_micro, spent, max(0, grant.granted_micro - spent))
            s = grant.subscription
            yield (
                team_id,
                s.kind.value,
                s.subscription_id,
                grant.grant_id,
                grant.api,
                *numbers,
                grant.ends_us,
                FOREVER_US,
            )
