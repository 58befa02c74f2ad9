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
    return fit_all([(quantities, first_day)])[0]


def fit_all(many: Sequence[tuple[Floats | Sequence[float], int]]) -> list[Fit | None]:
    """The same of many series, each with its first day, in one pass: each as if it was alone, to the last bit."""
    found: list[Fit | None] = [None] * len(many)
    alike: dict[tuple[int, int], list[int]] = {}
    for place, (quantities, first_day) in enumerate(many):
        if len(quantities) >= DAYS_MIN:
            alike.setdefault((first_day, len(quantities)), []).append(place)
    for (first_day, days), places in alike.items():
        block = np.maximum(np.array([many[place][0] for place in places], dtype=np.float64), 0)
        active = block != 0
        first = active.argmax(axis=1)
        enough = (active.sum(axis=1) >= ACTIVE_DAYS_MIN) & (days - first >= DAYS_MIN)
        for start in np.unique(first[enough]).tolist():
            mine = np.flatnonzero(enough & (first == start))
            fitted = _fit_block(np.ascontiguousarray(block[mine, start:]), first_day + start)
            for place, one in zip(mine.tolist(), fitted, strict=True):
                found[places[place]] = one
    return found


def _fit_block(series: Floats, first_day: int) -> list[Fit]:
    """Series of the same days, the first of which has usage: shape (series, days)."""
    pattern = _patterns(series, first_day)
    days = series.shape[1]
    # Rows side by side in memory: sums along them are then made in the order of one series alone.
    factor = np.ascontiguousarray(pattern[:, (first_day + np.arange(days)) % 7])
    level, squares, smoothing = _smoothed(series, factor)
    squares = np.maximum(squares, _weekly_squares(series, factor))
    columns = np.maximum(level, series.mean(axis=1) / 100), np.sqrt(squares), smoothing
    return [
        Fit(level=each, pattern=tuple(week), deviation=deviation, smoothing=_SMOOTHINGS[best], days=days)
        for week, each, deviation, best in zip(pattern.tolist(), *(one.tolist() for one in columns), strict=True)
    ]


def _patterns(series: Floats, first_day: int) -> Floats:
    """The factor of each day of the week, drawn towards 1 as if some weeks more had been alike every day: shape
    (series, 7).
    """
    weekday = (first_day + np.arange(series.shape[1])) % 7
    mean = series.mean(axis=1, keepdims=True)
    sums = np.zeros((len(series), 7))
    for day, place in enumerate(weekday.tolist()):
        sums[:, place] += series[:, day]
    sums = sums + _PATTERN_PRIOR_WEEKS * mean
    factor = sums / (np.bincount(weekday, minlength=7) + _PATTERN_PRIOR_WEEKS) / mean
    return np.asarray(factor / factor.mean(axis=1, keepdims=True), dtype=np.float64)


def _smoothed(series: Floats, factor: Floats) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """By the smoothing that tells each next day best: the level after the last day, the mean square of the errors, and
    the place of the smoothing. By series.
    """
    days, tried = series.shape[1], np.array(_SMOOTHINGS)
    start = series[:, :DAYS_MIN].sum(axis=1) / factor[:, :DAYS_MIN].sum(axis=1)
    level = np.repeat(start[:, np.newaxis], len(_SMOOTHINGS), axis=1)
    gain = tried / np.vecdot(factor, factor)[:, np.newaxis] * days
    squares = np.zeros_like(level)
    for value, expected in zip(series.T[:, :, np.newaxis], factor.T[:, :, np.newaxis], strict=True):
        error = value - level * expected
        squares += error * error
        level = np.maximum(level + gain * expected * error, 0.0)
    best = np.argmin(squares * (1 + _PENALTY * tried), axis=1)
    rows = np.arange(len(series))
    return level[rows, best], squares[rows, best] / max(days - 2, 1), best


def _weekly_squares(series: Floats, factor: Floats) -> Floats:
    """The same as ``_smoothed`` tells of days, from whole weeks: more where the days of a week are high together."""
    days = series.shape[1]
    weeks = days // 7
    used, expected = (one[:, days - weeks * 7 :].reshape(-1, weeks, 7).sum(axis=2) for one in (series, factor))
    error = used - expected * (used.sum(axis=1) / expected.sum(axis=1))[:, np.newaxis]
    return np.asarray((error**2).sum(axis=1) / max(weeks - 1, 1) / 7, dtype=np.float64)


def _quantile(days: int) -> float:
    """Student's quantile by Cornish and Fisher, for a deviation that so many days tell."""
    return _Z + (_Z**3 + _Z) / (4 * max(days - 2, 1))
