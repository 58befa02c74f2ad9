"""Replays: what could not be billed is taken again once its cause was mended, exactly once (rule 2.4)."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select, text, update

from billing.core.errors import ConservationBroken, DataRefused, NotFound, UsageError
from billing.core.instants import format_instant
from billing.steps.batch import Also, Judged
from billing.steps.close import close
from billing.steps.ingest import Occasion, SourceFile, ingest
from billing.steps.quarantine import dismiss, list_quarantine, select_records
from billing.steps.replay import ReplaySummary, demand_a_choice, foresee, replay
from billing.steps.status import status
from billing.store import log
from billing.store.batches import committed
from billing.store.home import Home
from billing.store.quarantine import STANDS, Selection
from billing.store.tables import batch_files, batches, quarantine

from .small_world import ALWAYS, REFERENCE, USAGE_HEADER, Shop, instant

NOW = instant("08-02")
ALL = Selection()
E1 = "e1,2026-07-05T10:00:00Z,a1,render,65,,"
E2 = "e2,2026-07-06T10:00:00Z,a1,render,5.5,,"
NEW_APP = {
    "apps": [*REFERENCE["apps"], "new,New"],
    "app_hubs": [*REFERENCE["app_hubs"], f"new,h1,{ALWAYS},"],
}
"""Reference data in which the app ``new`` belongs to team ``t1``."""


def of_new(line: str) -> str:
    return line.replace(",a1,", ",new,")


def counts(done: ReplaySummary) -> tuple[int, int, int, int, int]:
    return (done.selected, done.accepted, done.duplicates, done.quarantined, done.stayed)


def events(shop: Shop) -> list[tuple[object, ...]]:
    """Every accepted event and where it leads to: id, quantity, batch, name of the file, record (rule 7.3)."""
    with shop.home.database.read() as connection:
        rows = shop.home.usage.lake.dataset().to_table(filter=committed(connection).filter()).to_pylist()
        files = {(f.batch_no, f.file_no): f.name for f in connection.execute(select(batch_files))}
    found = [
        (r["event_id"], r["quantity_micro"], r["batch_no"], files[r["batch_no"], r["file_no"]], r["line"]) for r in rows
    ]
    return sorted(found)


def law(shop: Shop) -> None:
    """Rule 2.4 over any mixture: records delivered = accepted + duplicates + rows that stand; `rejected` has a row of
    each of the latter.
    """
    check = Path(__file__).parents[2] / "sql" / "checks" / "records_are_accounted_for.sql"
    with shop.home.database.read() as connection:
        assert list(connection.execute(text(check.read_text("utf-8")))) == []
        done = batches.c.state == "committed"
        sums = [func.coalesce(func.sum(batches.c[name]), 0) for name in ("records", "accepted", "duplicates")]
        delivered = connection.execute(select(sums[0]).where(done, batches.c.kind != "replay")).scalar_one()
        accepted, duplicates = connection.execute(select(*sums[1:]).where(done)).one()
        stand = connection.execute(select(func.count()).select_from(quarantine).where(STANDS)).scalar_one()
    assert delivered == accepted + duplicates + stand
    assert len(shop.export()["rejected"]) == duplicates + stand


# --- once the cause was mended ---------------------------------------------------------------------------------------


def test_what_is_mended_is_billed_and_leads_to_its_file_and_record(shop: Shop) -> None:
    """Rules 2.4 and 7.3: the bytes of the source are not copied; the batch is a new one."""
    shop.load()
    shop.ingest(E1, of_new(E2), of_new("e3,2026-07-06T10:00:00Z,a1,render,4,,"), now="08-02", name="july.csv")
    assert counts(replay(shop.home, ALL, NOW)) == (2, 0, 0, 0, 2)
    archived = sorted(shop.home.archive.folder.rglob("*"))
    shop.load(**NEW_APP)
    done = replay(shop.home, ALL, NOW)
    assert (done.batch_no, *counts(done)) == (2, 2, 2, 0, 0, 0)
    assert done.outcomes == {("unattributed_app", "accepted"): 2}
    assert events(shop) == [
        ("e1", 65_000_000, 1, "july.csv", 2),
        ("e2", 5_500_000, 2, "july.csv", 3),
        ("e3", 4_000_000, 2, "july.csv", 4),
    ]
    assert sorted(shop.home.archive.folder.rglob("*")) == archived
    assert shop.export()["rejected"] == []
    assert status(shop.home).quarantined == {}
    law(shop)


def test_every_row_says_how_it_ended(shop: Shop) -> None:
    """Accepted, known already, or quarantined for another reason as a row of its own, in one transaction."""
    shop.load(apis=[api for api in REFERENCE["apis"] if not api.startswith("translate")], unit_rates=[], unit_prices=[])
    lost = "e4,2026-07-06T10:00:00Z,nobody,translate,1,,"
    shop.ingest(
        "e1,2026-07-05T10:00:00Z,a1,translate,1,,", "e1,2026-07-05T10:00:00Z,a1,translate,1.0,,", lost, now="08-02"
    )
    shop.load()
    before = list_quarantine(shop.home, select_records(endings=["any"]))
    done = replay(shop.home, ALL, NOW)
    assert done.outcomes == {
        ("unknown_api", "accepted"): 1,
        ("unknown_api", "duplicate"): 1,
        ("unknown_api", "unattributed_app"): 1,
    }
    after = list_quarantine(shop.home, select_records(endings=["any"]))
    assert [(q.line, q.reason, q.ending, q.ended_in) for q in after] == [
        (2, "unknown_api", "accepted", 2),
        (3, "unknown_api", "duplicate", 2),
        (4, "unknown_api", "quarantined", 2),
        (4, "unattributed_app", "", None),
    ]
    assert [q.raw for q in after[:3]] == [q.raw for q in before]
    assert after[3].raw == after[2].raw == lost
    assert [row[1:] for row in shop.export()["rejected"]] == [("3", "duplicate"), ("4", "unattributed_app")]
    law(shop)


def test_what_would_be_quarantined_for_the_same_reason_stays_where_it_is(shop: Shop) -> None:
    """Replayed again and again, nothing grows: no number, no row, nothing in the log."""
    shop.load()
    shop.ingest("bad", of_new(E1), now="08-02")
    with shop.home.database.read() as connection:
        before = log.verify(connection)
    for _ in range(3):
        done = replay(shop.home, ALL, NOW)
        assert (done.batch_no, counts(done)) == (None, (2, 0, 0, 0, 2))
        assert done.outcomes == {
            ("bad_occurred_at", "bad_occurred_at"): 1,
            ("unattributed_app", "unattributed_app"): 1,
        }
    with shop.home.database.read() as connection:
        assert log.verify(connection) == before
    shop.load(**NEW_APP)
    assert counts(replay(shop.home, ALL, NOW)) == (2, 1, 0, 0, 1)
    (left,) = list_quarantine(shop.home)
    assert str(left.place) == "1:0:2"
    law(shop)


def test_nothing_selected_takes_no_number(shop: Shop) -> None:
    shop.load()
    shop.ingest(of_new(E1), now="08-02")
    shop.load(**NEW_APP)
    done = replay(shop.home, select_records(reasons=["no_subscription"]), NOW)
    assert (done.batch_no, *counts(done)) == (None, 0, 0, 0, 0, 0)
    assert shop.ingest(now="08-03").batch_no == 2


def test_nothing_can_be_replayed_in_an_empty_home(shop: Shop) -> None:
    assert counts(replay(shop.home, ALL, NOW)) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("chosen", "accepted"),
    [
        ({"ids": ["e1"]}, ["e1"]),
        ({"batches": [1]}, ["e1", "e2"]),
        ({"reasons": ["unattributed_app"]}, ["e1", "e2", "e3"]),
        ({"places": ["1:0:3", "2:0:2"]}, ["e2", "e3"]),
        ({"sources": ["portal"]}, ["e3"]),
        ({"apps": ["new"], "batches": [2]}, ["e3"]),
    ],
    ids=str,
)
def test_only_what_is_selected_is_taken(shop: Shop, chosen: dict[str, list[str]], accepted: list[str]) -> None:
    shop.load()
    lines = [of_new(E1), of_new(E2)]
    shop.ingest(*lines, now="08-02")
    ingest(shop.home, [shop.file([lines[0].replace("e1", "e3")])], NOW, source="portal")
    shop.load(**NEW_APP)
    replay(shop.home, select_records(**chosen), NOW)  # type: ignore[arg-type]
    assert [event[0] for event in events(shop)] == accepted
    law(shop)


def test_a_record_of_the_future_is_accepted_when_its_time_has_come(shop: Shop) -> None:
    """Judged at the replay's ``now``."""
    shop.load()
    shop.ingest(E1, now="07-01")
    assert counts(replay(shop.home, ALL, instant("2026-07-05T09:59:59.999999Z"))) == (1, 0, 0, 0, 1)
    assert counts(replay(shop.home, ALL, instant("2026-07-05T10:00:00Z"))) == (1, 1, 0, 0, 0)


