"""Credit notes and corrected invoices: what was wrong is given back and issued anew; nothing is edited (rule 6.4)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from threading import Event, Thread

import pytest
from sqlalchemy import Table, select, text
from typer.testing import CliRunner

from billing.cli import app
from billing.core.crediting import parse_wanted
from billing.core.errors import ConservationBroken, DataRefused, NotFound, UsageError
from billing.core.instants import day_number
from billing.core.invoicing import issue_date
from billing.core.model import Invoice, InvoiceReference, InvoiceType, TaxCategory
from billing.core.reference import TABLES, Reference
from billing.steps.close import issue, open_close, pending_shards, rate_shards
from billing.steps.credit import Credited, credit, read_credit_notes, unrendered_credit_notes
from billing.steps.homes import configure
from billing.steps.invoices import read_invoices
from billing.steps.ledger_checks import check_ledger
from billing.steps.reissue import Reissued, reissue
from billing.steps.status import status
from billing.store import period_locks
from billing.store.tables import carry, credit_note_lines, credit_notes, draws, invoice_lines, invoices, log

from .small_world import REFERENCE, Shop, instant

LAWS = Path(__file__).parents[2] / "sql" / "checks"
FIRST, SECOND = "INV-2026-000001", "INV-2026-000002"
"""Of t1: 2 x 1.15 and 3 x 2.4, 20 % of 9.50. Of t2: 3 x 2.4, reverse charge."""
LEDGER = (invoices, invoice_lines, carry, draws)


def july(shop: Shop) -> None:
    """Two invoices of 2 August."""
    shop.load()
    shop.ingest(
        "e1,2026-07-05T00:00:00Z,a1,render,65,,",
        "e2,2026-07-06T00:00:00Z,a1,translate,3,,",
        "e3,2026-07-06T00:00:00Z,a2,translate,3,,",
        "e4,2026-07-07T00:00:00Z,a2,browse,9,,",
        now="08-02",
    )
    assert shop.close("08-02").invoices == (FIRST, SECOND)


def give_back(shop: Shop, number: str = FIRST, *parts: str, at: str = "08-10", reason: str = "wrong buyer") -> Credited:
    return credit(shop.home, number, reason=reason, wanted=[parse_wanted(p) for p in parts], as_of=instant(at))


def issue_anew(shop: Shop, number: str = FIRST, *, at: str = "08-11") -> Reissued:
    return reissue(shop.home, number, as_of=instant(at))


def note(shop: Shop, number: str) -> Invoice:
    (found,) = read_credit_notes(shop.home, [number])
    return found


def invoice(shop: Shop, number: str) -> Invoice:
    (found,) = read_invoices(shop.home, [number])
    return found


def rows(shop: Shop, *tables: Table) -> list[list[tuple[object, ...]]]:
    with shop.home.database.read() as connection:
        return [
            [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))] for table in tables
        ]


def logged(shop: Shop, kind: str) -> list[dict[str, object]]:
    with shop.home.database.read() as connection:
        found = connection.execute(select(log.c.payload).where(log.c.kind == kind).order_by(log.c.seq)).scalars()
        return [json.loads(payload) for payload in found]


def laws_hold(shop: Shop) -> None:
    check_ledger(shop.home, LAWS, close_no=1)
    assert status(shop.home).log_rows


# --- credit notes ----------------------------------------------------------------------------------------------------


def test_a_whole_credit_note_is_the_invoice_given_back(shop: Shop) -> None:
    """Rule 6.4: it names the invoice, has its parties, cycle, tax and lines, and a number of its own."""
    july(shop)
    done = give_back(shop)
    assert (done.number, done.net, done.tax, done.total) == (
        "INV-CN-2026-000001",
        Decimal("9.50"),
        Decimal("1.90"),
        Decimal("11.40"),
    )
    assert done.net_left == 0
    of, found = invoice(shop, FIRST), note(shop, done.number)
    assert found.type is InvoiceType.CREDIT_NOTE
    assert found.preceding == InvoiceReference(number=FIRST, issue_date=of.issue_date)
    assert (found.reason, found.statement, found.due_date) == ("wrong buyer", None, None)
    assert (found.issued_at, found.issue_date.isoformat()) == (instant("08-10"), "2026-08-10")
    same = ("seller", "customer", "team_id", "team_name", "subscription_id", "cycle", "currency", "tax_treatment")
    same += ("payment_method", "purchase_order", "lines", "net", "tax", "total")
    assert {name: getattr(found, name) for name in same} == {name: getattr(of, name) for name in same}
    laws_hold(shop)


def test_nothing_is_edited_and_the_log_says_so(shop: Shop) -> None:
    """Rules 6.4 and 4.3: the invoice's rows stand, units and carry-over are not touched."""
    july(shop)
    before = rows(shop, *LEDGER)
    give_back(shop, FIRST, "2:1", "1=0.50")
    assert rows(shop, *LEDGER) == before
    (said,) = logged(shop, "credit_note")
    assert said.pop("by")
    assert said == {
        "number": "INV-CN-2026-000001",
        "invoice": FIRST,
        "issued_at": "2026-08-10T00:00:00Z",
        "reason": "wrong buyer",
        "lines": [
            {"invoice_line": 1, "net": "0.50"},
            {"invoice_line": 2, "net": "2.40", "units": 1, "unit_price": "2.4"},
        ],
        "net": "2.90",
        "tax": "0.58",
        "total": "3.48",
        "currency": "EUR",
        "units": "unchanged",
    }


