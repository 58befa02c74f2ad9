"""Homes, for those above the steps: made, opened and set up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from billing.store.configuration import configure as set_value
from billing.store.engine import MEMORY_MB, bound_memory
from billing.store.home import Home
from billing.store.lake_storage import ObjectStorage


class DescribedLake(Protocol):
    """What the settings say of the lake; see ``LakeSettings`` there."""

    @property
    def location(self) -> str: ...
    @property
    def connection(self) -> str: ...


class LakeResolver(Protocol):
    """Credentials by the id of a connection: what the module ``connections`` gives."""

    def object_store(self, conn_id: str, /) -> Callable[[], Mapping[str, str]]:
        """What opens an S3 API, asked for each time anew."""
        ...


def home_at(
    folder: Path,
    database_url: str | None = None,
    lake: DescribedLake | None = None,
    resolve: LakeResolver | None = None,
    *,
    memory_mb: int = MEMORY_MB,
) -> Home:
    """The home in a folder, not opened yet; its database is its own SQLite unless a URL points elsewhere, its usage
    table lies there unless ``lake`` is given. Without a connection that is opened by what the environment gives.
    ``memory_mb``: what this process's engine holds at most while it reads usage.
    """
    bound_memory(memory_mb)
    if lake is None:
        return Home.at(folder, database_url)
    credentials = resolve.object_store(lake.connection) if resolve is not None and lake.connection else dict
    return Home.at(folder, database_url, ObjectStorage(url=lake.location, credentials=credentials))


def configure(home: Home, name: str, value: int) -> None:
    """Set how a home bills, from its next close on."""
    with home.database.exclusive("books") as connection:
        set_value(connection, name, value)
