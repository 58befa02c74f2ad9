"""A month as finance looks at it: issued, collected and open by currency, each invoice's state, parked teams, locks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, func, select

from billing.core.collecting import InvoiceState
from billing.core.errors import UsageError
from billing.core.instants import day_number, from_day, from_us
from billing.core.months import Month
from billing.core.payments import EventKind
from billing.store.invoices import from_minor
from billing.store.period_locks import locked_through
from billing.store.tables import (
    credit_notes,
    invoices,
    parked,
    payment_events,
    period_locks,
)
from billing.web.reading import known
from billing.web.reading.keys import after, read_key, write_key
from billing.web.reading.payments import InvoiceRow, invoice_rows, money_by_invoice, today
from billing.web.viewer import Viewer

ROWS = 100
MOST_ROWS = 500
PARKED = 500
_FIRST = Month(1970, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class StateSum:
    """Invoices of one state: how many, and their totals together."""

    state: InvoiceState
    invoices: int
    total: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class CurrencySums:
    """A month's money in one currency.

    Of the invoices issued in the month: ``net``, ``tax`` and ``total``, and as they stand now what credit notes gave
    back (``credited``), what is held of the buyers' money (``collected``), ``written_off``, what is still owed
    (``open``) and what is owed to buyers. So total = credited + collected + written_off + open - owed_to_buyers.

    Of the month itself, whichever invoice it is for: ``credit_notes`` issued in it and their totals, what was
    ``received`` and ``refunded`` in it.
    """

    currency: str
    invoices: int
    net: Decimal
    tax: Decimal
    total: Decimal
    credited: Decimal
    collected: Decimal
    written_off: Decimal
    open: Decimal
    owed_to_buyers: Decimal
    states: tuple[StateSum, ...]
    credit_notes: int
    credit_notes_total: Decimal
    received: Decimal
    refunded: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class LockRow:
    """A lock of months, or one that was taken back: nothing is issued with a date through ``through_day``."""

    through_day: date
    at: datetime
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ParkedTeam:
    """A team whose cycle could not be billed honestly at the last close (rule 3.8)."""

    team_id: str
    team_name: str
    cycle_start: datetime
    reason: str
    detail: str
    close_no: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CreditNoteHead:
    """A credit note issued in the month."""

    number: str
    invoice_number: str
    team_id: str
    team_name: str
    issue_date: date
    currency: str
    reason: str
    net: Decimal
    tax: Decimal
    total: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class FinanceMonth:
    """A month of the seller's calendar, by date of issue. ``invoices``: a page of them, by number of issue; blank
    ``next_key``: the last page. ``parked`` are the teams parked now, whichever month they belong to (the first 500;
    ``parked_total`` says how many there are).
    """

    month: str
    first_day: date
    last_day: date
    time_zone: str
    is_locked: bool
    locks: tuple[LockRow, ...]
    currencies: tuple[CurrencySums, ...]
    invoices: tuple[InvoiceRow, ...]
    next_key: str
    credit_notes: tuple[CreditNoteHead, ...]
    parked: tuple[ParkedTeam, ...]
    parked_total: int


def finance_month(
    connection: Connection,
    viewer: Viewer,
    month: str,
    *,
    at: datetime,
    state: InvoiceState | None = None,
    currency: str = "",
    key: str = "",
    limit: int = ROWS,
) -> FinanceMonth:
    """A month (``YYYY-MM``) as it stands at an instant; its invoices of one state and currency, or all. Raises
    ``NotForYou``; ``UsageError`` for what is no month, or no key of a page.
    """
    viewer.demand_operator()
    this = _month(month)
    page, next_key = _page(connection, this, at, state, currency, key, min(limit, MOST_ROWS))
    through = locked_through(connection)
    zone = known.seller_time_zone(connection)
    waiting = known.count(connection, select(parked.c.team_id))
    return FinanceMonth(
        month=str(this),
        first_day=this.first_day,
        last_day=this.last_day,
        time_zone=zone,
        is_locked=through is not None and through >= day_number(this.last_day),
        locks=_locks(connection, this),
        currencies=_currencies(connection, this, at, zone),
        invoices=page,
        next_key=next_key,
        credit_notes=_credit_notes(connection, this),
        parked=parked_teams(connection, PARKED),
        parked_total=waiting,
    )


def _month(text: str) -> Month:
    try:
        month = Month.parse(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if month < _FIRST:
        raise UsageError(f"{month} is before anything was billed; give a month from {_FIRST} on.")
    return month


def _within(column: ColumnElement[int], month: Month) -> ColumnElement[bool]:
    return column.between(day_number(month.first_day), day_number(month.last_day))


def _page(
    connection: Connection,
    month: Month,
    at: datetime,
    state: InvoiceState | None,
    currency: str,
    key: str,
    limit: int,
) -> tuple[tuple[InvoiceRow, ...], str]:
    """Only the invoices of a page are read whole; states are looked at by the database, and only where one is asked
    for.
    """
    order = f"month {state or ''} {currency}".rstrip()
    mine = _within(invoices.c.issue_day, month)
    if currency:
        mine &= invoices.c.currency == currency
    table = invoices if state is None else money_by_invoice(mine, today(connection, at))
    place = [table.c[name] for name in ("year", "prefix", "sequence")]
    wanted = mine if state is None else table.c.state == state.value
    query = select(table.c.number, *place).where(wanted, *after(place, read_key(key, order, (int, str, int))))
    rows = connection.execute(query.order_by(*place).limit(limit + 1)).all()
    shown = [row.number for row in rows[:limit]]
    whole = select(invoices).where(invoices.c.number.in_(shown))
    found = invoice_rows(connection, whole.order_by(invoices.c.year, invoices.c.prefix, invoices.c.sequence), at)
    last = rows[limit - 1] if len(rows) > limit else None
    next_key = "" if last is None else write_key(order, (last.year, last.prefix, last.sequence))
    return tuple(found), next_key


def _currencies(connection: Connection, month: Month, at: datetime, zone: str) -> tuple[CurrencySums, ...]:
    notes = select(invoices.c.currency, func.count(), func.sum(credit_notes.c.total_minor)).join(
        invoices, invoices.c.number == credit_notes.c.invoice_number
    )
    notes = notes.where(_within(credit_notes.c.issue_day, month)).group_by(invoices.c.currency)
    given = {currency: (int(count), int(minor)) for currency, count, minor in connection.execute(notes)}
    moved = _moved(connection, month, zone)
    issued = known.grouped(_by_state(connection, month, today(connection, at)), "currency")
    return tuple(
        _sums(currency, issued.get(currency, []), given.get(currency, (0, 0)), moved)
        for currency in sorted({*issued, *given, *(currency for currency, _ in moved)})
    )


def _by_state(connection: Connection, month: Month, on: date) -> Sequence[Row[Any]]:
    """The month's invoices by currency and state, counted and added up."""
    money = money_by_invoice(_within(invoices.c.issue_day, month), on).c
    left = money.outstanding
    sums = {
        "invoices": func.count(),
        **{name: func.sum(money[name]) for name in ("net_minor", "tax_minor", "total_minor")},
        **{name: func.sum(money[name]) for name in ("credited", "held", "written_off")},
        "open": func.sum(case((left > 0, left), else_=0)),
        "owed_to_buyers": func.sum(case((left < 0, -left), else_=0)),
    }
    columns = [column.label(name) for name, column in sums.items()]
    query = select(money.currency, money.state, *columns).group_by(money.currency, money.state)
    return connection.execute(query).all()