def test_parts_sum_to_the_invoice(shop: Shop) -> None:
    """Rule 6.4."""
    july(shop)
    done = [give_back(shop, FIRST, "1=0.33"), give_back(shop, FIRST, "2:2", "1=0.01"), give_back(shop)]
    assert [one.number for one in done] == [f"INV-CN-2026-{n:06d}" for n in (1, 2, 3)]
    assert [str(one.net_left) for one in done] == ["9.17", "4.36", "0.00"]
    assert [str(sum((getattr(one, name) for one in done), Decimal(0))) for name in ("net", "tax", "total")] == [
        "9.50",
        "1.90",
        "11.40",
    ]
    last = note(shop, done[-1].number)
    assert [(line.line_no, line.api, line.charged_units, str(line.net), line.by_amount) for line in last.lines] == [
        (1, "render", 1, "1.96", True),
        (2, "translate", 1, "2.40", False),
    ]
    assert read_credit_notes(shop.home, [done[2].number, done[0].number]) == [last, note(shop, done[0].number)]
    laws_hold(shop)


def test_more_than_is_left_is_refused_and_nothing_is_issued(shop: Shop) -> None:
    july(shop)
    give_back(shop, FIRST, "1:1")
    before = rows(shop, credit_notes, credit_note_lines, log)
    with pytest.raises(DataRefused, match=r"given back so far by INV-CN-2026-000001") as refusal:
        give_back(shop, FIRST, "1:2", "2=7.21", "9")
    assert [str(finding) for finding in refusal.value.findings] == [
        f"{FIRST}, line 1: 1:2: 1 units of it are left",
        f"{FIRST}, line 2: 2=7.21: 7.20 of it is left",
        f"{FIRST}, line 9: 9: there is no such line",
    ]
    assert rows(shop, credit_notes, credit_note_lines, log) == before
    assert give_back(shop).number == "INV-CN-2026-000002", "its number was not lost"


def test_whole_twice_is_refused_and_names_what_gave_it_back(shop: Shop) -> None:
    """Rule 6.4: the same command again finds nothing left. A part again is a second credit note."""
    july(shop)
    give_back(shop, FIRST, "2:1")
    give_back(shop, FIRST, "2:1")
    give_back(shop)
    with pytest.raises(
        DataRefused, match=r"given back so far by INV-CN-2026-000001, INV-CN-2026-000002, INV-CN-2026-000003"
    ):
        give_back(shop)
    assert len(shop.export()["credit_notes"]) == 3


def test_only_invoices_are_given_back(shop: Shop) -> None:
    july(shop)
    given = give_back(shop).number
    for number in ("INV-2026-000003", given, ""):
        with pytest.raises(NotFound, match="No invoice"):
            give_back(shop, number)
    with pytest.raises(NotFound, match=f"No credit note {FIRST}"):
        read_credit_notes(shop.home, [given, FIRST])


