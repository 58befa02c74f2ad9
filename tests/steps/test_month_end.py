"""A month's end: accrued revenue and prepaid tokens, open cycles and closed ones alike (rules 3.5, 5.3, 6.1, 8.1)."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pytest
from openpyxl import load_workbook

from billing.core.errors import DataRefused
from billing.core.months import Month
from billing.steps.close import issue, open_close, rate_shards
from billing.steps.credit import credit
from billing.steps.month_end import (
    ENTRY_COLUMNS,
    TOKEN_COLUMNS,
    Accrual,
    Tokens,
    accrue,
    tokens,
    write_accrual,
    write_tokens,
)
from billing.steps.reissue import reissue
from billing.store.shards import SHARDS

from .small_world import REFERENCE, Shop, instant, rows_of

JULY, AUGUST = Month.parse("2026-07"), Month.parse("2026-08")
LATER = instant("2027-01-01T00:00:00Z")
MID_JULY = [line.replace("2026-07-01T00", "2026-07-15T00") for line in REFERENCE["subscriptions"]]
"""Cycles from the 15th to the 15th, UTC; the seller's July ends on 31 July at 22:00Z."""
CUT = "2026-07-31T22:00:00Z"
USED = [
    "e1,2026-07-16T00:00:00Z,a1,render,65,,",
    "e2,2026-07-31T21:59:59.999999Z,a2,translate,3,,",
    f"e3,{CUT},a1,render,100,,",
    "e4,2026-08-03T00:00:00Z,a2,translate,2,,",
]


def opened(shop: Shop, *more: str, **changed: list[str]) -> None:
    """Usage on both sides of the end of July, in cycles that hold it."""
    shop.load(**{"subscriptions": MID_JULY, **changed})
    shop.ingest(*USED, *more, now="2026-08-16T00:00:00Z")


def july(shop: Shop) -> Accrual:
    return accrue(shop.home, JULY, LATER)


def lines(found: Accrual) -> list[tuple[str, str, int, str, str]]:
    """Team, API, units, price, net."""
    return [(one.team_id, one.api, one.charged_units, str(one.unit_price), str(one.net)) for one, _ in found.lines]


BEFORE_THE_CUT = [("t1", "render", 2, "1.15", "2.30"), ("t2", "translate", 3, "2.4", "7.20")]
"""t1: 65 minutes are 3 units, one of them free."""


def test_units_of_running_cycles_with_an_effective_instant_before_the_end_are_accrued(shop: Shop) -> None:
    opened(shop)
    found = july(shop)
    assert lines(found) == BEFORE_THE_CUT, "at the end itself is no longer before it"
    assert found.at_us == Month.parse("2026-08").start_us("Europe/Paris")
    assert found.net == {"EUR": Decimal("9.50")}
    assert {(cut.is_closed, cut.known.batch_no, cut.known.load_no) for _, cut in found.lines} == {(False, 1, 1)}


def test_an_accrual_is_the_same_once_the_cycle_is_closed(shop: Shop) -> None:
    """And the invoice is the accrual and the rest, line by line."""
    opened(shop)
    before = july(shop)
    shop.close("2026-08-16T00:00:00Z")
    after = july(shop)
    assert lines(after) == lines(before)
    assert {cut.is_closed for _, cut in after.lines} == {True}
    invoiced = {(row[2], row[4]): Decimal(row[5]) for row in shop.export()["invoice_lines"]}
    rest = {(one.api, str(one.unit_price)): invoiced[one.api, str(one.unit_price)] - one.net for one, _ in after.lines}
    assert rest == {("render", "1.15"): Decimal("5.75"), ("translate", "2.4"): Decimal("4.80")}


THREE_MONTHS = [
    "m1,2026-07-16T00:00:00Z,a1,render,55,,",
    "m2,2026-08-20T00:00:00Z,a1,render,75,,",
    "m3,2026-08-25T00:00:00Z,a2,translate,1.5,,",
    "m4,2026-09-20T00:00:00Z,a1,render,90,,",
    "m5,2026-09-21T00:00:00Z,a2,translate,1.5,,",
]


