"""Small files put together, old ones deleted: rows and batch numbers stay what they were, for whoever reads or writes
meanwhile.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from billing.core.errors import ConservationBroken
from billing.store.compaction import SMALL_FILES_MAX, Piece, pieces
from billing.store.home import Home
from billing.store.lake import CommittedBatches, LakeTable
from billing.store.usage_table import SCHEMA, UsageTable

from .lake_rows import NOON_US, append, events, usage_ids

NOTHING, WEEK = timedelta(), timedelta(days=7)
MANY = 12
"""More batches than a partition is left with."""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """The lake is the same beside any database: one is enough."""
    made = Home.at(tmp_path / "home")
    made.create()
    return made


def now() -> datetime:
    return datetime.now(UTC)


def all_through(number: int) -> CommittedBatches:
    return CommittedBatches(through=number, void=())


def fill(home: Home, *numbers: int, size: int = 1) -> None:
    for number in numbers:
        append(home, number, [f"e{number:03d}-{row}" for row in range(size)])


def folder(home: Home) -> Path:
    return home.folder / "lake" / "usage"


def data_files(home: Home) -> set[str]:
    """What lies on disk, whether the table names it or not."""
    return {path.name for path in folder(home).rglob("part-*")}


def named(lake: LakeTable) -> set[str]:
    return {Path(path).name for path in lake.files()["path"].to_pylist()}


def version(home: Home) -> int:
    return DeltaTable(str(folder(home))).version()


def spans(lake: LakeTable) -> list[tuple[int, int]]:
    """First and last batch of each file, in order."""
    files = lake.files()
    return sorted(zip(files["min.batch_no"].to_pylist(), files["max.batch_no"].to_pylist(), strict=True))


def age(paths: Sequence[Path], days: float) -> None:
    then = (now() - timedelta(days=days)).timestamp()
    for path in paths:
        os.utime(path, (then, then))


# --- what is put together


def test_many_small_files_become_one(home: Home) -> None:
    fill(home, *range(1, MANY + 1), size=3)
    before = usage_ids(home, all_through(MANY))
    told: list[tuple[int, int]] = []
    home.usage.lake.compact(lambda done, total: told.append((done, total)))
    assert home.usage.lake.size()[0] == 1
    assert told == [(1, 1)]
    assert usage_ids(home, all_through(MANY)) == before and len(before) == 3 * MANY
    assert usage_ids(home, CommittedBatches(through=5, void=(2,))) == [
        i for i in before if i[:4] in "e001 e003 e004 e005"
    ]
    assert home.usage.lake.last_batch() == MANY
    assert home.usage.lake.rows_by("month") == {"2026-07": 3 * MANY}


def test_only_partitions_with_many_small_files_are_touched(home: Home) -> None:
    fill(home, *range(1, SMALL_FILES_MAX + 1))
    for number in range(20, 20 + SMALL_FILES_MAX - 1):
        append(home, number, [f"t2-{number}"], team_id="t2")
    few = {name for name, (low, _) in zip(sorted_paths(home), spans(home.usage.lake), strict=True) if low >= 20}
    told: list[tuple[int, int]] = []
    home.usage.lake.compact(lambda *done: told.append(done))
    assert told == [(1, 1)]
    assert few < named(home.usage.lake) and len(named(home.usage.lake)) == len(few) + 1
    before = version(home)
    home.usage.lake.compact()
    assert version(home) == before, "what is done is found done"


def sorted_paths(home: Home) -> list[str]:
    files = home.usage.lake.files().sort_by([("min.batch_no", "ascending"), ("max.batch_no", "ascending")])
    return [Path(path).name for path in files["path"].to_pylist()]


def test_months_and_shards_stay_apart(home: Home) -> None:
    for number in range(1, MANY + 1):
        for team in ("t1", "t2"):
            home.usage.append(number * 2 + (team == "t2"), events([f"{team}-{number}"], team_id=team))
    home.usage.lake.compact()
    assert home.usage.lake.size()[0] == 2
    assert sorted(home.usage.lake.rows_by("shard").values()) == [MANY, MANY]


def test_files_that_are_full_stay_and_each_spans_few_batches(home: Home) -> None:
    """Day by day: readers leave out files by the batches and instants that are in them."""
    lake, file_bytes, full = home.usage.lake, 40_000, set[str]()
    for day in range(6):
        fill(home, *range(10 * day + 1, 10 * day + 11), size=300)
        lake.compact(file_bytes=file_bytes)
        files = lake.files().to_pylist()
        assert full <= {one["path"] for one in files}, "a full file was written again"
        full = {one["path"] for one in files if one["size_bytes"] > file_bytes}
    low, high = zip(*spans(lake), strict=True)
    assert len(low) > 3
    assert all(last < first for last, first in zip(high, low[1:], strict=False)), "files span each other's batches"
    assert len(usage_ids(home, all_through(60))) == 60 * 300


def test_rows_go_by_their_batches_in_a_file(home: Home) -> None:
    """So that the statistics of its row groups let readers pass over what is in none of their batches."""
    fill(home, *range(1, MANY + 1), size=40_000)
    home.usage.lake.compact()
    (path,) = named(home.usage.lake)
    file = pq.ParquetFile(next(folder(home).rglob(path)))
    column = file.schema_arrow.names.index("batch_no")
    groups = [file.metadata.row_group(n).column(column).statistics for n in range(file.metadata.num_row_groups)]
    assert len(groups) == 4
    assert sum(group.max - group.min + 1 for group in groups) <= 2 * MANY


def test_an_empty_table_is_kept_up_too(home: Home) -> None:
    home.usage.lake.compact()
    home.usage.lake.checkpoint()
    assert home.usage.lake.vacuum(NOTHING, now()) == 0
    assert home.usage.lake.size() == (0, 0)


def test_the_newest_event_of_a_batch_is_known_as_before(home: Home) -> None:
    """New windows are compared with those before: by statistics while a file is one batch, then by its events."""
    for number in range(1, MANY + 1):
        append(home, number, [f"old-{number}"], occurred_us=NOON_US)
        append(home, 100 + number, [f"a-{number}"], occurred_us=NOON_US + number * 1_000_000, team_id="t2")
    home.usage.append(200, events(["two", "shards"]))
    before = home.usage.newest_by_batch(0)
    assert len(before) == 2 * MANY + 1 and before[101] == NOON_US + 1_000_000
    home.usage.lake.compact()
    fill(home, 201)
    assert home.usage.newest_by_batch(0) == before | {201: NOON_US}
    assert home.usage.newest_by_batch(105) == {n: us for n, us in before.items() if n >= 105} | {201: NOON_US}


# --- which files


def table_of(*files: tuple[int, int, int, int], shard: int = 0) -> pa.Table:
    """Files as ``LakeTable.files`` tells them: first and last batch, size, shard."""
    return pa.table(
        {
            "path": [f"{number:04d}" for number in range(len(files))],
            "size_bytes": pa.array([file[2] for file in files], pa.int64()),
            "num_records": pa.array([1] * len(files), pa.int64()),
            "min.batch_no": pa.array([file[0] for file in files], pa.int64()),
            "max.batch_no": pa.array([file[1] for file in files], pa.int64()),
            "partition.month": ["2026-07"] * len(files),
            "partition.shard": pa.array([file[3] for file in files], pa.int32()),
        }
    )


def planned(*files: tuple[int, int, int, int]) -> list[tuple[int, int, int]]:
    """First and last batch and the number of files of each piece; a file is full at 100 bytes."""
    found = pieces(table_of(*files), ("month", "shard"), file_bytes=100)
    return [(piece.first, piece.last, len(piece.files)) for piece in found]


def test_files_are_filled_up_in_the_order_of_their_batches() -> None:
    assert planned(*((n, n, 10, 0) for n in range(25, 0, -1))) == [(1, 10, 10), (11, 20, 10), (21, 25, 5)]
    assert planned((1, 90, 49, 0), *((90 + n, 90 + n, 10, 0) for n in range(1, 9))) == [(1, 95, 6), (96, 98, 3)]


def test_what_is_full_stays_and_parts_what_is_before_from_what_is_after() -> None:
    small = [(n, n, 10, 0) for n in range(1, 13)]
    assert planned(*small[:4], (5, 5, 50, 0), *small[5:]) == [(1, 4, 4), (6, 12, 7)]
    assert planned(*small[:7], (8, 8, 99, 0)) == [], "seven are few"


def test_files_that_span_each_other_s_batches_are_written_together_or_not_at_all() -> None:
    """What is replaced is a range of batches: no other file may hold any of them."""
    small = [(n, n, 5, 0) for n in range(10, 18)]
    assert planned(*small, (12, 14, 60, 0)) == [(10, 11, 2), (15, 17, 3)]
    assert planned((1, 30, 5, 0), *small) == [(1, 30, 9)]
    assert planned((1, 30, 5, 0), *small, (30, 30, 99, 0)) == []


def test_a_piece_never_touches_a_batch_of_another_file() -> None:
    draw = random.Random(1)
    for _ in range(300):
        firsts = [draw.randint(1, 60) for _ in range(draw.randint(8, 40))]
        spread = draw.choice((0, 0, 3))
        files = [(n, n + draw.randint(0, spread), draw.choice((1, 5, 20, 60)), draw.randint(0, 1)) for n in firsts]
        table = table_of(*files)
        for piece in pieces(table, ("month", "shard"), file_bytes=100):
            assert len(piece.files) > 1 and piece.rows == len(piece.files)
            others = [file for n, file in enumerate(files) if f"{n:04d}" not in piece.files]
            mine = [file for file in others if file[3] == piece.partition["shard"]]
            assert not [file for file in mine if file[0] <= piece.last and file[1] >= piece.first]
            assert piece.size_bytes <= 100


# --- what is known of batches


def kept_up(home: Home) -> None:
    """All of it, and the log forgotten as far as it ever is."""
    lake = home.usage.lake
    lake.compact()
    lake.checkpoint()
    age([path for path in (folder(home) / "_delta_log").iterdir() if path.is_file()], days=40)
    lake.checkpoint()
    lake.vacuum(NOTHING, now())


def test_every_batch_ever_appended_stays_known(home: Home) -> None:
    """After compaction, checkpoint, a log that was cleaned and a vacuum: a number is never used twice."""
    fill(home, *range(1, MANY + 1))
    log = folder(home) / "_delta_log"
    kept_up(home)
    fill(home, *range(MANY + 1, 2 * MANY + 1))
    kept_up(home)
    assert not (log / f"{MANY:020d}.json").exists(), "the log was not cleaned: this proves nothing"
    for again in (home, Home.at(home.folder)):
        assert [n for n in range(1, 2 * MANY + 2) if not again.usage.lake.has_batch(n)] == [2 * MANY + 1]
        with pytest.raises(ConservationBroken, match="Batch 3 is in usage already"):
            again.usage.append(3, events(["twice"]))
    assert len(usage_ids(home, all_through(2 * MANY))) == 2 * MANY


def test_batches_are_never_told_to_be_forgotten(home: Home) -> None:
    """The table's property that lets application transactions expire stays away."""
    fill(home, 1)
    kept_up(home)
    assert not any("etention" in name for name in DeltaTable(str(folder(home))).metadata().configuration)