def test_a_replay_says_nothing_of_completeness(shop: Shop) -> None:
    """Rule 3.4: only deliveries do."""
    shop.load()
    shop.ingest(of_new(E1), now="07-10")
    shop.load(**NEW_APP)
    replay(shop.home, ALL, instant("09-01"))
    assert status(shop.home).complete_through == "2026-07-10T00:00:00Z"
    assert shop.close("08-02").cycles == 0


# --- in the order in which they came ---------------------------------------------------------------------------------


def test_of_two_that_claim_one_id_the_first_that_came_stands(shop: Shop) -> None:
    """Also where a replay has quarantined it again meanwhile, under a larger batch number than the second one's."""
    shop.load(apis=[api for api in REFERENCE["apis"] if not api.startswith("translate")], unit_rates=[], unit_prices=[])
    for quantity in (1, 2):
        shop.ingest(f"e1,2026-07-05T10:00:00Z,new,translate,{quantity},,", now="08-02")
    shop.load()
    replay(shop.home, Selection(batches=(1,)), NOW)
    waiting = [(q.batch_no, q.reason) for q in list_quarantine(shop.home)]
    assert waiting == [(2, "unknown_api"), (3, "unattributed_app")]
    shop.load(**NEW_APP)
    done = replay(shop.home, ALL, NOW)
    assert done.outcomes == {("unattributed_app", "accepted"): 1, ("unknown_api", "conflicting_duplicate"): 1}
    (event,) = events(shop)
    assert event[1] == 1_000_000
    law(shop)


