"""How a home stands: what was loaded, ingested, closed and issued, and what waits for someone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, func, select

from billing.core.instants import format_us
from billing.core.model import Parked
from billing.core.zones import TZDATA_VERSION
from billing.steps.awaited import Awaited, awaited
from billing.steps.overdue import Overdue, overdue_runs
from billing.store import ledger, log
from billing.store.batches import COMMITTED, OPEN, completeness, pinnable
from billing.store.documents import PDF, own_document
from billing.store.home import Home
from billing.store.mailings import NOT_THROUGH, in_states
from billing.store.reference_history import last_load
from billing.store.tables import batches, closes, cycles, documents, invoices, mailings, quarantine

_OVERDUE_SHOWN = timedelta(days=1)
_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """A home at a glance. Instants are written as in the data contract; blank where there is none yet.

    ``awaits_approval`` is the number of a close that waits for a person; ``mails``: how many are not through, by state.
    """

    reference_load: int
    batches: int
    open_batches: int
    accepted: int
    duplicates: int
    complete_through: str
    awaited: tuple[Awaited, ...]
    quarantined: Mapping[str, int]
    last_close: str
    last_close_state: str
    awaits_approval: int | None
    tzdata: str
    last_close_tzdata: str
    closed_cycles: int
    invoices: int
    documents: int
    mails: Mapping[str, int]
    parked: tuple[Parked, ...]
    overdue: tuple[Overdue, ...]
    log_rows: int
    log_head: str


def status(home: Home) -> Status:
    """Read all of it from one state of the books, the log's chain verified on the way."""
    with home.database.read() as connection:
        found = completeness(connection, pinnable(connection))
        last = ledger.last_close(connection)
        rows, head = log.verify(connection)
        done = batches.c.state == COMMITTED
        totals = connection.execute(
            select(func.sum(batches.c.accepted), func.sum(batches.c.duplicates)).where(done)
        ).one()
        return Status(
            reference_load=last_load(connection),
            batches=_count(connection, batches, done),
            open_batches=_count(connection, batches, batches.c.state == OPEN),
            accepted=int(totals[0] or 0),
            duplicates=int(totals[1] or 0),
            complete_through="" if found.through_us is None else format_us(found.through_us),
            awaited=tuple(one for one in awaited(connection, found, _EVER) if one.missing or one.stopped),
            quarantined=_quarantined(connection),
            last_close=format_us(last.as_of_us) if last else "",
            last_close_state=last.state if last else "",
            awaits_approval=last.close_no if last and last.state == ledger.RATED else None,
            tzdata=TZDATA_VERSION,
            last_close_tzdata=_tzdata_of(connection, last.close_no) if last else "",
            closed_cycles=_count(connection, cycles, cycles.c.state == ledger.ISSUED),
            invoices=_count(connection, invoices),
            documents=_count(connection, documents.join(invoices, own_document(invoices.c.number, PDF))),
            mails=_mails(connection),
            parked=ledger.read_parked(connection),
            overdue=overdue_runs(connection, datetime.now(UTC) - _OVERDUE_SHOWN),
            log_rows=rows,
            log_head=head,
        )


def _count(connection: Connection, table: object, *where: object) -> int:
    return int(connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one())  # type: ignore[arg-type]


def _tzdata_of(connection: Connection, close_no: int) -> str:
    return str(connection.execute(select(closes.c.tzdata).where(closes.c.close_no == close_no)).scalar_one())


def _mails(connection: Connection) -> dict[str, int]:
    query = select(mailings.c.state, func.count()).where(in_states(NOT_THROUGH)).group_by(mailings.c.state)
    counts = {state: int(count) for state, count in connection.execute(query)}
    return {state: counts[state] for state in NOT_THROUGH if state in counts}


def _quarantined(connection: Connection) -> dict[str, int]:
    query = select(quarantine.c.reason, func.count()).where(quarantine.c.ending == "")
    query = query.group_by(quarantine.c.reason).order_by(quarantine.c.reason)
    return {reason: int(count) for reason, count in connection.execute(query)}
