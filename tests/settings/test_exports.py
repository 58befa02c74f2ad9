"""Settings of exports; what is wrong there is said by file, table and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.core.errors import UsageError
from tests.settings.homes import read


def test_exports_are_read(tmp_path: Path) -> None:
    found = read(tmp_path, '[exports]\nlocation = "out"').exports
    assert found is not None and found.location == str(tmp_path / "out")


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ('[exports]\nconnection = "x"', "'location' is missing"),
    ],
)
def test_what_is_wrong_with_exports_is_said(tmp_path: Path, toml: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(tmp_path, toml)
