"""Stripe's objects as the seam has them. They come as the dictionaries of their JSON.

What is ours is told by its metadata, since an account may serve others too: the label of the home, our key, and the
numbers of invoices, in as many values as they need (one holds 500 characters, and an object has 50).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from billing.outbound.payment_gateway import (
    DisputeState,
    GatewayCharge,
    GatewayDispute,
    GatewayRefund,
    GatewayRefused,
    GatewayState,
    GatewayUnavailable,
    StoredMethod,
)
from billing.outbound.stripe_amounts import from_stripe
from billing.outbound.stripe_errors import redacted

Json = Mapping[str, Any]

_HOME, _KEY, _NUMBERS = "carryover_home", "carryover_key", "carryover_invoices"
_VALUE_LENGTH_MAX, _VALUES_MAX = 500, 40

_STATES = {
    "requires_confirmation": GatewayState.UNCONFIRMED,
    "requires_action": GatewayState.NEEDS_AUTHENTICATION,
    "requires_capture": GatewayState.PROCESSING,  # never ours: those are captured at once
    "processing": GatewayState.PROCESSING,
    "succeeded": GatewayState.SUCCEEDED,
    "canceled": GatewayState.CANCELLED,
}
_ONLY_THE_BUYER_CAN = frozenset(("authentication_required", "payment_intent_authentication_failure"))
_DISPUTES = {
    "warning_needs_response": DisputeState.WARNING,
    "warning_under_review": DisputeState.WARNING,
    "warning_closed": DisputeState.WARNING,
    "prevented": DisputeState.WARNING,
    "needs_response": DisputeState.OPEN,
    "under_review": DisputeState.OPEN,
    "appeal_needs_response": DisputeState.OPEN,
    "appeal_under_review": DisputeState.OPEN,
    "won": DisputeState.WON,
    "lost": DisputeState.LOST,
}
_DECIDED = frozenset(("warning_closed", "prevented", "won", "lost"))


def metadata(home: str, key: str, numbers: tuple[str, ...] = ()) -> dict[str, str]:
    """What is kept with a charge or refund of ours. Raises ``GatewayRefused`` for more numbers than there is room."""
    values = _packed(numbers)
    if len(values) > _VALUES_MAX:
        raise GatewayRefused("too_many_invoices", f"One charge cannot name {len(numbers)} invoices; use several.")
    named = {_NUMBERS + (f"_{n}" if n else ""): value for n, value in enumerate(values)}
    return {_HOME: home, _KEY: key, **named}


def charge_of(intent: Json, home: str) -> GatewayCharge:
    """A PaymentIntent, with its ``latest_charge`` expanded."""
    currency, error = str(intent["currency"]).upper(), intent.get("last_payment_error") or {}
    state, attempt = _state(intent, error), intent.get("latest_charge")
    key = _key(intent, home)
    return GatewayCharge(
        reference=intent["id"],
        key=key,
        numbers=_numbers(intent) if key else (),
        state=state,
        currency=currency,
        amount_minor=from_stripe(intent["amount"], currency),
        received_minor=from_stripe(intent.get("amount_received") or 0, currency),
        attempt_reference=_id(attempt) or str(error.get("charge") or ""),
        problem=str(error.get("decline_code") or error.get("code") or error.get("type") or ""),
        detail=redacted(str(error.get("message") or "")),
        opened_at=_instant(intent["created"]),
        settled_at=_settled(attempt, intent) if state is GatewayState.SUCCEEDED else None,
        customer_reference=_id(intent.get("customer")),
    )


def refund_of(refund: Json, home: str) -> GatewayRefund:
    """A Refund; of a charge that has no PaymentIntent the charge itself is the reference."""
    currency = str(refund["currency"]).upper()
    return GatewayRefund(
        reference=refund["id"],
        charge_reference=_id(refund.get("payment_intent")) or _id(refund.get("charge")),
        key=_key(refund, home),
        currency=currency,
        amount_minor=from_stripe(refund["amount"], currency),
        failed=refund.get("status") in ("failed", "canceled"),
        at=_instant(refund["created"]),
    )


def dispute_of(dispute: Json) -> GatewayDispute:
    """A Dispute. An inquiry (``warning_...``) and one that Stripe has prevented moved no money."""
    currency, status = str(dispute["currency"]).upper(), str(dispute["status"])
    if status not in _DISPUTES:
        raise _unknown("dispute", dispute["id"], status)
    due = (dispute.get("evidence_details") or {}).get("due_by")
    return GatewayDispute(
        reference=dispute["id"],
        charge_reference=_id(dispute.get("payment_intent")) or _id(dispute.get("charge")),
        state=_DISPUTES[status],
        currency=currency,
        amount_minor=from_stripe(dispute["amount"], currency),
        reason=str(dispute.get("reason") or ""),
        at=_instant(dispute["created"]),
        answer_by=_instant(due) if due and status not in _DECIDED else None,
    )


def method_of(method: Json) -> StoredMethod:
    """A PaymentMethod. Raises ``GatewayRefused`` where it is no customer's: it could be used once only."""
    customer, card = _id(method.get("customer")), method.get("card") or {}
    if not customer:
        raise GatewayRefused(
            "payment_method_unattached",
            "The payment method belongs to no customer at Stripe, so that it cannot be charged again. "
            "Attach it to one there, or load another.",
        )
    is_dated = bool(card.get("exp_year") and card.get("exp_month"))
    return StoredMethod(
        token=method["id"],
        customer_reference=customer,
        kind=str(method["type"]),
        expires=(int(card["exp_year"]), int(card["exp_month"])) if is_dated else None,
    )


def _state(intent: Json, error: Json) -> GatewayState:
    status = intent["status"]
    if status == "requires_payment_method":
        if not error:
            return GatewayState.UNCONFIRMED
        return GatewayState.NEEDS_AUTHENTICATION if error.get("code") in _ONLY_THE_BUYER_CAN else GatewayState.DECLINED
    if status not in _STATES:
        raise _unknown("charge", intent["id"], str(status))
    return _STATES[status]


def _unknown(what: str, reference: str, status: str) -> GatewayUnavailable:
    return GatewayUnavailable(
        f"Stripe tells of the {what} {reference} that it is {status!r}, which this version does not know. Update it."
    )


def _settled(attempt: object, intent: Json) -> datetime:
    return _instant(attempt["created"] if isinstance(attempt, Mapping) else intent["created"])


def _key(owner: Json, home: str) -> str:
    """Blank where it is not of this home."""
    kept = owner.get("metadata") or {}
    return str(kept.get(_KEY) or "") if kept.get(_HOME) == home else ""


def _numbers(intent: Json) -> tuple[str, ...]:
    kept, numbers = intent["metadata"], []
    for n in range(_VALUES_MAX):
        numbers += str(kept.get(_NUMBERS + (f"_{n}" if n else "")) or "").split(",")
    return tuple(number for number in numbers if number)


def _packed(numbers: tuple[str, ...]) -> list[str]:
    """Numbers with commas between, which none of them has, in values that are not too long."""
    values: list[str] = []
    for number in numbers:
        if values and len(values[-1]) + 1 + len(number) <= _VALUE_LENGTH_MAX:
            values[-1] += f",{number}"
        else:
            values.append(number)
    return values


def _id(named: object) -> str:
    """Of what may be an id, the whole object, or nothing."""
    return str(named["id"] if isinstance(named, Mapping) else named or "")


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
