"""Corrected deliveries: a file with wrong records replaced by its corrected one, and what was accepted from the wrong
one put right by corrections, never edited (rules 2.2, 2.3).
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from billing.core.errors import DataRefused, NotFound
from billing.core.instants import format_instant
from billing.steps.close import close
from billing.steps.corrections import derived, derived_from
from billing.steps.ingest import SourceFile, ingest
from billing.steps.quarantine import dismiss, list_quarantine, select_records
from billing.steps.replacement import Replacement, replace_file
from billing.steps.replay import replay
from billing.steps.status import status
from billing.store import deliveries
from billing.store.batches import committed
from billing.store.quarantine import Selection
from billing.store.tables import batch_files

from .small_world import REFERENCE, Shop, instant
from .test_replay import BILLED, NEW_APP, another, events, law

RIGHT = "e1,2026-07-05T10:00:00Z,a1,render,65,,"
WRONG = "e2,2026-07-06T10:00:00Z,a1,render,50,,"
MENDED = WRONG.replace("50", "40")
LOST = "e3,2026-07-06T10:00:00Z,ghost,render,7,,"
FOUND = LOST.replace("ghost", "a2")
ANY = select_records(endings=["any"])


def fixed(
    shop: Shop,
    lines: Sequence[str],
    replaces: str = "july.csv",
    *,
    correct: bool = False,
    now: str = "08-03",
    name: str = "july-2.csv",
) -> Replacement:
    """Deliver a corrected file."""
    return replace_file(shop.home, shop.file(lines, name), instant(now), replaces, correct=correct)


def counts(done: Replacement) -> tuple[int, int, int, int]:
    batch = done.batch
    return (batch.records, batch.accepted, batch.duplicates, batch.quarantined)


def sums(shop: Shop) -> dict[str, int]:
    """What is left of every event after its corrections, in whole units of usage, without those of which nothing is."""
    with shop.home.database.read() as connection:
        rows = shop.home.usage.lake.dataset().to_table(filter=committed(connection).filter()).to_pylist()
    found: dict[str, int] = {}
    for row in rows:
        name = row["corrects"] or row["event_id"]
        found[name] = found.get(name, 0) + row["quantity_micro"]
    return {name: micro // 10**6 for name, micro in sorted(found.items()) if micro}


def endings(shop: Shop) -> list[tuple[str, str, str, int | None]]:
    return [(str(q.place), q.reason, q.ending, q.ended_in) for q in list_quarantine(shop.home, ANY)]


# --- what waits is replaced ------------------------------------------------------------------------------------------


def test_what_waits_of_the_wrong_file_ends_replaced(shop: Shop) -> None:
    """One batch: what was right is a duplicate, what was mended is accepted; other files are left alone."""
    shop.load()
    shop.ingest(LOST, now="08-02", name="other.csv")
    shop.ingest(RIGHT, LOST, "bad", now="08-02", name="july.csv")
    done = fixed(shop, [RIGHT, FOUND, "e4,2026-07-07T10:00:00Z,a2,render,1,,"])
    assert counts(done) == (3, 2, 1, 0)
    assert (done.replaced.split(" (")[0], done.ended, done.differences, done.corrections) == ("2:0 july.csv", 2, (), 0)
    assert endings(shop) == [
        ("1:0:2", "unattributed_app", "", None),
        ("2:0:3", "unattributed_app", "replaced", 3),
        ("2:0:4", "bad_occurred_at", "replaced", 3),
    ]
    assert [row for row in shop.export()["rejected"] if row[0] == "july.csv"] == [
        ("july.csv", "3", "unattributed_app"),
        ("july.csv", "4", "bad_occurred_at"),
    ], "what was delivered wrong stays rejected"
    assert replay(shop.home, select_records(batches=[2]), instant("08-03")).selected == 0
    law(shop)


def test_what_a_replay_quarantined_again_is_replaced_too(shop: Shop) -> None:
    """A replay's rows belong to the file that they were delivered in."""
    shop.load(apis=[api for api in REFERENCE["apis"] if not api.startswith("translate")], unit_rates=[], unit_prices=[])
    shop.ingest("e1,2026-07-05T10:00:00Z,ghost,translate,1,,", now="08-02", name="july.csv")
    shop.load()
    assert replay(shop.home, Selection(), instant("08-02")).batch_no == 2
    assert fixed(shop, ["e1,2026-07-05T10:00:00Z,a1,translate,1,,"]).ended == 1
    assert endings(shop) == [
        ("1:0:2", "unknown_api", "quarantined", 2),
        ("2:0:2", "unattributed_app", "replaced", 3),
    ]
    law(shop)