def test_corrections_are_taken_after_all_others(shop: Shop) -> None:
    """Whichever file they came in: a correction that came first finds its event in the same replay."""
    shop.load()
    shop.ingest("c1,2026-07-05T10:00:00Z,new,render,-20,e1,", now="08-02", name="first.csv")
    shop.ingest(of_new(E1), now="08-02", name="second.csv")
    assert [q.reason for q in list_quarantine(shop.home)] == ["bad_correction", "unattributed_app"]
    shop.load(**NEW_APP)
    assert replay(shop.home, ALL, NOW).outcomes == {
        ("bad_correction", "accepted"): 1,
        ("unattributed_app", "accepted"): 1,
    }
    assert [(e[0], e[1], e[3]) for e in events(shop)] == [
        ("c1", -20_000_000, "first.csv"),
        ("e1", 65_000_000, "second.csv"),
    ]


def test_a_file_that_came_twice_is_two_files(shop: Shop) -> None:
    """The same name and bytes, quarantined twice: one record is accepted, the other known."""
    shop.load()
    file = shop.file([of_new(E1)])
    for now in ("08-02", "08-03"):
        ingest(shop.home, [file], instant(now))
    shop.load(**NEW_APP)
    done = replay(shop.home, ALL, NOW)
    assert counts(done) == (2, 1, 1, 0, 0)
    assert [row.ending for row in list_quarantine(shop.home, select_records(endings=["any"]))] == [
        "accepted",
        "duplicate",
    ]
    law(shop)


def jsonl(lines: list[str]) -> bytes:
    columns = USAGE_HEADER.split(",")
    return "".join(json.dumps(dict(zip(columns, line.split(","), strict=True))) + "\n" for line in lines).encode()


def parquet(lines: list[str], path: Path) -> None:
    cells = zip(*(line.split(",") for line in lines), strict=True)
    pq.write_table(pa.table(dict(zip(USAGE_HEADER.split(","), map(list, cells), strict=True))), path, row_group_size=3)


