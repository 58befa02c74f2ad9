"""How a team's balances and spend go on at the pace of the last weeks: when what runs out, and within which range.

Usage is taken to go on as ``core.forecast`` has it. The balances are used up by it in the order of rules 5.1 to 5.3 and
5.6: what free units pay never reaches the tokens, a grant that is used later does not run out first, and a balance that
refreshes begins anew. One course is the expected one, one is above and one below it, by the range of the usage that
concerns the balance: an API's own, or that of all APIs together that the tokens pay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

import numpy as np

from billing.core.cycles import anniversaries_between
from billing.core.drawdown import POOL_KINDS
from billing.core.forecast import Fit, Floats, fit_all
from billing.core.instants import DAY_US
from billing.core.model import Kind, Subscription
from billing.core.quantity import MICRO, minor_digits
from billing.core.spans import capacity_cuts
from billing.core.standing import BalanceState, Rate, Standing, StandingBalance
from billing.core.terms import Grant, TeamTerms, Terms

HORIZON_DAYS = 400
"""Nothing is told of what lies further ahead."""
_HOUR_US = 3_600_000_000


class Why(StrEnum):
    """What a forecast rests on, or why there is none."""

    PACE = "pace"  # it runs out when it says
    UNTIL_THEN = "not_before_refresh_or_end"  # it refreshes or ends first
    BEYOND = "not_within_400_days"
    TOO_LITTLE = "not_enough_usage"
    UNUSED = "no_usage"  # of the last weeks
    USED_UP = "used_up"
    NOT_VALID = "not_valid"  # it has ended, or begins later


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """What an API used on each of the last whole UTC days, in 10^-6, oldest first; ``first_day``: since 1970-01-01."""

    first_day: int
    quantities_micro: Sequence[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """When a balance runs out: at ``at_us`` as expected, and between ``low_us`` and ``high_us``; None is not before it
    refreshes or ends, or not within the horizon. In whole hours. ``per_day_micro``: what a day asks of it, in its unit;
    ``days`` were looked at.
    """

    why: Why
    per_day_micro: int | None = None
    low_us: int | None = None
    at_us: int | None = None
    high_us: int | None = None
    days: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Projection:
    """What the running cycle's invoice may be at its end, net, in minor units: as expected, and between which."""

    low_minor: int
    minor: int
    high_minor: int


_NOT_VALID = Outlook(why=Why.NOT_VALID)
_Key = tuple[str, str, str, str]
_LOW, _MIDDLE, _HIGH = 0, 1, 2  # courses, the rows of what is by course: more usage than expected, as expected, less
_TOKENS, _SPEND = "tokens asked of pools", "spend"
_Wanted = dict[tuple[str, str], tuple[Floats | Sequence[float], int]]


