"""``[audit]`` of ``billing.toml``: where heads of the log are kept.

In the file::

    [audit]                              # where the head of the log goes once a day, out of reach of who writes here
    heads = "s3://bucket/heads"          # or a folder
    connection = "heads_bucket"          # an Airflow connection; without, what this machine's environment gives
    mail = "audit@example.com"           # the head also goes there, by Airflow's SMTP connection
"""

from __future__ import annotations

from dataclasses import dataclass

from billing.settings.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditSettings:
    """Where heads of the log are kept: ``heads`` is an absolute folder, or a URL. ``connection``: the id of an Airflow
    connection; blank where the environment opens it. ``mail``: blank where none is sent.
    """

    heads: str
    connection: str = ""
    mail: str = ""


def read_audit(table: Table | None) -> AuditSettings | None:
    """None without the table."""
    if table is None:
        return None
    table.only(("heads", "connection", "mail"))
    return AuditSettings(
        heads=table.location("heads", "s3://bucket/heads"),
        connection=table.text("connection"),
        mail=table.text("mail"),
    )
