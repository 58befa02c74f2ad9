"""Settings: from arguments, environment and ``billing.toml``; what is wrong there is said by file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.core.errors import UsageError
from billing.settings.settings import Settings
from billing.settings.sources import SourceSettings
from tests.settings.homes import ROOT, read, refusal


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


def test_no_password_is_shown(tmp_path: Path) -> None:
    assert "hush" not in repr(Settings.read(tmp_path, "postgresql://me:hush@db/billing"))


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        (
            "colour = 1",
            "'colour' is not a setting; there are: database_url, templates, theme, memory_mb, sources, referen",
        ),
        ("templates = 1", "'templates' is a text; write it in quotes."),
        ("= 1", "Invalid"),
    ],
)
def test_what_is_wrong_is_said_by_file_and_key(tmp_path: Path, toml: str, says: str) -> None:
    assert refusal(tmp_path, toml).startswith(says)


def test_a_file_that_is_no_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "billing.toml").write_bytes(b"templates = '\xff'")
    with pytest.raises(UsageError, match="billing.toml"):
        Settings.read(tmp_path)
