"""Charges that tests want."""

from __future__ import annotations

from dataclasses import replace

from billing.outbound.payment_gateway import WantedCharge
from billing.outbound.stripe_gateway import StripeGateway
from tests.gateway.world import Method, World

INVOICE = "INV-2026-000001"


def wanted(method: Method, key: str = INVOICE, *, amount_minor: int = 12345, currency: str = "EUR") -> WantedCharge:
    customer, token = method
    return WantedCharge(
        key=key,
        numbers=(key,),
        amount_minor=amount_minor,
        currency=currency,
        token=token,
        customer_reference=customer,
        description=f"Invoice {key}",
    )


def opened(gateway: StripeGateway, method: Method, key: str = INVOICE, **told: int) -> str:
    """The reference of a charge that was opened."""
    return gateway.open_charge(replace(wanted(method, key), **told)).reference  # type: ignore[arg-type]


def paid(gateway: StripeGateway, world: World, key: str = INVOICE, **told: int) -> str:
    """The reference of a charge that was paid."""
    method = world.stored_method()
    reference = opened(gateway, method, key, **told)
    gateway.confirm(reference, method[1])
    return reference
