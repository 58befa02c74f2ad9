"""What the read models say of the small world: figures as the books have them, for whom they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal as D
from random import Random

import pytest
from sqlalchemy import BigInteger, Connection, column, insert, literal, select

from billing.core.collecting import InvoiceState, Standing
from billing.core.errors import BillingError, NotFound, UsageError
from billing.core.instants import day_number
from billing.core.model import Kind
from billing.core.payments import ChargeState, EventKind, Money
from billing.store.tables import CodePointText, alerts, invoices, payment_events, standing_refreshes
from billing.web.reading.finance import finance_month
from billing.web.reading.invoice import document, events_of_line, file_name, invoice, why_no_xml
from billing.web.reading.operations import operations
from billing.web.reading.payments import invoice_rows, money_by_invoice, state_in_sql, today
from billing.web.reading.team import team
from billing.web.reading.teams import Sort, TeamsPage, teams
from billing.web.reading.usage import usage
from billing.web.viewer import NotForYou, Viewer

from .conftest import BUYER, DEVELOPER, NOBODY, OPERATOR, OTHER, member
from .small_books import FIRST, NOTE, NOW, NOW_US, ODD, PDF, SECOND, Books

Reads = Callable[[Connection, Viewer], object]


DUE = date(2026, 9, 1)
MONEY = ("received", "refunded", "disputed", "lost", "written_off")


def standing(total: int, credited: int, money: Money, charge: ChargeState | None) -> Standing:
    return Standing(total_minor=total, credited_minor=credited, money=money, charge=charge, due=DUE)


def names(page: TeamsPage) -> list[str]:
    return [row.team_id for row in page.teams]


def look(books: Books) -> AbstractContextManager[Connection]:
    return books.home.database.read()


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        (Sort.NAME, [ODD, "t1", "t2"]),
        (Sort.LEAST_LEFT, ["t1", "t2", ODD]),
        (Sort.ENDS, ["t1", ODD, "t2"]),
        (Sort.SPEND, ["t2", "t1", ODD]),
        (Sort.UNFUNDED, ["t2", "t1", ODD]),
        (Sort.ALERTS, ["t2", "t1", ODD]),
    ],
)
def test_teams_are_sorted_by_what_matters_and_paged_by_key(books: Books, sort: Sort, order: list[str]) -> None:
    """What has no figure comes last, equals go by id; pages of one give the same as one page."""
    with look(books) as connection:
        assert names(teams(connection, OPERATOR, sort=sort)) == order
        key, paged = "", []
        for _ in order:
            page = teams(connection, OPERATOR, sort=sort, key=key, limit=1)
            assert page.total == 3
            paged += names(page)
            key = page.next_key
        assert (paged, key) == (order, "")


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("TEAM", ["t1", "t2"]),
        ("buyer one", ["t1"]),
        ("STRASSE", []),
        ("STRAßE", [ODD]),
        ("ärger", [ODD]),
        ("SÖHNE", [ODD]),
        ("0%", [ODD]),
        ("%", [ODD]),
        ("_", []),
        ("c2", ["t2"]),
        ("'; drop table", []),
    ],
)
def test_teams_are_found_by_id_name_and_customer_whatever_the_case(books: Books, search: str, found: list[str]) -> None:
    with look(books) as connection:
        page = teams(connection, OPERATOR, search=search)
    assert (names(page), page.total) == (found, len(found))


def test_members_find_their_teams_only(books: Books) -> None:
    with look(books) as connection:
        assert names(teams(connection, BUYER)) == ["t1"]
        assert names(teams(connection, BUYER, search="two")) == []
        cleo = teams(connection, member(books, "cleo"), sort=Sort.SPEND)
        with pytest.raises(NotForYou):
            teams(connection, NOBODY)
    assert names(cleo) == ["t1", "t2"], "a figure that may not be seen says nothing by its place"
    one, two = cleo.teams
    assert (one.shows_money, one.spend, one.least_left, one.alerts) == (True, D("2.30"), D("0.05"), 1)
    assert (two.shows_money, two.spend, two.currency, two.unfunded_units, two.alerts) == (False, None, "", None, None)
    assert (two.is_parked, two.first_end, two.as_of) == (None, None, None)


@pytest.mark.parametrize("key", ["x", "bm9uZQ", "W10", "WyJuYW1lIiwxLDJd", "A" * 9000, "WyJuYW1lIiwiXHUwMDAwIiwiYSJd"])
def test_what_is_no_key_is_refused(books: Books, key: str) -> None:
    with look(books) as connection, pytest.raises(UsageError, match="no key of a page"):
        teams(connection, OPERATOR, key=key)


def test_a_team_says_what_is_left_and_when_it_ends(books: Books) -> None:
    """Rule 8.1: 140 of 150, refreshes in 12 days; 3 of 5 seats, 5 purchased, ends in 30 days."""
    with look(books) as connection:
        page = team(connection, BUYER, "t1", at=NOW)
    free, seats = page.cards
    assert (free.source, free.api, free.available, free.granted, free.total_purchased) == (
        Kind.FREE,
        "render",
        140,
        150,
        None,
    )
    assert (free.ends_in_days, free.refreshes_in_days, free.share_left) == (None, 12, D("0.933333"))
    assert (seats.available, seats.granted, seats.total_purchased, seats.usage_unit) == (3, 5, 5, "seat")
    assert (seats.ends_in_days, seats.refreshes_in_days) == (29, None)
    assert [(b.grant_id, b.available, b.ends_in_days) for b in seats.expired] == [("old", 5, None)]
    assert [(b.grant_id, b.granted) for b in seats.coming] == [("next", 7)], "what has not begun has not expired"


def test_a_team_s_running_cycle_and_its_troubles(books: Books) -> None:
    with look(books) as connection:
        page, other = team(connection, OPERATOR, "t1", at=NOW), team(connection, OPERATOR, "t2", at=NOW)
        odd = team(connection, OPERATOR, ODD, at=NOW)
    cycle = page.cycle
    assert cycle is not None
    assert (cycle.spend, cycle.projected, cycle.ends_in_days) == (D("2.30"), D("4.60"), 20)
    assert (cycle.period_first_day, cycle.period_last_day) == (date(2026, 8, 1), date(2026, 8, 31))
    [render] = cycle.apis
    assert (render.opening, render.carry, render.unit_size, render.progress) == (5, 10, 20, D("0.5"))
    assert [(u.source, u.units) for u in render.units] == [("free", 1)]
    assert [(a.kind, a.ended_at is None, a.detail["left"]) for a in page.alerts] == [
        ("balance_low", True, "5"),
        ("balance_low", False, "5"),
    ]
    assert page.hub is not None
    assert [(app.app_id, app.name) for app in page.hub.apps] == [("a1", "App One")]
    assert [(q.reason, q.app_id, q.records) for q in page.quarantine] == [("unknown_api", "a1", 1)]
    assert ("dev", "developer") in {(m.user, m.role) for m in page.members}
    assert (page.parked, other.parked and other.parked.reason) == (None, "no_unit_size")
    assert (odd.cycle, odd.cards, odd.hub, odd.freshness.as_of) == (None, (), None, None)


def test_a_balance_that_is_low_is_told_and_counted_once(books: Books) -> None:
    """Below several shares: with the smallest. Another balance, and another kind of alert, are others."""
    told = {
        "low/20%/flex/g1": 20,
        "low/5%/flex/g1": 5,
        "low/20%/flex/g2": 20,
        "low/5%/token_flex/g1": 5,
        "runs_out/flex/g1": None,
    }
    row = {"team_id": "t1", "subject_id": "g", "raised_at_us": NOW_US, "ended_at_us": None}
    rows = [
        row | {"alert_key": key, "kind": key.split("/")[0], "detail": json.dumps({"percent": share} if share else {})}
        for key, share in told.items()
    ]
    with look(books) as connection:
        nested = connection.begin_nested()
        connection.execute(insert(alerts), rows)
        shown = [one.alert_key for one in team(connection, OPERATOR, "t1", at=NOW).alerts if one.ended_at is None]
        listed = {row.team_id: row.alerts for row in teams(connection, OPERATOR).teams}
        first = teams(connection, OPERATOR, sort=Sort.ALERTS).teams[0]
        kinds = {one.name: one.count for one in operations(connection, OPERATOR).alerts}
        nested.rollback()
    assert sorted(shown) == ["low 1", "low/20%/flex/g2", "low/5%/flex/g1", "low/5%/token_flex/g1", "runs_out/flex/g1"]
    assert (listed["t1"], listed["t2"], first.team_id) == (5, 2, "t1")
    assert kinds == {"balance_low": 3, "low": 3, "runs_out": 1}


def test_an_invoice_s_state_is_what_its_money_came_to(books: Books) -> None:
    with look(books) as connection:
        [first] = team(connection, OPERATOR, "t1", at=NOW).invoices
        [second] = team(connection, OPERATOR, "t2", at=NOW).invoices
    assert (first.number, first.state, first.total, first.collected) == (FIRST, "declined", D("2.76"), D("1.00"))
    assert (first.outstanding, first.documents) == (D("1.76"), ("pdf",))
    assert (first.issue_date, first.due_date) == (date(2026, 8, 2), date(2026, 8, 2)), "a charge is due at once"
    assert (second.issue_date, second.due_date) == (date(2026, 8, 2), date(2026, 9, 1)), "a transfer after 30 days"
    assert (second.number, second.state, second.credited, second.outstanding) == (
        SECOND,
        "credited",
        second.total,
        D("0.00"),
    )


@pytest.mark.parametrize(
    ("total", "credited", "sums", "charge", "state"),
    [
        (0, 0, Money(), None, InvoiceState.NOTHING_DUE),
        (100, 0, Money(), None, InvoiceState.OPEN),
        (100, 0, Money(), ChargeState.PROCESSING, InvoiceState.PROCESSING),
        (100, 0, Money(), ChargeState.PAID, InvoiceState.OPEN),
        (100, 0, Money(received=40), ChargeState.CANCELLED, InvoiceState.PARTLY_PAID),
        (100, 0, Money(received=100), ChargeState.PAID, InvoiceState.PAID),
        (100, 40, Money(received=60), None, InvoiceState.PAID),
        (100, 100, Money(), ChargeState.OPEN, InvoiceState.CREDITED),
        (100, 100, Money(received=100, refunded=100), ChargeState.PAID, InvoiceState.CREDITED),
        (100, 100, Money(received=100), ChargeState.PAID, InvoiceState.OVERPAID),
        (100, 0, Money(received=100, disputed=100), ChargeState.PAID, InvoiceState.DISPUTED),
        (100, 0, Money(written_off=100), ChargeState.UNCOLLECTED, InvoiceState.WRITTEN_OFF),
        (100, 0, Money(), ChargeState.UNCOLLECTED, InvoiceState.UNCOLLECTED),
    ],
)
def test_states_of_money(
    total: int, credited: int, sums: Money, charge: ChargeState | None, state: InvoiceState
) -> None:
    """One word for the pages and for ``billing payments``: ``Standing.state``."""
    assert standing(total, credited, sums, charge).state(DUE) is state


def test_the_database_finds_the_same_word(books: Books) -> None:
    """``state_in_sql`` is ``Standing.state``: on each engine, for every charge and amounts around all that is compared,
    before and after the day on which it is due.
    """
    random = Random(8)
    charges = [None, *ChargeState]
    cases = [
        (total, credited, Money(**dict(zip(MONEY, amounts, strict=True))), charges[number % len(charges)], late)
        for number, (total, credited, *amounts) in enumerate(
            tuple(random.choice((0, 0, 0, 0, 1, 50, 99, 100)) for _ in range(2 + len(MONEY))) for _ in range(1800)
        )
        for late in (False, True)
    ]
    names = ("total", "credited", "held", "disputed", "lost", "written_off", "due")
    columns = {name: column(name, BigInteger) for name in names} | {"charge": column("charge", CodePointText)}
    word = state_in_sql(columns, DUE)
    told = []
    with look(books) as connection:
        for total, credited, money, charge, late in cases:
            amounts = (total, credited, money.held, money.disputed, money.lost, money.written_off)
            row = select(
                *(
                    literal(value, BigInteger).label(name)
                    for name, value in zip(names, (*amounts, day_number(DUE) - late), strict=True)
                ),
                literal(charge.value if charge else None, CodePointText).label("charge"),
            ).subquery()
            told.append(connection.execute(select(word).select_from(row)).scalar_one())
    assert told == [
        standing(total, credited, money, charge).state(DUE + timedelta(days=late))
        for total, credited, money, charge, late in cases
    ]
    assert set(told) == set(InvoiceState)


@pytest.mark.parametrize(
    ("refreshed", "told"),
    [((5, 1), (5, 1)), ((0, 0), (0, 1)), ((-5, 0), (0, 1)), ((5, 0), (5, 1)), ((-5, 2), (0, 2))],
)
def test_a_list_is_as_fresh_as_the_last_refresh_or_its_oldest_team(
    books: Books, refreshed: tuple[int, int], told: tuple[int, int]
) -> None:
    """Instants in microseconds from the standings' own, and batches, whichever of the two is later."""
    with look(books) as connection:
        nested = connection.begin_nested()
        told_of = {"load_no": 1, "rating_no": 1, "paces_day": 1}
        row = {"refresh_no": 1, "as_of_us": NOW_US + refreshed[0], "through_batch": refreshed[1]} | told_of
        connection.execute(insert(standing_refreshes).values(**row))
        found = teams(connection, OPERATOR).freshness
        nested.rollback()
    assert (found.as_of, found.through_batch) == (NOW + timedelta(microseconds=told[0]), told[1])


