"""``[files]`` of ``billing.toml``: where copies of documents go, under which names.

In the file::

    [files]                              # copies of documents in a folder or in object storage
    location = "s3://bucket/invoices"
    connection = "invoices_bucket"       # an Airflow connection; without, what this machine's environment gives
    layout = "{year}/{customer_id}/{number}.{kind}"
    summaries = "{year}/summaries/{number}.{kind}"
"""

from __future__ import annotations

from dataclasses import dataclass

from billing.core.file_layout import Layout
from billing.settings.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class FilesSettings:
    """Where copies of documents go: ``location`` is an absolute folder, or a URL. ``connection``: the id of an Airflow
    connection; blank where the environment opens it.
    """

    location: str
    layout: Layout
    summaries: Layout
    connection: str = ""


def read_files(table: Table | None) -> FilesSettings | None:
    """None without the table."""
    if table is None:
        return None
    table.only(("location", "connection", "layout", "summaries"))
    return FilesSettings(
        location=table.location("location", "s3://bucket/invoices").rstrip("/"),
        connection=table.text("connection"),
        layout=_layout(table, "layout", "{year}/{customer_id}/{number}.{kind}"),
        summaries=_layout(table, "summaries", "{year}/summaries/{number}.{kind}"),
    )


def _layout(table: Table, key: str, default: str) -> Layout:
    try:
        return Layout.parse(table.text(key) or default)
    except ValueError as error:
        raise table.wrong(key, str(error)) from None
