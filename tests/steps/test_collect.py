"""Rule 6.5: an issued invoice is charged once, whatever happens on the way; what went wrong is recorded, told and tried
again on a schedule; what was given back goes back once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from billing.core.collecting import CollectingRules, InvoiceState
from billing.core.crediting import parse_wanted
from billing.core.payments import EventKind
from billing.outbound.payment_gateway import DisputeState
from billing.steps import commit_points
from billing.steps.collect import Collected, collect, would_do
from billing.steps.credit import credit
from billing.steps.ledger_checks import look
from billing.steps.payments.by_hand import record, refunded, retry, write_off
from billing.steps.payments.story import list_payments, story
from billing.steps.reissue import reissue
from billing.store import payments
from billing.store.payments import Event
from billing.store.tables import charges, invoices, mailings
from tests.payments.fake_gateway import FakeGateway

from .small_world import REFERENCE, Shop, instant

LAWS = Path(__file__).parents[2] / "sql" / "checks"
ONE, TWO = "INV-2026-000001", "INV-2026-000002"
DAY = timedelta(days=1)
ISSUED = instant("08-02")
VISA = "pm1,c1,fake,tok_1_of_cus1,Visa,4242,2030-01"
RULES = CollectingRules()


def subscriptions(first: str = "pm1", second: str = "") -> list[str]:
    lines = [line.replace("payg1,t1,payg", "payg1,t1,payg") for line in REFERENCE["subscriptions"]]
    methods = {"payg1": first, "payg2": second}
    return [line + methods.get(line.split(",")[0], "") for line in lines]


class Till:
    """A shop with a gateway: what is collected when."""

    def __init__(self, shop: Shop, gateway: FakeGateway) -> None:
        self.shop, self.gateway, self.now = shop, gateway, ISSUED
        self.rules, self.gateways = RULES, {"fake": gateway}

    def load(self, *methods: str, first: str = "pm1", second: str = "", **more: Any) -> None:
        chosen: dict[str, Any] = {"subscriptions": subscriptions(first, second), "payment_methods": methods or [VISA]}
        self.shop.load(**{**chosen, **more})

    def issue(self, units: int = 3, now: str = "08-02") -> None:
        """Team t1 owes 2.40 a unit and 20 % tax, team t2 2.40 a unit without tax."""
        month = int(now[:2]) - 1
        lines = [f"{now}{a},2026-{month:02}-05T00:00:00Z,a{a},translate,{units},," for a in (1, 2)]
        self.shop.ingest(*lines, now=now)
        self.shop.close(now)

    def collect(self, after: timedelta = timedelta()) -> Collected:
        self.now += after
        self.gateway.set(clock=self.now.isoformat())
        return collect(self.shop.home, self.gateways, self.rules, self.now)

    def state(self, number: str = ONE) -> str:
        return next(one.state.value for one in list_payments(self.shop.home, self.now) if one.number == number)

    def story(self, number: str = ONE) -> dict[str, Any]:
        return story(self.shop.home, number, self.now)

    def events(self, number: str = ONE) -> list[tuple[str, str]]:
        return [(event["kind"], event["amount"]) for event in self.story(number)["events"]]

    def mails(self) -> list[tuple[str, dict[str, Any]]]:
        with self.shop.home.database.read() as connection:
            rows = connection.execute(select(mailings).order_by(mailings.c.due_us, mailings.c.mail_key)).all()
        return [(row.kind, json.loads(row.payload)) for row in rows]

    def laws_hold(self) -> None:
        laws, totals = look(self.shop.home, LAWS)
        assert [(law.name, law.rows) for law in laws if law.violations] == []
        assert all(total.left == total.right for total in totals)


@pytest.fixture
def till(shop: Shop, tmp_path: Path) -> Iterator[Till]:
    """Two invoices of July: 8.64 EUR to a stored card, 7.20 EUR by bank transfer."""
    made = Till(shop, FakeGateway(file=tmp_path / "gateway.json"))
    made.load()
    made.issue()
    yield made
    made.laws_hold()


def rows_of_invoices(till: Till) -> list[Any]:
    with till.shop.home.database.read() as connection:
        return [tuple(row) for row in connection.execute(select(invoices).order_by(invoices.c.number))]


# --- charged once


def test_an_issued_invoice_is_charged_once_and_never_changes(till: Till) -> None:
    before = rows_of_invoices(till)
    done = till.collect()
    assert (done.planned, done.paid, done.stuck) == (1, 1, ())
    assert till.events() == [("received", "8.64")]
    assert (till.state(), till.state(TWO)) == ("paid", "open")
    for _ in range(3):
        assert till.collect(DAY).paid == 0
    assert till.gateway.taken() == {ONE: 864}
    assert till.gateway.charges()[0]["key"] == ONE
    assert till.gateway.calls("confirm") == 1
    assert rows_of_invoices(till) == before


@pytest.mark.parametrize("call", ["stored_method", "open_charge", "confirm", "charge"])
@pytest.mark.parametrize("forgets", [False, True], ids=["keys kept", "keys forgotten"])
def test_an_answer_that_was_lost_takes_no_money_twice(till: Till, call: str, forgets: bool) -> None:
    """Also more than a day later, when the gateway has forgotten its keys."""
    if call == "charge":
        till.gateway.lose("confirm")
    till.gateway.lose(call)
    assert till.collect().told
    assert till.state() in ("open", "processing")
    if forgets:
        till.gateway.forget_keys()
    till.collect(2 * DAY)
    if call == "charge":
        till.collect(2 * DAY)
    assert till.state() == "paid"
    assert till.gateway.taken() == {ONE: 864}
    assert till.events() == [("received", "8.64")]


class Killed(BaseException):
    """As if the process had ended."""


@pytest.fixture
def killing() -> Iterator[Any]:
    def kill_at(point: str) -> None:
        def die(reached: str) -> None:
            if reached == point:
                raise Killed

        commit_points.listen(die)

    before = list(commit_points._listeners)
    yield kill_at
    commit_points._listeners[:] = before


@pytest.mark.parametrize("point", commit_points.COLLECT[:6])
@pytest.mark.parametrize("outcome", ["ok", "insufficient_funds"])
def test_ended_anywhere_and_a_day_later_again(till: Till, killing: Any, point: str, outcome: str) -> None:
    """Taken once, and an attempt that happened is counted once, whatever was not recorded."""
    if outcome != "ok":
        till.gateway.answer("tok_1_of_cus1", outcome)
    listeners = list(commit_points._listeners)
    killing(point)
    with pytest.raises(Killed):
        till.collect()
    commit_points._listeners[:] = listeners
    till.gateway.forget_keys()
    till.collect(DAY / 4)
    refused = till.gateway.calls("confirm") if outcome != "ok" else 0
    assert refused in (0, 1)
    assert till.events() == ([("received", "8.64")] if outcome == "ok" else [("declined", "8.64")])
    till.collect(DAY)
    assert till.gateway.taken() == {ONE: 864}
    assert till.state() == "paid"


def test_a_total_of_nothing_is_never_charged(shop: Shop, tmp_path: Path) -> None:
    till = Till(shop, FakeGateway(file=tmp_path / "gateway.json"))
    till.load(unit_prices=["render,EUR,2020-01-01T00:00:00Z,0", "translate,EUR,2020-01-01T00:00:00Z,0"])
    till.issue()
    assert till.collect().planned == 0
    assert till.state() == "nothing_due"
    assert till.gateway.charges() == []


def test_what_was_issued_before_collecting_began_is_left_alone(till: Till) -> None:
    till.rules = CollectingRules(since=datetime(2026, 8, 3).date())  # noqa: DTZ001
    assert till.collect().planned == 0
    till.rules = CollectingRules(since=datetime(2026, 8, 2).date())  # noqa: DTZ001
    assert till.collect().paid == 1


def test_a_dry_run_says_and_does_nothing(till: Till) -> None:
    plan = would_do(till.shop.home, till.gateways, RULES, till.now)
    assert [(one.number, one.amount, one.what) for one in plan] == [(ONE, "8.64", "charge Visa 4242 by fake")]
    assert till.gateway.calls("open_charge") == 0
    assert till.story()["charge"] is None


# --- declined


def test_declines_follow_the_schedule_and_end_with_finance(till: Till) -> None:
    """Rule 6.5: days 1, 3, 5, 7 after the first attempt, each told of; then finance decides."""
    till.gateway.answer("tok_1_of_cus1", "!insufficient_funds")
    attempts = []
    for hour in range(0, 24 * 9, 6):
        done = till.collect(timedelta(hours=6) if hour else timedelta())
        attempts += [hour // 24] * done.declined
    assert attempts == [0, 1, 3, 5, 7]
    assert till.state() == "uncollected"
    assert "could not be collected in 5 attempts (insufficient_funds)" in till.collect().stuck[0]
    kinds = [kind for kind, _ in till.mails()]
    assert kinds == ["payment_declined"] * 5 + ["payment_final_notice", "payment_overdue"][:1]
    first = next(payload for kind, payload in till.mails() if kind == "payment_declined")
    assert first == {
        "number": ONE,
        "numbers": [ONE],
        "amount": "8.64",
        "currency": "EUR",
        "method": "Visa 4242",
        "reason": "insufficient_funds",
        "attempt": 1,
        "next_attempt": "2026-08-03",
    }
    till.gateway.answer("tok_1_of_cus1")
    retry(till.shop.home, till.gateways, RULES, ONE, now=till.now)
    assert till.state() == "paid"
    assert till.gateway.taken() == {ONE: 864}


def test_what_could_not_be_collected_is_not_taken_from_a_new_card_unless_a_person_says_so(till: Till) -> None:
    """Its buyer was asked to pay in another way, and told that nothing is tried again by itself."""
    till.rules = CollectingRules(retry_after_days=())
    till.gateway.answer("tok_1_of_cus1", "!insufficient_funds")
    till.collect()
    till.load("pm1,c1,fake,tok_9_of_cus1,Visa,1111,2031-01")
    till.collect(DAY)
    assert (till.state(), till.gateway.calls("confirm")) == ("uncollected", 1)
    retry(till.shop.home, till.gateways, till.rules, ONE, now=till.now)
    till.collect(DAY)
    assert (till.state(), till.gateway.taken()) == ("paid", {ONE: 864})


def test_a_decline_that_cannot_get_better_waits_for_another_method(till: Till) -> None:
    till.gateway.answer("tok_1_of_cus1", "!stolen_card")
    till.collect()
    for _ in range(9):
        till.collect(DAY)
    assert till.gateway.calls("confirm") == 1
    assert till.state() == "declined"
    till.load("pm1,c1,fake,tok_9_of_cus1,Visa,1111,2031-01")
    till.collect(DAY)
    assert till.state() == "paid"
    assert len(till.gateway.charges()) == 1, "the same charge, changed"


def test_while_a_buyer_must_authenticate_nothing_is_attempted(till: Till) -> None:
    till.gateway.answer("tok_1_of_cus1", "!authenticate")
    till.collect()
    for _ in range(3):
        till.collect(3 * DAY)
    assert (till.state(), till.gateway.calls("confirm")) == ("authentication_required", 1)
    assert [kind for kind, _ in till.mails() if kind != "payment_overdue"] == ["authentication_required"]
    till.gateway.settle(till.gateway.charges()[0]["reference"], "succeeded")
    till.collect(DAY)
    assert till.state() == "paid"


def test_trouble_with_the_gateway_does_not_make_what_waits_be_attempted(till: Till) -> None:
    till.gateway.answer("tok_1_of_cus1", "!authenticate")
    till.collect()
    till.gateway.refuse("charge", "forbidden")
    till.collect(DAY)
    till.collect(DAY)
    assert (till.state(), till.gateway.calls("confirm")) == ("authentication_required", 1)


def test_a_card_that_has_expired_is_not_tried_and_its_owner_is_told_once(shop: Shop, tmp_path: Path) -> None:
    till = Till(shop, FakeGateway(file=tmp_path / "gateway.json"))
    till.load(VISA.replace("2030-01", "2026-07"))
    till.issue()
    for _ in range(3):
        till.collect(DAY)
    assert till.gateway.calls("confirm") == 0
    assert till.state() == "declined"
    told = [payload for kind, payload in till.mails() if kind == "payment_declined"]
    assert [(one["reason"], one["attempt"], one["next_attempt"]) for one in told] == [("expired_card", 0, "")]
    till.load(VISA)
    till.collect(DAY)
    assert till.gateway.taken() == {ONE: 864}
    till.laws_hold()


def test_a_gateway_may_know_that_a_card_was_renewed(shop: Shop, tmp_path: Path) -> None:
    till = Till(shop, FakeGateway(file=tmp_path / "gateway.json"))
    till.load(VISA.replace("2030-01", "2026-07"))
    till.issue()
    till.gateway.set(expires=[2031, 7])
    till.collect()
    assert till.state() == "paid"


def test_a_method_of_another_customer_there_replaces_the_charge_surely(till: Till) -> None:
    """The old one is cancelled first, then another is opened; also where the run ends in between."""
    till.gateway.answer("tok_1_of_cus1", "!insufficient_funds")
    till.collect()
    till.load("pm2,c1,fake,tok_2_of_cus2,Visa,1111,2031-01", first="pm2", allow_removals=True)
    till.collect(DAY)
    old, new = till.gateway.charges()
    assert (old["state"], new["state"], new["customer"]) == ("cancelled", "succeeded", "cus2")
    assert new["key"] == f"{ONE}/{old['reference']}/cus2"
    assert till.gateway.taken() == {ONE: 864}


@pytest.mark.parametrize("point", [commit_points.COLLECT_CANCELLED, commit_points.COLLECT_OPENED])
def test_a_replacement_that_was_interrupted_is_finished(till: Till, killing: Any, point: str) -> None:
    till.gateway.answer("tok_1_of_cus1", "!insufficient_funds")
    till.collect()
    till.load("pm2,c1,fake,tok_2_of_cus2,Visa,1111,2031-01", first="pm2", allow_removals=True)
    listeners = list(commit_points._listeners)
    killing(point)
    with pytest.raises(Killed):
        till.collect(DAY)
    commit_points._listeners[:] = listeners
    till.gateway.forget_keys()
    till.collect(DAY)
    assert till.gateway.taken() == {ONE: 864}
    assert till.state() == "paid"


def test_a_charge_that_somebody_cancelled_there_waits_for_a_person(till: Till) -> None:
    till.gateway.answer("tok_1_of_cus1", "insufficient_funds")
    till.collect()
    till.gateway.settle("ch_1", "cancelled")
    till.collect(DAY)
    assert till.state() == "blocked"
    assert till.story()["charge"]["problem"] == "cancelled_at_gateway"
    till.collect(DAY)
    assert till.gateway.taken() == {}
    retry(till.shop.home, till.gateways, RULES, ONE, now=till.now)
    assert till.gateway.taken() == {ONE: 864}


# --- blocked


@pytest.mark.parametrize(
    ("method", "problem"),
    [("pm1,c1,fake,unknown,Visa,4242,", "no_such_payment_method"), ("pm1,c1,other,x,Visa,4242,", "not_configured")],
)
def test_what_cannot_be_attempted_says_why_and_is_tried_again(
    shop: Shop, tmp_path: Path, method: str, problem: str
) -> None:
    till = Till(shop, FakeGateway(file=tmp_path / "gateway.json"))
    till.load(method)
    till.issue()
    assert till.collect().told[0].startswith(ONE)
    assert till.state() == "blocked"
    assert till.story()["charge"]["problem"] == problem
    till.load()
    till.collect(DAY)
    assert till.state() == "paid"
    till.laws_hold()


def test_an_amount_that_cannot_be_expressed_blocks_with_the_gateway_s_code(till: Till) -> None:
    till.gateway.refuse("open_charge", "amount_not_expressible")
    till.collect()
    assert till.story()["charge"]["problem"] == "amount_not_expressible"
    till.collect(DAY)
    assert till.state() == "paid"


def test_another_currency_there_blocks(till: Till) -> None:
    till.gateway.answer("tok_1_of_cus1", "processing")
    till.collect()
    till.gateway.set(currency="USD")
    till.collect(DAY)
    assert till.story()["charge"]["problem"] == "other_currency"
    till.gateway.set(currency="")
    till.gateway.settle("ch_1", "succeeded")
    till.collect(DAY)
    assert till.state() == "paid"


def test_a_subscription_that_lost_its_method_blocks_and_keeps_what_was_tried(till: Till) -> None:
    till.gateway.answer("tok_1_of_cus1", "insufficient_funds")
    till.collect()
    till.load(first="")
    till.collect(DAY)
    assert till.story()["charge"]["problem"] == "no_payment_method"
    assert till.gateway.calls("confirm") == 1


# --- too small alone


def test_small_totals_wait_and_are_collected_together(till: Till) -> None:
    till.gateway.set(minimum=1000)
    till.collect()
    assert (till.state(), till.gateway.charges()) == ("waiting", [])
    till.issue(1, "09-02")
    till.now = instant("09-02")
    done = till.collect()
    third = "INV-2026-000003"
    assert done.paid == 2
    assert [(one["key"], one["numbers"], one["amount"]) for one in till.gateway.charges()] == [
        (ONE, [ONE, third], 1152)
    ]
    assert (till.events(ONE), till.events(third)) == ([("received", "8.64")], [("received", "2.88")])
    assert till.story(third)["charge"]["invoices"] == [ONE, third]
    credit(till.shop.home, third, reason="wrong", as_of=till.now)
    till.collect(DAY)
    assert (till.state(ONE), till.state(third)) == ("paid", "credited")
    assert till.gateway.taken() == {ONE: 864}


def test_an_attempt_for_several_invoices_is_counted_once(till: Till) -> None:
    till.gateway.set(minimum=1000)
    till.collect()
    till.issue(1, "09-02")
    till.now = instant("09-02")
    till.gateway.answer("tok_1_of_cus1", "insufficient_funds")
    assert till.collect().declined == 1
    assert till.collect(DAY).paid == 2
    till.gateway.refund_by_hand("ch_1", 900, at=till.now.isoformat())
    assert till.collect(DAY).refunded == 1
    assert till.events("INV-2026-000003")[1:] == [("received", "2.88"), ("refunded", "0.36")]


# --- given back


def test_a_credit_note_before_the_money_makes_the_charge_smaller(till: Till) -> None:
    till.gateway.answer("tok_1_of_cus1", "insufficient_funds")
    till.collect()
    credit(till.shop.home, ONE, reason="wrong", wanted=[parse_wanted("1:1")], as_of=till.now)
    till.collect(DAY)
    assert till.gateway.taken() == {ONE: 576}
    assert till.events()[1:] == [("received", "5.76")]
    assert till.state() == "paid"


def test_a_credit_note_of_all_cancels_it(till: Till) -> None:
    till.gateway.answer("tok_1_of_cus1", "insufficient_funds")
    till.collect()
    credit(till.shop.home, ONE, reason="wrong", as_of=till.now)
    till.collect(DAY)
    assert till.gateway.charges()[0]["state"] == "cancelled"
    assert (till.state(), till.gateway.taken()) == ("credited", {})


@pytest.mark.parametrize("point", ["", *commit_points.COLLECT[-2:]])
def test_a_credit_note_after_the_money_goes_back_once(till: Till, killing: Any, point: str) -> None:
    till.collect()
    for _ in range(2):
        credit(till.shop.home, ONE, reason="wrong", wanted=[parse_wanted("1:1")], as_of=till.now)
    listeners = list(commit_points._listeners)
    if point:
        killing(point)
        with pytest.raises(Killed):
            till.collect(DAY)
        commit_points._listeners[:] = listeners
    till.gateway.forget_keys()
    for _ in range(3):
        till.collect(DAY)
    assert till.gateway.taken() == {ONE: 288}
    assert till.events()[1:] == [("refunded", "2.88"), ("refunded", "2.88")]
    assert till.state() == "paid"


def test_an_answer_on_a_refund_that_was_lost_gives_back_once(till: Till) -> None:
    till.collect()
    credit(till.shop.home, ONE, reason="wrong", as_of=till.now)
    till.gateway.lose("refund")
    till.collect(DAY)
    assert till.state() in ("overpaid", "credited")
    till.gateway.forget_keys()
    till.collect(2 * DAY)
    assert (till.state(), till.gateway.taken()) == ("credited", {})
    assert till.events()[1:] == [("refunded", "8.64")]


def test_a_credit_note_while_the_money_was_being_taken_goes_back(till: Till) -> None:
    till.gateway.lose("confirm")
    till.collect()
    credit(till.shop.home, ONE, reason="wrong", wanted=[parse_wanted("1:1")], as_of=till.now)
    till.collect(DAY)
    assert till.events() == [("received", "8.64"), ("refunded", "2.88")]
    assert till.gateway.taken() == {ONE: 576}


def test_a_refund_that_failed_is_told_and_not_repeated(till: Till) -> None:
    till.collect()
    credit(till.shop.home, ONE, reason="wrong", as_of=till.now)
    till.collect(DAY)
    till.gateway.fail_refunds()
    till.collect(DAY)
    assert till.state() == "overpaid"
    assert any("did not arrive: pay it by bank transfer" in said for said in till.collect(DAY).told)
    assert till.gateway.calls("refund") == 1


def give_back_by_hand(till: Till, amount: str, reference: str, note: str) -> None:
    given = {"amount": Decimal(amount), "on": till.now.date(), "reference": reference, "credit_note": note}
    refunded(till.shop.home, ONE, **given, now=till.now)


def test_what_a_charge_does_not_hold_of_a_credit_note_is_told_until_it_is_given_back(till: Till) -> None:
    """5.00 came by bank transfer, 3.64 by card, and all of it is given back by one note."""
    record(till.shop.home, ONE, amount=Decimal("5.00"), on=till.now.date(), reference="t1", now=till.now)
    till.collect()
    note = credit(till.shop.home, ONE, reason="wrong", as_of=till.now).number
    asked = f"{ONE}: 5.00 EUR are to be given back for {note}: pay it by bank transfer and record it"
    for _ in range(2):
        told = till.collect(DAY).told
        assert [said.startswith(asked) for said in told] == [True]
    assert (till.state(), till.gateway.taken()) == ("overpaid", {})
    give_back_by_hand(till, "2.00", "b1", note)
    assert "3.00 EUR are to be given back" in till.collect(DAY).told[0]
    give_back_by_hand(till, "3.00", "b2", note)
    assert (till.collect(DAY).told, till.state()) == ((), "credited")


def test_what_a_second_charge_holds_of_a_credit_note_is_told(till: Till) -> None:
    """A part came by one charge; then the payment method was that of another gateway, which took the rest."""
    till.gateway.answer("tok_1_of_cus1", "partial:500")
    till.collect()
    with till.shop.home.database.exclusive("books") as connection:
        event = Event(
            number=ONE, kind=EventKind.RECEIVED, amount_minor=364, gateway="fake", reference="ch_9", at=ISSUED
        )
        payments.write(connection, ISSUED, {}, payments.Change(events=[event]), recorded_at=ISSUED)
    note = credit(till.shop.home, ONE, reason="wrong", as_of=till.now).number
    asked = f"{ONE}: 3.64 EUR are to be given back for {note}: pay it by bank transfer and record it"
    assert [said.startswith(asked) for said in till.collect(DAY).told] == [True]
    assert till.events()[2:] == [("refunded", "5.00")]


def test_of_what_was_given_up_nothing_goes_back(till: Till) -> None:
    """3.00 came, the rest was given up, and a note makes the invoice smaller by less than that."""
    record(till.shop.home, ONE, amount=Decimal("3.00"), on=till.now.date(), reference="t1", now=till.now)
    write_off(till.shop.home, ONE, reason="went out of business", now=till.now)
    credit(till.shop.home, ONE, reason="wrong", wanted=[parse_wanted("1:1")], as_of=till.now)
    assert till.collect(DAY).told == ()


def test_a_corrected_invoice_is_charged_and_the_old_one_given_back(till: Till) -> None:
    till.collect()
    credit(till.shop.home, ONE, reason="wrong buyer", as_of=till.now)
    new = reissue(till.shop.home, ONE, as_of=till.now).number
    till.collect(DAY)
    assert till.gateway.taken() == {new: 864}
    assert (till.events(ONE), till.events(new)) == (
        [("received", "8.64"), ("refunded", "8.64")],
        [("received", "8.64")],
    )
    assert till.story(new)["replaces"] == ONE


# --- as the gateway reports it


def test_a_part_that_was_paid_is_seen_as_a_part(till: Till) -> None:
    till.gateway.answer("tok_1_of_cus1", "partial:500")
    till.collect()
    assert (till.state(), till.story()["outstanding"]) == ("partly_paid", "3.64")
    till.gateway.settle("ch_1", "succeeded")
    till.collect(DAY)


@pytest.mark.parametrize(("ends", "state"), [(DisputeState.WON, "paid"), (DisputeState.LOST, "charged_back")])
def test_disputes_are_taken_over(till: Till, ends: DisputeState, state: str) -> None:
    till.collect()
    till.gateway.dispute("ch_1", DisputeState.WARNING, 864, at=till.now.isoformat())
    till.collect(DAY)
    assert till.state() == "paid"
    till.gateway.dispute("ch_1", DisputeState.OPEN, 864, at=till.now.isoformat())
    done = till.collect(DAY)
    assert till.state() == "disputed"
    assert done.stuck == ()
    assert "answer at the gateway by 2026-08-20" in till.collect(10 * DAY).stuck[0]
    till.gateway.dispute("ch_1", ends, 864, at=(ISSUED + DAY).isoformat())
    till.collect(60 * DAY)
    assert till.state() == state
    assert len(till.events()) == 3


def test_what_is_long_on_its_way_is_named(till: Till) -> None:
    till.gateway.answer("tok_1_of_cus1", "processing")
    till.collect()
    assert till.collect(6 * DAY).stuck == ()
    assert "on its way for more than 168 h" in till.collect(2 * DAY).stuck[0]
    till.gateway.settle("ch_1", "account_closed")
    till.collect(DAY)
    assert (till.state(), till.gateway.calls("confirm")) == ("declined", 1)


# --- reminders


def test_bank_transfers_are_asked_for_when_they_are_overdue(till: Till) -> None:
    """Due after 30 days: 3, 14 and 30 days after that, once each, and only the last one that was reached."""
    for _ in range(70):
        till.collect(DAY)
    asked = [payload for kind, payload in till.mails() if kind == "payment_overdue"]
    assert [one["days"] for one in asked] == [3, 14, 30]
    assert asked[0] == {"number": TWO, "amount": "7.20", "currency": "EUR", "due_date": "2026-09-01", "days": 3}
    assert till.state(TWO) == "overdue"


def test_cards_that_end_soon_are_told_of_once(shop: Shop, tmp_path: Path) -> None:
    till = Till(shop, FakeGateway(file=tmp_path / "gateway.json"))
    till.load(VISA.replace("2030-01", "2026-09"), "pm2,c2,fake,tok_2_of_c2,Visa,1111,2026-09")
    for _ in range(6):
        till.collect(14 * DAY)
    (told,) = [payload for kind, payload in till.mails() if kind == "card_expiring"]
    assert told == {
        "payment_method_id": "pm1",
        "method": "Visa 4242",
        "expires": "2026-09",
        "subscriptions": ["payg1"],
    }


# --- no secret anywhere


def test_no_token_is_in_any_row_or_message(till: Till) -> None:
    till.gateway.answer("tok_1_of_cus1", "insufficient_funds")
    done = till.collect()
    from billing.store.tables import charge_invoices, log, payment_events

    said = [repr(done), repr(till.story())]
    with till.shop.home.database.read() as connection:
        for table in (charges, charge_invoices, payment_events, mailings, log):
            said += [repr(row) for row in connection.execute(select(table))]
    assert "tok_1" not in " ".join(said)


def test_every_state_has_something_to_do() -> None:
    from billing.steps.payments.story import WHAT_TO_DO

    assert set(WHAT_TO_DO) == set(InvoiceState)
    assert EventKind.REFUND_FAILED
