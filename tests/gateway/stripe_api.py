"""What Stripe does with charges, refunds and disputes, over the objects of ``localstripe``, which has the rest.

``localstripe`` declines where a card is attached, knows no refund that fails and no dispute, lists no intent by
customer or time, and takes any amount. So everything that is asked of intents, refunds and disputes is answered here.
Amounts are Stripe's; whatever was really taken or given back is entered in ``Account.moves`` too, apart from the
objects.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from localstripe import resources
from localstripe.errors import UserError

MINIMUM = {"eur": 50, "usd": 50, "gbp": 30, "jpy": 50, "sek": 300, "huf": 17500}
WHOLE = ("isk", "ugx")
THREE_DECIMALS = ("bhd", "jod", "kwd", "omr", "tnd")
PAGE_MAX = 100

DECLINES = {
    "generic_decline": ("card_declined", "generic_decline", "Your card was declined."),
    "insufficient_funds": ("card_declined", "insufficient_funds", "Your card has insufficient funds."),
    "stolen_card": ("card_declined", "stolen_card", "Your card was declined."),
    "expired_card": ("expired_card", "expired_card", "Your card has expired."),
    "processing_error": ("processing_error", "processing_error", "An error occurred while processing your card."),
    "authentication_required": (
        "authentication_required",
        "authentication_required",
        "Your card was declined. This transaction requires authentication.",
    ),
}
OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")


class Clock:
    """The world's time, which a test can move. In seconds since 1970."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead

    def move_to(self, at: float) -> None:
        self.ahead = at - time.time()


class Refused(Exception):
    """An answer of Stripe that is an error."""

    def __init__(self, status: int, message: str, code: str = "", kind: str = "invalid_request_error", **more: Any):
        super().__init__(message)
        self.status = status
        self.body = {"error": {"type": kind, "message": message, **({"code": code} if code else {}), **more}}


