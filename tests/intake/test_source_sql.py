"""Usage from a query, window by window, on SQLite and PostgreSQL: every row once, also where it is read again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Column, DateTime, Engine, MetaData, String, Table, create_engine

from billing.core.errors import ConservationBroken, DataRefused, SourceUnavailable
from billing.core.instants import parse_instant_us
from billing.intake.sources.extracts import GROUP_ROWS, write_rows, write_unknown
from billing.intake.sources.seam import SourceFile, Taken, Window
from billing.intake.sources.sql_rows import Rows
from billing.intake.sources.sql_source import SqlSource
from billing.intake.usage_files import read_usage

SHIPPED = Path(__file__).parents[2] / "sql" / "extract"
BY = {"arrival": SHIPPED / "usage.sql", "occurrence": SHIPPED / "usage_by_occurrence.sql"}
NOON = datetime(2026, 7, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVENTS = Table(
    "usage_events",
    MetaData(),
    *(Column(name, String) for name in ("event_id", "app_id", "api", "quantity", "corrects", "team_id")),
    *(Column(name, DateTime(timezone=True)) for name in ("occurred_at", "arrived_at")),
)
READ = ("event_id", "occurred_at", "app_id", "api", "quantity", "corrects", "team_id")


def minutes(number: float) -> datetime:
    return NOON + number * MINUTE


def event(event_id: str, arrived: float = 0, **others: Any) -> dict[str, Any]:
    """An event that arrived so many minutes after noon, and occurred when it arrived."""
    usual = {"app_id": "a1", "api": "render", "quantity": "1", "corrects": None, "team_id": None}
    return {"event_id": event_id, "occurred_at": minutes(arrived), "arrived_at": minutes(arrived)} | usual | others


@dataclass(kw_only=True)
class Site:
    """A source's database, and what of it was taken, as the steps keep it."""

    engine: Engine
    folder: Path
    source: SqlSource
    windows: list[tuple[datetime, Path]] = field(default_factory=list)
    asked: list[datetime] = field(default_factory=list)

    def add(self, *events: dict[str, Any]) -> None:
        with self.engine.begin() as connection:
            connection.execute(EVENTS.insert(), list(events))

    def taken(self) -> Taken:
        def extracts_after(since: datetime) -> Sequence[Path]:
            self.asked.append(since)
            return [path for end, path in self.windows if end > since]

        return Taken(extracts=extracts_after)

    def extract(self, start: float, end: float, *, first: bool = False, **changes: Any) -> list[SourceFile]:
        """Without keeping what it gave."""
        staging = self.folder / "staging"
        staging.mkdir(exist_ok=True)
        window = Window(start=minutes(start), end=minutes(end), first=first)
        return replace(self.source, **changes).extract(window, self.taken(), staging)

    def take(self, start: float, end: float, **options: Any) -> list[str]:
        """Ids of the rows of a window, which then is taken."""
        files = self.extract(start, end, **options)
        ids: list[str] = []
        for file in files:
            archived = self.folder / f"{len(self.windows)}-[a*c?].parquet"
            file.path.rename(archived)
            self.windows.append((minutes(end), archived))
            ids += pq.read_table(archived)["event_id"].to_pylist()
        assert not list((self.folder / "staging").iterdir())
        return ids


@pytest.fixture
def site(tmp_path: Path, database_url: str | None) -> Iterator[Site]:
    """An empty ``usage_events`` on each engine."""
    url = database_url or f"sqlite:///{tmp_path / 'source.db'}"
    engine = create_engine(url)
    EVENTS.create(engine)
    yield Site(engine=engine, folder=tmp_path, source=SqlSource(name="app db", url=url, query=BY["arrival"]))
    engine.dispose()


@pytest.fixture
def by_occurrence(site: Site) -> Site:
    site.source = replace(site.source, query=BY["occurrence"], by="occurrence")
    return site


# --- one file a window


def test_a_window_is_one_file_that_intake_reads(site: Site) -> None:
    site.add(event("e2", 5, quantity="2.5"), event("e1", 5, team_id="t1", app_id=None), event("e0", 1, corrects="e"))
    (file,) = site.extract(0, 10)
    assert file.name == "app db/20260710T120000.000000Z--20260710T121000.000000Z.parquet"
    assert file.path.parent == site.folder / "staging" and [*file.path.parent.iterdir()] == [file.path]
    (chunk,) = read_usage(file.path, file.name)
    assert chunk.event_id.to_pylist() == ["e0", "e1", "e2"]
    assert chunk.team_id.to_pylist() == ["", "t1", ""]
    assert chunk.app_id.to_pylist() == ["a1", "", "a1"]
    assert chunk.corrects.to_pylist() == ["e", "", ""]
    assert chunk.occurred_at_us.tolist() == [parse_instant_us(f"2026-07-10T12:0{m}:00Z") for m in (1, 5, 5)]
    assert chunk.quantity_micro.tolist() == [1_000_000, 1_000_000, 2_500_000]
    assert chunk.quantity_ok.all() and chunk.occurred_at_ok.all() and not chunk.unreadable.any()