@pytest.mark.parametrize("ending", [".csv.gz", ".jsonl", ".jsonl.gz", ".parquet"])
def test_every_format_is_read_again(shop: Shop, ending: str) -> None:
    shop.load()
    lines = [f"e{n},2026-07-05T10:00:00Z,{'new' if n % 3 else 'a1'},render,{n + 1},," for n in range(10)]
    path = shop.fresh(f"usage{ending}")
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = jsonl(lines) if "jsonl" in ending else "\n".join([USAGE_HEADER, *lines, ""]).encode()
    if ending == ".parquet":
        parquet(lines, path)
    else:
        path.write_bytes(gzip.compress(plain) if ending.endswith(".gz") else plain)
    ingest(shop.home, [SourceFile(path=path, name=path.name)], NOW)
    shop.load(**NEW_APP)
    assert counts(replay(shop.home, ALL, NOW)) == (6, 6, 0, 0, 0)
    first = 2 if "csv" in ending else 1
    assert [(e[0], e[1], e[4]) for e in events(shop)] == [(f"e{n}", (n + 1) * 10**6, n + first) for n in range(10)]


# --- late (rule 3.5) -------------------------------------------------------------------------------------------------


def test_a_replayed_record_of_a_closed_cycle_is_late_usage(shop: Shop) -> None:
    """The invoice of the closed cycle is untouched, the next one has it."""
    shop.load()
    shop.ingest(E1, of_new("late,2026-07-05T10:00:00Z,a1,render,60,,"), now="08-02")
    shop.close("08-02")
    shop.render()
    before = shop.export()
    documents = {path: path.read_bytes() for path in shop.home.documents.folder.rglob("*.pdf")}
    shop.load(**NEW_APP)
    assert replay(shop.home, ALL, instant("08-03")).accepted == 1
    assert {name: rows for name, rows in shop.export().items() if name != "rejected"} == {
        name: rows for name, rows in before.items() if name != "rejected"
    }
    shop.ingest(now="09-02")
    shop.close("09-02")
    after = shop.export()
    assert [row for row in after["carry"] if row[1] == "2026-07-01T00:00:00Z"] == before["carry"]
    assert after["invoices"][: len(before["invoices"])] == before["invoices"]
    assert {path: path.read_bytes() for path in documents} == documents
    (august,) = [row for row in after["carry"] if row[1] == "2026-08-01T00:00:00Z"]
    assert august == ("t1", "2026-08-01T00:00:00Z", "render", "5", "60", "60", "3", "5")
    (invoice,) = after["invoices"][len(before["invoices"]) :]
    assert [row[2:4] for row in after["invoice_lines"] if row[0] == invoice[0]] == [("render", "2")], "one was free"


# --- what would happen now -------------------------------------------------------------------------------------------


def test_what_would_happen_is_what_happens(shop: Shop) -> None:
    """The same judgement; nothing is written, and nobody waits meanwhile."""
    shop.load()
    shop.ingest(of_new(E1), of_new(E1), "bad", of_new(E2.replace("5.5", "0")), now="08-02", name="july.csv")
    shop.load(**NEW_APP)
    before = status(shop.home)
    with shop.home.database.holding("ingest"):
        foreseen = foresee(shop.home, ALL, NOW)
    assert status(shop.home) == before
    assert [(str(p.place), p.file, p.reason, p.outcome) for p in foreseen.prospects()] == [
        ("1:0:2", "july.csv", "unattributed_app", "accepted"),
        ("1:0:3", "july.csv", "unattributed_app", "duplicate"),
        ("1:0:4", "july.csv", "bad_occurred_at", "bad_occurred_at"),
        ("1:0:5", "july.csv", "bad_quantity", "bad_quantity"),
    ]
    assert foreseen.outcomes() == replay(shop.home, ALL, NOW).outcomes
    assert foresee(shop.home, ALL, NOW).outcomes() == {
        ("bad_occurred_at", "bad_occurred_at"): 1,
        ("bad_quantity", "bad_quantity"): 1,
    }


@pytest.mark.parametrize(("chosen", "everything"), [(ALL, False), (select_records(ids=["e1"]), True)], ids=str)
def test_all_is_replayed_only_on_purpose(chosen: Selection, everything: bool) -> None:
    with pytest.raises(UsageError, match="at least one filter, or --all"):
        demand_a_choice(chosen, everything)


# --- inspected, at once, and after an accident -----------------------------------------------------------------------


