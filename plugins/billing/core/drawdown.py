"""Charged units to draws on balances (section 5 of the rules).

A team's units are drawn span by span. A **span** is a stretch of time between two instants at which anything
that could pay changes: a subscription or grant begins or ends, a free balance refreshes, a price or rate
changes, a cycle turns. Within a span only what earlier units left matters, so that ``order_can_matter`` can
tell when the sums per API decide everything and when units must be taken one event after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from billing.core.model import UNFUNDED, Kind


class Demand(NamedTuple):
    """Units of one API that complete in a span. ``tokens_per_unit_micro`` is None where tokens cannot pay;
    ``payg`` pays what nothing before it could, and is None where no price is in force or nothing is active."""

    api: str
    units: int
    tokens_per_unit_micro: int | None
    payg: Payg | None


class Payg(NamedTuple):
    """Who pays as they go, at which price (rule 5.4)."""

    subscription_id: str
    unit_price_micro: int
    currency: str


class Draw(NamedTuple):
    """What units were drawn from. ``source`` is a kind or ``unfunded``; ``period_start_us`` tells one free period from
    the next.
    """

    api: str
    source: str
    subscription_id: str = ""
    grant_id: str = ""
    unit_price_micro: int | None = None
    currency: str = ""
    period_start_us: int | None = None


@dataclass(slots=True)
class FreeBalance:
    """What is left of one allowance in its running period (rule 5.2)."""

    subscription_id: str
    period_start_us: int
    left: int


@dataclass(slots=True)
class GrantBalance:
    """What is left of one grant, in 10^-6 of a token or of the resource (rules 5.3, 5.6)."""

    subscription_id: str
    grant_id: str
    left_micro: int
    used_micro: int = 0


@dataclass(slots=True)
class Balances:
    """All that can pay in one span: allowances by API in the order of rule 5.2, pools in that of rule 5.3."""

    free: dict[str, list[FreeBalance]] = field(default_factory=dict)
    pools: dict[Kind, list[GrantBalance]] = field(default_factory=dict)


class Drawn(NamedTuple):
    """One draw with its amount."""

    draw: Draw
    charged_units: int
    tokens_micro: int


POOL_KINDS = (Kind.TOKEN_FLEX, Kind.FLEX)


def order_can_matter(demands: Sequence[Demand], balances: Balances) -> bool:
    """Whether the order of a span's units could change who pays what; ``demands`` are sums, one an API and payer.

    It cannot where each pool in turn pays for nothing, or for everything out of its first grant, or is asked by
    one API alone: then its units are alike.
    """
    if len({d.api for d in demands}) < len(demands):
        return True
    pools = [[grant.left_micro for grant in balances.pools.get(kind, ()) if grant.left_micro] for kind in POOL_KINDS]
    if not any(pools):
        return False
    asking = [
        (left, cost)
        for d in demands
        if (cost := d.tokens_per_unit_micro) and (left := d.units - _free_left(d.api, balances)) > 0
    ]
    for pool in pools:
        if len(asking) < 2:
            return False
        if sum(pool) < min(cost for _, cost in asking):
            continue
        return sum(left * cost for left, cost in asking) > pool[0]
    return False


def draw_span(demands: Iterable[Demand], balances: Balances) -> list[Drawn]:
    """Draw each demand in turn: free, then token flex, then flex, then pay as you go (rule 5.1).

    ``balances`` is used up as it goes; what nothing can pay for is unfunded (rule 5.5).
    """
    drawn: list[Drawn] = []
    for demand in demands:
        left = demand.units - _draw_free(demand, balances, drawn)
        for kind in POOL_KINDS:
            pool = balances.pools.get(kind)
            if left and pool and demand.tokens_per_unit_micro:
                left -= _draw_tokens(demand, left, kind, pool, drawn)
        if left:
            drawn.append(Drawn(_last_resort(demand), left, 0))
    return drawn


def _free_left(api: str, balances: Balances) -> int:
    return sum(balance.left for balance in balances.free.get(api, ()))


def _draw_free(demand: Demand, balances: Balances, drawn: list[Drawn]) -> int:
    taken = 0
    for balance in balances.free.get(demand.api, ()):
        units = min(balance.left, demand.units - taken)
        if units:
            balance.left -= units
            taken += units
            draw = Draw(demand.api, Kind.FREE, balance.subscription_id, period_start_us=balance.period_start_us)
            drawn.append(Drawn(draw, units, 0))
    return taken


def _draw_tokens(demand: Demand, wanted: int, kind: Kind, pool: Sequence[GrantBalance], drawn: list[Drawn]) -> int:
    """Pay as many whole units as the pool can (rule 5.3). A unit is counted on the grant that gave its first token."""
    cost = demand.tokens_per_unit_micro or 0
    units = min(wanted, sum(grant.left_micro for grant in pool) // cost)
    needed = units * cost
    reached = begun = 0
    for grant in pool:
        tokens = min(grant.left_micro, needed - reached)
        if tokens <= 0:
            continue
        reached += tokens
        grant.left_micro -= tokens
        grant.used_micro += tokens
        # Unit k takes its first token at k * cost along the pool's tokens.
        begun_after = min(units, -(-reached // cost))
        drawn.append(Drawn(Draw(demand.api, kind, grant.subscription_id, grant.grant_id), begun_after - begun, tokens))
        begun = begun_after
    return units


def _last_resort(demand: Demand) -> Draw:
    if demand.payg is None:
        return Draw(demand.api, UNFUNDED)
    payg = demand.payg
    return Draw(demand.api, Kind.PAYG, payg.subscription_id, "", payg.unit_price_micro, payg.currency)


def use_capacity(quantities_micro: Iterable[int], grants: Sequence[GrantBalance], credit_micro: int) -> int:
    """Count usage of a resource against its grants, in their order (rule 5.6); returns the credit left.

    A correction gives back what is used of the grants, in the same order; the rest becomes a credit that later
    usage fills first. What no grant can take is shown as usage and counted nowhere.
    """
    for quantity in quantities_micro:
        if quantity < 0:
            back = -quantity
            for grant in grants:
                given = min(back, grant.used_micro)
                grant.used_micro -= given
                grant.left_micro += given
                back -= given
            credit_micro += back
            continue
        filled = min(quantity, credit_micro)
        credit_micro -= filled
        wanted = quantity - filled
        for grant in grants:
            taken = min(wanted, max(grant.left_micro, 0))
            grant.used_micro += taken
            grant.left_micro -= taken
            wanted -= taken
    return credit_micro
