"""Usage by day as it is shown (rule 8.2): what the usage table says, however and however often it is brought up to
date.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from billing.core.instants import DAY_US, parse_instant_us
from billing.core.months import Month
from billing.core.usage_views import TeamUsage, oldest_day, oldest_month
from billing.steps.replacement import replace_file
from billing.steps.replay import replay
from billing.steps.upkeep import upkeep
from billing.steps.usage_views import ViewsRefreshed, read_usage, refresh_views, views_that_differ
from billing.store import usage_months as store
from billing.store.batches import committed
from billing.store.home import Home
from billing.store.quarantine import Selection
from billing.store.tables import usage_months, usage_views

from .small_world import REFERENCE, Shop, instant

NOW = datetime(2026, 8, 20, tzinfo=UTC)
YEAR = (date(2026, 1, 1), date(2026, 12, 31))


def refreshed(home: Home, now: datetime = NOW, *, rebuild: bool = False) -> ViewsRefreshed:
    return refresh_views(home, now, rebuild=rebuild)


def shown(found: TeamUsage) -> dict[tuple[str, str, str], int]:
    """Quantities of 10^-6 by day, API and app, where there are any."""
    return {
        (str(date.fromordinal(s.first_day.toordinal() + place)), s.api, s.app_id): quantity
        for s in found.series
        for place, quantity in enumerate(s.quantities_micro)
        if quantity
    }


def of_the_lake(shop: Shop, team_id: str) -> dict[tuple[str, str, str], int]:
    """The same, event by event from the usage table."""
    with shop.home.database.read() as connection:
        rows = shop.home.usage.lake.dataset().to_table(filter=committed(connection).filter()).to_pylist()
    found: dict[tuple[str, str, str], int] = {}
    for row in rows:
        if row["team_id"] == team_id:
            key = (row["occurred_at"].astimezone(UTC).date().isoformat(), row["api"], row["app_id"])
            found[key] = found.get(key, 0) + row["quantity_micro"]
    return {key: micro for key, micro in found.items() if micro}


def holds(shop: Shop, now: datetime = NOW) -> None:
    """The law: what is shown is the usage table's, for both teams, and the audit finds nothing."""
    for team in ("t1", "t2"):
        assert shown(read_usage(shop.home, team, *YEAR)) == of_the_lake(shop, team)
    assert list(views_that_differ(shop.home, now)) == []


def test_rule_8_2_usage_is_shown_by_utc_day(shop: Shop) -> None:
    """Offsets, the first and last instant of a day, an API without rates, usage that no app made."""
    shop.load()
    shop.ingest(
        "e1,2026-07-05T23:59:59.999999Z,a1,render,0.7,,",
        "e2,2026-07-06T00:00:00Z,a1,render,1.3,,",
        "e3,2026-07-06T01:00:00+02:00,a1,render,5,,",
        "e4,2026-07-31T10:00:00Z,a2,browse,3,,",
        "e5,2026-07-31T10:00:00Z,,seats,2,,t1",
        now="08-02",
    )
    assert refreshed(shop.home).rows == 3
    assert shown(read_usage(shop.home, "t1", *YEAR)) == {
        ("2026-07-05", "render", "a1"): 5_700_000,
        ("2026-07-06", "render", "a1"): 1_300_000,
        ("2026-07-31", "seats", ""): 2_000_000,
    }
    assert shown(read_usage(shop.home, "t2", *YEAR)) == {("2026-07-31", "browse", "a2"): 3_000_000}
    holds(shop)


def test_a_reader_is_told_a_part_and_how_fresh_it_is(shop: Shop) -> None:
    shop.load()
    shop.ingest(
        "e1,2026-07-05T10:00:00Z,a1,render,1,,",
        "e2,2026-07-31T10:00:00Z,a1,translate,2,,",
        "e3,2026-08-01T10:00:00Z,a1,translate,4,,",
        now="08-02",
    )
    before = read_usage(shop.home, "t1", *YEAR)
    assert (before.series, before.freshness.through_batch, before.freshness.at) == ((), 0, None)
    refreshed(shop.home)
    [series] = read_usage(shop.home, "t1", date(2026, 7, 31), date(2026, 8, 1), api="translate").series
    assert (series.app_id, series.first_day, series.quantities_micro) == (
        "a1",
        date(2026, 7, 31),
        (2 * 10**6, 4 * 10**6),
    )
    assert read_usage(shop.home, "t1", *YEAR, app_id="a2").series == ()
    fresh = read_usage(shop.home, "t1", *YEAR).freshness
    assert (fresh.complete_through, fresh.through_batch, fresh.at) == (instant("08-02"), 1, NOW)


