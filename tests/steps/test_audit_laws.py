"""Laws of balances, in books with every kind of them: free units, tokens, capacity that is given back, a new size."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from billing.steps.ledger_checks import look

from .small_world import ALWAYS, Shop

LAWS = Path(__file__).parents[2] / "sql" / "checks"
SEATS = {
    "07": ["s1,2026-07-10T00:00:00Z,,seats,3,,t1"],
    "08": ["s2,2026-07-10T00:00:00Z,,seats,-1,s1,"],
    "09": ["s3,2026-09-10T00:00:00Z,,seats,9,,t1"],
}


@pytest.fixture
def books(shop: Shop) -> Shop:
    """Three months; in August a seat is given back, and in the middle of September a unit becomes smaller."""
    shop.load(unit_rates=[f"render,{ALWAYS},20,1", "render,2026-09-15T00:00:00Z,7,1", f"translate,{ALWAYS},1,"])
    for month in ("07", "08", "09"):
        lines = [
            f"{month}-1,2026-{month}-05T00:00:00Z,a1,render,65,,",
            f"{month}-2,2026-{month}-20T00:00:00Z,a1,render,30,,",
            f"{month}-3,2026-{month}-05T00:00:00Z,a2,render,95,,",
        ]
        lines += SEATS[month]
        after = f"{int(month) + 1:02d}-02"
        assert shop.ingest(*lines, now=after).quarantined == 0
        shop.close(after)
    return shop


def broken(shop: Shop) -> set[str]:
    return {law.name for law in look(shop.home, LAWS)[0] if law.violations}


def test_books_with_every_kind_of_balance_break_no_law(books: Shop) -> None:
    with books.home.database.read() as connection:
        drawn = set(connection.execute(text("select distinct source from draws")).scalars())
        given_back = connection.execute(text("select count(*) from draws where tokens_micro < 0")).scalar_one()
    assert drawn == {"free", "flex", "payg", "capacity"} and given_back == 1
    assert broken(books) == set()


@pytest.mark.parametrize(
    "change",
    [
        "update draws set charged_units = charged_units + 1 where source = 'free'",
        "update draws set period_start_us = 0 where source = 'free'",
        "update ref_free_allowances set units_per_period = 0",
        "delete from ref_free_allowances",
        "update draws set tokens_micro = 11000000 where source = 'flex'",
        "update draws set tokens_micro = -tokens_micro where source = 'capacity'",
        "update ref_capacity_grants set quantity = 2999999",
        "update ref_capacity_grants set expires_at = 1782864000000000",
        "update ref_subscriptions set kind = 'token_flex' where kind = 'flex'",
        "update ref_subscriptions set ends_at = purchased_at where kind = 'free'",
    ],
)
def test_what_was_granted_is_used_available_or_expired(books: Shop, change: str) -> None:
    """Rules 5.1 to 5.6 and 8.1."""
    with books.home.database.write() as connection:
        connection.execute(text(change))
    assert "grants_are_used_or_left" in broken(books)


@pytest.mark.parametrize(
    "change",
    [
        "update carry set usage_micro = usage_micro + 80000000 where api = 'render'",
        "update carry set closing_micro = closing_micro + 1 where api = 'render'",
        "update carry set charged_units = 0 where api = 'render'",
    ],
)
def test_usage_is_units_and_carry_over(books: Shop, change: str) -> None:
    """Rule 4.4."""
    with books.home.database.write() as connection:
        connection.execute(text(change))
    assert "usage_is_units_and_carry" in broken(books)
