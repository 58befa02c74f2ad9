"""The journal of a month: it is the register and the money, proven, read by beancount, and stays once it is locked."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from beancount import loader
from beancount.core.data import Balance, Transaction
from sqlalchemy import insert, update

from billing.core.accounts import Accounts
from billing.core.errors import ConservationBroken, DataRefused
from billing.core.instants import to_us
from billing.core.months import Month
from billing.core.payments import EventKind
from billing.steps.credit import credit
from billing.steps.journal import Journal, journal, write_journal
from billing.steps.period_locks import lock_month, unlock_month
from billing.steps.register import register
from billing.steps.reissue import reissue
from billing.store.tables import invoices, payment_events

from .small_world import REFERENCE, Shop, instant, rows_of

JUNE, JULY, AUGUST = (Month.parse(f"2026-{month}") for month in ("06", "07", "08"))
LATER = instant("2026-12-01T00:00:00Z")
MID_JUNE = [line.replace("2026-07-01T00", "2026-06-15T00") for line in REFERENCE["subscriptions"]]
GRANTS = [
    "g2,flex2,10,2026-06-15T00:00:00Z,2026-07-31T00:00:00Z,100.00,EUR",
    "g3,flex2,20,2026-07-20T00:00:00Z,2027-07-01T00:00:00Z,180.00,EUR",
    "g4,flex2,7,2026-07-20T00:00:00Z,2027-07-01T00:00:00Z",
]
USAGE = [
    "e1,2026-06-20T00:00:00Z,a1,render,65,,",
    "e2,2026-06-21T00:00:00Z,a2,translate,3,,",
    "e3,2026-06-22T00:00:00Z,a2,render,65,,",
    "e4,2026-07-16T00:00:00Z,a1,render,95,,",
    "e5,2026-07-17T00:00:00Z,a2,render,40,,",
    "e6,2026-08-16T00:00:00Z,a2,translate,4,,",
]
FIRST, SECOND = "INV-2026-000001", "INV-2026-000002"


def billed(shop: Shop, **changed: list[str]) -> None:
    """Two invoices of 15 July, one of 16 August; July ends in the middle of a cycle."""
    shop.load(**{"subscriptions": MID_JUNE, "token_grants": GRANTS, **changed})
    shop.ingest(*USAGE, now="2026-10-01T00:00:00Z")
    shop.close("2026-07-15T02:00:00Z")
    shop.close("2026-08-16T02:00:00Z")


def event(
    shop: Shop, number: str, kind: EventKind, minor: int, at: str, *, recorded: str = "", gateway: str = "stripe"
) -> None:
    """An event of an invoice's money, as the collecting part writes it."""
    shop.serial += 1
    row = {
        "number": number,
        "kind": kind.value,
        "amount_minor": minor,
        "gateway": gateway,
        "reference": f"ref-{shop.serial}",
        "at_us": to_us(instant(at)),
        "recorded_at_us": to_us(instant(recorded or at)),
    }
    with shop.home.database.write() as connection:
        connection.execute(insert(payment_events).values(**row))


def paid(shop: Shop) -> None:
    """Every kind of event, in two months, by a card and by transfer."""
    event(shop, FIRST, EventKind.DECLINED, 276, "2026-07-15T03:00:00Z")
    event(shop, FIRST, EventKind.RECEIVED, 276, "2026-07-17T03:00:00Z")
    event(shop, FIRST, EventKind.DISPUTED, 276, "2026-07-25T03:00:00Z")
    event(shop, FIRST, EventKind.DISPUTE_WON, 276, "2026-08-25T03:00:00Z")
    event(shop, SECOND, EventKind.RECEIVED, 500, "2026-07-31T22:30:00Z", gateway="manual")
    event(shop, SECOND, EventKind.WRITTEN_OFF, 220, "2026-08-20T00:00:00Z")


def made(shop: Shop, month: Month, accounts: Accounts | None = None, now: datetime = LATER) -> Journal:
    return journal(shop.home, month, now, accounts or Accounts())