@dataclass(kw_only=True)
class Account:
    """One account at Stripe. ``behaviour`` says by payment method what becomes of a confirmation."""

    clock: Clock
    intents: dict[str, Any] = field(default_factory=dict)
    refunds: dict[str, Any] = field(default_factory=dict)
    disputes: dict[str, dict[str, Any]] = field(default_factory=dict)
    behaviour: dict[str, dict[str, Any]] = field(default_factory=dict)
    moves: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, data: dict[str, Any]) -> dict[str, Any] | None:
        """The object that is asked for, or None where ``localstripe`` has the answer. Raises ``Refused``."""
        parts = path.removeprefix("/v1/").strip("/").split("/")
        if parts[0] not in ("payment_intents", "refunds", "disputes"):
            return None
        expand = data.pop("expand", [])
        name = "_".join([method.lower(), parts[0], *(["one"] if len(parts) > 1 else []), *parts[2:]])
        handler: Callable[..., Any] | None = getattr(self, name, None)
        if handler is None:
            raise Refused(404, f"Unrecognized request URL ({method}: {path}).")
        try:
            found = handler(*parts[1:2], **data)
        except UserError as error:
            told = error.body["error"]
            raise Refused(error.code, told.get("message", ""), "resource_missing" * (error.code == 404)) from None
        if isinstance(found, tuple):
            return _page(*found, [self._shown(one, [e.removeprefix("data.") for e in expand]) for one in found[0]])
        return self._shown(found, expand)

    # --- payment intents

    def post_payment_intents(self, **data: Any) -> Any:
        data.pop("automatic_payment_methods", None)
        description = data.pop("description", None)
        self._check_amount(int(data["amount"]), data["currency"])
        self._check_method(data.get("payment_method"), data.get("customer"), data["currency"])
        intent = resources.PaymentIntent(**data)
        intent.world = {
            "status": "requires_confirmation" if intent.payment_method else "requires_payment_method",
            "amount_received": 0,
            "last_payment_error": None,
            "description": description,
        }
        self.intents[intent.id] = intent
        return intent

    def get_payment_intents_one(self, reference: str) -> Any:
        if reference not in self.intents:
            raise Refused(404, f"No such payment_intent: '{reference}'", "resource_missing", param="intent")
        return self.intents[reference]

    def get_payment_intents(self, customer: str = "", created: Any = None, **page: Any) -> Any:
        found = [one for one in self.intents.values() if not customer or one.customer == customer]
        return _cut(_within(found, created), **page)

    def post_payment_intents_one(self, reference: str, **data: Any) -> Any:
        intent = self._open(reference)
        if amount := data.get("amount"):
            self._check_amount(int(amount), intent.currency)
        if token := data.get("payment_method"):
            self._check_method(token, intent.customer, intent.currency)
            intent.payment_method = token
            intent.world |= {"status": "requires_confirmation", "last_payment_error": None}
        intent.amount = int(amount or intent.amount)
        intent.metadata |= data.get("metadata", {})
        intent.world["description"] = data.get("description", intent.world["description"])
        return intent

    def post_payment_intents_one_cancel(self, reference: str) -> Any:
        intent = self._open(reference)
        intent.world["status"] = "canceled"
        return intent

    def post_payment_intents_one_confirm(
        self, reference: str, payment_method: str = "", off_session: str = "", **_: Any
    ) -> Any:
        intent = self._open(reference)
        token = payment_method or intent.payment_method
        if not token or off_session != "true":
            raise Refused(400, "This world knows payments off session by a payment method only.")
        self._check_method(token, intent.customer, intent.currency)
        wanted = self.behaviour.get(token, {})
        charge = resources.Charge(
            amount=intent.amount, currency=intent.currency, customer=intent.customer, source=token
        )
        charge.payment_intent, intent.latest_charge = intent.id, charge
        outcome = wanted.get("confirm", "")
        if outcome in DECLINES:
            self._decline(intent, charge, token, outcome)
        intent.payment_method = token
        if outcome == "processing":
            intent.world["status"] = "processing"
        else:
            self._take(intent, int(wanted.get("received", intent.amount)))
        return intent

    def settle(self, reference: str, outcome: str = "") -> None:
        """What a bank says days later of a payment that was being processed."""
        intent = self.intents[reference]
        if outcome in DECLINES:
            try:
                self._decline(intent, intent.latest_charge, intent.payment_method, outcome)
            except Refused:
                return
        self._take(intent, intent.amount)

    def _take(self, intent: Any, received: int) -> None:
        intent.latest_charge.status = "succeeded"
        intent.world |= {"status": "succeeded", "amount_received": received, "last_payment_error": None}
        self._enter("taken", intent, received, intent.id)

    def _decline(self, intent: Any, charge: Any, token: str, outcome: str) -> None:
        code, decline_code, message = DECLINES[outcome]
        charge.status, charge.failure_code, charge.failure_message = "failed", code, message
        told = {
            "type": "card_error",
            "code": code,
            "decline_code": decline_code,
            "message": message,
            "charge": charge.id,
            "payment_method": {"id": token, "object": "payment_method"},
        }
        intent.payment_method = None
        intent.world |= {"status": "requires_payment_method", "last_payment_error": told}
        more = {name: told[name] for name in ("decline_code", "charge", "payment_method")}
        raise Refused(402, message, code, "card_error", **more, payment_intent=self._shown(intent, []))

    def _open(self, reference: str) -> Any:
        intent = self.get_payment_intents_one(reference)
        if (status := intent.world["status"]) not in OPEN:
            raise Refused(
                400,
                f"This PaymentIntent could not be changed or confirmed because it has a status of {status}.",
                "payment_intent_unexpected_state",
                payment_intent=self._shown(intent, []),
            )
        return intent

    def _check_amount(self, amount: int, currency: str) -> None:
        if amount < MINIMUM.get(currency, 1):
            raise Refused(400, f"Amount must be at least {MINIMUM.get(currency, 1)}.", "amount_too_small")
        if (currency in WHOLE and amount % 100) or (currency in THREE_DECIMALS and amount % 10):
            raise Refused(400, f"Invalid amount for {currency}.", "invalid_amount", param="amount")

    def _check_method(self, token: str | None, customer: str | None, currency: str) -> None:
        if token is None:
            return
        method = self._method(token)
        if method.customer is None or method.customer != customer:
            raise Refused(400, f"The customer does not have a payment method with the ID {token}.", "resource_missing")
        if method.type == "sepa_debit" and currency != "eur":
            raise Refused(
                400,
                f"The payment method sepa_debit cannot be used in {currency}.",
                "payment_intent_incompatible_payment_method",
            )

    def _method(self, token: str) -> Any:
        try:
            return resources.PaymentMethod._api_retrieve(token)
        except UserError:
            raise Refused(404, f"No such PaymentMethod: '{token}'", "resource_missing") from None

    # --- refunds and disputes

    def post_refunds(self, payment_intent: str, amount: str = "", metadata: Any = None) -> Any:
        intent = self.get_payment_intents_one(payment_intent)
        if intent.world["status"] != "succeeded":
            raise Refused(400, "This PaymentIntent has no successful charge to refund.", "charge_not_refundable")
        left = intent.world["amount_received"] - self._refunded(intent.id)
        if left == 0:
            raise Refused(400, "The charge has already been refunded.", "charge_already_refunded")
        wanted = int(amount or left)
        if wanted > left:
            raise Refused(400, f"Refund amount ({wanted}) is greater than unrefunded amount on charge ({left}).")
        refund = resources.Refund(charge=intent.latest_charge.id, amount=wanted, metadata=metadata)
        refund.payment_intent = intent.id
        self.refunds[refund.id] = refund
        self._enter("refunded", intent, wanted, refund.id)
        return refund

    def get_refunds(self, payment_intent: str = "", created: Any = None, **page: Any) -> Any:
        found = [one for one in self.refunds.values() if not payment_intent or one.payment_intent == payment_intent]
        return _cut(_within(found, created), **page)

    def get_disputes(self, created: Any = None, **page: Any) -> Any:
        return _cut(_within(self.disputes.values(), created), **page)

    def fail_refund(self, reference: str) -> None:
        """The buyer's bank sends the money back to us."""
        refund = self.refunds[reference]
        refund.status = "failed"
        self._enter("refund_failed", self.intents[refund.payment_intent], refund.amount, refund.id)

    def dispute(self, intent: str = "", dispute: str = "", **told: Any) -> dict[str, Any]:
        """Open one on an intent, or change one: ``status``, ``reason``, ``amount``, ``due_by``."""
        if not dispute:
            of, created = self.intents[intent], int(self.clock.time())
            made = {
                "id": f"du_{len(self.disputes) + 1:014d}",
                "object": "dispute",
                "payment_intent": intent,
                "charge": of.latest_charge.id,
                "currency": of.currency,
                "amount": of.world["amount_received"],
                "reason": "fraudulent",
                "status": "needs_response",
                "created": created,
                "evidence_details": {"due_by": created + 7 * 86400, "has_evidence": False},
            }
            self.disputes[dispute := made["id"]] = made
        found = self.disputes[dispute]
        if "due_by" in told:
            found["evidence_details"]["due_by"] = told.pop("due_by")
        found |= told
        return found

    def _refunded(self, intent: str) -> int:
        return sum(
            one.amount for one in self.refunds.values() if one.payment_intent == intent and one.status != "failed"
        )

    # --- what is told

    def _shown(self, found: Any, expand: list[str]) -> dict[str, Any]:
        if isinstance(found, dict):
            return found
        shown: dict[str, Any] = {
            name: value for name, value in vars(found).items() if name != "world" and not name.startswith("_")
        } | {"object": found.object}
        if found.object == "payment_intent":
            shown |= found.world
            charge = found.latest_charge
            if charge is not None:
                shown["latest_charge"] = (
                    {name: getattr(charge, name) for name in ("id", "object", "created", "status", "failure_code")}
                    if "latest_charge" in expand
                    else charge.id
                )
        return shown

    def _enter(self, what: str, intent: Any, amount: int, reference: str) -> None:
        self.moves.append(
            {
                "what": what,
                "intent": intent.id,
                "reference": reference,
                "metadata": dict(intent.metadata),
                "currency": intent.currency.upper(),
                "amount": amount,
                "at": self.clock.time(),
            }
        )


def _created(one: Any) -> int:
    return int(one["created"] if isinstance(one, dict) else one.created)


def _name(one: Any) -> str:
    return str(one["id"] if isinstance(one, dict) else one.id)


def _within(found: Iterable[Any], created: Any) -> list[Any]:
    """The newest first."""
    newest = list(found)[::-1]
    compare = {"gte": int.__ge__, "gt": int.__gt__, "lte": int.__le__, "lt": int.__lt__}
    for name, bound in (created or {}).items():
        newest = [one for one in newest if compare[name](_created(one), int(bound))]
    return newest


def _cut(found: list[Any], limit: str = "10", starting_after: str = "") -> tuple[list[Any], bool]:
    if not 1 <= int(limit) <= PAGE_MAX:
        raise Refused(400, f"This value must be less than or equal to {PAGE_MAX} (it currently is '{limit}').")
    begin = [_name(one) for one in found].index(starting_after) + 1 if starting_after else 0
    return found[begin : begin + int(limit)], len(found) > begin + int(limit)


def _page(found: list[Any], has_more: bool, shown: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "url": "/v1", "has_more": has_more, "data": shown}