def test_sums_of_money_are_the_same_in_the_database(books: Books) -> None:
    """Whatever happened to an invoice: ``money_by_invoice`` adds up as ``Money.of`` does."""
    random = Random(9)
    with look(books) as connection:
        events = [(random.choice((FIRST, SECOND)), random.choice(list(EventKind)), number) for number in range(40)]
        nested = connection.begin_nested()
        for number, kind, minor in events:
            row = {"number": number, "kind": kind.value, "amount_minor": minor, "gateway": "bank"}
            connection.execute(
                insert(payment_events).values(**row, reference=f"r{minor}", at_us=NOW_US, recorded_at_us=NOW_US)
            )
        found = connection.execute(select(money_by_invoice(invoices.c.number != "", today(connection, NOW)))).all()
        kept = {row.number: row for row in invoice_rows(connection, select(invoices), NOW)}
        nested.rollback()
    for row in found:
        shown = kept[row.number]
        minors = [int(amount.scaleb(2)) for amount in (shown.credited, shown.collected, shown.written_off)]
        assert [row.credited, row.held, row.written_off] == minors
        assert (row.outstanding, row.state) == (int(shown.outstanding.scaleb(2)), shown.state)
    assert len(found) == 2


def test_every_state_of_a_charge_has_its_word() -> None:
    for charge in ChargeState:
        assert standing(1, 0, Money(), charge).state(DUE)


