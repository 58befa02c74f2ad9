"""Close: what is due, with what was pinned, once (rules 3.4 to 3.8, 6.1 to 6.3, 6.7)."""

from __future__ import annotations

from shutil import copytree, rmtree
from threading import Event, Thread

import pytest
from sqlalchemy import select

from billing.core.errors import ConservationBroken, DataRefused, SourceUnavailable
from billing.steps.close import close, issue, open_close, pending_shards, rate_shards
from billing.steps.homes import configure
from billing.steps.status import status
from billing.store import ledger
from billing.store.shards import SHARDS, shard_of
from billing.store.tables import closes

from .small_world import REFERENCE, Shop, instant

ALL_SHARDS = list(range(SHARDS))


def july(shop: Shop) -> None:
    """Usage of July that both teams pay for, complete through 2 August."""
    shop.load()
    shop.ingest(
        "e1,2026-07-05T00:00:00Z,a1,render,65,,", "e2,2026-07-06T00:00:00Z,a2,translate,3,,", "bad", now="08-02"
    )


def numbers(shop: Shop) -> list[str]:
    return [row[0] for row in shop.export()["invoices"]]


# --- what is due -----------------------------------------------------------------------------------------------------


def test_a_cycle_closes_when_its_end_and_the_lag_have_passed(shop: Shop) -> None:
    """Rule 3.4: "end + close_lag <= as_of"."""
    july(shop)
    assert shop.close("2026-08-01T00:59:59.999999Z").cycles == 0
    done = shop.close("2026-08-01T01:00:00Z")
    assert (done.cycles, done.invoices) == (2, ("INV-2026-000001", "INV-2026-000002"))
    assert shop.close("2026-08-01T01:00:00Z").cycles == 0, "once"


def test_the_lag_is_configurable(shop: Shop) -> None:
    july(shop)
    configure(shop.home, "close_lag_seconds", 0)
    assert shop.close("08-01").cycles == 2


def test_an_earlier_as_of_than_the_last_is_refused(shop: Shop) -> None:
    july(shop)
    shop.close("08-02")
    with pytest.raises(
        DataRefused, match=r"last close was as of 2026-08-02T00:00:00Z.*earlier one is refused \(rule 3.4\)"
    ):
        shop.close("2026-08-01T23:59:59.999999Z")
    assert shop.close("08-02").cycles == 0, "the same one is not earlier"


def test_a_close_waits_for_usage_to_be_complete_and_says_what_is_missing(shop: Shop) -> None:
    july(shop)
    first = shop.close("09-02")
    assert (first.cycles, first.waiting.cycles) == (2, 2), "July closes; August waits"
    assert first.waiting.complete_through == instant("08-02")
    shop.ingest(now="2026-09-01T00:59:59.999999Z")
    assert shop.close("09-02").waiting.cycles == 2, "complete through its end and the lag, not a microsecond less"
    shop.ingest(now="2026-09-01T01:00:00Z")
    last = shop.close("09-02")
    assert (last.cycles, last.waiting.cycles) == (2, 0)


def test_nothing_closes_before_anything_was_ingested(shop: Shop) -> None:
    shop.load()
    done = shop.close("2027-01-01T00:00:00Z")
    assert (done.cycles, done.waiting.cycles, done.waiting.complete_through) == (0, 10, None)


def test_a_close_of_an_empty_home_does_nothing(shop: Shop) -> None:
    done = shop.close("08-02")
    assert (done.cycles, done.invoices, done.parked, done.waiting.cycles) == (0, (), (), 0)


def test_all_cycles_that_are_due_close_in_order(shop: Shop) -> None:
    july(shop)
    shop.ingest("e9,2026-10-05T00:00:00Z,a1,render,20,,", now="2027-01-02T00:00:00Z")
    done = shop.close("2027-01-02T00:00:00Z")
    assert done.cycles == 12
    assert done.invoices == ("INV-2027-000001", "INV-2027-000002"), "by the year of issue, in the order of cycle end"
    carried = [row[3:5] + row[6:] for row in shop.export()["carry"] if row[0] == "t1"]
    assert carried == [
        ("0", "65", "3", "5"),
        *[("5", "0", "0", "5")] * 2,
        ("5", "20", "1", "5"),
        *[("5", "0", "0", "5")] * 2,
    ]


def test_a_carry_over_survives_24_empty_cycles(shop: Shop) -> None:
    july(shop)
    shop.ingest("e9,2028-08-05T00:00:00Z,a1,render,15,,", now="2028-09-02T00:00:00Z")
    shop.close("2028-09-02T00:00:00Z")
    last = [row for row in shop.export()["carry"] if row[0] == "t1"][-1]
    assert last[1:] == ("2028-08-01T00:00:00Z", "render", "5", "15", "0", "1", "0")