def entries(found: Journal) -> list[tuple[str, str, dict[str, str]]]:
    """Day, what it says, and what is booked where."""
    return [
        (f"{one.date:%m-%d}", one.narration, {part.account: str(part.amount) for part in one.postings})
        for one in found.entries
    ]


def checked(shop: Shop, *months: Month) -> list[Path]:
    """The files of some months, each read by beancount without an error."""
    folder = shop.fresh("journals")
    written = []
    for month in months:
        files = write_journal(made(shop, month), folder)
        _, errors, _ = loader.load_file(str(files[-1]))
        assert errors == [], [str(one.message) for one in errors]
        written += files
    return written


def test_a_month_is_what_was_issued_earned_and_paid(shop: Shop) -> None:
    billed(shop)
    paid(shop)
    credit(shop.home, SECOND, reason="one job failed", as_of=instant("2026-08-18T00:00:00Z"))
    assert entries(made(shop, JULY)) == [
        ("07-01", "Reversed: Accrued revenue of 2026-06", {"Assets:Accrued": "-2.30", "Income:Usage:Render": "2.30"}),
        (
            "07-01",
            "Reversed: Accrued revenue of 2026-06",
            {"Assets:Accrued": "-7.20", "Income:Usage:Translate": "7.20"},
        ),
        (
            "07-15",
            f"Invoice {FIRST}",
            {"Assets:Receivable": "2.76", "Income:Usage:Render": "-2.30", "Liabilities:VAT:FR": "-0.46"},
        ),
        ("07-15", f"Invoice {SECOND}", {"Assets:Receivable": "7.20", "Income:Usage:Translate": "-7.20"}),
        ("07-17", f"Payment of {FIRST}", {"Assets:Receivable": "-2.76", "Assets:Gateway:Stripe": "2.76"}),
        ("07-20", "Tokens sold", {"Assets:Clearing:Tokens": "180.00", "Liabilities:Deferred:Tokens": "-180.00"}),
        ("07-25", f"Disputed: {FIRST}", {"Assets:Receivable": "2.76", "Assets:Gateway:Stripe": "-2.76"}),
        ("07-31", "Accrued revenue of 2026-07", {"Assets:Accrued": "4.60", "Income:Usage:Render": "-4.60"}),
        ("07-31", "Tokens expired", {"Income:Breakage": "-50.00", "Liabilities:Deferred:Tokens": "50.00"}),
        ("07-31", "Tokens used", {"Income:Tokens": "-20.00", "Liabilities:Deferred:Tokens": "20.00"}),
    ]
    august = [one for one in entries(made(shop, AUGUST)) if one[1].split()[0] in ("Credit", "Payment", "Written")]
    assert august == [
        (
            "08-01",
            f"Payment of {SECOND}",
            {"Assets:Receivable": "-5.00", "Assets:Bank": "5.00"},
        ),
        (
            "08-18",
            f"Credit note INV-CN-2026-000001 for {SECOND}",
            {"Assets:Receivable": "-7.20", "Income:Usage:Translate": "7.20"},
        ),
        ("08-20", f"Written off: {SECOND}", {"Assets:Receivable": "-2.20", "Expenses:BadDebt": "2.20"}),
    ], "half past midnight in Paris is August"


def test_opening_receivables_and_what_was_booked_are_what_is_outstanding(shop: Shop) -> None:
    billed(shop)
    paid(shop)
    july, august = made(shop, JULY), made(shop, AUGUST)
    key = ("Assets:Receivable", "EUR")
    assert (july.opening.get(key), july.closing[key]) == (None, Decimal("9.96")), "2.76 disputed and 7.20"
    assert (august.opening, august.opening[key]) == (july.closing, july.closing[key])
    assert august.closing[key] == Decimal("5.52"), "7.20 - 5.00 - 2.20 of the second, 5.52 of the third"
    assert july.closing["Liabilities:Deferred:Tokens", "EUR"] == Decimal("-180.00")


