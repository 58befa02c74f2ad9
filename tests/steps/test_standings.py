"""How teams stand: the figures are those of balances and ledger, whatever was kept before (rules 8.1, 5.5, 5.6)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select

from billing.core.errors import DataRefused, NotFound
from billing.core.forecast import HISTORY_DAYS
from billing.core.instants import day_number, format_us, from_us
from billing.core.outlook import Why
from billing.core.standing import BalanceState, months_before_us
from billing.steps.balances import balances
from billing.steps.close import close
from billing.steps.ingest import SourceFile, ingest
from billing.steps.open_ratings import refresh_open
from billing.steps.reference import load_reference
from billing.steps.simulate import read_steps
from billing.steps.standings import Told, refresh_standings, standing_at
from billing.store.home import Home
from billing.store.open_ratings import read_carry, read_draws
from billing.store.standings import standing_teams
from billing.store.tables import paces, standing_apis, standing_balances, standing_refreshes, standings

from .small_world import BOUGHT, REFERENCE, Shop, instant

CASES = Path(__file__).parents[3] / "shared" / "cases"
NAMES = ["balances-random-201", "capacity", "late-usage", "payg-ends", "waterfall"]
JULY = [
    "e1,2026-07-05T00:00:00Z,a1,render,65,,",
    "e2,2026-07-06T00:00:00Z,a2,render,65,,",
    "e3,2026-07-06T00:00:00Z,,seats,4,,t1",
    "e4,2026-07-07T00:00:00Z,a1,translate,3,,",
]
_FORECAST = {"per_day_micro", "runs_out_low_us", "runs_out_us", "runs_out_high_us", "forecast"}
_WHEN = {"as_of_us", "through_batch", "load_no", "changes_at_us"}
_PROJECTED = {"projected_low_minor", "projected_minor", "projected_high_minor"}


def kept(home: Home) -> dict[str, list[tuple[Any, ...]]]:
    """What is kept of how teams stand, but for forecasts, which go with the instant at which they were made."""
    found = {}
    with home.database.read() as connection:
        for table in (standings, standing_balances, standing_apis):
            names = [c.name for c in table.columns if c.name not in _FORECAST | _WHEN | _PROJECTED]
            rows = connection.execute(select(*(table.c[name] for name in names)))
            found[table.name] = sorted((tuple(row) for row in rows), key=repr)
    return found


def told_balances(home: Home) -> list[tuple[Any, ...]]:
    """Valid balances as they are kept, with the columns of ``core.balances``."""
    columns = [c for c in standing_balances.columns if c.name not in _FORECAST | {"state", "begins_at_us"}]
    valid = select(*columns).where(standing_balances.c.state == BalanceState.VALID.value)
    with home.database.read() as connection:
        return sorted(tuple(row) for row in connection.execute(valid))


def refresh(shop: Shop, at: str | datetime) -> None:
    refresh_open(shop.home)
    refresh_standings(shop.home, instant(at) if isinstance(at, str) else at)


def as_told_by_balances(home: Home, at: datetime) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in balances(home, at).itertuples(index=False))


def stands(shop: Shop, team: str, at: str) -> Told:
    return standing_at(shop.home, team, instant(at))


# --- rule 8.1 --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not beside the checkout")
@pytest.mark.parametrize("name", NAMES)
def test_rule_8_1_standings_are_balances_at_ten_instants_of_a_case(shop: Shop, name: str) -> None:
    """After each of its steps, through refreshes, expiries and late usage: what is kept is what balances tell."""
    last = None
    for number, step in enumerate(read_steps(CASES / name)):
        last = _take(shop.home, CASES / name, dict(step), number) or last
        if last is not None and step["do"] in ("ingest", "close"):
            _agree(shop.home, last)
    assert last is not None
    for day in (1, 3, 7, 12, 20, 31, 40, 61, 100, 400):
        _agree(shop.home, last + timedelta(days=day, seconds=day))


def _take(home: Home, case: Path, step: Mapping[str, Any], number: int) -> datetime | None:
    """Do a step; the instant that it stands for."""
    match step["do"]:
        case "reference":
            load_reference(home, case / step["folder"])
        case "ingest":
            source = SourceFile(path=case / step["file"], name=step["file"])
            ingest(home, [source], instant(step["now"]), source=f"step {number}")
            return instant(step["now"])
        case "close":
            close(home, instant(step["as_of"]), assume_complete=True)
            return instant(step["as_of"])
    return None


def _agree(home: Home, at: datetime) -> None:
    refresh_open(home)
    try:
        refresh_standings(home, at)
    except DataRefused:  # before a team's last close
        return
    assert told_balances(home) == as_told_by_balances(home, at), at


def test_what_was_granted_is_used_left_or_was_never_used(shop: Shop) -> None:
    """Also of grants that ended, or begin later; those that ended more than 24 months ago are told no more."""
    later = [
        f"g2,flex2,2,{BOUGHT},2026-07-06T12:00:00Z",
        "g3,flex2,7,2026-09-01T00:00:00Z,2026-10-01T00:00:00Z",
    ]
    shop.load(token_grants=later)
    shop.ingest(*JULY, now="08-02")
    found = {b.grant_id: b for b in stands(shop, "t2", "08-15").standing.balances}
    assert {key: (b.state, b.used_micro, b.available_micro) for key, b in found.items()} == {
        "g2": (BalanceState.EXPIRED, 2_000_000, 0),
        "g3": (BalanceState.COMING, 0, 7_000_000),
    }
    after = stands(shop, "t2", "2028-09-30T23:59:59Z").standing.balances
    assert [(b.grant_id, b.state) for b in after] == [("g3", BalanceState.EXPIRED)]
    assert [b.grant_id for b in stands(shop, "t2", "2028-10-01T00:00:00Z").standing.balances] == []


@pytest.mark.parametrize(
    ("at", "months", "before"),
    [
        ("2028-02-29T10:00:00Z", 24, "2026-02-28T10:00:00Z"),
        ("2028-01-31T00:00:00Z", 24, "2026-01-31T00:00:00Z"),
        ("2026-03-31T00:00:00Z", 1, "2026-02-28T00:00:00Z"),
        ("2026-12-31T00:00:00Z", 1, "2026-11-30T00:00:00Z"),
    ],
)
def test_months_are_counted_back_by_the_calendar(at: str, months: int, before: str) -> None:
    from billing.core.instants import parse_instant_us

    assert format_us(months_before_us(parse_instant_us(at), months)) == before


# --- the running cycle -----------------------------------------------------------------------------------------------


def test_the_running_cycle_is_what_its_close_will_say(shop: Shop) -> None:
    """Rules 4.2, 6.1: units by source, carry-over and spend a moment before the cycle's end are carry, charges and the
    invoice of its close."""
    shop.load()
    shop.ingest(*JULY, now="08-02")
    before = stands(shop, "t1", "2026-07-31T23:59:59.999999Z").standing
    shop.close("08-02")
    exported = shop.export()
    (net,) = [row[8] for row in exported["invoices"] if row[1] == "t1"]
    assert Decimal(before.spend_minor) / 100 == Decimal(net) == Decimal("9.50"), "2 x 1.15 and 3 x 2.4"
    assert sum(api.spend_minor for api in before.apis) == before.spend_minor
    carry = {row[2]: (row[3], row[4], row[7]) for row in exported["carry"] if row[0] == "t1"}
    assert carry == {"render": ("0", "65", "5"), "translate": ("0", "3", "0")}
    mine = {api.api: api for api in before.apis}
    assert (mine["render"].usage_micro, mine["render"].carry_micro) == (65_000_000, 5_000_000)
    assert mine["render"].units == {"free": 1, "payg": 2}
    assert mine["render"].unit_size_micro == 20_000_000
    assert mine["translate"].units == {"payg": 3}
    assert (before.subscription_id, before.currency) == ("payg1", "EUR")


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_cycle_that_waits_for_its_close_is_not_mixed_with_the_running_one(shop: Shop, is_closed: bool) -> None:
    shop.load()
    shop.ingest(*JULY, "e5,2026-08-01T00:00:00Z,a1,render,15,,", now="08-02")
    if is_closed:
        shop.close("08-02")
    refresh(shop, "08-02")
    found = stands(shop, "t1", "08-02").standing
    assert found.cycle is not None
    assert format_us(found.cycle.start_us) == "2026-08-01T00:00:00Z"
    (render,) = [api for api in found.apis if api.api == "render"]
    assert (render.opening_micro, render.usage_micro, render.carry_micro) == (5_000_000, 15_000_000, 0)
    assert render.units == {"free": 1}, "August's own allowance"
    assert found.spend_minor == 0


def test_a_carry_over_is_the_opening_of_a_cycle_without_usage(shop: Shop) -> None:
    """The passing of time alone begins a cycle and refreshes the free balance."""
    shop.load()
    shop.ingest(*JULY, now="07-10")
    refresh(shop, "07-10")
    for at in ("08-01", "09-15"):
        refresh(shop, at)
        (render,) = [api for api in stands(shop, "t1", at).standing.apis if api.api == "render"]
        assert (render.opening_micro, render.usage_micro, render.carry_micro) == (5_000_000, 0, 5_000_000)
        assert told_balances(shop.home) == as_told_by_balances(shop.home, instant(at))
        with shop.home.database.read() as connection:
            head, apis = (
                connection.execute(select(table).where(table.c.team_id == "t1")).all()
                for table in (standings, standing_apis)
            )
        assert ([row.spend_minor for row in head], [row.free_units for row in apis]) == ([0], [0])


def test_rule_5_5_unfunded_units_are_shown_and_never_spent(shop: Shop) -> None:
    rates = [*REFERENCE["unit_rates"]]
    held = [row for row in REFERENCE["subscriptions"] if not row.startswith("payg")]
    shop.load(unit_rates=rates, subscriptions=held)
    shop.ingest(*JULY, now="07-10")
    found = stands(shop, "t1", "07-10").standing
    assert (found.unfunded_units, found.spend_minor, found.currency) == (5, 0, "")
    assert {api.api: api.units for api in found.apis if api.units} == {
        "render": {"free": 1, "unfunded": 2},
        "translate": {"unfunded": 3},
    }


def test_rule_5_6_a_resource_shows_its_usage_and_its_credit(shop: Shop) -> None:
    shop.load()
    shop.ingest(*JULY, "c3,2026-07-06T00:00:00Z,,seats,-1,e3,", now="07-10")
    told = stands(shop, "t1", "07-10").standing
    (seats,) = [b for b in told.balances if b.source == "capacity"]
    assert (seats.used_micro, seats.available_micro) == (3_000_000, 2_000_000)


def test_a_team_before_its_first_cycle_and_one_that_is_unknown(shop: Shop) -> None:
    shop.load()
    assert stands(shop, "t1", "2026-06-30T00:00:00Z").standing.cycle is None
    with pytest.raises(NotFound, match="No team nobody holds a subscription"):
        stands(shop, "nobody", "07-10")


def test_an_instant_before_a_close_is_refused(shop: Shop) -> None:
    shop.load()
    shop.ingest(*JULY, now="08-02")
    shop.close("08-02")
    with pytest.raises(DataRefused, match="the last closed cycle ends at 2026-08-01"):
        refresh_standings(shop.home, instant("07-20"))


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_only_what_changed_is_looked_at_and_written(shop: Shop) -> None:
    shop.load()
    shop.ingest(*JULY, now="07-10")
    refresh_open(shop.home)
    at = instant("2026-07-10T00:01:00Z")
    assert (refresh_standings(shop.home, at).looked_at, refresh_standings(shop.home, at).looked_at) == (2, 0)
    shop.ingest("e9,2026-07-10T00:00:30Z,a2,render,15,,", now="2026-07-10T00:01:00Z")
    refresh_open(shop.home)
    done = refresh_standings(shop.home, instant("2026-07-10T00:02:00Z"))
    assert (done.looked_at, done.written) == (1, 1)
    with shop.home.database.read() as connection:
        when = {row.team_id: row.as_of_us for row in connection.execute(select(standings))}
    assert {team: format_us(us)[14:16] for team, us in when.items()} == {"t1": "01", "t2": "02"}


def test_a_team_that_is_no_more_is_taken_out(shop: Shop) -> None:
    shop.load()
    refresh(shop, "07-10")
    gone = [row for row in REFERENCE["subscriptions"] if ",t2," not in row]
    shop.load(allow_removals=True, subscriptions=gone, token_grants=[])
    refresh(shop, "07-10")
    with shop.home.database.read() as connection:
        assert standing_teams(connection) == {"t1"}


@pytest.mark.parametrize("seed", range(3))
def test_kept_step_by_step_is_as_found_at_once(shop: Shop, seed: int) -> None:
    """Any history of usage, late usage, corrections, loads, closes and time: what is kept is what a look at everything
    finds, and what open cycles hold is a rating from scratch."""
    for at in _history(shop, random.Random(seed)):
        refresh(shop, at)
        before = kept(shop.home)
        assert told_balances(shop.home) == as_told_by_balances(shop.home, at)
        with shop.home.database.write() as connection:
            connection.execute(delete(standing_refreshes))
        refresh_standings(shop.home, at)
        assert kept(shop.home) == before
    step_by_step = _open(shop.home)
    refresh_open(shop.home, from_scratch=True)
    assert _open(shop.home) == step_by_step


def _open(home: Home) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    with home.database.read() as connection:
        frames = (read_draws(connection, {"t1", "t2"}), read_carry(connection, {"t1", "t2"}))
    draws, carry = (sorted((tuple(row) for row in frame.itertuples(index=False)), key=repr) for frame in frames)
    return draws, carry


_LOADS: tuple[dict[str, list[str]], ...] = (
    {},
    {"free_allowances": ["free1,render,2"]},
    {"unit_prices": [row.replace("1.15", "1.35") for row in REFERENCE["unit_prices"]]},
    {"payment_methods": ["pm1,c1,stripe,tok_1,visa,4242,2028-11"]},
    {"teams": ["t1,c1,Team 1", "t2,c2,Team 2"]},
)
"""What a load may change besides: of one team, of everybody, of nobody's balances."""


