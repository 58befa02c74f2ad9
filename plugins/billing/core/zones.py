"""Time zones from the locked ``tzdata`` package only, so that every machine computes the same boundaries.

The system's own copy differs from machine to machine, and ``zoneinfo`` caches whatever it met first; zones
are therefore read from the package itself, whatever the process has done before.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

import tzdata

TZDATA_VERSION: str = tzdata.IANA_VERSION
"""The IANA release that zones are read from; pinned by every close (rule 3.4)."""


@cache
def zone_names() -> frozenset[str]:
    """Every IANA zone name that the locked data knows."""
    return frozenset(files(tzdata).joinpath("zones").read_text("utf-8").split())


@cache
def zone(name: str) -> ZoneInfo:
    """The zone of an IANA name. ``ValueError`` where the locked data has none."""
    if name not in zone_names():
        raise ValueError(f"{name!r} is not an IANA time zone of tzdata {TZDATA_VERSION}")
    with files(tzdata).joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)