def test_what_was_given_up_stays_given_up(shop: Shop) -> None:
    shop.load()
    shop.ingest(LOST, now="08-02", name="july.csv")
    dismiss(shop.home, Selection(), "test data")
    assert fixed(shop, [RIGHT]).ended == 0
    assert endings(shop) == [("1:0:2", "unattributed_app", "dismissed", None)]


def test_a_replacement_says_nothing_of_completeness_and_keeps_the_source(shop: Shop) -> None:
    """Rule 3.4; and its records count for the source of the file that they replace."""
    shop.load()
    ingest(shop.home, [shop.file([LOST], "july.csv")], instant("07-10"), source="portal")
    fixed(shop, ["e9,2026-07-06T10:00:00Z,phantom,render,7,,"], now="08-20")
    assert status(shop.home).complete_through == "2026-07-10T00:00:00Z"
    (waits,) = list_quarantine(shop.home, select_records(sources=["portal"]))
    assert (str(waits.place), waits.source, waits.event_id) == ("2:0:2", "portal", "e9")


# --- which file ------------------------------------------------------------------------------------------------------


def test_a_file_is_named_or_numbered(shop: Shop) -> None:
    shop.load()
    ingest(shop.home, [shop.file([RIGHT], "a/july.csv"), shop.file([LOST], "b/july.csv")], instant("08-02"))
    assert fixed(shop, [FOUND], "b/july.csv").ended == 1
    assert fixed(shop, [RIGHT], "1:0").replaced.startswith("1:0 a/july.csv (1 records, SHA-256 ")


@pytest.mark.parametrize("text", ["nowhere.csv", "2:0", "1:1", "july.csv", "1:", "99999999999999999999:0"])
def test_a_file_that_was_not_delivered_is_refused_with_what_was(shop: Shop, text: str) -> None:
    shop.load()
    ingest(shop.home, [shop.file([LOST], "usage/july.csv")], instant("08-02"))
    kept = sorted(shop.home.archive.folder.rglob("*.csv"))
    with pytest.raises(NotFound, match=r"There are:\n  1:0 usage/july\.csv \(1 records, SHA-256 "):
        fixed(shop, [FOUND], text)
    assert sorted(shop.home.archive.folder.rglob("*.csv")) == kept
    assert status(shop.home).batches == 1


def test_a_name_that_several_files_have_is_refused_with_them(shop: Shop) -> None:
    shop.load()
    shop.ingest(RIGHT, now="08-02", name="july.csv")
    shop.ingest(LOST, now="08-02", name="july.csv")
    with pytest.raises(DataRefused, match=r"say which by BATCH:FILE:\n  1:0 july\.csv .*\n  2:0 july\.csv "):
        fixed(shop, [FOUND])
    assert fixed(shop, [FOUND], "2:0").ended == 1


def test_a_file_that_came_twice_is_one(shop: Shop) -> None:
    """The same name and bytes; and the corrected file, where it was delivered under the old name before, is not
    taken for the wrong one.
    """
    shop.load()
    for now in ("08-01", "08-02"):
        shop.ingest(LOST, now=now, name="july.csv")
    shop.ingest(FOUND, LOST.replace("e3", "e4"), now="08-02", name="july.csv")
    done = fixed(shop, [FOUND, LOST.replace("e3", "e4")], name="july.csv")
    assert counts(done) == (2, 0, 1, 1)
    assert done.ended == 3, "two of the wrong file, one of the corrected one as it came before"
    assert [q.ending for q in list_quarantine(shop.home, ANY)] == ["replaced", "replaced", "replaced", ""]


def test_a_file_that_cannot_be_read_changes_nothing(shop: Shop) -> None:
    shop.load()
    shop.ingest(LOST, now="08-02", name="july.csv")
    kept = sorted(shop.home.archive.folder.rglob("*.csv"))
    bad = shop.folder / "bad.csv"
    bad.write_bytes(b"not usage")
    with pytest.raises(DataRefused, match=r"bad\.csv"):
        replace_file(shop.home, SourceFile(path=bad, name="bad.csv"), instant("08-03"), "july.csv")
    assert sorted(shop.home.archive.folder.rglob("*.csv")) == kept
    assert endings(shop) == [("1:0:2", "unattributed_app", "", None)]