def test_sums_are_those_of_the_register(shop: Shop) -> None:
    billed(shop)
    credit(shop.home, FIRST, reason="x", as_of=instant("2026-08-18T00:00:00Z"))
    assert reissue(shop.home, FIRST, as_of=instant("2026-08-18T00:00:00Z"))
    issued = register(shop.home, AUGUST.first_day, AUGUST.last_day)
    assert len(issued.rows) == 3
    found = [one for one in made(shop, AUGUST).entries if one.document]
    assert {one.document for one in found} == {row.number for row in issued.rows}
    receivable = sum(part.amount for one in found for part in one.postings if part.account == "Assets:Receivable")
    vat = sum(part.amount for one in found for part in one.postings if part.account.startswith("Liabilities:VAT"))
    whole = issued.totals[-1]
    assert (receivable, -vat) == (whole.total, whole.tax)


def test_beancount_reads_it_and_its_assertions_hold(shop: Shop) -> None:
    billed(shop)
    paid(shop)
    files = checked(shop, JULY, AUGUST)
    found, errors, _ = loader.load_file(str(files[2]))
    assert not errors
    assert sum(isinstance(one, Transaction) for one in found) == 11, "ten entries and what was there before"
    assert sum(isinstance(one, Balance) for one in found) == 5
    broken = files[1].read_text("utf-8").replace("  Assets:Receivable  2.76 EUR", "  Assets:Receivable  2.77 EUR", 1)
    files[1].write_text(broken.replace("  Income:Usage:Render  -2.30 EUR", "  Income:Usage:Render  -2.31 EUR"), "utf-8")
    _, errors, _ = loader.load_file(str(files[2]))
    assert errors, "a cent more is seen"


HOSTILE = '=cmd|"\\;\n{x} é'


def test_names_and_ids_may_hold_anything(shop: Shop) -> None:
    tables = {
        "customers": [
            f'c1,"{HOSTILE.replace(chr(34), chr(34) * 2)}",1 street,,1000,Town,,FR,,,en-GB',
            REFERENCE["customers"][1],
        ],
        "apis": [line.replace("translate", "=SUM(a:b)") for line in REFERENCE["apis"]],
        "unit_rates": [line.replace("translate", "=SUM(a:b)") for line in REFERENCE["unit_rates"]],
        "unit_prices": [line.replace("translate", "=SUM(a:b)") for line in REFERENCE["unit_prices"]],
    }
    shop.load(subscriptions=MID_JUNE, **tables)
    shop.ingest(*(line.replace("translate", "=SUM(a:b)") for line in USAGE), now="2026-10-01T00:00:00Z")
    shop.close("2026-07-15T02:00:00Z")
    event(shop, FIRST, EventKind.RECEIVED, 100, "2026-07-17T03:00:00Z", gateway='st"ripe\n')
    files = checked(shop, JULY)
    cells = [cell for row in rows_of(files[0]) for cell in row]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "@")]
    assert any(cell.startswith("'=cmd|") for cell in cells)


@pytest.mark.parametrize(("currency", "price", "net"), [("JPY", "115", "230"), ("KWD", "1.1515", "2.303")])
def test_currencies_of_any_digits(shop: Shop, currency: str, price: str, net: str) -> None:
    billed(
        shop,
        subscriptions=[line.replace("EUR", currency) for line in MID_JUNE],
        unit_prices=[f"render,{currency},2020-01-01T00:00:00Z,{price}", f"translate,{currency},2020-01-01T00:00:00Z,2"],
    )
    files = checked(shop, JULY)
    assert f"  Income:Usage:Render  -{net} {currency}\n" in files[1].read_text("utf-8")


def test_accounts_are_those_of_the_settings(shop: Shop) -> None:
    billed(shop)
    mine = {**Accounts().patterns, "receivable": "Assets:Debtors:{customer}"}
    accounts = Accounts(patterns=mine, overrides={("vat", "FR"): "Liabilities:TVA", ("usage", "render"): "Income:R"})
    found = entries(journal(shop.home, JULY, LATER, accounts))
    assert found[2][2] == {"Assets:Debtors:C1": "2.76", "Income:R": "-2.30", "Liabilities:TVA": "-0.46"}


