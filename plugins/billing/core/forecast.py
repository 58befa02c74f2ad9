"""How usage goes on, from what each of the last days used: an expected course, and a range around it.

Estimates, not figures of the books: the only place where quantities are binary floats. Nothing here is random, and
nothing of it is billed.

A series is a sum a UTC day. Its days of the week have a pattern, its level drifts: simple exponential smoothing, with
the smoothing that would have told each next day best. What k days together use then has the variance of that model's
sum over a lead time (Hyndman, Koehler, Ord, Snyder: Forecasting with Exponential Smoothing, 2008, section 6.6), and
more for a level that few days tell. The sum is taken as log-normal: it is never below 0, and errs further upwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

HISTORY_DAYS = 56
"""How many whole UTC days are looked at."""
DAYS_MIN = 14
"""Fewer say nothing: the days of a week are not told apart."""
ACTIVE_DAYS_MIN = 5
"""Fewer days with any usage say nothing."""
SHARE_PERCENT = 80
"""Of ranges that are told so many hold what comes; ``tests/core/test_forecast.py`` tries it."""

_Z = 1.2815515655446004  # 90 % of a normal distribution lie below
_SMOOTHINGS = (0.02, 0.05, 0.1, 0.2, 0.35)
_PATTERN_PRIOR_WEEKS = 2.0
_SPREAD_MAX = 2.0
# A few weeks tell a drift from chance badly: more of it has to tell the next days clearly better.
_PENALTY = 0.5
# A mean of n days errs by 1/n of a day's variance; twice that, since the pattern is found from them too.
_LEVEL_DOUBT = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """A series understood. ``level``: what a day uses, in the unit of the series; ``pattern``: the factor of each day
    of the week by ``day % 7``, 1 on average; ``deviation``: the standard deviation of one day around what was expected;
    ``smoothing``: how much of it is there to stay. ``days`` were looked at.
    """

    level: float
    pattern: tuple[float, ...]
    deviation: float
    smoothing: float
    days: int

    def passed(self, first_day: int, count: int) -> Floats:
        """The average days that have passed at each midnight, from that of ``first_day`` (0) on: shape (count + 1,)."""
        pattern = np.array([self.pattern[(first_day + k) % 7] for k in range(7)])
        return np.concatenate([[0.0], np.cumsum(np.resize(pattern, count))])

    def factors(self, days: Floats) -> tuple[Floats, Floats]:
        """How far below and above what is expected of so many average days together the range of ``SHARE_PERCENT``
        reaches, as factors: shapes (days,).
        """
        held = np.maximum(days, 1e-9)
        more = np.maximum(held - 1, 0)
        drift = 1 + self.smoothing * more + self.smoothing**2 * more * (2 * held - 1) / 6
        variance = (self.deviation / self.level) ** 2 * (drift / held + _LEVEL_DOUBT / self.days)
        spread = np.minimum(np.sqrt(np.log1p(variance)), _SPREAD_MAX)
        reach = _quantile(self.days) * spread
        return np.exp(-reach - spread**2 / 2), np.maximum(np.exp(reach - spread**2 / 2), 1)


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


def _quantile(days: int) -> float:
    """Student's quantile by Cornish and Fisher, for a deviation that so many days tell."""
    return _Z + (_Z**3 + _Z) / (4 * max(days - 2, 1))
