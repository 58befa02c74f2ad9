"""Windows of a database: rows that are no usage are quarantined like any other, reading again is no second delivery."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from billing.intake.sources.sql_source import By, SqlSource
from billing.steps.status import status
from billing.steps.windows import WindowSummary, take_window

from . import malformed
from .small_world import Shop, instant

SQL = Path(__file__).parents[2] / "sql" / "extract"
QUERIES: dict[By, Path] = {"arrival": SQL / "usage.sql", "occurrence": SQL / "usage_by_occurrence.sql"}
COLUMNS = ("event_id", "occurred_at", "app_id", "api", "quantity", "corrects", "team_id", "arrived_at")
Row = Sequence[object]


@pytest.fixture
def source(tmp_path: Path, shop: Shop, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A database with the table that the shipped queries read; of the same engine as the books."""
    shop.load()
    sqlite = shop.home.database.is_sqlite
    url = f"sqlite:///{tmp_path / 'source.db'}" if sqlite else request.getfixturevalue("postgres_url")()
    kinds = {"quantity": "text" if sqlite else "numeric"}
    kinds |= dict.fromkeys(("occurred_at", "arrived_at"), "text" if sqlite else "timestamptz")
    engine = create_engine(url)
    with engine.begin() as connection:
        columns = ", ".join(f"{name} {kinds.get(name, 'text')}" for name in COLUMNS)
        connection.execute(text(f"create table usage_events ({columns})"))
    yield engine
    engine.dispose()


def put(source: Engine, *rows: Row) -> None:
    """Rows at the source, as the columns are; instants written as SQLite's and PostgreSQL's own text."""
    with source.begin() as connection:
        insert = f"insert into usage_events values ({', '.join(f':{name}' for name in COLUMNS)})"  # noqa: S608
        connection.execute(text(insert), [dict(zip(COLUMNS, row, strict=True)) for row in rows])


def at(written: str) -> str:
    """An instant of July 2026 in UTC, as a driver writes it: ``10T10:00``."""
    return f"2026-07-{written.replace('T', ' ')}:00.000000"


def event(name: str, occurred: str, arrived: str, app: object = "a1", quantity: object = "1") -> Row:
    return (name, at(occurred), app, "render", quantity, None, None, at(arrived))


def take(shop: Shop, source: Engine, start: str, end: str, by: By = "arrival") -> WindowSummary:
    url = source.url.render_as_string(hide_password=False)
    opened = SqlSource(name="warehouse", url=url, query=QUERIES[by], by=by)
    begin, finish = (instant(f"2026-07-{written}:00Z") for written in (start, end))
    return take_window(shop.home, opened, begin, finish)


def counts(done: WindowSummary) -> tuple[int, int, int]:
    """Accepted, duplicates, quarantined."""
    taken = done.ingested
    assert taken is not None
    assert taken.records == taken.accepted + taken.duplicates + taken.quarantined
    return taken.accepted, taken.duplicates, taken.quarantined


def test_rows_with_nulls_are_records_with_blanks(shop: Shop, source: Engine) -> None:
    """Rule 2.4: none is lost, each has its reason."""
    nothing = (None,) * 7
    put(source, (*nothing, at("10T10:01")), ("x1", None, "a1", "render", "1", None, None, at("10T10:02")))
    put(source, event("x2", "10T10:00", "10T10:03", quantity=None), event("x3", "10T10:00", "10T10:04", app=None))
    put(source, event("x4", "10T10:00", "10T10:05"))
    done = take(shop, source, "10T10:00", "10T10:10")
    assert counts(done) == (1, 0, 4)
    assert done.ingested
    assert done.ingested.reasons == {
        "missing_event_id": 1,
        "bad_occurred_at": 1,
        "bad_quantity": 1,
        "unattributed_app": 1,
    }


def test_rows_of_any_text_lose_nothing(shop: Shop, source: Engine) -> None:
    """What PostgreSQL and SQLite can hold of what attackers write, and a tenth of it right."""
    dice = random.Random(7)
    rows = [malformed.row(dice, n) for n in range(3_000)]
    cells = [[None if "\x00" in cell else cell for cell in row] for row in rows]
    put(
        source,
        *((r[0], at("10T09:00"), r[2], r[3], str(dice.randrange(-1, 3)), r[5], r[6], at("10T10:01")) for r in cells),
    )
    accepted, duplicates, quarantined = counts(take(shop, source, "10T10:00", "10T10:10"))
    assert accepted + duplicates + quarantined == 3_000
    assert accepted
    assert duplicates
    assert quarantined > 1_000


def test_a_row_that_is_committed_late_is_found_by_the_next_window(shop: Shop, source: Engine) -> None:
    """Its arrival lies in a window that was read before it could be seen; nothing else comes twice."""
    put(source, event("x1", "10T09:00", "10T10:05"))
    assert counts(take(shop, source, "10T10:00", "10T10:10")) == (1, 0, 0)
    put(source, event("x2", "10T09:00", "10T10:09"), event("x3", "10T09:00", "10T10:15"))
    assert counts(take(shop, source, "10T10:10", "10T10:20")) == (2, 0, 0)
    again = take(shop, source, "10T10:10", "10T10:20")
    assert (again.files, again.ingested) == (0, None)


def test_a_source_without_arrival_times_is_read_again_and_again(shop: Shop, source: Engine) -> None:
    """The last 72 hours each time, 35 days once a day; what was taken, or rejected, is no second delivery."""
    put(source, event("x1", "10T09:00", "10T10:00"), event("x2", "10T09:00", "10T10:00", app="ghost"))
    assert counts(take(shop, source, "10T10:00", "10T10:10", by="occurrence")) == (1, 0, 1)
    put(source, event("late", "08T09:00", "10T10:15"), event("later", "02T09:00", "10T10:15"))
    assert counts(take(shop, source, "10T10:10", "10T10:20", by="occurrence")) == (1, 0, 0)
    assert counts(take(shop, source, "10T23:50", "11T00:10", by="occurrence")) == (1, 0, 0)
    found = status(shop.home)
    assert (found.accepted, found.duplicates, sum(found.quarantined.values())) == (3, 0, 1)


def test_the_same_row_twice_at_the_source_is_a_duplicate_once(shop: Shop, source: Engine) -> None:
    """Within one extract both are records; read again they are none."""
    put(source, *[event("x1", "10T09:00", "10T10:05")] * 2)
    assert counts(take(shop, source, "10T10:00", "10T10:10")) == (1, 1, 0)
    assert counts(take(shop, source, "10T10:10", "10T10:20")) == (0, 0, 0)


def test_after_an_outage_one_window_takes_all(shop: Shop, source: Engine) -> None:
    take(shop, source, "10T10:00", "10T10:10")
    put(source, *(event(f"x{n}", "10T09:00", f"1{n}T12:00") for n in range(5)))
    done = take(shop, source, "16T00:00", "16T00:10")
    assert counts(done) == (5, 0, 0)
    assert done.window_end - done.window_start > timedelta(days=5)
