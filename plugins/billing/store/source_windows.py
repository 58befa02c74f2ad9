"""The windows that were taken of a source, and names that it sent which nobody knows: what a new window is compared
with.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, select

from billing.core.instants import DAY_US
from billing.store.batches import COMMITTED, DELIVERY
from billing.store.tables import batches, quarantine, used_apis

_FARTHEST_DAYS = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class TakenWindow:
    """A committed batch of a source: its window (``start_us`` None: no beginning) and counts of its records."""

    batch_no: int
    start_us: int | None
    end_us: int
    records: int
    quarantined: int
    duplicates: int


def windows_before(connection: Connection, source: str, end_us: int, days: int, at_least: int) -> list[TakenWindow]:
    """The windows that ended in the ``days`` before an instant or at it, in the order of their ends; where fewer than
    ``at_least`` of them had records, back to the last so many that had (400 days at most).
    """
    since_us = end_us - days * DAY_US
    mine = [batches.c.source == source, batches.c.state == COMMITTED, batches.c.kind == DELIVERY]
    mine.append(batches.c.window_end_us <= end_us)
    filled = select(batches.c.window_end_us).where(*mine, batches.c.records > 0)
    last = list(connection.execute(filled.order_by(batches.c.window_end_us.desc()).limit(at_least)).scalars())
    farthest = max(min([since_us, *last]), end_us - _FARTHEST_DAYS * DAY_US)
    fields = ("batch_no", "window_start_us", "window_end_us", "records", "quarantined", "duplicates")
    query = select(*(batches.c[name] for name in fields)).where(*mine, batches.c.window_end_us >= farthest)
    rows = connection.execute(query.order_by(batches.c.window_end_us, batches.c.batch_no))
    return [
        TakenWindow(
            batch_no=row.batch_no,
            start_us=row.window_start_us,
            end_us=row.window_end_us,
            records=row.records,
            quarantined=row.quarantined,
            duplicates=row.duplicates,
        )
        for row in rows
    ]


def sent_before(connection: Connection, source: str, column: str, names: Collection[str]) -> set[str]:
    """Which of these names (``column``: ``api`` or ``app_id``) the source's quarantined records have held already."""
    query = select(quarantine.c[column]).distinct().join(batches, batches.c.batch_no == quarantine.c.batch_no)
    held = connection.execute(query.where(batches.c.source == source, batches.c.state == COMMITTED)).scalars()
    return set(names).intersection(held)


def apis_in_use(connection: Connection) -> set[str]:
    """APIs of which usage was ever accepted."""
    return set(connection.execute(select(used_apis.c.api)).scalars())
