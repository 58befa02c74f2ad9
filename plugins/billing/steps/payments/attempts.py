"""One charge, one step further: looked up, opened, changed, confirmed, recorded.

The order is safe against a kill at any instant. A charge that was opened and whose reference is not stored was never
confirmed. An attempt is claimed in the books before it is made; after a claim whose outcome is not known the gateway is
asked first, and ``attempt_reference`` tells whether the attempt happened. No key holds the number of an attempt.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from billing.core.collecting import (
    CANCELLED_THERE,
    CARD_EXPIRED,
    NO_METHOD,
    NOT_CONFIGURED,
    Todo,
    has_expired,
    what_to_do,
)
from billing.core.errors import UsageError
from billing.core.instants import to_us
from billing.core.payments import ChargeState
from billing.outbound.payment_gateway import (
    KEY_TAKEN,
    GatewayCharge,
    GatewayRefused,
    GatewayState,
    GatewayUnavailable,
    PaymentGateway,
    StoredMethod,
    WantedCharge,
)
from billing.steps import commit_points
from billing.steps.payments import dunning
from billing.steps.payments.answers import record_answer
from billing.steps.payments.methods import Method
from billing.steps.payments.work import Overtaken, Work
from billing.store import payments
from billing.store.payments import Change, Charge
from billing.store.tables import charges


def advance(work: Work, charge_key: str) -> None:
    """Take a charge as far as it goes now.

    What a gateway refuses blocks the charge with the reason; where it gives no answer the next run asks.
    """
    with work.home.database.read() as connection:
        (charge,) = payments.read_charges(connection, charges.c.charge_key == charge_key)
    try:
        _advance(work, charge)
    except GatewayUnavailable as problem:
        work.tell(f"{', '.join(charge.numbers)}: {charge.gateway} gave no answer ({problem}); the next run asks again")
    except GatewayRefused as refusal:
        work.block(_now(work, charge), refusal.code, str(refusal))
    except UsageError as wrong:
        work.block(_now(work, charge), "credentials", str(wrong))
    except Overtaken as overtaken:
        work.tell(str(overtaken))


def _now(work: Work, charge: Charge) -> Charge:
    with work.home.database.read() as connection:
        return payments.read_charges(connection, charges.c.charge_key == charge.charge_key)[0]


def _advance(work: Work, charge: Charge) -> None:
    method = work.method(charge)
    if charge.amount_minor == 0:
        _end(work, charge)
        return
    todo = _todo(work, charge, method)
    if todo is Todo.REST:
        return
    there = None
    if charge.reference:
        gateway = _gateway(work, charge)
        if gateway is None:
            return
        there = gateway.charge(charge.reference)
        charge, goes_on = _look(work, charge, there)
        if not goes_on or (todo is Todo.LOOK and charge.state is not ChargeState.PROCESSING):
            return
    if method is None:
        said = "its subscription has no stored payment method any more: give it one, or record a bank transfer"
        work.block(charge, NO_METHOD, said)
        return
    _attempt(work, charge, method, there)


def _todo(work: Work, charge: Charge, method: Method | None) -> Todo:
    if charge.problem == CARD_EXPIRED:
        return Todo.ATTEMPT  # it was never tried: whether it can be used now is looked at below
    other = method is not None and _is_other(work, charge, method)
    return what_to_do(charge.state, next_attempt=charge.next_attempt, now=work.now, is_other_method=other)


def _is_other(work: Work, charge: Charge, method: Method) -> bool:
    """Whether a method is not the one that was last tried: another id, or another token or card under the same one."""
    if charge.payment_method_id != method.payment_method_id:
        return True
    with work.home.database.read() as connection:
        tried = payments.method_as_tried(connection, charge.payment_method_id, charge.method_load)
    return tried != (method.token, method.last4, method.expires)


def _gateway(work: Work, charge: Charge) -> PaymentGateway | None:
    """The charge's gateway; None where it is not configured, which blocks the charge."""
    found = work.gateways.get(charge.gateway)
    if found is None:
        there = ", ".join(sorted(work.gateways)) or "none"
        said = f"the gateway {charge.gateway!r} is not configured (there is {there}): "
        work.block(charge, NOT_CONFIGURED, f"{said}add [payments.gateways.{charge.gateway}] to billing.toml")
    return found


def _look(work: Work, charge: Charge, there: GatewayCharge) -> tuple[Charge, bool]:
    """Record what the gateway says of a charge; whether an attempt may follow now."""
    if there.currency != charge.currency:
        said = f"{charge.gateway} has it in {there.currency}, the invoice is in {charge.currency}"
        return work.block(charge, "other_currency", said), False
    after = record_answer(work, charge, there)
    if there.state is GatewayState.CANCELLED:
        return after, True
    is_at_it = after.state is ChargeState.PAID or there.state is GatewayState.PROCESSING
    return after, not is_at_it and after.attempts == charge.attempts


def _attempt(work: Work, charge: Charge, method: Method, there: GatewayCharge | None) -> None:
    if charge.gateway != method.gateway:
        charge, there = _moved(work, charge, method), None
    gateway = _gateway(work, charge)
    if gateway is None:
        return
    stored = gateway.stored_method(method.token)
    if has_expired(method.last_month, work.today) and (
        stored.expires is None or has_expired(stored.expires, work.today)
    ):
        _tell_expired(work, charge, method)
        return
    if there is None or not _fits(charge, there, stored):
        if there is not None and not _may_open_anew(work, charge, there, stored):
            return
        charge, there = _opened(work, gateway, charge, method, stored)
    if there.amount_minor != charge.amount_minor or _is_other(work, charge, method):
        there = gateway.change(charge.reference, amount_minor=charge.amount_minor, token=method.token)
    _confirm(work, gateway, charge, method)