def _sums(
    currency: str, by_state: Sequence[Row[Any]], notes: tuple[int, int], moved: dict[tuple[str, str], int]
) -> CurrencySums:
    def money(minor: int) -> Decimal:
        return from_minor(minor, currency)

    def added(name: str) -> Decimal:
        return money(sum(int(row._mapping[name]) for row in by_state))

    found = {row.state: row for row in by_state}
    return CurrencySums(
        currency=currency,
        invoices=sum(int(row.invoices) for row in by_state),
        net=added("net_minor"),
        tax=added("tax_minor"),
        total=added("total_minor"),
        credited=added("credited"),
        collected=added("held"),
        written_off=added("written_off"),
        open=added("open"),
        owed_to_buyers=added("owed_to_buyers"),
        states=tuple(
            StateSum(state=state, invoices=int(row.invoices), total=money(int(row.total_minor)))
            for state in InvoiceState
            if (row := found.get(state.value)) is not None
        ),
        credit_notes=notes[0],
        credit_notes_total=money(notes[1]),
        received=money(moved.get((currency, EventKind.RECEIVED.value), 0)),
        refunded=money(
            moved.get((currency, EventKind.REFUNDED.value), 0) - moved.get((currency, EventKind.REFUND_FAILED.value), 0)
        ),
    )


