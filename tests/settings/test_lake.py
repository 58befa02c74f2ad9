"""Settings of the usage table; what is wrong there is said by file, table and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.settings.lake import LakeSettings
from tests.settings.homes import read, refusal


def test_the_lake_is_in_the_home_or_where_its_table_says(tmp_path: Path) -> None:
    assert read(tmp_path).lake is None
    for toml, lake in (
        ('location = "s3://bucket/billing/acme/"\nconnection = "keys"', ("s3://bucket/billing/acme", "keys")),
        ('location = "s3://bucket"', ("s3://bucket", "")),
    ):
        assert read(tmp_path, f"[lake]\n{toml}").lake == LakeSettings(location=lake[0], connection=lake[1])


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[lake]\nurl = 1", "[lake] 'url' is not a setting; there are: location, connection."),
        ("[lake]", "[lake] 'location' is an S3 API's bucket, and a prefix if you like:"),
        ('[lake]\nlocation = "/mnt/lake"', "[lake] 'location' is an S3 API's bucket"),
        ('[lake]\nlocation = "s3://key:secret@bucket/x"', "[lake] 'location' is an S3 API's bucket"),
    ],
)
def test_what_is_wrong_with_the_lake_is_said(tmp_path: Path, toml: str, says: str) -> None:
    assert refusal(tmp_path, toml).startswith(says)
