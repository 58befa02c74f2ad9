"""Locked months: nothing is issued any more with a date in one (``tables.period_locks``)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, desc, func, insert, select

from billing.core.errors import DataRefused
from billing.core.instants import from_day, to_us
from billing.core.months import Month
from billing.store.tables import period_locks


def locked_through(connection: Connection) -> int | None:
    """The last locked day (days since 1970-01-01, of the seller's calendar); None where nothing was ever locked."""
    newest = select(period_locks.c.through_day).order_by(desc(period_locks.c.lock_no)).limit(1)
    return connection.execute(newest).scalar()


def demand_open(connection: Connection, day: int) -> None:
    """Raise ``DataRefused`` where a day (since 1970-01-01) may not be an issue date any more: its month is locked.

    The caller holds the lock ``books``, so that no month is locked between this and what it issues.
    """
    through = locked_through(connection)
    if through is None or day > through:
        return
    last = from_day(through)
    raise DataRefused(
        f"{Month.of(from_day(day))} is locked (everything through {last} is): nothing is issued with the date "
        f"{from_day(day)}. Issue with a later date, or take the lock back: "
        f"`billing month unlock {Month.of(last)} --reason ...`."
    )


def write_lock(connection: Connection, through_day: int, at: datetime, reason: str) -> int:
    """Add a row, which counts from now on; returns its number. The caller holds the lock ``books``."""
    number = int(connection.execute(select(func.coalesce(func.max(period_locks.c.lock_no), 0))).scalar_one()) + 1
    row = {"lock_no": number, "through_day": through_day, "at_us": to_us(at), "reason": reason}
    connection.execute(insert(period_locks).values(**row))
    return number
