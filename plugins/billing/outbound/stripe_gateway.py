"""Stripe behind the seam: off-session PaymentIntents on stored payment methods, by its own SDK.

One invoice is one PaymentIntent. It is created under an idempotency key of the label of the home and the invoice's
number, and Stripe pays it once at most, whatever is asked how often. So a confirmation has no key of ours: under a kept
key Stripe would repeat yesterday's decline for a day. The SDK asks once only; who asks again looks up first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

from stripe import DEFAULT_API_BASE, RequestsClient, StripeClient, StripeError, StripeObject

from billing.core.instants import to_us
from billing.core.quantity import MICRO
from billing.outbound.payment_gateway import (
    KEY_TAKEN,
    GatewayCharge,
    GatewayDispute,
    GatewayRefund,
    GatewayRefused,
    GatewayState,
    GatewayUnavailable,
    StoredMethod,
    WantedCharge,
)
from billing.outbound.stripe_amounts import minimum_minor, to_stripe
from billing.outbound.stripe_errors import meaning, quiet, unexpected
from billing.outbound.stripe_objects import Json, charge_of, dispute_of, metadata, method_of, refund_of

_List = Callable[[Any], StripeObject]

_PAGE = 100  # Stripe's largest
_ATTEMPT: dict[str, Any] = {"expand": ["latest_charge"]}
_ATTEMPTS: dict[str, Any] = {"expand": ["data.latest_charge"]}
_CONNECT_SECONDS, _READ_SECONDS = 10.0, 80.0  # a charge may take its time; Stripe's SDKs wait as long


class StripeGateway:
    """``PaymentGateway`` by Stripe. ``access`` gives secret key and base address (blank: Stripe's own); it is called
    at the first use, so that nothing is resolved where nothing is charged.

    ``label`` tells this home's charges from those of others in the account; it must never change. ``connection`` is
    what messages name. ``minimum``: amounts by currency that go before Stripe's table.
    """

    def __init__(
        self,
        name: str,
        access: Callable[[], tuple[str, str]],
        *,
        label: str,
        connection: str = "",
        minimum: Mapping[str, Decimal] | None = None,
        connect_seconds: float = _CONNECT_SECONDS,
        read_seconds: float = _READ_SECONDS,
    ) -> None:
        self._name = name
        self._access = access
        self._label = label
        self._connection = connection
        self._minimum = dict(minimum or {})
        self._timeout = (connect_seconds, read_seconds)
        self._opened: StripeClient | None = None
        quiet()

    def __repr__(self) -> str:
        return f"StripeGateway({self._name!r}, label={self._label!r}, connection={self._connection!r})"

    @property
    def name(self) -> str:
        return self._name

    def minimum_minor(self, currency: str) -> int:
        return minimum_minor(currency, self._minimum)

    def stored_method(self, token: str) -> StoredMethod:
        return method_of(self._ask(lambda client: client.v1.payment_methods.retrieve(token)))

    def open_charge(self, wanted: WantedCharge) -> GatewayCharge:
        """One that was opened under the key with another amount or method within a day is changed to what is wanted:
        Stripe refuses the key then.
        """
        try:
            return self._create(wanted)
        except GatewayRefused as refused:
            if refused.code != KEY_TAKEN:
                raise
            before = self._opened_before(wanted)
            if before is None:
                raise
        if before.state in (GatewayState.SUCCEEDED, GatewayState.PROCESSING):
            return before
        return self._update(before.reference, self._wanted(wanted))

    def charge(self, reference: str) -> GatewayCharge:
        return self._charge(self._intent(reference))

    def change(self, reference: str, *, amount_minor: int, token: str) -> GatewayCharge:
        amount = to_stripe(amount_minor, self._currency(reference))
        return self._update(reference, {"amount": amount, "payment_method": token})

    def confirm(self, reference: str, token: str) -> GatewayCharge:
        """One that was paid, is being paid or was cancelled before is told as it is."""
        asked: Any = {"payment_method": token, "off_session": True, **_ATTEMPT}
        try:
            return self._charge(
                self._ask(lambda client: client.v1.payment_intents.confirm(reference, asked), declines=True)
            )
        except _Declined:
            pass
        except GatewayRefused as refused:
            if not unexpected(refused):
                raise
        return self._as_it_is(reference)

    def cancel(self, reference: str) -> GatewayCharge:
        asked: Any = _ATTEMPT
        try:
            return self._charge(self._ask(lambda client: client.v1.payment_intents.cancel(reference, asked)))
        except GatewayRefused as refused:
            if not unexpected(refused):
                raise
            charge = self.charge(reference)
            if charge.state is GatewayState.CANCELLED:
                return charge
            raise

    def refund(self, reference: str, *, amount_minor: int, key: str) -> GatewayRefund:
        """Looked up before it is asked for, so that it is given once also when Stripe has forgotten its keys."""
        for before in self.refunds(reference):
            if before.key == key:
                return before
        amount = to_stripe(amount_minor, self._currency(reference))
        made = self._ask(
            lambda client: client.v1.refunds.create(
                params={"payment_intent": reference, "amount": amount, "metadata": metadata(self._label, key)},
                options={"idempotency_key": f"carryover:{self._label}:refund:{key}"},
            )
        )
        return refund_of(made, self._label)

    def refunds(self, reference: str) -> list[GatewayRefund]:
        found = self._all(lambda client: client.v1.refunds.list, {"payment_intent": reference})
        return [refund_of(one, self._label) for one in found]

    def charges_between(self, begin: datetime, end: datetime) -> Iterator[GatewayCharge]:
        for one in self._all(lambda client: client.v1.payment_intents.list, _created(begin, end) | _ATTEMPTS):
            yield self._charge(one)

    def refunds_between(self, begin: datetime, end: datetime) -> Iterator[GatewayRefund]:
        for one in self._all(lambda client: client.v1.refunds.list, _created(begin, end)):
            yield refund_of(one, self._label)

    def disputes_between(self, begin: datetime, end: datetime) -> Iterator[GatewayDispute]:
        for one in self._all(lambda client: client.v1.disputes.list, _created(begin, end)):
            yield dispute_of(one)

    def _create(self, wanted: WantedCharge) -> GatewayCharge:
        asked: Any = self._wanted(wanted) | {
            "currency": wanted.currency.lower(),
            "customer": wanted.customer_reference,
            # Nobody is there who could be sent to another page and back.
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            **_ATTEMPT,
        }
        key = f"carryover:{self._label}:charge:{wanted.key}"
        return self._charge(self._ask(lambda client: client.v1.payment_intents.create(asked, {"idempotency_key": key})))

    def _update(self, reference: str, params: dict[str, Any]) -> GatewayCharge:
        asked: Any = params | _ATTEMPT
        return self._charge(self._ask(lambda client: client.v1.payment_intents.update(reference, asked)))

    def _wanted(self, wanted: WantedCharge) -> dict[str, Any]:
        """What of a charge may be another at the next attempt to open it."""
        return {
            "amount": to_stripe(wanted.amount_minor, wanted.currency),
            "payment_method": wanted.token,
            "description": wanted.description,
            "metadata": metadata(self._label, wanted.key, wanted.numbers),
        }

    def _opened_before(self, wanted: WantedCharge) -> GatewayCharge | None:
        """The newest one of the customer in the currency under the same key that was not cancelled."""
        of_customer = {"customer": wanted.customer_reference, **_ATTEMPTS}
        for one in self._all(lambda client: client.v1.payment_intents.list, of_customer):
            charge = self._charge(one)
            is_same = (charge.key, charge.currency) == (wanted.key, wanted.currency)
            if is_same and charge.state is not GatewayState.CANCELLED:
                return charge
        return None

    def _as_it_is(self, reference: str) -> GatewayCharge:
        """After a confirmation that took nothing."""
        charge = self.charge(reference)
        if charge.state is GatewayState.UNCONFIRMED:
            raise GatewayUnavailable(f"The gateway {self._name!r} does not say what became of the charge {reference}.")
        return charge

    def _intent(self, reference: str) -> Json:
        asked: Any = _ATTEMPT
        return self._ask(lambda client: client.v1.payment_intents.retrieve(reference, asked))

    def _currency(self, reference: str) -> str:
        return str(self._intent(reference)["currency"]).upper()

    def _charge(self, intent: Json) -> GatewayCharge:
        return charge_of(intent, self._label)

    def _all(self, which: Callable[[StripeClient], _List], params: dict[str, Any]) -> Iterator[Json]:
        """Everything in a list, the newest first. What is made meanwhile moves nothing: pages begin after an id."""
        page = params | {"limit": _PAGE}
        while True:
            answer = self._ask(partial(_listed, which, page))
            yield from answer["data"]
            if not answer["has_more"] or not answer["data"]:
                return
            page = page | {"starting_after": answer["data"][-1]["id"]}

    def _ask(self, call: Callable[[StripeClient], StripeObject], *, declines: bool = False) -> Json:
        """Ask once. The SDK's error goes no further, not as a cause either: it holds headers and body."""
        client = self._client()
        try:
            return call(client).to_dict()
        except StripeError as error:
            is_decline = declines and error.http_status == 402
            failure = _Declined() if is_decline else meaning(error, self._name, self._connection)
        raise failure

    def _client(self) -> StripeClient:
        if self._opened is None:
            key, base = self._access()
            self._opened = StripeClient(
                key,
                base_addresses={"api": base or DEFAULT_API_BASE},
                max_network_retries=0,
                http_client=RequestsClient(timeout=self._timeout),
            )
        return self._opened


class _Declined(Exception):
    """The payment method gave nothing."""


def _listed(which: Callable[[StripeClient], _List], page: dict[str, Any], client: StripeClient) -> StripeObject:
    return which(client)(page)


def _created(begin: datetime, end: datetime) -> dict[str, Any]:
    """[begin, end) of what Stripe keeps in whole seconds."""
    return {"created": {"gte": _seconds_up(begin), "lt": _seconds_up(end)}}


def _seconds_up(instant: datetime) -> int:
    return -(-to_us(instant) // MICRO)