def test_null_stays_null_in_the_extract(site: Site) -> None:
    site.add(event("e1", app_id=None, corrects=""))
    (file,) = site.extract(0, 10)
    (row,) = pq.read_table(file.path).to_pylist()
    assert (row["app_id"], row["corrects"], row["team_id"]) == (None, "", None)
    assert pq.read_schema(file.path) == pa.schema([(name, pa.string()) for name in READ])


def test_no_new_row_is_no_file(site: Site) -> None:
    assert site.take(0, 10) == []
    site.add(event("e1", 11))
    assert site.take(10, 20) == ["e1"]
    assert site.take(20, 30) == []


def test_files_are_named_in_the_order_of_time(site: Site) -> None:
    site.add(event("e1", -1))
    bounds = [(0, 10), (0, 10 + 1e-6), (1 / 60, 10), (10, 20), (10, 2000)]
    names = [site.extract(start, end)[0].name for start, end in bounds]
    assert names == sorted(names) and len(set(names)) == len(names)


def test_the_same_rows_make_the_same_bytes(site: Site) -> None:
    site.add(*(event(f"e{number:05}", number / 1000) for number in range(2_000)))
    digests = {sha256(site.extract(0, 10)[0].path.read_bytes()).hexdigest() for _ in range(2)}
    assert len(digests) == 1


def test_bytes_do_not_depend_on_the_batches_that_rows_came_in(tmp_path: Path) -> None:
    rows = [
        (f"e{number}", None if number % 3 else sha256(b"%d" % number).hexdigest()) for number in range(GROUP_ROWS + 10)
    ]
    digests = set()
    for size in (1_000, 8_192, len(rows)):
        batches = (rows[low : low + size] for low in range(0, len(rows), size))
        assert write_rows(tmp_path / "x.parquet", Rows(columns=("a", "b"), batches=batches)) == len(rows)
        digests.add(sha256((tmp_path / "x.parquet").read_bytes()).hexdigest())
    assert len(digests) == 1
    groups = pq.ParquetFile(tmp_path / "x.parquet").metadata
    assert [groups.row_group(place).num_rows for place in range(groups.num_row_groups)] == [GROUP_ROWS, 10]