@pytest.mark.parametrize("closes", [["08-16"], ["08-16", "09-16"], ["10-16"], ["08-16", "10-16"]])
def test_however_its_cycles_were_closed_a_month_is_told_the_same(shop: Shop, closes: list[str]) -> None:
    """Carry-over and free units of the cycles before count, whether these were closed one by one or at once."""
    shop.load(subscriptions=MID_JULY)
    shop.ingest(*THREE_MONTHS, now="2026-10-16T00:00:00Z")
    months = [Month.parse(f"2026-{month}") for month in ("07", "08", "09")]
    expected = [
        [("t1", "render", 1, "1.15", "1.15")],
        [("t1", "render", 3, "1.15", "3.45"), ("t2", "translate", 1, "2.4", "2.40")],
        [("t1", "render", 4, "1.15", "4.60"), ("t2", "translate", 2, "2.4", "4.80")],
    ]
    assert [lines(accrue(shop.home, month, LATER)) for month in months] == expected
    for as_of in closes:
        shop.close(f"2026-{as_of}T00:00:00Z")
        assert [lines(accrue(shop.home, month, LATER)) for month in months] == expected


@pytest.mark.parametrize("rated", [0, 4, SHARDS])
def test_a_close_under_way_changes_no_accrual(shop: Shop, rated: int) -> None:
    opened(shop)
    close_no, _ = open_close(shop.home, instant("2026-08-16T00:00:00Z"))
    rate_shards(shop.home, close_no, list(range(rated)))
    assert lines(july(shop)) == BEFORE_THE_CUT
    rate_shards(shop.home, close_no, list(range(SHARDS)))
    issue(shop.home, close_no)
    assert lines(july(shop)) == BEFORE_THE_CUT


LATE = "late,2026-07-20T00:00:00Z,a2,translate,10,,"


def test_while_a_cycle_is_open_what_is_known_now_counts(shop: Shop) -> None:
    opened(shop)
    shop.ingest(LATE, now="2026-08-16T00:00:00Z")
    found = july(shop)
    assert lines(found)[1] == ("t2", "translate", 13, "2.4", "31.20")
    assert found.known.batch_no == 2


def test_what_comes_after_the_close_is_effective_later(shop: Shop) -> None:
    """Rule 3.5: it is billed in the next cycle, which begins after July."""
    opened(shop)
    shop.close("2026-08-16T00:00:00Z")
    shop.ingest(LATE, now="2026-09-16T00:00:00Z")
    assert lines(july(shop)) == BEFORE_THE_CUT
    august = accrue(shop.home, AUGUST, LATER)
    assert lines(august) == [("t2", "translate", 10, "2.4", "24.00")]
    shop.close("2026-09-16T00:00:00Z")
    assert lines(accrue(shop.home, AUGUST, LATER)) == lines(august)


def test_prices_are_those_that_the_cycle_was_or_will_be_billed_at(shop: Shop) -> None:
    """Rule 3.4: a close pins the reference data; an open cycle follows what is known."""
    opened(shop)
    dear = [line.replace("2.4", "3") for line in REFERENCE["unit_prices"]]
    shop.load(subscriptions=MID_JULY, unit_prices=dear)
    assert lines(july(shop))[1] == ("t2", "translate", 3, "3", "9.00")
    shop.close("2026-08-16T00:00:00Z")
    shop.load(subscriptions=MID_JULY)
    assert lines(july(shop))[1] == ("t2", "translate", 3, "3", "9.00")
    assert july(shop).known.load_no == 3