def _moved(connection: Connection, month: Month, zone: str) -> dict[tuple[str, str], int]:
    """By currency and kind of event what happened in the month, in the seller's calendar."""
    amount = func.sum(payment_events.c.amount_minor)
    query = select(invoices.c.currency, payment_events.c.kind, amount).join(
        invoices, invoices.c.number == payment_events.c.number
    )
    in_month = (payment_events.c.at_us >= month.start_us(zone)) & (payment_events.c.at_us < month.end_us(zone))
    rows = connection.execute(query.where(in_month).group_by(invoices.c.currency, payment_events.c.kind))
    return {(currency, kind): int(minor) for currency, kind, minor in rows}


def _credit_notes(connection: Connection, month: Month) -> tuple[CreditNoteHead, ...]:
    query = select(credit_notes, invoices.c.team_id, invoices.c.currency).join(
        invoices, invoices.c.number == credit_notes.c.invoice_number
    )
    order = (credit_notes.c.year, credit_notes.c.prefix, credit_notes.c.sequence)
    rows = connection.execute(query.where(_within(credit_notes.c.issue_day, month)).order_by(*order)).all()
    team_names = known.names(connection, "teams", {row.team_id for row in rows})
    return tuple(
        CreditNoteHead(
            number=row.number,
            invoice_number=row.invoice_number,
            team_id=row.team_id,
            team_name=team_names.get(row.team_id, ""),
            issue_date=from_day(row.issue_day),
            currency=row.currency,
            reason=row.reason,
            net=from_minor(row.net_minor, row.currency),
            tax=from_minor(row.tax_minor, row.currency),
            total=from_minor(row.total_minor, row.currency),
        )
        for row in rows
    )


def _locks(connection: Connection, month: Month) -> tuple[LockRow, ...]:
    """Every lock that reached into the month, and the ones that took it back, oldest first."""
    rows = connection.execute(select(period_locks).order_by(period_locks.c.lock_no)).all()
    first, reached = day_number(month.first_day), False
    found = []
    for row in rows:
        touches = row.through_day >= first
        if touches or reached:
            found.append(LockRow(through_day=from_day(row.through_day), at=from_us(row.at_us), reason=row.reason))
        reached = touches
    return tuple(found)


def parked_teams(connection: Connection, limit: int) -> tuple[ParkedTeam, ...]:
    """The teams that are parked now, by id."""
    rows = connection.execute(select(parked).order_by(parked.c.team_id).limit(limit)).all()
    team_names = known.names(connection, "teams", {row.team_id for row in rows})
    return tuple(
        ParkedTeam(
            team_id=row.team_id,
            team_name=team_names.get(row.team_id, ""),
            cycle_start=from_us(row.cycle_start_us),
            reason=row.reason,
            detail=row.detail,
            close_no=row.close_no,
        )
        for row in rows
    )