def test_usage_is_by_utc_day_and_app_for_24_months_at_most(books: Books) -> None:
    """Rule 8.2: actual usage, at most 24 months back."""
    with look(books) as connection:
        page = usage(connection, BUYER, "t1", at=NOW, first_day=date(2026, 7, 5), until_day=date(2026, 8, 4))
        whole = usage(connection, BUYER, "t1", at=NOW, first_day=date(2020, 1, 1), api="render", by_app=True)
        newest = usage(connection, BUYER, "t1", at=NOW)
    render, seats = page.series
    assert (render.api_name, render.app_id, render.quantities[:3]) == ("Rendering", None, (35, 30, 0))
    assert (render.quantities[27:], len(render.quantities)) == ((1, 12, 3), 30)
    assert (seats.usage_unit, seats.total) == ("seat", 4)
    assert (whole.earliest_day, whole.first_day) == (date(2024, 8, 11), date(2024, 8, 11))
    assert [(t.app_id, t.app_name, t.total) for t in whole.totals] == [
        ("a1", "App One", 9 * 21 + 35 + 30 + 6),
        ("a0", "App before", 10),
    ]
    assert (newest.first_day, newest.until_day) == (date(2026, 7, 13), date(2026, 8, 12))
    assert newest.freshness.through_batch == 1


