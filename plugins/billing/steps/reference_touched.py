"""Which teams a load of reference data touches: of the others, ratings and standings stay as they are, exactly.

A rating depends on reference data by ``core.terms.Terms`` alone: what APIs there are, their rates and prices, of which
any change is one to every team; and what the team holds. How a team stands depends on stored payment methods besides.
Usage has its team since it was accepted, whatever the hubs say later.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection

from billing.store.reference_history import known_any, subscribed_teams, touched_values

_EVERYBODYS = {"apis": "api", "unit_rates": "api", "unit_prices": "api"}
_HELD = ("free_allowances", "token_grants", "capacity_grants")


def teams_rated_otherwise(connection: Connection, since: int, through: int) -> frozenset[str] | None:
    """The teams whose terms may differ between two loads; None where they are all. Those that are no more, too."""
    if since == through:
        return frozenset()
    if not since or since > through:
        return None
    if any(touched_values(connection, table, name, since, through) for table, name in _EVERYBODYS.items()):
        return None
    held = {s for table in _HELD for s in touched_values(connection, table, "subscription_id", since, through)}
    mine = touched_values(connection, "subscriptions", "team_id", since, through)
    return _named(mine | subscribed_teams(connection, "subscription_id", held))


def teams_standing_otherwise(connection: Connection, since: int, through: int) -> frozenset[str] | None:
    """The teams that may stand otherwise between two loads, by their terms or their payment methods; None for all."""
    teams = teams_rated_otherwise(connection, since, through)
    if teams is None or since == through:
        return teams
    # Without any stored method in the reference data, none is missed.
    if known_any(connection, "payment_methods", since) != known_any(connection, "payment_methods", through):
        return None
    methods = touched_values(connection, "payment_methods", "payment_method_id", since, through)
    return teams | _named(subscribed_teams(connection, "payment_method_id", methods))


def _named(team_ids: Collection[str]) -> frozenset[str]:
    return frozenset(team_ids) - {""}
