"""Rule 6.5 at the gateway: an invoice is charged once, whatever gets lost, however late it is asked again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from billing.outbound.payment_gateway import GatewayCharge, GatewayRefused, GatewayState, GatewayUnavailable
from billing.outbound.stripe_gateway import StripeGateway
from tests.gateway.asked import INVOICE, opened, paid, wanted
from tests.gateway.world import World

NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def now(world: World) -> None:
    world.move(at=NOON.timestamp())


# --- what is stored


def test_a_stored_method_has_its_customer_its_kind_and_its_last_month(gateway: StripeGateway, world: World) -> None:
    customer, token = world.stored_method(expires=(2031, 2))
    method = gateway.stored_method(token)
    assert (method.token, method.customer_reference, method.kind, method.expires) == (
        token,
        customer,
        "card",
        (2031, 2),
    )
    customer, token = world.stored_method("sepa_debit")
    method = gateway.stored_method(token)
    assert (method.customer_reference, method.kind, method.expires) == (customer, "sepa_debit", None)


def test_a_method_that_is_not_there_or_is_nobody_s_is_refused(gateway: StripeGateway, world: World) -> None:
    with pytest.raises(GatewayRefused) as caught:
        gateway.stored_method("pm_notthere")
    assert caught.value.code == "resource_missing"
    card = {"card[number]": "4242" * 4, "card[exp_month]": 1, "card[exp_year]": 2035, "card[cvc]": "123"}
    token = world.stripe("payment_methods", type="card", **card)["id"]
    with pytest.raises(GatewayRefused, match="Attach it") as caught:
        gateway.stored_method(token)
    assert caught.value.code == "payment_method_unattached"


# --- open


def test_an_open_charge_takes_nothing(gateway: StripeGateway, world: World) -> None:
    now(world)
    method = world.stored_method()
    charge = gateway.open_charge(wanted(method))
    assert charge == GatewayCharge(
        reference=charge.reference,
        key=INVOICE,
        numbers=(INVOICE,),
        state=GatewayState.UNCONFIRMED,
        currency="EUR",
        amount_minor=12345,
        received_minor=0,
        attempt_reference="",
        problem="",
        detail="",
        opened_at=NOON,
        settled_at=None,
        customer_reference=method[0],
    )
    assert world.moves() == []
    (intent,) = world.intents()
    assert intent["metadata"] == {
        "carryover_home": "acme",
        "carryover_key": INVOICE,
        "carryover_invoices": INVOICE,
    }
    assert intent["description"] == f"Invoice {INVOICE}"


def test_one_key_opens_one_charge(gateway: StripeGateway, world: World) -> None:
    method = world.stored_method()
    assert opened(gateway, method) == opened(gateway, method)
    assert opened(gateway, method, "INV-2026-000002") != opened(gateway, method)
    assert len(world.intents()) == 2


def test_homes_in_one_account_do_not_meet(gateway: StripeGateway, world: World) -> None:
    other = StripeGateway("stripe", lambda: (world.key, world.base), label="other")
    method = world.stored_method()
    ours, theirs = opened(gateway, method), opened(other, method)
    assert ours != theirs
    assert (gateway.charge(ours).key, gateway.charge(theirs).key, gateway.charge(theirs).numbers) == (INVOICE, "", ())


def test_the_numbers_of_many_invoices_are_kept(gateway: StripeGateway, world: World) -> None:
    numbers = tuple(f"INV-2026-{n:06d}" for n in range(200))
    charge = gateway.open_charge(replace(wanted(world.stored_method()), numbers=numbers))
    assert gateway.charge(charge.reference).numbers == numbers
    assert all(len(value) <= 500 for value in world.intents()[0]["metadata"].values())
    with pytest.raises(GatewayRefused, match="use several") as caught:
        gateway.open_charge(replace(wanted(world.stored_method(), "k"), numbers=numbers * 10))
    assert caught.value.code == "too_many_invoices"


def test_an_answer_that_was_lost_opens_no_second_charge(gateway: StripeGateway, world: World) -> None:
    method = world.stored_method()
    world.faults(dropped=100, times=1)
    with pytest.raises(GatewayUnavailable):
        opened(gateway, method)
    assert opened(gateway, method) == world.intents()[0]["id"]
    assert len(world.intents()) == 1


def test_a_charge_whose_answer_was_lost_and_is_wanted_otherwise_now_is_changed(
    gateway: StripeGateway, world: World
) -> None:
    """A credit note, or another card, between two attempts to open it: Stripe refuses the key then."""
    customer, token = world.stored_method()
    world.faults(dropped=100, times=1)
    with pytest.raises(GatewayUnavailable):
        opened(gateway, (customer, token))
    now_wanted = replace(wanted((customer, token), amount_minor=10000), numbers=(INVOICE, "INV-2026-000002"))
    charge = gateway.open_charge(now_wanted)
    assert (charge.amount_minor, charge.state) == (10000, GatewayState.UNCONFIRMED)
    assert charge.numbers == (INVOICE, "INV-2026-000002")
    assert [one["id"] for one in world.intents()] == [charge.reference]
    gateway.confirm(charge.reference, token)
    again = gateway.open_charge(wanted((customer, token), amount_minor=5000))
    assert (again.reference, again.state, again.amount_minor) == (charge.reference, GatewayState.SUCCEEDED, 10000)
    assert world.taken() == {"EUR": 10000}


def test_a_key_that_is_used_for_another_customer_or_currency_is_refused(gateway: StripeGateway, world: World) -> None:
    method = world.stored_method()
    opened(gateway, method)
    for other in (wanted(world.stored_method()), wanted(method, currency="USD")):
        with pytest.raises(GatewayRefused) as caught:
            gateway.open_charge(other)
        assert caught.value.code == "idempotency_error"


def test_a_declined_charge_can_be_wanted_otherwise_too(gateway: StripeGateway, world: World) -> None:
    for n, decline in enumerate(("insufficient_funds", "authentication_required")):
        method, key = world.stored_method(confirm=decline), f"INV-2026-00010{n}"
        gateway.confirm(opened(gateway, method, key), method[1])
        charge = gateway.open_charge(wanted(method, key, amount_minor=10000))
        assert (charge.amount_minor, charge.state) == (10000, GatewayState.UNCONFIRMED)


def test_a_charge_below_the_minimum_or_in_a_wrong_currency_is_refused(gateway: StripeGateway, world: World) -> None:
    method = world.stored_method()
    with pytest.raises(GatewayRefused) as caught:
        opened(gateway, method, amount_minor=49)
    assert caught.value.code == "amount_too_small"
    assert opened(gateway, method, "INV-2026-000002", amount_minor=50)
    with pytest.raises(GatewayRefused, match="sepa_debit") as caught:
        gateway.open_charge(wanted(world.stored_method("sepa_debit"), "INV-2026-000003", currency="USD"))
    assert caught.value.code == "payment_intent_incompatible_payment_method"


# --- confirm


def test_a_charge_is_paid(gateway: StripeGateway, world: World) -> None:
    now(world)
    reference = paid(gateway, world)
    charge = gateway.charge(reference)
    assert (charge.state, charge.received_minor, charge.problem) == (GatewayState.SUCCEEDED, 12345, "")
    assert charge.attempt_reference.startswith("ch_") and charge.settled_at == NOON
    assert world.taken() == {"EUR": 12345}


def test_a_paid_charge_stays_paid_however_often_it_is_confirmed(gateway: StripeGateway, world: World) -> None:
    method = world.stored_method()
    reference = opened(gateway, method)
    charges = [gateway.confirm(reference, method[1]) for _ in range(3)]
    world.move(seconds=25 * 3600)
    charges.append(gateway.confirm(reference, method[1]))
    assert len(set(charges)) == 1
    assert world.taken() == {"EUR": 12345}


@pytest.mark.parametrize(
    ("decline", "problem", "detail", "state"),
    [
        ("generic_decline", "generic_decline", "Your card was declined.", GatewayState.DECLINED),
        ("insufficient_funds", "insufficient_funds", "Your card has insufficient funds.", GatewayState.DECLINED),
        ("expired_card", "expired_card", "Your card has expired.", GatewayState.DECLINED),
        ("stolen_card", "stolen_card", "Your card was declined.", GatewayState.DECLINED),
        (
            "authentication_required",
            "authentication_required",
            "Your card was declined. This transaction requires authentication.",
            GatewayState.NEEDS_AUTHENTICATION,
        ),
    ],
)
def test_a_decline_is_an_answer_and_not_yesterday_s(
    gateway: StripeGateway, world: World, decline: str, problem: str, detail: str, state: GatewayState
) -> None:
    """Within the day in which Stripe keeps keys the next attempt is a real one."""
    method = world.stored_method(confirm=decline)
    reference = opened(gateway, method)
    charge = gateway.confirm(reference, method[1])
    assert (charge.state, charge.problem, charge.detail) == (state, problem, detail)
    assert charge.received_minor == 0 and charge.settled_at is None and charge == gateway.charge(reference)
    second = gateway.confirm(reference, method[1])
    assert second.attempt_reference != charge.attempt_reference != "" and second.state is state
    world.behave(method[1])
    assert gateway.confirm(reference, method[1]).state is GatewayState.SUCCEEDED
    assert world.taken() == {"EUR": 12345}


def test_a_confirmation_whose_answer_was_lost_took_the_money_once(gateway: StripeGateway, world: World) -> None:
    """Rule 6.5: also where it is tried again more than a day later, when Stripe has forgotten its keys."""
    method = world.stored_method()
    reference = opened(gateway, method)
    world.faults(dropped=100, times=1)
    with pytest.raises(GatewayUnavailable):
        gateway.confirm(reference, method[1])
    world.move(seconds=40 * 3600)
    assert gateway.charge(reference).state is GatewayState.SUCCEEDED
    assert gateway.confirm(reference, method[1]).received_minor == 12345
    assert world.taken() == {"EUR": 12345}


def test_a_charge_that_was_never_stored_was_never_confirmed(gateway: StripeGateway, world: World) -> None:
    """A second one under a forgotten key does no harm: nobody has the reference of the first."""
    method = world.stored_method()
    world.faults(dropped=100, times=1)
    with pytest.raises(GatewayUnavailable):
        opened(gateway, method)
    world.move(seconds=25 * 3600)
    gateway.confirm(opened(gateway, method), method[1])
    assert [one["status"] for one in world.intents()] == ["requires_confirmation", "succeeded"]
    assert world.taken() == {"EUR": 12345}


def test_a_part_may_be_received(gateway: StripeGateway, world: World) -> None:
    method = world.stored_method(received=10000)
    charge = gateway.confirm(opened(gateway, method), method[1])
    assert (charge.state, charge.amount_minor, charge.received_minor) == (GatewayState.SUCCEEDED, 12345, 10000)
    assert world.taken() == {"EUR": 10000}


@pytest.mark.parametrize(
    ("outcome", "state"), [("", GatewayState.SUCCEEDED), ("insufficient_funds", GatewayState.DECLINED)]
)
def test_a_debit_may_take_days(gateway: StripeGateway, world: World, outcome: str, state: GatewayState) -> None:
    method = world.stored_method("sepa_debit", confirm="processing")
    reference = opened(gateway, method)
    assert gateway.confirm(reference, method[1]).state is GatewayState.PROCESSING
    assert gateway.confirm(reference, method[1]).state is GatewayState.PROCESSING
    with pytest.raises(GatewayRefused):
        gateway.cancel(reference)
    world.settle(reference, outcome)
    charge = gateway.charge(reference)
    assert (charge.state, charge.problem) == (state, outcome)


def test_a_method_that_is_gone_is_refused_at_the_attempt(gateway: StripeGateway, world: World) -> None:
    method = world.stored_method()
    reference = opened(gateway, method)
    world.stripe(f"payment_methods/{method[1]}/detach")
    with pytest.raises(GatewayRefused) as caught:
        gateway.confirm(reference, method[1])
    assert caught.value.code == "resource_missing" and method[1] not in str(caught.value)


# --- change and cancel


def test_amount_and_method_of_an_unpaid_charge_can_be_changed(gateway: StripeGateway, world: World) -> None:
    customer, token = world.stored_method(confirm="expired_card")
    reference = opened(gateway, (customer, token))
    gateway.confirm(reference, token)
    card = {"card[number]": "4242" * 4, "card[exp_month]": 1, "card[exp_year]": 2035, "card[cvc]": "123"}
    newer = world.stripe("payment_methods", type="card", **card)["id"]
    world.stripe(f"payment_methods/{newer}/attach", customer=customer)
    charge = gateway.change(reference, amount_minor=10000, token=newer)
    assert (charge.amount_minor, charge.state, charge.problem) == (10000, GatewayState.UNCONFIRMED, "")
    assert gateway.confirm(reference, newer).received_minor == 10000
    with pytest.raises(GatewayRefused) as caught:
        gateway.change(reference, amount_minor=1, token=newer)
    assert caught.value.code == "payment_intent_unexpected_state"
    assert world.taken() == {"EUR": 10000}


def test_a_cancelled_charge_can_never_be_paid(gateway: StripeGateway, world: World) -> None:
    method = world.stored_method()
    reference = opened(gateway, method)
    assert gateway.cancel(reference).state is GatewayState.CANCELLED
    assert gateway.cancel(reference).state is GatewayState.CANCELLED
    assert gateway.confirm(reference, method[1]).state is GatewayState.CANCELLED
    assert world.moves() == []
    with pytest.raises(GatewayRefused) as caught:
        gateway.cancel(paid(gateway, world, "INV-2026-000002"))
    assert caught.value.code == "payment_intent_unexpected_state"


def test_a_charge_that_is_not_there_is_refused(gateway: StripeGateway) -> None:
    with pytest.raises(GatewayRefused) as caught:
        gateway.charge("pi_notthere")
    assert caught.value.code == "resource_missing"


# --- lists


def test_all_charges_of_a_time_are_listed_those_of_others_too(gateway: StripeGateway, world: World) -> None:
    """[begin, end), over pages of 100, without gap or twin; whole seconds are what Stripe keeps."""
    method = world.stored_method()
    now(world)
    ours = [opened(gateway, method, f"INV-2026-{n:06d}") for n in range(203)]
    customer, token = method
    world.stripe("payment_intents", amount=700, currency="eur", customer=customer, payment_method=token)
    world.move(at=(NOON + HOUR).timestamp())
    later = opened(gateway, method, "INV-2026-000900")
    listed = list(gateway.charges_between(NOON, NOON + HOUR))
    assert len(listed) == len({one.reference for one in listed}) == 204
    assert {one.reference for one in listed if one.key} == set(ours)
    assert [(one.amount_minor, one.numbers) for one in listed if not one.key] == [(700, ())]
    assert [one.reference for one in gateway.charges_between(NOON + HOUR, NOON + 2 * HOUR)] == [later]
    microsecond = timedelta(microseconds=1)
    assert not list(gateway.charges_between(NOON + HOUR + 2 * HOUR, NOON + 4 * HOUR))
    assert [one.reference for one in gateway.charges_between(NOON + HOUR, NOON + HOUR + microsecond)] == [later]
    assert not list(gateway.charges_between(NOON + HOUR + 10 * microsecond, NOON + HOUR + timedelta(seconds=1)))


def test_a_list_tells_of_a_charge_what_the_charge_tells(gateway: StripeGateway, world: World) -> None:
    now(world)
    reference = paid(gateway, world)
    assert list(gateway.charges_between(NOON, NOON + HOUR)) == [gateway.charge(reference)]


def test_a_list_that_breaks_off_says_so(gateway: StripeGateway, world: World) -> None:
    method = world.stored_method()
    now(world)
    for n in range(101):
        opened(gateway, method, f"INV-2026-{n:06d}")
    listing = gateway.charges_between(NOON, NOON + HOUR)
    assert next(listing)
    world.faults(dropped=100, only="GET /v1/payment_intents$")
    with pytest.raises(GatewayUnavailable):
        list(listing)