def test_developers_see_what_their_hub_s_apps_used(books: Books) -> None:
    """No seats, which no app uses, and nothing of the hub that the team had before."""
    with look(books) as connection:
        page = usage(connection, DEVELOPER, "t1", at=NOW, first_day=date(2026, 8, 1), by_app=True)
    assert [(t.api, t.app_id, t.total) for t in page.totals] == [("render", "a1", 6)]
    assert page.only_hub


@pytest.mark.parametrize(
    ("first", "until"),
    [(date(2026, 8, 4), date(2026, 8, 4)), (date(2027, 1, 1), None), (None, date(1, 1, 2)), (date(9999, 12, 31), None)],
)
def test_days_that_are_no_interval_are_refused(books: Books, first: date | None, until: date | None) -> None:
    with look(books) as connection, pytest.raises(UsageError, match="no days to show"):
        usage(connection, BUYER, "t1", at=NOW, first_day=first, until_day=until)


def test_an_invoice_can_be_checked_by_hand(books: Books) -> None:
    """Rules 4.4 and 6.6: 0 + 65.5 = 3 x 20 + 5.5; one unit was free, two are invoiced."""
    with look(books) as connection:
        page = invoice(connection, BUYER, FIRST, at=NOW)
        credited = invoice(connection, OPERATOR, SECOND, at=NOW)
        with_problem = invoice(connection, OPERATOR, FIRST, at=NOW)
    [line] = page.lines
    assert (line.api_name, line.charged_units, line.unit_price, line.net) == ("Rendering", 2, D("1.15"), D("2.30"))
    [units] = page.units
    size = units.unit_sizes[0]
    assert units.opening + units.usage == units.charged_units * size + units.closing == D("65.5")
    assert [(u.source, u.units) for u in units.units] == [("free", 1), ("payg", 2)]
    assert {row.api: sum(row.quantities) for row in page.daily} == {"render": D("65.5"), "browse": 7}
    assert [(p.kind, p.amount) for p in page.payments] == [("declined", 0), ("received", 1)]
    assert page.charge is not None and with_problem.charge is not None
    assert (page.charge.state, page.charge.problem) == ("declined", "")
    assert with_problem.charge.problem == "card_declined"
    assert (page.payment_method, credited.payment_method) == (None, None)
    assert (page.origin.close_no, page.origin.pinned_batch, page.customer.legal_name) == (1, 1, "Buyer One")
    [note] = credited.credit_notes
    assert (note.number, note.total, note.reason) == (NOTE, credited.head.total, "a mistake of ours")


