"""``[lake]`` of ``billing.toml``: where the usage table is, if not in the home.

In the file::

    [lake]                               # the usage table on an S3 API; without, it is in the home
    location = "s3://bucket/prefix"
    connection = "lake_bucket"           # an Airflow connection of the type aws; without, what the environment gives.
                                         # All the rest of a home stays in its folder, which workers share
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from billing.settings.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class LakeSettings:
    """The usage table on an S3 API: ``location`` is ``s3://bucket/prefix``. ``connection``: the id of an Airflow
    connection; blank where the environment opens it.
    """

    location: str
    connection: str = ""


def read_lake(table: Table | None) -> LakeSettings | None:
    """None without the table."""
    if table is None:
        return None
    table.only(("location", "connection"))
    location = table.text("location").rstrip("/")
    if not re.fullmatch(r"s3://[^/@?]+(/[^?]+)?", location):
        raise table.wrong(
            "location",
            'is an S3 API\'s bucket, and a prefix if you like: "s3://bucket/prefix"; keys are of a connection',
        )
    return LakeSettings(location=location, connection=table.text("connection"))