def _fits(charge: Charge, there: GatewayCharge, stored: StoredMethod) -> bool:
    """Whether a charge that was opened can be taken from a payment method: both are of one customer."""
    return there.state is not GatewayState.CANCELLED and charge.customer_reference == stored.customer_reference


def _may_open_anew(work: Work, charge: Charge, there: GatewayCharge, stored: StoredMethod) -> bool:
    """See that the old charge can never be paid, so that another may take its place. One that somebody cancelled at the
    gateway is not opened again unless a person asks for it.
    """
    if there.state is not GatewayState.CANCELLED:
        return _cancelled(work, charge)
    if charge.customer_reference == stored.customer_reference and charge.state is not ChargeState.OPEN:
        said = f"somebody cancelled it at {charge.gateway}; `billing payments retry {charge.charge_key}` opens it again"
        work.block(charge, CANCELLED_THERE, said)
        return False
    return True


def _opened(
    work: Work, gateway: PaymentGateway, charge: Charge, method: Method, stored: StoredMethod
) -> tuple[Charge, GatewayCharge]:
    """Open a charge, and store its reference. Its key is its own, or where it takes the place of one that was cancelled
    says of which, and of whose.
    """
    key = charge.charge_key
    if charge.reference:
        key = f"{charge.charge_key}/{charge.reference}/{stored.customer_reference}"
    there = _open(gateway, charge, method, stored, key)
    if there.state is GatewayState.CANCELLED:  # the gateway still knows the key of one that was cancelled
        there = _open(gateway, charge, method, stored, f"{key}/{there.reference}/{stored.customer_reference}")
    commit_points.reached(commit_points.COLLECT_OPENED)
    values = {
        "reference": there.reference,
        "customer_reference": stored.customer_reference,
        "payment_method_id": method.payment_method_id,
        "method_load": work.methods.load_no,
    }
    done: Charge = work.write(Change(charge_key=charge.charge_key, values=values), expected=charge)
    commit_points.reached(commit_points.COLLECT_STORED)
    return done, there


def _open(gateway: PaymentGateway, charge: Charge, method: Method, stored: StoredMethod, key: str) -> GatewayCharge:
    wanted = WantedCharge(
        key=key,
        numbers=charge.numbers,
        amount_minor=charge.amount_minor,
        currency=charge.currency,
        token=method.token,
        customer_reference=stored.customer_reference,
        description=", ".join(charge.numbers),
    )
    try:
        return gateway.open_charge(wanted)
    except GatewayRefused as refusal:
        if refusal.code != KEY_TAKEN:
            raise
        # Opened before a kill, and changed since; that one was never stored, so it is never confirmed.
        return gateway.open_charge(replace(wanted, key=f"{key}/{stored.customer_reference}/{charge.amount_minor}"))


def _moved(work: Work, charge: Charge, method: Method) -> Charge:
    """The charge for another gateway, after it can surely not be paid at the one before."""
    if charge.reference and not _cancelled(work, charge):
        raise Overtaken(f"{charge.charge_key} is being paid at {charge.gateway}: the next run looks again.")
    blank: dict[str, Any] = {"reference": "", "customer_reference": "", "attempt_reference": ""}
    return work.update(charge, gateway=method.gateway, payment_method_id=method.payment_method_id, **blank)


def _cancelled(work: Work, charge: Charge) -> bool:
    """See that a charge can never be paid; False where it was, or is being paid, which is recorded."""
    gateway = _gateway(work, charge)
    if gateway is None:
        return False
    try:
        there = gateway.cancel(charge.reference)
    except GatewayRefused:
        there = gateway.charge(charge.reference)
    commit_points.reached(commit_points.COLLECT_CANCELLED)
    if there.state is not GatewayState.CANCELLED:
        record_answer(work, charge, there)
    return there.state is GatewayState.CANCELLED


def _end(work: Work, charge: Charge) -> None:
    """Nothing is owed any more: nothing may be taken either."""
    if charge.state in (ChargeState.PAID, ChargeState.CANCELLED, ChargeState.PROCESSING):
        return
    if not charge.reference or _cancelled(work, charge):
        work.update(
            charge, state=ChargeState.CANCELLED, next_attempt=None, problem="", detail="nothing is owed any more"
        )


def _tell_expired(work: Work, charge: Charge, method: Method) -> None:
    detail = f"the card {method.shown} expired at the end of {method.expires}"
    mail = dunning.expired(charge, method)
    values: dict[str, Any] = {
        "state": ChargeState.DECLINED,
        "next_attempt": None,
        "problem": CARD_EXPIRED,
        "detail": detail,
    }
    values |= {"payment_method_id": method.payment_method_id, "method_load": work.methods.load_no}
    if (charge.problem, charge.detail) != (CARD_EXPIRED, detail):
        work.update(charge, mails=[mail], **values)


def _confirm(work: Work, gateway: PaymentGateway, charge: Charge, method: Method) -> None:
    values = {
        "state": ChargeState.PROCESSING.value,
        "attempted_at_us": to_us(work.now),
        "payment_method_id": method.payment_method_id,
        "method_load": work.methods.load_no,
        "problem": "",
        "detail": "",
    }
    charge = work.write(Change(charge_key=charge.charge_key, values=values), expected=charge)
    commit_points.reached(commit_points.COLLECT_CLAIMED)
    answer = gateway.confirm(charge.reference, method.token)
    commit_points.reached(commit_points.COLLECT_CONFIRMED)
    record_answer(work, charge, answer)
    commit_points.reached(commit_points.COLLECT_RECORDED)