# --- what is pinned --------------------------------------------------------------------------------------------------


def test_usage_that_arrives_between_pin_and_rating_is_not_seen(shop: Shop) -> None:
    """Rules 3.4, 3.7: a close pins a batch number: everything up to it, nothing after."""
    july(shop)
    close_no, _ = open_close(shop.home, instant("08-02"))
    shop.ingest("more,2026-07-07T00:00:00Z,a1,render,100,,", now="08-02")
    rate_shards(shop.home, close_no, ALL_SHARDS[:4])
    shop.ingest("yet,2026-07-07T00:00:00Z,a2,translate,100,,", now="08-02")
    rate_shards(shop.home, close_no, ALL_SHARDS[4:])
    issue(shop.home, close_no)
    assert sorted(row[4] for row in shop.export()["carry"]) == ["3", "65"]
    shop.ingest(now="09-02")
    shop.close("09-02")
    late = {row[0]: row[4:6] for row in shop.export()["carry"] if row[1] == "2026-08-01T00:00:00Z"}
    assert late == {"t1": ("100", "100"), "t2": ("100", "100")}


def test_reference_data_that_come_between_pin_and_rating_are_not_seen(shop: Shop) -> None:
    july(shop)
    close_no, _ = open_close(shop.home, instant("08-02"))
    dear = [line.replace("1.15", "9").replace("2.4", "9") for line in REFERENCE["unit_prices"]]
    shop.load(unit_prices=dear, seller=[REFERENCE["seller"][0].replace("INV", "NEW")])
    rate_shards(shop.home, close_no, ALL_SHARDS)
    assert issue(shop.home, close_no) == ("INV-2026-000001", "INV-2026-000002")
    assert {row[4] for row in shop.export()["invoice_lines"]} == {"1.15", "2.4"}


def test_an_interrupted_close_is_finished_first_with_its_own_pin(shop: Shop) -> None:
    july(shop)
    first, _ = open_close(shop.home, instant("08-02"))
    rate_shards(shop.home, first, ALL_SHARDS[:3])
    shop.ingest("late,2026-07-07T00:00:00Z,a1,render,100,,", now="09-02")
    done = shop.close("09-02")
    assert (done.close_no, done.cycles) == (first + 1, 2)
    exported = shop.export()
    assert [(row[0], row[3][:10], row[6]) for row in exported["invoices"]] == [
        ("INV-2026-000001", "2026-07-01", "2026-08-02"),
        ("INV-2026-000002", "2026-07-01", "2026-08-02"),
        ("INV-2026-000003", "2026-08-01", "2026-09-02"),
    ]
    assert [row[4:6] for row in exported["carry"] if row[0] == "t1"] == [("65", "0"), ("100", "100")]


def test_an_interrupted_close_is_found_done_by_a_second_run_of_the_same(shop: Shop) -> None:
    july(shop)
    first, _ = open_close(shop.home, instant("08-02"))
    done = shop.close("08-02")
    assert (done.close_no, done.cycles, len(done.invoices)) == (first, 2, 2)


def test_an_earlier_as_of_finishes_an_interrupted_close_and_is_then_refused(shop: Shop) -> None:
    july(shop)
    open_close(shop.home, instant("08-02"))
    with pytest.raises(DataRefused, match="earlier"):
        shop.close("08-01")
    assert len(numbers(shop)) == 2


def test_issuing_before_all_is_rated_is_refused(shop: Shop) -> None:
    july(shop)
    close_no, _ = open_close(shop.home, instant("08-02"))
    rate_shards(shop.home, close_no, ALL_SHARDS[1:])
    with pytest.raises(DataRefused, match=r"cannot issue yet: shards \[0\] are not rated"):
        issue(shop.home, close_no)
    assert numbers(shop) == []
    assert shop.export()["cycles"] == [], "rated is not closed (rule 6.7)"


def test_every_piece_of_a_close_done_twice_is_done_once(shop: Shop) -> None:
    july(shop)
    close_no, _ = open_close(shop.home, instant("08-02"))
    assert open_close(shop.home, instant("08-02"))[0] == close_no
    assert rate_shards(shop.home, close_no, ALL_SHARDS) == 2
    assert rate_shards(shop.home, close_no, ALL_SHARDS) == 0
    assert issue(shop.home, close_no) == issue(shop.home, close_no) == ("INV-2026-000001", "INV-2026-000002")
    assert status(shop.home).log_rows == 3


