"""An auditor's SQL over everything (architecture: "An auditor's SQL runs in one engine over everything")."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.core.errors import DataRefused
from billing.steps.audit.sql import run_sql

from .small_world import Shop

QUERIES = Path(__file__).parents[2] / "sql" / "audit"


@pytest.fixture
def closed(shop: Shop) -> Shop:
    shop.load()
    shop.ingest(
        "e1,2026-07-05T00:00:00Z,a1,render,65.5,,",
        "e1,2026-07-05T00:00:00Z,a1,render,65.5,,",
        "bad,2026-07-05T00:00:00Z,nobody,render,1,,",
        now="08-02",
    )
    shop.close("08-02")
    shop.ingest("late,2026-07-06T00:00:00Z,a1,render,2,,", now="08-03")
    return shop


def asked(shop: Shop, name: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in run_sql(shop.home, (QUERIES / name).read_text("utf-8")).rows]


def test_batches_are_complete(closed: Shop) -> None:
    assert asked(closed, "batches_are_complete.sql") == [
        (1, "files", 3, 1, 1, 1, 1, 0, 0),
        (2, "files", 1, 1, 0, 0, 1, 0, 0),
    ]


def test_usage_is_billed_once_and_what_came_late_waits(closed: Shop) -> None:
    assert asked(closed, "usage_is_billed_once.sql") == [("t1", "render", 67_500_000, 65_500_000, 2_000_000)]


def test_an_empty_home_answers(shop: Shop) -> None:
    for path in sorted(QUERIES.glob("*.sql")):
        assert asked(shop, path.name) == []


def test_what_is_written_reaches_no_book(closed: Shop) -> None:
    before = run_sql(closed.home, "select * from invoices").rows
    with pytest.raises(DataRefused, match="This SQL cannot be run"):
        run_sql(closed.home, "delete from invoices")
    with pytest.raises(DataRefused, match="no_such_table"):
        run_sql(closed.home, "select * from no_such_table")
    assert run_sql(closed.home, "select * from invoices").rows == before
    assert len(before) == 1
