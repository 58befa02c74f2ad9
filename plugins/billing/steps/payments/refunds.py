"""Money goes back for credit notes that came after it: once for each, looked up before it is asked for, never more than
is held (rules 6.4 and 6.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from billing.core.collecting import refunds_due
from billing.core.errors import UsageError
from billing.core.payments import MANUAL, EventKind
from billing.outbound.payment_gateway import GatewayRefund, GatewayRefused, GatewayUnavailable, PaymentGateway
from billing.steps import commit_points
from billing.steps.payments.work import Work, written
from billing.store import payments
from billing.store.payments import Account, Change, Event

NOT_FOR_A_NOTE = "not for a credit note: "
"""How the words of a refund begin that no credit note asked for: whose doing it was follows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """What a gateway is to give back of one charge of an invoice, for a credit note."""

    account: Account
    gateway: str
    reference: str
    note: str
    amount_minor: int


def due_refunds(work: Work) -> list[Due]:
    """All that gateways are to give back. What they cannot is given back by hand, and is said in each run until it is:
    what came by bank transfer, what a note's charge does not hold, a refund that came back.
    """
    with work.home.database.read() as connection:
        found = payments.accounts(connection, payments.with_money_to_give_back())
    due: list[Due] = []
    for account in found:
        held, owed = account.money.held, account.standing.owed_minor
        mine: list[Due] = []
        for note, amount in refunds_due(held, owed, account.notes, account.given_back_for()):
            mine += _of_one_charge(work, account, note, amount, mine)
        _tell_rest(work, account, held - owed - sum(one.amount_minor for one in mine), mine)
        due += mine
    return due


def _of_one_charge(work: Work, account: Account, note: str, amount: int, before: Sequence[Due]) -> list[Due]:
    """What the first charge that holds anything gives of an amount: one, since a note is given back once."""
    for (gateway, reference), held in held_there(account).items():
        left = held - sum(one.amount_minor for one in before if one.reference == reference)
        if left > 0 and gateway in work.gateways:
            given = min(amount, left)
            return [Due(account=account, gateway=gateway, reference=reference, note=note, amount_minor=given)]
    return []


def _tell_rest(work: Work, account: Account, rest: int, due: Sequence[Due]) -> None:
    """Say what a person is to give back, by credit note, the newest first as in ``refunds_due``."""
    went, failed = _by_note(account, EventKind.REFUNDED), _by_note(account, EventKind.REFUND_FAILED)
    for one in due:
        went[one.note] = went.get(one.note, 0) + one.amount_minor
    for note, total in reversed(account.notes):
        amount = min(rest, total - went.get(note, 0) + failed.get(note, 0))
        if amount > 0:
            _tell_by_hand(work, account, amount, note, failed.get(note, 0))
            rest -= amount
    if rest > 0:
        _tell_by_hand(work, account, rest, "", 0)


def _by_note(account: Account, kind: EventKind) -> dict[str, int]:
    found: dict[str, int] = {}
    for event in account.events:
        if event.kind is kind:
            found[event.detail] = found.get(event.detail, 0) + event.amount_minor
    return found


def _tell_by_hand(work: Work, account: Account, amount: int, note: str, failed: int) -> None:
    """A refund that came back is not tried again either."""
    currency, option = account.currency, f"--credit-note {note} " if note else ""
    what = f"are to be given back for {note}" if note else "more are held than is owed"
    came_back = f"; {written(failed, currency)} that were given back for it did not arrive" if failed else ""
    how = f"`billing payments refunded {account.number} {option}--amount ... --on ... --reference ...`"
    said = f"{account.number}: {written(amount, currency)} {currency} {what}{came_back}"
    work.tell(f"{said}: pay it by bank transfer and record it ({how})")


def held_there(account: Account) -> dict[tuple[str, str], int]:
    """By gateway and charge what it holds of the buyer's money for an invoice: no bank transfers. In the order in which
    the money came; refunds and disputes are taken from the gateway's charges in that order.
    """
    held: dict[tuple[str, str], int] = {}
    gone: dict[str, int] = {}
    for event in account.events:
        if event.kind is EventKind.RECEIVED and not is_by_hand(event):
            place = (event.gateway, event.charge_reference)
            held[place] = held.get(place, 0) + event.amount_minor
        elif not is_by_hand(event):
            gone[event.gateway] = gone.get(event.gateway, 0) + _GONE.get(event.kind, 0) * event.amount_minor
    for place in held:
        taken = min(held[place], max(0, gone.get(place[0], 0)))
        held[place] -= taken
        gone[place[0]] = gone.get(place[0], 0) - taken
    return held


_GONE = {
    EventKind.REFUNDED: 1,
    EventKind.REFUND_FAILED: -1,
    EventKind.DISPUTED: 1,
    EventKind.DISPUTE_WON: -1,
}


def is_by_hand(event: Event) -> bool:
    """Whether a person recorded it, of a bank."""
    return event.gateway == MANUAL


def give_back(work: Work, due: Due) -> None:
    """One refund: looked up, made where it is not there, recorded. What the gateway refuses is said."""
    gateway = work.gateways[due.gateway]
    try:
        refund = _found_or_made(gateway, due)
    except GatewayUnavailable as problem:
        work.tell(f"{due.account.number}: {due.gateway} gave no answer on the refund for {due.note} ({problem})")
        return
    except (GatewayRefused, UsageError) as refusal:
        work.tell(
            f"{due.account.number}: {due.gateway} does not give back {due.note} ({refusal}): pay it by bank transfer, "
            f"and record it with `billing payments refunded {due.account.number} --credit-note {due.note}`"
        )
        return
    work.write(Change(events=events_of_refund(due.account.number, due.gateway, refund)))
    commit_points.reached(commit_points.COLLECT_REFUND_RECORDED)


def _found_or_made(gateway: PaymentGateway, due: Due) -> GatewayRefund:
    for refund in gateway.refunds(due.reference):
        if refund.key == due.note:
            return refund
    made = gateway.refund(due.reference, amount_minor=due.amount_minor, key=due.note)
    commit_points.reached(commit_points.COLLECT_REFUNDED)
    return made


def events_of_refund(number: str, gateway: str, refund: GatewayRefund, amount_minor: int | None = None) -> list[Event]:
    """A refund as it is kept; one that failed is there twice: it went, and came back."""
    kinds = [EventKind.REFUNDED, *([EventKind.REFUND_FAILED] if refund.failed else [])]
    detail = refund.key or f"{NOT_FOR_A_NOTE}made at {gateway}"
    return [
        Event(
            number=number,
            kind=kind,
            amount_minor=refund.amount_minor if amount_minor is None else amount_minor,
            gateway=gateway,
            reference=refund.reference,
            at=refund.at,
            detail=detail,
        )
        for kind in kinds
    ]
