"""A shop with an empty home, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


@pytest.fixture
def other(tmp_path: Path, database_url: str | None, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A second shop on the same engine, to compare the first one with."""
    make: Callable[[], str] | None = request.getfixturevalue("postgres_url") if database_url else None
    home = Home.at(tmp_path / "other", make() if make else None)
    home.create()
    yield Shop(home=home, folder=tmp_path / "other-files")
    home.close()
