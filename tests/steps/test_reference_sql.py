"""Loads and diffs from SQL, from either database into either (data contract, "Reference data")."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from typer.testing import CliRunner

from billing.cli import app
from billing.core.errors import BillingError, DataRefused, SourceUnavailable
from billing.steps.reference import current_reference, load_reference_sql
from billing.steps.reference_diff import diff_reference_sql
from billing.store.tables import reference_loads
from tests.intake_reference.source_database import SHIPPED, add, make_source

from .small_world import REFERENCE, Shop

ROWS = {name: list(csv.reader(lines)) for name, lines in REFERENCE.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A database with the small world's reference data."""

    url: str
    engine: Engine


@pytest.fixture(params=["sqlite", "postgresql"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
    """A source on each engine, whatever the home's is."""
    url = f"sqlite:///{tmp_path / 'crm.db'}"
    if request.param == "postgresql":
        make: Callable[[], str] = request.getfixturevalue("postgres_url")
        url = make()
    engine = make_source(url, ROWS)
    yield Source(url=url, engine=engine)
    engine.dispose()


def load_row(shop: Shop, load_no: int) -> tuple[str, dict[str, dict[str, str]]]:
    """The source and the files of a load."""
    with shop.home.database.read() as connection:
        row = connection.execute(select(reference_loads).where(reference_loads.c.load_no == load_no)).one()
    return row.source, json.loads(row.files)


def archived(shop: Shop) -> list[str]:
    return sorted(path.name for path in shop.home.reference_archive.folder.rglob("*") if path.is_file())


def test_a_load_from_sql_is_the_load_of_the_same_files(shop: Shop, source: Source) -> None:
    done = load_reference_sql(shop.home, source.url, SHIPPED)
    assert (done.load_no, done.added, done.warnings) == (1, sum(map(len, REFERENCE.values())), ())
    again = shop.load()
    assert (again.load_no, again.added, again.changed, again.removed) == (1, 0, 0, 0)


def test_what_was_read_is_archived_with_its_load(shop: Shop, source: Source) -> None:
    """An auditor starts from the source's bytes: each file under the hash that the load names."""
    load_reference_sql(shop.home, source.url, SHIPPED)
    where, files = load_row(shop, 1)
    assert {name: file["file"] for name, file in files.items()} == {name: f"{name}.sql" for name in REFERENCE}
    assert archived(shop) == sorted(f"{sha}.parquet" for sha in {file["sha256"] for file in files.values()})
    stored = shop.home.reference_archive.read(
        f"{files['apps']['sha256'][:2]}/{files['apps']['sha256']}.parquet", files["apps"]["sha256"]
    )
    assert stored.startswith(b"PAR1")
    assert source.engine.url.database is not None
    assert where.endswith(source.engine.url.database)
    assert "@" not in where


def test_a_load_that_changes_nothing_takes_no_number_and_keeps_no_file(shop: Shop, source: Source) -> None:
    load_reference_sql(shop.home, source.url, SHIPPED)
    before = archived(shop)
    assert load_reference_sql(shop.home, source.url, SHIPPED).load_no == 1
    assert archived(shop) == before


def test_only_what_differs_is_taken(shop: Shop, source: Source) -> None:
    load_reference_sql(shop.home, source.url, SHIPPED)
    add(source.engine, "tax_rates", ["FR", "2026-09-01", "20.5"])
    add(source.engine, "subscriptions", ["flex9", "t1", "flex", "2026-09-01T12:00:00.25Z", "Asia/Tokyo", "", "", ""])
    shown = diff_reference_sql(shop.home, source.url, SHIPPED)
    assert [(row.table, row.key, row.cells[-1].after) for row in shown.rows] == [
        ("subscriptions", "flex9", "Asia/Tokyo"),
        ("tax_rates", "FR, 2026-09-01", "20.5"),
    ]
    done = load_reference_sql(shop.home, source.url, SHIPPED)
    assert (done.load_no, done.added, done.changed, done.removed) == (2, 2, 0, 0)
    assert diff_reference_sql(shop.home, source.url, SHIPPED).rows == ()


def test_a_refusal_names_the_query_and_leaves_nothing(shop: Shop, source: Source) -> None:
    load_reference_sql(shop.home, source.url, SHIPPED)
    before, kept = current_reference(shop.home)[0], archived(shop)
    add(source.engine, "teams", ["t9", "nobody", ""])
    with pytest.raises(DataRefused, match="the reference data is refused, nothing was changed") as refused:
        load_reference_sql(shop.home, source.url, SHIPPED)
    (finding,) = map(str, refused.value.findings)
    assert finding.startswith("teams.sql, line 3, column customer_id: 'nobody' is not in customers")
    shown = diff_reference_sql(shop.home, source.url, SHIPPED)
    assert shown.findings == refused.value.findings
    assert (current_reference(shop.home)[0], archived(shop)) == (before, kept)


def test_late_rows_from_sql_are_late_too(shop: Shop, source: Source) -> None:
    load_reference_sql(shop.home, source.url, SHIPPED)
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", now="08-02")
    shop.close("08-02")
    add(source.engine, "tax_rates", ["FR", "2026-07-31", "21"])
    (row,) = load_reference_sql(shop.home, source.url, SHIPPED).late
    assert (row.key, row.figures[0].would_be) == ("FR, 2026-07-31", "0.48 EUR (S 21 %)")


def test_a_source_that_is_not_there_changes_nothing(shop: Shop, tmp_path: Path) -> None:
    shop.load()
    with pytest.raises(SourceUnavailable):
        load_reference_sql(shop.home, f"sqlite:///{tmp_path / 'none.db'}", SHIPPED, allow_removals=True)
    assert current_reference(shop.home)[0] == 1


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def invoke(shop: Shop) -> Callable[..., tuple[int, str]]:
    """The command ``billing reference``: status and all that it says; a refusal as ``main`` says it."""
    where = [] if shop.home.database.is_sqlite else ["--database", shop.home.database.url]

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["--home", str(shop.home.folder), *where, "reference", *arguments])
        if isinstance(result.exception, BillingError):
            return result.exception.exit_status, result.output + str(result.exception)
        return result.exit_code, result.output

    return run


def test_the_command_takes_the_database_that_the_settings_name(
    shop: Shop, source: Source, invoke: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a connection of Airflow's, which in a terminal the environment gives."""
    url = source.engine.url
    extra = {"sqlalchemy_scheme": url.drivername, **url.query}
    given = {"conn_type": "generic", "host": url.host, "port": url.port, "login": url.username, "extra": extra}
    path = {"schema": url.database} if url.host or url.query else {"host": url.database}
    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps(given | {"password": url.password} | path))
    (shop.home.folder / "billing.toml").write_text('[reference]\nconnection = "crm"\n')
    assert invoke("diff", "--from-sql", "--limit", "0")[0] == 0
    status, said = invoke("load", "--from-sql")
    assert (status, said.splitlines()[-1]) == (0, "Load 1: 31 rows added, 0 changed, 0 removed.")
    add(source.engine, "teams", ["t9", "nobody", ""])
    for command in ("diff", "load"):
        status, said = invoke(command, "--from-sql")
        assert (status, "teams.sql, line 3, column customer_id: 'nobody'" in said) == (1, True)


def test_the_command_wants_one_source(shop: Shop, invoke: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    for command in ("diff", "load"):
        for arguments in ([], [str(tmp_path), "--from-sql"]):
            assert invoke(command, *arguments) == (2, "Name either a FOLDER of reference files or --from-sql.")
        status, said = invoke(command, "--from-sql")
        assert (status, "billing.toml has no [reference]" in said) == (2, True)