def test_late_usage_and_corrections_count_on_the_day_of_use(shop: Shop) -> None:
    """Rules 2.3, 3.5: late usage counts on the day it occurred, what was taken back on the day of what it corrects."""
    shop.load()
    shop.ingest("e1,2026-07-05T10:00:00Z,a1,render,65,,", now="08-02")
    refreshed(shop.home)
    assert shop.close("08-02").invoices
    shop.ingest("late,2026-07-05T11:00:00Z,a1,render,5,,", "c1,2026-07-05T10:00:00Z,a1,render,-60,e1,", now="08-03")
    assert refreshed(shop.home).rows == 1
    assert shown(read_usage(shop.home, "t1", *YEAR)) == {("2026-07-05", "render", "a1"): 10_000_000}
    shop.ingest("c2,2026-07-05T10:00:00Z,a1,render,-5,e1,", "c3,2026-07-05T11:00:00Z,a1,render,-5,late,", now="08-04")
    refreshed(shop.home)
    assert read_usage(shop.home, "t1", *YEAR).series == (), "what is nothing is not shown"
    holds(shop)


def test_replays_replacements_and_moved_apps_are_shown_as_attributed(shop: Shop) -> None:
    """Rule 1.2: the team is the one that the event was attributed to, whatever becomes of the app."""
    shop.load()
    shop.ingest(
        "e1,2026-07-05T10:00:00Z,a1,render,65,,",
        "e2,2026-07-06T10:00:00Z,ghost,render,7,,",
        now="08-02",
        name="july.csv",
    )
    refreshed(shop.home)
    shop.load(
        apps=[*REFERENCE["apps"], "ghost,Ghost"],
        app_hubs=[
            "a1,h1,2020-01-01T00:00:00Z,2026-08-01T00:00:00Z",
            "a1,h2,2026-08-01T00:00:00Z,",
            *REFERENCE["app_hubs"][1:],
            "ghost,h2,2020-01-01T00:00:00Z,",
        ],
    )
    assert replay(shop.home, Selection(), instant("08-03")).batch_no == 2
    refreshed(shop.home)
    assert shown(read_usage(shop.home, "t2", *YEAR)) == {("2026-07-06", "render", "ghost"): 7_000_000}
    replaced = shop.file(
        ["e1,2026-07-05T10:00:00Z,a1,render,40,,", "e9,2026-08-06T10:00:00Z,a1,render,1,,"], "july-2.csv"
    )
    replace_file(shop.home, replaced, instant("08-10"), "july.csv", correct=True)
    refreshed(shop.home)
    assert shown(read_usage(shop.home, "t1", *YEAR)) == {("2026-07-05", "render", "a1"): 40_000_000}
    assert shown(read_usage(shop.home, "t2", *YEAR)) == {("2026-08-06", "render", "a1"): 1_000_000}
    holds(shop)


@pytest.mark.parametrize("seed", range(3))
def test_any_times_of_refreshing_show_the_same(shop: Shop, other: Shop, seed: int) -> None:
    """Run after each batch, twice, after many, with compaction between, from scratch: one state."""
    chosen = random.Random(seed)
    for one in (shop, other):
        one.load()
    for number in range(8):
        lines = [
            f"{number}-{n},2026-{chosen.choice(('07', '08'))}-{chosen.randint(1, 14):02d}T10:00:00Z,"
            f"a{chosen.randint(1, 2)},{chosen.choice(('render', 'translate', 'browse'))},{chosen.randint(1, 999)}.25,,"
            for n in range(20)
        ]
        for one in (shop, other):
            one.ingest(*lines, now=f"08-{16 + number % 4:02d}")
        if chosen.random() < 0.4:
            upkeep(shop.home, keep_days=0)
        for _ in range(chosen.choice((0, 1, 2))):
            refreshed(shop.home)
    refreshed(shop.home)
    assert refreshed(shop.home).rows == 0, "run again it finds nothing to do"
    refreshed(other.home)
    holds(shop)
    states = [rows_of(one) for one in (shop, other)]
    refreshed(shop.home, rebuild=True)
    assert states[0] == states[1] == rows_of(shop)


