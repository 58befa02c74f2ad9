"""Amounts in the smallest unit, as https://docs.stripe.com/currencies has them; never rounded."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.core.quantity import minor_digits
from billing.outbound.payment_gateway import GatewayRefused
from billing.outbound.stripe_amounts import MINIMUM, from_stripe, minimum_minor, to_stripe
from billing.outbound.stripe_gateway import StripeGateway
from tests.gateway.asked import wanted
from tests.gateway.world import World

ZERO_DECIMAL = "BIF CLP DJF GNF JPY KMF KRW PYG RWF VND VUV XAF XOF XPF".split()


@pytest.mark.parametrize(
    ("currency", "amount_minor", "amount"),
    [
        ("EUR", 1099, 1099),
        ("HUF", 1045, 1045),  # whole forints are a rule of payouts only
        ("TWD", 80045, 80045),
        *((currency, 500, 500) for currency in ZERO_DECIMAL),
        ("ISK", 5, 500),
        ("UGX", 5, 500),
        ("MGA", 500, 5),  # two digits in ISO 4217, none at Stripe
        ("KWD", 5120, 5120),
        ("BHD", 10, 10),
        ("JOD", 1230, 1230),
        ("OMR", 1230, 1230),
        ("TND", 1230, 1230),
    ],
)
def test_an_amount_is_in_stripe_s_smallest_unit(currency: str, amount_minor: int, amount: int) -> None:
    assert to_stripe(amount_minor, currency) == amount
    assert from_stripe(amount, currency) == amount_minor


@pytest.mark.parametrize(("currency", "amount_minor"), [("KWD", 5124), ("TND", 1), ("MGA", 550), ("CLF", 12345)])
def test_what_stripe_cannot_say_is_refused_and_not_rounded(currency: str, amount_minor: int) -> None:
    with pytest.raises(GatewayRefused, match=f"{amount_minor} minor units of {currency}") as caught:
        to_stripe(amount_minor, currency)
    assert caught.value.code == "amount_not_expressible"


def test_a_fraction_of_what_has_none_is_refused() -> None:
    with pytest.raises(GatewayRefused) as caught:
        from_stripe(550, "ISK")
    assert caught.value.code == "amount_not_expressible"


@given(
    currency=st.sampled_from([*ZERO_DECIMAL, *MINIMUM, "ISK", "UGX", "MGA", "KWD", "BHD", "IQD", "CLF"]),
    amount_minor=st.integers(0, 10**12),
)
def test_what_can_be_said_comes_back_as_it_was(currency: str, amount_minor: int) -> None:
    try:
        amount = to_stripe(amount_minor, currency)
    except GatewayRefused:
        return
    assert from_stripe(amount, currency) == amount_minor
    assert amount * 10 ** minor_digits(currency) % 1 == 0


@pytest.mark.parametrize(
    ("currency", "amount_minor"), [("JPY", 500), ("KWD", 5120), ("ISK", 5), ("UGX", 5), ("MGA", 500)]
)
def test_amounts_go_through_a_charge_a_refund_and_the_lists(
    gateway: StripeGateway, world: World, currency: str, amount_minor: int
) -> None:
    method = world.stored_method()
    charge = gateway.open_charge(wanted(method, amount_minor=amount_minor, currency=currency))
    paid = gateway.confirm(charge.reference, method[1])
    assert (paid.currency, paid.amount_minor, paid.received_minor) == (currency, amount_minor, amount_minor)
    assert world.taken() == {currency: to_stripe(amount_minor, currency)}
    assert gateway.refund(charge.reference, amount_minor=amount_minor, key="CN-1").amount_minor == amount_minor


def test_an_amount_that_cannot_be_said_opens_nothing(gateway: StripeGateway, world: World) -> None:
    method = world.stored_method()
    with pytest.raises(GatewayRefused):
        gateway.open_charge(wanted(method, amount_minor=5124, currency="KWD"))
    reference = gateway.open_charge(wanted(method, amount_minor=5120, currency="KWD")).reference
    with pytest.raises(GatewayRefused):
        gateway.change(reference, amount_minor=5124, token=method[1])
    gateway.confirm(reference, method[1])
    with pytest.raises(GatewayRefused):
        gateway.refund(reference, amount_minor=5, key="CN-1")
    assert world.taken() == {"KWD": 5120}


@pytest.mark.parametrize(
    ("currency", "least"), [("EUR", 50), ("GBP", 30), ("JPY", 50), ("HUF", 17500), ("SEK", 300), ("KWD", 0), ("X", 0)]
)
def test_the_smallest_charge_is_stripe_s(currency: str, least: int) -> None:
    assert minimum_minor(currency, {}) == least


def test_settings_go_before_stripe_s_table() -> None:
    own = {"EUR": Decimal("1.00"), "KWD": Decimal("0.150"), "JPY": Decimal(100), "USD": Decimal(0)}
    gateway = StripeGateway("stripe", lambda: ("", ""), label="acme", minimum=own)
    assert [gateway.minimum_minor(currency) for currency in ("EUR", "KWD", "JPY", "USD", "GBP")] == [
        100,
        150,
        100,
        0,
        30,
    ]
