"""``[reference]`` of ``billing.toml``: where reference data comes from, if not from files.

In the file::

    [reference]                          # reference data from queries, one a table
    connection = "app_db"
    queries = "reference"                # default: the shipped sql/extract/reference
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from billing.settings.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceSettings:
    """Reference data from a database: by ``connection`` or by ``url``. ``queries``: the folder of a file a table."""

    queries: Path
    connection: str = ""
    url: str = ""


def read_reference(table: Table | None, sql: Path) -> ReferenceSettings | None:
    """None without the table. ``sql``: the folder of the shipped queries."""
    if table is None:
        return None
    table.only(("connection", "url", "queries"))
    connection, url = table.connection()
    return ReferenceSettings(
        connection=connection, url=url, queries=table.path("queries") or sql / "extract" / "reference"
    )
