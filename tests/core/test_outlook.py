"""Forecasts of many teams in one pass are those of each team alone, to the last bit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from billing.core.balances import balances_of
from billing.core.forecast import HISTORY_DAYS, fit_all
from billing.core.instants import DAY_US, to_us
from billing.core.model import Kind
from billing.core.outlook import Outlooks, Pace, Projection, outlooks_of
from billing.core.spans import Used
from billing.core.standing import OpenFacts, Standing, rates_at, running_cycle, standing_of
from billing.core.terms import TeamTerms, Terms

from . import slow_outlook
from .small_reference import EARLY, SmallReference, frames_of

Random = np.random.Generator
NOW = datetime(2026, 8, 15, 3, tzinfo=UTC)
NOW_US = to_us(NOW)
LATE = "2030-01-01T00:00:00Z"
APIS = ("calls", "jobs", "minutes", "seats", "unpriced")


def _series(pick: Random, days: int = HISTORY_DAYS) -> list[int]:
    """Usage of any kind: none, a little, with a week, erratic, begun lately, taken back."""
    level = float(10 ** pick.uniform(4, 9))
    series = pick.gamma(pick.choice([0.3, 1, 5]), level, days)
    series *= np.where(np.arange(days) % 7 < 5, 1, pick.choice([0.1, 1.0]))
    series[pick.random(days) > pick.choice([0.02, 0.1, 0.5, 1.0])] = 0
    series[: int(pick.choice([0, 0, 0, pick.integers(days)]))] = 0
    series[pick.random(days) > 0.97] *= -1
    return [int(one) for one in series]


@pytest.mark.parametrize("seed", range(3))
def test_many_series_are_understood_as_each_alone(seed: int) -> None:
    """Of different lengths and first days."""
    pick = np.random.default_rng(seed)
    many = [
        (_series(pick, int(pick.choice([10, 14, 33, 56, 200]))), 20_000 + int(pick.integers(3))) for _ in range(400)
    ]
    found = fit_all(many)
    assert found == [slow_outlook.fit(np.array(series, dtype=float), first) for series, first in many]
    assert 50 < sum(one is not None for one in found) < 400


def _instant(pick: Random, low: int, high: int) -> str:
    at = NOW + timedelta(days=int(pick.integers(low, high)), hours=int(pick.integers(24)) * int(pick.integers(2)))
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _team(small: SmallReference, team: str, pick: Random) -> None:
    """A team that holds any of what there is; of some grants and subscriptions nothing is valid ever."""
    small.team(team)
    zone = str(pick.choice(["UTC", "Asia/Tokyo", "America/Los_Angeles"]))
    for kind, held in (("free", 2), ("token_flex", 1), ("flex", 2), ("capacity", 1), ("payg", 1)):
        for number in range(int(pick.integers(held + 1)) if kind != "payg" else int(pick.random() < 0.7)):
            name = f"{team}-{kind}{number}"
            ends = _instant(pick, -10, 300) if pick.random() < 0.2 and kind != "payg" else ""
            bought = _instant(pick, -300, -20 if kind == "payg" else 3)
            small.bought(name, kind, bought, ends=ends if ends > bought else "", zone=zone, team=team)
            for grant in range(int(pick.integers(4))):
                _holds(small, kind, name, grant, pick)


def _holds(small: SmallReference, kind: str, name: str, number: int, pick: Random) -> None:
    """One allowance or grant of a subscription."""
    window = {"valid_from": _instant(pick, -200, 30), "expires_at": _instant(pick, 31, 500)}
    amount = str(int(10 ** pick.uniform(0, 5)))
    if kind == "free":
        small.add("free_allowances", subscription_id=name, api=APIS[number], units_per_period=amount)
    elif kind in ("flex", "token_flex"):
        small.add("token_grants", grant_id=f"{name}-{number}", subscription_id=name, tokens=amount, **window)
    elif kind == "capacity":
        row = {"grant_id": f"{name}-{number}", "subscription_id": name, "api": "seats", "quantity": amount}
        small.add("capacity_grants", **row, **window)


def _world(pick: Random, teams: int) -> Terms:
    small = SmallReference()
    small.api("calls", size="20", tokens="1", price="1.15")
    small.api("jobs", tokens="0.5", price="2.4")
    small.api("minutes", size="3", price="0.07")
    small.api("unpriced", size="5", tokens="0.1")
    small.api("seats", billing="capacity")
    for number in range(teams):
        _team(small, f"x{number}", pick)
    return Terms.from_reference(frames_of(small.tables))


def _standing(terms: Terms, team_id: str, pick: Random) -> Standing:
    """With any part of each balance used."""
    team = terms.teams[team_id]
    nothing = Used(free_units={}, granted_micro={})
    part = float(pick.choice([0.0, 0.3, 0.99, 1.0]))
    granted = {row[3]: int(row[5] * part) for row in balances_of(team_id, team, nothing, NOW_US) if row[3]}
    carry = {api: int(pick.integers(-5, 20) * 10**6) if api == "seats" else int(pick.integers(10**6)) for api in APIS}
    cycle = running_cycle(team, None, NOW_US)
    facts = OpenFacts(closed_carry_micro=carry)
    used = Used(free_units={}, granted_micro=granted)
    return standing_of(team_id, terms, used, facts, cycle, rates_at(terms, NOW_US), NOW_US)


def _paces(pick: Random) -> dict[str, Pace]:
    first = NOW_US // DAY_US - HISTORY_DAYS
    used = [api for api in APIS if pick.random() < 0.7]
    return {api: Pace(first_day=first, quantities_micro=_series(pick)) for api in used}


@pytest.mark.parametrize("seed", range(3))
def test_many_teams_are_told_as_each_alone(seed: int) -> None:
    """Rules 5.1 to 5.3, 5.6: every balance's dates and every projection, whatever teams hold and use."""
    pick = np.random.default_rng([7, seed])
    terms = _world(pick, 60)
    rates = rates_at(terms, NOW_US)
    asked: list[tuple[TeamTerms, Standing, dict[str, Pace]]] = [
        (terms.teams[team], _standing(terms, team, pick), _paces(pick)) for team in terms.teams
    ]
    dates = projections = 0
    for (team, standing, paces), one in zip(asked, outlooks_of(terms, rates, asked), strict=True):
        alone = slow_outlook.Outlooks(team, terms, standing, rates, paces)
        told = [one.of(balance) for balance in standing.balances]
        assert told == [alone.of(balance) for balance in standing.balances]
        assert one.projection == alone.projection
        dates += sum(each.at_us is not None for each in told)
        projections += one.projection is not None
    assert dates > 20 and projections > 10


