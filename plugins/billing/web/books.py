"""The books as the pages read them: opened once a process, checked at each request, never written to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from sqlalchemy import Connection

from billing import connections
from billing.settings.lake import LakeSettings
from billing.settings.settings import Settings
from billing.store.home import Home
from billing.store.lake_storage import ObjectStorage

_KEPT = 4
_Place = tuple[str, str | None, LakeSettings | None]
_homes: dict[_Place, Home] = {}
_opening = Lock()


@contextmanager
def opened(settings: Settings | None = None) -> Iterator[Home]:
    """The home of this process's settings, which are read anew each time.

    A connection to PostgreSQL is worth keeping. One to SQLite costs a millisecond, and its file must not be held open
    between requests: somebody may put a backup in its place. Raises ``StoreOutOfDate`` where this version cannot work
    with what is there.
    """
    home = _home(settings or Settings.read())
    try:
        home.check_database()
        yield home
    finally:
        if home.database.is_sqlite:
            home.close()


@contextmanager
def reading() -> Iterator[tuple[Home, Connection]]:
    """The home, and a connection that sees one state of its books."""
    with opened() as home, home.database.read() as connection:
        yield home, connection


def _home(settings: Settings) -> Home:
    place = (str(settings.home), settings.database_url, settings.lake)
    with _opening:
        if place not in _homes:
            for old in list(_homes)[: max(0, len(_homes) - _KEPT + 1)]:
                _homes.pop(old).close()
            _homes[place] = Home.at(settings.home, settings.database_url, _lake(settings.lake))
        return _homes[place]


def _lake(lake: LakeSettings | None) -> ObjectStorage | None:
    if lake is None:
        return None
    credentials = connections.object_store(lake.connection) if lake.connection else dict
    return ObjectStorage(url=lake.location, credentials=credentials)
