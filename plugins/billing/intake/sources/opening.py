"""From settings to a source: which kind it is, and where its credentials come from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

import fsspec
from fsspec import AbstractFileSystem

from billing.core.errors import DataRefused
from billing.intake.sources.folder_source import FolderSource
from billing.intake.sources.object_source import ObjectSource
from billing.intake.sources.seam import Source
from billing.intake.sources.sql_rows import parse_url
from billing.intake.sources.sql_source import By, SqlSource


class Described(Protocol):
    """What the settings say of a source; see ``SourceSettings`` there."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Literal["files", "sql"]: ...
    @property
    def location(self) -> str: ...
    @property
    def connection(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def query(self) -> Path | None: ...
    @property
    def by(self) -> By: ...
    @property
    def overlap(self) -> timedelta: ...
    @property
    def since(self) -> datetime | None: ...


class Resolver(Protocol):
    """Credentials by the id of a connection: what the module ``connections`` gives."""

    def sql_url(self, conn_id: str, /) -> str:
        """A SQLAlchemy URL with its password."""
        ...

    def storage(self, conn_id: str, url: str, /) -> AbstractFileSystem:
        """The file system for a URL."""
        ...


def open_source(settings: Described, resolve: Resolver) -> Source:
    """The source; nothing is read yet. Of a database the connection is resolved at once, of storage at each extract.

    Raises what ``resolve`` raises, and ``DataRefused`` for a URL that cannot be read.
    """
    if settings.kind == "sql":
        return _sql_source(settings, resolve)
    if "://" not in settings.location:
        return FolderSource(name=settings.name, folder=Path(settings.location))
    return ObjectSource(name=settings.name, url=settings.location, storage=_storage(settings, resolve))


def _sql_source(settings: Described, resolve: Resolver) -> SqlSource:
    url = resolve.sql_url(settings.connection) if settings.connection else settings.url
    parse_url(url)
    if settings.query is None:
        raise DataRefused(f"The source {settings.name} has no query; name a file of SQL.")
    return SqlSource(
        name=settings.name,
        url=url,
        query=settings.query,
        by=settings.by,
        overlap=settings.overlap,
        since=settings.since,
    )


def _storage(settings: Described, resolve: Resolver) -> Callable[[], AbstractFileSystem]:
    """With a connection, or with what this machine's environment gives."""
    connection, url = settings.connection, settings.location

    def by_environment() -> AbstractFileSystem:
        try:
            return fsspec.url_to_fs(url)[0]
        except (ImportError, ValueError) as error:
            raise DataRefused(f"The source {settings.name}: its location cannot be opened ({error}).") from None

    return (lambda: resolve.storage(connection, url)) if connection else by_environment
