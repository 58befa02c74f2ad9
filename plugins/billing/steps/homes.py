"""Homes, for those above the steps: made, opened and set up."""

from __future__ import annotations

from pathlib import Path

from billing.store.configuration import configure as set_value
from billing.store.home import Home


def home_at(folder: Path, database_url: str | None = None) -> Home:
    """The home in a folder, not opened yet; its database is its own SQLite unless a URL points elsewhere."""
    return Home.at(folder, database_url)


def configure(home: Home, name: str, value: int) -> None:
    """Set how a home bills, from its next close on."""
    with home.database.exclusive("books") as connection:
        set_value(connection, name, value)