def test_runs_that_rate_overlapping_shards_leave_none_out(shop: Shop) -> None:
    """Two runs of one close may have grouped its shards differently: who comes second rates what is left."""
    july(shop)
    close_no, _ = open_close(shop.home, instant("08-02"))
    mine, others = shard_of("t1"), shard_of("t2")
    assert mine != others
    home, reading = shop.home, Event()

    def rate_all() -> None:
        reading.set()
        rate_shards(home, close_no, ALL_SHARDS)

    thread = Thread(target=rate_all)
    with home.database.exclusive("rating") as connection:
        thread.start()
        reading.wait()
        # While the other waits for its turn, shard by shard is done by this run: here one without any team.
        empty = next(shard for shard in ALL_SHARDS if shard not in (mine, others))
        ledger.finish_shards(connection, close_no, [{"shard": empty, "teams": 0, "cycles": 0}])
        thread.join(1.0)
    thread.join()
    assert [row[0] for row in shop.export()["invoices"]] == []
    assert len(issue(home, close_no)) == 2


def test_closes_at_once_make_one_set_of_invoices(shop: Shop) -> None:
    """lago-api #4795, #5523."""
    july(shop)
    done, failed = [], []

    def run() -> None:
        try:
            done.append(close(shop.home, instant("08-02")))
        except Exception as error:
            failed.append(error)

    threads = [Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert numbers(shop) == ["INV-2026-000001", "INV-2026-000002"]
    assert len(shop.export()["cycles"]) == 2


def test_groups_of_shards_do_not_grow_with_teams(shop: Shop) -> None:
    july(shop)
    close_no, _ = open_close(shop.home, instant("08-02"))
    assert pending_shards(shop.home, close_no) == [ALL_SHARDS]
    for wanted in (2, 3, 8, 50):
        groups = pending_shards(shop.home, close_no, at_least=wanted)
        assert len(groups) == min(wanted, SHARDS)
        assert sorted(shard for group in groups for shard in group) == ALL_SHARDS
    assert len(pending_shards(shop.home, close_no, rows_at_once=1)) == 2, "about a row each; the rest goes with them"
    rate_shards(shop.home, close_no, [1, 2])
    assert sorted(shard for group in pending_shards(shop.home, close_no) for shard in group) == [0, 3, 4, 5, 6, 7]
    rate_shards(shop.home, close_no, ALL_SHARDS)
    assert pending_shards(shop.home, close_no, at_least=8) == []


def test_a_close_beside_another_databases_lake_is_refused(shop: Shop) -> None:
    """It would bill nothing, for ever."""
    july(shop)
    wrong = type(shop.home).at(shop.folder / "another-home", shop.home.database.url)
    wrong.usage.lake.create()
    with pytest.raises(ConservationBroken, match="the right home"):
        close(wrong, instant("08-02"))
    wrong.close()
    assert shop.close("08-02").cycles == 2


def test_a_lake_that_lags_behind_is_not_rated_and_tried_again(shop: Shop) -> None:
    """Another machine's view of shared storage, without the last batch that is pinned: half of it would be billed."""
    july(shop)
    lake, older, newer = (shop.home.folder / "lake", shop.folder / "older", shop.folder / "newer")
    copytree(lake, older)
    shop.ingest("e3,2026-07-07T00:00:00Z,a2,translate,4,,", now="08-02")
    close_no, _ = open_close(shop.home, instant("08-02"))
    lake.rename(newer)
    older.rename(lake)
    behind = type(shop.home).at(shop.home.folder, shop.home.database.url)
    with pytest.raises(SourceUnavailable, match="does not hold batch 2 here"):
        rate_shards(behind, close_no, ALL_SHARDS)
    behind.close()
    rmtree(lake)
    newer.rename(lake)
    assert pending_shards(shop.home, close_no) == [ALL_SHARDS], "nothing was written"
    assert shop.close("08-02").invoices == ("INV-2026-000001", "INV-2026-000002")
    units = [row for row in shop.export()["invoice_lines"] if "translate" in row]
    assert units and units[0][3] == "7", units


# --- parked (rule 3.8) -----------------------------------------------------------------------------------------------

NO_TAX = ["FR,2000-01-01,20"]
GERMAN = {"customers": [REFERENCE["customers"][0], REFERENCE["customers"][1].replace("DE136695976", "")]}


def parked_july(shop: Shop) -> None:
    """Team t2 buys without a VAT id where no tax rate is known."""
    shop.load(tax_rates=NO_TAX, **GERMAN)
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", "e2,2026-07-06T00:00:00Z,a2,translate,3,,", now="08-02")


def test_a_parked_team_keeps_its_state_uses_no_number_and_stops_nobody(shop: Shop) -> None:
    parked_july(shop)
    done = shop.close("08-02")
    assert (done.cycles, done.invoices) == (1, ("INV-2026-000001",))
    assert [(p.team_id, p.reason.value) for p in done.parked] == [("t2", "no_tax_rate")]
    exported = shop.export()
    assert exported["parked"] == [("t2", "2026-07-01T00:00:00Z", "no_tax_rate", "")]
    assert {row[0] for table in ("cycles", "carry", "charges") for row in exported[table]} == {"t1"}


def test_the_next_close_tries_a_parked_team_again(shop: Shop) -> None:
    parked_july(shop)
    shop.close("08-02")
    assert [p.team_id for p in shop.close("08-03").parked] == ["t2"], "still"
    shop.load(**GERMAN)
    done = shop.close("08-03")
    assert (done.cycles, done.invoices, done.parked) == (1, ("INV-2026-000002",), ())
    assert shop.export()["parked"] == []


def test_cycles_after_a_parked_one_wait_for_it(shop: Shop) -> None:
    parked_july(shop)
    shop.ingest("e3,2026-08-06T00:00:00Z,a2,render,400,,", now="09-02")
    assert shop.close("09-02").cycles == 2, "t1's two; of t2 not even August, which has no invoice"
    shop.load(**GERMAN)
    assert shop.close("09-02").cycles == 2
    august = [row for row in shop.export()["charges"] if row[0] == "t2" and row[3] != "payg"]
    assert [(row[3], row[8], row[9]) for row in august] == [("flex", "10", "10")]


def test_a_team_that_is_not_due_at_a_close_is_not_parked_by_it(shop: Shop) -> None:
    """`parked` says who is parked now: at the latest close. A longer lag makes its cycle not due."""
    parked_july(shop)
    shop.close("08-02")
    configure(shop.home, "close_lag_seconds", 30 * 86_400)
    done = shop.close("08-03")
    assert (done.cycles, done.parked, shop.export()["parked"]) == (0, (), [])


def test_the_first_reason_is_given(shop: Shop) -> None:
    apis = [*REFERENCE["apis"], "new,,unit,rated"]
    shop.load(tax_rates=NO_TAX, apis=apis, **GERMAN)
    shop.ingest("e2,2026-07-06T00:00:00Z,a2,translate,3,,", "e3,2026-07-06T00:00:00Z,a2,new,3,,", now="08-02")
    assert [p.reason.value for p in shop.close("08-02").parked] == ["no_unit_size"]


def test_a_configured_bound_parks_too(shop: Shop) -> None:
    july(shop)
    configure(shop.home, "max_units_per_cycle", 2)
    done = shop.close("08-02")
    assert sorted((p.team_id, p.reason.value) for p in done.parked) == [
        ("t1", "bound_exceeded"),
        ("t2", "bound_exceeded"),
    ]
    configure(shop.home, "max_units_per_cycle", 3)
    assert shop.close("08-02").cycles == 2


# --- numbers and the log ---------------------------------------------------------------------------------------------


def test_numbers_go_by_cycle_end_then_team_then_subscription(shop: Shop) -> None:
    """Rule 6.3, by code point whatever the database's collation."""
    teams = ["Z", "a", "é", "z", "_"]
    extra = {
        "teams": [f"{team},c1," for team in teams],
        "hubs": [f"h{team}," for team in teams],
        "hub_teams": [f"h{team},{team},2020-01-01T00:00:00Z," for team in teams],
        "apps": [f"a{team}," for team in teams],
        "app_hubs": [f"a{team},h{team},2020-01-01T00:00:00Z," for team in teams],
        "subscriptions": [f"p{team},{team},payg,2026-07-01T00:00:00Z,UTC,,EUR," for team in teams],
    }
    shop.load(**{table: [*REFERENCE[table], *lines] for table, lines in extra.items()})
    shop.ingest(
        *(f"e{team},2026-07-05T00:00:00Z,a{team},translate,1,," for team in teams),
        "e1,2026-08-05T00:00:00Z,aZ,translate,1,,",
        now="09-02",
    )
    shop.close("09-02")
    assert [row[1] for row in shop.export()["invoices"]] == [*sorted(teams), "Z"]


def test_the_issue_date_is_the_sellers_local_date(shop: Shop) -> None:
    july(shop)
    shop.close("2026-08-02T22:30:00Z")
    assert {row[6] for row in shop.export()["invoices"]} == {"2026-08-03"}, "half past midnight in Paris"


def test_every_close_is_in_the_log_with_what_it_pinned(shop: Shop) -> None:
    july(shop)
    shop.close("08-02")
    found = status(shop.home)
    assert (found.log_rows, found.last_close, found.last_close_state) == (3, "2026-08-02T00:00:00Z", "issued")
    with shop.home.database.read() as connection:
        row = connection.execute(select(closes)).one()
    assert (row.pinned_batch, row.pinned_load, row.state) == (1, 1, "issued")
    assert row.tzdata
    assert row.version
