"""From usage to charged units to the balances that pay for them (rules 3.5, 4.1-4.4, 5.1-5.7).

One event at a time, and one charged unit at a time.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from . import cycles
from .intake import Event

TOKEN_KINDS = ("token_flex", "flex")  # in the order in which they pay (rule 5.1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Effective:
    """A usage event and when it counts (rule 3.5)."""

    event: Event
    instant: datetime
    is_late: bool

    def order(self):
        """Rule 4.2: one order over all of a team's APIs."""
        event = self.event
        return (self.instant, event.occurred_at, not event.corrects, event.event_id)


@dataclass(kw_only=True, slots=True)
class Standing:
    """What is carried over and used up so far. Absent keys are 0. Quantities and tokens in 10**-6."""

    carry: dict = field(default_factory=dict)  # (team_id, api) -> carry-over
    free_draws: dict = field(default_factory=dict)  # (subscription_id, api, instant) -> units
    tokens_used: dict = field(default_factory=dict)  # grant_id -> tokens
    capacity_used: dict = field(default_factory=dict)  # grant_id -> quantity
    capacity_credit: dict = field(default_factory=dict)  # (team_id, api) -> quantity

    def copy(self):
        """One that can be changed and thrown away (rule 3.8)."""
        return Standing(**{name: dict(getattr(self, name)) for name in self.__slots__})


@dataclass(frozen=True, kw_only=True, slots=True)
class Payer:
    """Who pays for a charged unit: one row of `charges`, without its amounts."""

    source: str
    subscription_id: str = ""
    grant_id: str = ""
    unit_price_micro: int | None = None
    currency: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CarryRow:
    """Rule 4.4: one API's carry-over in one cycle."""

    api: str
    opening_micro: int
    usage_micro: int
    late_micro: int
    charged_units: int
    closing_micro: int


@dataclass(kw_only=True, slots=True)
class Rating:
    """What a run of a team's events gives: units and tokens by (api, Payer), and APIs that had no unit size."""

    units: Counter = field(default_factory=Counter)
    tokens_micro: Counter = field(default_factory=Counter)
    unsized_apis: set = field(default_factory=set)

    def payers(self):
        """All (api, Payer) that gave units or tokens."""
        return set(self.units) | set(self.tokens_micro)

    def charged_units(self, api):
        """Of one API, over all payers."""
        return sum(units for (of_api, _), units in self.units.items() if of_api == api)


# Which events, and in which order


def effective_events(events, open_start, before):
    """Rules 3.5, 4.2: a team's open events that are effective before an instant, in the order they are taken.

    `events` are those that no closed cycle has billed; `open_start` begins the team's earliest open cycle.
    """
    taken = []
    for event in events:
        is_late = event.occurred_at < open_start
        instant = open_start if is_late else event.occurred_at
        if instant < before:
            taken.append(Effective(event=event, instant=instant, is_late=is_late))
    return sorted(taken, key=Effective.order)


def rate(team_id, taken, reference, standing):
    """Rules 4.2, 5.6: take the events one by one; `standing` changes."""
    rating = Rating()
    for one in taken:
        billing = reference.apis[one.event.api]
        if billing == "rated":
            take_rated(team_id, one, reference, standing, rating)
        elif billing == "capacity":
            take_capacity(team_id, one, reference, standing)
    return rating


