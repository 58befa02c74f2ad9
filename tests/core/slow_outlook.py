"""Forecasts team by team, series by series, course by course: what ``core.forecast`` and ``core.outlook`` find for many
at once, as it was written first. Of ``core.forecast`` nothing is used but what a result is made of; of
``core.outlook`` what it does not do at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import sqrt

import numpy as np

from billing.core import outlook
from billing.core.forecast import ACTIVE_DAYS_MIN, DAYS_MIN, Fit, Floats
from billing.core.model import Kind
from billing.core.outlook import Pace
from billing.core.quantity import MICRO
from billing.core.standing import Rate, Standing
from billing.core.terms import TeamTerms, Terms

_SMOOTHINGS = (0.02, 0.05, 0.1, 0.2, 0.35)
_PATTERN_PRIOR_WEEKS = 2.0
_PENALTY = 0.5


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


class Outlooks(outlook.Outlooks):
    """One team's: each series understood alone, each course followed alone, to the last instant."""

    def __init__(
        self, team: TeamTerms, terms: Terms, standing: Standing, rates: Mapping[str, Rate], paces: Mapping[str, Pace]
    ) -> None:
        super().__init__(team, terms, standing, rates, paces)
        self.look({("api", api): fit(pace.quantities_micro, pace.first_day) for api, pace in paces.items()})

    def _together(self, name: str, weights: Mapping[str, float]) -> Fit | None:
        mine = {api: weight for api, weight in weights.items() if weight > 0 and api in self._paces}
        if len(mine) == 1:
            ((api, weight),) = mine.items()
            one = self._fits[api]
            return one and replace(one, level=one.level * weight, deviation=one.deviation * weight)
        return fit(*self._sum(mine)) if mine else None

    def _courses(self, one: Fit, width: int | None = None) -> Floats:
        return super()._courses(one)

    def _usage(self, api: str, factors: Floats) -> Floats:
        if api not in self._expected:
            self._expected[api] = self._find_usage(api)
        found = self._expected[api]
        return np.stack([found if np.all(one == 1) else np.maximum.accumulate(found * one) for one in factors])

    def _beyond_free(self, api: str, units: Floats, out: dict[str, list[float]] | None = None) -> Floats:
        each: list[dict[str, float]] = [{} for _ in units]
        beyond = [self._course_beyond_free(api, one, times) for one, times in zip(units, each, strict=True)]
        if out is not None:
            out.update({key: [times[key] for times in each] for key in each[0]})
        return np.stack(beyond)

    def _course_beyond_free(self, api: str, units: Floats, out: dict[str, float]) -> Floats:
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
                if running:
                    out[s.subscription_id] = outlook._crossing(self._grid[low : high + 1], asked, float(granted))
            units = beyond
        return units

    def _spend_until(self, end_us: int, prices: Mapping[str, int], one: Fit) -> list[float]:
        return [self._course_spends(end_us, prices, course[np.newaxis]) for course in self._courses(one)]

    def _course_spends(self, end_us: int, prices: Mapping[str, int], factors: Floats) -> float:
        last = int(np.searchsorted(self._grid, min(end_us, self._grid[-1])))
        costs = self._costs() if self._has_tokens() else {}
        [asked] = self._tokens_asked(costs, factors)
        share = float(self._beyond_tokens(asked)[last] / asked[last]) if asked[last] > 0 else 1.0
        spend = 0.0
        for api, price in prices.items():
            units = float(self._beyond_free(api, self._units(api, factors))[0, last])
            # Whole units only: what is carried at the end waits.
            spend += float(np.floor(units * (share if api in costs else 1.0))) * price
        return spend
