"""Which of the files at a source are due: the same rules for a folder and for object storage.

Whoever delivers writes under another name (``.part``, ``.tmp``, or with a leading dot, or below a folder with one) and
renames when done. Nothing is moved or deleted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from billing.core.instants import from_us, to_us
from billing.intake.sources.seam import Taken, Window

SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A file that lies at a source. ``name``: its path below the source's folder; ``place``: how to get at it;
    ``mark``: changes when its bytes do, as far as the source can tell. ``arrived_us``: microseconds since the epoch.
    """

    name: str
    size_bytes: int
    arrived_us: int
    place: str
    mark: str = ""

    @property
    def arrived_at(self) -> datetime:
        """The instant of its arrival, in UTC."""
        return from_us(self.arrived_us)


def is_usage(name: str) -> bool:
    """Whether a file of this name is delivered: of a known format, and hidden nowhere on its path."""
    return name.endswith(SUFFIXES) and not any(part.startswith(".") for part in name.split("/"))


def due(found: Iterable[Arrival], window: Window, taken: Taken) -> list[Arrival]:
    """What arrived before the window's end and was not taken yet, by arrival, then by name.

    There is no lower bound: what shows late, with an earlier time, is taken by the next window.
    """
    end_us = to_us(window.end)
    new = [
        one
        for one in found
        if one.arrived_us < end_us and (one.name, one.size_bytes, one.arrived_us) not in taken.files
    ]
    return sorted(new, key=lambda one: (one.arrived_us, one.name))


def spoken(name: str) -> str:
    r"""A name that can be kept and shown: bytes that are not UTF-8 as ``\xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