def test_known_rows_are_left_out_of_any_number_of_rows(tmp_path: Path) -> None:
    count = 2 * GROUP_ROWS + 10
    rows = [(f"e{number}", None, None if number % 7 else "t") for number in range(count)]
    columns = ("event_id", "api", "team_id")
    write_rows(tmp_path / "read", Rows(columns=columns, batches=iter([rows])))
    known = [tmp_path / "known 0", tmp_path / "known 1"]
    for place, path in enumerate(known):
        write_rows(path, Rows(columns=columns, batches=iter([rows[place::3]])))
    assert write_unknown(tmp_path / "new", tmp_path / "read", known, tmp_path) == len(rows[2::3])
    assert pq.read_table(tmp_path / "new").to_pylist() == [dict(zip(columns, row, strict=True)) for row in rows[2::3]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["known 0", "known 1", "new", "read"]


# --- by arrival


def test_bounds_are_half_open(site: Site) -> None:
    site.add(event("before", -60.01), event("low", -60), event("in", 9.99), event("end", 10))
    assert site.take(0, 10) == ["low", "in"]
    assert site.take(10, 20) == ["end"]


def test_the_first_window_takes_all_that_arrived(site: Site) -> None:
    site.add(event("old", -1e6), event("new", 5), event("later", 10))
    assert site.take(0, 10, first=True) == ["old", "new"]


def test_nothing_from_before_since_is_taken(site: Site) -> None:
    site.add(event("old", -1), event("new", 0))
    assert site.take(0, 10, first=True, since=NOON) == ["new"]
    site.add(event("older", -2))
    assert site.take(10, 20, since=NOON) == []


def test_a_row_that_was_committed_late_comes_with_the_next_window(site: Site) -> None:
    site.add(event("e1", 9))
    assert site.take(0, 10) == ["e1"]
    site.add(event("late", 8.5), event("e2", 12))
    assert site.take(10, 20) == ["late", "e2"]
    assert site.take(20, 30) == []


def test_the_overlap_is_how_late_a_commit_may_be(site: Site) -> None:
    assert site.take(0, 10) == []
    site.add(event("late", 5), event("later", 4))
    assert site.take(10, 20, overlap=5 * MINUTE) == ["late"]


def test_rows_with_nulls_are_known_again(site: Site) -> None:
    site.add(event("e1", 1), event("e2", 2, app_id=None, team_id="t1"), event("e3", 3, quantity=None, occurred_at=None))
    assert site.take(0, 10) == ["e1", "e2", "e3"]
    assert site.take(10, 20) == []


@pytest.mark.parametrize("column", READ)
def test_a_row_that_differs_in_any_column_is_another(site: Site, column: str) -> None:
    site.add(event("e1", 1, corrects="c", team_id="t"))
    assert site.take(0, 10) == ["e1"]
    other = minutes(2) if column == "occurred_at" else "other"
    site.add(event("e1", 1, corrects="c", team_id="t") | {column: other})
    assert len(site.take(10, 20)) == 1


def test_only_the_windows_that_may_have_read_a_row_are_compared(site: Site) -> None:
    site.add(event("e1", 1))
    site.take(0, 10)
    site.take(100, 110)
    assert site.asked == [minutes(-60)]
    site.add(event("e2", 105))
    site.take(110, 120)
    assert site.asked == [minutes(-60), minutes(50)]


def test_order_is_the_querys_where_known_rows_are_left_out(site: Site) -> None:
    count = 30_000
    site.add(*(event(f"e{number:05}", number / count) for number in range(0, count, 3)))
    assert len(site.take(0, 10)) == count / 3
    site.add(*(event(f"e{number:05}", number / count) for number in range(count) if number % 3))
    assert site.take(10, 20) == [f"e{number:05}" for number in range(count) if number % 3]


def test_a_retry_gives_the_same_bytes_also_beside_known_rows(site: Site) -> None:
    site.add(*(event(f"e{number:05}", number / 1000) for number in range(1_000)))
    site.take(0, 0.5, first=True)
    digests = {sha256(site.extract(0.5, 10)[0].path.read_bytes()).hexdigest() for _ in range(3)}
    assert len(digests) == 1


# --- a query that was changed


def changed(site: Site, columns: str) -> Path:
    path = site.folder / "usage.sql"
    path.write_text(BY["arrival"].read_text().replace(",\n       corrects,\n       team_id", columns))
    return path


@pytest.mark.parametrize(
    ("before", "after", "again"),
    [
        ("", ", corrects, team_id", ["with"]),
        (", corrects, team_id", "", ["with"]),
        ("", ", arrived_at as seen_at", []),
        (", arrived_at as seen_at", ", 1 as version", []),
        (", corrects, team_id", ", team_id, corrects", []),
    ],
    ids=["usage column added", "usage column removed", "another added", "another replaced", "order changed"],
)
def test_a_column_that_a_query_lacks_is_blank(site: Site, before: str, after: str, again: list[str]) -> None:
    """What was taken without ``corrects`` was another event; columns that are no usage make no other event."""
    site.add(event("with", 1, corrects="c"), event("without", 2))
    assert site.take(0, 10, query=changed(site, before.replace("arrived_at", "'x'"))) == ["with", "without"]
    assert site.take(10, 20, query=changed(site, after.replace("arrived_at", "'x'"))) == again


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("select event_id, occurred_at from usage_events where :window_start < :window_end", "column app_id: "),
        ("select * from usage_events where arrived_at < :window_end", "the parameter :window_start is missing"),
        ("select * from nowhere where :window_start < :window_end", "nowhere"),
        ("select e.*, 1.5e0 as x from usage_events e where :window_start < :window_end", "column x: a float"),
    ],
)
def test_a_query_that_gives_no_usage_is_refused(site: Site, sql: str, says: str) -> None:
    site.add(event("e1"))
    (site.folder / "own.sql").write_text(sql.replace("1.5e0", "cast(1.5 as double precision)"))
    with pytest.raises(DataRefused, match=r"own\.sql: the extract is refused") as caught:
        site.extract(0, 10, query=site.folder / "own.sql")
    assert says in str(caught.value)
    assert list((site.folder / "staging").iterdir()) == []


# --- by occurrence

DAY = 24 * 60


