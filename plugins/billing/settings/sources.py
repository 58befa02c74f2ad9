"""``[sources]`` of ``billing.toml``: where usage comes from, a table a source.

In the file::

    [sources.deliveries]                 # usage files: a folder, or a URL of object storage
    kind = "files"
    location = "s3://bucket/usage"
    connection = "usage_bucket"          # an Airflow connection; without, what this machine's environment gives

    [sources.app]                        # usage from a query
    kind = "sql"
    connection = "app_db"                # or url = "postgresql://host/db", which holds no password
    query = "usage.sql"                  # default: the shipped sql/extract/usage.sql or usage_by_occurrence.sql
    by = "arrival"                       # or "occurrence", where the source does not know when a row arrived
    overlap_minutes = 60                 # by arrival: how late a row may be committed
    since = 2026-01-01T00:00:00Z         # nothing from before is read
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, cast

from billing.settings.table import NAME, Table

_SHIPPED = {"arrival": "usage.sql", "occurrence": "usage_by_occurrence.sql"}

Kind = Literal["files", "sql"]
By = Literal["arrival", "occurrence"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSettings:
    """A source of usage. Blank is what does not apply to its kind, or was not given.

    ``location`` (files): an absolute folder, or a URL. ``connection``: the id of an Airflow connection. ``url`` (sql):
    instead of a connection, without a password. ``query``, ``by``, ``overlap`` (sql): see ``intake/sources``. ``since``
    (sql): an aware instant.
    """

    name: str
    kind: Kind
    location: str = ""
    connection: str = ""
    url: str = ""
    query: Path | None = None
    by: By = "arrival"
    overlap: timedelta = timedelta(hours=1)
    since: datetime | None = None


def read_sources(table: Table | None, drop_folder: Path, sql: Path) -> tuple[SourceSettings, ...]:
    """In the order of their names; usage files in the drop folder where none is named. ``sql``: the shipped queries."""
    if table is None or not table.content:
        return (SourceSettings(name="drop", kind="files", location=str(drop_folder)),)
    for name in table.content:
        if not NAME.fullmatch(name):
            raise table.wrong(name, "is no name of a source; use letters, digits, and _ . - after the first")
    return tuple(_source(name, table.inner(name), sql) for name in sorted(table.content))


def _source(name: str, table: Table, sql: Path) -> SourceSettings:
    if table.choice("kind", ("files", "sql"), "") == "files":
        table.only(("kind", "location", "connection"))
        location = table.location("location", "s3://bucket/usage")
        return SourceSettings(name=name, kind="files", location=location, connection=table.text("connection"))
    table.only(("kind", "connection", "url", "query", "by", "overlap_minutes", "since"))
    connection, url = table.connection()
    overlap = table.number("overlap_minutes", 60)
    if overlap < 0:
        raise table.wrong("overlap_minutes", "is a number from 0 on")
    by = cast("By", table.choice("by", ("arrival", "occurrence"), "arrival"))
    if by == "occurrence" and "overlap_minutes" in table.content:
        raise table.wrong("overlap_minutes", 'applies to by = "arrival" only; leave it out')
    return SourceSettings(
        name=name,
        kind="sql",
        connection=connection,
        url=url,
        query=table.path("query") or sql / "extract" / _SHIPPED[by],
        by=by,
        overlap=timedelta(minutes=overlap),
        since=table.instant("since"),
    )
