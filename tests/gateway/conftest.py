"""A world for all tests here, new for each; and the gateway that asks it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from billing.outbound.stripe_gateway import StripeGateway
from tests.gateway.world import World, running


@pytest.fixture(scope="session")
def running_world() -> Iterator[World]:
    with running() as world:
        yield world


@pytest.fixture
def world(running_world: World) -> World:
    running_world.reset()
    return running_world


@pytest.fixture
def gateway(world: World) -> StripeGateway:
    return StripeGateway(
        "stripe", lambda: (world.key, world.base), label="acme", connection="stripe_key", read_seconds=2
    )
