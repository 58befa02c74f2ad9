"""Rows that come too late for a closed cycle: what they would have changed (rule 3.6), on both databases."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from sqlalchemy import select

from billing.core.errors import DataRefused
from billing.core.instants import format_us
from billing.steps.reference import list_late_rows
from billing.store.late_rows import LateRow
from billing.store.tables import log

from .small_world import ALWAYS, BOUGHT, REFERENCE, Shop

EVERYTHING = (
    "e1,2026-07-05T00:00:00Z,a1,render,65,,",  # three units: one free, two paid
    "e2,2026-07-06T00:00:00Z,a2,translate,3,,",  # three units, paid: no tokens for it
    "e3,2026-07-06T00:00:00Z,a2,render,40,,",  # two units of tokens
)
JULY_OF_T1, JULY_OF_T2 = "INV-2026-000001", "INV-2026-000002"


@pytest.fixture
def july(shop: Shop) -> Shop:
    """A shop whose July is closed."""
    shop.load()
    shop.ingest(*EVERYTHING, now="08-02")
    assert len(shop.close("08-02").invoices) == 2
    return shop


def late(shop: Shop, *, allow_removals: bool = False, **changed: Sequence[str]) -> dict[tuple[str, str], LateRow]:
    """The late rows of a load by table and team; at most one of each."""
    rows = shop.load(allow_removals=allow_removals, **changed).late
    found = {(row.table, row.team_id): row for row in rows}
    assert len(found) == len(rows)
    return found


def subscriptions(**lines: str) -> list[str]:
    """The small world's subscriptions with some replaced, by id."""
    return [lines.get(line.split(",")[0], line) for line in REFERENCE["subscriptions"]]


# --- prices (rules 5.4, 6.1) -----------------------------------------------------------------------------------------


def test_a_price_that_changed_says_what_the_line_would_have_been(july: Shop) -> None:
    """2 units at 1.15, and at 2 tenths of a cent more: rounded as an invoice is."""
    (row,) = late(july, unit_prices=[f"render,EUR,{ALWAYS},1.152500", REFERENCE["unit_prices"][1]]).values()
    assert (row.table, row.key, row.team_id) == ("unit_prices", f"render, EUR, {ALWAYS}", "t1")
    assert list(map(str, row.changed)) == ["unit_price 1.15 -> 1.1525"]
    assert (format_us(row.cycle_start_us), row.invoices, row.touched) == (BOUGHT, (JULY_OF_T1,), ("price",))
    (figure,) = map(str, row.figures)
    assert figure == f"{JULY_OF_T1}, line 1 (render): net is 2.30 EUR and would have been 2.31 EUR"


def test_a_price_within_the_cycle_is_named_without_a_guess(july: Shop) -> None:
    """The books hold no instant of a unit: which of the two would have been paid is not certain."""
    prices = [*REFERENCE["unit_prices"], "render,EUR,2026-07-02T00:00:00Z,9"]
    (row,) = late(july, unit_prices=prices).values()
    assert (row.touched, row.figures) == (("price",), ())


def test_a_price_from_the_cycles_start_on_is_certain(july: Shop) -> None:
    prices = [*REFERENCE["unit_prices"], f"render,EUR,{BOUGHT},9"]
    (row,) = late(july, unit_prices=prices).values()
    assert [figure.would_be for figure in row.figures] == ["18.00 EUR"]


def test_the_prices_of_a_load_count_together(july: Shop) -> None:
    prices = [f"render,EUR,{ALWAYS},2", f"render,EUR,{BOUGHT},3", REFERENCE["unit_prices"][1]]
    rows = july.load(unit_prices=prices).late
    assert [(row.key, [f.would_be for f in row.figures]) for row in rows] == [
        (f"render, EUR, {ALWAYS}", ["6.00 EUR"]),
        (f"render, EUR, {BOUGHT}", ["6.00 EUR"]),
    ]


def test_a_price_that_only_one_line_was_made_of_changes_that_line(shop: Shop) -> None:
    """The line at 3.00 stands whatever was in force before the tenth."""
    shop.load(unit_prices=[*REFERENCE["unit_prices"], "translate,EUR,2026-07-10T00:00:00Z,3"])
    shop.ingest("e1,2026-07-05T00:00:00Z,a2,translate,1,,", "e2,2026-07-12T00:00:00Z,a2,translate,1,,", now="08-02")
    shop.close("08-02")
    early = [REFERENCE["unit_prices"][0], f"translate,EUR,{ALWAYS},2.5", "translate,EUR,2026-07-10T00:00:00Z,3"]
    (row,) = late(shop, unit_prices=early).values()
    (figure,) = map(str, row.figures)
    assert figure == "INV-2026-000001, line 1 (translate): net is 2.40 EUR and would have been 2.50 EUR"


