"""Forecasts team by team, series by series, course by course: what ``core.forecast`` and ``core.outlook`` find for many
at once, as it was written first. Nothing of them is used here but what a result is made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import sqrt

import numpy as np

from billing.core.cycles import anniversaries_between
from billing.core.drawdown import POOL_KINDS
from billing.core.forecast import ACTIVE_DAYS_MIN, DAYS_MIN, Fit, Floats
from billing.core.instants import DAY_US
from billing.core.model import Kind, Subscription
from billing.core.outlook import HORIZON_DAYS, Outlook, Pace, Projection, Why
from billing.core.quantity import MICRO, minor_digits
from billing.core.spans import capacity_cuts
from billing.core.standing import BalanceState, Rate, Standing, StandingBalance
from billing.core.terms import Grant, TeamTerms, Terms

_SMOOTHINGS = (0.02, 0.05, 0.1, 0.2, 0.35)
_PATTERN_PRIOR_WEEKS = 2.0
_PENALTY = 0.5
_HOUR_US = 3_600_000_000
_NOT_VALID = Outlook(why=Why.NOT_VALID)
_Key = tuple[str, str, str, str]
_LOW, _MIDDLE, _HIGH = 0, 1, 2


def fit(quantities: Floats | Sequence[float], first_day: int) -> Fit | None:
    """Understand the usage of whole UTC days, oldest first; None where it is not enough to say anything.

    ``first_day``: days since 1970-01-01. Days before the first usage are left aside: there may have been nobody yet.
    """
    series = np.maximum(np.asarray(quantities, dtype=np.float64), 0)
    used = np.flatnonzero(series)
    if len(used) < ACTIVE_DAYS_MIN or len(series) - used[0] < DAYS_MIN:
        return None
    series, first_day = series[used[0] :], first_day + int(used[0])
    pattern = _pattern(series, first_day)
    factor = pattern[(first_day + np.arange(len(series))) % 7]
    level, squares, smoothing = _smoothed(series, factor)
    return Fit(
        level=max(level, float(series.mean()) / 100),
        pattern=tuple(pattern.tolist()),
        deviation=sqrt(max(squares, _weekly_squares(series, factor))),
        smoothing=smoothing,
        days=len(series),
    )


def _pattern(series: Floats, first_day: int) -> Floats:
    """The factor of each day of the week, drawn towards 1 as if some weeks more had been alike every day."""
    weekday = (first_day + np.arange(len(series))) % 7
    mean = series.mean()
    sums = np.bincount(weekday, weights=series, minlength=7) + _PATTERN_PRIOR_WEEKS * mean
    factor = sums / (np.bincount(weekday, minlength=7) + _PATTERN_PRIOR_WEEKS) / mean
    return np.asarray(factor / factor.mean(), dtype=np.float64)


def _smoothed(series: Floats, factor: Floats) -> tuple[float, float, float]:
    """By the smoothing that tells each next day best: the level after the last day, the mean square of the errors, and
    the smoothing.
    """
    level = np.full(len(_SMOOTHINGS), series[:DAYS_MIN].sum() / factor[:DAYS_MIN].sum())
    gain = np.array(_SMOOTHINGS) / (factor @ factor) * len(factor)
    squares = np.zeros(len(_SMOOTHINGS))
    for value, expected in zip(series.tolist(), factor.tolist(), strict=True):
        error = value - level * expected
        squares += error * error
        level = np.maximum(level + gain * expected * error, 0.0)
    best = int(np.argmin(squares * (1 + _PENALTY * np.array(_SMOOTHINGS))))
    return float(level[best]), float(squares[best]) / max(len(series) - 2, 1), _SMOOTHINGS[best]


def _weekly_squares(series: Floats, factor: Floats) -> float:
    """The same as ``_smoothed`` tells of days, from whole weeks: more where the days of a week are high together."""
    weeks = len(series) // 7
    used, expected = (one[len(one) - weeks * 7 :].reshape(weeks, 7).sum(axis=1) for one in (series, factor))
    error = used - expected * (used.sum() / expected.sum())
    return float((error**2).sum() / max(weeks - 1, 1) / 7)


class Outlooks:
    """One team's, found together: when each valid balance runs out, and what will be invoiced."""

    def __init__(
        self, team: TeamTerms, terms: Terms, standing: Standing, rates: Mapping[str, Rate], paces: Mapping[str, Pace]
    ) -> None:
        self._team, self._terms, self._standing, self._rates, self._paces = team, terms, standing, rates, paces
        self._by_key = {balance.key: balance for balance in standing.balances}
        self._carry = {one.api: one.carry_micro for one in standing.apis}
        self._money: Projection | None = None
        self._found: dict[_Key, Outlook] = {}
        if not paces:
            self._say_nothing(list(standing.valid))
            return
        self._fits = {api: fit(np.array(p.quantities_micro, dtype=float), p.first_day) for api, p in paces.items()}
        self._grid = self._instants()
        self._passed: dict[tuple[float, ...], Floats] = {}
        self._edges: dict[str, list[int]] = {}
        self._expected: dict[str, Floats] = {}
        self._look()

    def of(self, balance: StandingBalance) -> Outlook:
        """When a balance runs out."""
        return _NOT_VALID if balance.state is not BalanceState.VALID else self._found[balance.key]

    @property
    def projection(self) -> Projection | None:
        """None where there is no pay as you go in the cycle, or usage says too little."""
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

    def _usage(self, api: str, factors: Floats | None = None) -> Floats:
        """What an API is expected to use from now to each instant, in 10^-6; ``factors`` by instant, on top of it."""
        if api not in self._expected:
            self._expected[api] = self._find_usage(api)
        found = self._expected[api]
        return found if factors is None else np.maximum.accumulate(found * factors)

    def _find_usage(self, api: str) -> Floats:
        one = self._fits.get(api)
        if one is not None:
            return self._days(one) * one.level
        quantities = self._paces[api].quantities_micro if api in self._paces else ()
        mean = max(sum(quantities), 0) / len(quantities) if quantities else 0.0
        found: Floats = (self._grid - self._grid[0]) / DAY_US * mean
        return found

    def _units(self, api: str, factors: Floats | None = None) -> Floats:
        """Charged units that are complete by each instant, what is carried now included; fractions of the next too."""
        carried = self._carry.get(api, 0) + self._usage(api, factors)
        return np.maximum(carried, 0) / self._rates[api].size_micro

    def _together(self, weights: Mapping[str, float]) -> Fit | None:
        """The usage of several APIs as one series, each with a weight."""
        mine = {api: weight for api, weight in weights.items() if weight > 0 and api in self._paces}
        if len(mine) == 1:
            ((api, weight),) = mine.items()
            one = self._fits[api]
            return one and replace(one, level=one.level * weight, deviation=one.deviation * weight)
        days = [range(p.first_day, p.first_day + len(p.quantities_micro)) for p in map(self._paces.get, mine) if p]
        if not days:
            return None
        first, after = min(one.start for one in days), max(one.stop for one in days)
        series = np.zeros(after - first)
        for api, weight in mine.items():
            pace = self._paces[api]
            low = pace.first_day - first
            series[low : low + len(pace.quantities_micro)] += np.array(pace.quantities_micro, dtype=float) * weight
        return fit(series, first)

    def _courses(self, one: Fit) -> tuple[Floats | None, Floats | None, Floats | None]:
        """Factors of the three courses, by instant."""
        low, high = one.factors(self._days(one))
        return high, None, low

    # --- balances ----------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        self._look_at_free()
        self._look_at_capacity()
        self._look_at_tokens()
        self._look_at_spend()

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
            times: list[dict[str, float]] = []
            for factors in self._courses(one):
                out: dict[str, float] = {}
                self._beyond_free(api, self._units(api, factors), out)
                times.append(out)
            per_day = round(one.level * MICRO / self._rates[api].size_micro)
            for balance in mine:
                at = [course[balance.subscription_id] for course in times]
                self._say(balance, at, per_day, one.days)

    def _beyond_free(self, api: str, units: Floats, out: dict[str, float] | None = None) -> Floats:
        """What of so many units free balances do not pay; when each one's running period is used up goes to ``out``."""
        for s, allowances in self._team.free:
            if api not in allowances or s.ends_at_us <= self._grid[0]:
                continue
            balance = self._by_key.get((Kind.FREE.value, s.subscription_id, "", api))
            beyond = np.zeros(len(units))
            for low, high in pairwise(self._periods(s)):
                running = low == 0 and balance is not None
                active = s.purchased_at_us <= self._grid[low] < s.ends_at_us
                granted = (balance.available_micro / MICRO if running and balance else allowances[api]) if active else 0
                # What is carried now completes in the first stretch.
                asked = units[low : high + 1] - (units[low] if low else 0.0)
                beyond[low : high + 1] = beyond[low] * (low > 0) + np.maximum(asked - granted, 0.0)
                if running and out is not None:
                    out[s.subscription_id] = _crossing(self._grid[low : high + 1], asked, float(granted))
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
            times = []
            for factors in self._courses(one):
                # What is carried of a resource is minus the credit, which usage fills first.
                asked = np.maximum(self._usage(api, factors) + min(self._carry.get(api, 0), 0), 0)
                times.append(self._drained(grants, asked)[0])
            for balance in mine:
                at = [course.get(balance.grant_id, np.inf) for course in times]
                self._say(balance, at, round(one.level), one.days)

    def _look_at_tokens(self) -> None:
        mine = [balance for balance in self._standing.valid if balance.source in POOL_KINDS]
        costs = self._costs()
        one = self._together({api: cost / self._rates[api].size_micro for api, cost in costs.items()}) if mine else None
        if one is None:
            self._say_nothing(mine)
            return
        times: list[dict[str, float]] = []
        for factors in self._courses(one):
            out: dict[str, float] = {}
            self._beyond_tokens(self._tokens_asked(costs, factors), out)
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

    def _tokens_asked(self, costs: Mapping[str, int], factors: Floats | None) -> Floats:
        """What the tokens are asked for by each instant, in 10^-6: units that free balances do not pay."""
        asked = np.zeros(len(self._grid))
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

    def _look_at_spend(self) -> None:
        cycle, currency = self._standing.cycle, self._standing.currency
        if cycle is None or cycle.payg_subscription_id is None or not currency:
            return
        now = self._standing.as_of_us
        found = {api: self._terms.price_micro(api, currency, now) for api in sorted(self._paces) if api in self._rates}
        prices = {api: price for api, price in found.items() if price is not None}
        spent = self._standing.spend_minor
        if prices and not any(prices.values()):
            self._money = Projection(low_minor=spent, minor=spent, high_minor=spent)
            return
        one = self._together({api: price / self._rates[api].size_micro for api, price in prices.items()})
        if one is None:
            return
        more = [self._spend_until(cycle.end_us, prices, factors) for factors in self._courses(one)]
        minor = [self._standing.spend_minor + round(micro / 10 ** (6 - minor_digits(currency))) for micro in more]
        low, middle, high = minor[_HIGH], minor[_MIDDLE], minor[_LOW]
        self._money = Projection(low_minor=min(low, middle), minor=middle, high_minor=max(high, middle))

    def _spend_until(self, end_us: int, prices: Mapping[str, int], factors: Floats | None) -> float:
        """What pay as you go pays for from now on until an instant, in 10^-6 of the currency."""
        last = int(np.searchsorted(self._grid, min(end_us, self._grid[-1])))
        costs = self._costs() if self._has_tokens() else {}
        asked = self._tokens_asked(costs, factors)
        share = float(self._beyond_tokens(asked)[last] / asked[last]) if asked[last] > 0 else 1.0
        spend = 0.0
        for api, price in prices.items():
            units = float(self._beyond_free(api, self._units(api, factors))[last])
            # Whole units only: what is carried at the end waits.
            spend += float(np.floor(units * (share if api in costs else 1.0))) * price
        return spend

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
