"""The usage table on an S3 API: kept up, read by DuckDB, opened by keys that change (see ``test_lake.py`` too)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pyarrow.fs as pa_fs
import pytest
from deltalake.exceptions import CommitFailedError

from billing.core.errors import ConservationBroken, StoreOutOfDate
from billing.store.engine import engine
from billing.store.home import Home
from billing.store.lake import CommittedBatches
from billing.store.lake_storage import ObjectStorage

from .lake_rows import append, events, same_home, usage_ids

MANY = 12
Bucket = Callable[[], tuple[str, dict[str, str]]]


@pytest.fixture
def home(tmp_path: Path, s3_bucket: Bucket) -> Home:
    url, given = s3_bucket()
    made = Home.at(tmp_path / "home", None, ObjectStorage(url=f"{url}/acme/billing", credentials=lambda: given))
    made.create()
    return made


@pytest.fixture
def beside(tmp_path: Path) -> Home:
    """A home whose lake is in its folder."""
    made = Home.at(tmp_path / "beside")
    made.create()
    return made


def all_through(number: int) -> CommittedBatches:
    return CommittedBatches(through=number, void=())


def objects(home: Home) -> set[str]:
    """Names of data files in the bucket."""
    found = home.usage.lake.storage.files().get_file_info(pa_fs.FileSelector("", recursive=True))
    return {info.path for info in found if info.is_file and info.path.startswith("month=")}


def test_nothing_of_the_lake_is_in_the_home(home: Home) -> None:
    append(home, 1, ["a"])
    assert home.usage.lake.storage.uri.endswith("/acme/billing/usage")
    assert not (home.folder / "lake").exists()
    assert len(objects(home)) == 1
    home.check()


def test_a_table_that_is_not_there_is_said_by_its_place(home: Home, s3_bucket: Bucket) -> None:
    url, given = s3_bucket()
    wrong = Home.at(home.folder, None, ObjectStorage(url=url, credentials=lambda: given))
    with pytest.raises(
        StoreOutOfDate, match=f"no usage table in {url}/usage. .* see to \\[lake\\] in its billing.toml"
    ):
        wrong.check()
    wrong.check_database()


def test_it_is_kept_up(home: Home) -> None:
    for number in range(1, MANY + 1):
        append(home, number, [f"e{number:02d}-{row}" for row in range(3)])
    before, old = usage_ids(home, all_through(MANY)), objects(home)
    reader = same_home(home)
    dataset = reader.usage.lake.dataset()
    home.usage.lake.compact()
    home.usage.lake.checkpoint()
    assert home.usage.lake.vacuum(timedelta(days=7), datetime.now(UTC)) == 0
    assert dataset.count_rows() == 3 * MANY, "who reads an older state reads on"
    assert home.usage.lake.vacuum(timedelta(), datetime.now(UTC)) == MANY
    assert len(objects(home)) == 1 and not objects(home) & old
    for again in (home, reader, same_home(home)):
        assert usage_ids(again, all_through(MANY)) == before
        assert [again.usage.lake.has_batch(n) for n in range(MANY + 2)] == [False, *[True] * MANY, False]
        with pytest.raises(ConservationBroken, match="Batch 3 is in usage already"):
            again.usage.append(3, events(["twice"]))


def test_appends_and_compactions_at_once_lose_nothing(home: Home) -> None:
    """A commit is an object that must not be there yet: nobody replaces that of somebody else."""
    for number in range(1, MANY + 1):
        home.usage.append(number, events([f"e{number:02d}"]))
    writers, keepers = [same_home(home).usage for _ in range(3)], [same_home(home).usage.lake for _ in range(2)]
    failed: list[BaseException] = []

    def appends(place: int) -> None:
        try:
            for number in range(MANY + 1 + place, 3 * MANY + 1, len(writers)):
                writers[place].append(number, events([f"e{number:02d}"]))
        except BaseException as error:
            failed.append(error)

    def compactions(place: int) -> None:
        for _ in range(3):
            with suppress(CommitFailedError):  # the others were faster, five times
                keepers[place].compact()

    threads = [Thread(target=appends, args=(place,)) for place in range(len(writers))]
    threads += [Thread(target=compactions, args=(place,)) for place in range(len(keepers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    home.usage.lake.compact()
    assert usage_ids(home, all_through(3 * MANY)) == [f"e{number:02d}" for number in range(1, 3 * MANY + 1)]


def test_duckdb_reads_it_as_it_reads_a_folder(home: Home, beside: Home) -> None:
    for one in (home, beside):
        for number in range(1, MANY + 1):
            append(one, number, [f"e{number:02d}-{row}" for row in range(3)], team_id=f"t{number % 3}")
    query = "select * from {} where batch_no between 3 and 9 and event_id > 'e04' order by batch_no, event_id"
    seen = []
    for one in (home, beside):
        lake = one.usage.lake
        paths = lake.files()["path"].to_pylist()
        lake.compact()  # the table names other files now; these are still there
        with engine() as connection:
            first, second = lake.read_in(connection, paths), lake.read_in(connection, paths[:5])
            assert connection.sql(f"from {first}").shape[0] == 3 * MANY
            assert connection.sql(f"from {second}").shape[0] == 15, "two of them at once are told apart"
            found = connection.sql(query.format(first)).to_arrow_table()
        assert found.num_rows == 18
        assert found.column_names == [name for name in lake.schema.names if name not in ("month", "shard")]
        seen.append(found)
    assert seen[0].equals(seen[1])


def test_keys_that_are_replaced_open_it_anew(tmp_path: Path, s3_bucket: Bucket) -> None:
    """Those of a role end after an hour; a process may take longer."""
    url, given = s3_bucket()
    home = Home.at(tmp_path / "home", None, ObjectStorage(url=url, credentials=lambda: given))
    home.create()
    append(home, 1, ["a"])
    held = home.usage.lake._open()
    assert home.usage.lake._open() is held
    given["aws_session_token"] = "another"
    assert home.usage.lake._open() is not held
    assert usage_ids(home, all_through(1)) == ["a"]
