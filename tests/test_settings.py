"""Settings: from arguments, environment and ``billing.toml``; what is wrong there is said by file, table and key."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from billing.core.approval import NEVER_ASKED, Policy, When
from billing.core.collecting import CollectingRules
from billing.core.errors import UsageError
from billing.settings.approval import ApprovalSettings
from billing.settings.audit import AuditSettings
from billing.settings.lake import LakeSettings
from billing.settings.payments import GatewaySettings, PaymentSettings
from billing.settings.reference import ReferenceSettings
from billing.settings.settings import Settings
from billing.settings.sources import SourceSettings

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


# --- payment gateways

STRIPE = '[payments.gateways.stripe]\nkind = "stripe"\nconnection = "stripe_key"\n'


def test_without_a_table_there_is_no_gateway(tmp_path: Path) -> None:
    assert read(tmp_path).payments == PaymentSettings()
    assert read(tmp_path, "[payments.gateways]").payments == PaymentSettings(is_set_up=True)


def test_gateways_are_what_their_tables_say_in_the_order_of_their_names(tmp_path: Path) -> None:
    toml = (
        STRIPE
        + '[payments.gateways.old]\nkind = "stripe"\nconnection = "c"\nlabel = "acme-2"\n'
        + 'minimum = { EUR = "1.00", JPY = "100", KWD = "0.150" }'
    )
    old, stripe = read(tmp_path, toml).payments.gateways
    assert stripe == GatewaySettings(name="stripe", kind="stripe", connection="stripe_key", label="stripe")
    assert (old.name, old.connection, old.label) == ("old", "c", "acme-2")
    assert old.minimum == {"EUR": Decimal("1.00"), "JPY": Decimal(100), "KWD": Decimal("0.150")}


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[payments]\ngateway = 1", "[payments] 'gateway' is not a setting; there are: gateways"),
        ("[payments]\ngateways = 1", "[payments] 'gateways' is a table; write it as [payments.gateways]."),
        ('[payments.gateways."a b"]', "[payments.gateways] 'a b' is no name of a gateway"),
        ("[payments.gateways.manual]", "[payments.gateways] 'manual' is the name of bank transfers"),
        ("[payments.gateways.a]", "[payments.gateways.a] 'kind' is one of stripe; it is missing."),
        ('[payments.gateways.a]\nkind = "x"', "[payments.gateways.a] 'kind' is one of stripe, not 'x'."),
        (
            '[payments.gateways.a]\nkind = "stripe"',
            "[payments.gateways.a] 'connection' is missing; name an Airflow connection",
        ),
        (STRIPE + "url = 1", "[payments.gateways.stripe] 'url' is not a setting; there are: kind, connection, label"),
        (STRIPE + 'label = "a b"', "[payments.gateways.stripe] 'label' is no label"),
        (STRIPE + 'api_key = "hush"', "[payments.gateways.stripe] 'api_key' holds a secret; define an Airflow"),
        (STRIPE + 'secret = "hush"', "[payments.gateways.stripe] 'secret' holds a secret; define an Airflow"),
        (STRIPE + 'label = "sk_live_hush"', "[payments.gateways.stripe] 'label' holds a secret; define an Airflow"),
        (
            '[payments.gateways.a]\nkind = "stripe"\nconnection = "rk_test_hush"',
            "[payments.gateways.a] 'connection' holds a secret; define an Airflow connection",
        ),
        (STRIPE + "minimum = 1", "[payments.gateways.stripe] 'minimum' is a table"),
        (STRIPE + 'minimum = { eur = "1" }', "[payments.gateways.stripe.minimum] 'eur' is no currency"),
        (STRIPE + "minimum = { EUR = true }", "[payments.gateways.stripe.minimum] 'EUR' is a number"),
        (
            STRIPE + 'minimum = { EUR = "0.505" }',
            "[payments.gateways.stripe.minimum] 'EUR' is an amount from 0 on, with at most 2 decimals.",
        ),
        (STRIPE + "minimum = { JPY = 50.5 }", "[payments.gateways.stripe.minimum] 'JPY' is an amount from 0 on"),
        (STRIPE + 'minimum = { EUR = "-1" }', "[payments.gateways.stripe.minimum] 'EUR' is an amount from 0 on"),
    ],
)
def test_what_is_wrong_with_a_gateway_is_said_and_never_a_secret(tmp_path: Path, toml: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{tmp_path / 'billing.toml'}: {says}")) as caught:
        read(tmp_path, toml)
    assert "hush" not in str(caught.value)


# --- how money is collected


def test_rules_of_collecting_and_their_defaults(tmp_path: Path) -> None:
    assert read(tmp_path).payments.rules == CollectingRules()
    toml = "[payments]\nretry_after_days = [2, 4]\nat_once = 1\nsince = 2026-08-01\nignore_foreign_charges = true\n"
    assert read(tmp_path, toml).payments.rules == CollectingRules(
        retry_after_days=(2, 4), at_once=1, since=date(2026, 8, 1), ignore_foreign_charges=True
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("retry_after_days = [3, 1]", "'retry_after_days' is a list of whole days from 1 on"),
        ("retry_after_days = [0]", "'retry_after_days' is a list of whole days from 1 on"),
        ("overdue_mail_days = 3", "'overdue_mail_days' is a list of whole days from 1 on"),
        ("at_once = 0", "'at_once' is a whole number from 1 on"),
        ("at_once = 1.5", "'at_once' is a whole number from 1 on"),
        ("ignore_foreign_charges = 1", "'ignore_foreign_charges' is true or false"),
        ("since = 2026-08-01T00:00:00Z", "'since' is a date"),
        ("retries = 3", "'retries' is not a setting"),
    ],
)
def test_what_is_wrong_in_them_is_said(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"[payments] {said}")):
        read(tmp_path, f"[payments]\n{line}\n")


# --- approval


def test_without_approval_nobody_is_asked(tmp_path: Path) -> None:
    assert read(tmp_path).approval == ApprovalSettings(policy=NEVER_ASKED)


def test_approval_is_read_with_exact_amounts(tmp_path: Path) -> None:
    toml = """