def test_carry_over_and_balances_of_closed_cycles_count(shop: Shop) -> None:
    """65 of July leave 5 and no free unit of the period; 15 more in August make the next one."""
    opened(shop)
    shop.close("2026-08-16T00:00:00Z")
    shop.ingest("n1,2026-08-20T00:00:00Z,a1,render,35,,", now="2026-09-16T00:00:00Z")
    assert lines(accrue(shop.home, AUGUST, LATER)) == [("t1", "render", 1, "1.15", "1.15")], "165 + 35 = 200: 2 units"


def test_where_a_cycle_ends_with_the_month_nothing_is_accrued(shop: Shop) -> None:
    """It is invoiced whole, with a date of August: it is told apart, and so is a cycle that is not closed."""
    paris = [
        line.replace("2026-07-01T00:00:00Z,UTC", "2026-06-30T22:00:00Z,Europe/Paris")
        for line in REFERENCE["subscriptions"]
    ]
    opened(shop, subscriptions=paris)
    found = july(shop)
    assert (found.lines, found.net) == ((), {})
    open_ones = [(one.team_id, one.number, one.issue_day, str(one.net)) for one in found.undated]
    assert open_ones == [("t1", "", None, "2.30"), ("t2", "", None, "7.20")]
    shop.close("08-02")
    later = july(shop)
    assert later.lines == ()
    assert [(one.number, str(one.net)) for one in later.undated] == [
        ("INV-2026-000001", "2.30"),
        ("INV-2026-000002", "7.20"),
    ]


def test_a_month_before_anything_was_bought_has_nothing(shop: Shop) -> None:
    opened(shop)
    shop.close("2026-08-16T00:00:00Z")
    june = accrue(shop.home, Month.parse("2026-06"), LATER)
    assert (june.lines, june.undated, june.troubles) == ((), (), ())


def test_an_invoice_that_replaces_another_is_no_revenue_again(shop: Shop) -> None:
    paris = [
        line.replace("2026-07-01T00:00:00Z,UTC", "2026-06-30T22:00:00Z,Europe/Paris")
        for line in REFERENCE["subscriptions"]
    ]
    opened(shop, subscriptions=paris)
    shop.close("08-02")
    credit(shop.home, "INV-2026-000002", reason="wrong buyer", as_of=instant("08-03"))
    assert reissue(shop.home, "INV-2026-000002", as_of=instant("08-03"))
    assert [one.number for one in july(shop).undated] == ["INV-2026-000001", "INV-2026-000002"]


def test_a_purchase_that_is_said_to_be_earlier_opens_nothing_before_a_closed_cycle(shop: Shop) -> None:
    """Rule 3.6: closed boundaries stand; what was used before them is late, and effective later."""
    opened(shop)
    shop.close("2026-08-16T00:00:00Z")
    shop.load(subscriptions=[line.replace("2026-07-15T00", "2026-06-10T00") for line in MID_JULY])
    early = "early,2026-06-20T00:00:00Z,a2,translate,5,,"
    assert shop.ingest(early, now="2026-08-17T00:00:00Z").accepted == 1
    june = accrue(shop.home, Month.parse("2026-06"), LATER)
    assert (june.lines, june.undated) == ((), ())
    assert lines(july(shop)) == BEFORE_THE_CUT


@pytest.mark.parametrize(
    ("now", "over"), [("2026-07-31T21:59:59.999999Z", False), (CUT, True)], ids=["a moment before", "then"]
)
def test_a_month_that_is_not_over_is_refused(shop: Shop, now: str, over: bool) -> None:
    opened(shop)
    for run in (accrue, tokens):
        if over:
            assert run(shop.home, JULY, instant(now)).month == JULY
            continue
        with pytest.raises(DataRefused, match=r"2026-07 is not over in Europe/Paris: it ends at 2026-07-31T22:00"):
            run(shop.home, JULY, instant(now))


def test_without_reference_data_there_is_no_month(shop: Shop) -> None:
    with pytest.raises(DataRefused, match="billing reference load FOLDER"):
        july(shop)