def test_batches_that_were_put_into_one_file_are_told_apart(shop: Shop) -> None:
    """Compaction puts what is shown already and what is new into one file: only the new counts."""
    shop.load()
    for number in range(12):
        shop.ingest(f"e{number},2026-07-05T10:00:00Z,a1,render,1,,", now="08-02", name=f"{number}.csv")
        if number == 5:
            refreshed(shop.home)
    upkeep(shop.home, keep_days=0)
    assert shop.home.usage.lake.size()[0] == 1
    assert refreshed(shop.home).rows == 1
    assert shown(read_usage(shop.home, "t1", *YEAR)) == {("2026-07-05", "render", "a1"): 12_000_000}
    holds(shop)


def rows_of(shop: Shop) -> list[tuple[object, ...]]:
    with shop.home.database.read() as connection:
        return sorted(tuple(row) for row in connection.execute(select(usage_months)))


def test_a_void_batch_is_not_shown(shop: Shop) -> None:
    """Killed after its rows were in the lake: the next ingest voids the number, and only that one's rows count."""
    from billing.steps import commit_points

    shop.load()
    shop.ingest("e0,2026-07-05T10:00:00Z,a1,render,1,,", now="08-02")
    refreshed(shop.home)
    with pytest.raises(ZeroDivisionError):
        _killed_at(commit_points.INGEST_IDS_APPENDED, lambda: shop.ingest(EVENT, now="08-03", name="x.csv"))
    assert refreshed(shop.home).rows == 0
    shop.ingest(EVENT, now="08-03", name="x.csv")
    refreshed(shop.home)
    assert shown(read_usage(shop.home, "t1", *YEAR)) == {
        ("2026-07-05", "render", "a1"): 1_000_000,
        ("2026-07-06", "render", "a1"): 9_000_000,
    }
    holds(shop)


EVENT = "e1,2026-07-06T10:00:00Z,a1,render,9,,"


def _killed_at(point: str, work: Callable[[], object]) -> None:
    from billing.steps import commit_points

    def die(reached: str) -> None:
        if reached == point:
            commit_points._listeners.remove(die)
            raise ZeroDivisionError

    commit_points.listen(die)
    work()


def test_broken_off_in_the_middle_nothing_was_done(shop: Shop) -> None:
    """The rows and the number of the batch that they tell up to are one transaction."""
    shop.load()
    shop.ingest("e0,2026-06-30T10:00:00Z,a2,browse,1,,", "e1,2026-07-05T10:00:00Z,a1,render,1,,", now="08-02")
    refreshed(shop.home)
    before = rows_of(shop)
    shop.ingest("e2,2026-07-05T10:00:00Z,a1,render,1,,", "e3,2026-08-05T10:00:00Z,a2,browse,1,,", now="08-06")

    def die(what: str, done: int, total: int) -> None:
        if done == 1:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        refresh_views(shop.home, NOW, progress=die)
    assert rows_of(shop) == before
    refreshed(shop.home)
    holds(shop)


def test_sums_beyond_64_bits_are_exact(shop: Shop) -> None:
    """Rule 2.1: quantities up to 10^12 each, twenty a day."""
    shop.load()
    shop.ingest(*(f"e{n},2026-07-05T10:00:00Z,a1,render,999999999999.999999,," for n in range(20)), now="08-02")
    refreshed(shop.home)
    assert list(shown(read_usage(shop.home, "t1", *YEAR)).values()) == [20 * (10**18 - 1)]
    holds(shop)