# --- what was accepted -----------------------------------------------------------------------------------------------


def test_what_was_accepted_otherwise_is_told_and_stands(shop: Shop) -> None:
    """Rule 2.2: the first one stands, until a correction is asked for."""
    shop.load()
    shop.ingest(RIGHT, WRONG, "e5,2026-07-08T10:00:00Z,a2,browse,3,,", now="08-02", name="july.csv")
    done = fixed(shop, [RIGHT, MENDED])
    assert [str(difference) for difference in done.differences] == [
        "e2 (1:0:3), 50 of render at 2026-07-06T10:00:00Z, differs: 40 of render at 2026-07-06T10:00:00Z",
        "e5 (1:0:4), 3 of browse at 2026-07-08T10:00:00Z, is missing",
    ]
    assert done.batch.reasons == {"duplicate": 1, "conflicting_duplicate": 1}
    assert sums(shop) == {"e1": 65, "e2": 50, "e5": 3}
    law(shop)


def test_what_was_accepted_otherwise_is_put_right_on_request(shop: Shop) -> None:
    """A negative event takes back what is left, the corrected record is a new event; both lead to an archived file
    (rule 7.3).
    """
    shop.load()
    shop.ingest(RIGHT, WRONG, "e5,2026-07-08T10:00:00Z,a2,browse,3,,", now="08-02", name="july.csv")
    done = fixed(shop, [RIGHT, MENDED], correct=True)
    assert (done.corrections, counts(done)) == (3, (5, 3, 1, 1))
    assert events(shop) == [
        ("e1", 65_000_000, 1, "july.csv", 2),
        ("e2", 50_000_000, 1, "july.csv", 3),
        ("e2#corrected-1", 40_000_000, 2, "july-2.csv.corrections.jsonl", 3),
        ("e2#taken-back-1", -50_000_000, 2, "july-2.csv.corrections.jsonl", 1),
        ("e5", 3_000_000, 1, "july.csv", 4),
        ("e5#taken-back-1", -3_000_000, 2, "july-2.csv.corrections.jsonl", 2),
    ]
    with shop.home.database.read() as connection:
        row = connection.execute(select(batch_files).where(batch_files.c.name.endswith("corrections.jsonl"))).one()
    kept = shop.home.archive.read(f"{row.sha256[:2]}/{row.sha256}.csv.jsonl", row.sha256)
    assert [json.loads(line)["event_id"] for line in kept.splitlines()] == [
        "e2#taken-back-1",
        "e5#taken-back-1",
        "e2#corrected-1",
    ]
    (mine,) = list_quarantine(shop.home, ANY)
    assert (str(mine.place), mine.reason, mine.ending, mine.ended_in) == (
        "2:1:3",
        "conflicting_duplicate",
        "replaced",
        2,
    )
    assert mine.ended_why == "delivered under a new id by a file of corrections"
    law(shop)


@pytest.mark.parametrize("first", [False, True], ids=["told first", "at once"])
def test_twice_is_once(shop: Shop, first: bool) -> None:
    """Told and then put right, and put right again and again: nothing doubles."""
    shop.load()
    shop.ingest(RIGHT, WRONG, LOST, now="08-02", name="july.csv")
    lines = [RIGHT, MENDED, FOUND]
    fixed(shop, lines, correct=first)
    fixed(shop, lines, correct=True)
    expected = {"e1": 65, "e2#corrected-1": 40, "e3": 7}
    assert sums(shop) == expected
    shop.ingest(now="08-03")
    for name in ("july.csv", "july-2.csv", "1:0", "2:0"):
        done = fixed(shop, lines, name, correct=True)
        assert (done.batch.accepted, done.corrections, done.differences) == (0, 0, ())
    assert sums(shop) == expected
    assert list_quarantine(shop.home) == [], "nobody is left with work that is done"
    law(shop)


def test_the_same_request_again_finds_its_work_done(shop: Shop) -> None:
    shop.load()
    shop.ingest(WRONG, LOST, now="08-02", name="july.csv")
    file = shop.file([MENDED, FOUND], "july-2.csv")
    done = [replace_file(shop.home, file, instant("08-03"), "july.csv", correct=True) for _ in range(2)]
    assert done[0].batch == done[1].batch
    assert (done[1].ended, done[1].corrections, done[1].replaced) == (1, 2, done[0].replaced)
    assert status(shop.home).batches == 2


