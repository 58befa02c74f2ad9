"""``[exports]`` of ``billing.toml``: where exports are placed.

In the file::

    [exports]                            # where the DAG exports puts Parquet and FOCUS for a warehouse
    location = "s3://bucket/exports"     # or a folder
    connection = "exports_bucket"        # an Airflow connection; without, what this machine's environment gives
"""

from __future__ import annotations

from dataclasses import dataclass

from billing.settings.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSettings:
    """Where exports are placed: ``location`` is an absolute folder, or a URL. ``connection``: the id of an Airflow
    connection; blank where the environment opens it.
    """

    location: str
    connection: str = ""


def read_exports(table: Table | None) -> ExportSettings | None:
    """None without the table."""
    if table is None:
        return None
    table.only(("location", "connection"))
    return ExportSettings(
        location=table.location("location", "s3://bucket/exports"), connection=table.text("connection")
    )