def test_a_cycle_that_cannot_be_rated_honestly_is_named(shop: Shop) -> None:
    opened(shop, unit_rates=REFERENCE["unit_rates"][:1])
    found = july(shop)
    assert lines(found) == BEFORE_THE_CUT[:1]
    assert [(one.team_id, one.reason.value) for one in found.troubles] == [("t2", "no_unit_size")]


def test_every_entry_is_reversed_on_the_next_months_first_day(shop: Shop) -> None:
    opened(shop)
    path = shop.fresh("accrual.csv")
    main, entries, undated = write_accrual(july(shop), path)
    assert rows_of(main)[0] == (
        *("2026-07-31", "2026-08-01", "t1", "payg1", "2026-07-15T00:00:00Z", "2026-08-15T00:00:00Z", "open", "render"),
        *("2", "1.15", "EUR", "2.30", "1", "1"),
    )
    found = [dict(zip(ENTRY_COLUMNS, row, strict=True)) for row in rows_of(entries)]
    assert [(row["date"], row["entry"], row["team_id"], row["net"]) for row in found] == [
        ("2026-07-31", "accrual", "t1", "2.30"),
        ("2026-07-31", "accrual", "t2", "7.20"),
        ("2026-08-01", "reversal", "t1", "-2.30"),
        ("2026-08-01", "reversal", "t2", "-7.20"),
    ]
    assert sum(Decimal(row["net"]) for row in found) == 0
    assert rows_of(undated) == []
    (book,) = write_accrual(july(shop), shop.fresh("accrual.xlsx"))
    sheet = load_workbook(book)["Accrual"]
    assert (sheet["L2"].value, sheet["L2"].number_format) == (2.3, "0.00")
    assert sheet["A2"].value == datetime.fromisoformat("2026-07-31T00:00:00")
    assert date.fromisoformat(found[0]["date"]) == JULY.last_day


# --- prepaid tokens --------------------------------------------------------------------------------------------------

GRANTS = [
    "g2,flex2,10,2026-07-15T00:00:00Z,2026-09-10T00:00:00Z,100.00,EUR",
    "g3,flex2,30,2026-08-05T00:00:00Z,2027-07-01T00:00:00Z",
    "g4,unassigned,7,2026-07-15T00:00:00Z,2026-08-20T00:00:00Z,70.00,USD",
]
HOLDING = [*MID_JULY, "unassigned,,token_flex,2026-07-15T00:00:00Z,UTC,,,"]
TOKEN_USE = [
    "k1,2026-07-20T00:00:00Z,a2,render,60,,",
    f"k2,{CUT},a2,render,20,,",
    "k3,2026-08-30T00:00:00Z,a2,render,45,,",
]


def prepaid(shop: Shop) -> None:
    """Team t2 uses render, a token a unit of 20 minutes: 3 in July, 1 at the start of August, 2 late in August."""
    shop.load(subscriptions=HOLDING, token_grants=GRANTS)
    shop.ingest(*TOKEN_USE, now="2026-10-16T00:00:00Z")


Moves = dict[str, tuple[str, ...]]


def moves(found: Tokens) -> Moves:
    """By grant: opening, sold, used, expired, remaining."""
    fields = ("opening_micro", "sold_micro", "used_micro", "expired_micro", "remaining_micro")
    return {one.grant.grant_id: tuple(f"{getattr(one, name) / 10**6:g}" for name in fields) for one, _ in found.grants}


def month(shop: Shop, text: str) -> Tokens:
    return tokens(shop.home, Month.parse(text), LATER)


EXPECTED = {
    "2026-06": {},
    "2026-07": {"g2": ("0", "10", "3", "0", "7"), "g4": ("0", "7", "0", "0", "7")},
    "2026-08": {
        "g2": ("7", "0", "3", "0", "4"),
        "g3": ("0", "30", "0", "0", "30"),
        "g4": ("7", "0", "0", "7", "0"),
    },
    "2026-09": {"g2": ("4", "0", "0", "4", "0"), "g3": ("30", "0", "0", "0", "30")},
    "2026-10": {"g3": ("30", "0", "0", "0", "30")},
}


