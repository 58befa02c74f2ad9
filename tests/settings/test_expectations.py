"""Settings of what is expected; what is wrong there is said by file, table and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.settings.homes import read, refusal


def test_expectations_are_numbers_as_they_were_given(tmp_path: Path) -> None:
    settings = read(tmp_path, "[expectations]\nrows_max = 1_000_000\nshare = 0.25\nlow = -1")
    assert settings.expectations == {"rows_max": 1_000_000, "share": 0.25, "low": -1}
    assert isinstance(settings.expectations["rows_max"], int)


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ('[expectations]\nrows = "many"', "[expectations] 'rows' is a number"),
        ("[expectations]\nrows = nan", "[expectations] 'rows' is a number"),
        ("[expectations]\nrows = true", "[expectations] 'rows' is a number"),
    ],
)
def test_what_is_wrong_with_expectations_is_said(tmp_path: Path, toml: str, says: str) -> None:
    assert refusal(tmp_path, toml).startswith(says)
