"""Ingest: every record counted once, wherever and whenever it comes again (section 2 of the rules)."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import select

from billing.core.errors import ConservationBroken, DataRefused
from billing.steps.ingest import SourceFile, ingest
from billing.steps.quarantine import list_quarantine
from billing.steps.status import status
from billing.store.tables import batch_files, batches, used_apis

from .small_world import REFERENCE, USAGE_HEADER, Shop, instant

EVENT = "e1,2026-07-05T10:00:00Z,a1,render,0.70,,"
SAME = "e1,2026-07-05T12:00:00+02:00,a1,render,0.7,,"
OTHER = "e1,2026-07-05T10:00:00Z,a1,render,0.8,,"


def usage_of(shop: Shop, as_of: str = "08-03") -> dict[tuple[str, str], str]:
    """Close July and say what was used, by team and API."""
    shop.close(as_of)
    return {(row[0], row[2]): row[4] for row in shop.export()["carry"] if row[1] == "2026-07-01T00:00:00Z"}


def counts(summary: object) -> tuple[int, int, int, int]:
    return tuple(getattr(summary, name) for name in ("records", "accepted", "duplicates", "quarantined"))  # type: ignore[return-value]


# --- the same id again (rule 2.2) ------------------------------------------------------------------------------------


def test_the_same_event_again_in_the_same_file(shop: Shop) -> None:
    shop.load()
    assert counts(shop.ingest(EVENT, SAME, EVENT, now="08-02")) == (3, 1, 2, 0)
    assert usage_of(shop) == {("t1", "render"): "0.7"}


def test_the_same_event_again_in_another_file_of_one_ingest(shop: Shop) -> None:
    shop.load()
    files = [shop.file([EVENT]), shop.file([SAME, EVENT])]
    assert counts(ingest(shop.home, files, instant("08-02"))) == (3, 1, 2, 0)
    assert [row[1:] for row in shop.export()["rejected"]] == [("2", "duplicate"), ("3", "duplicate")]


def test_the_same_event_again_in_another_run_and_after_its_cycle_is_closed(shop: Shop) -> None:
    shop.load()
    shop.ingest(EVENT, now="08-02")
    assert counts(shop.ingest(SAME, now="08-03")) == (1, 0, 1, 0)
    assert usage_of(shop) == {("t1", "render"): "0.7"}
    assert counts(shop.ingest(SAME, now="08-04")) == (1, 0, 1, 0)


def test_the_same_event_again_after_400_days(shop: Shop) -> None:
    """Whatever its month, and however many batches came between."""
    shop.load()
    shop.ingest(EVENT, now="08-02")
    for month in range(1, 9):
        shop.ingest(f"m{month},2027-0{month}-01T00:00:00Z,a1,render,1,,", now=f"2027-0{month}-02T00:00:00Z")
    again = shop.ingest(SAME, OTHER, now="2027-08-09T00:00:00Z")
    assert (again.duplicates, again.reasons) == (1, {"duplicate": 1, "conflicting_duplicate": 1})


def test_the_same_id_with_other_content_is_quarantined_and_the_first_one_stands(shop: Shop) -> None:
    """flexprice #612."""
    shop.load()
    assert shop.ingest(EVENT, OTHER, now="08-02").reasons == {"conflicting_duplicate": 1}
    assert shop.ingest(OTHER, now="08-02").reasons == {"conflicting_duplicate": 1}
    assert usage_of(shop) == {("t1", "render"): "0.7"}


def test_every_column_is_content(shop: Shop) -> None:
    shop.load()
    shop.ingest("e1,2026-07-05T10:00:00Z,,seats,1,,t1", EVENT.replace("e1", "e2"), now="08-02")
    others = [
        "e1,2026-07-05T10:00:00.000001Z,,seats,1,,t1",
        "e1,2026-07-05T10:00:00Z,a1,seats,1,,",
        "e1,2026-07-05T10:00:00Z,,browse,1,,t1",
        "e1,2026-07-05T10:00:00Z,,seats,1.000001,,t1",
        "e1,2026-07-05T10:00:00Z,,seats,1,,t2",
    ]
    assert shop.ingest(*others, now="08-02").reasons == {"conflicting_duplicate": 5}
    blank = EVENT.replace("e1", "e2") + "t2"
    assert shop.ingest(blank, now="08-02").reasons == {"duplicate": 1}, "a team counts only where the app is blank"


def test_a_rejected_record_claims_no_id(shop: Shop) -> None:
    """A second delivery is one of an *accepted* event: what could not be billed may come again, mended."""
    shop.load()
    assert shop.ingest(EVENT.replace("a1", "ghost"), now="08-02").reasons == {"unattributed_app": 1}
    assert counts(shop.ingest(EVENT, now="08-02")) == (1, 1, 0, 0)
    assert counts(shop.ingest(EVENT.replace("a1", "ghost"), now="08-02")) == (1, 0, 0, 1)