def test_a_grant_that_is_never_valid_stops_no_forecast() -> None:
    """Rule 5.3: its subscription ends before the grant begins; another pays."""
    small = SmallReference()
    small.api("jobs", tokens="1", price="2.4")
    small.bought("f", "flex", EARLY, ends="2026-09-01T00:00:00Z")
    small.bought("p", "payg", EARLY)
    never = {"valid_from": "2026-09-02T00:00:00Z", "expires_at": "2027-01-01T00:00:00Z"}
    small.add("token_grants", grant_id="never", subscription_id="f", tokens="5", **never)
    small.add("token_grants", grant_id="g", subscription_id="f", tokens="5", **(never | {"valid_from": EARLY}))
    terms = Terms.from_reference(frames_of(small.tables))
    standing = _standing(terms, "t1", np.random.default_rng(1))
    pace = Pace(first_day=NOW_US // DAY_US - HISTORY_DAYS, quantities_micro=[10**6] * HISTORY_DAYS)
    [one] = outlooks_of(terms, rates_at(terms, NOW_US), [(terms.teams["t1"], standing, {"jobs": pace})])
    assert isinstance(one, Outlooks) and one.projection is not None
    assert [balance.grant_id for balance in standing.valid if balance.source == Kind.FLEX] == ["g"]


def _projected(prices: dict[str, str], quantities: list[int]) -> tuple[Projection | None, int]:
    """What is projected of a team whose APIs are all used alike on each day; and what it spent so far."""
    small = SmallReference()
    small.bought("p", "payg", EARLY)
    small.free("f", EARLY, dict.fromkeys(prices, 3))
    small.bought("x", "flex", EARLY)
    small.add("token_grants", grant_id="g", subscription_id="x", tokens="5", valid_from=EARLY, expires_at=LATE)
    for api, price in prices.items():
        small.api(api, tokens="1", price=price)
    terms = Terms.from_reference(frames_of(small.tables))
    standing = replace(_standing(terms, "t1", np.random.default_rng(1)), spend_minor=1_234)
    pace = Pace(first_day=NOW_US // DAY_US - len(quantities), quantities_micro=quantities)
    team, rates, paces = terms.teams["t1"], rates_at(terms, NOW_US), dict.fromkeys(prices, pace)
    with np.errstate(all="raise"):
        [one] = outlooks_of(terms, rates, [(team, standing, paces)])
    assert one.projection == slow_outlook.Outlooks(team, terms, standing, rates, paces).projection
    return one.projection, standing.spend_minor


@pytest.mark.parametrize("prices", [{"calls": "0"}, {"calls": "0", "jobs": "0"}, {"calls": "0", "jobs": ""}])
def test_what_costs_nothing_adds_nothing_to_what_was_spent(prices: dict[str, str]) -> None:
    """Rule 6.1: a price of 0 is a price. However little the usage says, no range is needed either."""
    for quantities in ([50 * 10**6] * HISTORY_DAYS, [0] * (HISTORY_DAYS - 1) + [10**6]):
        found, spent = _projected(prices, quantities)
        assert found == Projection(low_minor=spent, minor=spent, high_minor=spent)


def test_prices_of_nothing_beside_others_divide_by_nothing() -> None:
    """A series of no weight is left out of those that are looked at together; without any price nothing is told."""
    quantities = [50 * 10**6] * HISTORY_DAYS
    mixed, spent = _projected({"calls": "0", "jobs": "2.4", "minutes": "0"}, quantities)
    alone, _ = _projected({"jobs": "2.4"}, quantities)
    assert mixed is not None and alone is not None and spent < mixed.low_minor <= mixed.minor <= mixed.high_minor
    assert mixed.minor >= alone.minor  # the tokens of the one pay for the others too
    assert _projected({"calls": "0", "jobs": "2.4"}, [0] * (HISTORY_DAYS - 1) + [10**6])[0] is None
    assert _projected({"calls": ""}, quantities)[0] is None
