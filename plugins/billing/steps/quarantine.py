"""What could not be billed, with its reason and raw text (rule 2.4)."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, select

from billing.store.home import Home
from billing.store.tables import batch_files, quarantine


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantinedListed:
    """A quarantined record: where it stood, why it is there, and its raw bytes as text (undecodable ones escaped)."""

    batch_no: int
    file: str
    line: int
    reason: str
    raw: str


def list_quarantine(
    home: Home, *, reason: str | None = None, batch_no: int | None = None, limit: int = 1_000
) -> list[QuarantinedListed]:
    """Quarantined records in the order in which they came, at most ``limit``."""
    file = and_(batch_files.c.batch_no == quarantine.c.batch_no, batch_files.c.file_no == quarantine.c.file_no)
    query = select(quarantine, batch_files.c.name).join(batch_files, file)
    if reason is not None:
        query = query.where(quarantine.c.reason == reason)
    if batch_no is not None:
        query = query.where(quarantine.c.batch_no == batch_no)
    order = (quarantine.c.batch_no, quarantine.c.file_no, quarantine.c.line)
    with home.database.read() as connection:
        rows = connection.execute(query.order_by(*order).limit(limit)).all()
    return [
        QuarantinedListed(
            batch_no=r.batch_no,
            file=r.name,
            line=r.line,
            reason=r.reason,
            raw=r.raw.decode("utf-8", "backslashreplace"),
        )
        for r in rows
    ]
