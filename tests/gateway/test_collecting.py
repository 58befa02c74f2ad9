"""Rule 6.5 from the invoice to Stripe and back, over HTTP: collected, declined, replaced, given back and reconciled
while answers are lost, to the cent.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from billing.core.collecting import CollectingRules
from billing.core.crediting import parse_wanted
from billing.outbound.stripe_gateway import StripeGateway
from billing.steps.collect import collect
from billing.steps.credit import credit
from billing.steps.payment_reconciliation import reconcile
from billing.store.home import Home
from tests.gateway.world import World
from tests.payments.fake_gateway import FakeGateway
from tests.steps.small_world import Shop
from tests.steps.test_collect import ISSUED, ONE, TWO, Till

DAY = timedelta(days=1)


@pytest.fixture
def till(tmp_path: Path, gateway: StripeGateway, world: World) -> Iterator[Till]:
    """Two invoices, each to a stored card: 8.64 and 7.20 EUR."""
    home = Home.at(tmp_path / "home")
    home.create()
    made = Till(Shop(home=home, folder=tmp_path / "files"), FakeGateway(file=tmp_path / "unused.json"))
    made.gateways = {"stripe": gateway}  # type: ignore[dict-item]
    cards = [world.stored_method() for _ in range(2)]
    lines = [f"pm{n},c{n},stripe,{card[1]},Visa,4242,2035-12" for n, card in enumerate(cards, start=1)]
    made.load(*lines, second="pm2")
    made.issue()
    yield made
    home.close()


def run(till: Till, world: World, after: timedelta = DAY) -> None:
    till.now += after
    world.move(at=till.now.timestamp())
    collect(till.shop.home, till.gateways, CollectingRules(at_once=2), till.now)


def test_collected_and_reconciled_while_answers_are_lost(till: Till, world: World) -> None:
    """Each run is a day after the one before: the keys are forgotten in between."""
    lines, other = list(till.shop.home.reference(1)["payment_methods"]["token"]), world.stored_method()
    world.behave(lines[1], "insufficient_funds")
    world.faults(seed=3, lost=15, dropped=10, busy=5)
    for _ in range(4):
        run(till, world)
    credit(till.shop.home, ONE, reason="wrong", wanted=[parse_wanted("1:1")], as_of=till.now)
    methods = [f"pm1,c1,stripe,{lines[0]},Visa,4242,2035-12", f"pm2,c2,stripe,{other[1]},Visa,1111,2035-12"]
    till.load(*methods, second="pm2")
    for _ in range(6):
        run(till, world)
    world.faults()
    run(till, world)
    assert (till.state(ONE), till.state(TWO)) == ("paid", "paid")
    moved = [(move["what"], move["amount"]) for move in world.moves()]
    assert sorted(moved) == [("refunded", 288), ("taken", 720), ("taken", 864)]
    assert till.events(ONE) == [("received", "8.64"), ("refunded", "2.88")]
    period = {"begin": ISSUED - DAY, "end": till.now + DAY}
    found = reconcile(till.shop.home, till.gateways, till.rules, till.now, **period, cancel_orphans=True)
    assert found.differences == ()
    assert found.received == {("stripe", "EUR"): ("15.84", "15.84")}
    till.laws_hold()
