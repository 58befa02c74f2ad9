"""What a close waits for: sources whose usage is not complete, the windows that are missing, and why (rule 3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from billing.core.instants import format_instant, from_us, to_us
from billing.store import sources
from billing.store.batches import Completeness


@dataclass(frozen=True, kw_only=True, slots=True)
class Awaited:
    """A source that is awaited: how far its usage is complete (None: nothing was taken yet), the windows that are
    missing before later ones, and why the last attempt after that took nothing (blank where there was none).
    """

    source: str
    complete_through: datetime | None
    missing: tuple[tuple[datetime, datetime], ...]
    stopped: str

    def __str__(self) -> str:
        through = "nothing was taken yet"
        if self.complete_through is not None:
            through = f"usage is complete through {format_instant(self.complete_through)}"
        gaps = "".join(f"; missing: {format_instant(start)} to {format_instant(end)}" for start, end in self.missing)
        return f"source {self.source}: {through}{gaps}" + (f"; {self.stopped}" if self.stopped else "")


def awaited(connection: Connection, found: Completeness, until: datetime) -> tuple[Awaited, ...]:
    """The sources whose usage is not complete through ``until``, by name."""
    late = {name: us for name, us in found.sources.items() if us is None or us < to_us(until)}
    return tuple(_awaited(connection, found, name, us) for name, us in late.items())


def _awaited(connection: Connection, found: Completeness, source: str, through_us: int | None) -> Awaited:
    stop = sources.last_stop(connection, source, through_us)
    return Awaited(
        source=source,
        complete_through=None if through_us is None else from_us(through_us),
        missing=tuple((from_us(m.start_us), from_us(m.end_us)) for m in found.missing if m.source == source),
        stopped="" if stop is None else f"last attempt was {stop}",
    )