def test_a_reason_is_asked_for(shop: Shop) -> None:
    """Rule 6.4; it is printed, so it has no control characters."""
    july(shop)
    for reason in ("", " ", "\n\t", "a\0b", "a\x1bb", "\ud800"):
        with pytest.raises(DataRefused, match="says why"):
            give_back(shop, reason=reason)
    assert note(shop, give_back(shop, reason="  dit\nis 誤り  ").number).reason == "dit is 誤り"


def test_nothing_is_given_back_before_anything_is_known(shop: Shop) -> None:
    with pytest.raises(NotFound, match="No invoice"):
        give_back(shop)


# --- what was known when ---------------------------------------------------------------------------------------------


def test_parties_and_tax_are_those_of_the_invoice_not_todays(shop: Shop) -> None:
    """Rules 6.2 and 6.4: the rate is that of the invoice's tax date, whatever has come since."""
    july(shop)
    customers = [REFERENCE["customers"][0].replace("Buyer One", "Another Name"), REFERENCE["customers"][1]]
    shop.load(customers=customers, tax_rates=["FR,2000-01-01,20", "FR,2026-07-01,25", "DE,2000-01-01,19"])
    done = give_back(shop)
    assert done.tax == Decimal("1.90")
    assert note(shop, done.number).customer.legal_name == "Buyer One"


def test_reverse_charge_gives_no_tax_back(shop: Shop) -> None:
    """Rule 6.2."""
    july(shop)
    done = give_back(shop, SECOND)
    assert (done.tax, done.total) == (0, Decimal("7.20"))
    assert note(shop, done.number).tax_treatment.category is TaxCategory.REVERSE_CHARGE


def seller(**changed: str) -> list[str]:
    """The seller's row, with the optional columns at its end."""
    names = [column.name for column in TABLES["seller"].columns]
    cells = dict(zip(names, REFERENCE["seller"][0].split(","), strict=False)) | changed
    return [",".join(cells.get(name, "") for name in names)]


def test_the_series_is_the_one_that_the_seller_names_now(shop: Shop) -> None:
    """Rule 6.4: of its own, by the data known at its issue."""
    july(shop)
    give_back(shop, FIRST, "1:1")
    shop.load(seller=seller(credit_note_prefix="AV"))
    assert [give_back(shop, FIRST, "2:1").number for _ in range(2)] == ["AV-2026-000001", "AV-2026-000002"]
    shop.load(seller=seller(invoice_prefix="FAC"))
    assert give_back(shop, FIRST).number == "FAC-CN-2026-000001"


def test_a_series_of_invoices_numbers_no_credit_notes(shop: Shop) -> None:
    """Rule 6.4: "in a series of its own"."""
    july(shop)
    shop.load(seller=seller(credit_note_prefix="INV", invoice_prefix="FAC"))
    with pytest.raises(DataRefused, match="'INV' numbers invoices"):
        give_back(shop)
    assert rows(shop, credit_notes) == [[]]


def test_a_series_of_credit_notes_numbers_no_invoices(shop: Shop) -> None:
    """Rule 6.4: the other way round."""
    july(shop)
    give_back(shop)
    shop.load(seller=seller(invoice_prefix="INV-CN", credit_note_prefix="CN"))
    with pytest.raises(DataRefused, match="'INV-CN' numbers credit notes"):
        issue_anew(shop)


class LoadsMeanwhile(dict[int, Reference]):
    """What a home remembers of loads; the first time that it is asked for ``awaited``, another load arrives."""

    def __init__(self, shop: Shop, awaited: int) -> None:
        super().__init__()
        self.shop, self.awaited = shop, awaited

    def __contains__(self, load_no: object) -> bool:
        if load_no == self.awaited:
            self.awaited = 0
            self.shop.load(seller=seller(credit_note_prefix="NEW"))
        return super().__contains__(load_no)


def test_a_load_that_comes_in_between_counts(shop: Shop) -> None:
    """What is known at the issue is what the transaction finds, not what was read before it."""
    july(shop)
    shop.load(seller=seller(credit_note_prefix="OLD"))
    home = replace(shop.home, _references=LoadsMeanwhile(shop, awaited=2))
    assert credit(home, FIRST, reason="r", as_of=instant("08-10")).number == "NEW-2026-000001"