def test_lines_that_would_have_been_one_have_no_figure_of_their_own(shop: Shop) -> None:
    shop.load(unit_prices=[*REFERENCE["unit_prices"], "translate,EUR,2026-07-10T00:00:00Z,3"])
    shop.ingest("e1,2026-07-05T00:00:00Z,a2,translate,1,,", "e2,2026-07-12T00:00:00Z,a2,translate,1,,", now="08-02")
    shop.close("08-02")
    one_price = [REFERENCE["unit_prices"][0], f"translate,EUR,{ALWAYS},5"]
    rows = shop.load(unit_prices=one_price, allow_removals=True).late
    assert [(row.touched, row.figures) for row in rows] == [(("price",), ())] * 2


@pytest.mark.parametrize(
    "line",
    [
        f"render,USD,{BOUGHT},9",  # nobody pays in it
        "render,EUR,2026-08-01T00:00:00Z,9",  # from the cycle's end on
        "browse,EUR,2026-07-02T00:00:00Z,9",  # nobody used it
        f"render,EUR,{BOUGHT},1.150",  # the same price again
    ],
)
def test_a_price_that_nobody_would_have_paid_is_not_late(july: Shop, line: str) -> None:
    done = july.load(unit_prices=[*REFERENCE["unit_prices"], line])
    assert (done.added, done.late) == (1, ())


def test_what_only_other_balances_paid_has_no_late_price(shop: Shop) -> None:
    """Rule 5.1: pay as you go comes last, so its price changes nothing before it."""
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a2,render,40,,", now="08-02")
    shop.close("08-02")
    assert late(shop, unit_prices=[*REFERENCE["unit_prices"], f"render,EUR,{BOUGHT},9"]) == {}


def test_a_price_for_what_could_not_be_paid_touches_who_pays(shop: Shop) -> None:
    """Rules 5.4 and 5.5: without a price the units were unfunded."""
    shop.load(unit_prices=REFERENCE["unit_prices"][:1])
    shop.ingest("e1,2026-07-05T00:00:00Z,a2,translate,1,,", now="08-02")
    shop.close("08-02")
    (row,) = late(shop).values()
    assert (row.table, row.team_id, row.touched, row.invoices) == ("unit_prices", "t2", ("which balance pays",), ())


def test_a_price_that_comes_back_is_what_the_invoice_was_made_of(july: Shop) -> None:
    """What a cycle saw is what its close pinned (rule 3.4), not what was known just before."""
    july.load(unit_prices=[f"render,EUR,{ALWAYS},9", REFERENCE["unit_prices"][1]])
    (row,) = late(july, unit_prices=[f"render,EUR,{ALWAYS},5", REFERENCE["unit_prices"][1]]).values()
    assert [(str(row.changed[0]), f.stands, f.would_be) for f in row.figures] == [
        ("unit_price 9 -> 5", "2.30 EUR", "10.00 EUR")
    ]
    (row,) = late(july).values()
    assert list(map(str, row.changed)) == ["unit_price 5 -> 1.15"]
    assert (row.touched, row.figures) == (("price",), ())


# --- units (rule 4.1) and tokens (rule 5.3) --------------------------------------------------------------------------


def test_a_unit_size_touches_units_and_a_price_in_tokens_the_balance(july: Shop) -> None:
    translate = REFERENCE["unit_rates"][1]
    size = late(july, unit_rates=[f"render,{ALWAYS},10,1", translate])
    assert {key: row.touched for key, row in size.items()} == {
        ("unit_rates", "t1"): ("units",),
        ("unit_rates", "t2"): ("units",),
    }
    tokens = july.load(unit_rates=[f"render,{ALWAYS},10,", translate]).late
    assert [(str(row.changed[0]), row.touched) for row in tokens] == [
        ("tokens_per_unit 1 -> (blank)", ("which balance pays",))
    ] * 2


def test_what_waits_takes_a_late_unit_size_into_later_cycles(july: Shop) -> None:
    """Five minutes waited at July's end: another size in July would have changed August's opening too."""
    july.ingest("e9,2026-08-05T00:00:00Z,a1,render,20,,", now="09-02")
    july.close("09-02")
    rates = [*REFERENCE["unit_rates"], "render,2026-07-02T00:00:00Z,10,1", "render,2026-07-20T00:00:00Z,20,1"]
    found = [row for row in july.load(unit_rates=rates).late if row.team_id == "t1"]
    assert [(format_us(row.cycle_start_us)[:7], row.key.split(", ")[1][:10]) for row in found] == [
        ("2026-07", "2026-07-02"),
        ("2026-08", "2026-07-02"),
    ], "the row of the 20th says what held anyway"


# --- taxes (rule 6.2) ------------------------------------------------------------------------------------------------


