"""One team's balances as time goes by: where its spans begin, and what can pay in each (sections 3 and 5 of the
rules).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from billing.core.cycles import active_payg, anniversaries_between, period_start_us
from billing.core.drawdown import POOL_KINDS, Balances, FreeBalance, GrantBalance, Payg
from billing.core.model import Kind, Subscription
from billing.core.terms import Grant, TeamTerms, Terms


@dataclass(frozen=True, kw_only=True, slots=True)
class Used:
    """What closed cycles have drawn so far.

    free_units       by (subscription_id, api, start of the period in microseconds)
    granted_micro    by grant_id: 10^-6 of a token or of a resource
    """

    free_units: Mapping[tuple[str, str, int], int]
    granted_micro: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """Where closed cycles left a shard: ``carry_micro`` by (team_id, api), negative for a credit, and what is used of
    balances.
    """

    carry_micro: Mapping[tuple[str, str], int]
    used: Used


NOTHING_USED = Used(free_units={}, granted_micro={})


def cut_instants(
    team: TeamTerms, terms: Terms, start_us: int, until_us: int, cycle_starts_us: Iterable[int]
) -> list[int]:
    """The instants in ``[start, until)`` at which a span of the team begins, in order; the first is ``start_us``."""
    cuts = {start_us, *cycle_starts_us, *terms.rate_from_us}
    for s in team.subscriptions:
        cuts |= {s.purchased_at_us, s.ends_at_us}
        if s.kind is Kind.PAYG and s.currency:
            cuts.update(terms.price_changes_us.get(s.currency, ()))
    for s, _ in team.free:
        cuts.update(anniversaries_between(s.time_zone, s.purchased_at_us, start_us, min(until_us, s.ends_at_us)))
    for kind in POOL_KINDS:
        cuts.update(*((grant.valid_from_us, grant.expires_at_us) for grant in team.token_grants[kind]))
    cuts.update(capacity_cuts(team.capacity_grants))
    return sorted(cut for cut in cuts if start_us <= cut < until_us)


class TeamBalances:
    """A team's balances, used up as its spans are drawn in order."""

    def __init__(self, team: TeamTerms, used: Used) -> None:
        self._team = team
        self._used = used
        self._free: dict[tuple[str, str, int], FreeBalance] = {}
        self._grants = {
            grant.grant_id: balance_of(grant, used) for kind in POOL_KINDS for grant in team.token_grants[kind]
        }

    def at(self, at_us: int) -> Balances:
        """What can pay from ``at_us`` until the next cut."""
        result = Balances()
        for subscription, allowances in self._team.free:
            if subscription.purchased_at_us <= at_us < subscription.ends_at_us:
                period = period_start_us(subscription.time_zone, subscription.purchased_at_us, at_us)
                for api, units in allowances.items():
                    result.free.setdefault(api, []).append(self._free_balance(subscription, api, period, units))
        for kind in POOL_KINDS:
            result.pools[kind] = [self._grants[g.grant_id] for g in self._team.token_grants[kind] if g.valid_at(at_us)]
        return result

    def _free_balance(self, subscription: Subscription, api: str, period_us: int, units: int) -> FreeBalance:
        key = (subscription.subscription_id, api, period_us)
        if key not in self._free:
            left = max(0, units - self._used.free_units.get(key, 0))
            self._free[key] = FreeBalance(subscription.subscription_id, period_us, left)
        return self._free[key]


def balance_of(grant: Grant, used: Used) -> GrantBalance:
    """A grant with what closed cycles have left of it."""
    spent = used.granted_micro.get(grant.grant_id, 0)
    return GrantBalance(grant.subscription.subscription_id, grant.grant_id, max(0, grant.granted_micro - spent), spent)


def payer(team: TeamTerms, terms: Terms, api: str, at_us: int, late_payer: Subscription | None) -> Payg | None:
    """Who pays as they go for units completing at ``at_us`` (rules 5.1, 5.4): the active ``payg``; where none is,
    for late
    usage, the one under which it occurred."""
    subscription = active_payg(team.payg, at_us) or late_payer
    if subscription is None or subscription.currency is None:
        return None
    price = terms.price_micro(api, subscription.currency, at_us)
    return None if price is None else Payg(subscription.subscription_id, price, subscription.currency)


def capacity_cuts(grants: Sequence[Grant]) -> list[int]:
    """The instants at which a resource's grants begin or end, in order."""
    return sorted({edge for grant in grants for edge in (grant.starts_us, grant.ends_us)})
