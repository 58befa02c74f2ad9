"""After a restored backup: batches that only the lake knows are void, so that their numbers are never used again."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import func, insert, select

from billing.core.instants import to_us
from billing.store import log
from billing.store.batches import DELIVERY, VOID
from billing.store.home import Home
from billing.store.reference_history import last_load
from billing.store.tables import batches


def reconcile(home: Home) -> tuple[int, ...]:
    """Void every batch number of the usage table and the index that the database does not know; returns them."""
    now = datetime.now(UTC)
    with home.database.holding("ingest"), home.database.exclusive("books") as connection:
        last = int(connection.execute(select(func.coalesce(func.max(batches.c.batch_no), 0))).scalar_one())
        newest = home.usage.lake.last_batch()
        voided = tuple(range(last + 1, newest + 1))
        for number in voided:
            row = {
                "batch_no": number,
                "state": VOID,
                "kind": DELIVERY,
                "source": "reconciled",
                "request": "",
                "window_end_us": to_us(now),
                "load_no": last_load(connection),
            }
            counts = dict.fromkeys(("records", "accepted", "duplicates", "quarantined"), 0)
            connection.execute(insert(batches).values(**row, **counts, opened_at_us=to_us(now)))
        if voided:
            log.append(connection, now, "reconciled", {"voided": list(voided)})
    return voided