def test_a_tax_rate_says_what_the_tax_would_have_been(july: Shop) -> None:
    """20 % and 21 % of 2.30; the German buyer bears a reverse charge, whatever the rate."""
    taxes = [*REFERENCE["tax_rates"], "FR,2026-07-31,21", "DE,2026-07-31,25"]
    (row,) = late(july, tax_rates=taxes).values()
    assert (row.key, row.touched) == ("FR, 2026-07-31", ("tax",))
    (figure,) = map(str, row.figures)
    assert figure == f"{JULY_OF_T1}: tax is 0.46 EUR (S 20 %) and would have been 0.48 EUR (S 21 %)"


@pytest.mark.parametrize("line", ["FR,2026-08-01,21", "FR,2010-01-01,20", "IT,2000-01-01,22"])
def test_a_tax_rate_that_no_invoice_would_have_borne_is_not_late(july: Shop, line: str) -> None:
    assert late(july, tax_rates=[*REFERENCE["tax_rates"], line]) == {}


def test_a_rate_that_a_later_one_follows_is_not_late(july: Shop) -> None:
    """Rule 6.2: the rate on the period's last day counts."""
    july.load(tax_rates=[*REFERENCE["tax_rates"], "FR,2026-07-31,20.5"])
    taxes = [*REFERENCE["tax_rates"], "FR,2026-07-15,22", "FR,2026-07-31,20.5"]
    assert late(july, tax_rates=taxes) == {}


def test_a_buyer_who_had_no_vat_id_would_have_borne_another_tax(july: Shop) -> None:
    """Rule 6.2: 19 % of 7.20 where the reverse charge falls away."""
    buyers = [REFERENCE["customers"][0], REFERENCE["customers"][1].replace("DE136695976", "")]
    (row,) = late(july, customers=buyers).values()
    assert (row.table, row.key, row.team_id, row.touched) == ("customers", "c2", "t2", ("tax",))
    assert list(map(str, row.changed)) == ["vat_id DE136695976 -> (blank)"]
    assert [f.would_be for f in row.figures] == ["1.37 EUR (S 19 %)"]


def test_a_tax_that_would_have_had_no_rate_is_named_without_a_figure(shop: Shop) -> None:
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,60,,", now="08-02")
    shop.close("08-02")
    (row,) = late(shop, tax_rates=REFERENCE["tax_rates"][1:], allow_removals=True).values()
    assert (row.table, row.team_id, row.touched, row.figures) == ("tax_rates", "t1", ("tax",), ())


def test_a_tax_rate_that_comes_back_is_what_the_invoice_was_made_of(july: Shop) -> None:
    july.load(tax_rates=["FR,2000-01-01,21", REFERENCE["tax_rates"][1]])
    (row,) = late(july).values()
    assert (str(row.changed[0]), row.touched, row.figures) == ("percent 21 -> 20", ("tax",), ())


def test_a_rate_that_says_what_held_anyway_is_no_cause_of_another_tax(july: Shop) -> None:
    """The buyer's VAT id is; the new row has the same percent."""
    buyers = [REFERENCE["customers"][0], REFERENCE["customers"][1].replace("DE136695976", "")]
    assert set(late(july, customers=buyers, tax_rates=[*REFERENCE["tax_rates"], "DE,2026-07-15,19"])) == {
        ("customers", "t2")
    }


def test_another_address_is_not_late(july: Shop) -> None:
    buyers = [line.replace("Town", "City") for line in REFERENCE["customers"]]
    assert late(july, customers=buyers) == {}


# --- boundaries (rule 3.3) and balances (section 5) ------------------------------------------------------------------


def test_an_end_within_a_closed_cycle_says_where_the_cycle_would_have_ended(july: Shop) -> None:
    ended = subscriptions(payg1=f"payg1,t1,payg,{BOUGHT},UTC,2026-07-20T00:00:00Z,EUR,")
    (row,) = late(july, subscriptions=ended).values()
    assert row.touched == ("cycle boundaries", "which balance pays")
    (figure,) = map(str, row.figures)
    assert figure == "the cycle's end is 2026-08-01T00:00:00Z and would have been 2026-07-20T00:00:00Z"


def test_an_earlier_purchase_says_where_the_first_cycle_would_have_begun(july: Shop) -> None:
    earlier = subscriptions(payg2="payg2,t2,payg,2026-06-20T00:00:00Z,UTC,,EUR,")
    (row,) = late(july, subscriptions=earlier).values()
    assert row.touched == ("cycle boundaries", "which balance pays")
    assert [(f.what, f.would_be) for f in row.figures] == [
        ("the first cycle's start", "2026-06-20T00:00:00Z"),
        ("the cycle's end", "2026-07-20T00:00:00Z"),
    ]