def test_a_line_leads_to_records_of_files(books: Books) -> None:
    """Rule 7.3: to the events, and to the source's file and record that they came in."""
    with look(books) as connection:
        whole = events_of_line(books.home, connection, BUYER, FIRST, 1)
        rest = events_of_line(books.home, connection, BUYER, FIRST, 1, offset=1)
        beyond = events_of_line(books.home, connection, BUYER, FIRST, 1, offset=99)
    told = [(e.event_id, e.quantity, e.charged_units, e.carry, e.file, e.record) for e in whole.events]
    assert told == [("e1", D("35.5"), 1, D("15.5"), "july.csv", 3), ("e2", 30, 2, D("5.5"), "july.csv", 2)]
    assert (whole.total, whole.opening, whole.closing, whole.charged_units) == (2, 0, D("5.5"), 3)
    assert ([e.event_id for e in rest.events], rest.total, beyond.events) == (["e2"], 2, ())


def test_the_events_of_a_line_say_what_paid(books: Books) -> None:
    """Rule 5.1: e1 completed the unit that was free, e2 the two of the line, at its price."""
    with look(books) as connection:
        whole = events_of_line(books.home, connection, BUYER, FIRST, 1)
        own = events_of_line(books.home, connection, BUYER, FIRST, 1, own=True)
    told = [[(p.source, p.charged_units, p.unit_price, p.currency, p.of_line) for p in e.paid] for e in whole.events]
    assert told == [[("free", 1, None, "", False)], [("payg", 2, D("1.15"), "EUR", True)]]
    assert [(p.source, p.charged_units) for p in whole.paid] == [("free", 1), ("payg", 2)]
    assert [(s.unit_size, s.since, s.charged_units) for s in whole.sizes] == [(20, None, 3)]
    assert [(p.unit_price, p.currency, p.since) for p in whole.prices] == [(D("1.15"), "EUR", None)]
    assert (whole.own_total, whole.own_first, whole.own) == (1, 1, False)
    assert ([e.place for e in own.events], own.total, own.own) == ([1], 2, True)