@pytest.mark.parametrize(
    ("start", "end", "reads_from"),
    [
        (0, 10, 10 - 3 * DAY),
        (710, 720, 720 - 3 * DAY),
        (720, 730, 730 - 35 * DAY),
        (715, 725, 725 - 35 * DAY),
        (-5 * DAY, 10, 10 - 35 * DAY),
        (-40 * DAY, 10, -40 * DAY),
        (721, 730, 730 - 3 * DAY),
    ],
    ids=["within a day", "ends at midnight", "starts at midnight", "crosses", "days", "an outage", "just after"],
)
def test_72_hours_each_time_35_days_once_a_day(start: float, end: float, reads_from: float) -> None:
    source = SqlSource(name="db", url="sqlite://", query=BY["occurrence"], by="occurrence")
    assert source.reads_from(Window(start=minutes(start), end=minutes(end))) == minutes(reads_from)


def test_of_windows_end_to_end_one_a_day_reads_35_days() -> None:
    source = SqlSource(name="db", url="sqlite://", query=BY["occurrence"], by="occurrence")
    windows = [Window(start=minutes(start), end=minutes(start + 7)) for start in range(0, 7 * DAY, 7)]
    reads = [window.end - source.reads_from(window) for window in windows]
    assert reads.count(timedelta(days=35)) == 7 and set(reads) == {timedelta(days=35), timedelta(hours=72)}


def test_by_occurrence_each_row_comes_once(by_occurrence: Site) -> None:
    site = by_occurrence
    site.add(event("e1", -DAY), event("e2", -50 * DAY), event("future", 15))
    assert site.take(0, 10, first=True) == ["e2", "e1"]
    site.add(event("late", -2 * DAY), event("too late for now", -10 * DAY))
    assert site.take(10, 20) == ["late", "future"]
    assert site.take(20, 30) == []
    assert site.take(30, 800) == ["too late for now"]
    assert site.take(800, 1600) == []


# --- what goes wrong


def test_a_known_extract_that_is_gone_is_no_reason_to_take_its_rows_again(site: Site) -> None:
    site.add(event("e1"))
    site.take(0, 10)
    site.windows[0][1].write_bytes(b"PAR1")
    with pytest.raises(ConservationBroken, match="restore it"):
        site.extract(10, 20)
    site.windows[0][1].unlink()
    with pytest.raises(ConservationBroken, match="restore it"):
        site.extract(10, 20)
    assert list((site.folder / "staging").iterdir()) == []


def test_a_server_that_dies_leaves_no_half_file(tmp_path: Path, postgres_url: Callable[[], str]) -> None:
    """The query kills its own backend when most rows have been given."""
    url = postgres_url()
    engine = create_engine(url)
    EVENTS.create(engine)
    with engine.begin() as connection:
        connection.execute(EVENTS.insert(), [event(f"e{number}", app_id="a" * 200) for number in range(60_000)])
    engine.dispose()
    dying = (
        BY["arrival"]
        .read_text()
        .replace(
            "order by arrived_at, event_id", "and (event_id <> 'e50000' or pg_terminate_backend(pg_backend_pid()))"
        )
    )
    (tmp_path / "dying.sql").write_text(dying)
    source = SqlSource(name="db", url=url, query=tmp_path / "dying.sql")
    (tmp_path / "staging").mkdir()
    with pytest.raises(SourceUnavailable, match="Nothing was taken"):
        source.extract(Window(start=minutes(0), end=minutes(10)), Taken(), tmp_path / "staging")
    assert list((tmp_path / "staging").iterdir()) == []


def test_no_password_shows(tmp_path: Path) -> None:
    source = SqlSource(name="db", url="postgresql://me:s3cret@127.0.0.1:1/usage", query=BY["arrival"])
    assert "s3cret" not in repr(source)
    assert (source.kind, source.location) == ("sql", "postgresql://127.0.0.1:1/usage")
    with pytest.raises(SourceUnavailable) as caught:
        source.extract(Window(start=minutes(0), end=minutes(10)), Taken(), tmp_path)
    assert "s3cret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_held_is_unavailable(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
    database.execute(f"create table usage_events ({', '.join(READ)}, arrived_at)")
    database.execute("begin exclusive")
    source = SqlSource(name="db", url=f"sqlite:///{tmp_path / 's.db'}?timeout=0.05", query=BY["arrival"])
    with pytest.raises(SourceUnavailable, match="locked"):
        source.extract(Window(start=minutes(0), end=minutes(10)), Taken(), tmp_path)
    database.close()