class Outlooks:
    """One team's, found together: when each valid balance runs out, and what will be invoiced. See ``outlooks_of``."""

    def __init__(
        self, team: TeamTerms, terms: Terms, standing: Standing, rates: Mapping[str, Rate], paces: Mapping[str, Pace]
    ) -> None:
        """Nothing is known before ``look``."""
        self._team, self._terms, self._standing, self._rates, self._paces = team, terms, standing, rates, paces
        self._by_key = {balance.key: balance for balance in standing.balances}
        self._carry = {one.api: one.carry_micro for one in standing.apis}
        self._money: Projection | None = None
        self._found: dict[_Key, Outlook] = {}
        self._fits: dict[str, Fit | None] = {}
        self._joint: dict[str, Fit | None] = {}

    def series(self) -> _Wanted:
        """The series that are to be understood first, each with its first day: each API's, and what several share."""
        wanted: _Wanted = {("api", api): (p.quantities_micro, p.first_day) for api, p in self._paces.items()}
        for name, weights in ((_TOKENS, self._token_weights()), (_SPEND, self._spend_weights())):
            if len(weights) > 1:
                wanted["joint", name] = self._sum(weights)
        return wanted

    def look(self, fits: Mapping[tuple[str, str], Fit | None]) -> None:
        """Find all of it, given what ``series`` asked for."""
        if not self._paces:
            self._say_nothing(list(self._standing.valid))
            return
        self._fits = {api: one for (what, api), one in fits.items() if what == "api"}
        self._joint = {name: one for (what, name), one in fits.items() if what == "joint"}
        self._grid = self._instants()
        self._passed: dict[tuple[float, ...], Floats] = {}
        self._edges: dict[str, list[int]] = {}
        self._expected: dict[str, Floats] = {}
        self._look_at_free()
        self._look_at_capacity()
        self._look_at_tokens()
        self._look_at_spend()

    def of(self, balance: StandingBalance) -> Outlook:
        """When a balance runs out."""
        return _NOT_VALID if balance.state is not BalanceState.VALID else self._found[balance.key]

    @property
    def projection(self) -> Projection | None:
        """None where there is no pay as you go in the cycle, or usage of what has a price above 0 says too little."""
        return self._money

    # --- time --------------------------------------------------------------------------------------------------------

    def _instants(self) -> Floats:
        """The instants that are looked at: now, each UTC midnight, and whenever what can pay changes."""
        now = self._standing.as_of_us
        valid = [balance.until_us for balance in self._standing.valid]
        cycle_end = [self._standing.cycle.end_us] if self._standing.cycle else []
        until = min(now + HORIZON_DAYS * DAY_US, max([now + DAY_US, *valid, *cycle_end]))
        edges = {now, until, *range((now // DAY_US + 1) * DAY_US, until, DAY_US), *cycle_end}
        for s, _ in self._team.free:
            edges.update((s.purchased_at_us, s.ends_at_us))
            if s.ends_at_us > now:
                edges.update(anniversaries_between(s.time_zone, s.purchased_at_us, now, until))
        for grant in self._grants():
            edges.update((grant.starts_us, grant.ends_us))
        return np.array(sorted(edge for edge in edges if now <= edge <= until), dtype=np.float64)

    def _grants(self) -> tuple[Grant, ...]:
        tokens = (grant for kind in POOL_KINDS for grant in self._team.token_grants[kind])
        return (*tokens, *self._team.capacity_grants)

    def _days(self, one: Fit) -> Floats:
        """The average days that pass from now to each instant."""
        if one.pattern not in self._passed:
            first = int(self._grid[0]) // DAY_US
            count = int(self._grid[-1]) // DAY_US - first + 1
            midnights = (first + np.arange(count + 1)) * float(DAY_US)
            at = np.interp(self._grid, midnights, one.passed(first, count))
            self._passed[one.pattern] = at - at[0]
        return self._passed[one.pattern]

    # --- usage -------------------------------------------------------------------------------------------------------

    def _usage(self, api: str, factors: Floats) -> Floats:
        """What an API uses from now to each instant in each course, in 10^-6: shape of ``factors``, which are on top of
        what is expected, and may end before the last instant.
        """
        if api not in self._expected:
            self._expected[api] = self._find_usage(api)
        found = self._expected[api][: factors.shape[1]]
        by_course: Floats = np.maximum.accumulate(found * factors, axis=1)
        by_course[_MIDDLE] = found
        return by_course

    def _find_usage(self, api: str) -> Floats:
        one = self._fits.get(api)
        if one is not None:
            return self._days(one) * one.level
        quantities = self._paces[api].quantities_micro if api in self._paces else ()
        mean = max(sum(quantities), 0) / len(quantities) if quantities else 0.0
        found: Floats = (self._grid - self._grid[0]) / DAY_US * mean
        return found

    def _units(self, api: str, factors: Floats) -> Floats:
        """Charged units that are complete by each instant, what is carried now included; fractions of the next too."""
        carried = self._carry.get(api, 0) + self._usage(api, factors)
        return np.maximum(carried, 0) / self._rates[api].size_micro

    def _together(self, name: str, weights: Mapping[str, float]) -> Fit | None:
        """The usage of several APIs as one series, each with a weight."""
        if len(weights) != 1:
            return self._joint.get(name)
        ((api, weight),) = weights.items()
        one = self._fits[api]
        return one and replace(one, level=one.level * weight, deviation=one.deviation * weight)

    def _sum(self, weights: Mapping[str, float]) -> tuple[Floats, int]:
        """Several series as one, and its first day."""
        days = [range(p.first_day, p.first_day + len(p.quantities_micro)) for p in map(self._paces.get, weights) if p]
        first, after = min(one.start for one in days), max(one.stop for one in days)
        series = np.zeros(after - first)
        for api, weight in weights.items():
            pace = self._paces[api]
            low = pace.first_day - first
            series[low : low + len(pace.quantities_micro)] += np.array(pace.quantities_micro, dtype=float) * weight
        return series, first

    def _token_weights(self) -> dict[str, float]:
        """What a quantity of each API costs in tokens, where any can pay now."""
        if not any(balance.source in POOL_KINDS for balance in self._standing.valid):
            return {}
        return {
            api: weight for api, cost in self._costs().items() if (weight := cost / self._rates[api].size_micro) > 0
        }

    def _spend_weights(self) -> dict[str, float]:
        """What a quantity of each API costs in money, where pay as you go runs."""
        return {api: price / self._rates[api].size_micro for api, price in self._prices().items() if price > 0}

    def _courses(self, one: Fit, width: int | None = None) -> Floats:
        """Factors of the three courses, by instant (the first ones, with ``width``): shape (3, instants)."""
        days = self._days(one)[:width]
        low, high = one.factors(days)
        return np.stack([high, np.ones(len(days)), low])

    # --- balances ----------------------------------------------------------------------------------------------------

    def _look_at_free(self) -> None:
        by_api: dict[str, list[StandingBalance]] = {}
        for balance in self._standing.valid:
            if balance.source == Kind.FREE:
                by_api.setdefault(balance.api, []).append(balance)
        for api, mine in by_api.items():
            one = self._fits.get(api)
            if one is None or api not in self._rates:
                self._say_nothing(mine)
                continue
            # Beyond the last running period nothing is asked.
            width = max(self._periods(s)[1] for s, allowances in self._team.free if api in allowances) + 1
            times: dict[str, list[float]] = {}
            self._beyond_free(api, self._units(api, self._courses(one, width)), times)
            per_day = round(one.level * MICRO / self._rates[api].size_micro)
            for balance in mine:
                self._say(balance, times[balance.subscription_id], per_day, one.days)

    def _beyond_free(self, api: str, units: Floats, out: dict[str, list[float]] | None = None) -> Floats:
        """What of so many units free balances do not pay, by course; when each one's running period is used up goes to
        ``out``.
        """
        for s, allowances in self._team.free:
            if api not in allowances or s.ends_at_us <= self._grid[0]:
                continue
            balance = self._by_key.get((Kind.FREE.value, s.subscription_id, "", api))
            beyond = np.zeros_like(units)
            for low, high in pairwise(self._periods(s)):
                if low >= units.shape[1]:
                    break
                running = low == 0 and balance is not None
                active = s.purchased_at_us <= self._grid[low] < s.ends_at_us
                granted = (balance.available_micro / MICRO if running and balance else allowances[api]) if active else 0
                part = (slice(None), slice(low, high + 1))
                # What is carried now completes in the first stretch.
                asked = units[part] - (units[:, low : low + 1] if low else 0.0)
                beyond[part] = beyond[:, low : low + 1] * (low > 0) + np.maximum(asked - granted, 0.0)
                if running and out is not None:
                    grid = self._grid[low : high + 1]
                    out[s.subscription_id] = [_crossing(grid, course, float(granted)) for course in asked]
            units = beyond
        return units

    def _periods(self, s: Subscription) -> list[int]:
        """Where periods of a free balance begin and end, as places of instants; the first is the running one's."""
        if s.subscription_id not in self._edges:
            self._edges[s.subscription_id] = self._find_periods(s)
        return self._edges[s.subscription_id]

    def _find_periods(self, s: Subscription) -> list[int]:
        now, until = int(self._grid[0]), int(self._grid[-1])
        edges = [s.purchased_at_us, s.ends_at_us, *anniversaries_between(s.time_zone, s.purchased_at_us, now, until)]
        inside = np.array(sorted({edge for edge in edges if now < edge < until}), dtype=np.float64)
        return [0, *np.searchsorted(self._grid, inside).tolist(), len(self._grid) - 1]

    def _look_at_capacity(self) -> None:
        by_api: dict[str, list[StandingBalance]] = {}
        for balance in self._standing.valid:
            if balance.source == Kind.CAPACITY:
                by_api.setdefault(balance.api, []).append(balance)
        for api, mine in by_api.items():
            one = self._fits.get(api)
            if one is None:
                self._say_nothing(mine)
                continue
            grants = [grant for grant in self._team.capacity_grants if grant.api == api]
            # What is carried of a resource is minus the credit, which usage fills first.
            asked = np.maximum(self._usage(api, self._courses(one)) + min(self._carry.get(api, 0), 0), 0)
            times = [self._drained(grants, course)[0] for course in asked]
            for balance in mine:
                at = [course.get(balance.grant_id, np.inf) for course in times]
                self._say(balance, at, round(one.level), one.days)

    def _look_at_tokens(self) -> None:
        mine = [balance for balance in self._standing.valid if balance.source in POOL_KINDS]
        costs = self._costs()
        one = self._together(_TOKENS, self._token_weights()) if mine else None
        if one is None:
            self._say_nothing(mine)
            return
        times: list[dict[str, float]] = []
        for course in self._tokens_asked(costs, self._courses(one)):
            out: dict[str, float] = {}
            self._beyond_tokens(course, out)
            times.append(out)
        for balance in mine:
            at = [course.get(balance.grant_id, np.inf) for course in times]
            self._say(balance, at, round(one.level), one.days)

    def _costs(self) -> dict[str, int]:
        """What a unit of each API that was used lately costs in 10^-6 of a token."""
        rated = ((api, self._rates[api].tokens_micro) for api in sorted(self._paces) if api in self._rates)
        return {api: cost for api, cost in rated if cost}

    def _has_tokens(self) -> bool:
        """Whether a token could pay from now on."""
        now = self._standing.as_of_us
        return any(grant.ends_us > now for kind in POOL_KINDS for grant in self._team.token_grants[kind])

    def _tokens_asked(self, costs: Mapping[str, int], factors: Floats) -> Floats:
        """What the tokens are asked for by each instant and course, in 10^-6: units that free balances do not pay."""
        asked = np.zeros(factors.shape)
        for api, cost in costs.items():
            asked += self._beyond_free(api, self._units(api, factors)) * cost
        return asked

    def _beyond_tokens(self, asked: Floats, out: dict[str, float] | None = None) -> Floats:
        """What the pools do not pay of what is asked of them, one after the other."""
        for kind in POOL_KINDS:
            found, asked = self._drained(self._team.token_grants[kind], asked)
            if out is not None:
                out.update(found)
        return asked

    def _drained(self, grants: Sequence[Grant], asked: Floats) -> tuple[dict[str, float], Floats]:
        """When each grant of a pool is used up, and what none of them pays, by instant. In the pool's order."""
        now = float(self._grid[0])
        usable = [g for g in grants if g.ends_us > max(now, g.starts_us)]
        left = {g.grant_id: float(self._by_key[self._key(g)].available_micro) for g in usable}
        edges = [edge for edge in capacity_cuts(grants) if now < edge < self._grid[-1]]
        bounds = [0, *np.searchsorted(self._grid, edges).tolist(), len(self._grid) - 1]
        found: dict[str, float] = {}
        unpaid = np.zeros(len(self._grid))
        for low, high in pairwise(bounds):
            part = slice(low, high + 1)
            # What is carried now is asked for in the first stretch.
            need = asked[part] - (asked[low] if low else 0.0)
            reached = 0.0
            for grant in grants:
                if not grant.valid_at(int(self._grid[low])) or grant.grant_id in found:
                    continue
                at = _crossing(self._grid[part], need, reached + left[grant.grant_id])
                taken = min(max(float(need[-1]) - reached, 0.0), left[grant.grant_id])
                reached += left[grant.grant_id]
                left[grant.grant_id] -= taken
                if at < np.inf:
                    found[grant.grant_id] = at
            beyond = np.maximum(need - reached, 0.0)
            unpaid[part] = (unpaid[low] if low else 0.0) + beyond
        return found, unpaid

    def _key(self, grant: Grant) -> _Key:
        return (grant.subscription.kind.value, grant.subscription.subscription_id, grant.grant_id, grant.api)

    # --- spend -------------------------------------------------------------------------------------------------------

    def _prices(self) -> dict[str, int]:
        """What a unit of each API that was used lately costs in 10^-6 of the currency, where pay as you go runs."""
        cycle, currency = self._standing.cycle, self._standing.currency
        if cycle is None or cycle.payg_subscription_id is None or not currency:
            return {}
        now = self._standing.as_of_us
        found = {api: self._terms.price_micro(api, currency, now) for api in sorted(self._paces) if api in self._rates}
        return {api: price for api, price in found.items() if price is not None}

    def _look_at_spend(self) -> None:
        cycle, prices, spent = self._standing.cycle, self._prices(), self._standing.spend_minor
        if prices and not any(prices.values()):
            self._money = Projection(low_minor=spent, minor=spent, high_minor=spent)
            return
        one = self._together(_SPEND, self._spend_weights())
        if cycle is None or one is None:
            return
        digits = minor_digits(self._standing.currency)
        more = self._spend_until(cycle.end_us, prices, one)
        minor = [spent + round(micro / 10 ** (6 - digits)) for micro in more]
        low, middle, high = minor[_HIGH], minor[_MIDDLE], minor[_LOW]
        self._money = Projection(low_minor=min(low, middle), minor=middle, high_minor=max(high, middle))

    def _spend_until(self, end_us: int, prices: Mapping[str, int], one: Fit) -> list[float]:
        """What pay as you go pays for from now on until an instant in each course, in 10^-6 of the currency."""
        last = int(np.searchsorted(self._grid, min(end_us, self._grid[-1])))
        costs = self._costs() if self._has_tokens() else {}
        shares = self._shares_beyond_tokens(costs, one, last) if costs else [1.0, 1.0, 1.0]
        factors = self._courses(one, last + 1)
        spend = [0.0, 0.0, 0.0]
        for api, price in prices.items():
            units = self._beyond_free(api, self._units(api, factors))[:, last].tolist()
            for course, share in enumerate(shares):
                # Whole units only: what is carried at the end waits.
                spend[course] += float(np.floor(units[course] * (share if api in costs else 1.0))) * price
        return spend

    def _shares_beyond_tokens(self, costs: Mapping[str, int], one: Fit, last: int) -> list[float]:
        """Which part of what tokens are asked for until an instant they do not pay, by course."""
        asked = self._tokens_asked(costs, self._courses(one))
        return [
            float(self._beyond_tokens(course)[last] / course[last]) if course[last] > 0 else 1.0 for course in asked
        ]

    # --- words -------------------------------------------------------------------------------------------------------

    def _say(self, balance: StandingBalance, at: Sequence[float], per_day: int, days: int) -> None:
        """``at``: when each course uses the balance up; infinite where it does not."""
        if balance.available_micro <= 0:
            self._found[balance.key] = Outlook(why=Why.USED_UP, per_day_micro=per_day, days=days)
            return
        limit = min(balance.until_us, int(self._grid[-1]))
        low, middle, high = (None if one >= limit else _whole_hours(one) for one in at)
        why = Why.PACE
        if low is None:
            why = Why.UNTIL_THEN if balance.until_us <= limit else Why.BEYOND
        self._found[balance.key] = Outlook(
            why=why, per_day_micro=per_day, low_us=low, at_us=middle, high_us=high, days=days
        )

    def _say_nothing(self, balances: Sequence[StandingBalance]) -> None:
        """Too little usage to go by."""
        for balance in balances:
            why = Why.USED_UP if balance.available_micro <= 0 else Why.TOO_LITTLE if self._any(balance) else Why.UNUSED
            self._found[balance.key] = Outlook(why=why)

    def _any(self, balance: StandingBalance) -> bool:
        """Whether anything was used lately that this balance could pay."""
        return balance.api in self._paces if balance.api else bool(self._costs())


def outlooks_of(
    terms: Terms, rates: Mapping[str, Rate], asked: Iterable[tuple[TeamTerms, Standing, Mapping[str, Pace]]]
) -> list[Outlooks]:
    """Those of many teams, in order; all their series are understood in one pass."""
    made = [Outlooks(team, terms, standing, rates, paces) for team, standing, paces in asked]
    wanted = [one.series() for one in made]
    fitted = iter(fit_all([series for each in wanted for series in each.values()]))
    for one, each in zip(made, wanted, strict=True):
        one.look({name: next(fitted) for name in each})
    return made


def _crossing(grid: Floats, course: Floats, level: float) -> float:
    """When a course that never falls reaches a level, in proportion between instants; infinite where it does not."""
    place = int(np.searchsorted(course, level))
    if place >= len(course):
        return float(np.inf)
    if place == 0:
        return float(grid[0])
    before, after = float(course[place - 1]), float(course[place])
    part = (level - before) / (after - before)
    return float(grid[place - 1] + part * (grid[place] - grid[place - 1]))


def _whole_hours(at_us: float) -> int:
    return round(at_us / _HOUR_US) * _HOUR_US