def test_an_earlier_purchase_on_the_same_day_of_a_month_moves_the_start_only(july: Shop) -> None:
    earlier = subscriptions(payg2="payg2,t2,payg,2026-06-01T00:00:00Z,UTC,,EUR,")
    (row,) = late(july, subscriptions=earlier).values()
    assert row.touched == ("cycle boundaries", "which balance pays")
    assert [(f.what, f.would_be) for f in row.figures] == [("the first cycle's start", "2026-06-01T00:00:00Z")]


def test_another_zone_moves_the_boundaries_of_the_anchor_only(july: Shop) -> None:
    """Rule 3.3: the pay-as-you-go purchase is the anchor; the zone of tokens bounds nothing."""
    anchor = late(july, subscriptions=subscriptions(payg2=f"payg2,t2,payg,{BOUGHT},Europe/Paris,,EUR,"))
    assert [(row.touched, row.figures[0].would_be) for row in anchor.values()] == [
        (("cycle boundaries",), "2026-07-31T22:00:00Z")
    ]
    july.load()
    assert late(july, subscriptions=subscriptions(flex2=f"flex2,t2,flex,{BOUGHT},Asia/Tokyo,,,")) == {}
    free = late(july, subscriptions=subscriptions(free1=f"free1,t1,free,{BOUGHT},Asia/Tokyo,,,"))
    assert [row.touched for row in free.values()] == [("which balance pays",)], "it refreshes at another instant"


def test_the_end_that_made_a_boundary_is_late_where_it_is_taken_back(shop: Shop) -> None:
    """Without it the cycle that ended there would have gone on."""
    shop.load(subscriptions=subscriptions(payg1=f"payg1,t1,payg,{BOUGHT},UTC,2026-07-20T00:00:00Z,EUR,"))
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", now="07-25")
    shop.close("07-25")
    (row,) = late(shop).values()
    assert (row.touched, [f.would_be for f in row.figures]) == (("cycle boundaries",), ["2026-08-01T00:00:00Z"])


def test_what_had_nothing_to_pay_for_is_not_late(shop: Shop) -> None:
    """A grant, an allowance, a subscription: without a charged unit nothing would have been paid otherwise."""
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,5,,", now="08-02")
    shop.close("08-02")
    found = late(
        shop,
        subscriptions=[*REFERENCE["subscriptions"], f"more,t1,flex,{BOUGHT},UTC,,,"],
        token_grants=[*REFERENCE["token_grants"], f"g9,more,5,{BOUGHT},2027-01-01T00:00:00Z"],
        free_allowances=["free1,render,9"],
        capacity_grants=[f"s1,seats1,seats,9,{BOUGHT},2027-07-01T00:00:00Z"],
    )
    assert found == {}


def test_a_grant_and_an_allowance_touch_which_balance_pays(july: Shop) -> None:
    grants = [f"g2,flex2,9,{BOUGHT},2027-07-01T00:00:00Z"]
    found = late(july, token_grants=grants, free_allowances=["free1,render,2"])
    assert {key: (str(row.changed[0]), row.touched, row.invoices) for key, row in found.items()} == {
        ("token_grants", "t2"): ("tokens 10 -> 9", ("which balance pays",), (JULY_OF_T2,)),
        ("free_allowances", "t1"): ("units_per_period 1 -> 2", ("which balance pays",), (JULY_OF_T1,)),
    }


# --- kept with the load ----------------------------------------------------------------------------------------------


def test_late_rows_can_be_asked_for_later(july: Shop) -> None:
    first = july.load(unit_prices=[f"render,EUR,{ALWAYS},9", REFERENCE["unit_prices"][1]])
    second = july.load(tax_rates=[*REFERENCE["tax_rates"], "FR,2026-07-31,21"], free_allowances=["free1,render,2"])
    assert (first.load_no, second.load_no, first.late_total, second.late_total) == (2, 3, 1, 3)
    newest_first = [*((3, row) for row in second.late), (2, first.late[0])]
    assert list_late_rows(july.home) == (newest_first, 4)
    assert list_late_rows(july.home, load_no=2) == ([(2, first.late[0])], 1)
    assert list_late_rows(july.home, load_no=1) == ([], 0)
    assert list_late_rows(july.home, limit=2) == (newest_first[:2], 4)
    with july.home.database.read() as connection:
        said = connection.execute(select(log.c.payload).where(log.c.kind == "reference").order_by(log.c.seq)).scalars()
        assert [json.loads(text)["late"] for text in said] == [0, 1, 3]


def test_a_load_that_is_refused_keeps_no_late_rows(july: Shop) -> None:
    with pytest.raises(DataRefused):
        july.load(unit_prices=[f"render,EUR,{ALWAYS},9"])
    assert list_late_rows(july.home) == ([], 0)
