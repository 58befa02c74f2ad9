"""The one seam to where usage comes from: a source brings what arrived in a window, as files.

A source reads and never changes anything where it reads. What it brings lies in files on this machine: its own, where
it is a local folder; fetched into a staging folder, which the caller makes and removes, where it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A stretch of time ``[start, end)`` by arrival at the source; aware instants in UTC.

    ``first`` is True for a source that no window was ever taken of: it brings all that arrived before ``end``.
    """

    start: datetime
    end: datetime
    first: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """A usage file and the name by which it is spoken of. ``arrived_at`` is when it arrived, where that is known."""

    path: Path
    name: str
    arrived_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What earlier windows took of a source.

    ``files``: name, bytes and arrival in microseconds of files that were taken or set aside. ``extracts``: the archived
    extracts (Parquet) of windows that ended after an instant, in the order in which they were taken.
    """

    files: frozenset[tuple[str, int, int]] = frozenset()
    extracts: Callable[[datetime], Sequence[Path]] = lambda since: ()


class Source(Protocol):
    """Where usage comes from. What it is does not change while it is read: sources are frozen."""

    @property
    def name(self) -> str:
        """By which batches, windows and settings know it."""
        ...

    @property
    def kind(self) -> str:
        """``files`` or ``sql``."""
        ...

    @property
    def location(self) -> str:
        """Where it is, without credentials."""
        ...

    def extract(self, window: Window, taken: Taken, staging: Path) -> list[SourceFile]:
        """Everything that arrived before the window's end and was not taken yet, in a reproducible order.

        Raises ``DataRefused`` where the source cannot be read as it is (what, where, what to do), and
        ``SourceUnavailable`` where trying again may help.
        """
        ...
