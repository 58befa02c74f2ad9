"""Runs that have not ended in time: noted where whoever looks at the home sees it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, select

from billing.core.instants import format_us, to_us
from billing.steps.telemetry import warn
from billing.store import log
from billing.store.home import Home
from billing.store.tables import log as log_rows

_KIND = "overdue"
_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Overdue:
    """A run that had not ended within its limit, and when that was noticed."""

    at: str
    dag_id: str
    run_id: str
    limit_minutes: int


def note_overdue(home: Home, dag_id: str, run_id: str, limit_minutes: int) -> None:
    """Keep that a run is overdue, in the log."""
    warn("run overdue", dag=dag_id, run=run_id, limit_minutes=limit_minutes)
    payload = {"dag_id": dag_id, "run_id": run_id, "limit_minutes": limit_minutes}
    with home.database.exclusive("books") as connection:
        log.append(connection, datetime.now(UTC), _KIND, payload)


def overdue_runs(connection: Connection, since: datetime) -> tuple[Overdue, ...]:
    """The newest runs that were overdue since an instant, at most five."""
    query = select(log_rows.c.at_us, log_rows.c.payload).where(
        log_rows.c.kind == _KIND, log_rows.c.at_us >= to_us(since)
    )
    newest = connection.execute(query.order_by(log_rows.c.seq.desc()).limit(_SHOWN)).all()
    return tuple(Overdue(at=format_us(row.at_us), **json.loads(row.payload)) for row in newest)
