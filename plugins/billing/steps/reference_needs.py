"""What open events and carry-overs need of reference data: what a load may not take away (data contract)."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from sqlalchemy import Connection, select

from billing.core.frames import rows
from billing.core.instants import format_us, from_day
from billing.core.reference import Reference
from billing.steps.open_cycles import open_usage, rate_open, through_last_event
from billing.store.home import Home
from billing.store.tables import carry

_AMOUNTS = {"token_grants": "tokens", "capacity_grants": "quantity"}


def open_used(
    home: Home, connection: Connection, known: Reference, new: Mapping[str, pd.DataFrame], closed: Mapping[str, int]
) -> dict[str, int]:
    """What is used of every grant, in 10^-6; open cycles are rated only where some grant would be made smaller."""
    if not any(_shrinks(known[name], new[name], amount) for name, amount in _AMOUNTS.items() if name in new):
        return dict(closed)
    used = rate_open(connection, through_last_event(open_usage(home, connection, known)))
    return {**closed, **used.granted_micro}


def needed_keys(home: Home, connection: Connection, known: Reference) -> dict[str, frozenset[tuple[str, ...]]]:
    """By table, the keys of rows that an open event or a carry-over that is not zero needs: its team with the buyer
    and all that the team holds, its API with all rates and prices, the taxes of both countries."""
    used = open_usage(home, connection, known).used()
    waiting = connection.execute(
        select(carry.c.team_id, carry.c.api, carry.c.cycle_start_us, carry.c.closing_micro)
    ).all()
    newest: dict[tuple[str, str], tuple[int, int]] = {}
    for row in waiting:
        newest[row.team_id, row.api] = max(
            newest.get((row.team_id, row.api), (0, 0)), (row.cycle_start_us, row.closing_micro)
        )
    carried = [key for key, (_, closing) in newest.items() if closing]
    teams = {str(team) for team in used["team_id"].unique()} | {team for team, _ in carried}
    apis = {str(api) for api in used["api"].unique()} | {api for _, api in carried}
    return _keys(known, teams, apis)


def _keys(known: Reference, teams: set[str], apis: set[str]) -> dict[str, frozenset[tuple[str, ...]]]:
    held = known["subscriptions"][known["subscriptions"]["team_id"].isin(teams)]
    subscriptions = set(held["subscription_id"])
    buyers = known["teams"][known["teams"]["team_id"].isin(teams)]["customer_id"]

    def of_subscriptions(table: str, *columns: str) -> frozenset[tuple[str, ...]]:
        frame = known[table][known[table]["subscription_id"].isin(subscriptions)]
        return frozenset(frame[list(columns)].itertuples(index=False, name=None))

    def of_apis(table: str, *columns: str) -> frozenset[tuple[str, ...]]:
        frame = known[table][known[table]["api"].isin(apis)]
        return frozenset(
            (*key[:-1], format_us(key[-1])) for key in frame[list(columns)].itertuples(index=False, name=None)
        )

    buying = known["customers"]["customer_id"].isin(buyers)
    countries = {*known["customers"][buying]["country"], *known["seller"]["country"]} if teams else set()
    taxes = known["tax_rates"][known["tax_rates"]["country"].isin(countries)]
    return {
        "teams": frozenset((team,) for team in teams),
        "customers": frozenset((customer,) for customer in buyers),
        "apis": frozenset((api,) for api in apis),
        "subscriptions": frozenset((s,) for s in subscriptions),
        "free_allowances": of_subscriptions("free_allowances", "subscription_id", "api"),
        "token_grants": of_subscriptions("token_grants", "grant_id"),
        "capacity_grants": of_subscriptions("capacity_grants", "grant_id"),
        "unit_rates": of_apis("unit_rates", "api", "valid_from"),
        "unit_prices": of_apis("unit_prices", "api", "currency", "valid_from"),
        "tax_rates": frozenset((row.country, from_day(row.valid_from).isoformat()) for row in rows(taxes)),
    }


def _shrinks(known: pd.DataFrame, new: pd.DataFrame, amount: str) -> bool:
    both = known.merge(new, on="grant_id", suffixes=("", "_new"))
    return bool((both[f"{amount}_new"] < both[amount]).any())
