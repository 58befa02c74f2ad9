"""A shop with an empty home, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from billing.cli import app
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


@pytest.fixture
def run_billing(database_url: str | None) -> Callable[..., tuple[int, str]]:
    """The command in a shop's home: its exit status, and all that it said."""

    def run(shop: Shop, *line: str) -> tuple[int, str]:
        where = ["--home", str(shop.home.folder), *(["--database", database_url] if database_url else [])]
        done = CliRunner().invoke(app, [*where, *line])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            return getattr(done.exception, "status", 2), str(done.exception)
        return done.exit_code, done.output

    return run