def test_the_log_is_summed_up(home: Home) -> None:
    fill(home, *range(1, MANY + 1))
    home.usage.lake.checkpoint()
    last = json.loads((folder(home) / "_delta_log" / "_last_checkpoint").read_text())
    assert last["version"] == version(home) == MANY


# --- what is deleted, and when


def test_old_files_stay_for_a_week_and_nothing_else_does(home: Home) -> None:
    fill(home, *range(1, MANY + 1))
    lake, old = home.usage.lake, data_files(home)
    lake.compact()
    lake.checkpoint()
    assert lake.vacuum(WEEK, now()) == 0
    assert data_files(home) == old | named(lake)
    assert lake.vacuum(NOTHING, now()) == MANY
    assert data_files(home) == named(lake)
    assert len(usage_ids(Home.at(home.folder), all_through(MANY))) == MANY


def test_what_was_put_together_a_week_ago_goes(home: Home) -> None:
    fill(home, *range(1, MANY + 1))
    home.usage.lake.compact()
    (log,) = [path for path in (folder(home) / "_delta_log").glob("*.json") if '"remove"' in path.read_text()]
    removals = [json.loads(line) for line in log.read_text().splitlines()]
    for number, action in enumerate(action["remove"] for action in removals if "remove" in action):
        days = 8 if number < 5 else 6
        action["deletionTimestamp"] = int((now() - timedelta(days=days)).timestamp() * 1_000)
    log.write_text("\n".join(map(json.dumps, removals)))
    again = Home.at(home.folder)
    assert again.usage.lake.vacuum(WEEK, now()) == 5
    assert len(data_files(home)) == MANY - 5 + 1
    assert len(usage_ids(again, all_through(MANY))) == MANY


