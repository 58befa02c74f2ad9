"""Charges, what happened to invoices' money, and both in the log (rule 6.5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, select, update

from billing.core.collecting import Standing
from billing.core.instants import format_us, from_day, from_us, to_us
from billing.core.particulars import TRANSFER_DAYS
from billing.core.payments import ChargeState, EventKind, Money
from billing.core.reference import BLANK
from billing.store import log
from billing.store.database import in_parts
from billing.store.tables import (
    charge_invoices,
    charges,
    credit_notes,
    invoices,
    payment_events,
    reference_history,
)

ATTEMPTS = (EventKind.DECLINED, EventKind.AUTHENTICATION_REQUIRED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """A charge as it is kept, with its ``parts``: number and amount of each invoice, in the order of their issue."""

    charge_key: str
    customer_id: str
    gateway: str
    payment_method_id: str
    currency: str
    amount_minor: int
    state: ChargeState
    reference: str
    customer_reference: str
    attempt_reference: str
    attempts: int
    opened_at: datetime
    attempted_at: datetime | None
    next_attempt: datetime | None
    problem: str
    detail: str
    method_load: int
    parts: tuple[tuple[str, int], ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """The invoices that it is for."""
        return tuple(number for number, _ in self.parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """What happened to an invoice's money, once; ``reference`` is the gateway's or the bank's name of it."""

    number: str
    kind: EventKind
    amount_minor: int
    gateway: str
    reference: str
    at: datetime
    detail: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What is there once only."""
        return (self.number, self.kind.value, self.gateway, self.reference)

    @property
    def charge_reference(self) -> str:
        """Of money that a charge took: the charge. What came after a first part says in its own how much there was."""
        return self.reference.partition("@")[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """An invoice and its money. ``notes``: number and total of each credit note, in the order of their issue."""

    number: str
    customer_id: str
    subscription_id: str
    currency: str
    total_minor: int
    issue_day: int
    payment_days: int
    replaces: str
    notes: tuple[tuple[str, int], ...]
    events: tuple[Event, ...]
    charge_key: str = ""
    charge_state: ChargeState | None = None

    @property
    def money(self) -> Money:
        """What the events add up to."""
        return Money.of((event.kind, event.amount_minor) for event in self.events)

    @property
    def standing(self) -> Standing:
        """How it stands. Without a charge it is a bank transfer, due after the seller's days."""
        return Standing(
            total_minor=self.total_minor,
            credited_minor=sum(total for _, total in self.notes),
            money=self.money,
            charge=self.charge_state,
            due=self.due,
        )

    @property
    def due(self) -> date:
        """When it is to be paid."""
        return from_day(self.issue_day) + (timedelta() if self.charge_key else timedelta(days=self.payment_days))

    def given_back_for(self) -> set[str]:
        """The credit notes whose money went back, or was tried to."""
        return {event.detail for event in self.events if event.kind is EventKind.REFUNDED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What is written of a charge in one transaction: columns of it, its parts (None: as they are), and events."""

    charge_key: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, int] | None = None
    events: Sequence[Event] = ()


def read_charges(connection: Connection, *wanted: ColumnElement[bool]) -> list[Charge]:
    """Charges that meet all conditions, in the order of their keys."""
    rows = connection.execute(select(charges).where(*wanted).order_by(charges.c.charge_key)).all()
    parts: dict[str, list[tuple[str, int]]] = {}
    for some in in_parts(row.charge_key for row in rows):
        columns = (charge_invoices, invoices.c.year, invoices.c.sequence)
        query = select(*columns).join(invoices, invoices.c.number == charge_invoices.c.number)
        order = (invoices.c.year, invoices.c.prefix, invoices.c.sequence)
        for row in connection.execute(query.where(charge_invoices.c.charge_key.in_(some)).order_by(*order)):
            parts.setdefault(row.charge_key, []).append((row.number, row.amount_minor))
    return [_charge(row, parts.get(row.charge_key, [])) for row in rows]


def charge_of(connection: Connection, number: str) -> Charge | None:
    """The charge that an invoice is part of; None where none was opened."""
    key = connection.execute(select(charge_invoices.c.charge_key).where(charge_invoices.c.number == number)).scalar()
    return read_charges(connection, charges.c.charge_key == key)[0] if key else None


def open_charge(connection: Connection, at: datetime, by: Mapping[str, object], new: Charge) -> None:
    """Write a charge with its parts, and log it. The caller's transaction excludes other writers (``books``)."""
    row = {name: getattr(new, name) for name in _PLAIN} | {
        "state": new.state.value,
        "opened_at_us": to_us(new.opened_at),
    }
    connection.execute(insert(charges).values(**row))
    for number, amount in new.parts:
        connection.execute(
            insert(charge_invoices).values(number=number, charge_key=new.charge_key, amount_minor=amount)
        )
    _log(connection, at, by, new, [], "")


def write(
    connection: Connection,
    at: datetime,
    by: Mapping[str, object],
    change: Change,
    *,
    recorded_at: datetime,
    why: str = "",
) -> tuple[Charge | None, list[Event]]:
    """Write a change of a charge (or only events) and log it; the charge as it is then, and which events were new.

    Nothing is logged where nothing was new. The caller's transaction excludes other writers (``books``).
    """
    new = _add_events(connection, change.events, recorded_at)
    if not change.charge_key:
        if new:
            _log(connection, at, by, None, new, why)
        return None, new
    (before,) = read_charges(connection, charges.c.charge_key == change.charge_key)
    if change.values:
        connection.execute(update(charges).where(charges.c.charge_key == change.charge_key).values(**change.values))
    if change.parts is not None:
        _write_parts(connection, before, change.parts)
    (after,) = read_charges(connection, charges.c.charge_key == change.charge_key)
    if new or why or logged(before) != logged(after):
        _log(connection, at, by, after, new, why)
    return after, new


def join(connection: Connection, at: datetime, by: Mapping[str, object], stays: Charge, goes: Sequence[Charge]) -> None:
    """Put the parts of charges that nobody opened at a gateway into another one; they are cancelled."""
    for charge in goes:
        mine = charge_invoices.c.charge_key == charge.charge_key
        connection.execute(update(charge_invoices).where(mine).values(charge_key=stays.charge_key))
        values = {"state": ChargeState.CANCELLED.value, "amount_minor": 0, "problem": f"joined {stays.charge_key}"}
        connection.execute(update(charges).where(charges.c.charge_key == charge.charge_key).values(**values))
    whole = stays.amount_minor + sum(charge.amount_minor for charge in goes)
    values = {"state": ChargeState.OPEN.value, "amount_minor": whole, "problem": "", "detail": ""}
    connection.execute(update(charges).where(charges.c.charge_key == stays.charge_key).values(**values))
    keys = [stays.charge_key, *(charge.charge_key for charge in goes)]
    for charge in read_charges(connection, charges.c.charge_key.in_(keys)):
        _log(connection, at, by, charge, [], f"joined {stays.charge_key}" if charge.charge_key != keys[0] else "")


def accounts(connection: Connection, *wanted: ColumnElement[bool]) -> list[Account]:
    """Invoices that meet all conditions with their money, in the order of their issue."""
    columns = (invoices, charge_invoices.c.charge_key, charges.c.state)
    order = (invoices.c.year, invoices.c.prefix, invoices.c.sequence)
    query = select(*columns).select_from(_WITH_CHARGES).where(*wanted)
    rows = connection.execute(query.order_by(*order)).all()
    numbers = [row.number for row in rows]
    notes, events, days = _notes(connection, numbers), events_of(connection, numbers), _payment_days(connection)
    return [
        Account(
            **{name: getattr(row, name) for name in _OF_INVOICES},
            payment_days=days(row.pinned_load),
            notes=tuple(notes.get(row.number, ())),
            events=tuple(events.get(row.number, ())),
            charge_key=row.charge_key or "",
            charge_state=ChargeState(row.state) if row.state else None,
        )
        for row in rows
    ]


def subscriptions(connection: Connection, *wanted: ColumnElement[bool]) -> dict[str, str]:
    """By number the subscription of the invoices that meet all conditions."""
    query = select(invoices.c.number, invoices.c.subscription_id).select_from(_WITH_CHARGES).where(*wanted)
    return {row.number: row.subscription_id for row in connection.execute(query)}


_WITH_CHARGES = invoices.outerjoin(charge_invoices, charge_invoices.c.number == invoices.c.number).outerjoin(
    charges, charges.c.charge_key == charge_invoices.c.charge_key
)
"""Invoices, each with its charge where it has one."""
_OF_INVOICES = ("number", "customer_id", "subscription_id", "currency", "total_minor", "issue_day", "replaces")


def events_of(connection: Connection, numbers: Sequence[str]) -> dict[str, list[Event]]:
    """By invoice what happened to its money, in the order of its recording."""
    found: dict[str, list[Event]] = {}
    for some in in_parts(sorted(set(numbers))):
        query = select(payment_events).where(payment_events.c.number.in_(some)).order_by(payment_events.c.event_no)
        for row in connection.execute(query):
            found.setdefault(row.number, []).append(_event(row))
    return found


def read_events(connection: Connection) -> Iterator[Event]:
    """Everything that happened, in the order of its recording."""
    for row in connection.execute(select(payment_events).order_by(payment_events.c.event_no)):
        yield _event(row)


def events_at(connection: Connection, gateway: str, *wanted: ColumnElement[bool]) -> list[Event]:
    """What a gateway's events say, in the order of their recording."""
    query = select(payment_events).where(payment_events.c.gateway == gateway, *wanted)
    return [_event(row) for row in connection.execute(query.order_by(payment_events.c.event_no))]


def received_of(connection: Connection, charge: Charge) -> list[Event]:
    """What came in by a charge, in the order of its recording."""
    mine = payment_events.c.number.in_(charge.numbers), payment_events.c.kind == EventKind.RECEIVED.value
    found = events_at(connection, charge.gateway, *mine)
    return [event for event in found if event.charge_reference == charge.reference]


def first_attempt(connection: Connection, charge: Charge) -> datetime | None:
    """When a charge was attempted first; None before that."""
    mine = payment_events.c.number.in_(charge.numbers), payment_events.c.gateway == charge.gateway
    attempts = payment_events.c.kind.in_([kind.value for kind in ATTEMPTS])
    us = connection.execute(select(func.min(payment_events.c.at_us)).where(*mine, attempts)).scalar()
    return None if us is None else from_us(us)


def method_as_tried(connection: Connection, payment_method_id: str, load_no: int) -> tuple[str, str, str]:
    """Token, last four digits and expiry of a payment method as a load knew it; blank where it did not."""
    method = reference_history["payment_methods"]
    known = method.c.known_from <= load_no, method.c.known_to > load_no
    columns = (method.c.token, method.c.last4, method.c.expires)
    mine = method.c.payment_method_id == payment_method_id
    row = connection.execute(select(*columns).where(mine, *known)).first()
    return ("", "", "") if row is None else (row.token, row.last4, row.expires)


def unfinished() -> ColumnElement[bool]:
    """Charges with which something may still happen by itself."""
    done = (ChargeState.PAID.value, ChargeState.CANCELLED.value)
    return charges.c.state.not_in(done)


def with_money_to_give_back() -> ColumnElement[bool]:
    """Invoices of which credit notes gave something back and money came in: some of it may have to go back."""
    received = select(payment_events.c.number).where(payment_events.c.kind == EventKind.RECEIVED.value)
    return invoices.c.number.in_(select(credit_notes.c.invoice_number)) & invoices.c.number.in_(received)


def without_charge() -> ColumnElement[bool]:
    """Invoices for which no charge was opened."""
    return charge_invoices.c.charge_key.is_(None)


def logged(charge: Charge) -> list[object]:
    """What the log says of a charge, and ``steps/audit/logged.py`` compares."""
    due = None if charge.next_attempt is None else format_us(to_us(charge.next_attempt))
    what = [charge.state.value, charge.gateway, charge.payment_method_id, charge.currency, charge.amount_minor]
    there = [charge.reference, charge.customer_reference, charge.attempts, due, charge.problem]
    return [*what, *there, [list(part) for part in charge.parts]]


def logged_event(event: Event) -> list[object]:
    """The same of an event: amount, when it happened, and the words with it."""
    return [event.amount_minor, format_us(to_us(event.at)), event.detail]


def event_name(identity: Iterable[str]) -> str:
    """What an event is called in the log."""
    return " ".join(identity)


_PLAIN = (
    *("charge_key", "customer_id", "gateway", "payment_method_id", "currency", "amount_minor", "reference"),
    *("customer_reference", "attempt_reference", "attempts", "problem", "detail", "method_load"),
)


def _log(
    connection: Connection,
    at: datetime,
    by: Mapping[str, object],
    charge: Charge | None,
    events: Sequence[Event],
    why: str,
) -> None:
    payload: dict[str, object] = {"by": by}
    if charge is not None:
        payload["charge"] = {charge.charge_key: logged(charge)}
    if events:
        payload["events"] = [[event_name(event.identity), logged_event(event)] for event in events]
    if why:
        payload["reason"] = why
    log.append(connection, at, "payment", payload)


def _add_events(connection: Connection, events: Sequence[Event], recorded_at: datetime) -> list[Event]:
    added = []
    for event in events:
        number, kind, gateway, reference = event.identity
        table = payment_events.c
        same = table.number == number, table.kind == kind, table.gateway == gateway, table.reference == reference
        if connection.execute(select(table.event_no).where(*same)).first():
            continue
        row: dict[str, object] = {
            "number": number,
            "kind": kind,
            "gateway": gateway,
            "reference": reference,
            "detail": event.detail,
        }
        row |= {"amount_minor": event.amount_minor, "at_us": to_us(event.at), "recorded_at_us": to_us(recorded_at)}
        connection.execute(insert(payment_events).values(**row))
        added.append(event)
    return added


def _write_parts(connection: Connection, charge: Charge, parts: Mapping[str, int]) -> None:
    for number, amount in parts.items():
        mine = charge_invoices.c.number == number, charge_invoices.c.charge_key == charge.charge_key
        connection.execute(update(charge_invoices).where(*mine).values(amount_minor=amount))


def _charge(row: Row[Any], parts: Iterable[tuple[str, int]]) -> Charge:
    def instant(us: int | None) -> datetime | None:
        return None if us is None else from_us(us)

    return Charge(
        **{name: getattr(row, name) for name in _PLAIN},
        state=ChargeState(row.state),
        opened_at=from_us(row.opened_at_us),
        attempted_at=instant(row.attempted_at_us),
        next_attempt=instant(row.next_attempt_us),
        parts=tuple(parts),
    )


def _event(row: Row[Any]) -> Event:
    return Event(
        number=row.number,
        kind=EventKind(row.kind),
        amount_minor=row.amount_minor,
        gateway=row.gateway,
        reference=row.reference,
        at=from_us(row.at_us),
        detail=row.detail,
    )


def _notes(connection: Connection, numbers: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    found: dict[str, list[tuple[str, int]]] = {}
    for some in in_parts(sorted(set(numbers))):
        query = select(credit_notes).where(credit_notes.c.invoice_number.in_(some))
        order = (credit_notes.c.issued_at_us, credit_notes.c.year, credit_notes.c.prefix, credit_notes.c.sequence)
        for row in connection.execute(query.order_by(*order)):
            found.setdefault(row.invoice_number, []).append((row.number, row.total_minor))
    return found


def _payment_days(connection: Connection) -> Any:
    """By load the days in which the seller wants to be paid by bank transfer."""
    seller = reference_history["seller"]
    known = [
        (row.known_from, row.known_to, TRANSFER_DAYS if row.payment_days == BLANK else row.payment_days)
        for row in connection.execute(select(seller.c.known_from, seller.c.known_to, seller.c.payment_days))
    ]

    def of(load_no: int) -> int:
        return next((int(days) for first, end, days in known if first <= load_no < end), TRANSFER_DAYS)

    return of