@pytest.mark.parametrize("other", ["e\u0301", "É", "é ", " é", "\u00e9\u200b"])
def test_ids_are_compared_code_point_by_code_point(shop: Shop, other: str) -> None:
    shop.load()
    lines = [f'"{one}",2026-07-05T10:00:00Z,a1,render,1,,' for one in ("é", other)]
    assert counts(shop.ingest(*lines, now="08-02")) == (2, 2, 0, 0)
    assert counts(shop.ingest(*lines, now="08-02")) == (2, 0, 2, 0)


# --- whole or not at all ---------------------------------------------------------------------------------------------

UNREADABLE = {
    "utf8.csv": (USAGE_HEADER + "\ne1,\xff\n").encode("latin-1"),
    "column.csv": b"event_id,occurred_at,app_id,api\n",
    "doubled.csv": (USAGE_HEADER + ",api\n").encode(),
    "empty.csv": b"",
    "not.csv.gz": b"event_id",
    "not.parquet": b"PAR1",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_refused_file_leaves_nothing_behind(shop: Shop, name: str) -> None:
    """Nor do the good files beside it."""
    shop.load()
    before = status(shop.home)
    bad = shop.folder / name
    bad.write_bytes(UNREADABLE[name])
    with pytest.raises(DataRefused, match=name.replace(".", r"\.")):
        ingest(shop.home, [shop.file([EVENT]), SourceFile(path=bad, name=name)], instant("08-02"))
    assert status(shop.home) == before
    assert not shop.home.archive.folder.exists() or not any(shop.home.archive.folder.rglob("*.*"))
    assert shop.ingest(EVENT, now="08-02").batch_no == 1


def test_a_refused_request_takes_nothing_of_an_earlier_one_from_the_archive(shop: Shop) -> None:
    shop.load()
    good = shop.file([EVENT])
    ingest(shop.home, [good], instant("08-02"))
    kept = sorted(shop.home.archive.folder.rglob("*.csv"))
    bad = shop.folder / "bad.csv"
    bad.write_bytes(b"not usage")
    again = SourceFile(path=good.path, name="again.csv")
    with pytest.raises(DataRefused, match=r"bad\.csv"):
        ingest(shop.home, [again, good, SourceFile(path=bad, name="bad.csv")], instant("08-03"))
    assert sorted(shop.home.archive.folder.rglob("*.csv")) == kept
    assert kept[0].read_bytes() == good.path.read_bytes()


def test_a_missing_file_is_named(shop: Shop) -> None:
    shop.load()
    with pytest.raises(DataRefused, match="nowhere.csv: there is no such file"):
        ingest(shop.home, [SourceFile(path=Path("nowhere.csv"), name="nowhere.csv")], instant("08-02"))


def test_nothing_is_ingested_before_there_are_reference_data(shop: Shop) -> None:
    with pytest.raises(DataRefused, match="no reference data yet: run `billing reference load FOLDER`"):
        shop.ingest(EVENT, now="08-02")
    assert status(shop.home).batches == 0


def test_one_bad_row_among_10_000(shop: Shop) -> None:
    """The other 9,999 are billed (lago-api #4772)."""
    shop.load()
    lines = [f"e{n},2026-07-05T10:00:00Z,a1,render,1,," for n in range(10_000)]
    lines[7_000] = "e7000,yesterday,a1,render,1,,"
    assert counts(shop.ingest(*lines, now="08-02", name="july.csv")) == (10_000, 9_999, 0, 1)
    assert shop.export()["rejected"] == [("july.csv", "7002", "bad_occurred_at")]
    (kept,) = list_quarantine(shop.home)
    assert (kept.line, kept.raw) == (7_002, "e7000,yesterday,a1,render,1,,")
    assert usage_of(shop) == {("t1", "render"): "9999"}


def test_an_empty_file_with_its_header_says_that_usage_is_complete(shop: Shop) -> None:
    shop.load()
    assert counts(shop.ingest(now="08-02")) == (0, 0, 0, 0)
    assert status(shop.home).complete_through == "2026-08-02T00:00:00Z"
    assert shop.close("08-02").cycles == 2


def test_rows_in_are_accepted_and_duplicates_and_quarantined(shop: Shop) -> None:
    """Rule 2.4, in the summary, in the database and in the outputs."""
    shop.load()
    summary = shop.ingest(
        EVENT, SAME, OTHER, "", "short", ",,,,,,", "e5,2026-07-05T10:00:00Z,a1,render,1,,,too,many", now="08-02"
    )
    assert summary.records == summary.accepted + summary.duplicates + summary.quarantined == 6
    assert sum(summary.reasons.values()) == summary.records - summary.accepted == len(shop.export()["rejected"])
    with shop.home.database.read() as connection:
        row = connection.execute(select(batches)).one()
        assert counts(row) == counts(summary)
        assert connection.execute(select(batch_files.c.records)).scalar_one() == summary.records


# --- when it counts --------------------------------------------------------------------------------------------------


def test_an_event_at_now_is_in_time_and_one_after_it_is_not(shop: Shop) -> None:
    shop.load()
    lines = ["at,2026-07-05T10:00:00Z,a1,render,1,,", "after,2026-07-05T10:00:00.000001Z,a1,render,1,,"]
    summary = shop.ingest(*lines, now="2026-07-05T10:00:00Z")
    assert (summary.accepted, summary.reasons) == (1, {"occurred_in_future": 1})
    assert shop.ingest(lines[1], now="2026-07-05T10:00:01Z").accepted == 1


CORRECTED = ["e1,2026-07-05T10:00:00Z,a1,render,50,,", "e2,2026-07-05T10:00:00Z,a1,render,-20,e1,"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_order_of_files_decides_nothing(shop: Shop, order: tuple[int, int]) -> None:
    """Within one ingest, records with `corrects` are taken after all others, whichever file they are in."""
    shop.load()
    files = [shop.file([CORRECTED[n]]) for n in order]
    assert counts(ingest(shop.home, files, instant("08-02"))) == (2, 2, 0, 0)
    assert usage_of(shop) == {("t1", "render"): "30"}


def test_of_two_that_claim_one_id_the_first_in_file_order_stands(shop: Shop) -> None:
    shop.load()
    files = [shop.file([OTHER], "first.csv"), shop.file([EVENT], "second.csv")]
    ingest(shop.home, files, instant("08-02"))
    assert shop.export()["rejected"] == [("second.csv", "2", "conflicting_duplicate")]
    assert usage_of(shop) == {("t1", "render"): "0.8"}


def test_any_split_of_the_same_events_gives_the_same_bill(shop: Shop) -> None:
    """Units: "any split of the same accepted events into files, batches and runs between two closes, in any order"."""
    shop.load()
    lines = [
        f"e{n},2026-07-{1 + n % 28:02d}T{n % 24:02d}:00:00Z,a{1 + n % 2},render,{n % 7 + 1}.25,," for n in range(60)
    ]
    pieces = [lines[40:], lines[:13], lines[13:40]]
    shop.ingest(*pieces[0], now="08-01")
    ingest(shop.home, [shop.file(pieces[1]), shop.file(list(reversed(pieces[2])))], instant("08-02"))
    split = usage_of(shop)
    charges = shop.export()["charges"]
    whole = Shop(home=type(shop.home).at(shop.folder / "whole"), folder=shop.folder / "of-whole")
    whole.home.create()
    whole.load()
    whole.ingest(*lines, now="08-02")
    assert usage_of(whole) == split
    assert whole.export()["charges"] == charges
    whole.home.close()


def test_late_usage_is_billed_in_the_first_open_cycle(shop: Shop) -> None:
    """Rule 3.5; the old invoice stays byte for byte."""
    shop.load()
    shop.ingest("e1,2026-07-05T10:00:00Z,a1,render,60,,", now="08-02")
    shop.close("08-02")
    before = shop.export()
    shop.ingest("late,2026-07-05T10:00:00Z,a1,render,60,,", now="09-02")
    shop.close("09-02")
    after = shop.export()
    assert [row for row in after["invoices"] if row[3] == "2026-07-01T00:00:00Z"] == before["invoices"]
    (august,) = [row for row in after["carry"] if row[1] == "2026-08-01T00:00:00Z"]
    assert august[4:6] == ("60", "60")


def test_what_was_accepted_is_remembered_by_api(shop: Shop) -> None:
    shop.load()
    shop.ingest(EVENT, "x,2026-07-05T10:00:00Z,ghost,translate,1,,", now="08-02")
    shop.ingest(EVENT.replace("e1", "e2"), now="08-02")
    with shop.home.database.read() as connection:
        assert [tuple(row) for row in connection.execute(select(used_apis))] == [("render", 1)]


# --- at once, and after an accident ----------------------------------------------------------------------------------


def at_once(shop: Shop, *nows: str) -> list[tuple[int, int, int, int]]:
    """One file of 500 events ingested at once, for each of these instants."""
    shop.load()
    file = shop.file([f"e{n},2026-07-05T10:00:00Z,a1,render,1,," for n in range(500)])
    found = []
    threads = [
        Thread(target=lambda now: found.append(ingest(shop.home, [file], instant(now))), args=(now,)) for now in nows
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(counts(summary) for summary in found)


def test_two_ingests_of_one_file_at_once_count_it_once(shop: Shop) -> None:
    assert at_once(shop, "08-02", "08-03", "08-04") == [(500, 0, 500, 0), (500, 0, 500, 0), (500, 500, 0, 0)]
    assert usage_of(shop) == {("t1", "render"): "500"}


def test_one_request_made_twice_at_once_is_done_once(shop: Shop) -> None:
    """The same files, names and bytes, with the same instants: a retry, which finds its work done."""
    assert at_once(shop, "08-02", "08-02", "08-02") == [(500, 500, 0, 0)] * 3
    assert status(shop.home).batches == 1
    assert usage_of(shop) == {("t1", "render"): "500"}


def test_a_request_made_again_says_what_came_of_it(shop: Shop) -> None:
    shop.load()
    file = shop.file([EVENT, SAME, OTHER, "bad"])
    first = ingest(shop.home, [file], instant("08-02"))
    assert ingest(shop.home, [file], instant("08-02")) == first
    assert first.reasons == {"bad_occurred_at": 1, "duplicate": 1, "conflicting_duplicate": 1}
    assert len(shop.export()["rejected"]) == 3
    renamed = SourceFile(path=file.path, name="renamed.csv")
    assert counts(ingest(shop.home, [renamed], instant("08-02"))) == (4, 0, 2, 2), "another delivery"
    assert counts(ingest(shop.home, [file], instant("08-02"))) == (4, 0, 2, 2), "no retry: another came between"


def test_what_was_quarantined_can_be_ingested_again_once_its_cause_is_mended(shop: Shop) -> None:
    """By the very same command: what it is judged by has changed."""
    shop.load(app_hubs=REFERENCE["app_hubs"][1:])
    file = shop.file([EVENT])
    assert ingest(shop.home, [file], instant("08-02")).reasons == {"unattributed_app": 1}
    assert ingest(shop.home, [file], instant("08-02")).batch_no == 1
    shop.load()
    assert counts(ingest(shop.home, [file], instant("08-02"))) == (1, 1, 0, 0)


def test_a_name_that_is_no_text_is_refused(shop: Shop) -> None:
    """Bytes that are not UTF-8, as a file system may hold them."""
    shop.load()
    path = shop.file([EVENT]).path
    with pytest.raises(DataRefused, match=r"'u\\udcff\.csv': its name is not UTF-8; rename it"):
        ingest(shop.home, [SourceFile(path=path, name="u\udcff.csv")], instant("08-02"))


def test_the_sources_own_bytes_are_kept(shop: Shop) -> None:
    """Architecture: archived under their SHA-256 and named by their batch: what an auditor starts from."""
    shop.load()
    file = shop.file([EVENT])
    ingest(shop.home, [file], instant("08-02"))
    with shop.home.database.read() as connection:
        row = connection.execute(select(batch_files)).one()
    kept = f"{row.sha256[:2]}/{row.sha256}.csv"
    assert shop.home.archive.read(kept, row.sha256) == file.path.read_bytes()


def test_an_ingest_into_a_lake_that_is_not_this_databases_is_refused(shop: Shop) -> None:
    """The right database beside another home's folder: every id would be taken for new."""
    shop.load()
    shop.ingest(EVENT, now="08-02")
    wrong = type(shop.home).at(shop.folder / "another-home", shop.home.database.url)
    wrong.usage.lake.create()
    with pytest.raises(ConservationBroken, match="the right home"):
        ingest(wrong, [shop.file([SAME])], instant("08-02"))
    wrong.close()


def test_a_names_file_is_kept_as_it_was_named(shop: Shop) -> None:
    shop.load()
    name = 'dossier d\'été/usage \U0001f600, "n° 1".csv'
    shop.ingest("bad", now="08-02", name=name)
    assert shop.export()["rejected"] == [(name, "2", "bad_occurred_at")]


def test_unknown_columns_are_warned_of(shop: Shop) -> None:
    shop.load()
    path = shop.folder / "more.csv"
    path.write_text(USAGE_HEADER + ",colour\n" + EVENT + ",red\n")
    summary = ingest(shop.home, [SourceFile(path=path, name="more.csv")], instant("08-02"))
    assert [(w.file, w.column) for w in summary.warnings] == [("more.csv", "colour")]
    assert summary.accepted == 1


def test_attribution_is_decided_when_an_event_is_accepted(shop: Shop) -> None:
    """Rule 1.2: a hub that moves later takes nothing with it that was accepted before."""
    shop.load()
    shop.ingest("e1,2026-07-05T10:00:00Z,a1,render,60,,", now="07-06")
    moved = ["h1,t2,2020-01-01T00:00:00Z,", REFERENCE["hub_teams"][1].replace("h2,t2", "h2,t1")]
    shop.load(hub_teams=moved, allow_removals=True)
    shop.ingest("e2,2026-07-05T10:00:00Z,a1,render,40,,", now="08-02")
    assert usage_of(shop) == {("t1", "render"): "60", ("t2", "render"): "40"}