def take_rated(team_id, one, reference, standing, rating):
    """Rule 4.2: carry += quantity; units = max(0, carry // size); carry -= units * size. Then pay the units.

    Usage without a unit size waits in the carry-over (rule 8.1); a close parks the team for it (rule 3.8).
    """
    key = (team_id, one.event.api)
    carry_micro = standing.carry.get(key, 0) + one.event.quantity_micro
    unit_rate = in_force(reference.unit_rates, one.instant, api=one.event.api)
    units = 0
    if unit_rate is None:
        rating.unsized_apis.add(one.event.api)
    else:
        units = max(0, carry_micro // unit_rate.unit_size_micro)
        carry_micro -= units * unit_rate.unit_size_micro
    standing.carry[key] = carry_micro
    pay(team_id, one, units, reference, standing, rating)


def in_force(rows, instant, **keys):
    """Rule 4.1: of the rows with these keys the one with the latest `valid_from` that has come; or None."""
    rows = [row for row in rows if all(getattr(row, name) == value for name, value in keys.items())]
    rows = [row for row in rows if row.valid_from <= instant]
    return max(rows, key=lambda row: row.valid_from) if rows else None


def carry_rows(team_id, taken, reference, opening, closing, rating):
    """Rule 4.4: a row per rated API with an event, or an opening or closing that is not 0."""
    rows = []
    for api in sorted(api for api, billing in reference.apis.items() if billing == "rated"):
        mine = [one for one in taken if one.event.api == api]
        opening_micro = opening.carry.get((team_id, api), 0)
        closing_micro = closing.carry.get((team_id, api), 0)
        if mine or opening_micro or closing_micro:
            rows.append(
                CarryRow(
                    api=api,
                    opening_micro=opening_micro,
                    usage_micro=sum(one.event.quantity_micro for one in mine),
                    late_micro=sum(one.event.quantity_micro for one in mine if one.is_late),
                    charged_units=rating.charged_units(api),
                    closing_micro=closing_micro,
                )
            )
    return rows


# Who pays


def pay(team_id, one, units, reference, standing, rating):
    """Rule 5.1: each unit is drawn from the first of free, token_flex, flex, payg that can pay for it whole.

    `payg` and `unfunded` use nothing up: what answers for one unit there answers for all that are left.
    """
    subscriptions = reference.of_team(team_id)
    api = one.event.api
    while units > 0:
        payer = pay_free(subscriptions, api, one.instant, reference, standing)
        if payer is None:
            drawn = pay_tokens(subscriptions, api, one.instant, reference, standing)
            if drawn is not None:
                payer = drawn[0][0]
                for grant_payer, tokens_micro in drawn:
                    rating.tokens_micro[api, grant_payer] += tokens_micro
        if payer is None:
            payer = pay_payg(subscriptions, one, reference) or Payer(source="unfunded")
            rating.units[api, payer] += units
            return
        rating.units[api, payer] += 1
        units -= 1


def pay_free(subscriptions, api, instant, reference, standing):
    """Rule 5.2: the earlier bought free subscription first, then the smaller id; whole units of its own period."""
    free = [one for one in subscriptions if one.kind == "free" and one.is_active(instant)]
    for one in sorted(free, key=lambda one: (one.purchased_at, one.subscription_id)):
        granted = sum(
            units for sub, of_api, units in reference.free_allowances if (sub, of_api) == (one.subscription_id, api)
        )
        if free_used(one, api, instant, standing) < granted:
            key = (one.subscription_id, api, instant)
            standing.free_draws[key] = standing.free_draws.get(key, 0) + 1
            return Payer(source="free", subscription_id=one.subscription_id)
    return None


def free_used(subscription, api, instant, standing):
    """Rule 5.2: the units drawn within the period that holds the instant."""
    start, end = cycles.period_at(subscription, instant)
    return sum(
        units
        for (sub, of_api, drawn_at), units in standing.free_draws.items()
        if sub == subscription.subscription_id and of_api == api and start <= drawn_at < end
    )


def pay_tokens(subscriptions, api, instant, reference, standing):
    """Rule 5.3: token_flex, then flex; one unit may use several grants of one kind. [(Payer, tokens)] or None.

    The unit is counted on the first Payer. A pool with too few tokens is passed over.
    """
    unit_rate = in_force(reference.unit_rates, instant, api=api)
    if unit_rate is None or unit_rate.tokens_per_unit_micro is None:
        return None
    for kind in TOKEN_KINDS:
        needed_micro = unit_rate.tokens_per_unit_micro
        pool = [
            (grant, grant.amount_micro - standing.tokens_used.get(grant.grant_id, 0))
            for grant in valid_grants(reference.token_grants, subscriptions, (kind,), instant)
        ]
        if sum(left_micro for _, left_micro in pool if left_micro > 0) < needed_micro:
            continue
        drawn = []
        for grant, left_micro in pool:
            part_micro = min(left_micro, needed_micro)
            if part_micro > 0:
                needed_micro -= part_micro
                standing.tokens_used[grant.grant_id] = standing.tokens_used.get(grant.grant_id, 0) + part_micro
                payer = Payer(source=kind, subscription_id=grant.subscription_id, grant_id=grant.grant_id)
                drawn.append((payer, part_micro))
        return drawn
    return None


def valid_grants(grants, subscriptions, kinds, instant):
    """Rules 5.3, 5.6: those valid at the instant under an active subscription, in the order they are used."""
    active = {one.subscription_id for one in subscriptions if one.kind in kinds and one.is_active(instant)}
    valid = [one for one in grants if one.subscription_id in active and one.valid_from <= instant < one.expires_at]
    return sorted(valid, key=lambda one: (one.expires_at, one.valid_from, one.grant_id))


def pay_payg(subscriptions, one, reference):
    """Rules 5.1, 5.4: the active `payg`, or for late usage without one that under which it occurred; at its price."""
    payg = cycles.payg_at(subscriptions, one.instant)
    if payg is None and one.is_late:
        payg = cycles.payg_at(subscriptions, one.event.occurred_at)
    if payg is None:
        return None
    price = in_force(reference.unit_prices, one.instant, api=one.event.api, currency=payg.currency)
    if price is None:
        return None
    return Payer(
        source="payg",
        subscription_id=payg.subscription_id,
        unit_price_micro=price.unit_price_micro,
        currency=payg.currency,
    )


# Capacity


def take_capacity(team_id, one, reference, standing):
    """Rule 5.6: usage fills the credit, then uses grants up; a correction gives back, the rest is a credit.

    Usage beyond every valid grant stands on none.
    """
    key = (team_id, one.event.api)
    credit_micro = standing.capacity_credit.get(key, 0)
    grants = [grant for grant in reference.capacity_grants if grant.api == one.event.api]
    grants = valid_grants(grants, reference.of_team(team_id), ("capacity",), one.instant)
    used = standing.capacity_used
    if one.event.quantity_micro > 0:
        filled_micro = min(credit_micro, one.event.quantity_micro)
        standing.capacity_credit[key] = credit_micro - filled_micro
        left_micro = one.event.quantity_micro - filled_micro
        for grant in grants:
            part_micro = max(0, min(left_micro, grant.amount_micro - used.get(grant.grant_id, 0)))
            used[grant.grant_id] = used.get(grant.grant_id, 0) + part_micro
            left_micro -= part_micro
    else:
        left_micro = -one.event.quantity_micro
        for grant in grants:
            part_micro = min(left_micro, used.get(grant.grant_id, 0))
            used[grant.grant_id] = used.get(grant.grant_id, 0) - part_micro
            left_micro -= part_micro
        standing.capacity_credit[key] = credit_micro + left_micro
