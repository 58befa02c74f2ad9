"""A home, and a database alone, on SQLite and on PostgreSQL (``database_url``)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from billing.store.database import Database
from billing.store.home import Home


@pytest.fixture
def home(tmp_path: Path, database_url: str | None) -> Iterator[Home]:
    """A home that was just made."""
    made = Home.at(tmp_path / "home", database_url)
    made.create()
    yield made
    made.close()


@pytest.fixture
def database(tmp_path: Path, database_url: str | None) -> Iterator[Database]:
    """A database without a schema."""
    url = database_url or f"sqlite:///{tmp_path / 'billing.db'}"
    made = Database(url, tmp_path / "locks")
    yield made
    made.close()