def test_corrected_once_more(shop: Shop) -> None:
    """Back and forth, away and back: each time what stands is taken back, and ids count on."""
    shop.load()
    shop.ingest(RIGHT, WRONG, now="08-02", name="july.csv")
    fixed(shop, [RIGHT, MENDED], correct=True)
    fixed(shop, [RIGHT, WRONG], "july-2.csv", correct=True, name="july-3.csv")
    assert sums(shop) == {"e1": 65, "e2#corrected-2": 50}
    fixed(shop, [RIGHT], "july.csv", correct=True, name="july-4.csv")
    assert sums(shop) == {"e1": 65}
    fixed(shop, [RIGHT, MENDED, FOUND], "july-4.csv", correct=True, name="july-5.csv")
    assert sums(shop) == {"e1": 65, "e2#corrected-3": 40, "e3": 7}
    fixed(shop, [RIGHT, MENDED], "july.csv", correct=True, name="july-6.csv")
    assert sums(shop) == {"e1": 65, "e2#corrected-3": 40}
    assert [name for name, *_ in events(shop)] == [
        "e1",
        "e2",
        "e2#corrected-1",
        "e2#corrected-2",
        "e2#corrected-3",
        "e2#taken-back-1",
        "e2#taken-back-2",
        "e2#taken-back-3",
        "e3",
        "e3#taken-back-1",
    ]
    law(shop)


def test_a_corrected_record_that_cannot_be_billed_waits_under_its_new_id(shop: Shop) -> None:
    """And is billed by a replay; the wrong one is taken back all the same."""
    shop.load()
    shop.ingest(WRONG, now="08-02", name="july.csv")
    fixed(shop, [MENDED.replace("a1", "new")], correct=True)
    assert sums(shop) == {}
    (waits,) = list_quarantine(shop.home)
    assert (waits.event_id, waits.reason, waits.file) == (
        "e2#corrected-1",
        "unattributed_app",
        "july-2.csv.corrections.jsonl",
    )
    shop.load(**NEW_APP)
    replay(shop.home, Selection(), instant("08-03"))
    assert sums(shop) == {"e2#corrected-1": 40}
    done = fixed(shop, [WRONG], "july.csv", correct=True, name="july-3.csv")
    assert (done.corrections, sums(shop)) == (2, {"e2#corrected-2": 50})
    law(shop)


def test_the_closed_cycle_is_untouched_and_the_next_one_has_late_usage_and_credit(shop: Shop) -> None:
    """Rules 3.5, 4.3: units once charged are not taken back; what was taken back is a credit that usage fills first."""
    shop.load()
    shop.ingest("e2,2026-07-06T10:00:00Z,a1,render,90,,", now="08-02", name="july.csv")
    shop.close("08-02")
    before = shop.export()
    assert fixed(shop, ["e2,2026-07-06T10:00:00Z,a1,render,30,,"], correct=True).corrections == 2
    shop.ingest("e9,2026-08-20T10:00:00Z,a1,render,75,,", now="09-02")
    shop.close("09-02")
    after = shop.export()
    for name in ("cycles", "carry", "charges"):
        assert [row for row in after[name] if row[1] == "2026-07-01T00:00:00Z"] == before[name]
    assert after["invoices"][: len(before["invoices"])] == before["invoices"]
    (august,) = [row for row in after["carry"] if row[1] == "2026-08-01T00:00:00Z"]
    # opening 10, late -90 + 30, then 75: 10 - 90 + 30 + 75 = 25
    assert august == ("t1", "2026-08-01T00:00:00Z", "render", "10", "15", "-60", "1", "5")


def test_an_event_that_was_taken_back_in_part_loses_only_what_is_left(shop: Shop) -> None:
    """Rule 2.3: all corrections together take back no more than was used. One that came in another file is named."""
    shop.load()
    shop.ingest(WRONG, now="08-02", name="july.csv")
    shop.ingest("c1,2026-07-06T10:00:00Z,a1,render,-20,e2,", now="08-02", name="corrections.csv")
    done = fixed(shop, [MENDED], correct=True)
    (difference,) = done.differences
    assert difference.left_micro == 30_000_000
    assert (
        difference.note == "a correction that came in another file took back part of it and counts no more: c1 (2:0:2)"
    )
    assert ("e2#taken-back-1", -30_000_000) in [event[:2] for event in events(shop)]
    assert sums(shop) == {"e2#corrected-1": 40}