# --- once it is locked -----------------------------------------------------------------------------------------------


def locked(shop: Shop, *months: Month) -> None:
    for month in months:
        lock_month(shop.home, month, instant(f"{month.next}-02T00:00:00Z"))


def content(shop: Shop, found: Journal) -> list[bytes]:
    return [path.read_bytes() for path in write_journal(found, shop.fresh("journal"))]


def test_a_locked_month_gives_the_same_bytes_whatever_comes_later(shop: Shop) -> None:
    """Late usage, a payment that is recorded later, other accounts: all of it is the next month's."""
    grants = ["g2,flex2,10,2026-06-15T00:00:00Z,2027-07-01T00:00:00Z,100.00,EUR"]
    shop.load(subscriptions=MID_JUNE, token_grants=grants)
    shop.ingest(*USAGE, now="2026-10-01T00:00:00Z")
    shop.close("2026-07-15T02:00:00Z")
    locked(shop, JULY)
    first = made(shop, JULY)
    before = content(shop, first)
    assert first.is_kept
    shop.ingest("late,2026-07-20T00:00:00Z,a2,render,40,,", now="2026-10-01T00:00:00Z")
    event(shop, SECOND, EventKind.RECEIVED, 720, "2026-07-30T00:00:00Z", recorded="2026-08-05T00:00:00Z")
    assert content(shop, made(shop, JULY)) == before
    august = made(shop, AUGUST)
    assert august.opening == first.closing
    booked = {one.narration: (f"{one.date:%m-%d}", str(one.postings[0].amount)) for one in august.entries}
    assert booked[f"Payment of {SECOND}"] == ("08-05", "-7.20"), "July was locked when it was recorded"
    assert booked["Reversed: Accrued revenue of 2026-07"] == ("08-01", "-4.60"), "as it was booked"
    assert booked["Tokens: known later"] == ("08-01", "-20.00"), "income of July that is known now"
    checked(shop, JULY, AUGUST)


def test_a_lock_that_was_taken_back_takes_its_journal_with_it(shop: Shop) -> None:
    billed(shop)
    locked(shop, JULY)
    first = made(shop, JULY)
    unlock_month(shop.home, JULY, LATER, "a payment was forgotten")
    event(shop, SECOND, EventKind.RECEIVED, 720, "2026-07-30T00:00:00Z", recorded="2026-12-02T00:00:00Z")
    again = made(shop, JULY)
    assert (again.is_kept, len(again.entries)) == (False, len(first.entries) + 1)
    lock_month(shop.home, JULY, instant("2026-12-03T00:00:00Z"))
    assert made(shop, JULY).entries == again.entries


def test_locked_months_are_journaled_in_order(shop: Shop) -> None:
    billed(shop)
    locked(shop, JULY, AUGUST)
    made(shop, JULY)
    with pytest.raises(DataRefused, match="2026-08 is locked and its journal was never made"):
        made(shop, Month.parse("2026-09"))
    made(shop, AUGUST)
    assert made(shop, Month.parse("2026-09")).opening == made(shop, AUGUST).closing


def test_accounts_are_not_changed_under_balances_that_go_on(shop: Shop) -> None:
    billed(shop)
    locked(shop, JULY)
    made(shop, JULY)
    other = Accounts(patterns={**Accounts().patterns, "receivable": "Assets:Debtors"})
    with pytest.raises(DataRefused, match="closed with balances in Assets:Receivable"):
        made(shop, AUGUST, other)
    assert made(shop, JULY, other).closing == made(shop, JULY).closing


