"""Rows of a query as cells of text, on SQLite and PostgreSQL: what is exact comes through, what is not is refused."""

from __future__ import annotations

import sqlite3
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import Column, DateTime, MetaData, String, Table, create_engine, text
from sqlalchemy.exc import OperationalError

from billing.core.errors import DataRefused, SourceUnavailable
from billing.intake.sources.sql_rows import ROWS_AT_ONCE, Row, location_of, open_snapshot, parse_url

NOON = datetime(2026, 7, 10, 12, tzinfo=UTC)
EVENTS = Table("events", MetaData(), Column("event_id", String), Column("at", DateTime(timezone=True)))
PASSWORD = "pa/ss@word"


@pytest.fixture
def source(tmp_path: Path, database_url: str | None) -> str:
    """An empty database of each engine."""
    if database_url is not None:
        return database_url
    sqlite3.connect(tmp_path / "source #1?.db").close()
    return f"sqlite:///{tmp_path / 'source #1?.db'}".replace("?", "%3F")


@pytest.fixture
def postgres(postgres_url: Callable[[], str]) -> str:
    return postgres_url()


def query(folder: Path, sql: str) -> Path:
    path = folder / "asked.sql"
    path.write_text(sql, "utf-8")
    return path


def rows(url: str, path: Path, instants: tuple[str, ...] = (), **parameters: datetime) -> list[Row]:
    with open_snapshot(url) as snapshot:
        found = snapshot.rows(path, parameters, instants=instants)
        return [found.columns, *(row for batch in found.batches for row in batch)]


def refused(url: str, path: Path, **parameters: datetime) -> list[str]:
    with pytest.raises(DataRefused) as caught:
        rows(url, path, **parameters)
    assert caught.value.findings
    return [str(finding) for finding in caught.value.findings]


def run(url: str, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


# --- cells


@pytest.mark.parametrize(
    ("expression", "cell"),
    [
        ("null", None),
        ("''", ""),
        ("'  Zürich, \"a\" '", '  Zürich, "a" '),
        ("12345678901234567", "12345678901234567"),
        ("cast(-7 as smallint)", "-7"),
    ],
)
def test_on_both_a_cell_is_its_exact_text(source: str, tmp_path: Path, expression: str, cell: str | None) -> None:
    assert rows(source, query(tmp_path, f"select {expression} as x")) == [("x",), (cell,)]


@pytest.mark.parametrize(
    ("expression", "cell"),
    [
        ("1.50::numeric(20, 8)", "1.5"),
        ("0.000001::numeric", "0.000001"),
        ("1e20::numeric", "100000000000000000000"),
        ("100::numeric(10, 2)", "100"),
        ("true", "true"),
        ("false", "false"),
        ("date '2026-07-10'", "2026-07-10"),
        ("timestamptz '2026-07-10 12:00:00+02'", "2026-07-10T10:00:00Z"),
        ("timestamptz '2026-07-10 12:00:00.25+00'", "2026-07-10T12:00:00.250000Z"),
        ("'6f1b1a1e-8f0c-4b8e-9d0a-0123456789ab'::uuid", "6f1b1a1e-8f0c-4b8e-9d0a-0123456789ab"),
    ],
)
def test_on_postgresql_each_exact_type_has_its_text(postgres: str, tmp_path: Path, expression: str, cell: str) -> None:
    assert rows(postgres, query(tmp_path, f"select {expression} as x")) == [("x",), (cell,)]


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("0.1::float8", "a float is not exact; cast it to numeric or text"),
        ("timestamp '2026-07-10 12:00:00'", "a time without an offset"),
        ("'x'::bytea", "binary data"),
        ("array[1, 2]", "list is no plain value; cast it to text"),
        ("'{\"a\": 1}'::jsonb", "dict is no plain value"),
        ("interval '1 day'", "timedelta is no plain value"),
    ],
)
def test_what_has_no_exact_text_is_refused(postgres: str, tmp_path: Path, expression: str, says: str) -> None:
    path = query(
        tmp_path, f"select 'a' as id, null as x union all select 'b', {expression}".replace("null", _null(expression))
    )
    (finding,) = refused(postgres, path)
    assert finding.startswith("asked.sql, line 2, column x: ") and says in finding


def _null(expression: str) -> str:
    return f"(select {expression} where false)"