# --- when ------------------------------------------------------------------------------------------------------------


def test_the_issue_instant_never_goes_back(shop: Shop) -> None:
    """Rule 6.3: not before the last close, credit note or corrected invoice."""
    july(shop)
    with pytest.raises(DataRefused, match=r"before 2026-08-02T00:00:00Z.*never goes back \(rule 6.3\)"):
        give_back(shop, at="2026-08-01T23:59:59.999999Z")
    give_back(shop, at="08-05")
    with pytest.raises(DataRefused, match="before 2026-08-05"):
        give_back(shop, SECOND, at="08-04")
    issue_anew(shop, at="08-06")
    with pytest.raises(DataRefused, match="before 2026-08-06"):
        give_back(shop, SECOND, at="08-05")
    assert give_back(shop, SECOND, at="08-06").number == "INV-CN-2026-000002", "the same instant is not before it"


def test_the_issue_instant_is_now_where_none_is_given(shop: Shop) -> None:
    july(shop)
    before = datetime.now(UTC)
    found = note(shop, credit(shop.home, FIRST, reason="wrong").number)
    assert before <= found.issued_at <= datetime.now(UTC)
    assert found.issue_date == issue_date(found.issued_at, "Europe/Paris")


def test_the_issue_date_and_its_year_are_those_of_the_sellers_zone(shop: Shop) -> None:
    """Rule 6.3: half past eleven in the evening of 31 December UTC is 1 January in Paris."""
    july(shop)
    assert give_back(shop, FIRST, at="2026-12-31T22:59:59Z").number == "INV-CN-2026-000001"
    given = give_back(shop, SECOND, at="2026-12-31T23:30:00Z")
    assert given.number == "INV-CN-2027-000001"
    assert note(shop, given.number).issue_date.isoformat() == "2027-01-01"


def lock_july_and_august(shop: Shop) -> None:
    with shop.home.database.exclusive("books") as connection:
        last = day_number(instant("08-31").date())
        period_locks.write_lock(connection, last, instant("09-01"), "filed")


def test_a_locked_month_refuses(shop: Shop) -> None:
    july(shop)
    give_back(shop, at="08-05")
    lock_july_and_august(shop)
    for attempt in (give_back, issue_anew):
        with pytest.raises(DataRefused, match="2026-08 is locked"):
            attempt(shop, SECOND if attempt is give_back else FIRST, at="2026-08-31T21:59:59Z")
    assert give_back(shop, SECOND, at="2026-08-31T22:00:00Z").number == "INV-CN-2026-000002", "1 September in Paris"


# --- corrected invoices ----------------------------------------------------------------------------------------------


def test_what_was_given_back_is_issued_anew_with_what_is_known_now(shop: Shop) -> None:
    """Rule 6.4: the units and prices of the ledger; names, addresses, VAT id and tax as they should have been."""
    july(shop)
    give_back(shop)
    before = rows(shop, carry, draws)
    shop.load(
        customers=["c1,The Right Buyer,9 road,,9000,Village,,DE,,ap@example.com,de-DE", REFERENCE["customers"][1]],
        tax_rates=["FR,2000-01-01,20", "DE,2000-01-01,19", "DE,2026-08-01,21"],
        unit_prices=["render,EUR,2020-01-01T00:00:00Z,99", "translate,EUR,2020-01-01T00:00:00Z,99"],
    )
    done = issue_anew(shop)
    assert (done.number, done.replaces) == ("INV-2026-000003", FIRST)
    old, new = invoice(shop, FIRST), invoice(shop, done.number)
    assert new.preceding == InvoiceReference(number=FIRST, issue_date=old.issue_date)
    assert (new.type, new.cycle, new.team_id, new.subscription_id) == (
        old.type,
        old.cycle,
        old.team_id,
        old.subscription_id,
    )
    assert new.lines == old.lines
    assert (new.customer.legal_name, new.customer.country, old.customer.legal_name) == (
        "The Right Buyer",
        "DE",
        "Buyer One",
    )
    assert new.tax_treatment.percent == 19, "in force on the period's last day, 31 July (rule 6.2)"
    assert (str(new.net), str(new.tax), str(new.total)) == ("9.50", "1.81", "11.31")
    assert new.issue_date.isoformat() == "2026-08-11"
    assert rows(shop, carry, draws) == before
    laws_hold(shop)
    (said,) = logged(shop, "reissue")
    assert said.pop("by")
    assert said | {"pinned_load": 2, "revision": 2, "replaces": FIRST, "units": "unchanged"} == said


