"""Settings of sources; what is wrong there is said by file, table and key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from billing.core.errors import UsageError
from billing.settings.sources import SourceSettings
from tests.settings.homes import PASSWORD, ROOT, read, refusal

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
SQL = '[sources.a]\nkind = "sql"\n'
FILES = '[sources.a]\nkind = "files"\n'


def test_the_drop_folder_is_the_source_where_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLING_DROP_FOLDER", "/var/drop")
    (source,) = read(tmp_path, "[sources]").sources
    assert (source.name, source.kind, source.location) == ("drop", "files", "/var/drop")
    (source,) = read(tmp_path, '[sources.own]\nkind = "files"\nlocation = "in"').sources
    assert (source.name, source.location) == ("own", str(tmp_path / "in"))


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ('kind = "files"\nlocation = "/in"', {"kind": "files", "location": "/in"}),
        ('kind = "files"\nlocation = "file:///in"', {"kind": "files", "location": "/in"}),
        (
            'kind = "files"\nlocation = "s3://bucket/usage"\nconnection = "keys"',
            {"kind": "files", "location": "s3://bucket/usage", "connection": "keys"},
        ),
        ('kind = "sql"\nconnection = "db"', {"connection": "db", "query": ROOT / "sql/extract/usage.sql"}),
        (
            'kind = "sql"\nconnection = "db"\nby = "occurrence"',
            {"connection": "db", "by": "occurrence", "query": ROOT / "sql/extract/usage_by_occurrence.sql"},
        ),
        (
            'kind = "sql"\nconnection = "db"\nquery = "/q.sql"\noverlap_minutes = 1.5',
            {"connection": "db", "query": Path("/q.sql"), "overlap": timedelta(seconds=90)},
        ),
        (
            'kind = "sql"\nurl = "postgres://me@db:5433/usage?sslmode=require&sslkey=/k"\nquery = "/q.sql"',
            {"url": "postgres://me@db:5433/usage?sslmode=require&sslkey=/k", "query": Path("/q.sql")},
        ),
        (
            'kind = "sql"\nurl = "sqlite:////a@b:c.db"\nquery = "/q.sql"\nsince = 2026-01-01T02:00:00+02:00',
            {"url": "sqlite:////a@b:c.db", "query": Path("/q.sql"), "since": NEW_YEAR},
        ),
        (
            'kind = "sql"\nconnection = "db"\nquery = "/q.sql"\nsince = "2026-01-01T00:00:00Z"',
            {"connection": "db", "query": Path("/q.sql"), "since": NEW_YEAR},
        ),
    ],
)
def test_a_source_is_what_its_table_says(tmp_path: Path, toml: str, expected: dict[str, object]) -> None:
    (source,) = read(tmp_path, f"[sources.app-1.x]\n{toml}".replace("app-1.x", '"app-1.x"')).sources
    assert source == SourceSettings(**({"name": "app-1.x", "kind": "sql"} | expected))  # type: ignore[arg-type]


def test_paths_in_the_file_are_relative_to_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    settings = read(tmp_path, '[sources.a]\nkind = "sql"\nconnection = "db"\nquery = "q/usage.sql"')
    assert settings.sources[0].query == tmp_path / "q" / "usage.sql"


def test_shipped_queries_are_those_of_the_sql_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLING_SQL", str(tmp_path / "sql"))
    settings = read(tmp_path, '[sources.a]\nkind = "sql"\nconnection = "db"\n[reference]\nconnection = "db"')
    assert settings.sources[0].query == tmp_path / "sql" / "extract" / "usage.sql"


def test_the_shipped_queries_are_there(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        '[sources.a]\nkind = "sql"\nconnection = "db"\n[sources.b]\nkind = "sql"\nconnection = "db"\nby = "occurrence"',
    )
    assert all(source.query and source.query.is_file() for source in settings.sources)


def test_sources_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    tables = [f'[sources.{name}]\nkind = "files"\nlocation = "{name}"' for name in ("b", "a", "C")]
    settings = read(tmp_path, "\n".join(tables))
    assert [source.name for source in settings.sources] == ["C", "a", "b"]
    assert settings.source("a").location == str(tmp_path / "a")
    with pytest.raises(UsageError, match=r"no source 'd'; there are: C, a, b\."):
        settings.source("d")


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("sources = 1", "'sources' is a table; write it as [sources]."),
        ("[sources]\na = 1", "[sources] 'a' is a table; write it as [sources.a]."),
        ('[sources."a/b"]\nkind = "files"', "[sources] 'a/b' is no name of a source; use letters"),
        ('[sources.".a"]\nkind = "files"', "[sources] '.a' is no name of a source"),
        ("[sources.a]", "[sources.a] 'kind' is one of files, sql; it is missing."),
        ('[sources.a]\nkind = "csv"', "[sources.a] 'kind' is one of files, sql, not 'csv'."),
        (FILES, "[sources.a] 'location' is missing; give a folder, or a URL"),
        (
            FILES + 'location = "x"\nquery = "y"',
            "[sources.a] 'query' is not a setting; there are: kind, location, connection.",
        ),
        (FILES + "location = 1", "[sources.a] 'location' is a text; write it in quotes."),
        (FILES + 'location = "sftp://me:hush@host/x"', f"[sources.a] 'location' {PASSWORD}"),
        (SQL, "[sources.a] 'connection' is missing; name an Airflow connection, or give a url."),
        (SQL + 'connection = "c"\nurl = "sqlite:///x"', "[sources.a] 'connection' is there beside url; keep one."),
        (
            SQL + 'connection = "c"\nlocation = "x"',
            "[sources.a] 'location' is not a setting; there are: kind, connection",
        ),
        (SQL + 'url = "db/usage"', "[sources.a] 'url' is a URL; write it as dialect://host/database."),
        (SQL + 'url = "postgresql://me:hush@db/usage"', f"[sources.a] 'url' {PASSWORD}"),
        (SQL + 'url = "postgresql://me:hu/hush@db/usage"', f"[sources.a] 'url' {PASSWORD}"),
        (SQL + 'url = "postgresql://:hush@db/usage"', f"[sources.a] 'url' {PASSWORD}"),
        (SQL + 'url = "postgresql://db/usage?password=hush"', f"[sources.a] 'url' {PASSWORD}"),
        (SQL + 'url = "postgresql://db/usage?a=b&sslpassword=hush"', f"[sources.a] 'url' {PASSWORD}"),
        (SQL + 'connection = "c"\nby = "time"', "[sources.a] 'by' is one of arrival, occurrence, not 'time'."),
        (SQL + 'connection = "c"\noverlap_minutes = -1', "[sources.a] 'overlap_minutes' is a number from 0 on."),
        (
            SQL + 'connection = "c"\noverlap_minutes = "5"',
            "[sources.a] 'overlap_minutes' is a number; write it without quotes.",
        ),
        (SQL + 'connection = "c"\noverlap_minutes = true', "[sources.a] 'overlap_minutes' is a number"),
        (
            SQL + 'connection = "c"\nby = "occurrence"\noverlap_minutes = 5',
            "[sources.a] 'overlap_minutes' applies to by = \"arrival\" only; leave it out.",
        ),
        (
            SQL + 'connection = "c"\nsince = 2026-01-01T00:00:00',
            "[sources.a] 'since' is an instant; write it with its offset",
        ),
        (SQL + 'connection = "c"\nsince = 2026-01-01', "[sources.a] 'since' is an instant; write it with its offset"),
        (SQL + 'connection = "c"\nsince = "soon"', "[sources.a] 'since' cannot be read: 'soon' is not an instant"),
    ],
)
def test_what_is_wrong_with_a_source_is_said(tmp_path: Path, toml: str, says: str) -> None:
    assert refusal(tmp_path, toml).startswith(says)
