"""Settings of the heads of the log; what is wrong there is said by file, table and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.core.errors import UsageError
from billing.settings.audit import AuditSettings
from tests.settings.homes import read


def test_heads_of_the_log_go_to_a_folder_or_a_url(tmp_path: Path) -> None:
    assert read(tmp_path).audit is None
    assert read(tmp_path, '[audit]\nheads = "kept"').audit == AuditSettings(heads=str(tmp_path / "kept"))
    given = read(tmp_path, '[audit]\nheads = "s3://b/h"\nconnection = "c"\nmail = "a@example.com"').audit
    assert given == AuditSettings(heads="s3://b/h", connection="c", mail="a@example.com")
    with pytest.raises(UsageError, match=r"\[audit\] 'heads' is missing"):
        read(tmp_path, "[audit]")
