"""Settings are read without what this machine's environment says."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "DATABASE_URL", "TEMPLATES", "DROP_FOLDER", "REFERENCE_FOLDER", "SQL", "AUDIT_TEMPLATES"):
        monkeypatch.delenv(f"BILLING_{name}", raising=False)
