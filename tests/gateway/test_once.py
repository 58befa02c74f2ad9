"""Rule 6.5, to the cent: whoever stores a charge's reference before confirming it, and looks up before asking again,
takes each invoice's total once and gives each credit note's back once, whatever is lost, for however many days.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from billing.outbound.payment_gateway import GatewayState, GatewayUnavailable
from billing.outbound.stripe_gateway import StripeGateway
from tests.gateway.asked import wanted
from tests.gateway.world import Method, World

INVOICES, CREDITED = 40, 15
LOST = {"lost": 8, "busy": 4, "locked": 2, "broken": 3, "dropped": 20}
DECLINES = ("", "", "", "insufficient_funds", "authentication_required")


@dataclass(kw_only=True)
class Owed:
    """What a caller keeps of an invoice: the reference of its charge, once it knows it."""

    number: str
    method: Method
    amount_minor: int
    credited_minor: int
    reference: str = ""
    is_done: bool = False

    def work(self, gateway: StripeGateway) -> None:
        """One run. It may end by any error at any request, and the next one begins anew."""
        if not self.reference:
            asked = wanted(self.method, self.number, amount_minor=self.amount_minor)
            self.reference = gateway.open_charge(asked).reference
        if gateway.charge(self.reference).state is not GatewayState.SUCCEEDED:
            gateway.confirm(self.reference, self.method[1])
        if gateway.charge(self.reference).state is not GatewayState.SUCCEEDED:
            return
        if self.credited_minor:
            key = self.number.replace("INV", "CN")
            gateway.refund(self.reference, amount_minor=self.credited_minor, key=key)
        self.is_done = True


def test_every_invoice_is_paid_once_and_every_credit_note_given_back_once(gateway: StripeGateway, world: World) -> None:
    chance = random.Random(1)
    owed = [
        Owed(
            number=f"INV-2026-{n:06d}",
            method=world.stored_method(),
            amount_minor=chance.randrange(5000, 100000),
            credited_minor=chance.randrange(1, 5000) if n < CREDITED else 0,
        )
        for n in range(INVOICES)
    ]
    world.faults(seed=1, **LOST)
    unavailable = 0
    for _ in range(400):
        for one in owed:
            if not one.is_done:
                world.behave(one.method[1], chance.choice(DECLINES))
                try:
                    one.work(gateway)
                except GatewayUnavailable:
                    unavailable += 1
        world.move(seconds=chance.randrange(3600, 30 * 3600))
        if all(one.is_done for one in owed):
            break
    assert all(one.is_done for one in owed)
    assert unavailable > INVOICES, "little went wrong"
    moved: Counter[tuple[str, str]] = Counter()
    times: Counter[tuple[str, str]] = Counter()
    for move in world.moves():
        moved[move["what"], move["metadata"]["carryover_key"]] += move["amount"]
        times[move["what"], move["intent"]] += 1
    assert max(times.values()) == 1
    expected = Counter({("taken", one.number): one.amount_minor for one in owed})
    expected += Counter({("refunded", one.number): one.credited_minor for one in owed})
    assert moved == expected


def test_a_caller_that_looks_up_nothing_pays_once_too(gateway: StripeGateway, world: World) -> None:
    """The reference alone suffices."""
    method = world.stored_method()
    reference = gateway.open_charge(wanted(method)).reference
    world.faults(dropped=70, seed=3)
    for _ in range(20):
        with suppress(GatewayUnavailable):
            gateway.confirm(reference, method[1])
        world.move(seconds=9 * 3600)
    assert world.taken() == {"EUR": 12345}