def test_what_killed_writers_left_goes_a_day_later_whatever_was_asked_for(home: Home) -> None:
    """A file that is not named yet may be of an ingest that is about to commit it."""
    fill(home, 1)
    place = next(folder(home).rglob("part-*")).parent
    paths = [place / f"part-{name}" for name in ("young.parquet", "old.parquet", "young.parquet#1", "old.parquet#1")]
    for path in paths:
        path.write_bytes(b"half")
    age([paths[1], paths[3]], days=1.1)
    assert home.usage.lake.vacuum(NOTHING, now()) == 2
    assert [path.exists() for path in paths] == [True, False, True, False]
    age([paths[0], paths[2]], days=6)
    assert home.usage.lake.vacuum(WEEK, now()) == 1
    assert [path.exists() for path in paths] == [True, False, False, False]
    age([paths[0]], days=8)
    assert home.usage.lake.vacuum(WEEK, now()) == 1
    assert usage_ids(home, all_through(1)) == ["e001-0"]


# --- beside others


def test_who_reads_an_older_state_reads_on(home: Home) -> None:
    fill(home, *range(1, MANY + 1))
    reader = Home.at(home.folder)
    dataset, paths = reader.usage.lake.dataset(), reader.usage.lake.files()["path"].to_pylist()
    home.usage.lake.compact()
    home.usage.lake.checkpoint()
    home.usage.lake.vacuum(WEEK, now())
    fill(home, 99)
    assert dataset.count_rows() == MANY
    with duckdb.connect() as engine:
        read = reader.usage.lake.read_in(engine, paths)
        assert engine.sql(f"from {read}").shape[0] == MANY
    assert len(usage_ids(reader, all_through(99))) == MANY + 1, "and sees what came since when it looks again"


