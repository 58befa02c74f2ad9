"""Money that goes back: for a credit note, once; and what the buyer's bank takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from billing.outbound.payment_gateway import DisputeState, GatewayRefund, GatewayRefused, GatewayUnavailable
from billing.outbound.stripe_gateway import StripeGateway
from tests.gateway.asked import opened, paid
from tests.gateway.world import World

NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOTE = "CN-2026-000001"


def refunded(world: World) -> int:
    return sum(move["amount"] for move in world.moves() if move["what"] == "refunded")


def test_a_refund_is_given_once_for_a_credit_note(gateway: StripeGateway, world: World) -> None:
    world.move(at=NOON.timestamp())
    reference = paid(gateway, world)
    refund = gateway.refund(reference, amount_minor=2345, key=NOTE)
    assert refund == GatewayRefund(
        reference=refund.reference,
        charge_reference=reference,
        key=NOTE,
        currency="EUR",
        amount_minor=2345,
        failed=False,
        at=NOON,
    )
    world.move(seconds=25 * 3600)
    assert gateway.refund(reference, amount_minor=2345, key=NOTE) == refund
    second = gateway.refund(reference, amount_minor=1000, key="CN-2026-000002")
    assert gateway.refunds(reference) == [second, refund]
    assert refunded(world) == 3345


@pytest.mark.parametrize("hours", [0, 25])
@pytest.mark.parametrize("fault", ["dropped", "broken"])
def test_a_refund_whose_answer_was_lost_is_not_given_again(
    gateway: StripeGateway, world: World, fault: str, hours: int
) -> None:
    reference = paid(gateway, world)
    world.faults(only="POST /v1/refunds", times=1, **{fault: 100})
    with pytest.raises(GatewayUnavailable):
        gateway.refund(reference, amount_minor=2345, key=NOTE)
    world.move(seconds=hours * 3600)
    assert gateway.refund(reference, amount_minor=2345, key=NOTE).amount_minor == 2345
    assert refunded(world) == 2345


def test_two_that_ask_at_once_give_one_refund(gateway: StripeGateway, world: World) -> None:
    """Neither saw the other's when it looked: then the key holds."""
    reference = paid(gateway, world)
    gateway.refund(reference, amount_minor=2345, key=NOTE)

    class Blind(StripeGateway):
        def refunds(self, reference: str) -> list[GatewayRefund]:
            return []

    blind = Blind("stripe", lambda: (world.key, world.base), label="acme")
    assert blind.refund(reference, amount_minor=2345, key=NOTE) == gateway.refunds(reference)[0]
    with pytest.raises(GatewayRefused) as caught:
        blind.refund(reference, amount_minor=1, key=NOTE)
    assert caught.value.code == "idempotency_error"
    assert refunded(world) == 2345


def test_no_more_than_was_received_goes_back(gateway: StripeGateway, world: World) -> None:
    reference = paid(gateway, world)
    with pytest.raises(GatewayRefused, match="greater than unrefunded amount"):
        gateway.refund(reference, amount_minor=12346, key=NOTE)
    gateway.refund(reference, amount_minor=12345, key=NOTE)
    with pytest.raises(GatewayRefused) as caught:
        gateway.refund(reference, amount_minor=1, key="CN-2026-000002")
    assert caught.value.code == "charge_already_refunded"
    with pytest.raises(GatewayRefused) as caught:
        gateway.refund(opened(gateway, world.stored_method(), "INV-2026-000002"), amount_minor=1, key="CN-3")
    assert caught.value.code == "charge_not_refundable"
    assert refunded(world) == 12345


def test_a_refund_can_fail_after_all(gateway: StripeGateway, world: World) -> None:
    reference = paid(gateway, world)
    refund = gateway.refund(reference, amount_minor=2345, key=NOTE)
    world.fail_refund(refund.reference)
    (failed,) = gateway.refunds(reference)
    assert failed.failed and failed.reference == refund.reference
    assert gateway.refund(reference, amount_minor=2345, key=NOTE).failed, "asked again, nothing is given again"


def test_refunds_of_a_time_are_listed_those_of_others_without_a_key(gateway: StripeGateway, world: World) -> None:
    reference = paid(gateway, world, amount_minor=50000)
    world.move(at=NOON.timestamp())
    for n in range(101):
        gateway.refund(reference, amount_minor=1, key=f"CN-2026-{n:06d}")
    world.stripe("refunds", payment_intent=reference, amount=77)
    listed = list(gateway.refunds_between(NOON, NOON + HOUR))
    assert len({one.reference for one in listed}) == len(listed) == len(gateway.refunds(reference)) == 102
    assert [one.amount_minor for one in listed if not one.key] == [77]
    assert not list(gateway.refunds_between(NOON + HOUR, NOON + 2 * HOUR))
    assert not list(gateway.refunds_between(NOON - HOUR, NOON))


@pytest.mark.parametrize(
    ("status", "state", "is_open"),
    [
        ("warning_needs_response", DisputeState.WARNING, True),
        ("warning_under_review", DisputeState.WARNING, True),
        ("warning_closed", DisputeState.WARNING, False),
        ("prevented", DisputeState.WARNING, False),
        ("needs_response", DisputeState.OPEN, True),
        ("under_review", DisputeState.OPEN, True),
        ("appeal_needs_response", DisputeState.OPEN, True),
        ("appeal_under_review", DisputeState.OPEN, True),
        ("won", DisputeState.WON, False),
        ("lost", DisputeState.LOST, False),
    ],
)
def test_a_dispute_is_told_as_it_is_now(
    gateway: StripeGateway, world: World, status: str, state: DisputeState, is_open: bool
) -> None:
    world.move(at=NOON.timestamp())
    reference, due = paid(gateway, world), NOON + 10 * 24 * HOUR
    told = world.dispute(reference, amount=5000, reason="product_not_received", due_by=int(due.timestamp()))
    world.dispute(dispute=told["id"], status=status)
    (dispute,) = gateway.disputes_between(NOON, NOON + HOUR)
    assert (dispute.reference, dispute.charge_reference, dispute.state) == (told["id"], reference, state)
    assert (dispute.currency, dispute.amount_minor, dispute.reason) == ("EUR", 5000, "product_not_received")
    assert (dispute.at, dispute.answer_by) == (NOON, due if is_open else None)
    assert not list(gateway.disputes_between(NOON + HOUR, NOON + 2 * HOUR))


def test_what_this_version_does_not_know_is_not_guessed(gateway: StripeGateway, world: World) -> None:
    world.move(at=NOON.timestamp())
    world.dispute(paid(gateway, world), status="frozen")
    with pytest.raises(GatewayUnavailable, match="'frozen', which this version does not know"):
        list(gateway.disputes_between(NOON, NOON + HOUR))