def _history(shop: Shop, pick: random.Random) -> Iterator[datetime]:
    grants = [
        f"g2,flex2,10,{BOUGHT},2026-08-20T00:00:00Z",
        "g3,flex2,4,2026-07-10T00:00:00Z,2026-07-25T00:00:00Z",
    ]
    shop.load(token_grants=grants)
    at, used = instant("07-02"), []
    for number in range(6):
        at += timedelta(hours=pick.randrange(24, 160))
        lines = []
        for k in range(pick.randrange(4)):
            when = at - timedelta(hours=pick.randrange(1, 24 + 600 * (pick.random() < 0.2)))
            if when < instant("07-01"):
                continue
            event, app = f"h{number}-{k}", pick.choice(("a1", "a2"))
            lines.append(f"{event},{when:%Y-%m-%dT%H:%M:%SZ},{app},{pick.choice(('render', 'translate'))},7.5,,")
        if used and pick.random() < 0.3:
            first = used.pop().split(",")
            lines.append(f"c{number},{first[1]},{first[2]},{first[3]},-2.5,{first[0]},")
        used += [line for line in lines if not line.startswith("c")]
        shop.ingest(*lines, now=f"{at:%Y-%m-%dT%H:%M:%SZ}")
        if pick.random() < 0.3:
            grants = [*grants, f"g-{number},flex2,3,{at:%Y-%m-%dT%H:%M:%SZ},2026-12-01T00:00:00Z"]
            shop.load(allow_removals=True, token_grants=grants, **pick.choice(_LOADS))
        if pick.random() < 0.4:
            shop.close(f"{at:%Y-%m-%dT%H:%M:%SZ}")
        yield at


