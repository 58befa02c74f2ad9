"""What happened at a gateway by itself, or by somebody's hand there: refunds, failed refunds, disputes. Taken into the
books as it is told, and said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from billing.core.collecting import shared
from billing.core.payments import EventKind
from billing.outbound.payment_gateway import DisputeState, GatewayDispute, GatewayRefund, PaymentGateway
from billing.steps.payments.refunds import events_of_refund
from billing.steps.payments.work import Work, written
from billing.store import payments
from billing.store.credit_notes import invoice_of
from billing.store.payments import Change, Charge, Event
from billing.store.tables import charges, payment_events

RECENT = timedelta(days=14)
"""Disputes and failed refunds come late: each run looks so far back, and to the oldest dispute that is not decided."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answerable:
    """A dispute that can still be answered."""

    numbers: tuple[str, ...]
    amount: str
    currency: str
    reason: str
    answer_by: datetime


def take_over_recent(work: Work, name: str) -> list[Answerable]:
    """What a gateway tells of the last days; the disputes that wait for an answer."""
    gateway = work.gateways[name]
    begin = min(work.now - RECENT, *_undecided_since(work, name))
    for refund in gateway.refunds_between(work.now - RECENT, work.now + timedelta(days=1)):
        take_over_refund(work, name, refund)
    return take_over_disputes(work, name, gateway, begin)


def _undecided_since(work: Work, name: str) -> list[datetime]:
    with work.home.database.read() as connection:
        found = payments.events_at(
            connection,
            name,
            payment_events.c.kind.in_([EventKind.DISPUTED, EventKind.DISPUTE_WON, EventKind.DISPUTE_LOST]),
        )
    decided = {event.reference for event in found if event.kind is not EventKind.DISPUTED}
    return [work.now, *(event.at for event in found if event.reference not in decided)]


def take_over_disputes(work: Work, name: str, gateway: PaymentGateway, begin: datetime) -> list[Answerable]:
    """Disputes opened since an instant, as they are now."""
    answerable = []
    for dispute in gateway.disputes_between(begin, work.now + timedelta(days=1)):
        charge = charge_at(work, name, dispute.charge_reference)
        if charge is None:
            continue
        take_over_dispute(work, charge, dispute)
        if dispute.answer_by is not None and dispute.state in (DisputeState.OPEN, DisputeState.WARNING):
            answerable.append(
                Answerable(
                    numbers=charge.numbers,
                    amount=written(dispute.amount_minor, dispute.currency),
                    currency=dispute.currency,
                    reason=dispute.reason,
                    answer_by=dispute.answer_by,
                )
            )
    return answerable


def charge_at(work: Work, gateway: str, reference: str) -> Charge | None:
    """Our charge of a gateway's reference; None where it is not ours."""
    with work.home.database.read() as connection:
        mine = charges.c.gateway == gateway, charges.c.reference == reference
        found = payments.read_charges(connection, *mine)
    return found[0] if found else None


def take_over_dispute(work: Work, charge: Charge, dispute: GatewayDispute) -> list[Event]:
    """Write what is new of a dispute; a warning moves no money and is only said."""
    events = events_of_dispute(charge, dispute)
    new = _new(work, events)
    if new:
        work.write(Change(events=new))
    return new


def events_of_dispute(charge: Charge, dispute: GatewayDispute) -> list[Event]:
    """A dispute as it is kept: over the invoices of its charge, in their order."""
    until = f"; answer by {dispute.answer_by:%Y-%m-%d}" if dispute.answer_by else ""
    return [
        Event(
            number=number,
            kind=kind,
            amount_minor=amount,
            gateway=charge.gateway,
            reference=dispute.reference,
            at=dispute.at,
            detail=f"{dispute.reason}{until}",
        )
        for kind in _KINDS[dispute.state]
        for number, amount in shared(dispute.amount_minor, charge.parts).items()
    ]


_KINDS: Mapping[DisputeState, tuple[EventKind, ...]] = {
    DisputeState.WARNING: (),
    DisputeState.OPEN: (EventKind.DISPUTED,),
    DisputeState.WON: (EventKind.DISPUTED, EventKind.DISPUTE_WON),
    DisputeState.LOST: (EventKind.DISPUTED, EventKind.DISPUTE_LOST),
}


def take_over_refund(work: Work, name: str, refund: GatewayRefund) -> list[Event]:
    """Write what is new of a refund: of the invoice of its credit note, else over the charge's invoices."""
    charge = charge_at(work, name, refund.charge_reference)
    if charge is None:
        return []
    with work.home.database.read() as connection:
        number = invoice_of(connection, [refund.key]).get(refund.key) if refund.key else None
    if number in charge.numbers:
        events = events_of_refund(str(number), name, refund)
    else:
        unasked = replace(refund, key="")
        events = [
            event
            for part, amount in shared(refund.amount_minor, charge.parts).items()
            for event in events_of_refund(part, name, unasked, amount)
        ]
    new = _new(work, events)
    if new:
        work.write(Change(events=new))
        went = ", ".join(
            f"{event.number} {event.kind.value} {written(event.amount_minor, refund.currency)}" for event in new
        )
        work.tell(f"{name} tells of a refund that was not in the books: {went} {refund.currency}")
    return new


def _new(work: Work, events: list[Event]) -> list[Event]:
    with work.home.database.read() as connection:
        known = {
            event.identity
            for some in payments.events_of(connection, [event.number for event in events]).values()
            for event in some
        }
    return [event for event in events if event.identity not in known]
