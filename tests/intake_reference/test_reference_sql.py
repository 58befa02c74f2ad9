"""Reference data from SQL: the same tables, rules and findings as from files (data contract, "Reference data")."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine, event, text

from billing.core.errors import DataRefused, SourceUnavailable
from billing.core.reference import TABLES
from billing.intake.reference_checks import NO_NEEDS, check_reference
from billing.intake.reference_files import read_reference_folder
from billing.intake.reference_sql import ReferenceRead, read_reference_sql

from .folders import EARLY, small, write
from .source_database import SHIPPED, add, make_source


@pytest.fixture
def url(tmp_path: Path, database_url: str | None) -> str:
    """Where the source is, on each engine."""
    return database_url or f"sqlite:///{tmp_path / 'source.db'}"


@pytest.fixture
def source(url: str) -> Iterator[Engine]:
    """A source with the small valid tables."""
    engine = make_source(url, small())
    yield engine
    engine.dispose()


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    """The shipped queries, to be changed."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "queries"))


def read(url: str, queries: Path, tmp_path: Path) -> ReferenceRead:
    staging = tmp_path / "staging"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    return read_reference_sql(url, queries, staging)


def change(query: Path, old: str, new: str) -> None:
    before = query.read_text()
    assert old in before
    query.write_text(before.replace(old, new))


def said(found: ReferenceRead) -> list[str]:
    """Every finding of the reading and of the checks."""
    return [str(finding) for finding in (*found.findings, *check_reference(found.new, None, NO_NEEDS))]


# --- what arrives ----------------------------------------------------------------------------------------------------

QUERIED = set(TABLES) - {"exchange_rates", "team_members"}


def test_there_is_a_query_for_every_table(url: str) -> None:
    """But for exchange rates and members of teams, which few sources have: a query for a table that is not there would
    refuse the load.
    """
    assert sorted(path.stem for path in SHIPPED.glob("*")) == sorted(QUERIED)


def test_the_shipped_queries_give_what_files_give(url: str, source: Engine, tmp_path: Path) -> None:
    """timestamptz to instants, numeric to decimals, date to days, null to blank; nothing is said of any of it."""
    found = read(url, SHIPPED, tmp_path)
    files, _ = read_reference_folder(write(tmp_path / "files", small()))
    assert said(found) == []
    assert found.new.warnings == []
    assert set(found.new.tables) == QUERIED == set(found.staged)
    for name in QUERIED:
        frame = files.tables[name]
        columns = list(frame.columns)
        pair = [one.sort_values(columns, ignore_index=True) for one in (found.new.tables[name], frame)]
        pd.testing.assert_frame_equal(*pair, obj=name)


def test_the_zone_of_the_server_moves_no_instant(url: str, source: Engine, tmp_path: Path) -> None:
    before = read(url, SHIPPED, tmp_path).new.tables["subscriptions"]
    if source.dialect.name == "postgresql":
        with source.begin() as connection:
            connection.execute(text(f"alter database {source.url.database} set timezone = 'Asia/Kathmandu'"))
    pd.testing.assert_frame_equal(read(url, SHIPPED, tmp_path).new.tables["subscriptions"], before)


def test_the_same_rows_make_the_same_bytes(url: str, source: Engine, tmp_path: Path) -> None:
    """What is archived is one file, however often it is read."""
    assert read(url, SHIPPED, tmp_path).new.sha256 == read(url, SHIPPED, tmp_path).new.sha256


def test_all_queries_see_one_instant(url: str, source: Engine, tmp_path: Path) -> None:
    """A full picture is consistent: what is committed while the queries run is in none of them."""
    done = []

    def write_meanwhile(connection, cursor, statement, *others):  # type: ignore[no-untyped-def]
        if "from unit_rates" in statement and not done:
            done.append(True)
            add(source, "apis", ["late", "", "call", "rated"])
            add(source, "unit_prices", ["late", "EUR", EARLY, "1"])

    event.listen(Engine, "before_cursor_execute", write_meanwhile)
    try:
        found = read(url, SHIPPED, tmp_path)
    finally:
        event.remove(Engine, "before_cursor_execute", write_meanwhile)
    assert done, "something was written in the middle"
    assert said(found) == [], "a price without its API would be an unknown reference"
    assert "late" not in set(found.new.tables["unit_prices"]["api"])
    assert "late" in set(read(url, SHIPPED, tmp_path).new.tables["apis"]["api"])


# --- queries that are there, and not ---------------------------------------------------------------------------------