# --- how it goes on --------------------------------------------------------------------------------------------------


def _every_day(shop: Shop, api: str, quantity: str, *, first: int = 0, days: int = 40, app: str = "a2") -> None:
    begin = instant("07-01") + timedelta(hours=12)
    lines = [
        f"{api}-{day},{begin + timedelta(days=day):%Y-%m-%dT%H:%M:%SZ},{app},{api},{quantity},,"
        for day in range(first, first + days)
    ]
    shop.ingest(*lines, now=f"{begin + timedelta(days=first + days - 1):%Y-%m-%dT%H:%M:%SZ}")


def test_a_forecast_comes_true_where_usage_goes_on_as_before(shop: Shop) -> None:
    """Two grants, one pool: the one that ends later is used later, and both run out when they are forecast to."""
    grants = [f"g1,flex2,60,{BOUGHT},2026-12-01T00:00:00Z", f"g2,flex2,30,{BOUGHT},2027-07-01T00:00:00Z"]
    shop.load(token_grants=grants)
    _every_day(shop, "render", "20")
    told = stands(shop, "t2", "08-10")
    found = {b.grant_id: told.outlook(b) for b in told.standing.valid}
    assert {key: one.why for key, one in found.items()} == {"g1": Why.PACE, "g2": Why.PACE}
    assert [str(from_us(found[key].at_us or 0))[:10] for key in ("g1", "g2")] == ["2026-08-30", "2026-09-29"]
    assert found["g1"].per_day_micro == 1_000_000
    _every_day(shop, "render", "20", first=40, days=52)
    refresh_open(shop.home)
    left = {at: shop.balances(at) for at in ("08-29", "2026-08-31T00:00:00Z", "09-28", "2026-09-30T00:00:00Z")}
    assert left["2026-08-31T00:00:00Z"]["g1"] == "0"
    assert left["08-29"]["g1"] != "0"
    assert left["2026-09-30T00:00:00Z"]["g2"] == "0" != left["09-28"]["g2"]


