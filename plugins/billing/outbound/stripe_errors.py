"""What Stripe's errors mean for who asked, and that no secret leaves by them or by the log of the SDK."""

from __future__ import annotations

import logging
import re

import stripe
from stripe import StripeError

from billing.core.errors import BillingError, UsageError
from billing.outbound.payment_gateway import GatewayRefused, GatewayUnavailable

_SECRETS = (
    (re.compile(r"\b((?:sk|rk|pk)_(?:live|test)|pm|whsec|ek)_[A-Za-z0-9_*]+"), r"\1_..."),
    (re.compile(r"\b(card|src|tok|btok|ba)_[A-Za-z0-9]{14,}\b"), r"\1_..."),  # card_declined is a code
    (re.compile(r"(_secret_)[A-Za-z0-9]+"), r"\1..."),
    (re.compile(r"\b[0-9](?:[ -]?[0-9]){11,18}\b"), "(digits)"),
)
_NOT_SAID = frozenset((409, 429))


def redacted(text: str) -> str:
    """A text without keys, tokens of payment methods, and whatever could be the number of a card."""
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


def meaning(error: StripeError, gateway: str, connection: str) -> BillingError:
    """An error of the SDK as one of ours, which holds nothing of its headers, body or address.

    ``UsageError``: the key is wrong, or may not do this. ``GatewayRefused``: nothing was done. ``GatewayUnavailable``:
    no answer, or none that says what was done; a lock and a limit of requests are among them.
    """
    status, said = error.http_status, redacted(error.user_message or "").strip()
    if status in (401, 403):
        return UsageError(
            f"Stripe does not take the key of the gateway {gateway!r} ({said or status}). Correct the password of the "
            f"connection {connection!r}, or give its key the permissions that docs/payments.md names."
        )
    if status is not None and 400 <= status < 500 and status not in _NOT_SAID:
        return GatewayRefused(
            error.code or _type(error), f"The gateway {gateway!r} refused: {said or f'HTTP status {status}'}"
        )
    answer = f"HTTP status {status}" if status else type(error.__cause__ or error).__name__
    return GatewayUnavailable(
        f"The gateway {gateway!r} gave no answer that says what it did ({answer}). It is asked again by the next run."
    )


def unexpected(error: BillingError) -> bool:
    """Whether a payment's state did not allow what was asked: it was paid, say."""
    return isinstance(error, GatewayRefused) and error.code == "payment_intent_unexpected_state"


class _Redacting(logging.Filter):
    """Messages of the SDK and of its HTTP library hold addresses, parameters and answers, tokens among them."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted(record.getMessage()), ()
        return True


def quiet() -> None:
    """From now on nothing that the SDK logs shows a secret, and it tells nothing of this machine. Repeating it is
    harmless.
    """
    stripe.enable_telemetry = False  # would make an id in the person's home, and send it with every request
    stripe.log = None
    stripe._util.STRIPE_LOG = None  # would print requests past the log
    for name in ("stripe", "urllib3.connectionpool"):
        logger = logging.getLogger(name)
        if not any(isinstance(one, _Redacting) for one in logger.filters):
            logger.addFilter(_Redacting())


def _type(error: StripeError) -> str:
    body = error.json_body
    told = body.get("error") if isinstance(body, dict) else None
    return str(told.get("type") or "") if isinstance(told, dict) else ""