def test_an_invoice_without_an_e_invoice_says_why(books: Books) -> None:
    """EN 16931 has amounts of two decimals; nothing is said of what was not rendered yet."""
    with look(books) as connection:
        rendered = invoice(connection, OPERATOR, FIRST, at=NOW)
        other = invoice(connection, OPERATOR, SECOND, at=NOW)
    assert rendered.why_no_xml.startswith("There is no e-invoice (XML): none was asked for, or")
    assert (other.documents, other.why_no_xml) == ((), "")
    dinars = replace(rendered.head, currency="KWD", total=D("10.333"))
    assert why_no_xml(dinars, (), rendered.documents).startswith(
        "There is no e-invoice (XML): an amount in KWD has three decimals here"
    )
    assert "none was asked for" in why_no_xml(replace(dinars, total=D("10.330")), (), rendered.documents)
    xml = replace(rendered.documents[0], media_type="application/xml")
    assert why_no_xml(dinars, (), (xml,)) == ""


def test_a_document_is_the_bytes_that_were_issued(books: Books) -> None:
    with look(books) as connection:
        row, content = document(books.home, connection, BUYER, FIRST, "pdf")
        for number, kind in ((FIRST, "cii"), (SECOND, "pdf"), (NOTE, "pdf"), ("../x", "pdf")):
            with pytest.raises(NotFound):
                document(books.home, connection, OPERATOR, number, kind)
        with pytest.raises(NotForYou):
            document(books.home, connection, BUYER, NOTE, "pdf")
    assert (content, row.file_name, row.media_type) == (PDF, f"{FIRST}.pdf", "application/pdf")


@pytest.mark.parametrize(
    ("number", "kind", "path", "name"),
    [
        ("INV-1", "pdf", "ab/abc.pdf", "INV-1.pdf"),
        ("INV-1", "ubl", "ab/abc.xml", "INV-1.ubl.xml"),
        ('../"a\r\nb', "pdf", "ab/abc.pdf", "__a__b.pdf"),
        ("É/..", "pdf", "ab/abc", "__...pdf"),
    ],
)
def test_names_of_files_are_harmless(number: str, kind: str, path: str, name: str) -> None:
    made = file_name(number, kind, path)
    assert made == name
    assert not set(made) & set('/\\"\r\n;')


def test_a_month_adds_up(books: Books) -> None:
    """total = credited + collected + written off + open - owed to buyers, by currency."""
    with look(books) as connection:
        page = finance_month(connection, OPERATOR, "2026-08", at=NOW)
        second = finance_month(
            connection,
            OPERATOR,
            "2026-08",
            at=NOW,
            limit=1,
            key=finance_month(connection, OPERATOR, "2026-08", at=NOW, limit=1).next_key,
        )
        declined = finance_month(connection, OPERATOR, "2026-08", at=NOW, state=InvoiceState.DECLINED)
        empty = finance_month(connection, OPERATOR, "2026-07", at=NOW)
        euros = finance_month(connection, OPERATOR, "2026-08", at=NOW, currency="EUR", limit=1)
        rest = finance_month(connection, OPERATOR, "2026-08", at=NOW, currency="EUR", limit=1, key=euros.next_key)
        dollars = finance_month(connection, OPERATOR, "2026-08", at=NOW, currency="USD")
        open_dollars = finance_month(
            connection, OPERATOR, "2026-08", at=NOW, state=InvoiceState.DECLINED, currency="USD"
        )
        with pytest.raises(UsageError, match="no key of a page"):
            finance_month(connection, OPERATOR, "2026-08", at=NOW, key=euros.next_key)
    [euro] = page.currencies
    assert euro.total == euro.credited + euro.collected + euro.written_off + euro.open - euro.owed_to_buyers
    assert (euro.invoices, euro.collected, euro.open, euro.received) == (2, D("1.00"), D("1.76"), D("1.00"))
    assert {(s.state, s.invoices) for s in euro.states} == {("declined", 1), ("credited", 1)}
    assert (euro.credit_notes, euro.credit_notes_total) == (1, euro.credited)
    assert [row.number for row in page.invoices] == [FIRST, SECOND]
    assert ([row.number for row in second.invoices], second.next_key) == ([SECOND], "")
    assert [row.number for row in declined.invoices] == [FIRST]
    assert [row.number for row in (*euros.invoices, *rest.invoices)] == [FIRST, SECOND]
    assert (dollars.invoices, open_dollars.invoices, dollars.currencies) == ((), (), page.currencies)
    assert [(row.team_name, row.customer_name) for row in page.invoices] == [
        ("Team One", "Buyer One"),
        ("Team Two", "Buyer Two"),
    ]
    assert [(note.number, note.team_name) for note in page.credit_notes] == [(NOTE, "Team Two")]
    assert [(p.team_id, p.team_name) for p in page.parked] == [("t2", "Team Two")]
    assert (page.is_locked, page.time_zone, empty.currencies, empty.invoices) == (False, "Europe/Paris", (), ())


