"""What a person does with payments: bank transfers in and back, another attempt, giving up. Each with who and why in
the log, and refused with the reason where the books say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal

from sqlalchemy import Connection

from billing.core.collecting import CollectingRules
from billing.core.errors import DataRefused, NotFound
from billing.core.instants import format_instant
from billing.core.payments import MANUAL, ChargeState, EventKind
from billing.core.quantity import minor_digits
from billing.outbound.payment_gateway import PaymentGateway
from billing.steps.collect import LOCK, collect_one
from billing.steps.origin import origin
from billing.steps.payments.refunds import NOT_FOR_A_NOTE
from billing.steps.payments.work import written
from billing.store import payments
from billing.store.home import Home
from billing.store.payments import Account, Change, Charge, Event
from billing.store.tables import invoices

OVERPAID = "overpaid"
"""How the words of money begin that came beyond what was owed, knowingly."""


def record(
    home: Home, number: str, *, amount: Decimal, on: date, reference: str, now: datetime, overpaid: bool = False
) -> Account:
    """Record a bank transfer that came in for an invoice, whole or in part; the account as it is then.

    Raises ``NotFound``; ``DataRefused`` for a reference that is recorded already, for more than is owed unless it is
    ``overpaid`` knowingly, and while the money is being taken from a stored payment method.
    """
    with _writing(home, number) as (connection, account):
        minor = _minor(amount, account.currency)
        reference = _demand_reference(account, EventKind.RECEIVED, reference)
        _demand_past(on, now)
        _demand_owed(connection, account, minor, overpaid)
        is_more = minor > account.standing.outstanding_minor
        event = _event(account, EventKind.RECEIVED, minor, reference, on, OVERPAID if is_more else "")
        return _write(connection, account, event, now, "")


def refunded(
    home: Home,
    number: str,
    *,
    amount: Decimal,
    on: date,
    reference: str,
    now: datetime,
    credit_note: str = "",
    reason: str = "",
) -> Account:
    """Record a bank transfer by which money was given back: for a credit note, or of what came beyond what was owed, or
    for another ``reason`` (a transfer that was recorded by mistake, or that the bank took back).
    """
    with _writing(home, number) as (connection, account):
        minor = _minor(amount, account.currency)
        reference = _demand_reference(account, EventKind.REFUNDED, reference)
        _demand_past(on, now)
        if credit_note and credit_note not in dict(account.notes):
            known = ", ".join(note for note, _ in account.notes) or "none"
            raise DataRefused(f"{credit_note} is no credit note of {number}; there are: {known}.")
        most = account.money.held if reason else min(account.money.held, -account.standing.outstanding_minor)
        if minor > most:
            left = f"{written(max(0, most), account.currency)} {account.currency}"
            raise DataRefused(f"Of {number} {left} can be given back at most: record that, or give a --reason.")
        why = " ".join(reason.split())
        detail = credit_note or f"{NOT_FOR_A_NOTE}{why or 'more had come than was owed'}"
        return _write(connection, account, _event(account, EventKind.REFUNDED, minor, reference, on, detail), now, why)


def write_off(home: Home, number: str, *, reason: str, now: datetime) -> Account:
    """Give up what is still owed of an invoice, with a reason. Nothing of it is attempted any more."""
    why = " ".join(reason.split())
    if not why:
        raise DataRefused("What is given up is given up for a reason: say it in one line.")
    with _writing(home, number) as (connection, account):
        outstanding = account.standing.outstanding_minor
        if outstanding <= 0:
            raise DataRefused(f"Nothing is owed of {number} any more: there is nothing to give up.")
        _demand_not_under_way(account)
        event = Event(
            number=number,
            kind=EventKind.WRITTEN_OFF,
            amount_minor=outstanding,
            gateway=MANUAL,
            reference=format_instant(now),
            at=now,
            detail=why,
        )
        return _write(connection, account, event, now, why)


def retry(
    home: Home,
    gateways: Mapping[str, PaymentGateway],
    rules: CollectingRules,
    number: str,
    *,
    now: datetime,
    reason: str = "retried by hand",
) -> tuple[Account, tuple[str, ...]]:
    """Attempt an invoice's charge now, whatever the schedule says; the account afterwards, and what is to be read."""
    with home.database.holding(LOCK):
        with _in_books(home, number) as (connection, account):
            charge = _demand_charge(connection, account)
            values = {"state": ChargeState.OPEN.value, "next_attempt_us": None, "problem": "", "detail": ""}
            change = Change(charge_key=charge.charge_key, values=values)
            payments.write(connection, datetime.now(UTC), origin(), change, recorded_at=now, why=reason)
        told = collect_one(home, gateways, rules, now, charge.charge_key)
        with home.database.read() as connection:
            return read_account(connection, number), told


