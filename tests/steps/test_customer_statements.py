"""A team's month for its customer: the books at its end, usage by day, the same bytes for a closed month."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from billing.core.customer_statement import CustomerStatement
from billing.core.errors import DataRefused, NotFound
from billing.core.model import InvoiceType, ParkedReason
from billing.core.months import Month
from billing.steps.credit import credit
from billing.steps.customer_statements import file_name, statements_of, write_statements
from billing.steps.usage_views import refresh_views

from .small_world import BOUGHT, REFERENCE, TEMPLATES, Shop, instant

JULY, AUGUST = Month(2026, 7), Month(2026, 8)
MIDDLE = [row.replace("2026-07-01", "2026-07-12") for row in REFERENCE["subscriptions"]]
"""Cycles from the 12th to the 11th, in UTC."""
GRANTS = {
    "free_allowances": ["free1,render,150"],
    "token_grants": ["g2,flex2,10,2026-07-12T00:00:00Z,2027-07-12T00:00:00Z"],
    "capacity_grants": ["s1,seats1,seats,5,2026-07-12T00:00:00Z,2026-10-01T00:00:00Z"],
}


def told(shop: Shop, month: Month, now: str, team_id: str = "t1") -> CustomerStatement:
    """A statement as it is told at an instant."""
    refresh_views(shop.home, instant(now))
    [found] = statements_of(shop.home, month, instant(now), [team_id])
    return found


def available(statement: CustomerStatement) -> dict[str, tuple[Decimal, Decimal]]:
    return {one.grant_id or one.subscription_id: (one.available, one.granted) for one in statement.balances}


def units(statement: CustomerStatement) -> list[tuple[date, bool, dict[str, tuple[tuple[str, int], ...]]]]:
    """By period: its first day, whether it is closed, and the units of each API by source."""
    return [
        (p.cycle.period_first_day, p.is_closed, {line.api: line.units for line in p.lines}) for p in statement.periods
    ]


def test_rule_8_1_balances_are_those_at_the_months_end(shop: Shop) -> None:
    """140 of 150: what was effective before the end counts, open cycles included; what came after does not, and a
    balance that is refreshed at the end is told as it was before."""
    shop.load(subscriptions=MIDDLE, **GRANTS)
    shop.ingest(
        "e1,2026-07-20T10:00:00Z,a1,render,200,,",
        "e2,2026-08-02T10:00:00Z,a1,render,40,,",
        "e3,2026-07-20T10:00:00Z,,seats,2,,t1",
        now="08-02",
    )
    found = told(shop, JULY, "08-03")
    assert available(found) == {"free1": (140, 150), "s1": (3, 5)}
    assert [one.refreshes_at for one in found.balances if not one.grant_id] == [instant("08-12")]
    assert (found.is_over, found.is_complete, found.until) == (True, True, instant("08-01"))
    bought_first = [row.replace("07-12", "07-01") for row in MIDDLE]
    shop.load(subscriptions=bought_first, **GRANTS)
    assert available(told(shop, JULY, "08-03"))["free1"] == (140, 150), "refreshed at the end: as it was before"


def test_usage_is_by_utc_day_api_and_app_with_its_names(shop: Shop) -> None:
    shop.load()
    shop.ingest(
        "e1,2026-07-31T23:59:59Z,a1,render,1.5,,",
        "e2,2026-08-01T00:00:00Z,a1,render,7,,",
        "e3,2026-07-01T00:00:00Z,,seats,2,,t1",
        now="08-02",
    )
    render, seats = told(shop, JULY, "08-03").usage
    [app] = render.apps
    assert (render.api_name, render.usage_unit, app.app_name) == ("Rendering", "minute", "App One")
    assert (len(render.quantities), render.quantities[30], render.total) == (31, Decimal("1.5"), Decimal("1.5"))
    assert (seats.apps[0].app_id, seats.quantities[0]) == ("", 2)


def test_rule_6_6_closed_periods_are_told_whole_and_open_ones_up_to_the_end(shop: Shop) -> None:
    shop.load(subscriptions=MIDDLE, **GRANTS)
    shop.ingest(
        "e1,2026-07-20T10:00:00Z,a1,render,210,,",
        "e2,2026-08-20T10:00:00Z,a1,render,45,,",
        "e3,2026-09-02T10:00:00Z,a1,render,400,,",
        now="09-03",
    )
    before = told(shop, AUGUST, "09-03")
    assert units(before) == [
        (date(2026, 7, 12), False, {"render": (("free", 10),)}),
        (date(2026, 8, 12), False, {"render": (("free", 2),)}),
    ]
    shop.close("09-03")
    after = told(shop, AUGUST, "09-03")
    assert [(first, is_closed) for first, is_closed, _ in units(after)] == [
        (date(2026, 7, 12), True),
        (date(2026, 8, 12), False),
    ]
    [line] = after.periods[1].lines
    assert (line.opening, line.usage, line.closing) == (10, 45, 15), "rule 4.4: 10 + 45 = 2 x 20 + 15"
    shop.ingest(now="09-20")
    shop.close("09-20")
    assert units(told(shop, AUGUST, "09-20"))[1] == (date(2026, 8, 12), True, {"render": (("free", 22),)})


def test_a_period_that_cannot_be_rated_says_why(shop: Shop) -> None:
    """Rule 3.8."""
    shop.load(unit_rates=[REFERENCE["unit_rates"][0]], unit_prices=REFERENCE["unit_prices"][:1])
    shop.ingest("e1,2026-07-20T10:00:00Z,a1,translate,1,,", now="08-02")
    assert [p.trouble for p in told(shop, JULY, "08-02").periods] == [ParkedReason.NO_UNIT_SIZE]


def test_what_was_issued_in_the_month_is_listed_with_credit_notes(shop: Shop) -> None:
    """By the date on the document; a credit note gives back, and so its amounts are below 0."""
    shop.load()
    shop.ingest("e1,2026-07-05T10:00:00Z,a1,render,65,,", now="08-02")
    [number] = shop.close("08-02").invoices[:1]
    noted = credit(shop.home, number, reason="A mistake", wanted=[], as_of=instant("09-05"))
    [invoice] = told(shop, AUGUST, "09-06").issued
    assert (invoice.number, invoice.type, invoice.net, invoice.total) == (
        number,
        InvoiceType.INVOICE,
        Decimal("2.30"),
        Decimal("2.76"),
    )
    assert (invoice.cycle.period_first_day, invoice.issue_date) == (date(2026, 7, 1), date(2026, 8, 2))
    [note] = told(shop, Month(2026, 9), "09-06").issued
    assert (note.number, note.type, note.total) == (noted.number, InvoiceType.CREDIT_NOTE, Decimal("-2.76"))
    assert told(shop, AUGUST, "09-06", "t2").issued == ()


def test_a_month_that_runs_is_told_as_of_an_instant(shop: Shop) -> None:
    shop.load()
    shop.ingest("e1,2026-07-05T10:00:00Z,a1,render,30,,", now="07-10")
    found = told(shop, JULY, "07-11")
    assert (found.is_over, found.until, found.complete_through) == (False, instant("07-11"), instant("07-10"))
    assert available(found)["free1"] == (0, 1)
    with pytest.raises(DataRefused, match="has not begun"):
        told(shop, AUGUST, "07-11")
    with pytest.raises(DataRefused, match="24 months back, from 2024-07 on"):
        told(shop, Month(2024, 6), "07-11")
    with pytest.raises(NotFound, match="no team 'nobody'"):
        told(shop, JULY, "07-11", "nobody")


def test_all_are_those_with_a_subscription_and_each_is_told_alike_alone(shop: Shop) -> None:
    shop.load(
        teams=[*REFERENCE["teams"], "t3,c2,Nothing bought"],
        subscriptions=[*MIDDLE[:3], *(row.replace("2026-07-12", "2026-08-01") for row in MIDDLE[3:])],
        free_allowances=["free1,render,150"],
        token_grants=[],
        capacity_grants=[],
    )
    shop.ingest("e1,2026-07-20T10:00:00Z,a1,render,210,,", "e2,2026-08-02T10:00:00Z,a2,render,33,,", now="08-03")
    refresh_views(shop.home, instant("08-04"))
    assert [one.team_id for one in statements_of(shop.home, JULY, instant("08-04"))] == ["t1"]
    together = list(statements_of(shop.home, AUGUST, instant("08-04")))
    assert [one.team_id for one in together] == ["t1", "t2"]
    assert together == [told(shop, AUGUST, "08-04", team) for team in ("t1", "t2")]


def test_a_balance_that_was_drawn_on_by_another_team_is_told_alike_alone(shop: Shop) -> None:
    """A subscription is given to another team after a close: what the first one drew is gone from it, also in a cycle
    that holds the month's end.
    """
    shop.load(subscriptions=MIDDLE, **GRANTS)
    shop.ingest("e1,2026-07-20T10:00:00Z,a2,render,60,,", now="08-13")
    shop.close("08-13")
    shop.load(subscriptions=[row.replace("flex2,t2", "flex2,t1") for row in MIDDLE], **GRANTS)
    assert available(told(shop, JULY, "08-14"))["g2"] == (7, 10)


def test_rule_7_1_a_closed_month_has_the_same_bytes_whatever_came_since(shop: Shop) -> None:
    shop.load()
    shop.ingest("e1,2026-07-05T10:00:00Z,a1,render,65,,", "e2,2026-07-06T10:00:00Z,a1,browse,9,,", now="08-02")
    shop.close("08-02")
    first = written(shop, "08-03")
    shop.ingest("e3,2026-08-05T10:00:00Z,a1,render,65,,", now="08-06")
    assert written(shop, "08-20") == first
    assert sorted(first) == ["statement-t1-2026-07.html", "statement-t1-2026-07.pdf"]
    assert "Usage of this month is complete." in first["statement-t1-2026-07.html"].decode()
    shop.ingest("late,2026-07-05T10:00:00Z,a1,render,1,,", now="08-21")
    assert written(shop, "08-22") != first, "late usage counts on the day it occurred"


def written(shop: Shop, now: str) -> dict[str, bytes]:
    folder = shop.fresh("statements")
    refresh_views(shop.home, instant(now))
    done = write_statements(shop.home, JULY, instant(now), folder, TEMPLATES, teams=["t1"])
    assert (done.written, done.failed) == (1, ())
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_ids_are_no_paths() -> None:
    """Whatever a team is called, its files lie in the folder that was named."""
    names = [file_name(team, JULY) for team in ("../../etc/x", "a/b", "a%2Fb", "ö" * 300, "ö" * 299 + "o", "..", "\0")]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"statement-[A-Za-z0-9%._~-]+-2026-07", name) and len(name) < 200 for name in names)


def test_the_command_writes_one_or_all(shop: Shop, run_billing: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    """A name that no font has leaves the team without a PDF, and the others with theirs."""
    today = datetime.now(UTC).date()
    month = Month.of(today).before
    shop.load(
        teams=["t1,c1,Team One", "t2,c2,Team \N{GRINNING FACE}"],
        subscriptions=[row.replace(BOUGHT, "2025-01-01T00:00:00Z") for row in REFERENCE["subscriptions"]],
        token_grants=[],
        capacity_grants=[],
    )
    shop.ingest(f"e1,{month}-05T10:00:00Z,a1,render,65,,", now=f"{today}T00:00:00Z")
    status, said = run_billing(shop, "statements", "render", "t1", str(month), "--out", str(tmp_path / "one"))
    assert (status, f"1 statements of {month} written" in said) == (0, True)
    status, said = run_billing(shop, "statements", "render", str(month), "--all", "--out", str(tmp_path / "all"))
    assert status == 1 and "no PDF for t2" in said
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == [
        f"statement-t1-{month}.html",
        f"statement-t1-{month}.pdf",
        f"statement-t2-{month}.html",
    ]
    for name in ("html", "pdf"):
        paths = [tmp_path / folder / f"statement-t1-{month}.{name}" for folder in ("one", "all")]
        assert paths[0].read_bytes() == paths[1].read_bytes()
    assert run_billing(shop, "statements", "render", "t1", "July", "--out", str(tmp_path))[0] == 2
    assert run_billing(shop, "statements", "render", str(month), "--out", str(tmp_path))[0] == 2
