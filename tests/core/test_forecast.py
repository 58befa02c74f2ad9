"""Forecasts: what is said of too little usage, and whether ranges hold what comes about as often as they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pytest

from billing.core.forecast import HISTORY_DAYS, SHARE_PERCENT, Fit, fit

Floats = npt.NDArray[np.float64]
Random = np.random.Generator
DAYS = HISTORY_DAYS + 400


def _week(count: int) -> Floats:
    return np.where(np.arange(count) % 7 < 5, 1.3, 0.25)


HISTORIES: Mapping[str, Callable[[Random, int], Floats]] = {
    "steady": lambda r, n: r.gamma(20, 1 / 20, n),
    "office hours": lambda r, n: _week(n) * r.gamma(4, 1 / 4, n),
    "heavy tails": lambda r, n: r.lognormal(0, 1.2, n),
    "now and then": lambda r, n: np.where(r.random(n) < 0.35, r.lognormal(0, 0.8, n), 0),
    "drifting": lambda r, n: _week(n) * np.exp(np.cumsum(r.normal(0, 0.05, n))) * r.gamma(6, 1 / 6, n),
    "busy weeks": lambda r, n: _week(n) * np.repeat(r.lognormal(0, 0.4, n // 7 + 1), 7)[:n] * r.gamma(6, 1 / 6, n),
}


def _held(name: str, seed: int, days: int) -> bool | None:
    """Whether the range of a forecast made after so many days holds when a balance truly ran out; None for none."""
    random = np.random.default_rng([seed, sum(map(ord, name))])
    usage = HISTORIES[name](random, DAYS)[HISTORY_DAYS - days :]
    one = fit(usage[:days], 0)
    if one is None:
        return None
    balance = float(np.exp(random.uniform(np.log(2), np.log(90)))) * float(usage[max(0, days - 28) : days].mean())
    passed = one.passed(days, 400)
    low, high = one.factors(passed)
    truly = int(np.searchsorted(np.cumsum(usage[days:]), balance)) + 1
    early = int(np.searchsorted(one.level * passed * high, balance))
    late = int(np.searchsorted(np.maximum.accumulate(one.level * passed * low), balance))
    return early <= truly <= (late if late < len(passed) else DAYS)


@pytest.mark.parametrize("days", [21, HISTORY_DAYS])
def test_ranges_hold_what_comes_as_often_as_they_say(days: int) -> None:
    """Of each kind of usage about so many, of all together so many at least: ranges err to the wide side."""
    shares = {}
    for name in HISTORIES:
        found = [held for seed in range(150) if (held := _held(name, seed, days)) is not None]
        shares[name] = 100 * sum(found) / len(found)
    assert min(shares.values()) >= SHARE_PERCENT - 10, shares
    assert SHARE_PERCENT <= sum(shares.values()) / len(shares) <= SHARE_PERCENT + 12, shares


def test_the_same_history_gives_the_same_forecast() -> None:
    history = HISTORIES["drifting"](np.random.default_rng(1), HISTORY_DAYS)
    assert fit(history, 3) == fit(list(history), 3)


def test_days_of_the_week_are_told_apart() -> None:
    one = fit(_week(56), 0)
    assert one is not None
    assert min(one.pattern[day] for day in range(5)) > 2 * max(one.pattern[5:])
    weekend, week = one.passed(5, 2)[-1], one.passed(0, 2)[-1]
    assert weekend < week / 2


@pytest.mark.parametrize(
    "history",
    [[0.0] * 56, [1.0] * 13, [0.0] * 43 + [1.0] * 13, [1.0, 0, 0, 0, 0, 0, 0] * 4, [-1.0] * 56],
    ids=["none", "too short", "too late", "too few days", "taken back"],
)
def test_too_little_usage_says_nothing(history: list[float]) -> None:
    assert fit(history, 0) is None


def test_days_before_the_first_usage_do_not_count() -> None:
    """A team that began three weeks ago did not use a third of what it does."""
    late, short = fit([0.0] * 35 + [2.0] * 21, 0), fit([2.0] * 21, 35)
    assert late == short
    assert late is not None
    assert late.level == pytest.approx(2)
    assert late.days == 21


def test_a_level_that_few_days_tell_gives_a_wider_range() -> None:
    told = {"level": 1.0, "pattern": (1.0,) * 7, "deviation": 0.5, "smoothing": 0.05}
    low, high = np.array([Fit(**told, days=days).factors(np.array([30.0])) for days in (56, 14)])[..., 0].T  # type: ignore[arg-type]
    assert low[1] < low[0] < 1 < high[0] < high[1]
