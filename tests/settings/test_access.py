"""Settings of who operates; what is wrong there is said by file, table and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.settings.access import AccessSettings
from tests.settings.homes import read, refusal


def test_settings_say_who_operates(tmp_path: Path) -> None:
    toml = '[access]\noperators = ["user:aud", "role:Op", "runs:a", "user:fin"]\n'
    assert read(tmp_path, toml).access == AccessSettings(
        users=frozenset({"aud", "fin"}), roles=frozenset({"Op"}), runs=("a",)
    )
    assert read(tmp_path, "[access]\noperators = []\n").access == AccessSettings()


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ('operators = ["aud"]', "write"),
        ('operators = ["boss:aud"]', "write"),
        ('operators = ["user:"]', "write"),
        ('operators = "user:aud"', "is a list of texts"),
        ("operators = [1]", "is a list of texts"),
        ("admins = []", "is not a setting"),
    ],
)
def test_what_is_wrong_with_access_is_said(tmp_path: Path, written: str, says: str) -> None:
    said = refusal(tmp_path, f"[access]\n{written}\n")
    assert said.startswith("[access] ") and says in said