def test_an_event_that_was_taken_back_whole_needs_nothing(shop: Shop) -> None:
    shop.load()
    shop.ingest(WRONG, now="08-02", name="july.csv")
    shop.ingest("c1,2026-07-06T10:00:00Z,a1,render,-50,e2,", now="08-02", name="corrections.csv")
    done = fixed(shop, [RIGHT], correct=True)
    assert (done.differences, done.corrections) == ((), 0)
    assert fixed(shop, [RIGHT, MENDED], "july.csv", correct=True, name="july-3.csv").corrections == 1
    assert sums(shop) == {"e1": 65, "e2#corrected-1": 40}


CORRECTION = "c1,2026-07-06T10:00:00Z,a1,render,-20,e2,"


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ([WRONG, CORRECTION], {"e2": 30}),
        ([MENDED, CORRECTION], {"e2#corrected-1": 20}),
        ([WRONG], {"e2#corrected-1": 50}),
        ([WRONG, CORRECTION.replace("-20", "-5")], {"e2#corrected-1": 45}),
        ([WRONG, CORRECTION, CORRECTION.replace("c1", "c2")], {"e2": 10}),
        ([MENDED, CORRECTION, CORRECTION.replace("c1", "c2")], {}),
        ([CORRECTION], {}),
        ([WRONG, CORRECTION.replace("-20,e2", "20,")], {"c1#corrected-1": 20, "e2#corrected-1": 50}),
        ([WRONG.replace("50,,", "-50,c1,"), CORRECTION.replace("-20,e2", "60,")], {"c1#corrected-1": 10}),
    ],
    ids=str,
)
def test_an_event_and_its_corrections_go_together(shop: Shop, lines: list[str], left: dict[str, int]) -> None:
    """As if the corrected file had been the first one; a correction itself cannot be corrected (rule 2.3)."""
    shop.load()
    shop.ingest(WRONG, CORRECTION, now="08-02", name="july.csv")
    fixed(shop, lines, correct=True)
    assert sums(shop) == left
    law(shop)
    fixed(shop, lines, correct=True, now="08-04")
    assert sums(shop) == left


def test_a_new_correction_of_a_corrected_event_names_its_new_id(shop: Shop) -> None:
    shop.load()
    shop.ingest(WRONG, now="08-02", name="july.csv")
    fixed(shop, [MENDED], correct=True)
    fixed(shop, [MENDED, CORRECTION], "july.csv", correct=True, name="july-3.csv")
    assert sums(shop) == {"e2#corrected-1": 20}
    fixed(shop, [MENDED, CORRECTION], "july.csv", correct=True, name="july-3.csv", now="08-09")
    assert sums(shop) == {"e2#corrected-1": 20}
    law(shop)


def test_a_correction_of_an_event_of_another_file_stays_and_says_why(shop: Shop) -> None:
    shop.load()
    shop.ingest(WRONG, now="08-02", name="usage.csv")
    shop.ingest(CORRECTION, RIGHT, now="08-02", name="july.csv")
    done = fixed(shop, [RIGHT, CORRECTION.replace("-20", "-5")], correct=True)
    (difference,) = done.differences
    assert difference.old.event_id == "c1"
    assert "a correction cannot be taken back" in difference.why_left
    assert (done.corrections, sums(shop)) == (0, {"e1": 65, "e2": 30})


def test_an_event_of_another_file_stays_that_files(shop: Shop) -> None:
    """The same id, accepted from a file that is not replaced: the first one stands (rule 2.2), and its file has to be
    named to change it.
    """
    shop.load()
    shop.ingest(WRONG, now="08-02", name="june.csv")
    shop.ingest(MENDED, RIGHT, now="08-02", name="july.csv")
    done = fixed(shop, [MENDED.replace("40", "45"), RIGHT], correct=True)
    assert (done.differences, done.corrections, done.batch.reasons) == (
        (),
        0,
        {"duplicate": 1, "conflicting_duplicate": 1},
    )
    assert sums(shop) == {"e1": 65, "e2": 50}