def test_every_column_at_fault_is_named_with_its_first_row(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    run(url, "create table t (a, b, c)", "insert into t values (1, 'x', 2), (1, 0.5, x'00'), (0.5, 0.5, 3)")
    path = query(tmp_path, "select * from t")
    assert [finding.split(":")[0] for finding in refused(url, path)] == [
        "asked.sql, line 3, column a",
        "asked.sql, line 2, column b",
        "asked.sql, line 2, column c",
    ]


def test_rows_are_counted_over_all_batches(source: str, tmp_path: Path) -> None:
    run(
        source,
        "create table t (n integer, x float)",
        _numbers(ROWS_AT_ONCE + 5, "n, null"),
        "update t set x = 0.5 where n = 8194",
    )
    assert refused(source, query(tmp_path, "select n, x from t order by n"))[0].startswith(
        "asked.sql, line 8194, column x"
    )


def _numbers(count: int, columns: str) -> str:
    series = f"with recursive s(n) as (select 1 union all select n + 1 from s where n < {count})"  # noqa: S608
    return f"insert into t {series} select {columns} from s"  # noqa: S608


# --- instants and parameters


def test_the_bounds_compare_as_instants_on_both(source: str, tmp_path: Path) -> None:
    engine = create_engine(source)
    late = timezone(timedelta(hours=2))
    with engine.begin() as connection:
        EVENTS.create(connection)
        for name, at in {"before": -1, "first": 0, "inside": 1, "end": 60}.items():
            values = {"event_id": name, "at": NOON + timedelta(microseconds=1) * at}
            connection.execute(EVENTS.insert(), values)
    engine.dispose()
    path = query(
        tmp_path,
        "-- Parameters: :window_start, :window_end; 'quoted :here\n/* and :here */"
        "select event_id, at, ':x' as c from events where at >= :window_start and at < :window_end order by at;",
    )
    found = rows(
        source,
        path,
        instants=("at",),
        window_start=NOON.astimezone(late),
        window_end=(NOON + timedelta(microseconds=60)).astimezone(late),
    )
    assert found == [
        ("event_id", "at", "c"),
        ("first", "2026-07-10T12:00:00Z", ":x"),
        ("inside", "2026-07-10T12:00:00.000001Z", ":x"),
    ]


def test_only_the_columns_said_to_hold_instants_are_read_as_such(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    run(
        url,
        "create table t (a, b)",
        "insert into t values ('2026-07-10 12:00:00.000000', '2026-07-10 12:00:00.000000')",
    )
    run(url, "insert into t values ('2026-02-30 12:00:00', null), ('soon', ''), (null, '')")
    assert rows(url, query(tmp_path, "select a, b from t"), instants=("a",)) == [
        ("a", "b"),
        ("2026-07-10T12:00:00Z", "2026-07-10 12:00:00.000000"),
        ("2026-02-30 12:00:00", None),
        ("soon", ""),
        (None, ""),
    ]


def test_a_parameter_that_is_not_there_is_refused(source: str, tmp_path: Path) -> None:
    (finding,) = refused(source, query(tmp_path, "select 1 as x where :since < :window_end"), window_end=NOON)
    assert finding == "asked.sql: there is no parameter :since; there are: :window_end"


# --- queries


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("select x from nowhere", "nowhere"),
        ("select nothing from t", "nothing"),
        ("selec 1", "syntax error"),
        ("insert into t values (1)", ""),
        ("delete from t returning n", ""),
        ("", ""),
        ("select 1 as a, 2 as b, 3 as a", "column a: the column is there more than once"),
        ('select 1 as a, 2 as "A"', "column a: the column is there more than once"),
    ],
)
def test_a_wrong_query_is_refused_and_changes_nothing(source: str, tmp_path: Path, sql: str, says: str) -> None:
    run(source, "create table t (n integer)", "insert into t values (7)")
    (finding,) = refused(source, query(tmp_path, sql))
    assert finding.startswith("asked.sql") and says in finding
    assert rows(source, query(tmp_path, "select n from t")) == [("n",), ("7",)]


def test_a_function_that_writes_is_refused_also_where_no_rollback_would_undo_it(postgres: str, tmp_path: Path) -> None:
    run(postgres, "create sequence numbers")
    (finding,) = refused(postgres, query(tmp_path, "select nextval('numbers') as n"))
    assert "read-only transaction" in finding
    assert rows(postgres, query(tmp_path, "select is_called from numbers"))[1:] == [("false",)]


def test_a_sqlite_file_that_its_url_lets_write_is_only_read(tmp_path: Path) -> None:
    run(f"sqlite:///{tmp_path / 's.db'}", "create table t (n)", "insert into t values (7)")
    url = f"sqlite:///file:{tmp_path / 's.db'}?mode=rw&uri=true"
    assert "readonly" in refused(url, query(tmp_path, "delete from t returning n"))[0]
    assert rows(url, query(tmp_path, "select n from t"))[1:] == [("7",)]


def test_a_query_that_is_no_text_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    run(url, "create table t (n)")
    (tmp_path / "asked.sql").write_bytes(b"select '\xff'")
    for path in (tmp_path / "asked.sql", tmp_path / "nowhere.sql"):
        with pytest.raises(DataRefused, match=f"{path.name}: the query cannot be read"):
            rows(url, path)


