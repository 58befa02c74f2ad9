"""Lock a month: once its books are closed, nothing is issued with a date in it any more.

Months are locked in order and taken back from the last one; either is a row of the log, a lock with the totals of the
month's register.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from billing.core.cycles import local_date
from billing.core.errors import DataRefused
from billing.core.instants import day_number, format_us, from_day
from billing.core.months import Month
from billing.core.quantity import format_micro, parse_micro
from billing.core.register import RegisterTotals
from billing.steps.month_end import demand_over
from billing.steps.reference import reference_at, seller_zone
from billing.steps.register import ALL_TAXES, read_register
from billing.store import log
from billing.store.home import Home
from billing.store.ledger import ISSUED, RATED, last_close
from billing.store.period_locks import locked_through, write_lock
from billing.store.tables import credit_notes, invoices, period_locks

LOG_KIND = "period_lock"


@dataclass(frozen=True, kw_only=True, slots=True)
class LockSummary:
    """A month as it is locked now: whether this call did it, and the totals of its register."""

    month: Month
    is_new: bool
    totals: tuple[RegisterTotals, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LockRow:
    """A lock, or one taken back: ``through`` is the last month that was locked from then on."""

    lock_no: int
    through: Month
    at: str
    reason: str


def lock_month(home: Home, month: Month, now: datetime, reason: str = "") -> LockSummary:
    """Lock a month that is over at ``now``, and all before it. A month that is locked is found so.

    Refused (``DataRefused``): a month that is not over, one before which another is still open, one with a close that
    is pinned and not issued; ``ConservationBroken`` where its register is not what the ledger says.
    """
    with home.database.exclusive("books") as connection:
        demand_over(home, connection, month, now)
        through, last_day = locked_through(connection), day_number(month.last_day)
        is_new = through is None or last_day > through
        if is_new:
            _demand_in_order(connection, month, through)
            _demand_no_close(home, connection, month)
        totals = read_register(home, connection, month.first_day, month.last_day).totals
        if is_new:
            write_lock(connection, last_day, now, reason)
            told = {"month": str(month), "action": "lock", "reason": reason, "totals": [_told(one) for one in totals]}
            log.append(connection, now, LOG_KIND, told)
    return LockSummary(month=month, is_new=is_new, totals=totals)


def unlock_month(home: Home, month: Month, now: datetime, reason: str) -> None:
    """Take the lock of the last locked month back; the months before it stay locked. Refused without a reason, and for
    any other month.
    """
    if not reason.strip():
        raise DataRefused(f"{month} stays locked: say why it is opened again (--reason).")
    with home.database.exclusive("books") as connection:
        through = locked_through(connection)
        if through is None or day_number(month.last_day) > through:
            raise DataRefused(f"{month} is not locked.")
        last = Month.of(from_day(through))
        if month != last:
            raise DataRefused(f"{month} is locked by {last} too: take {last} back first.")
        write_lock(connection, day_number(month.before.last_day), now, reason)
        log.append(connection, now, LOG_KIND, {"month": str(month), "action": "unlock", "reason": reason})


def lock_history(home: Home) -> list[LockRow]:
    """Every lock and every one taken back, in order; the last row is how it stands."""
    with home.database.read() as connection:
        rows = connection.execute(select(period_locks).order_by(period_locks.c.lock_no)).all()
    return [
        LockRow(
            lock_no=row.lock_no, through=Month.of(from_day(row.through_day)), at=format_us(row.at_us), reason=row.reason
        )
        for row in rows
    ]


def _demand_in_order(connection: Connection, month: Month, through: int | None) -> None:
    """The next month to lock is the one after the last locked, or that of the first document ever issued."""
    if through is not None:
        following: Month | None = Month.of(from_day(through)).next
    else:
        days = [connection.execute(select(func.min(table.c.issue_day))).scalar() for table in (invoices, credit_notes)]
        first = min((day for day in days if day is not None), default=None)
        following = None if first is None else Month.of(from_day(first))
    if following is not None and month > following:
        raise DataRefused(f"{following} is not locked yet, and months are locked in order: lock {following} first.")


def _demand_no_close(home: Home, connection: Connection, month: Month) -> None:
    """A pinned close issues with the date of its ``as_of``, or of its approval, in the zone of the seller that it had
    pinned. One that waits for its approval issues later than now.
    """
    last = last_close(connection)
    if last is None or last.state in (RATED, ISSUED) or not last.pinned_load:
        return
    zone = seller_zone(reference_at(home, last.pinned_load))
    if local_date(zone, last.issue_us) > month.last_day:
        return
    raise DataRefused(
        f"Close {last.close_no} as of {format_us(last.as_of_us)} is pinned and not issued, and its invoices are "
        f"dated in {month} or before: run `billing cycles close --as-of {format_us(last.as_of_us)}` to its end first."
    )


def _told(one: RegisterTotals) -> Mapping[str, object]:
    """A total as the log keeps it: amounts as text."""
    treatment = one.tax_treatment
    return {
        "currency": one.currency,
        "tax_category": ALL_TAXES if treatment is None else treatment.category.value,
        "tax_percent": "" if treatment is None else format_micro(parse_micro(f"{treatment.percent:f}")),
        "invoices": one.invoices,
        "credit_notes": one.credit_notes,
        "net": f"{one.net:f}",
        "tax": f"{one.tax:f}",
        "total": f"{one.total:f}",
    }
