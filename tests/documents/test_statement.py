"""The usage statement, its chart and its balances: rules 4.4, 6.6, 8.1."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.core.model import ApiBilling, Balance, DailyUsage, Invoice, InvoiceType, Kind, Statement, StatementLine
from billing.documents.bundle import read_bundle
from billing.documents.chart import CHARTED_MAX, ROW, WIDTH, ChartView, chart_view
from billing.documents.renderer import Renderer
from billing.documents.sample import sample_statement
from billing.documents.statement_view import StatementView, statement_view
from billing.documents.texts import Catalogues
from billing.documents.theme import read_theme

from .invoices import CYCLE, TEMPLATES, invoice

BUNDLE = read_bundle(TEMPLATES)
CATALOGUES = Catalogues(BUNDLE)
THEME = read_theme(BUNDLE, "default")
EN = CATALOGUES.texts("en")


def rated(**changes: object) -> StatementLine:
    """20 minutes a unit: 5 + 115 = (2 + 3) x 20 + 20."""
    values = {
        "api": "automation",
        "api_name": "Automation",
        "usage_unit": "processing_minute",
        "billing": ApiBilling.RATED,
        "unit_sizes": (Decimal(20),),
        "opening": Decimal(5),
        "usage": Decimal("115"),
        "late_usage": Decimal(0),
        "units": (("free", 2), ("payg", 3)),
        "invoiced_units": 3,
        "closing": Decimal(20),
    }
    return StatementLine(**(values | changes))  # type: ignore[arg-type]


def unrated(billing: ApiBilling = ApiBilling.UNRATED) -> StatementLine:
    return rated(
        api="search",
        api_name="Search",
        usage_unit="query",
        billing=billing,
        unit_sizes=(),
        units=(),
        invoiced_units=0,
        opening=Decimal(0),
        usage=Decimal("18442.5"),
        closing=Decimal(0),
    )


def show(*lines: StatementLine, **others: object) -> StatementView:
    shown = statement_view(stated(*lines, **others), EN, THEME)
    assert shown is not None
    return shown


def stated(*lines: StatementLine, **others: object) -> Invoice:
    values = {"lines": lines, "daily": (), "balances": ()} | others
    return invoice(1, statement=Statement(**values))  # type: ignore[arg-type]


def plain(text: str) -> str:
    return text.replace("\xa0", " ").replace("\u2011", "-")


def day(quantities: list[str], name: str = "Automation", first: date = date(2025, 7, 15)) -> DailyUsage:
    return DailyUsage(
        api=name.lower(), api_name=name, usage_unit="job", first_day=first, quantities=tuple(map(Decimal, quantities))
    )


def test_an_invoice_without_a_statement_and_a_credit_note_have_none() -> None:
    assert statement_view(invoice(1), EN, THEME) is None
    assert statement_view(replace(stated(rated()), type=InvoiceType.CREDIT_NOTE), EN, THEME) is None


def test_rule_4_4_a_row_can_be_checked_by_hand() -> None:
    shown = show(rated())
    assert [plain(head) for head in shown.usage.heads] == [
        "API",
        "1 unit =",
        "Opening carry-over",
        "Usage",
        "Units: free",
        "Closing carry-over",
        "Charged units",
    ]
    assert [plain(cell) for cell in shown.usage.rows[0]] == [
        "Automation",
        "20 × processing minute",
        "5",
        "115",
        "2",
        "20",
        "3",
    ]
    assert shown.notes == (
        "To check a row: opening carry-over + usage = units × unit size + closing carry-over. "
        "Automation: 5 + 115 = (2 + 3) × 20 + 20",
    )


def test_the_figures_are_those_of_the_first_row_with_one_size() -> None:
    two = rated(api_name="Two", unit_sizes=(Decimal(20), Decimal(10)))
    one = rated(api_name="One", units=(("payg", 5),), invoiced_units=5)
    rule = "To check a row: opening carry-over + usage = units × unit size + closing carry-over."
    assert show(unrated(), two, one).notes[0] == f"{rule} One: 5 + 115 = 5 × 20 + 20"
    three = rated(api_name="Three", unit_sizes=(Decimal(20), Decimal(10), Decimal(5)))
    assert show(three).notes == (rule,), "the sums do not say how many units were of each size"


def test_rule_4_4_a_row_whose_size_changed_says_the_units_of_each() -> None:
    """1,398 = 68 x 20 + 2 x 16 + 6: with two sizes there is one answer in whole units."""
    sizes = (Decimal(20), Decimal(16))
    changed = rated(
        api_name="Changed",
        unit_sizes=sizes,
        opening=Decimal(3),
        usage=Decimal(1395),
        closing=Decimal(6),
        units=(("free", 10), ("payg", 60)),
        invoiced_units=60,
    )
    rule = "To check a row: opening carry-over + usage = units × unit size + closing carry-over."
    assert show(changed).notes == (rule, "Changed: 3 + 1,395 = 68 × 20 + 2 × 16 + 6")
    one = rated(api_name="One", units=(("payg", 5),), invoiced_units=5)
    assert show(changed, one).notes == (
        f"{rule} One: 5 + 115 = 5 × 20 + 20",
        "Changed: 3 + 1,395 = 68 × 20 + 2 × 16 + 6",
    )


def test_rule_6_6_only_sources_that_gave_units_have_a_column() -> None:
    many = rated(units=(("free", 1), ("token_flex", 2), ("flex", 3), ("unfunded", 4), ("payg", 5)), invoiced_units=5)
    heads = show(many, rated(api="b", units=(("payg", 3),))).usage.heads
    assert heads[4:-2] == ("Units: free", "Units: token flex", "Units: flex", "Units: unfunded")
    assert show(many).notes[-1] == "Unfunded units are not charged."


def test_the_last_column_is_page_1s_quantity() -> None:
    """Where another invoice has a part of what pay as you go gave, its column shows the whole."""
    shown = show(rated(units=(("payg", 5),), invoiced_units=3))
    assert shown.usage.heads[-3] == "Units: pay as you go"
    assert (shown.usage.rows[0][-3], shown.usage.rows[0][-1]) == ("5", "3")
    assert "Units: pay as you go" not in show(rated()).usage.heads


@pytest.mark.parametrize("billing", [ApiBilling.UNRATED, ApiBilling.CAPACITY])
def test_an_api_that_is_not_rated_shows_usage_only(billing: ApiBilling) -> None:
    shown = show(rated(), unrated(billing))
    assert shown.usage.rows[1] == ("Search", "query", "", "18,442.5", "", "", "–")
    assert shown.notes[-1] == "APIs with – are not charged by units."


def test_rule_3_5_late_usage_has_a_column_where_there_is_some() -> None:
    shown = show(rated(late_usage=Decimal("61.5")), rated(api="b"))
    assert shown.usage.heads[4] == "of which late"
    assert [row[4] for row in shown.usage.rows] == ["61.5", ""]
    assert any(note.startswith("Late usage belongs") for note in shown.notes)
    assert "of which late" not in show(rated()).usage.heads


def test_rule_4_3_a_credit_that_waits_is_negative() -> None:
    row = show(rated(opening=Decimal("-0.25"), closing=Decimal("-12.5"))).usage.rows[0]
    assert (row[2], row[5]) == ("-0.25", "-12.5")


def balance(**changes: object) -> Balance:
    values = {
        "source": Kind.FREE,
        "subscription_id": "s2",
        "grant_id": "",
        "api": "automation",
        "api_name": "Automation",
        "granted": Decimal(150),
        "available": Decimal(140),
        "ends_at": None,
        "refreshes_at": datetime(2025, 8, 31, 22, tzinfo=UTC),
    }
    return Balance(**(values | changes))  # type: ignore[arg-type]


def test_rule_8_1_balances_are_available_of_granted_with_local_dates() -> None:
    """22:00 UTC on 31 August is 1 September in Paris."""
    tokens = balance(
        source=Kind.TOKEN_FLEX,
        grant_id="g1",
        api="",
        api_name="",
        granted=Decimal(5000),
        available=Decimal("12.5"),
        refreshes_at=None,
        ends_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    )
    room = balance(source=Kind.CAPACITY, api_name="Machines", refreshes_at=None)
    shown = show(rated(), balances=(balance(), tokens, room)).balances
    assert shown is not None and shown.rows == (
        ("Free, Automation", "refreshes September 1, 2025", "140 of 150"),
        ("Token flex, tokens (g1)", "ends March 1, 2026", "12.5 of 5,000"),
        ("Capacity, Machines", "", "140 of 150"),
    )
    assert show(rated()).balances is None


def chart(*daily: DailyUsage, cycle: object = CYCLE) -> ChartView:
    shown = chart_view(daily, cycle, EN)  # type: ignore[arg-type]
    assert shown is not None
    return shown


def test_a_bar_is_as_high_as_its_day() -> None:
    shown = chart(day(["4", "0", "1", "2"]))
    heights = [int(height) for height in re.findall(r"v-(\d+)", shown.bars)]
    places = [int(place) for place in re.findall(r"M(\d+) ", shown.bars)]
    assert heights == [70, 18, 35]
    assert places == [round((number + 0.5) * WIDTH / 4) for number in (0, 2, 3)]
    assert shown.labels == ("Automation", "highest day: 4")


def test_a_little_usage_is_seen_and_none_is_not() -> None:
    assert re.findall(r"v-(\d+)", chart(day(["1000000", "0.000001", "0"])).bars) == ["70", "2"]


def test_rule_8_2_the_cycles_boundaries_are_marked_at_their_instants() -> None:
    """The cycle ends at 22:00 UTC, midnight in Paris, inside a UTC day."""
    shown = chart(day(["1"] * 31))
    start = (CYCLE.start - datetime(2025, 7, 15, tzinfo=UTC)) / timedelta(days=31) * (WIDTH - 4) + 2
    end = (CYCLE.end - datetime(2025, 7, 15, tzinfo=UTC)) / timedelta(days=31) * (WIDTH - 4) + 2
    assert shown.edges == f"M{start:.0f} 0v{ROW}M{end:.0f} 0v{ROW}"
    assert plain(shown.starts).replace("\u202f", " ") == "Period starts Jul 15, 2025, 10:30 AM (Europe/Paris)"
    assert plain(shown.ends).replace("\u202f", " ") == "Period ends Aug 15, 2025, 12:00 AM (Europe/Paris)"


def test_no_more_are_drawn_than_fit_and_the_rest_is_said() -> None:
    shown = chart(day(["0"], name="idle"), *(day(["1"], name=f"api{number}") for number in range(8)))
    assert (shown.height, len(shown.labels)) == (ROW * CHARTED_MAX, 2 * CHARTED_MAX)
    assert shown.more == "The first 6 of 8 APIs are drawn."
    assert chart(day(["1"])).more == ""
    assert "idle" not in shown.alternative


def test_without_usage_there_is_no_chart() -> None:
    assert chart_view((), CYCLE, EN) is None
    assert chart_view((day(["0", "0"]),), CYCLE, EN) is None


@given(st.lists(st.decimals(0, 10**9, places=6), min_size=1, max_size=33).filter(any))
def test_every_bar_stays_in_its_row(quantities: list[Decimal]) -> None:
    shown = chart(day(["1"]), day([str(quantity) for quantity in quantities], name="b"))
    for place, floor, height in re.findall(r"M(\d+) (\d+)v-(\d+)", shown.bars):
        row = int(floor) // ROW
        assert 0 < int(place) < WIDTH and ROW * row <= int(floor) - int(height) and int(floor) <= ROW * (row + 1)


@pytest.mark.parametrize(("apis", "pages"), [(1, 2), (6, 2), (20, 3)])
def test_a_statement_takes_one_page_and_flows_on(renderer: Renderer, apis: int, pages: int) -> None:
    one = invoice(3, statement=sample_statement(apis))
    html = renderer.html(one)
    assert renderer._engine.paint(html).pages == pages
    assert html.count("<svg") == 1 and "<title>Bars of the usage" in html