def test_it_may_be_given_back_and_issued_anew_again(shop: Shop) -> None:
    """Rule 6.4: one of a cycle and subscription stands, however often."""
    july(shop)
    numbers = [FIRST]
    for day in ("08-10", "08-11", "08-12"):
        give_back(shop, numbers[-1], at=day)
        numbers.append(issue_anew(shop, numbers[-1], at=day).number)
        laws_hold(shop)
    assert numbers == [FIRST, *(f"INV-2026-{n:06d}" for n in (3, 4, 5))]
    with shop.home.database.read() as connection:
        mine = select(invoices.c.number, invoices.c.revision, invoices.c.replaces, invoices.c.close_no)
        found = connection.execute(mine.where(invoices.c.team_id == "t1").order_by(invoices.c.revision)).all()
    assert [tuple(row) for row in found] == [
        (number, revision, before, 1)
        for revision, (number, before) in enumerate(zip(numbers, ["", *numbers], strict=False), 1)
    ]
    assert shop.close("08-13").invoices == ()


def test_what_stands_in_part_is_not_issued_anew(shop: Shop) -> None:
    """Rule 6.4: first given back whole; what is left is named."""
    july(shop)
    give_back(shop, FIRST, "1", "2=7.19")
    with pytest.raises(DataRefused, match="still stands in part") as refusal:
        issue_anew(shop)
    assert [str(finding) for finding in refusal.value.findings] == [f"{FIRST}, line 2: 0.01 EUR of it is left"]
    with pytest.raises(DataRefused, match="still stands in part"):
        issue_anew(shop, SECOND)
    assert len(shop.export()["invoices"]) == 2


def test_issued_anew_twice_is_refused_and_names_the_one_that_was(shop: Shop) -> None:
    july(shop)
    give_back(shop)
    issue_anew(shop)
    with pytest.raises(DataRefused, match=f"INV-2026-000003 has taken the place of {FIRST}"):
        issue_anew(shop)
    with pytest.raises(NotFound, match="No invoice"):
        issue_anew(shop, "INV-2026-000009")


def test_what_could_not_be_issued_legally_is_refused_with_what_is_missing(shop: Shop) -> None:
    """Rule 3.8's reasons, at this invoice."""
    july(shop)
    give_back(shop)
    shop.load(seller=[REFERENCE["seller"][0].replace("FR40303265045", "")])
    with pytest.raises(DataRefused, match=r"seller.vat_id \(BT-31\)"):
        issue_anew(shop)
    shop.load(customers=[REFERENCE["customers"][0].replace("FR,FR83404833048", "ES,"), REFERENCE["customers"][1]])
    with pytest.raises(DataRefused, match="no_tax_rate"):
        issue_anew(shop)
    shop.load(customers=[REFERENCE["customers"][0].replace("1 street", ""), REFERENCE["customers"][1]])
    configure(shop.home, "production", 1)
    with pytest.raises(DataRefused, match=r"customers.address_line1 \(BT-50\)"):
        issue_anew(shop)
    shop.load()
    assert issue_anew(shop).number == "INV-2026-000003", "no number was lost"


def test_what_is_not_known_any_more_is_named(shop: Shop) -> None:
    """A document could not name it."""
    july(shop)
    give_back(shop, SECOND)
    with shop.home.database.write() as connection:  # what no load may do while a cycle is open
        connection.execute(text("update ref_teams set known_to = 2 where team_id = 't2'"))
        connection.execute(text("update ref_subscriptions set known_to = 2 where team_id = 't2'"))
        connection.execute(text("update ref_apis set known_to = 2 where api in ('translate', 'browse')"))
        connection.execute(
            text("insert into reference_loads select 2, loaded_at_us, source, files, 0, 0, 3 from reference_loads")
        )
    with pytest.raises(DataRefused, match="not known any more") as refusal:
        issue_anew(shop, SECOND)
    assert [str(finding) for finding in refusal.value.findings] == [
        "teams, column team_id: t2 is missing",
        "subscriptions, column subscription_id: payg2 is missing",
        "apis, column api: browse is missing",
        "apis, column api: translate is missing",
    ]


