"""Open cycles rated provisionally: what is kept is what rating everything again gives (rules 3.5, 8.1)."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from billing.steps import open_ratings
from billing.steps.close import issue, open_close, rate_shards
from billing.steps.open_ratings import refresh_open
from billing.steps.reference_touched import teams_rated_otherwise, teams_standing_otherwise
from billing.store.shards import SHARDS
from billing.store.tables import open_carry, open_draws

from .small_world import BOUGHT, REFERENCE, Shop, instant

JULY = [
    "e1,2026-07-05T00:00:00Z,a1,render,65,,",
    "e2,2026-07-06T00:00:00Z,a2,render,65,,",
    "e3,2026-07-06T00:00:00Z,,seats,4,,t1",
]


@pytest.fixture
def rated_again(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The teams of each rating, as they are asked for."""
    asked: list[list[str]] = []
    rate = open_ratings.rate_by_sums

    def spied(terms, plans, usage, opening):  # type: ignore[no-untyped-def]
        asked.append(sorted(plan.team_id for plan in plans))
        return rate(terms, plans, usage, opening)

    monkeypatch.setattr(open_ratings, "rate_by_sums", spied)
    return asked


def opened(shop: Shop) -> None:
    shop.load()
    shop.ingest(*JULY, now="07-10")


def test_a_refresh_rates_teams_with_new_usage_only(shop: Shop, rated_again: list[list[str]]) -> None:
    opened(shop)
    assert (refresh_open(shop.home).rated, refresh_open(shop.home).rated) == (2, 0)
    shop.ingest("e4,2026-07-08T00:00:00Z,a2,render,15,,", now="07-11")
    assert refresh_open(shop.home).rated == 1
    assert rated_again == [["t1", "t2"], [], ["t2"]]


def test_balances_rate_only_what_is_newer_than_the_refresh(shop: Shop, rated_again: list[list[str]]) -> None:
    """And say what they say without one."""
    opened(shop)
    without = shop.balances("07-20")
    refresh_open(shop.home)
    rated_again.clear()
    assert shop.balances("07-20") == without == {"free1 render": "0", "g2": "7", "s1": "1"}
    shop.ingest("e4,2026-07-08T00:00:00Z,a2,render,15,,", now="07-11")
    assert shop.balances("07-20") == without | {"g2": "6"}
    assert rated_again == [[], ["t2"]]


def test_a_balance_of_the_past_is_rated_up_to_its_instant(shop: Shop) -> None:
    """A refresh knows what came later: what is effective before the instant is told from the events."""
    opened(shop)
    before = {at: shop.balances(at) for at in ("2026-07-01T00:00:00Z", "07-05", "2026-07-05T00:00:00.000001Z", "07-06")}
    refresh_open(shop.home)
    assert {at: shop.balances(at) for at in before} == before


def test_a_free_balance_refreshes_without_new_usage(shop: Shop) -> None:
    opened(shop)
    refresh_open(shop.home)
    assert shop.balances("07-31")["free1 render"] == "0"
    assert shop.balances("08-01")["free1 render"] == "1"


@pytest.mark.parametrize("rated", [0, 4, SHARDS])
def test_a_close_under_way_changes_nothing_that_is_issued_does(
    shop: Shop, rated: int, rated_again: list[list[str]]
) -> None:
    """Rated is not closed; a closed cycle's draws are counted once, with its carry-over."""
    opened(shop)
    shop.ingest("e4,2026-07-30T00:00:00Z,a2,render,15,,", now="08-02")
    refresh_open(shop.home)
    before = shop.balances("08-02")
    close_no, _ = open_close(shop.home, instant("08-02"))
    rate_shards(shop.home, close_no, list(range(rated)))
    assert shop.balances("08-02") == before
    rate_shards(shop.home, close_no, list(range(SHARDS)))
    issue(shop.home, close_no)
    assert shop.balances("08-02") == before
    rated_again.clear()
    assert (refresh_open(shop.home).rated, refresh_open(shop.home).rated) == (2, 0)
    assert shop.balances("08-03") == before
    assert rated_again == [["t1", "t2"], [], []]


def test_late_usage_is_new_usage(shop: Shop) -> None:
    """Rule 3.5: it is effective in the open cycle, whenever it occurred."""
    opened(shop)
    shop.ingest(now="08-02")
    shop.close("08-02")
    refresh_open(shop.home)
    shop.ingest("e5,2026-07-07T00:00:00Z,a2,render,40,,", now="08-03")
    assert refresh_open(shop.home).rated == 1
    assert shop.balances("08-04")["g2"] == "5", "65 and 40 are five units, three of them charged in July"


def test_new_reference_data_of_a_team_has_that_team_rated_again(shop: Shop, rated_again: list[list[str]]) -> None:
    opened(shop)
    refresh_open(shop.home)
    shop.load(token_grants=[f"g2,flex2,30,{BOUGHT},2027-07-01T00:00:00Z"])
    assert shop.balances("07-20")["g2"] == "27"
    assert refresh_open(shop.home).rated == 1
    assert rated_again[1:] == [["t2"], ["t2"]]
    assert refresh_open(shop.home).rated == 0


