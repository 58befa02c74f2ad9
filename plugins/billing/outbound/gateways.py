"""From settings to payment gateways: which kind each is, and where its credentials come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import partial
from typing import Literal, Protocol

from billing.outbound.payment_gateway import PaymentGateway


class Described(Protocol):
    """What the settings say of a gateway; see ``GatewaySettings`` there."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Literal["stripe"]: ...
    @property
    def connection(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def minimum(self) -> Mapping[str, Decimal]: ...


class Resolver(Protocol):
    """Credentials by the id of a connection: what the module ``connections`` gives."""

    def gateway_access(self, conn_id: str, /) -> tuple[str, str]:
        """The secret key, and the base address of the API (blank: the gateway's own)."""
        ...


def open_gateways(described: Iterable[Described], resolve: Resolver) -> dict[str, PaymentGateway]:
    """The gateways by their names. Nothing is resolved or asked yet: a connection at its gateway's first use."""
    return {one.name: _stripe(one, resolve) for one in described}


def _stripe(settings: Described, resolve: Resolver) -> PaymentGateway:
    from billing.outbound.stripe_gateway import StripeGateway  # a quarter of a second, where nothing is charged

    return StripeGateway(
        settings.name,
        partial(resolve.gateway_access, settings.connection),
        label=settings.label,
        connection=settings.connection,
        minimum=settings.minimum,
    )