@pytest.mark.parametrize("closes", [[], ["2026-08-16T00:00:00Z"], ["2026-10-16T00:00:00Z"]])
def test_each_month_goes_on_where_the_one_before_ended(shop: Shop, closes: list[str]) -> None:
    """The same whether its cycles are open or closed since; what expires unused is breakage of its month."""
    prepaid(shop)
    for as_of in closes:
        shop.close(as_of)
    assert {text: moves(month(shop, text)) for text in EXPECTED} == EXPECTED


def test_money_follows_the_tokens_and_sums_exactly(shop: Shop) -> None:
    prepaid(shop)
    found = {
        text: {one.grant.grant_id: amounts for one, amounts in month(shop, text).grants if amounts is not None}
        for text in ("2026-07", "2026-08", "2026-09")
    }
    told = {
        (text, grant): tuple(str(getattr(amounts, name)) for name in ("recognised", "breakage", "deferred"))
        for text, grants in found.items()
        for grant, amounts in grants.items()
    }
    assert told == {
        ("2026-07", "g2"): ("30.00", "0.00", "70.00"),
        ("2026-08", "g2"): ("30.00", "0.00", "40.00"),
        ("2026-09", "g2"): ("0.00", "40.00", "0.00"),
        ("2026-07", "g4"): ("0.00", "0.00", "70.00"),
        ("2026-08", "g4"): ("0.00", "70.00", "0.00"),
    }


def test_late_usage_is_used_when_it_is_effective(shop: Shop) -> None:
    """Rule 3.5: what comes after July's cycle was closed draws tokens in the next one; no month that was told changes
    but the one it is effective in.
    """
    prepaid(shop)
    shop.close("2026-08-16T00:00:00Z")
    before = {text: moves(month(shop, text)) for text in ("2026-07", "2026-08")}
    shop.ingest("k4,2026-07-21T00:00:00Z,a2,render,40,,", now="2026-10-16T00:00:00Z")
    assert moves(month(shop, "2026-07")) == before["2026-07"]
    assert moves(month(shop, "2026-08"))["g2"] == ("7", "0", "5", "0", "2")


def test_a_subscription_that_ends_takes_its_grants_with_it(shop: Shop) -> None:
    """Rule 8.1: at the earlier of the two ends."""
    ended = [
        line.replace("15T00:00:00Z,UTC,,", "15T00:00:00Z,UTC,2026-08-10T00:00:00Z,") if line[:5] == "flex2" else line
        for line in HOLDING
    ]
    shop.load(subscriptions=ended, token_grants=GRANTS[:1])
    shop.ingest(*TOKEN_USE, now="2026-10-16T00:00:00Z")
    assert moves(month(shop, "2026-08")) == {"g2": ("7", "0", "1", "6", "0")}


def test_the_tokens_as_files(shop: Shop) -> None:
    prepaid(shop)
    grants, totals, in_money = write_tokens(month(shop, "2026-08"), shop.fresh("tokens.csv"))
    row = dict(zip(TOKEN_COLUMNS, rows_of(grants)[0], strict=True))
    assert (row["granted"], row["used_before"], row["used"], row["ends_at"]) == ("10", "3", "3", "2026-09-10T00:00:00Z")
    assert (row["amount"], row["deferred_before"], row["deferred"]) == ("100.00", "70.00", "40.00")
    assert rows_of(totals) == [("flex", "7", "30", "3", "0", "34"), ("token_flex", "7", "0", "0", "7", "0")]
    assert rows_of(in_money) == [
        ("flex", "EUR", "70.00", "0.00", "30.00", "0.00", "40.00"),
        ("token_flex", "USD", "70.00", "0.00", "0.00", "70.00", "0.00"),
    ]