def test_rule_8_2_nothing_older_than_24_months(shop: Shop) -> None:
    """Whole months are kept, days are shown; what is forgotten can be derived again."""
    assert (oldest_month(date(2026, 8, 20)), oldest_day(date(2026, 8, 20))) == (Month(2024, 8), date(2024, 8, 20))
    assert oldest_day(date(2028, 2, 29)) == date(2026, 2, 28)
    assert oldest_month(date(2026, 1, 5)) == Month(2024, 1)
    shop.load()
    shop.ingest(*(f"e{m},2026-{m}-05T10:00:00Z,a1,render,1,," for m in ("07", "08")), now="08-20")
    refreshed(shop.home)
    later = datetime(2028, 8, 5, 1, tzinfo=UTC)
    assert refreshed(shop.home, later).forgotten == 1
    assert list(shown(read_usage(shop.home, "t1", *YEAR))) == [("2026-08-05", "render", "a1")]
    refreshed(shop.home, datetime(2028, 8, 6, tzinfo=UTC))
    assert read_usage(shop.home, "t1", *YEAR).series == (), "24 months and a day"
    assert list(views_that_differ(shop.home, later)) == []
    refreshed(shop.home, rebuild=True)
    holds(shop)


@pytest.mark.parametrize("breaking", ["changed", "gone", "added", "skipped"])
def test_the_audit_finds_a_row_that_is_not_the_usage_tables(
    shop: Shop, breaking: str, run_billing: Callable[..., tuple[int, str]]
) -> None:
    shop.load()
    lately = datetime.now(UTC).date().replace(day=1)
    shop.load(subscriptions=[s.replace("2026-07-01", "2020-07-01") for s in REFERENCE["subscriptions"]])
    shop.ingest(f"e1,{lately}T00:00:00Z,a1,render,1,,", now=f"{lately}T00:00:01Z")
    status, _ = run_billing(shop, "usage", "days", "--team", "t1", "--to", str(lately))
    assert (status, run_billing(shop, "audit", "usage-days")[0]) == (0, 0)
    if breaking == "skipped":
        shop.ingest(f"e2,{lately}T00:00:00Z,a1,render,1,,", now=f"{lately}T00:00:02Z")
    with shop.home.database.write() as connection:
        if breaking == "changed":
            connection.execute(update(usage_months).values(quantities=store._written([1] * 31)))
        elif breaking == "gone":
            connection.execute(delete(usage_months))
        elif breaking == "added":
            row = {"team_id": "t2", "first_day": (lately - date(1970, 1, 1)).days, "api": "x", "app_id": ""}
            connection.execute(usage_months.insert().values(**row, quantities="[1]"))
        else:
            connection.execute(update(usage_views).values(through_batch=2))
    status, said = run_billing(shop, "audit", "usage-days")
    assert status == 1 and "1 rows differ" in said and "--rebuild" in said
    assert run_billing(shop, "usage", "days", "--rebuild")[0] == 0
    assert run_billing(shop, "audit", "usage-days")[0] == 0


def test_the_command_tells_days_as_csv(shop: Shop, run_billing: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    """``billing usage days``: what is new is there at once; a team that is not known, and no team, are refused."""
    shop.load(subscriptions=[s.replace("2026-07-01", "2020-07-01") for s in REFERENCE["subscriptions"]])
    today = datetime.now(UTC).date()
    us = parse_instant_us(f"{today}T00:00:00Z") - DAY_US
    yesterday = date.fromordinal(date(1970, 1, 1).toordinal() + us // DAY_US)
    shop.ingest(f"e1,{yesterday}T10:00:00Z,a1,render,1.50,,", now=f"{today}T00:00:00Z")
    status, said = run_billing(shop, "usage", "days", "--team", "t1")
    assert status == 0
    assert said.splitlines()[-2:] == ["day,api,app_id,quantity", f"{yesterday},render,a1,1.5"]
    assert f"Complete through: {today}T00:00:00Z; through batch 1." in said
    assert (
        run_billing(shop, "usage", "days", "--team", "t1", "--api", "browse")[1].splitlines()[-1].endswith("quantity")
    )
    assert "no team 'nobody'" in run_billing(shop, "usage", "days", "--team", "nobody")[1]
    assert run_billing(shop, "usage", "days")[0] == 2
