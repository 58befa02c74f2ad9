"""Settings: from arguments, environment and ``billing.toml``; what is wrong there is said by file, table and key."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from billing.core.alert_rules import AlertKind, AlertRules
from billing.core.errors import UsageError
from billing.settings import AuditSettings, LakeSettings, ReferenceSettings, Settings, SourceSettings

ROOT = Path(__file__).parents[1]
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "DATABASE_URL", "TEMPLATES", "DROP_FOLDER", "REFERENCE_FOLDER", "SQL", "AUDIT_TEMPLATES"):
        monkeypatch.delenv(f"BILLING_{name}", raising=False)


def read(home: Path, toml: str = "") -> Settings:
    (home / "billing.toml").write_text(toml, "utf-8")
    return Settings.read(home)


# --- without a file


def test_defaults_lie_in_the_home_and_the_checkout(tmp_path: Path) -> None:
    settings = Settings.read(tmp_path)
    assert (settings.home, settings.database_url) == (tmp_path, None)
    assert settings.templates == ROOT / "templates" / "invoices"
    assert settings.theme == "default"
    assert (settings.drop_folder, settings.reference_folder) == (tmp_path / "drop", tmp_path / "reference")
    assert settings.sql == ROOT / "sql"
    assert settings.audit_templates == ROOT / "templates" / "audit"
    assert settings.sources == (SourceSettings(name="drop", kind="files", location=str(tmp_path / "drop")),)
    assert settings.reference is None
    assert settings.expectations == {}


def test_arguments_go_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = 'database_url = "file"\ntemplates = "/file"'
    assert (read(tmp_path, toml).database_url, read(tmp_path, toml).templates) == ("file", Path("/file"))
    monkeypatch.setenv("BILLING_DATABASE_URL", "environment")
    monkeypatch.setenv("BILLING_TEMPLATES", "/environment")
    monkeypatch.setenv("BILLING_SQL", "/sql")
    monkeypatch.setenv("BILLING_AUDIT_TEMPLATES", "/audit")
    settings = read(tmp_path, toml)
    assert (settings.database_url, settings.templates) == ("environment", Path("/environment"))
    assert (settings.sql, settings.audit_templates) == (Path("/sql"), Path("/audit"))
    assert Settings.read(tmp_path, "argument").database_url == "argument"


def test_the_memory_of_a_task_is_whole_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Settings.read(tmp_path).memory_mb, read(tmp_path, "memory_mb = 2048").memory_mb) == (512, 2048)
    monkeypatch.setenv("BILLING_MEMORY_MB", "1024")
    assert read(tmp_path, "memory_mb = 2048").memory_mb == 1024
    for wrong in ("63", "a lot", "-1", "1.5"):
        monkeypatch.setenv("BILLING_MEMORY_MB", wrong)
        with pytest.raises(UsageError, match="a whole number of MB from 64 on"):
            Settings.read(tmp_path)


def test_the_theme_is_a_folder_s_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(tmp_path, 'theme = "ledger"').theme == "ledger"
    monkeypatch.setenv("BILLING_THEME", "acme")
    assert read(tmp_path, 'theme = "ledger"').theme == "acme"
    monkeypatch.setenv("BILLING_THEME", "../acme")
    with pytest.raises(UsageError, match="is no name of a theme"):
        read(tmp_path)


def test_the_drop_folder_is_the_source_where_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLING_DROP_FOLDER", "/var/drop")
    (source,) = read(tmp_path, "[sources]").sources
    assert (source.name, source.kind, source.location) == ("drop", "files", "/var/drop")
    (source,) = read(tmp_path, '[sources.own]\nkind = "files"\nlocation = "in"').sources
    assert (source.name, source.location) == ("own", str(tmp_path / "in"))


def test_no_password_is_shown(tmp_path: Path) -> None:
    assert "hush" not in repr(Settings.read(tmp_path, "postgresql://me:hush@db/billing"))


# --- sources


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
    assert settings.reference == ReferenceSettings(connection="db", queries=tmp_path / "sql" / "extract" / "reference")


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


# --- the lake


def test_the_lake_is_in_the_home_or_where_its_table_says(tmp_path: Path) -> None:
    assert read(tmp_path).lake is None
    for toml, lake in (
        ('location = "s3://bucket/billing/acme/"\nconnection = "keys"', ("s3://bucket/billing/acme", "keys")),
        ('location = "s3://bucket"', ("s3://bucket", "")),
    ):
        assert read(tmp_path, f"[lake]\n{toml}").lake == LakeSettings(location=lake[0], connection=lake[1])


# --- reference and expectations


def test_reference_may_come_from_queries(tmp_path: Path) -> None:
    settings = read(tmp_path, '[reference]\nurl = "postgresql://db/app"\nqueries = "own"')
    assert settings.reference == ReferenceSettings(url="postgresql://db/app", queries=tmp_path / "own")


def test_expectations_are_numbers_as_they_were_given(tmp_path: Path) -> None:
    settings = read(tmp_path, "[expectations]\nrows_max = 1_000_000\nshare = 0.25\nlow = -1")
    assert settings.expectations == {"rows_max": 1_000_000, "share": 0.25, "low": -1}
    assert isinstance(settings.expectations["rows_max"], int)


# --- what is wrong

SQL = '[sources.a]\nkind = "sql"\n'
FILES = '[sources.a]\nkind = "files"\n'
PASSWORD = "holds a password; define an Airflow connection"


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        (
            "colour = 1",
            "'colour' is not a setting; there are: database_url, templates, theme, memory_mb, sources, referen",
        ),
        ("templates = 1", "'templates' is a text; write it in quotes."),
        ("= 1", "Invalid"),
        ("sources = 1", "'sources' is a table; write it as [sources]."),
        ("[sources]\na = 1", "[sources] 'a' is a table; write it as [sources.a]."),
        ('[sources."a/b"]\nkind = "files"', "[sources] 'a/b' is no name of a source; use letters"),
        ('[sources.".a"]\nkind = "files"', "[sources] '.a' is no name of a source"),
        ("[lake]\nurl = 1", "[lake] 'url' is not a setting; there are: location, connection."),
        ("[lake]", "[lake] 'location' is an S3 API's bucket, and a prefix if you like:"),
        ('[lake]\nlocation = "/mnt/lake"', "[lake] 'location' is an S3 API's bucket"),
        ('[lake]\nlocation = "s3://key:secret@bucket/x"', "[lake] 'location' is an S3 API's bucket"),
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
        ("reference = 1", "'reference' is a table; write it as [reference]."),
        ("[reference]", "[reference] 'connection' is missing"),
        (
            '[reference]\nconnection = "c"\nfolder = "x"',
            "[reference] 'folder' is not a setting; there are: connection, url, queries.",
        ),
        ('[reference]\nurl = "postgresql://me:hush@db/x"', f"[reference] 'url' {PASSWORD}"),
        ('[expectations]\nrows = "many"', "[expectations] 'rows' is a number"),
        ("[expectations]\nrows = nan", "[expectations] 'rows' is a number"),
        ("[expectations]\nrows = true", "[expectations] 'rows' is a number"),
    ],
)
def test_what_is_wrong_is_said_by_file_table_and_key(tmp_path: Path, toml: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{tmp_path / 'billing.toml'}: {says}")) as caught:
        read(tmp_path, toml)
    assert "hush" not in str(caught.value)


def test_a_file_that_is_no_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "billing.toml").write_bytes(b"templates = '\xff'")
    with pytest.raises(UsageError, match="billing.toml"):
        Settings.read(tmp_path)


# --- heads of the log


def test_heads_of_the_log_go_to_a_folder_or_a_url(tmp_path: Path) -> None:
    assert read(tmp_path).audit is None
    assert read(tmp_path, '[audit]\nheads = "kept"').audit == AuditSettings(heads=str(tmp_path / "kept"))
    given = read(tmp_path, '[audit]\nheads = "s3://b/h"\nconnection = "c"\nmail = "a@example.com"').audit
    assert given == AuditSettings(heads="s3://b/h", connection="c", mail="a@example.com")
    with pytest.raises(UsageError, match=r"\[audit\] 'heads' is missing"):
        read(tmp_path, "[audit]")


# --- alerts


def test_alerts_are_on_without_any_setting(tmp_path: Path) -> None:
    assert read(tmp_path).alerts == read(tmp_path, "[alerts]").alerts == AlertRules()


def test_alerts_are_told_when_the_file_says(tmp_path: Path) -> None:
    toml = """
        [alerts]
        low_percent = [5, 50]
        least_granted = 100
        ends_within_days = 14
        runs_out_within_days = 7
        free = true
        off = ["payment_missing"]
        mail = false
        mails_at_once_max = 10
    """
    assert read(tmp_path, toml).alerts == AlertRules(
        low_percent=(50, 5),
        least_granted_micro=100_000_000,
        ends_within_days=14,
        runs_out_within_days=7,
        free=True,
        off=frozenset({AlertKind.PAYMENT_MISSING}),
        mail=False,
        mails_at_once_max=10,
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("low_percent = 20", "'low_percent' is a list of whole numbers from 0 to 99"),
        ("low_percent = [0.2]", "'low_percent' is a list of whole numbers from 0 to 99"),
        ("least_granted = -1", "'least_granted' is a whole number from 0 on"),
        ("free = 1", "'free' is true or false"),
        ('off = ["lows"]', "'off' is a list of kinds of alerts; there are: unfunded, payment_missing"),
        ("lows = 1", "'lows' is not a setting; there are: low_percent"),
    ],
)
def test_wrong_settings_of_alerts_are_named(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{tmp_path / 'billing.toml'}: [alerts] {says}")):
        read(tmp_path, f"[alerts]\n{line}\n")