[approval]
when = "above"
invoice_above = { EUR = 10000, KWD = 0.105 }
close_above = { EUR = 250000.50 }
outlier_times = 20
outlier_cycles = 3
outlier_floor = { EUR = 10 }
approvers = ["ada", "7"]
within_hours = 0.5
mail = "finance@example.com"
"""
    found = read(tmp_path, toml).approval
    assert found.policy == Policy(
        when=When.ABOVE,
        invoice_above={"EUR": Decimal(10000), "KWD": Decimal("0.105")},
        close_above={"EUR": Decimal("250000.5")},
        outlier_times=20,
        outlier_cycles=3,
        outlier_floor={"EUR": Decimal(10)},
    )
    assert (found.approvers, found.within) == (("ada", "7"), timedelta(minutes=30))
    assert found.mail == "finance@example.com"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "'when' is one of never, above, always; it is missing"),
        ('when = "often"', "'when' is one of never, above, always, not 'often'"),
        ('when = "above"\ninvoice_above = 5', "'invoice_above' is a table"),
        ('when = "above"\ninvoice_above = { euro = 5 }', "'euro' is no currency"),
        ('when = "above"\nclose_above = { EUR = "five" }', "'EUR' is an amount from 0 on"),
        ('when = "above"\nclose_above = { EUR = -5 }', "'EUR' is an amount from 0 on"),
        ('when = "above"\noutlier_floor = { EUR = 0 }', "'EUR' is an amount from 1 on"),
        ('when = "above"\noutlier_times = 1', "'outlier_times' is a whole number from 2 on"),
        ('when = "above"\noutlier_cycles = 1.5', "'outlier_cycles' is a whole number from 1 on"),
        ('when = "always"\nwithin_hours = 0', "'within_hours' is a number above 0"),
        ('when = "always"\napprovers = "ada"', "'approvers' is a list of texts"),
        ('when = "always"\nwho = "ada"', "'who' is not a setting"),
    ],
)
def test_what_is_wrong_with_approval_is_said(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        read(tmp_path, f"[approval]\n{line}")
