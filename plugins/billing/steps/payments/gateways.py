"""The configured gateways, for those above the steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from billing.outbound.gateways import Described, Resolver, open_gateways
from billing.outbound.payment_gateway import PaymentGateway


def opened(described: Iterable[Described], resolve: Resolver) -> Mapping[str, PaymentGateway]:
    """By name as the settings have them. Nothing is asked yet, nor are credentials."""
    return open_gateways(described, resolve)
