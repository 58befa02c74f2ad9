"""The checks of usage and of the books that were made: listed, and their pages."""

from __future__ import annotations

from billing.store import validations
from billing.store.home import Home
from billing.store.validations import Validation


def list_checks(home: Home, *, limit: int = 100, run: str | None = None) -> list[Validation]:
    """The newest checks, newest first; with ``run`` (``dag_id/run_id``, or ``command``) only those of it."""
    with home.database.read() as connection:
        if run is not None:
            return validations.of_run(connection, run)[::-1][:limit]
        return validations.newest(connection, limit)


def check_page(home: Home, number: int) -> bytes:
    """The Data Docs page of a check: one HTML file that needs nothing else. Raises ``NotFound``."""
    with home.database.read() as connection:
        found = validations.read(connection, number)
    return validations.read_page(home.checks, found)
