"""Collect: from issued invoices to their money (rule 6.5), in one run that may be killed at any instant and run again.

Charges are planned for what was issued, made smaller by what was given back, attempted when they are due, some at once;
money goes back for credit notes; what happened at the gateways by itself is taken over; buyers are told. Two runs at
once wait for each other. Everything that is asked of a gateway is asked outside of the database's transactions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import func, select

from billing.core.collecting import CollectingRules, Todo, what_to_do
from billing.core.errors import BillingError, UsageError
from billing.core.payments import ChargeState, EventKind
from billing.outbound.payment_gateway import GatewayRefused, GatewayUnavailable, PaymentGateway
from billing.steps.payments import dunning, planning
from billing.steps.payments.attempts import advance
from billing.steps.payments.observed import Answerable, take_over_recent
from billing.steps.payments.refunds import due_refunds, give_back
from billing.steps.payments.work import Work, written
from billing.steps.telemetry import say
from billing.store import payments
from billing.store.home import Home
from billing.store.payments import Charge
from billing.store.tables import charges, payment_events

LOCK = "payments"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """What a run did. ``paid``: for how many invoices money came; ``declined`` and ``refunded``: how many attempts and
    refunds, also where one was for several invoices. ``states``: how many charges are in which state after it.
    ``told``: what a person should read. ``stuck``: what goes on only if a person does something, in words.
    """

    planned: int
    paid: int
    declined: int
    refunded: int
    mails: int
    states: Mapping[str, int]
    told: tuple[str, ...]
    stuck: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class WouldDo:
    """One thing that a run would do, in words."""

    number: str
    amount: str
    currency: str
    what: str


def collect(home: Home, gateways: Mapping[str, PaymentGateway], rules: CollectingRules, now: datetime) -> Collected:
    """Collect what is due at ``now`` from the gateways, by name. Raises nothing for what concerns one invoice only: a
    decline, a refusal, a gateway that gives no answer are part of the outcome.
    """
    with home.database.holding(LOCK):
        work = Work.at(home, gateways, rules, now)
        last = _last_event(home)
        planned = planning.open_charges(work)
        planning.adjust(work)
        planning.gather(work)
        _each(work, lambda charge: advance(work, charge.charge_key), to_be_looked_at(work))
        _each(work, lambda due: give_back(work, due), due_refunds(work))
        answerable = [one for name in gateways for one in _recent(work, name)]
        mails = dunning.remind_of_transfers(work) + dunning.warn_of_expiry(work)
        invoices_of, times = _counts(home, last)
    found = Collected(
        planned=planned,
        paid=invoices_of[EventKind.RECEIVED],
        declined=sum(times[kind] for kind in payments.ATTEMPTS),
        refunded=times[EventKind.REFUNDED],
        mails=mails,
        states=charge_states(home),
        told=tuple(sorted(set(work.told))),
        stuck=tuple(stuck(work, answerable)),
    )
    say("payments collected", planned=planned, paid=found.paid, declined=found.declined, refunded=found.refunded)
    return found


def collect_one(
    home: Home, gateways: Mapping[str, PaymentGateway], rules: CollectingRules, now: datetime, charge_key: str
) -> tuple[str, ...]:
    """Take one charge a step further; what a person should read. The caller holds the lock ``payments``."""
    work = Work.at(home, gateways, rules, now)
    planning.adjust(work)
    planning.gather(work)
    advance(work, charge_key)
    return tuple(work.told)


def would_do(
    home: Home, gateways: Mapping[str, PaymentGateway], rules: CollectingRules, now: datetime
) -> list[WouldDo]:
    """What a run would do at ``now``; nothing is written and no gateway is asked."""
    work = Work.at(home, gateways, rules, now)
    found = []
    for account, method in planning.to_be_charged(work):
        amount = written(account.standing.outstanding_minor, account.currency)
        what = f"charge {method.shown} by {method.gateway}"
        found.append(WouldDo(number=account.number, amount=amount, currency=account.currency, what=what))
    found += [_would_do(work, charge) for charge in to_be_looked_at(work)]
    for due in due_refunds(work):
        amount, what = written(due.amount_minor, due.account.currency), f"give back for {due.note} by {due.gateway}"
        found.append(WouldDo(number=due.account.number, amount=amount, currency=due.account.currency, what=what))
    return sorted(found, key=lambda one: (one.number, one.what))


def _would_do(work: Work, charge: Charge) -> WouldDo:
    todo = what_to_do(charge.state, next_attempt=charge.next_attempt, now=work.now, is_other_method=False)
    what = f"attempt {charge.attempts + 1} by {charge.gateway}" if todo is Todo.ATTEMPT else f"ask {charge.gateway}"
    amount = written(charge.amount_minor, charge.currency)
    return WouldDo(number=charge.charge_key, amount=amount, currency=charge.currency, what=what)


def to_be_looked_at(work: Work) -> list[Charge]:
    """Charges with which something may happen now; those whose next attempt lies ahead rest."""
    with work.home.database.read() as connection:
        found = payments.read_charges(connection, payments.unfinished())
    return [charge for charge in found if not _rests(charge, work.now)]


def _rests(charge: Charge, now: datetime) -> bool:
    if charge.amount_minor == 0:
        return False
    is_ahead = charge.next_attempt is not None and charge.next_attempt > now
    return charge.state is ChargeState.WAITING or (charge.state is ChargeState.DECLINED and is_ahead)


def charge_states(home: Home) -> dict[str, int]:
    """How many charges are in which state."""
    query = select(charges.c.state, func.count()).group_by(charges.c.state).order_by(charges.c.state)
    with home.database.read() as connection:
        return {state: int(count) for state, count in connection.execute(query)}


def stuck(work: Work, answerable: Iterable[Answerable]) -> list[str]:
    """What goes on only if a person does something: each with what to do."""
    long_ago = work.now - timedelta(hours=work.rules.stuck_after_hours)
    soon = work.now + timedelta(days=work.rules.answer_disputes_days)
    with work.home.database.read() as connection:
        found = payments.read_charges(connection, payments.unfinished())
    said = []
    for charge in found:
        what = f"{', '.join(charge.numbers)}: {written(charge.amount_minor, charge.currency)} {charge.currency}"
        if charge.state is ChargeState.UNCOLLECTED:
            said.append(
                f"{what} could not be collected in {charge.attempts} attempts ({charge.problem}): "
                f"`billing payments retry {charge.charge_key}`, record a transfer, or write it off"
            )
        elif charge.state is ChargeState.PROCESSING and (charge.attempted_at or work.now) < long_ago:
            said.append(f"{what} is on its way for more than {work.rules.stuck_after_hours} h: ask {charge.gateway}")
    for one in answerable:
        if one.answer_by <= soon:
            what = f"{', '.join(one.numbers)}: {one.amount} {one.currency} disputed ({one.reason})"
            said.append(f"{what}: answer at the gateway by {one.answer_by:%Y-%m-%d}")
    return said


def _recent(work: Work, name: str) -> list[Answerable]:
    try:
        return take_over_recent(work, name)
    except (GatewayUnavailable, GatewayRefused, UsageError) as problem:
        work.tell(f"{name} does not tell of refunds and disputes: {problem}")
        return []


def _each(work: Work, do: Callable[[T], None], things: Iterable[T]) -> None:
    """Do something with each of them, some at once. Each runs with what this thread says of who acts."""
    with ThreadPoolExecutor(max_workers=work.rules.at_once) as pool:
        running = [pool.submit(copy_context().run, do, thing) for thing in things]
        problems = [one.exception() for one in running]
    for problem in problems:
        if problem is not None and not isinstance(problem, BillingError):
            raise problem
        if problem is not None:
            work.tell(str(problem))


def _last_event(home: Home) -> int:
    with home.database.read() as connection:
        return int(connection.execute(select(func.max(payment_events.c.event_no))).scalar() or 0)


def _counts(home: Home, last: int) -> tuple[Counter[EventKind], Counter[EventKind]]:
    """By kind what was recorded after an event: for how many invoices, and how often at the gateways."""
    event = payment_events.c
    each = select(event.kind, func.count().label("invoices")).where(event.event_no > last)
    once = each.group_by(event.kind, event.gateway, event.reference).subquery()
    query = select(once.c.kind, func.sum(once.c.invoices), func.count()).group_by(once.c.kind)
    with home.database.read() as connection:
        found = [(EventKind(kind), int(invoices), int(times)) for kind, invoices, times in connection.execute(query)]
    return Counter({kind: invoices for kind, invoices, _ in found}), Counter({kind: times for kind, _, times in found})