def test_who_opened_the_table_before_its_log_was_cleaned_goes_on(home: Home) -> None:
    fill(home, *range(1, MANY + 1))
    other = Home.at(home.folder)
    assert other.usage.lake.last_batch() == MANY
    kept_up(home)
    fill(home, 98)
    kept_up(home)
    assert other.usage.lake.has_batch(98)
    fill(other, 99)
    assert len(usage_ids(home, all_through(99))) == len(usage_ids(other, all_through(99))) == MANY + 2


def at_once(*work: Callable[[], object]) -> None:
    failed: list[BaseException] = []

    def run(one: Callable[[], object]) -> None:
        try:
            one()
        except BaseException as error:
            failed.append(error)

    threads = [Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def test_appends_and_compaction_at_once_lose_nothing(home: Home) -> None:
    fill(home, *range(1, MANY + 1))
    writer, keeper = Home.at(home.folder), Home.at(home.folder)

    def appends() -> None:
        for number in range(MANY + 1, 5 * MANY + 1):
            writer.usage.append(number, events([f"e{number:03d}-0"]))

    def compactions() -> None:
        for _ in range(6):
            keeper.usage.lake.compact()
            keeper.usage.lake.checkpoint()
            keeper.usage.lake.vacuum(NOTHING, now())

    at_once(appends, compactions)
    home.usage.lake.compact()
    assert usage_ids(home, all_through(5 * MANY)) == [f"e{number:03d}-0" for number in range(1, 5 * MANY + 1)]
    assert home.usage.lake.size()[0] < 2 * SMALL_FILES_MAX


def test_batches_that_come_between_those_of_a_file_are_not_lost(home: Home) -> None:
    """What is replaced is a range of batches: one of that range that was appended meanwhile must make it fail."""
    for number in range(1, 6 * MANY, 2):
        home.usage.append(number, events([f"e{number:03d}-0"]))
    writer, keeper = Home.at(home.folder), Home.at(home.folder)

    def appends() -> None:
        for number in range(2, 6 * MANY, 2):
            writer.usage.append(number, events([f"e{number:03d}-0"]))

    def compactions() -> None:
        for _ in range(6):
            with suppress(CommitFailedError):
                keeper.usage.lake.compact()

    at_once(appends, compactions)
    home.usage.lake.compact()
    assert usage_ids(home, all_through(6 * MANY)) == [f"e{number:03d}-0" for number in range(1, 6 * MANY)]


class Disturbed(LakeTable):
    """Somebody else appends batch 6, just before the files of batches 1 to 12 but 6 are put together."""

    def _put_together(self, table: DeltaTable, piece: Piece, file_bytes: int) -> DeltaTable:
        other = UsageTable(Path(self.storage.uri))
        if not other.lake.has_batch(6):
            other.append(6, events(["six"]))
        return super()._put_together(table, piece, file_bytes)


def test_a_batch_that_came_since_it_was_planned_is_not_lost(home: Home) -> None:
    fill(home, *(number for number in range(1, MANY + 1) if number != 6))
    Disturbed(folder(home), SCHEMA, ("month", "shard"), sought=("batch_no",)).compact()
    assert home.usage.lake.size()[0] == 1
    assert len(usage_ids(home, all_through(MANY))) == MANY


def test_a_batch_that_comes_between_two_files_is_not_lost(home: Home) -> None:
    for number in range(1, MANY + 1):
        home.usage.append(100 + number, events([f"other-{number}"], team_id="t2"))
    fill(home, *(number for number in range(1, MANY + 1) if number != 6))
    other = Home.at(home.folder)
    home.usage.lake.compact(lambda done, _: fill(other, 6) if done == 1 else None)
    assert home.usage.lake.size()[0] == 2
    assert len(usage_ids(home, all_through(100 + MANY))) == 2 * MANY


def test_rows_that_are_missing_are_said_and_nothing_is_changed(home: Home) -> None:
    fill(home, *range(1, MANY + 1), size=2)
    log = folder(home) / "_delta_log" / f"{3:020d}.json"
    log.write_text(log.read_text().replace(r"\"numRecords\":2", r"\"numRecords\":3"))
    told, before = Home.at(home.folder), version(home)
    with pytest.raises(ConservationBroken, match=r"usage, month = '2026-07' .* 24 rows are in files that .* hold 25\."):
        told.usage.lake.compact()
    assert version(home) == before


def test_two_compactions_at_once_do_it_once(home: Home) -> None:
    """The slower one's commit fails; it looks again, and has nothing left to do. Were it let through, as that of
    deltalake's own ``optimize.compact`` is, every row would be there twice.
    """
    fill(home, *range(1, MANY + 1), size=200)
    keepers = [Home.at(home.folder).usage.lake for _ in range(4)]
    for keeper in keepers:
        assert keeper.last_batch() == MANY
    at_once(*(keeper.compact for keeper in keepers))
    assert home.usage.lake.size()[0] == 1
    assert len(usage_ids(home, all_through(MANY))) == MANY * 200