def test_a_replayed_event_belongs_to_the_file_it_was_delivered_in(shop: Shop) -> None:
    shop.load()
    shop.ingest(WRONG.replace("a1", "new"), now="08-02", name="july.csv")
    shop.load(**NEW_APP)
    replay(shop.home, Selection(), instant("08-02"))
    assert fixed(shop, [MENDED.replace("a1", "new")], correct=True).corrections == 2
    assert sums(shop) == {"e2#corrected-1": 40}


def test_usage_of_a_capacity_is_given_back(shop: Shop) -> None:
    """Rule 5.6; such usage names its team itself, and so do its corrections."""
    shop.load()
    shop.ingest(
        "s1,2026-07-06T10:00:00Z,,seats,4,,t1", "s2,2026-07-06T10:00:00Z,,seats,1,,t2", now="08-02", name="july.csv"
    )
    assert shop.balances("08-02")["s1"] == "1"
    done = fixed(shop, ["s1,2026-07-06T10:00:00Z,,seats,3,,t1", "s2,2026-07-06T10:00:00Z,,seats,1,,t1"], correct=True)
    assert (done.corrections, done.batch.quarantined) == (4, 2)
    assert shop.balances("08-03")["s1"] == "1"
    assert sums(shop) == {"s1#corrected-1": 3, "s2#corrected-1": 1}


@pytest.mark.parametrize("taken", ["e2#taken-back-1", "e2#corrected-1"])
@pytest.mark.parametrize("where", ["accepted", "in the file"])
def test_an_id_that_a_source_has_used_is_not_taken_again(shop: Shop, taken: str, where: str) -> None:
    """Nothing is counted twice and nothing dropped: the delivery is refused, and leaves nothing behind."""
    shop.load()
    squatter = f"{taken},2026-07-05T10:00:00Z,a1,browse,1,,"
    shop.ingest(*([squatter] if where == "accepted" else []), RIGHT, now="08-01", name="other.csv")
    shop.ingest(WRONG, now="08-02", name="july.csv")
    files = sorted(shop.home.archive.folder.rglob("*.*"))
    with pytest.raises(DataRefused, match=f"ids that a source has used already, '{taken}' the first"):
        fixed(shop, [MENDED, *([squatter] if where == "in the file" else [])], correct=True)
    assert sorted(shop.home.archive.folder.rglob("*.*")) == files
    assert status(shop.home).batches == 2


def test_what_cannot_be_taken_back_is_refused_whole(shop: Shop) -> None:
    """An event of an API that is known no more: its correction would wait, its corrected record be billed beside it."""
    shop.load()
    shop.ingest("e2,2026-07-06T10:00:00Z,a1,browse,5,,", now="08-02", name="july.csv")
    shop.close("08-02")
    shop.load(apis=[api for api in REFERENCE["apis"] if not api.startswith("browse")], allow_removals=True)
    files = sorted(shop.home.archive.folder.rglob("*.*"))
    with pytest.raises(DataRefused, match="1 events cannot be taken back, 'e2' .* refused as unknown_api"):
        fixed(shop, [MENDED], correct=True)
    assert sorted(shop.home.archive.folder.rglob("*.*")) == files
    assert sums(shop) == {"e2": 5}


@pytest.mark.parametrize("event_id", ["e", "e#corrected-1", "#", "a\nb#taken-back-2", "é\U0001f600"])
@pytest.mark.parametrize("role", ["corrected", "taken-back"])
def test_a_derived_id_says_what_it_was_made_of(event_id: str, role: str) -> None:
    assert derived_from(derived(event_id, role, 12)) == (event_id, role, 12)


@pytest.mark.parametrize("event_id", ["e#corrected-1", 'é \U0001f600,"x"', "e#taken-back-1"])
def test_ids_of_any_kind_can_be_corrected(shop: Shop, event_id: str) -> None:
    shop.load()
    cell = '"' + event_id.replace('"', '""') + '"'
    shop.ingest(f"{cell},2026-07-06T10:00:00Z,a1,render,50,,", now="08-02", name="july.csv")
    for number, quantity in ((2, 40), (3, 45)):
        fixed(
            shop,
            [f"{cell},2026-07-06T10:00:00Z,a1,render,{quantity},,"],
            "july.csv",
            correct=True,
            name=f"{number}.csv",
        )
    assert sums(shop) == {f"{event_id}#corrected-2": 45}


