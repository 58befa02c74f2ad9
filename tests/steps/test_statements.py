"""The usage statement of an invoice, checked by hand and against the ledger (rules 6.6, 8.1, 8.2)."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from billing.core.model import ApiBilling, Kind, Statement
from billing.steps.balances import balances
from billing.steps.invoices import read_invoices

from .small_world import Shop, instant

D = Decimal


@pytest.fixture
def billed(shop: Shop) -> Shop:
    """Team t1 in July and August 2026: 1 unit a month is free, then pay as you go; browse is not charged."""
    shop.load()
    shop.ingest(
        "e1,2026-07-01T10:00:00Z,a1,render,15",
        "e2,2026-07-03T23:59:59.999999Z,a1,render,30.5",
        "e3,2026-07-04T00:00:00Z,a1,render,20",
        "e4,2026-07-05T08:00:00Z,a1,browse,7",
        "e5,2026-07-05T09:00:00Z,a1,translate,2",
        now="08-02",
    )
    shop.close("08-02")
    shop.ingest(
        "l1,2026-07-20T10:00:00Z,a1,render,9.5",
        "l2,2026-07-21T10:00:00Z,a1,browse,3",
        "f1,2026-08-10T10:00:00Z,a1,render,50",
        now="09-02",
    )
    shop.close("09-02")
    return shop


def statement(shop: Shop, number: str) -> Statement:
    [invoice] = read_invoices(shop.home, [number])
    assert invoice.statement is not None
    for line in invoice.statement.lines:
        on_page_1 = sum(one.charged_units for one in invoice.lines if one.api == line.api)
        assert line.invoiced_units == on_page_1, "rule 6.6: the last column is page 1's quantity"
    return invoice.statement


def test_rule_6_6_a_cycle_checked_by_hand(billed: Shop) -> None:
    render, translate, browse = statement(billed, "INV-2026-000001").lines
    assert (render.opening, render.usage, render.late_usage, render.closing) == (0, D("65.5"), 0, D("5.5"))
    assert (render.units, render.invoiced_units, render.unit_sizes) == ((("free", 1), ("payg", 2)), 2, (D(20),))
    assert (translate.usage, translate.units, translate.closing) == (2, (("payg", 2),), 0)
    assert (browse.billing, browse.usage, browse.units, browse.invoiced_units) == (ApiBilling.UNRATED, 7, (), 0)


def test_rule_3_5_late_usage_is_told_apart_in_the_next_cycle(billed: Shop) -> None:
    lines = {line.api: line for line in statement(billed, "INV-2026-000002").lines}
    render = lines["render"]
    assert (render.opening, render.usage, render.late_usage, render.closing) == (D("5.5"), D("59.5"), D("9.5"), D(5))
    assert (render.units, render.invoiced_units) == ((("free", 1), ("payg", 2)), 2)
    assert (lines["browse"].usage, lines["browse"].late_usage) == (3, 3)


def test_rule_4_4_opening_and_usage_are_units_and_closing(billed: Shop) -> None:
    for number in ("INV-2026-000001", "INV-2026-000002"):
        for line in statement(billed, number).lines:
            if line.billing is ApiBilling.RATED and line.usage:
                units = sum(count for _, count in line.units)
                assert line.opening + line.usage == units * line.unit_sizes[0] + line.closing


def test_rule_8_2_days_are_utc_days_and_hold_all_usage_but_the_late(billed: Shop) -> None:
    for number in ("INV-2026-000001", "INV-2026-000002"):
        shown = statement(billed, number)
        usage = {line.api: line.usage - line.late_usage for line in shown.lines}
        for api in shown.daily:
            assert sum(api.quantities) == usage[api.api]
    render = next(api for api in statement(billed, "INV-2026-000001").daily if api.api == "render")
    assert (render.first_day, len(render.quantities)) == (date(2026, 7, 1), 31)
    assert render.quantities[:4] == (15, 0, D("30.5"), 20)


def test_rule_8_1_balances_are_those_told_at_the_last_instant(shop: Shop) -> None:
    shop.load()
    shop.ingest("e1,2026-07-01T10:00:00Z,a1,render,65.5", now="08-02")
    before = balances(shop.home, instant("2026-07-31T23:59:59.999999Z"))
    told = {
        (r.source, r.subscription_id, r.grant_id, r.api): (r.granted_micro, r.available_micro)
        for r in before[before["team_id"] == "t1"].itertuples()
    }
    shop.close("08-02")
    shop.ingest("f1,2026-08-10T10:00:00Z,a1,render,50", now="09-02")
    shop.close("09-02")  # what is drawn later changes nothing
    shown = statement(shop, "INV-2026-000001").balances
    assert {
        (b.source.value, b.subscription_id, b.grant_id, b.api): (int(b.granted * 10**6), int(b.available * 10**6))
        for b in shown
    } == told
    free = next(b for b in shown if b.source is Kind.FREE)
    assert (free.granted, free.available, free.refreshes_at) == (1, 0, instant("08-01"))


def test_rule_7_1_a_statement_does_not_change_with_what_comes_later(billed: Shop) -> None:
    before = statement(billed, "INV-2026-000001")
    billed.load(unit_rates=["render,2020-01-01T00:00:00Z,10,1", "translate,2020-01-01T00:00:00Z,1,"])
    billed.ingest("late,2026-07-02T10:00:00Z,a1,render,500", now="10-02")
    billed.close("10-02")
    assert statement(billed, "INV-2026-000001") == before
