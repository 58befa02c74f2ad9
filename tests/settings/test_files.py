"""Settings of copies of documents; what is wrong there is said by file, table and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.core.errors import UsageError
from tests.settings.homes import read


def test_files_as_they_are_written(tmp_path: Path) -> None:
    assert read(tmp_path).files is None
    found = read(tmp_path, '[files]\nlocation = "out"').files
    assert found is not None
    assert (found.location, found.connection) == (str(tmp_path / "out"), "")
    assert found.layout.pattern == "{year}/{customer_id}/{number}.{kind}"


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[files]", r"\[files\] 'location' is missing"),
        ('[files]\nlocation = "out"\nlayout = "../{number}.{kind}"', r"'layout' is relative"),
        ('[files]\nlocation = "s3://k:secret@b"', r"holds a password"),
    ],
)
def test_what_is_wrong_with_files_is_told(tmp_path: Path, toml: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(tmp_path, toml)