# --- as if it had been right from the start --------------------------------------------------------------------------


def random_file(rng: random.Random) -> list[str]:
    """Usage of July with corrections in the same file, each event taken back by no more than it has."""
    lines, begin = [], instant("07-01")
    for number in range(25):
        at = format_instant(begin + timedelta(hours=rng.randrange(24 * 31)))
        app, team = rng.choice([("a1", ""), ("a2", ""), ("", "t2"), ("ghost", "")])
        api, quantity = rng.choice(["render", "translate", "browse", "seats"]), rng.randrange(4, 60)
        lines.append(f"e{number},{at},{app},{api},{quantity},,{team}")
        lines += [
            f"c{number}-{piece},{at},{app},{api},-{rng.randrange(1, quantity // 2)},e{number},{team}"
            for piece in range(rng.choice((0, 0, 1, 2)))
        ]
    rng.shuffle(lines)
    return lines


def spoiled(rng: random.Random, right: list[str]) -> list[str]:
    """The file as it came wrong: records missing, with other quantities, apps, instants or kinds, in other orders."""
    lines = []
    for line in right:
        cells = line.split(",")
        match rng.randrange(10):
            case 0:
                continue
            case 1 | 2:
                cells[4] = ("-" if cells[5] else "") + str(rng.randrange(1, 4 if cells[5] else 60))
            case 3 if cells[2] and not cells[5]:
                cells[2] = rng.choice(["a1", "a2", "ghost"])
            case 4 if not cells[5]:
                cells[1] = format_instant(instant("07-01") + timedelta(hours=rng.randrange(24 * 31)))
            case 5 if cells[5]:
                cells[4:6] = ["3", ""]
            case _:
                pass
        lines.append(",".join(cells))
    lines += [f"x{n},2026-07-03T00:00:00Z,a1,render,{rng.randrange(1, 50)},," for n in range(rng.randrange(3))]
    rng.shuffle(lines)
    return lines


@pytest.mark.parametrize("seed", range(12))
def test_delivered_wrong_then_corrected_is_delivered_right(shop: Shop, seed: int) -> None:
    """Within open cycles, however often it was corrected: the same cycles, carry-over, charges, invoices and lines."""
    rng = random.Random(seed)
    right = random_file(rng)
    shop.load()
    shop.ingest(*spoiled(rng, right), now="08-02", name="july.csv")
    for number in range(rng.randrange(3)):
        fixed(shop, spoiled(rng, right), "july.csv", correct=rng.random() < 0.7, name=f"{number}.csv")
        law(shop)
    done = fixed(shop, right, "july.csv", correct=True, name="right.csv")
    assert all(difference.why_left == "" for difference in done.differences)
    law(shop)
    again = fixed(shop, right, "july.csv", correct=True, name="right.csv", now="08-04")
    assert (again.batch.accepted, list(again.differences)) == (0, [])
    assert {q.reason for q in list_quarantine(shop.home)} <= {"unattributed_app", "bad_correction"}
    shop.ingest(now="08-05")
    close(shop.home, instant("08-05"))
    with another(shop, "right") as other:
        other.load()
        other.ingest(*right, now="08-05", name="july.csv")
        close(other.home, instant("08-05"))
        expected, found = other.export(), shop.export()
    assert expected["charges"]
    for name in BILLED:
        assert telling(found[name]) == telling(expected[name]), name


def telling(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Without the carry-over of an API whose usage was all taken back: it says that nothing was used."""
    return [row for row in rows if set(row[3:]) != {"0"}]


def test_every_file_leads_to_its_first_delivery(shop: Shop) -> None:
    shop.load()
    shop.ingest(WRONG, LOST.replace("ghost", "new"), now="08-02", name="july.csv")
    shop.load(**NEW_APP)
    replay(shop.home, Selection(), instant("08-02"))
    fixed(shop, [MENDED], correct=True)
    with shop.home.database.read() as connection:
        roots = {file: deliveries.root_file(connection, file) for file in [(1, 0), (2, 0), (3, 0), (3, 1)]}
        line = deliveries.lineage(connection, (1, 0), "")
    assert set(roots.values()) == {(1, 0)}
    assert line.files == frozenset(roots)
    assert line.made == {(3, 0)}
    assert Path(line.root.name).name == "july.csv"
