"""A shop with an empty home, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from billing.store.home import Home

from .small_world import Shop


@pytest.fixture
def shop(tmp_path: Path, database_url: str | None) -> Iterator[Shop]:
    """A shop before its first load."""
    home = Home.at(tmp_path / "home", database_url)
    home.create()
    yield Shop(home=home, folder=tmp_path / "files")
    home.close()
