"""A gateway's list beside the books, to the cent (rule 6.5): every difference is named, and nothing is changed but what
the gateway knows and the books did not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from billing.core.collecting import CollectingRules
from billing.outbound.payment_gateway import DisputeState
from billing.steps.credit import credit
from billing.steps.payment_reconciliation import Reconciled, reconcile
from billing.store.tables import charge_invoices, charges, payment_events
from tests.payments.fake_gateway import FakeGateway

from .small_world import Shop
from .test_collect import DAY, ISSUED, ONE, TWO, VISA, Till


@pytest.fixture
def till(shop: Shop, tmp_path: Path) -> Iterator[Till]:
    """A paid invoice of 8.64 EUR, and one of 7.20 by bank transfer."""
    made = Till(shop, FakeGateway(file=tmp_path / "gateway.json"))
    made.load()
    made.issue()
    made.collect()
    return made


def compared(till: Till, **more: Any) -> Reconciled:
    period = {"begin": ISSUED - DAY, "end": ISSUED + 30 * DAY}
    return reconcile(till.shop.home, till.gateways, till.rules, till.now, **period, **more)


def whats(found: Reconciled) -> list[str]:
    return [one.what for one in found.differences]


def test_the_same_there_and_here_is_no_difference(till: Till) -> None:
    credit(till.shop.home, ONE, reason="wrong", as_of=till.now)
    till.collect(DAY)
    found = compared(till)
    assert (found.charges, found.refunds, found.differences, found.recorded) == (1, 1, (), ())
    assert found.received == {("fake", "EUR"): ("8.64", "8.64")}
    till.laws_hold()


def test_charges_of_others_are_named_unless_they_are_expected(till: Till) -> None:
    till.gateway.foreign(500)
    (one,) = compared(till).differences
    assert (one.what, one.numbers, one.there) == ("foreign charge", "", "succeeded 5.00 EUR")
    till.rules = CollectingRules(ignore_foreign_charges=True)
    assert compared(till).differences == ()


def test_an_orphan_is_named_and_cancelled_when_asked_for(till: Till) -> None:
    reference = till.gateway.foreign(864, key=ONE, numbers=(ONE,), state_="unconfirmed")
    (one,) = compared(till).differences
    assert (one.what, one.reference) == ("orphan", reference)
    assert compared(till, cancel_orphans=True).differences == ()
    assert till.gateway.seen()["charges"][reference]["state"] == "cancelled"
    assert till.gateway.seen()["charges"]["ch_1"]["state"] == "succeeded"


def test_money_that_came_twice_is_recorded_and_named(till: Till) -> None:
    reference = till.gateway.foreign(864, key=ONE, numbers=(ONE,))
    found = compared(till)
    assert found.recorded == (f"{ONE}: 8.64 EUR received by {reference}",)
    assert whats(found) == ["paid twice"]
    assert till.state() == "overpaid"
    again = compared(till)
    assert (whats(again), again.recorded) == (["paid twice"], ())
    till.laws_hold()


def test_a_restored_database_learns_what_was_taken_and_charges_nothing_again(till: Till) -> None:
    """The gateway has forgotten its keys: without reconciling, the invoice would be charged again."""
    with till.shop.home.database.write() as connection:
        for table in (payment_events, charge_invoices, charges):
            connection.execute(delete(table))
    till.gateway.forget_keys()
    assert compared(till).recorded == (f"{ONE}: 8.64 EUR received by ch_1",)
    till.collect(DAY)
    assert (till.state(), till.gateway.taken()) == ("paid", {ONE: 864})


def test_what_was_not_recorded_is_recorded(till: Till) -> None:
    till.load(VISA, "pm2,c2,fake,tok_2_of_cus2,Visa,1111,2030-01", second="pm2")
    till.gateway.answer("tok_2_of_cus2", "processing")
    till.collect(DAY)
    assert till.state(TWO) == "processing"
    till.gateway.settle(till.gateway.charges()[-1]["reference"], "succeeded")
    assert compared(till).recorded == (f"{TWO}: processing is now paid",)
    assert till.events(TWO) == [("received", "7.20")]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("update payment_events", "other amount"),
        ("update charges state", "other state"),
        ("gone there", "charge only here"),
        ("currency", "other currency"),
    ],
)
def test_charges_that_differ_are_named(till: Till, change: str, what: str) -> None:
    with till.shop.home.database.write() as connection:
        if change == "update payment_events":
            connection.execute(update(payment_events).values(amount_minor=900))
        elif change == "update charges state":
            till.gateway.settle("ch_1", "cancelled")
        elif change == "currency":
            till.gateway.set(currency="USD")
        else:
            connection.execute(update(charges).values(reference="ch_gone"))
            till.gateway.set(charges={})
    assert what in whats(compared(till))


def test_refunds_and_disputes_are_taken_over_or_named(till: Till) -> None:
    till.gateway.refund_by_hand("ch_1", 100, at=till.now.isoformat())
    till.gateway.dispute("ch_1", DisputeState.LOST, 200, at=till.now.isoformat())
    found = compared(till)
    assert (found.differences, len(found.recorded)) == ((), 3)
    assert till.events()[1:] == [("refunded", "1.00"), ("disputed", "2.00"), ("dispute_lost", "2.00")]
    till.laws_hold()
    till.gateway.set(refunds={}, disputes={})
    assert whats(compared(till)) == ["refund only here", "dispute only here"]
    till.gateway.refund_by_hand("ch_1", 1, at=till.now.isoformat())