def test_nothing_is_issued_by_hand_while_a_close_has_not_issued(shop: Shop) -> None:
    """Rule 6.3: its invoices will have its own, earlier instant, and numbers follow time."""
    july(shop)
    give_back(shop)
    shop.ingest("e9,2026-08-05T00:00:00Z,a1,translate,1,,", now="09-02")
    close_no, _ = open_close(shop.home, instant("09-02"))
    with pytest.raises(DataRefused, match="Close 2 has not issued"):
        issue_anew(shop, at="09-03")
    for group in pending_shards(shop.home, close_no):
        rate_shards(shop.home, close_no, group)
    issue(shop.home, close_no)
    assert issue_anew(shop, at="09-03").number == "INV-2026-000004"
    laws_hold(shop)


def test_an_invoice_of_nothing_is_issued_anew_without_being_given_back(shop: Shop) -> None:
    """Rules 5.4 and 6.5: nothing of it can be given back."""
    shop.load(unit_prices=[line.rsplit(",", 1)[0] + ",0" for line in REFERENCE["unit_prices"]])
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,translate,3,,", now="08-02")
    shop.close("08-02")
    with pytest.raises(DataRefused, match="nothing is left to give back"):
        give_back(shop)
    assert issue_anew(shop).number == SECOND
    laws_hold(shop)


# --- documents, outputs, laws ----------------------------------------------------------------------------------------


def test_what_has_no_document_is_told_in_order(shop: Shop) -> None:
    july(shop)
    given = [give_back(shop, FIRST, "1:1").number, give_back(shop, SECOND).number]
    assert unrendered_credit_notes(shop.home) == given
    with shop.home.database.write() as connection:
        connection.execute(
            text("insert into documents values (:number, 'pdf', '', 0, '', '', '')"), {"number": given[0]}
        )
    assert unrendered_credit_notes(shop.home) == given[1:]
    assert unrendered_credit_notes(shop.home, "xml") == given


def test_credit_notes_are_outputs(shop: Shop) -> None:
    july(shop)
    give_back(shop, FIRST, "2:1", "1=0.50", reason="a, b")
    seen = shop.export()
    head = ("INV-CN-2026-000001", FIRST, "2026-08-10", "EUR", "2.90", "S", "20", "0.58", "3.48", "a, b")
    assert seen["credit_notes"] == [head]
    assert seen["credit_note_lines"] == [
        ("INV-CN-2026-000001", "1", "1", "render", "amount", "1", "0.5", "0.50"),
        ("INV-CN-2026-000001", "2", "2", "translate", "units", "1", "2.4", "2.40"),
    ]


def test_the_tax_in_the_sellers_currency_sums_to_that_of_the_invoice(shop: Shop) -> None:
    """Rule 6.4 and BT-111: at the rate that the invoice was issued with."""
    rates = ["EUR,2026-07-01,0.83"]
    shop.load(seller=seller(vat_currency="USD"), exchange_rates=rates)
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,translate,3,,", now="08-02")
    shop.close("08-02")
    shop.load(seller=seller(vat_currency="USD"), exchange_rates=["EUR,2026-07-01,2"])
    given = [give_back(shop, FIRST, "1=0.01"), give_back(shop, FIRST, "1:1"), give_back(shop)]
    of = invoice(shop, FIRST)
    assert of.vat_total == Decimal("1.73"), "1.44 at 0.83"
    parts = [note(shop, one.number).vat_total for one in given]
    assert [str(part) for part in parts] == ["0.00", "0.58", "1.15"]
    assert sum(part for part in parts if part is not None) == of.vat_total


def test_a_broken_law_writes_nothing(shop: Shop) -> None:
    """Style, habit 7: conservation is checked before a write."""
    july(shop)
    with shop.home.database.write() as connection:
        connection.execute(text("update invoices set tax_minor = 189, total_minor = 1139 where tax_minor = 190"))
    with pytest.raises(ConservationBroken, match="more is given back than was invoiced"):
        give_back(shop)
    assert rows(shop, credit_notes) == [[]]


