"""Which windows of each source were taken, were empty, or are missing, and why (rule 3.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, Row, select

from billing.core.instants import from_us, to_us
from billing.store import sources
from billing.store.batches import COMMITTED, DELIVERY, Missing, completeness, pinnable
from billing.store.home import Home
from billing.store.tables import batches

_NOT_DUE = timedelta(minutes=10)
"""What is awaited for no longer than a window lasts is not told."""


class WindowState(StrEnum):
    """How a stretch of a source's windows stands."""

    SUCCEEDED = "succeeded"
    EMPTY = "empty"
    MISSING = "missing"
    AWAITED = "awaited"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Windows of one source in one state, end to end: ``[start, end)``, how many, and what they brought.

    ``why``: for what is missing or awaited, why the last attempt took nothing; blank where there was none.
    """

    source: str
    state: WindowState
    start: datetime | None
    end: datetime
    windows: int = 0
    records: int = 0
    quarantined: int = 0
    why: str = ""


def window_history(home: Home, now: datetime, *, since: datetime | None = None, each: bool = False) -> list[Stretch]:
    """Every source's windows that end after ``since`` in their order, those alike put together unless ``each``; at
    last what is awaited through ``now``, where it is more than a window or was stopped.
    """
    with home.database.read() as connection:
        found = completeness(connection, pinnable(connection))
        taken = _taken(connection)
        missing = [_missing(connection, one) for one in found.missing]
        awaited = [_awaited(connection, name, us, now) for name, us in found.sources.items() if us != to_us(now)]
    ordered = sorted([*taken, *missing], key=lambda s: (s.source, s.start or s.end, s.end))
    if not each:
        ordered = list(_together(ordered))
    tail = [one for one in awaited if one.why or one.start is None or one.end - one.start > _NOT_DUE]
    ordered = sorted([*ordered, *tail], key=lambda s: (s.source, s.state is WindowState.AWAITED))
    return [one for one in ordered if since is None or one.end > since]


def _taken(connection: Connection) -> list[Stretch]:
    query = select(batches).where(batches.c.state == COMMITTED, batches.c.kind == DELIVERY)
    return [_stretch(row) for row in connection.execute(query.order_by(batches.c.batch_no))]


def _stretch(row: Row[tuple[object, ...]]) -> Stretch:
    return Stretch(
        source=row.source,
        state=WindowState.SUCCEEDED if row.records else WindowState.EMPTY,
        start=None if row.window_start_us is None else from_us(row.window_start_us),
        end=from_us(row.window_end_us),
        windows=1,
        records=row.records,
        quarantined=row.quarantined,
    )


def _missing(connection: Connection, gap: Missing) -> Stretch:
    stop = sources.last_stop(connection, gap.source, gap.start_us)
    start, end = from_us(gap.start_us), from_us(gap.end_us)
    why = str(stop) if stop else ""
    return Stretch(source=gap.source, state=WindowState.MISSING, start=start, end=end, why=why)


def _awaited(connection: Connection, source: str, through_us: int | None, now: datetime) -> Stretch:
    stop = sources.last_stop(connection, source, through_us)
    start = None if through_us is None else from_us(through_us)
    why = str(stop) if stop else ""
    return Stretch(source=source, state=WindowState.AWAITED, start=start, end=now, why=why)


def _together(ordered: Sequence[Stretch]) -> Iterator[Stretch]:
    """Windows of one source and state that touch, as one stretch."""
    last: Stretch | None = None
    for one in ordered:
        alike = last is not None and (last.source, last.state) == (one.source, one.state) and one.start is not None
        if last is not None and alike and last.start is not None and one.start == last.end:
            counts = {name: getattr(last, name) + getattr(one, name) for name in ("windows", "records", "quarantined")}
            last = replace(last, end=one.end, **counts)
            continue
        if last is not None:
            yield last
        last = one
    if last is not None:
        yield last