def test_an_absent_optional_query_says_nothing_and_another_one_is_missed(
    url: str, source: Engine, queries: Path, tmp_path: Path
) -> None:
    for name in ("capacity_grants", "payment_methods", "hubs"):
        (queries / f"{name}.sql").unlink()
    found = read(url, queries, tmp_path)
    assert "capacity_grants" not in found.new.tables
    assert [str(finding).split(";")[0] for finding in found.findings] == ["hubs.sql: is missing"]


def test_other_names_and_columns_are_ignored_with_a_warning(
    url: str, source: Engine, queries: Path, tmp_path: Path
) -> None:
    (queries / "customers.sql").rename(queries / "customers.sql.old")
    (queries / "prices.sql").write_text("select 1")
    (queries / "customers.sql").write_text("select customers.*, 1 as rank from customers")
    found = read(url, queries, tmp_path)
    assert said(found) == []
    assert [str(warning).split(":")[0] for warning in found.new.warnings] == [
        "customers.sql",
        "customers.sql.old",
        "prices.sql",
    ]
    assert "'rank'" in str(found.new.warnings[0])


def test_a_folder_that_is_not_there_is_refused(url: str, source: Engine, tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="nowhere: is not a folder; name one with a query for each table"):
        read(url, tmp_path / "nowhere", tmp_path)


# --- what is wrong ---------------------------------------------------------------------------------------------------


def test_findings_name_the_query_the_row_and_the_column(url: str, source: Engine, tmp_path: Path) -> None:
    add(source, "teams", ["t9", "nobody", ""])
    add(source, "unit_prices", ["automation", "USD", EARLY, "-1"], ["automation", "XXX", EARLY, "1"])
    found = said(read(url, SHIPPED, tmp_path))
    assert any(line.startswith("teams.sql, line 3, column customer_id: 'nobody' is not in customers") for line in found)
    assert any(line.startswith("unit_prices.sql, line 3, column unit_price: '-1' must not be") for line in found)
    assert any(line.startswith("unit_prices.sql, line 4, column currency: 'XXX' is no ISO 4217 code") for line in found)
    assert len(found) == 3


def test_every_query_that_is_wrong_is_told_in_one_report(
    url: str, source: Engine, queries: Path, tmp_path: Path
) -> None:
    """What the database refuses, what has no exact text, what lacks a column; also beside rows that are wrong."""
    real = "1e0" if source.dialect.name == "sqlite" else "1::double precision"
    (queries / "apps.sql").write_text("select app_id from nothing")
    change(queries / "unit_prices.sql", "       unit_price", f"       {real} as unit_price")
    (queries / "hubs.sql").write_text("select hub_id from hubs")
    add(source, "customers", ["c9", "", "", "", "", "", "", "FR", "", "", ""])
    found = said(read(url, queries, tmp_path))
    assert [line.split(":")[0] for line in found] == [
        "apps.sql",
        "unit_prices.sql, line 1, column unit_price",
        "customers.sql, line 3, column legal_name",
        "hubs.sql",
    ]
    assert "the database refuses it" in found[0]
    assert "a float is not exact" in found[1]
    assert "lacks the column name" in found[3]


def test_a_time_without_an_offset_is_never_guessed(url: str, source: Engine, queries: Path, tmp_path: Path) -> None:
    naive = "'2026-07-01 00:00:00.1234567'" if source.dialect.name == "sqlite" else "timestamp '2026-07-01'"
    change(queries / "unit_rates.sql", "       valid_from", f"       {naive} as valid_from")
    found = said(read(url, queries, tmp_path))
    assert found[0].startswith("unit_rates.sql, line 1, column valid_from: ")


def test_full_card_numbers_are_refused_from_sql_too(url: str, source: Engine, tmp_path: Path) -> None:
    add(source, "payment_methods", ["pm9", "c1", "stripe", "4111111111111111", "visa", "1111", ""])
    found = said(read(url, SHIPPED, tmp_path))
    assert [line.split(":")[0] for line in found] == ["payment_methods.sql, line 2, column token"]
    assert "4111" not in found[0]


def test_a_source_that_cannot_be_reached_is_no_refusal(tmp_path: Path) -> None:
    """Trying again may help; and no password is in the message."""
    with pytest.raises(SourceUnavailable, match="Nothing was taken") as failed:
        read("postgresql://user:hidden@127.0.0.1:1/none", SHIPPED, tmp_path)
    assert "hidden" not in str(failed.value)