# --- at once ---------------------------------------------------------------------------------------------------------


def at_once(count: int, work: object, *arguments: object) -> list[object]:
    """What each of so many threads gave, or why it was refused."""
    found: list[object] = []
    start = Event()

    def one() -> None:
        start.wait()
        try:
            found.append(work(*arguments))  # type: ignore[operator]
        except DataRefused as refusal:
            found.append(refusal)

    threads = [Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    start.set()
    for thread in threads:
        thread.join()
    return found


def test_whole_by_sixteen_at_once_is_given_back_once(shop: Shop) -> None:
    july(shop)
    found = at_once(16, lambda: credit(shop.home, FIRST, reason="wrong").number)
    assert [one for one in found if isinstance(one, str)] == ["INV-CN-2026-000001"]
    assert sum("INV-CN-2026-000001" in str(one) for one in found) == 16, "the others name it"
    laws_hold(shop)


def test_parts_by_sixteen_at_once_are_gapless_and_never_more_than_there_is(shop: Shop) -> None:
    """Rules 6.3 and 6.4: 9.50 is nine times 1.00, and a half; each line is given back once."""
    july(shop)
    found = at_once(16, lambda: credit(shop.home, FIRST, reason="r", wanted=[parse_wanted("2=0.60")]).number)
    given = sorted(one for one in found if isinstance(one, str))
    assert given == [f"INV-CN-2026-{n:06d}" for n in range(1, 13)], "twelve times 0.60 is 7.20"
    instants = [found.issued_at for found in read_credit_notes(shop.home, given)]
    assert instants == sorted(instants)
    laws_hold(shop)


def test_issued_anew_by_eight_at_once_is_issued_once(shop: Shop) -> None:
    july(shop)
    give_back(shop)
    found = at_once(8, lambda: reissue(shop.home, FIRST).number)
    assert [one for one in found if isinstance(one, str)] == ["INV-2026-000003"]
    laws_hold(shop)


# --- the command -----------------------------------------------------------------------------------------------------


def command(shop: Shop, *arguments: str, ends: int = 0) -> str:
    """What ``billing invoices ...`` says; refusals are raised."""
    url = [] if shop.home.database.is_sqlite else ["--database", shop.home.database.url]
    done = CliRunner().invoke(app, ["--home", str(shop.home.folder), *url, "invoices", *arguments])
    if isinstance(done.exception, (DataRefused, UsageError)):
        raise done.exception
    assert done.exit_code == ends, done.output
    return done.output


def test_the_commands_say_what_was_issued(shop: Shop) -> None:
    july(shop)
    why, at = ("--reason", "wrong buyer"), ("--as-of", "2026-08-10T00:00:00Z")
    assert command(shop, "credit", FIRST, *why, *at, "--line", "1:1", "--line", "2=1") == (
        f"INV-CN-2026-000001 gives back 2.15 net, 0.43 tax, 2.58 EUR in all of {FIRST}.\n  7.35 EUR net is left.\n"
    )
    assert command(shop, "credit", FIRST, *why).endswith("  Nothing of it is left.\n")
    with pytest.raises(DataRefused, match="INV-CN-2026-000002"):
        command(shop, "credit", FIRST, *why)
    assert command(shop, "reissue", FIRST) == (
        f"INV-2026-000003 takes the place of {FIRST}: 9.50 net, 1.90 tax, 11.40 EUR in all.\n"
    )


def test_the_command_takes_no_future_no_nonsense_and_no_missing_reason(shop: Shop) -> None:
    """Rule 6.3: "outside simulations it is never in the future"."""
    july(shop)
    for arguments in (("credit", FIRST, "--reason", "r"), ("reissue", FIRST)):
        with pytest.raises(UsageError, match="in the future"):
            command(shop, *arguments, "--as-of", "2999-01-01T00:00:00Z")
    assert "LINE=AMOUNT" in command(shop, "credit", FIRST, "--reason", "r", "--line", "1:x", ends=2)
    assert "--reason" in command(shop, "credit", FIRST, ends=2)
    assert rows(shop, credit_notes) == [[]]
