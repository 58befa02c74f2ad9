"""The sources of usage that a home knows: what was taken of each, what was set aside, and which windows stopped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, insert, select, update

from billing.core.errors import NotFound
from billing.core.instants import format_us, to_us
from billing.store.tables import batch_files, batches, files_set_aside, sources, stopped_windows

REFUSED, UNAVAILABLE, ANOMALY = "refused", "unavailable", "anomaly"
"""Why a window took nothing: what came is refused, the source cannot be reached, or it is not as expected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownSource:
    """A source by its name; ``location`` is where it is, without credentials."""

    name: str
    kind: str
    location: str


def _taken_from(source: str) -> ColumnElement[bool]:
    """Batches that count and that the source delivered: no replay and no replacement, whatever it is called."""
    return and_(batches.c.state == "committed", batches.c.kind == "delivery", batches.c.source == source)


def active(connection: Connection) -> list[str]:
    """Names of the sources that are registered and not retired."""
    query = select(sources.c.name).where(sources.c.retired_at_us.is_(None)).order_by(sources.c.name)
    return list(connection.execute(query).scalars())


def retired(connection: Connection) -> set[str]:
    """Names of the sources from which nothing is awaited any more."""
    return set(connection.execute(select(sources.c.name).where(sources.c.retired_at_us.is_not(None))).scalars())


def is_registered(connection: Connection, source: KnownSource) -> bool:
    """Whether it is known like this, and awaited."""
    same = and_(*(sources.c[name] == getattr(source, name) for name in KnownSource.__slots__))
    return connection.execute(select(sources.c.name).where(same, sources.c.retired_at_us.is_(None))).first() is not None


def register(connection: Connection, source: KnownSource, at: datetime) -> None:
    """From now on usage is complete only where this source is; one that was retired is awaited again."""
    fields = {name: getattr(source, name) for name in KnownSource.__slots__}
    mine = update(sources).where(sources.c.name == source.name)
    if not connection.execute(mine.values(**fields, retired_at_us=None, retired_why="")).rowcount:
        row = {"registered_at_us": to_us(at), "retired_at_us": None, "retired_why": ""}
        connection.execute(insert(sources).values(**fields, **row))


def retire(connection: Connection, name: str, at: datetime, why: str) -> None:
    """Await nothing from a source any more."""
    waiting = update(sources).where(sources.c.name == name, sources.c.retired_at_us.is_(None))
    if not connection.execute(waiting.values(retired_at_us=to_us(at), retired_why=why)).rowcount:
        known = ", ".join(active(connection)) or "none"
        raise NotFound(f"No source named {name} is awaited; there are: {known}.")


def was_ever_taken(connection: Connection, source: str) -> bool:
    """Whether some window of the source was taken."""
    windows = select(batches.c.batch_no).where(_taken_from(source), batches.c.window_start_us.is_not(None))
    return connection.execute(windows.limit(1)).first() is not None


def files_taken(connection: Connection, source: str) -> frozenset[tuple[str, int, int]]:
    """Files of a source that committed batches hold or that were set aside: (name, bytes, arrival in microseconds)."""
    columns = (batch_files.c.name, batch_files.c.bytes, batch_files.c.arrived_at_us)
    query = select(*columns).join(batches, batches.c.batch_no == batch_files.c.batch_no)
    query = query.where(_taken_from(source))
    held = connection.execute(query.where(batch_files.c.arrived_at_us.is_not(None)))
    aside = select(files_set_aside.c.name, files_set_aside.c.bytes, files_set_aside.c.arrived_at_us)
    set_aside = connection.execute(aside.where(files_set_aside.c.source == source))
    return frozenset((row.name, row.bytes, row.arrived_at_us) for rows in (held, set_aside) for row in rows)


def extracts_after(connection: Connection, source: str, since: datetime) -> list[tuple[str, str]]:
    """Name and SHA-256 of the files of a source's windows that ended after an instant, in the order they were taken."""
    query = select(batch_files.c.name, batch_files.c.sha256).join(batches, batches.c.batch_no == batch_files.c.batch_no)
    query = query.where(_taken_from(source))
    late = query.where(batches.c.window_end_us > to_us(since)).order_by(batch_files.c.batch_no, batch_files.c.file_no)
    return [(row.name, row.sha256) for row in connection.execute(late)]


def set_aside(connection: Connection, source: str, file: tuple[str, int, int], at: datetime, why: str) -> None:
    """Let windows go on without this file: (name, bytes, arrival in microseconds)."""
    name, size, arrived_us = file
    row = {"source": source, "name": name, "bytes": size, "arrived_at_us": arrived_us}
    connection.execute(insert(files_set_aside).values(**row, at_us=to_us(at), why=why))


def write_stop(
    connection: Connection, source: str, window: tuple[datetime | None, datetime], at: datetime, kind: str, why: str
) -> None:
    """Keep why a window took nothing."""
    start_us = None if window[0] is None else to_us(window[0])
    row = {"source": source, "window_start_us": start_us, "window_end_us": to_us(window[1]), "at_us": to_us(at)}
    connection.execute(insert(stopped_windows).values(**row, kind=kind, message=why))


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """An attempt to take a window that took nothing: when, of which kind, and the whole message."""

    at_us: int
    kind: str
    message: str

    def __str__(self) -> str:
        at = format_us(self.at_us // 1_000_000 * 1_000_000)
        return f"{self.kind} at {at}: " + self.message.partition("\n")[0]


def last_stop(connection: Connection, source: str, after_us: int | None) -> Stop | None:
    """The newest stopped window of a source that ended after an instant (any where None)."""
    columns = (stopped_windows.c.at_us, stopped_windows.c.kind, stopped_windows.c.message)
    query = select(*columns).where(stopped_windows.c.source == source)
    if after_us is not None:
        query = query.where(stopped_windows.c.window_end_us > after_us)
    row = connection.execute(query.order_by(stopped_windows.c.stop_no.desc()).limit(1)).first()
    return Stop(at_us=row.at_us, kind=row.kind, message=row.message) if row else None
