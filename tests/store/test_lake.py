"""The lake: appends are exactly once, and only committed batches count (architecture: "Batches are exactly once")."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from billing.core.errors import ConservationBroken
from billing.core.instants import DAY_US
from billing.core.months import Month
from billing.store.home import Home
from billing.store.lake import CommittedBatches
from billing.store.lake_storage import ObjectStorage
from billing.store.shards import SHARDS, shard_of
from billing.store.usage_table import SCHEMA

from .lake_rows import NOON_US, append, events, same_home, usage_ids


@pytest.fixture(params=["folder", "objects"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """The lake is the same beside any database: one is enough. It may lie on an S3 API."""
    lake = None
    if request.param == "objects":
        url, given = request.getfixturevalue("s3_bucket")()
        lake = ObjectStorage(url=f"{url}/home", credentials=lambda: given)
    made = Home.at(tmp_path / "home", None, lake)
    made.create()
    return made


def all_through(number: int) -> CommittedBatches:
    return CommittedBatches(through=number, void=())


def test_a_number_is_appended_once(home: Home) -> None:
    home.usage.append(1, events(["a"]))
    with pytest.raises(ConservationBroken, match="Batch 1 is in usage already: run `billing usage reconcile`"):
        home.usage.append(1, events(["b"]))
    assert usage_ids(home, all_through(1)) == ["a"]


def test_numbers_may_be_appended_in_any_order(home: Home) -> None:
    for number in (3, 1, 2):
        home.usage.append(number, events([f"e{number}"]))
    assert [home.usage.lake.has_batch(number) for number in range(5)] == [False, True, True, True, False]
    assert home.usage.lake.last_batch() == 3
    with pytest.raises(ConservationBroken):
        home.usage.append(1, events(["again"]))


def test_eight_batches_appended_at_once_are_all_there(home: Home) -> None:
    threads = [Thread(target=home.usage.append, args=(number, events([f"e{number}"]))) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert usage_ids(home, all_through(8)) == [f"e{number}" for number in range(1, 9)]


def test_readers_take_committed_batches_only(home: Home) -> None:
    for number in range(1, 6):
        append(home, number, [f"e{number}"])
    assert usage_ids(home, CommittedBatches(through=4, void=(1, 3))) == ["e2", "e4"]
    assert usage_ids(home, all_through(0)) == []
    corrected = home.usage.corrected(CommittedBatches(through=4, void=(3,)), ["e3", "e4", "e5"], ["2026-07"])
    assert corrected["event_id"].to_pylist() == ["e4"]


def test_a_column_without_statistics_is_searched_all_the_same(home: Home) -> None:
    """Delta's readers take a file without a column's least and greatest for one of nulls, unless they are told."""
    append(home, 1, ["a", "b"])
    assert "min.event_id" not in home.usage.lake.files().column_names
    assert home.usage.lake.dataset().to_table(filter=pc.field("event_id") == "b").num_rows == 1


def test_a_table_of_an_earlier_version_is_read_and_appended_to(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "home")
    place = tmp_path / "home" / "lake" / "usage"
    DeltaTable.create(str(place), SCHEMA, partition_by=["month", "shard"])
    append(home, 1, ["a"])
    assert "min.event_id" in home.usage.lake.files().column_names, "nobody has told the readers yet"
    home.create()
    append(home, 2, ["b"])
    assert usage_ids(home, all_through(2)) == ["a", "b"]
    for name in ("a", "b"):
        assert home.usage.lake.dataset().to_table(filter=pc.field("event_id") == name).num_rows == 1
    home.close()


def test_an_empty_lake_reads_as_nothing(home: Home) -> None:
    assert usage_ids(home, all_through(9)) == []
    assert home.usage.lake.last_batch() == 0
    assert home.usage.lake.rows_by("shard") == {}


def test_rows_are_kept_by_month_in_utc_and_by_shard_of_the_team(home: Home) -> None:
    midnight = NOON_US - NOON_US % DAY_US + 17 * DAY_US  # 2026-08-01T00:00Z
    append(home, 1, ["before"], occurred_us=midnight - 1)
    append(home, 2, ["at"], occurred_us=midnight, team_id="t2")
    assert home.usage.lake.rows_by("month") == {"2026-07": 1, "2026-08": 1}
    shards = home.usage.lake.rows_by("shard")
    assert {int(shard) for shard in shards} == {shard_of("t1"), shard_of("t2")}


def test_the_shard_of_a_team_never_changes() -> None:
    """Part of the layout: rows are looked for where they were put, years later."""
    assert SHARDS == 8
    assert [shard_of(team) for team in ("t1", "t2", "team-é", "", "\U0001f600")] == [7, 5, 6, 0, 4]


def test_a_table_is_made_once(home: Home) -> None:
    append(home, 1, ["a"])
    home.create()
    home.create()
    assert usage_ids(home, all_through(1)) == ["a"]


def test_what_another_process_appends_is_seen_at_once(home: Home) -> None:
    """Tables are opened once and kept: a number that somebody else has used meanwhile must still be refused."""
    other = same_home(home)
    assert usage_ids(home, all_through(9)) == usage_ids(other, all_through(9)) == []
    for number in range(1, 13):
        writer, reader = (home, other) if number % 2 else (other, home)
        append(writer, number, [f"e{number:02d}"])
        assert reader.usage.lake.has_batch(number)
        assert reader.usage.lake.last_batch() == number
        assert len(usage_ids(reader, all_through(number))) == number
        with pytest.raises(ConservationBroken):
            append(reader, number, ["again"])


@pytest.mark.parametrize("text", ["1969-02", "1969-12", "1970-01", "2024-02"])
def test_rule_8_2_usage_is_summed_by_utc_day(home: Home, text: str) -> None:
    """A day holds its first instant and its last; days before 1970 are days like all others."""
    month = Month.parse(text)
    first_us, count = month.start_us("UTC"), (month.next.first_day - month.first_day).days
    edges = [first_us - 1, *(first_us + n * DAY_US - late for n in range(1, count + 1) for late in (DAY_US, 1))]
    brought = [events([f"e{us}"], occurred_us=us, quantity_micro=number) for number, us in enumerate(edges)]
    home.usage.append(1, pa.concat_tables([*brought, events(["after"], occurred_us=first_us + count * DAY_US)]))
    [found] = home.usage.by_day(all_through(1), 0, month)
    wanted = {place: 4 * place + 3 for place in range(count)}
    assert found == ("t1", "render", "a1", wanted)
    pairs, sums = home.usage.of_teams_by_day(all_through(1), first_us // DAY_US, count, "t1")
    assert (pairs, sums.tolist()) == ([("t1", "render")], [list(wanted.values())])
