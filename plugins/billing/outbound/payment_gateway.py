"""The seam to payment gateways: what a gateway is asked, and how it answers.

The order of a charge is safe against every crash: it is opened unconfirmed under a key that is made from the invoice's
number (``open_charge``), its reference is stored, then it is confirmed by that reference (``confirm``). A charge that
was never stored was never confirmed; one of which the confirmation may have happened is looked up (``charge``) before
it is tried again, however late; and one charge can be paid once only, however often it is confirmed.

Amounts are integers of the currency's minor unit. Nothing here holds a card number; a token is the gateway's name of a
stored payment method.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from billing.core.errors import BillingError, SourceUnavailable

KEY_TAKEN = "idempotency_error"
"""The code of a refusal where a gateway has seen the key with another content; it is Stripe's word for it."""


class GatewayUnavailable(SourceUnavailable):
    """The gateway gave no answer, or none that says what it did: look the charge up before anything is done again."""


class GatewayRefused(BillingError):
    """The gateway did not take the request, and did nothing. ``code`` is its own; it is not a decline of a payment."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class GatewayState(StrEnum):
    """Where the gateway says that a charge is."""

    UNCONFIRMED = "unconfirmed"
    PROCESSING = "processing"
    NEEDS_AUTHENTICATION = "needs_authentication"
    DECLINED = "declined"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredMethod:
    """A stored payment method as the gateway knows it. ``expires`` is the last month in which it can be used, as (year,
    month); None where it does not expire.
    """

    token: str = field(repr=False)
    customer_reference: str
    kind: str
    expires: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class WantedCharge:
    """What is to be taken: ``key`` and ``numbers`` (of the invoices) are kept with it at the gateway."""

    key: str
    numbers: tuple[str, ...]
    amount_minor: int
    currency: str
    token: str = field(repr=False)
    customer_reference: str
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayCharge:
    """A charge as the gateway tells it. ``attempt_reference`` is its id of the last attempt, blank before the first;
    ``problem`` and ``detail`` are its code and its words, where that attempt failed. ``received_minor`` may be less
    than ``amount_minor`` (a part was paid). ``key`` is blank on charges that we did not open.
    """

    reference: str
    key: str
    numbers: tuple[str, ...]
    state: GatewayState
    currency: str
    amount_minor: int
    received_minor: int
    attempt_reference: str
    problem: str
    detail: str
    opened_at: datetime
    settled_at: datetime | None
    customer_reference: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayRefund:
    """Money that went back. ``key`` is the credit note's number, blank on refunds that we did not ask for. ``failed``:
    it came back to us after all.
    """

    reference: str
    charge_reference: str
    key: str
    currency: str
    amount_minor: int
    failed: bool
    at: datetime


class DisputeState(StrEnum):
    """Whose money it is. ``OPEN`` and ``LOST``: the buyer's bank has it; ``WON``: it is ours again; ``WARNING``: only
    announced, no money was moved.
    """

    WARNING = "warning"
    OPEN = "open"
    WON = "won"
    LOST = "lost"


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewayDispute:
    """A buyer's objection at its bank. ``answer_by``: until when evidence is taken; None where it is decided."""

    reference: str
    charge_reference: str
    state: DisputeState
    currency: str
    amount_minor: int
    reason: str
    at: datetime
    answer_by: datetime | None


class PaymentGateway(Protocol):
    """A gateway. Every call may raise ``GatewayUnavailable`` (what it did is not known), ``GatewayRefused`` (it did
    nothing) or ``UsageError`` (the credentials are wrong).
    """

    @property
    def name(self) -> str:
        """As ``payment_methods.gateway`` has it."""
        ...

    def minimum_minor(self, currency: str) -> int:
        """The smallest amount that it takes, 0 where there is no bound."""
        ...

    def stored_method(self, token: str) -> StoredMethod:
        """A stored payment method. ``GatewayRefused`` where there is none of this token."""
        ...

    def open_charge(self, wanted: WantedCharge) -> GatewayCharge:
        """Open a charge without taking anything; the same one for the same key, as long as the gateway knows keys."""
        ...

    def charge(self, reference: str) -> GatewayCharge:
        """A charge as it is now."""
        ...

    def change(self, reference: str, *, amount_minor: int, token: str) -> GatewayCharge:
        """Another amount or payment method, of a charge that was not paid and is not being paid."""
        ...

    def confirm(self, reference: str, token: str) -> GatewayCharge:
        """Take the money, off session. A decline is an answer, not an error. A charge that is paid stays paid."""
        ...

    def cancel(self, reference: str) -> GatewayCharge:
        """See that it can never be paid. ``GatewayRefused`` where it was, or is being paid."""
        ...

    def refund(self, reference: str, *, amount_minor: int, key: str) -> GatewayRefund:
        """Give back a part of what was received; once for a key, as long as the gateway knows keys."""
        ...

    def refunds(self, reference: str) -> list[GatewayRefund]:
        """All that went back of a charge."""
        ...

    def charges_between(self, begin: datetime, end: datetime) -> Iterator[GatewayCharge]:
        """Every charge opened in [begin, end), those of others too."""
        ...

    def refunds_between(self, begin: datetime, end: datetime) -> Iterator[GatewayRefund]:
        """Every refund made in [begin, end)."""
        ...

    def disputes_between(self, begin: datetime, end: datetime) -> Iterator[GatewayDispute]:
        """Every dispute opened in [begin, end), as it is now."""
        ...