def test_days_that_are_not_in_yet_are_no_days_without_usage(shop: Shop) -> None:
    """While a source brings nothing, the pace stays that of the days that it brought; balances tell what is there."""
    shop.load(token_grants=[f"g2,flex2,1000,{BOUGHT},2027-07-01T00:00:00Z"])
    shop.ingest(*(f"d{day},2026-07-{day:02d}T06:00:00Z,a2,render,20,," for day in range(1, 25)), now="07-25")
    refresh(shop, "07-25")
    assert _pace(shop, "07-25") == 1_000_000
    refresh(shop, "07-29")
    assert _first_day(shop) == day_number(date(2026, 7, 25)) - HISTORY_DAYS
    assert _pace(shop, "07-29") == 1_000_000
    assert told_balances(shop.home) == as_told_by_balances(shop.home, instant("07-29"))
    shop.ingest(*(f"d{day},2026-07-{day:02d}T06:00:00Z,a2,render,60,," for day in range(25, 29)), now="07-29")
    refresh(shop, "07-29")
    assert _first_day(shop) == day_number(date(2026, 7, 29)) - HISTORY_DAYS, "a delivery is seen on the same day"
    assert _pace(shop, "07-29") > 1_000_000
    assert told_balances(shop.home) == as_told_by_balances(shop.home, instant("07-29"))


