"""What teams have bought and what things cost: a reference arranged for rating.

Built once per shard from what was known at one load; APIs are spoken of by their place in ``apis`` (in order
by code point).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from billing.core.asof import AsOf, Int64s
from billing.core.attribution import places
from billing.core.frames import rows
from billing.core.metering import NO_SIZE
from billing.core.model import ApiBilling, Kind, Subscription
from billing.core.reference import NO_TOKENS, Reference


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """A number of tokens, or of a resource, valid in ``[valid_from, ends)``: the earlier of its own end and its
    subscription's.
    """

    grant_id: str
    subscription: Subscription
    api: str
    granted_micro: int
    valid_from_us: int
    expires_at_us: int

    @property
    def starts_us(self) -> int:
        """The first instant at which it can be used (rules 5.1, 5.3)."""
        return max(self.valid_from_us, self.subscription.purchased_at_us)

    @property
    def ends_us(self) -> int:
        """The instant from which it cannot (rule 8.1)."""
        return min(self.expires_at_us, self.subscription.ends_at_us)

    def valid_at(self, at_us: int) -> bool:
        """Whether it can be used at that instant."""
        return self.starts_us <= at_us < self.ends_us

    @property
    def order(self) -> tuple[int, int, str]:
        """The soonest to expire first, then the earlier start, then the smaller id (rule 5.3)."""
        return (self.expires_at_us, self.valid_from_us, self.grant_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamTerms:
    """What one team holds, each list in the order in which it pays."""

    subscriptions: tuple[Subscription, ...]
    payg: tuple[Subscription, ...]
    free: tuple[tuple[Subscription, Mapping[str, int]], ...]
    token_grants: Mapping[Kind, tuple[Grant, ...]]
    capacity_grants: tuple[Grant, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """All that rating needs to know. ``rate_size_micro`` and ``rate_tokens_micro`` are by row of ``rates``, with
    one more
    row at the end for "none in force"."""

    teams: Mapping[str, TeamTerms]
    apis: Sequence[str]
    api_place: Mapping[str, int]
    billing: Sequence[ApiBilling]
    rates: AsOf
    rate_from_us: Sequence[int]
    rate_size_micro: Int64s
    rate_tokens_micro: Int64s
    sizes_micro: Mapping[str, tuple[int, ...]]
    prices: Mapping[tuple[str, str], tuple[Sequence[int], Sequence[int]]]
    price_changes_us: Mapping[str, Sequence[int]]

    @classmethod
    def from_reference(cls, reference: Reference, team_ids: Sequence[str] | None = None) -> Terms:
        """Arrange a reference for ``team_ids`` (all teams where None)."""
        apis = reference["apis"].sort_values("api", ignore_index=True)
        rates = reference["unit_rates"]
        prices, changes = _prices(reference["unit_prices"])
        return cls(
            teams=_teams(reference, None if team_ids is None else set(team_ids)),
            apis=list(apis["api"]),
            api_place={api: place for place, api in enumerate(apis["api"])},
            billing=[ApiBilling(b) for b in apis["billing"]],
            rates=AsOf(places(rates["api"], list(apis["api"])), rates["valid_from"].to_numpy(), len(apis)),
            rate_from_us=sorted(set(rates["valid_from"].tolist())),
            rate_size_micro=pd.concat([rates["unit_size"], pd.Series([NO_SIZE])]).to_numpy(dtype="int64"),
            rate_tokens_micro=pd.concat([rates["tokens_per_unit"], pd.Series([NO_TOKENS])]).to_numpy(dtype="int64"),
            sizes_micro=_sizes(rates),
            prices=prices,
            price_changes_us=changes,
        )

    def with_balances(self, team_ids: Collection[str] | None = None) -> list[str]:
        """The ids of all subscriptions (of some teams, where they are given) that hold balances."""
        teams = self.teams if team_ids is None else sorted(self.teams.keys() & set(team_ids))
        held = (s for team_id in teams for s in self.teams[team_id].subscriptions)
        return [s.subscription_id for s in held if s.kind is not Kind.PAYG]

    def price_micro(self, api: str, currency: str, at_us: int) -> int | None:
        """The unit price in force (rules 4.1, 5.4); None where the API is not offered in that currency."""
        starts, values = self.prices.get((api, currency), ((), ()))
        place = bisect_right(starts, at_us)
        return values[place - 1] if place else None


def subscriptions_of(reference: Reference, team_ids: set[str] | None = None) -> dict[str, list[Subscription]]:
    """Assigned subscriptions by team; those not assigned yet pay for nothing (rule 1.3)."""
    table = reference["subscriptions"]
    table = table[table["team_id"] != ""] if team_ids is None else table[table["team_id"].isin(team_ids)]
    result: dict[str, list[Subscription]] = defaultdict(list)
    for row in rows(table):
        result[row.team_id].append(
            Subscription(
                subscription_id=row.subscription_id,
                team_id=row.team_id,
                kind=Kind(row.kind),
                purchased_at_us=int(row.purchased_at),
                time_zone=row.time_zone,
                ends_at_us=int(row.ends_at),
                currency=row.currency or None,
                payment_method_id=row.payment_method_id or None,
            )
        )
    return dict(result)


def _teams(reference: Reference, team_ids: set[str] | None) -> dict[str, TeamTerms]:
    by_team = subscriptions_of(reference, team_ids)
    by_id = {s.subscription_id: s for held in by_team.values() for s in held}
    allowances: dict[str, dict[str, int]] = defaultdict(dict)
    for row in rows(_held(reference["free_allowances"], by_id)):
        allowances[row.subscription_id][row.api] = int(row.units_per_period)
    tokens = _grants(
        _held(reference["token_grants"], by_id).assign(api="").rename(columns={"tokens": "granted"}), by_id
    )
    capacity = _grants(_held(reference["capacity_grants"], by_id).rename(columns={"quantity": "granted"}), by_id)
    return {team: _team(held, allowances, tokens, capacity) for team, held in by_team.items()}


def _held(table: pd.DataFrame, by_id: Mapping[str, Subscription]) -> pd.DataFrame:
    return table[table["subscription_id"].isin(by_id.keys())]


def _grants(table: pd.DataFrame, by_id: Mapping[str, Subscription]) -> dict[str, list[Grant]]:
    result: dict[str, list[Grant]] = defaultdict(list)
    for row in rows(table):
        result[row.subscription_id].append(
            Grant(
                grant_id=row.grant_id,
                subscription=by_id[row.subscription_id],
                api=row.api,
                granted_micro=int(row.granted),
                valid_from_us=int(row.valid_from),
                expires_at_us=int(row.expires_at),
            )
        )
    return result


def _team(
    held: Sequence[Subscription],
    allowances: Mapping[str, Mapping[str, int]],
    tokens: Mapping[str, list[Grant]],
    capacity: Mapping[str, list[Grant]],
) -> TeamTerms:
    free = sorted((s for s in held if s.kind is Kind.FREE), key=lambda s: (s.purchased_at_us, s.subscription_id))

    def grants(kind: Kind, of: Mapping[str, list[Grant]]) -> tuple[Grant, ...]:
        mine = [grant for s in held if s.kind is kind for grant in of.get(s.subscription_id, ())]
        return tuple(sorted(mine, key=lambda grant: grant.order))

    return TeamTerms(
        subscriptions=tuple(held),
        payg=tuple(s for s in held if s.kind is Kind.PAYG),
        free=tuple((s, allowances.get(s.subscription_id, {})) for s in free),
        token_grants={kind: grants(kind, tokens) for kind in (Kind.TOKEN_FLEX, Kind.FLEX)},
        capacity_grants=grants(Kind.CAPACITY, capacity),
    )


def _sizes(rates: pd.DataFrame) -> dict[str, tuple[int, ...]]:
    """Every unit size that an API ever had, in order of time."""
    ordered = rates.sort_values("valid_from").groupby("api", sort=False)["unit_size"]
    return {str(api): tuple(dict.fromkeys(int(size) for size in sizes)) for api, sizes in ordered}


def _prices(table: pd.DataFrame) -> tuple[dict[tuple[str, str], tuple[list[int], list[int]]], dict[str, list[int]]]:
    prices: dict[tuple[str, str], tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    changes: dict[str, set[int]] = defaultdict(set)
    for row in rows(table.sort_values("valid_from")):
        starts, values = prices[row.api, row.currency]
        starts.append(int(row.valid_from))
        values.append(int(row.unit_price))
        changes[row.currency].add(int(row.valid_from))
    return dict(prices), {currency: sorted(instants) for currency, instants in changes.items()}