PAID_BY = [row.replace("EUR,", "EUR,pm2") if row.startswith("payg2") else row for row in REFERENCE["subscriptions"]]
MOVED = [row.replace(",t1,", ",t2,") if row.startswith("seats1") else row for row in REFERENCE["subscriptions"]]
METHOD = "pm2,c2,stripe,tok_2,visa,4242,2028-11"
TOUCHED: dict[str, tuple[dict[str, list[str]], set[str] | None, set[str] | None]] = {
    "nothing": ({}, set(), set()),
    "a name": ({"teams": ["t1,c1,Team 1", "t2,c2,Team Two"]}, set(), set()),
    "an app more": ({"apps": [*REFERENCE["apps"], "a3,App"]}, set(), set()),
    "a tax rate": ({"tax_rates": [*REFERENCE["tax_rates"], "IT,2000-01-01,22"]}, set(), set()),
    "an allowance": ({"free_allowances": ["free1,render,2"]}, {"t1"}, {"t1"}),
    "seats": ({"capacity_grants": [f"s1,seats1,seats,6,{BOUGHT},2027-07-01T00:00:00Z"]}, {"t1"}, {"t1"}),
    "moved": ({"subscriptions": MOVED}, {"t1", "t2"}, {"t1", "t2"}),
    "bought, of nobody": ({"subscriptions": [*REFERENCE["subscriptions"], f"n,,flex,{BOUGHT},UTC,,,"]}, set(), set()),
    "a price": ({"unit_prices": [f"render,EUR,{BOUGHT},1.25", REFERENCE["unit_prices"][1]]}, None, None),
    "a rate": ({"unit_rates": [f"render,{BOUGHT},10,1", REFERENCE["unit_rates"][1]]}, None, None),
    "an api": ({"apis": [*REFERENCE["apis"], "new,,call,unrated"]}, None, None),
    "the first method": ({"payment_methods": [METHOD]}, set(), None),
}


@pytest.mark.parametrize("what", TOUCHED)
def test_what_a_load_touches(shop: Shop, what: str) -> None:
    """Rules 4.1, 5.1: rates, prices and APIs are everybody's; what is bought is a team's; names and taxes are of no
    rating. A payment method is of how its payer stands.
    """
    shop.load()
    changed, rated, standing = TOUCHED[what]
    shop.load(allow_removals=True, **changed)
    with shop.home.database.read() as connection:
        assert (teams_rated_otherwise(connection, 1, 2), teams_standing_otherwise(connection, 1, 2)) == (
            rated,
            standing,
        )
        assert teams_rated_otherwise(connection, 2, 2) == frozenset()
        assert teams_rated_otherwise(connection, 0, 2) is None is teams_rated_otherwise(connection, 2, 1)


def test_a_method_that_changes_is_of_its_payer(shop: Shop) -> None:
    shop.load(subscriptions=PAID_BY, payment_methods=[METHOD, METHOD.replace("pm2", "pm3")])
    methods = [METHOD.replace("2028", "2029"), METHOD.replace("pm2", "pm3")]
    shop.load(subscriptions=PAID_BY, payment_methods=methods)
    with shop.home.database.read() as connection:
        assert teams_rated_otherwise(connection, 1, 2) == frozenset()
        assert teams_standing_otherwise(connection, 1, 2) == {"t2"}


def test_what_is_kept_are_draws_and_the_carry_over(shop: Shop) -> None:
    opened(shop)
    refresh_open(shop.home)
    with shop.home.database.read() as connection:
        carry = {(r.team_id, r.api): r.closing_micro for r in connection.execute(select(open_carry))}
        drawn = {(r.team_id, r.source, r.charged_units) for r in connection.execute(select(open_draws))}
    assert carry == {("t1", "render"): 5_000_000, ("t2", "render"): 5_000_000, ("t1", "seats"): 0}
    assert drawn == {("t1", "free", 1), ("t1", "payg", 2), ("t2", "flex", 3), ("t1", "capacity", 0)}


def test_a_team_that_is_no_more_is_taken_out(shop: Shop) -> None:
    opened(shop)
    shop.load(subscriptions=[*REFERENCE["subscriptions"], f"free3,t1,free,{BOUGHT},UTC,,,"])
    refresh_open(shop.home)
    assert refresh_open(shop.home).teams == 2


def test_what_a_closed_cycle_used_of_a_running_period_counts_at_its_end(shop: Shop) -> None:
    """Rule 5.2: periods are the free subscription's own. At the instant at which a cycle ends nothing is open yet, and
    what it used of a period that goes on is used."""
    late = "2026-07-20T00:00:00Z"
    held = [row.replace(BOUGHT, late) if row.startswith("free1") else row for row in REFERENCE["subscriptions"]]
    shop.load(subscriptions=held)
    shop.ingest("e1,2026-07-25T00:00:00Z,a1,render,25,,", now="08-02")
    shop.close("08-02")
    assert shop.balances("08-01")["free1 render"] == "0"
    refresh_open(shop.home)
    assert shop.balances("08-01")["free1 render"] == shop.balances("08-19")["free1 render"] == "0"
    assert shop.balances("08-20")["free1 render"] == "1"


def test_a_refresh_from_scratch_finds_the_same(shop: Shop) -> None:
    opened(shop)
    refresh_open(shop.home)
    before = shop.balances("07-20")
    assert refresh_open(shop.home, from_scratch=True).rated == 2
    assert shop.balances("07-20") == before


def test_nothing_to_rate(shop: Shop) -> None:
    assert refresh_open(shop.home) == open_ratings.Refreshed(rated=0, teams=0, through_batch=0)
    shop.load()
    assert refresh_open(shop.home).through_batch == 0
    assert shop.balances("08-01")["g2"] == "10"
