"""What a gateway says of a charge, written into the books: each attempt and all money once, with the mail about it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from billing.core.collecting import can_get_better, next_attempt, shared
from billing.core.payments import ChargeState, EventKind
from billing.outbound.payment_gateway import GatewayCharge, GatewayState
from billing.steps.payments import dunning
from billing.steps.payments.work import Mail, Work
from billing.store import payments
from billing.store.payments import Charge, Event


def record_answer(work: Work, charge: Charge, there: GatewayCharge) -> Charge:
    """Record a charge as its gateway tells it, in one transaction; the charge as it is then. Said again, it changes
    nothing.
    """
    match there.state:
        case GatewayState.SUCCEEDED:
            values: dict[str, Any] = {"state": ChargeState.PAID, "next_attempt": None, "problem": "", "detail": ""}
            values |= {"attempt_reference": there.attempt_reference or charge.attempt_reference}
            values |= {"attempts": charge.attempts + (charge.state is not ChargeState.PAID)}
            return _write(work, charge, values, received(work, charge, there))
        case GatewayState.PROCESSING:
            return _write(work, charge, {"state": ChargeState.PROCESSING}, received(work, charge, there))
        case GatewayState.DECLINED if _happened(charge, there):
            return _declined(work, charge, there)
        case GatewayState.NEEDS_AUTHENTICATION if _happened(charge, there):
            return _authentication_required(work, charge, there)
        case _:
            return charge


def received(work: Work, charge: Charge, there: GatewayCharge) -> list[Event]:
    """What came in of a charge and is not in the books: over its invoices, in their order."""
    with work.home.database.read() as connection:
        mine = payments.received_of(connection, charge)
    before = sum(event.amount_minor for event in mine)
    if there.received_minor <= before:
        return []
    so_far = {event.number: 0 for event in mine}
    for event in mine:
        so_far[event.number] += event.amount_minor
    whole = shared(there.received_minor, charge.parts)
    # A part that came first keeps the plain reference; what follows says how much there was then.
    reference = there.reference if not mine else f"{there.reference}@{there.received_minor}"
    at, method = there.settled_at or work.now, work.methods.named(charge.payment_method_id)
    shown = method.shown if method else ""
    return [
        _event(charge, number, EventKind.RECEIVED, amount - so_far.get(number, 0), reference, at, shown)
        for number, amount in whole.items()
        if amount > so_far.get(number, 0)
    ]


def _happened(charge: Charge, there: GatewayCharge) -> bool:
    """Whether the gateway tells of an attempt that is not in the books."""
    if not there.attempt_reference:
        return charge.state is ChargeState.PROCESSING
    return there.attempt_reference != charge.attempt_reference


def _declined(work: Work, charge: Charge, there: GatewayCharge) -> Charge:
    attempts, first = charge.attempts + 1, _first_attempt(work, charge)
    due = next_attempt(work.rules.retry_after_days, first, attempts, work.now)
    is_over = due is None
    if not can_get_better(there.problem):
        due = None
    state = ChargeState.UNCOLLECTED if is_over else ChargeState.DECLINED
    mails = [dunning.declined(work, charge, there, attempts, due)]
    if is_over:
        mails.append(dunning.final_notice(work, charge, attempts))
    values = {"state": state, "attempts": attempts, "next_attempt": due}
    return _attempted(work, charge, there, EventKind.DECLINED, values, mails)


def _authentication_required(work: Work, charge: Charge, there: GatewayCharge) -> Charge:
    values = {"state": ChargeState.AUTHENTICATION_REQUIRED, "attempts": charge.attempts + 1, "next_attempt": None}
    mails = [dunning.authentication_required(work, charge, there)]
    return _attempted(work, charge, there, EventKind.AUTHENTICATION_REQUIRED, values, mails)


def _attempted(
    work: Work, charge: Charge, there: GatewayCharge, kind: EventKind, values: dict[str, Any], mails: list[Mail]
) -> Charge:
    reference = there.attempt_reference or f"{there.reference}#{charge.attempts + 1}"
    detail = f"{there.problem}: {there.detail}".strip(": ")
    events = [_event(charge, number, kind, amount, reference, work.now, detail) for number, amount in charge.parts]
    values |= {"attempt_reference": there.attempt_reference, "problem": there.problem, "detail": there.detail}
    return _write(work, charge, values, events, mails)


def _first_attempt(work: Work, charge: Charge) -> datetime:
    with work.home.database.read() as connection:
        return payments.first_attempt(connection, charge) or work.now


def _event(
    charge: Charge, number: str, kind: EventKind, amount: int, reference: str, at: datetime, detail: str
) -> Event:
    where = {"gateway": charge.gateway, "reference": reference}
    return Event(number=number, kind=kind, amount_minor=amount, at=at, detail=detail, **where)


def _write(
    work: Work, charge: Charge, values: dict[str, Any], events: list[Event], mails: list[Mail] | None = None
) -> Charge:
    if not events and all(getattr(charge, name) == value for name, value in values.items()):
        return charge
    return work.update(charge, events=events, mails=mails or (), **values)