def _pace(shop: Shop, at: str) -> int | None:
    told = stands(shop, "t2", at)
    [flex] = [one for one in told.standing.valid if one.grant_id == "g2"]
    return told.outlook(flex).per_day_micro


def _first_day(shop: Shop) -> int:
    with shop.home.database.read() as connection:
        return int(connection.execute(select(paces.c.first_day)).scalars().first() or 0)


def test_what_free_units_pay_does_not_use_up_tokens(shop: Shop) -> None:
    held = [*REFERENCE["subscriptions"], f"free2,t2,free,{BOUGHT},UTC,,,"]
    shop.load(
        subscriptions=held,
        free_allowances=["free1,render,1", "free2,render,40"],
        token_grants=[f"g2,flex2,60,{BOUGHT},2027-07-01T00:00:00Z"],
    )
    _every_day(shop, "render", "20")
    told = stands(shop, "t2", "08-10")
    found = {b.source: told.outlook(b).why for b in told.standing.valid}
    assert found == {"free": Why.UNTIL_THEN, "flex": Why.UNTIL_THEN}, "31 units a month, 40 of them free"


def test_spend_is_projected_to_the_end_of_the_cycle(shop: Shop) -> None:
    shop.load()
    _every_day(shop, "translate", "2", days=20)
    told = stands(shop, "t2", "07-21")
    assert told.standing.spend_minor == 40 * 240
    projection = told.outlooks.projection
    assert projection is not None
    assert projection.low_minor <= projection.minor <= projection.high_minor
    assert abs(projection.minor - 62 * 240) <= 240


def test_too_little_usage_says_why(shop: Shop) -> None:
    shop.load()
    shop.ingest(*JULY, now="07-10")
    t1, t2 = stands(shop, "t1", "07-10"), stands(shop, "t2", "2026-12-10T00:00:00Z")
    assert {b.source: t1.outlook(b).why for b in t1.standing.valid} == {
        "free": Why.USED_UP,
        "capacity": Why.TOO_LITTLE,
    }
    assert [t2.outlook(b).why for b in t2.standing.valid] == [Why.UNUSED]
    assert t1.outlooks.projection is None


def test_the_command_tells_it_in_words_and_as_json(shop: Shop, run_billing: Callable[..., tuple[int, str]]) -> None:
    import json

    grants = [f"g1,flex2,60,{BOUGHT},2026-12-01T00:00:00Z"]
    shop.load(token_grants=grants)
    _every_day(shop, "render", "20")
    at = "2026-08-10T00:00:00Z"
    status, said = run_billing(shop, "standing", "t2", "--at", at)
    assert status == 0, said
    assert "Flex tokens (g1): 20 of 60 available, ends in 113 days (2026-12-01 00:00 UTC); at the pace of" in said
    assert "(1 a day) it lasts until about 30 August 2026, between" in said
    status, said = run_billing(shop, "standing", "t2", "--at", at, "--json")
    values = json.loads(said)
    assert (values["balances"][0]["available"], values["apis"][0]["units"]) == ("20", {"flex": 9})
    assert values["balances"][0]["forecast"]["runs_out_at"][:10] == "2026-08-30"
    status, said = run_billing(shop, "cycles", "refresh", "--as-of", at)
    assert "2 of 2 teams looked at, 2 stand otherwise than before." in said
