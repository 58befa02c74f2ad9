"""What a person does with payments, by the command: transfers in and back, another attempt, giving up (rule 6.5)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from billing.steps.credit import credit
from billing.steps.ledger_checks import look
from billing.store.tables import charges, log, payment_events
from tests.payments.fake_gateway import FakeGateway

from .small_world import Shop
from .test_collect import DAY, LAWS, ONE, TWO, Till

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def till(shop: Shop, tmp_path: Path) -> Iterator[Till]:
    """Two invoices of July, both by bank transfer: 8.64 and 7.20 EUR."""
    made = Till(shop, FakeGateway(file=tmp_path / "gateway.json"))
    made.load(first="")
    made.issue()
    yield made
    made.laws_hold()


def transfer(number: str, amount: str, reference: str = "t1", on: str = "2026-08-10") -> list[str]:
    return ["payments", "record", number, "--amount", amount, "--on", on, "--reference", reference]


def back(number: str, amount: str, *more: str) -> list[str]:
    return ["payments", "refunded", number, "--amount", amount, "--on", "2026-08-11", "--reference", "b1", *more]


def test_a_transfer_in_parts(till: Till, run_billing: Command) -> None:
    assert run_billing(till.shop, *transfer(TWO, "5.00")) == (0, f"{TWO}: 5.00 EUR received; 2.20 EUR outstanding.\n")
    assert till.state(TWO) == "partly_paid"
    assert (
        run_billing(till.shop, *transfer(TWO, "2.20", "t2"))[1] == f"{TWO}: 2.20 EUR received; nothing outstanding.\n"
    )
    status, said = run_billing(till.shop, "payments", "list", "--state", "paid")
    assert (status, said.splitlines()[1].split(",")[:10]) == (
        0,
        [TWO, "c2", "2026-08-02", "2026-09-01", "EUR", "7.20", "0.00", "7.20", "0.00", "paid"],
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (transfer(TWO, "5.00"), "is recorded for INV-2026-000002 already"),
        (transfer(TWO, "1.00", " t1\u00a0 "), "is recorded for INV-2026-000002 already"),
        (transfer(TWO, "2.21", "t2"), "2.20 EUR are owed of INV-2026-000002, and 2.21 are more"),
        (transfer(TWO, "0.001", "t2"), "is no amount: above 0, with 2 decimals at most"),
        (transfer(TWO, "0", "t2"), "is no amount"),
        (transfer(TWO, "-1", "t2"), "is not an amount"),
        (transfer(TWO, "1e3", "t2"), "is not an amount"),
        (transfer(TWO, "1", "t2", "2999-01-01"), "is in the future"),
        (transfer(TWO, "1", " "), "Give the bank's reference"),
        (transfer("INV-1", "1"), "No invoice INV-1 was ever issued"),
        (back(TWO, "1.00"), "Of INV-2026-000002 0.00 EUR can be given back at most"),
        (back(TWO, "1.00", "--credit-note", "X"), "X is no credit note of INV-2026-000002; there are: none"),
        (back(TWO, "5.01", "--reason", "by mistake"), "5.00 EUR can be given back at most"),
        (["payments", "write-off", TWO, "--reason", " "], "given up for a reason"),
        (["payments", "retry", TWO], "has no charge"),
        (["payments", "show", "INV-1"], "No invoice INV-1 was ever issued"),
        (["payments", "collect", "--now", "2999-01-01T00:00:00Z"], "is in the future"),
        (["payments", "reconcile", "--from", "2026-08-02", "--to", "2026-08-01"], "after the last one"),
    ],
    ids=lambda value: " ".join(value[1:5]) if isinstance(value, list) else "",
)
def test_what_the_books_do_not_allow_is_refused_and_changes_nothing(
    till: Till, run_billing: Command, line: list[str], said: str
) -> None:
    run_billing(till.shop, *transfer(TWO, "5.00"))
    before = till.events(TWO)
    status, words = run_billing(till.shop, *line)
    assert status in (1, 2)
    assert said in " ".join(words.replace("│", " ").split())
    assert till.events(TWO) == before


def test_blanks_do_not_tell_one_transfer_from_another(till: Till, run_billing: Command) -> None:
    """Nor those within a reference: banks print them as they like. Back as well as in."""
    run_billing(till.shop, *transfer(TWO, "8.00", " RF18  5390\t0754 "), "--overpaid")
    assert till.story(TWO)["events"][0]["reference"] == "RF18 5390 0754"
    assert "is recorded for" in run_billing(till.shop, *transfer(TWO, "8.00", "RF18 5390 0754"), "--overpaid")[1]
    again = ["payments", "refunded", TWO, "--amount", "0.40", "--on", "2026-08-11", "--reference"]
    assert run_billing(till.shop, *again, "B  1 ")[0] == 0
    assert "is recorded for" in run_billing(till.shop, *again, "B 1")[1]
    assert till.events(TWO) == [("received", "8.00"), ("refunded", "0.40")]


def test_more_than_is_owed_is_taken_knowingly_and_given_back(till: Till, run_billing: Command) -> None:
    assert run_billing(till.shop, *transfer(TWO, "10.00"), "--overpaid")[1].endswith("2.80 EUR more than is owed.\n")
    assert till.state(TWO) == "overpaid"
    till.laws_hold()
    assert run_billing(till.shop, *back(TWO, "2.80"))[0] == 0
    assert till.state(TWO) == "paid"


def test_a_credit_note_of_a_transfer_is_given_back_by_hand_and_once(till: Till, run_billing: Command) -> None:
    run_billing(till.shop, *transfer(TWO, "7.20"))
    note = credit(till.shop.home, TWO, reason="wrong", as_of=till.now).number
    assert any(f"are to be given back for {note}: pay it by bank transfer" in said for said in till.collect(DAY).told)
    assert run_billing(till.shop, *back(TWO, "7.20", "--credit-note", note))[0] == 0
    assert till.state(TWO) == "credited"
    assert not any(note in said for said in till.collect(DAY).told)
    assert till.gateway.calls("refund") == 0


def test_what_is_given_up_is_logged_with_who_and_why(till: Till, run_billing: Command) -> None:
    assert run_billing(till.shop, "payments", "write-off", TWO, "--reason", "went out of business")[0] == 0
    assert till.state(TWO) == "written_off"
    with till.shop.home.database.read() as connection:
        payload = json.loads(
            connection.execute(
                select(log.c.payload).where(log.c.kind == "payment").order_by(log.c.seq.desc())
            ).scalar_one()
        )
    assert payload["reason"] == "went out of business"
    assert payload["by"]["run"].endswith("payments write-off")
    assert run_billing(till.shop, "payments", "write-off", TWO, "--reason", "again")[0] != 0


def test_a_transfer_for_an_invoice_that_is_charged_ends_the_charge(till: Till, run_billing: Command) -> None:
    till.load()
    till.gateway.answer("tok_1_of_cus1", "insufficient_funds", "processing")
    till.collect()
    assert run_billing(till.shop, *transfer(ONE, "8.00"))[0] == 0
    till.collect(DAY)
    assert "is being charged to a stored payment method" in run_billing(till.shop, *transfer(ONE, "0.64", "t2"))[1]
    till.gateway.settle("ch_1", "insufficient_funds")
    till.collect(DAY)
    assert run_billing(till.shop, *transfer(ONE, "0.64", "t2"))[0] == 0
    till.collect(DAY)
    assert till.gateway.charges()[0]["state"] == "cancelled"
    assert (till.state(), till.gateway.taken()) == ("paid", {})


def test_the_story_is_told_in_words_and_as_json(till: Till, run_billing: Command) -> None:
    till.load()
    till.gateway.answer("tok_1_of_cus1", "insufficient_funds")
    till.collect()
    till.collect(DAY)
    _, said = run_billing(till.shop, "payments", "show", ONE)
    for words in ("8.64 EUR: paid", "charged to Visa 4242 by fake: paid, 2 attempts", "mail payment_declined: due"):
        assert words in said
    facts = json.loads(run_billing(till.shop, "payments", "show", ONE, "--json")[1])
    assert [event["kind"] for event in facts["events"]] == ["declined", "received"]
    assert "Paid   8.64 EUR received: `billing payments show" in run_billing(till.shop, "invoices", "show", ONE)[1]


def test_the_command_collects_and_says_where_no_gateway_is_set_up(till: Till, run_billing: Command) -> None:
    till.load()
    status, said = run_billing(till.shop, "payments", "collect", "--dry-run")
    assert (status, f"{ONE},8.64,EUR,charge Visa 4242 by fake" in said) == (0, True)
    status, said = run_billing(till.shop, "payments", "collect")
    assert status == 0
    assert "the gateway 'fake' is not configured (there is none): add [payments.gateways.fake]" in said


def test_outputs_say_what_came(till: Till, run_billing: Command) -> None:
    run_billing(till.shop, *transfer(TWO, "5.00"))
    tables = till.shop.export()
    assert tables["payment_events"] == [
        (TWO, "received", "5.00", "EUR", "manual", "t1", "2026-08-10T00:00:00Z", ""),
    ]
    assert [row[:10] for row in tables["payments"]][1] == (
        *(TWO, "c2", "EUR", "7.20", "0.00", "5.00", "0.00", "0.00", "0.00", "2.20"),
    )


@pytest.mark.parametrize("what", ["event", "charge", "gone"])
def test_rows_that_are_not_as_logged_are_told(shop: Shop, tmp_path: Path, what: str) -> None:
    till = Till(shop, FakeGateway(file=tmp_path / "gateway.json"))
    till.load()
    till.issue()
    till.collect()
    with shop.home.database.write() as connection:
        if what == "event":
            connection.execute(update(payment_events).values(detail="another card"))
        elif what == "charge":
            connection.execute(update(charges).values(reference="ch_other"))
        else:
            connection.execute(payment_events.delete())
    laws, _ = look(shop.home, LAWS)
    assert [law.name for law in laws if law.violations] == ["kept_as_logged"]
