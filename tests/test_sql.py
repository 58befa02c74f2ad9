"""The SQL in ``sql/`` runs on both databases, finds nothing in good books, and finds what was tampered with."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from billing.core.crediting import parse_wanted
from billing.core.payments import ChargeState, EventKind
from billing.steps.credit import credit
from billing.steps.homes import home_at
from billing.steps.reissue import reissue
from billing.steps.simulate import simulate
from billing.store import payments
from billing.store.home import Home
from billing.store.payments import Change, Charge, Event
from billing.store.tables import invoices
from tests.slow_model import histories

SQL = Path(__file__).parent.parent / "sql"
CHECKS = sorted((SQL / "checks").glob("*.sql"))
EVERYTHING = sorted(SQL.rglob("*.sql"))
SEED_WITH_INVOICES = 7
PARTLY, WHOLE = "INV-2024-000002", "INV-2024-000003"
LATER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def books(tmp_path: Path, database_url: str | None) -> Iterator[Home]:
    """The books of a random history that issued invoices; of two one is given back in parts, and issued anew."""
    histories.write(histories.generate(random.Random(SEED_WITH_INVOICES)), tmp_path / "scenario")
    home = home_at(tmp_path / "home", database_url)
    simulate(home, tmp_path / "scenario", tmp_path / "out")
    for number, wanted in ((WHOLE, ["1:1"]), (WHOLE, ["1=0.01"]), (WHOLE, []), (PARTLY, ["1=0.01"])):
        credit(home, number, reason="wrong", wanted=[parse_wanted(part) for part in wanted], as_of=LATER)
    reissue(home, WHOLE, as_of=LATER)
    pay(home)
    yield home
    home.close()


def pay(home: Home) -> None:
    """A charge of one invoice; a transfer for another, of which some went back for its credit note and some came back;
    a dispute that was won.
    """
    with home.database.exclusive("books") as connection:
        account, other = (payments.accounts(connection, invoices.c.number == number)[0] for number in (WHOLE, PARTLY))
        parts = ((PARTLY, other.standing.outstanding_minor),)
        nothing = {"reference": "", "customer_reference": "", "attempt_reference": "", "problem": "", "detail": ""}
        charge = Charge(
            charge_key=PARTLY,
            customer_id=other.customer_id,
            gateway="fake",
            payment_method_id="pm",
            currency=other.currency,
            amount_minor=parts[0][1],
            state=ChargeState.OPEN,
            attempts=0,
            opened_at=LATER,
            attempted_at=None,
            next_attempt=None,
            method_load=1,
            parts=parts,
            **nothing,
        )
        payments.open_charge(connection, LATER, {}, charge)
        note = account.notes[0]
        happened = [
            *[("received", account.total_minor, "r", ""), ("refunded", note[1], "f", note[0])],
            *[("refund_failed", note[1], "f", note[0]), ("disputed", 1, "d", ""), ("dispute_won", 1, "d", "")],
        ]
        events = [
            Event(
                number=WHOLE,
                kind=EventKind(kind),
                amount_minor=amount,
                gateway="fake",
                reference=name,
                at=LATER,
                detail=of,
            )
            for kind, amount, name, of in happened
        ]
        payments.write(connection, LATER, {}, Change(events=events), recorded_at=LATER)


def found_by(home: Home, path: Path) -> list[tuple[object, ...]]:
    with home.database.read() as connection:
        return [tuple(row) for row in connection.execute(text(path.read_text("utf-8")))]


def test_good_books_break_no_law_and_reports_say_something(books: Home) -> None:
    assert {path.stem: found_by(books, path) for path in CHECKS} == {path.stem: [] for path in CHECKS}
    for path in (SQL / "reports").glob("*.sql"):
        assert found_by(books, path), path.name


TAMPERED = {
    "units_are_drawn_once": "update carry set charged_units = charged_units + 1 where billing = 'rated'",
    "carry_moves_on": "update carry set opening_micro = opening_micro + 1",
    "numbers_have_no_gap": "update invoices set sequence = sequence + 5",
    "lines_add_up": "update invoices set total_minor = total_minor + 1",
    "lines_match_draws": "update invoice_lines set charged_units = charged_units + 1",
    "credit_note_numbers_have_no_gap": "update credit_notes set sequence = sequence + 5",
    "credit_notes_add_up": "update credit_notes set total_minor = total_minor + 1",
    "credits_stay_within_invoices": "update credit_note_lines set net_minor = net_minor + 1",
    "one_invoice_stands": "update credit_notes set net_minor = net_minor - 1",
    "charges_add_up": "update charges set amount_minor = amount_minor + 1",
    "payments_stay_within_invoices": "update payment_events set amount_minor = 10000000000 where kind = 'received'",
    "refunds_are_of_credit_notes": "update payment_events set detail = 'other' where kind = 'refunded'",
    "payment_events_are_known": "update payment_events set kind = 'given' where kind = 'received'",
    "issue_never_goes_back": "update credit_notes set issued_at_us = issued_at_us - sequence",
    "grants_are_used_or_left": "update draws set tokens_micro = tokens_micro * 1000000 where tokens_micro > 0",
    "usage_is_units_and_carry": "update carry set usage_micro = usage_micro + 1 where billing = 'rated'",
    "issue_is_as_approved": "update closes set approved_at_us = as_of_us + 1",
    "records_are_accounted_for": "update quarantine set ending = 'accepted', ended_in = batch_no",
}


@pytest.mark.parametrize("path", CHECKS, ids=lambda path: path.stem)
def test_each_law_finds_what_breaks_it(books: Home, path: Path) -> None:
    with books.database.write() as connection:
        connection.execute(text(TAMPERED[path.stem]))
    assert found_by(books, path)


BY_HAND = [
    ("charges_add_up", "update charge_invoices set amount_minor = amount_minor - 1"),
    ("charges_add_up", "update charges set currency = 'XXX'"),
    ("charges_add_up", "update charges set customer_id = 'other'"),
    ("charges_add_up", "delete from charge_invoices"),
    ("payments_stay_within_invoices", "update payment_events set kind = 'received' where kind = 'disputed'"),
    ("payments_stay_within_invoices", "delete from payment_events where kind in ('received', 'refund_failed')"),
    ("refunds_are_of_credit_notes", "update payment_events set detail = 'INV-CN-2099-000009' where kind = 'refunded'"),
    ("refunds_are_of_credit_notes", "update payment_events set detail = '' where kind = 'refunded'"),
    ("payment_events_are_known", "update payment_events set amount_minor = 0 where kind = 'received'"),
    ("payment_events_are_known", "update payment_events set amount_minor = 2 where kind = 'dispute_won'"),
    ("payment_events_are_known", "delete from payment_events where kind = 'disputed'"),
    ("payment_events_are_known", "delete from payment_events where kind = 'refunded'"),
    ("credit_note_numbers_have_no_gap", "update credit_notes set prefix = 'INV'"),
    ("credit_notes_add_up", "update credit_notes set net_minor = net_minor + 1, total_minor = total_minor + 1"),
    ("credit_notes_add_up", "update credit_note_lines set net_minor = 0 where by_amount = 1"),
    ("credit_notes_add_up", "update credit_notes set tax_minor = -1, total_minor = net_minor - 1"),
    ("credit_notes_add_up", "update credit_note_lines set unit_price_micro = unit_price_micro + 1 where by_amount = 0"),
    ("credit_notes_add_up", "update credit_note_lines set charged_units = 2 where by_amount = 1"),
    ("credit_notes_add_up", "update credit_note_lines set charged_units = 0 where by_amount = 0"),
    ("credit_notes_add_up", "update credit_note_lines set invoice_line_no = 9"),
    ("credit_notes_add_up", "delete from credit_note_lines where line_no = 1 and by_amount = 0"),
    ("credits_stay_within_invoices", "update credit_notes set net_minor = net_minor + 1"),
    ("credits_stay_within_invoices", "update credit_notes set tax_minor = tax_minor + 1"),
    ("credits_stay_within_invoices", "update credit_notes set tax_minor = 0"),
    ("credits_stay_within_invoices", "update credit_notes set total_minor = total_minor + 1"),
    ("credits_stay_within_invoices", "update credit_note_lines set charged_units = 3 where by_amount = 0"),
    ("one_invoice_stands", "update credit_notes set tax_minor = tax_minor + 1"),
    ("one_invoice_stands", "update credit_notes set issued_at_us = issued_at_us + 1"),
    ("one_invoice_stands", "update invoices set revision = 3 where revision = 2"),
    ("one_invoice_stands", "update invoices set revision = 0 where revision = 1"),
    ("one_invoice_stands", "update invoices set replaces = 'INV-2024-000002' where revision = 2"),
    ("one_invoice_stands", "update invoices set replaces = 'INV-2024-000002' where revision = 1"),
    ("issue_never_goes_back", "update invoices set issued_at_us = 0 where revision = 2"),
    ("grants_are_used_or_left", "update draws set tokens_micro = -tokens_micro where tokens_micro > 0"),
    ("grants_are_used_or_left", "update ref_token_grants set tokens = tokens / 1000000"),
    ("grants_are_used_or_left", "update ref_token_grants set expires_at = valid_from"),
    ("grants_are_used_or_left", "update ref_token_grants set valid_from = expires_at"),
    ("grants_are_used_or_left", "update ref_subscriptions set purchased_at = ends_at where kind = 'flex'"),
    ("grants_are_used_or_left", "update ref_subscriptions set team_id = 'other'"),
    ("grants_are_used_or_left", "update draws set grant_id = 'unknown' where grant_id <> ''"),
    ("usage_is_units_and_carry", "update carry set charged_units = charged_units + 1 where billing = 'rated'"),
    ("usage_is_units_and_carry", "update carry set closing_micro = closing_micro - 1 where billing = 'rated'"),
    ("usage_is_units_and_carry", "delete from ref_unit_rates"),
    ("issue_is_as_approved", "update invoices set issued_at_us = issued_at_us + 1 where revision = 1"),
    ("issue_is_as_approved", "update closes set issued_at_us = issued_at_us + 1"),
    ("issue_is_as_approved", "update closes set state = 'approved'"),
    ("issue_is_as_approved", "update carry set cycle_start_us = cycle_start_us + 1"),
    ("issue_is_as_approved", "update draws set cycle_start_us = cycle_start_us + 1"),
    ("issue_is_as_approved", "update usage_days set cycle_start_us = cycle_start_us + 1"),
    ("lines_match_draws", "update invoice_lines set unit_price_micro = unit_price_micro + 1"),
    (
        "lines_match_draws",
        "update invoice_lines set charged_units = charged_units + 1 where number = 'INV-2100-000001'",
    ),
]


def test_laws_of_what_is_issued_by_hand_find_every_way_to_break_them(books: Home) -> None:
    """Rules 6.3 and 6.4."""
    for law, broken in BY_HAND:
        with books.database.write() as connection:
            connection.execute(text(broken))
            assert connection.execute(text((SQL / "checks" / f"{law}.sql").read_text("utf-8"))).first(), broken
            connection.rollback()


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: path.stem)
def test_each_file_says_what_a_row_is_and_its_bounds(path: Path) -> None:
    header = [line for line in path.read_text("utf-8").splitlines() if line.startswith("--")]
    assert any("A row is" in line for line in header)
    assert any("Parameters:" in line and "Bounds:" in line for line in header)
