"""Settings of reference data; what is wrong there is said by file, table and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.settings.reference import ReferenceSettings
from tests.settings.homes import PASSWORD, read, refusal


def test_reference_may_come_from_queries(tmp_path: Path) -> None:
    settings = read(tmp_path, '[reference]\nurl = "postgresql://db/app"\nqueries = "own"')
    assert settings.reference == ReferenceSettings(url="postgresql://db/app", queries=tmp_path / "own")


def test_shipped_queries_are_those_of_the_sql_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLING_SQL", str(tmp_path / "sql"))
    settings = read(tmp_path, '[sources.a]\nkind = "sql"\nconnection = "db"\n[reference]\nconnection = "db"')
    assert settings.reference == ReferenceSettings(connection="db", queries=tmp_path / "sql" / "extract" / "reference")


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("reference = 1", "'reference' is a table; write it as [reference]."),
        ("[reference]", "[reference] 'connection' is missing"),
        (
            '[reference]\nconnection = "c"\nfolder = "x"',
            "[reference] 'folder' is not a setting; there are: connection, url, queries.",
        ),
        ('[reference]\nurl = "postgresql://me:hush@db/x"', f"[reference] 'url' {PASSWORD}"),
    ],
)
def test_what_is_wrong_with_reference_is_said(tmp_path: Path, toml: str, says: str) -> None:
    assert refusal(tmp_path, toml).startswith(says)