def test_no_rows_still_have_columns(source: str, tmp_path: Path) -> None:
    run(source, "create table t (n integer, m integer)")
    assert rows(source, query(tmp_path, "select m, n from t")) == [("m", "n")]


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    run(url, "create table t (a)", "insert into t values (cast(x'ff' as text))")
    assert "UTF-8" in refused(url, query(tmp_path, "select a from t"))[0]


# --- one state, little memory


def test_all_queries_of_a_snapshot_see_one_state(source: str, tmp_path: Path) -> None:
    run(source, "create table t (n integer)", "insert into t values (1)")
    if source.startswith("sqlite"):
        run(source, "pragma journal_mode = wal")
    path = query(tmp_path, "select count(*) as n from t")
    with open_snapshot(source) as snapshot:
        before = [row for batch in snapshot.rows(path).batches for row in batch]
        run(source, "insert into t values (2)")
        after = [row for batch in snapshot.rows(path).batches for row in batch]
    assert before == after == [("1",)]
    assert rows(source, path)[1:] == [("2",)]


def test_rows_are_fetched_as_they_are_asked_for(source: str, tmp_path: Path) -> None:
    """A million rows of 100 characters are 100 MB; reading the first two batches, and all, stays far below."""
    count = 300_000
    run(source, "create table t (n integer, x text)", _numbers(count, f"n, '{'x' * 100}'"))
    tracemalloc.start()
    seen = 0
    with open_snapshot(source) as snapshot:
        for batch in snapshot.rows(query(tmp_path, "select n, x from t")).batches:
            assert len(batch) <= ROWS_AT_ONCE
            seen += len(batch)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == count
    assert peak < 12 << 20


# --- databases that are not there


def test_a_connection_that_breaks_off_is_unavailable(postgres: str, tmp_path: Path) -> None:
    run(postgres, "create table t (n integer, x text)", _numbers(100_000, f"n, '{'x' * 200}'"))
    with open_snapshot(postgres) as snapshot:
        batches = snapshot.rows(query(tmp_path, "select n, x from t")).batches
        assert len(next(batches)) == ROWS_AT_ONCE
        run(
            postgres,
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()",
        )
        with pytest.raises(SourceUnavailable, match="broke off"):
            list(batches)


def test_a_query_that_is_stopped_is_unavailable_not_wrong(postgres: str, tmp_path: Path) -> None:
    url = postgres + ("&" if "?" in postgres else "?") + "options=-c%20statement_timeout%3D50"
    with pytest.raises(SourceUnavailable, match="timeout"):
        rows(url, query(tmp_path, "select pg_sleep(5)::text as x"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:{0}@127.0.0.1:1/db",
        "postgresql://user:{0}@127.0.0.1:1/db?sslmode={0}",
        "postgres://user:{0}@nowhere.invalid/db?connect_timeout=5",
        "sqlite:////nowhere/at/all.db",
    ],
)
def test_what_cannot_be_reached_is_unavailable_without_its_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(SourceUnavailable) as caught:
        rows(url.format("pa%2Fss%40word"), query(tmp_path, "select 1 as x"))
    assert location_of(parse_url(url.format("x"))) in str(caught.value)
    _says_no_password(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "nothing at all pa/ss@word",
        "postgresql://user:pa/ss@word@host/db",
        "postgresql://user:pa%2Fss%40word@127.0.0.1/db?madeup=pa%2Fss%40word",
        "nosuchdialect://user:pa%2Fss%40word@host/db",
        "postgresql+nosuchdriver://user:pa%2Fss%40word@host/db",
    ],
)
def test_a_url_at_fault_is_refused_without_its_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataRefused) as caught:
        rows(url, query(tmp_path, "select 1 as x"))
    _says_no_password(caught.value)


def _says_no_password(error: Exception) -> None:
    assert error.__suppress_context__ or error.__context__ is None
    for secret in (PASSWORD, "pa%2Fss%40word", "pa/ss", "ss@word"):
        assert secret not in str(error)


def test_a_sqlite_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable):
        rows(f"sqlite:///{tmp_path / 'new.db'}", query(tmp_path, "select 1 as x"))
    assert not (tmp_path / "new.db").exists()


def test_errors_of_the_reader_stay_what_they_are(source: str, tmp_path: Path) -> None:
    """Only the source's own errors are the source's: the billing database may fail while rows are read."""
    own = OperationalError("select", None, sqlite3.OperationalError("another database"))
    with pytest.raises(OperationalError, match="another database"), open_snapshot(source):
        raise own


def test_a_location_has_no_user_and_no_options() -> None:
    url = parse_url("postgres://user:secret@db.example:5433/usage?sslmode=require&sslpassword=secret")
    assert location_of(url) == "postgresql://db.example:5433/usage"
    assert url.drivername == "postgresql+psycopg"