@pytest.mark.parametrize("month", ["2026-13", "0001-01", "9999-12", "", "2026-8"])
def test_what_is_no_month_is_refused(books: Books, month: str) -> None:
    with look(books) as connection, pytest.raises(UsageError):
        finance_month(connection, OPERATOR, month, at=NOW)


def test_operations_say_what_came_and_what_waits(books: Books) -> None:
    with look(books) as connection:
        page = operations(connection, OPERATOR)
    [batch] = page.batches
    assert (batch.records, batch.accepted, batch.quarantined, page.next_key) == (7, 5, 2, "")
    assert {(c.name, c.count) for c in page.rejects} == {("unknown_api", 1), ("unattributed_app", 1)}
    assert [p.team_id for p in page.parked] == ["t2"]
    assert page.close is not None
    assert (page.close.state, page.close.shards, page.close.shards_rated) == (
        "issued",
        page.close.shards,
        page.close.shards,
    )
    assert {(c.name, c.count) for c in page.alerts} == {("balance_low", 3)}
    assert page.freshness.batch == 1
    assert page.freshness.complete_through is not None


READS: list[tuple[str, Reads, str]] = [
    ("team", lambda c, v: team(c, v, "t1", at=NOW), "money"),
    ("no team", lambda c, v: team(c, v, "t9", at=NOW), "nobody"),
    ("usage", lambda c, v: usage(c, v, "t1", at=NOW), "team"),
    ("usage of no team", lambda c, v: usage(c, v, "t9", at=NOW), "nobody"),
    ("invoice", lambda c, v: invoice(c, v, FIRST, at=NOW), "money"),
    ("no invoice", lambda c, v: invoice(c, v, "INV-9", at=NOW), "nobody"),
    ("month", lambda c, v: finance_month(c, v, "2026-08", at=NOW), "operator"),
    ("operations", lambda c, v: operations(c, v), "operator"),
]


@pytest.mark.parametrize(("name", "read", "whom"), READS, ids=[name for name, _, _ in READS])
def test_who_may_read_what(books: Books, name: str, read: Reads, whom: str) -> None:
    """And who may not see all hears the same of what is not there as of what is others'."""
    refused: dict[str, BillingError] = {}
    with look(books) as connection:
        for viewer in (OPERATOR, BUYER, DEVELOPER, OTHER, NOBODY):
            try:
                read(connection, viewer)
            except (NotForYou, NotFound) as error:
                refused[viewer.user] = error
    free = {"money": {"root", "ada"}, "team": {"root", "ada", "dev"}, "operator": {"root"}, "nobody": set()}[whom]
    assert {v.user for v in (OPERATOR, BUYER, DEVELOPER, OTHER, NOBODY)} - set(refused) == free
    kinds = {user: type(error) for user, error in refused.items()}
    assert kinds == {user: NotFound if user == "root" else NotForYou for user in refused}


def test_what_is_not_there_sounds_like_what_is_others(books: Books) -> None:
    pairs: list[tuple[Reads, Reads]] = [
        (lambda c, v: team(c, v, "t1", at=NOW), lambda c, v: team(c, v, "t9", at=NOW)),
        (lambda c, v: usage(c, v, "t1", at=NOW), lambda c, v: usage(c, v, "t9", at=NOW)),
        (lambda c, v: invoice(c, v, FIRST, at=NOW), lambda c, v: invoice(c, v, "INV-9", at=NOW)),
    ]
    with look(books) as connection:
        for there, missing in pairs:
            said = []
            for read in (there, missing):
                with pytest.raises(NotForYou) as error:
                    read(connection, OTHER)
                said.append(str(error.value))
            assert said[0] == said[1]