def read_account(connection: Connection, number: str) -> Account:
    """An invoice and its money. ``NotFound`` for a number that was never issued."""
    found = payments.accounts(connection, invoices.c.number == number)
    if not found:
        raise NotFound(f"No invoice {number} was ever issued; `billing payments list` names them all.")
    return found[0]


def parse_amount(text: str) -> Decimal:
    """An amount of money as it is written: digits, a point, decimals. ``ValueError`` for anything else."""
    whole, point, decimals = text.partition(".")
    parts = [whole, *([decimals] if point else [])]
    if not all(part.isascii() and part.isdecimal() for part in parts) or len(text) > 20:
        raise ValueError(f"{text!r} is not an amount; write digits, a point and decimals, like 12.50")
    return Decimal(text)


@contextmanager
def _writing(home: Home, number: str) -> Iterator[tuple[Connection, Account]]:
    """While no money is being collected: what is said of an account stays true until it is written."""
    with home.database.holding(LOCK), _in_books(home, number) as found:
        yield found


@contextmanager
def _in_books(home: Home, number: str) -> Iterator[tuple[Connection, Account]]:
    with home.database.exclusive("books") as connection:
        yield connection, read_account(connection, number)


def _minor(amount: Decimal, currency: str) -> int:
    scaled = amount.scaleb(minor_digits(currency))
    if scaled <= 0 or scaled != int(scaled):
        raise DataRefused(f"{amount} {currency} is no amount: above 0, with {minor_digits(currency)} decimals at most.")
    return int(scaled)


def _demand_reference(account: Account, kind: EventKind, given: str) -> str:
    """The bank's reference with its blanks made one each: they do not tell one transfer from another."""
    reference = _one_blank(given)
    if not reference:
        raise DataRefused("Give the bank's reference: it tells one transfer from another.")
    known = [one for one in account.events if (one.kind, one.gateway) == (kind, MANUAL)]
    if any(_one_blank(event.reference) == reference for event in known):
        raise DataRefused(f"The transfer {reference!r} is recorded for {account.number} already: nothing was changed.")
    return reference


def _one_blank(text: str) -> str:
    return " ".join(text.split())


def _demand_past(on: date, now: datetime) -> None:
    if on > now.date():
        raise DataRefused(f"{on} is in the future: a transfer is recorded when it has come.")


def _demand_owed(connection: Connection, account: Account, minor: int, overpaid: bool) -> None:
    if overpaid:
        return
    _demand_not_under_way(account)
    outstanding = account.standing.outstanding_minor
    if minor > outstanding:
        owed = f"{written(max(0, outstanding), account.currency)} {account.currency}"
        raise DataRefused(
            f"{owed} are owed of {account.number}, and {written(minor, account.currency)} are more: if they came, "
            "record them with --overpaid, and give back what is too much."
        )


def _demand_not_under_way(account: Account) -> None:
    if account.charge_state is ChargeState.PROCESSING:
        raise DataRefused(
            f"{account.number} is being charged to a stored payment method, and whether that succeeds is not known "
            "yet: run `billing payments collect` and look again."
        )


def _demand_charge(connection: Connection, account: Account) -> Charge:
    charge = payments.charge_of(connection, account.number)
    if charge is None:
        raise DataRefused(
            f"{account.number} has no charge: it is paid by bank transfer, or `billing payments collect` opens one."
        )
    _demand_not_under_way(account)
    if charge.state is ChargeState.PAID or account.standing.outstanding_minor <= 0:
        raise DataRefused(f"{account.number} was paid, or nothing is owed of it: there is nothing to attempt.")
    return charge


def _event(account: Account, kind: EventKind, minor: int, reference: str, on: date, detail: str) -> Event:
    return Event(
        number=account.number,
        kind=kind,
        amount_minor=minor,
        gateway=MANUAL,
        reference=reference,
        at=datetime(on.year, on.month, on.day, tzinfo=UTC),
        detail=detail,
    )


def _write(connection: Connection, account: Account, event: Event, now: datetime, why: str) -> Account:
    payments.write(connection, datetime.now(UTC), origin(), Change(events=[event]), recorded_at=now, why=why)
    return read_account(connection, account.number)