def test_a_kept_journal_that_was_changed_is_found(shop: Shop) -> None:
    billed(shop)
    locked(shop, JULY)
    made(shop, JULY)
    (kept,) = shop.home.documents.folder.rglob("*.json")
    kept.chmod(0o644)
    kept.write_bytes(kept.read_bytes().replace(b"2.76", b"2.77"))
    with pytest.raises(ConservationBroken, match="was changed"):
        made(shop, JULY)


def test_what_does_not_add_up_is_no_journal(shop: Shop) -> None:
    """A total that was changed in the database: the entry is out of balance, and nothing is written."""
    billed(shop)
    with shop.home.database.write() as connection:
        connection.execute(update(invoices).where(invoices.c.number == FIRST).values(total_minor=277))
    with pytest.raises(ConservationBroken, match="out of balance by 0.01 EUR"):
        made(shop, JULY)


def test_a_month_that_is_not_over_has_no_journal(shop: Shop) -> None:
    billed(shop)
    with pytest.raises(DataRefused, match="is not over"):
        made(shop, JULY, now=instant("2026-07-31T21:00:00Z"))


def test_a_grant_that_is_told_of_later_is_sold_later(shop: Shop) -> None:
    """Its sale was in a month that is locked: it is booked in the next, with what was used of it by then."""
    billed(shop, token_grants=GRANTS[1:2])
    locked(shop, JULY)
    made(shop, JULY)
    shop.load(
        subscriptions=MID_JUNE,
        token_grants=[*GRANTS[1:2], "g9,flex2,4,2026-07-10T00:00:00Z,2027-01-01T00:00:00Z,40.00,EUR"],
    )
    found = [one for one in made(shop, AUGUST).entries if one.narration == "Tokens: known later"]
    assert [{part.account: str(part.amount) for part in one.postings} for one in found] == [
        {"Assets:Clearing:Tokens": "40.00", "Liabilities:Deferred:Tokens": "-40.00"}
    ]


def test_a_grant_that_was_journaled_as_used_up_is_not_sold_again(shop: Shop) -> None:
    """A correction of July that comes once its journal is kept gives tokens back: income less, and no second sale."""
    grants = ["g2,flex2,10,2026-06-15T00:00:00Z,2027-07-01T00:00:00Z,100.00,EUR"]
    shop.load(subscriptions=MID_JUNE, token_grants=grants)
    shop.ingest(USAGE[2], "e5,2026-07-17T00:00:00Z,a2,render,140,,", now="2026-10-01T00:00:00Z")
    shop.close("2026-07-15T02:00:00Z")
    locked(shop, JULY)
    assert made(shop, JULY).deferred["g2"].amount == 0
    shop.ingest("c5,2026-07-17T00:00:00Z,a2,render,-80,e5,", now="2026-10-01T00:00:00Z")
    found = [one for one in made(shop, AUGUST).entries if one.narration == "Tokens: known later"]
    assert [{part.account: str(part.amount) for part in one.postings} for one in found] == [
        {"Income:Tokens": "40.00", "Liabilities:Deferred:Tokens": "-40.00"}
    ]
    checked(shop, JULY, AUGUST)


def test_the_command_writes_it(shop: Shop, run_billing) -> None:  # type: ignore[no-untyped-def]
    billed(shop)
    out = shop.fresh("out")
    status, said = run_billing(shop, "month", "journal", "2026-07", "--out", str(out))
    assert status == 0, said
    assert "Assets:Receivable: 0 before, 9.96 EUR after" in said
    assert "balanced and proven against the books; estimates may change" in said
    assert {path.name for path in out.iterdir()} == {
        "journal-2026-07.csv",
        "journal-2026-07.beancount",
        "ledger-2026-07.beancount",
    }


def test_debits_and_credits_of_the_table_are_equal(shop: Shop) -> None:
    billed(shop)
    rows = rows_of(write_journal(made(shop, JULY), shop.fresh("out"))[0])
    debit, credit_ = (sum(Decimal(row[column] or 0) for row in rows) for column in (4, 5))
    assert debit == credit_ > 0
    assert replace(made(shop, JULY), is_kept=True).entries