def test_an_inspector_stops_a_replay_and_is_kept_with_one(shop: Shop) -> None:
    shop.load()
    shop.ingest(of_new(E1), now="08-02")
    shop.load(**NEW_APP)
    seen: list[tuple[str, int]] = []

    def refuse(home: Home, judged: Judged, occasion: Occasion) -> Also:
        raise DataRefused("not as expected")

    def look(home: Home, judged: Judged, occasion: Occasion) -> Also:
        seen.append((occasion.source, len(judged.accepted)))
        return lambda connection, number: seen.append(("written", number))

    with pytest.raises(DataRefused, match="not as expected"):
        replay(shop.home, ALL, NOW, inspector=refuse)
    assert status(shop.home).open_batches == 0
    assert replay(shop.home, ALL, NOW, inspector=look).batch_no == 2
    assert seen == [("replay", 1), ("written", 2)]


def test_replays_at_once_take_each_record_once(shop: Shop) -> None:
    shop.load()
    shop.ingest(*(f"e{n},2026-07-05T10:00:00Z,new,render,1,," for n in range(500)), now="08-02")
    shop.load(**NEW_APP)
    found: list[ReplaySummary] = []
    threads = [Thread(target=lambda: found.append(replay(shop.home, ALL, NOW))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts(done) for done in found) == [(0, 0, 0, 0, 0), (0, 0, 0, 0, 0), (500, 500, 0, 0, 0)]
    assert len(events(shop)) == 500
    law(shop)


def test_a_record_is_not_given_up_while_it_is_replayed(shop: Shop) -> None:
    shop.load()
    shop.ingest(*(f"e{n},2026-07-05T10:00:00Z,new,render,1,," for n in range(300)), now="08-02")
    shop.load(**NEW_APP)
    threads = [
        Thread(target=lambda: replay(shop.home, ALL, NOW)),
        Thread(target=lambda: dismiss(shop.home, ALL, "test data")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {row.ending for row in list_quarantine(shop.home, select_records(endings=["any"]))} in (
        {"accepted"},
        {"dismissed"},
    )
    law(shop)


def test_a_row_that_has_ended_meanwhile_breaks_the_books(shop: Shop) -> None:
    """Somebody wrote past the lock: nothing is written, and the next replay finds what is left."""
    shop.load()
    shop.ingest(of_new(E1), of_new(E2), now="08-02")
    shop.load(**NEW_APP)

    def meddle(home: Home, judged: Judged, occasion: Occasion) -> Also:
        with home.database.write() as connection:
            connection.execute(update(quarantine).where(quarantine.c.line == 2).values(ending="replaced"))
        return lambda connection, number: None

    with pytest.raises(ConservationBroken, match="2 quarantined records were to end as accepted; 1 did"):
        replay(shop.home, ALL, NOW, inspector=meddle)
    assert events(shop) == []
    assert counts(replay(shop.home, ALL, NOW)) == (1, 1, 0, 0, 0)


def test_an_archive_that_was_changed_is_noticed(shop: Shop) -> None:
    shop.load()
    shop.ingest(of_new(E1), now="08-02", name="july.csv")
    shop.load(**NEW_APP)
    (kept,) = [path for path in shop.home.archive.folder.rglob("*.csv") if path.read_bytes().startswith(b"event_id")]
    good = kept.read_bytes()
    kept.chmod(0o644)
    kept.write_bytes(good.replace(b"65", b"66"))
    with pytest.raises(ConservationBroken, match=r"july\.csv: .* was changed after it was written"):
        replay(shop.home, ALL, NOW)
    kept.unlink()
    with pytest.raises(NotFound, match=r"july\.csv: .* is missing from archive"):
        replay(shop.home, ALL, NOW)


# --- as if it had been right from the start --------------------------------------------------------------------------

MENDABLE = ("app_hubs", "translate", "subscriptions")
BROKEN = {
    "app_hubs": {"app_hubs": [REFERENCE["app_hubs"][0], f"new,h2,{ALWAYS},"]},
    "translate": {
        "apis": [api for api in REFERENCE["apis"] if not api.startswith("translate")],
        "unit_rates": REFERENCE["unit_rates"][:1],
        "unit_prices": REFERENCE["unit_prices"][:1],
    },
    "subscriptions": {
        "subscriptions": [row for row in REFERENCE["subscriptions"] if ",t2," not in row],
        "token_grants": [],
    },
}


def random_usage(rng: random.Random) -> list[tuple[datetime, list[str]]]:
    """Deliveries of July: usage of all APIs and apps, corrections that follow anywhere, second deliveries, rejects."""
    owners = ["a1,{},,", "a2,{},,", "new,{},,", ",{},,t2"]
    lines, begin = [], instant("07-01")
    for number in range(40):
        at = begin + timedelta(hours=rng.randrange(24 * 31))
        app, _, rest = rng.choice(owners).partition(",")
        api = rng.choice(["render", "render", "translate", "browse", "seats"])
        team, left = rest.rpartition(",")[2], rng.randrange(1, 50)
        line = f"e{number},{format_instant(at)},{app},{api},{{}},{{}},{team}"
        lines.append(line.format(left, ""))
        for piece in range(rng.choice((0, 0, 0, 1, 2))):
            taken = rng.randrange(1, left // 2 + 2)
            lines.append(
                line.replace(f"e{number},", f"c{number}-{piece},", 1).format(-min(taken, left // 2 or 1), f"e{number}")
            )
            left -= min(taken, left // 2 or 1)
            if left <= 0:
                break
        if rng.random() < 0.2:
            lines.append(rng.choice(lines))
        if rng.random() < 0.1:
            lines.append(
                rng.choice(
                    [
                        "bad",
                        f"x{number},{format_instant(at)},nobody,render,1,,",
                        f"f{number},2026-12-01T00:00:00Z,a1,render,1,,",
                    ]
                )
            )
    rng.shuffle(lines)
    cuts = sorted(rng.sample(range(len(lines)), 3))
    pieces = [lines[a:b] for a, b in zip([0, *cuts], [*cuts, len(lines)], strict=True)]
    return [(instant(f"08-{2 + n:02d}"), piece) for n, piece in enumerate(pieces)]


@contextmanager
def another(shop: Shop, name: str) -> Iterator[Shop]:
    """A second home beside."""
    home = Home.at(shop.folder / name)
    home.create()
    yield Shop(home=home, folder=shop.folder / f"of-{name}")
    home.close()


MENDED = {
    "apps": NEW_APP["apps"],
    "app_hubs": [*REFERENCE["app_hubs"], f"new,h2,{ALWAYS},"],
}
BILLED = ("cycles", "carry", "charges", "invoices", "invoice_lines")


@pytest.mark.parametrize("seed", range(8))
def test_delivered_wrong_then_replayed_is_delivered_when_right(shop: Shop, seed: int) -> None:
    """Any mixture of deliveries, mended reference data and replays gives, within open cycles, what usage gives that is
    delivered when everything is known.
    """
    rng = random.Random(seed)
    deliveries = random_usage(rng)
    missing = set(MENDABLE)

    def load() -> None:
        tables = dict(MENDED)
        for name in missing:
            tables |= BROKEN[name]
        shop.load(**tables)

    load()
    for now, lines in deliveries:
        ingest(shop.home, [shop.file(lines)], now)
        for _ in range(rng.randrange(3)):
            if missing and rng.random() < 0.4:
                missing.remove(rng.choice(sorted(missing)))
                load()
            narrow = rng.choice(
                [ALL, Selection(reasons=("unknown_api",)), Selection(apps=("new",)), Selection(batches=(1,))]
            )
            replay(shop.home, narrow, now)
            law(shop)
    missing.clear()
    load()
    replay(shop.home, ALL, deliveries[-1][0])
    law(shop)
    assert {q.reason for q in list_quarantine(shop.home)} <= {
        "bad_occurred_at",
        "unattributed_app",
        "occurred_in_future",
    }
    close(shop.home, instant("08-05"))
    with another(shop, "right") as right:
        right.load(**MENDED)
        ingest(right.home, [right.file(lines) for _, lines in deliveries], deliveries[-1][0])
        close(right.home, instant("08-05"))
        expected, found = right.export(), shop.export()
    assert expected["invoices"]
    assert {name: found[name] for name in BILLED} == {name: expected[name] for name in BILLED}
    assert len(found["rejected"]) == len(expected["rejected"])


def test_twenty_thousand_records_are_replayed_in_bulk(shop: Shop) -> None:
    """Half of them, sprinkled over one file; a hundred thousand take seconds."""
    shop.load()
    lines = (f"e{n},2026-07-05T10:00:00Z,{'new' if n % 2 else 'nobody'},render,1,," for n in range(20_000))
    shop.ingest(*lines, now="08-02")
    shop.load(**NEW_APP)
    assert counts(replay(shop.home, ALL, NOW)) == (20_000, 10_000, 0, 0, 10_000)
    law(shop)
