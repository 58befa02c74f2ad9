"""A locked month: nothing is issued with a date in it any more, by whatever way (rules 6.3, 6.4)."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select, update

from billing.core.errors import ConservationBroken, DataRefused
from billing.core.months import Month
from billing.steps.close import issue, open_close, rate_shards
from billing.steps.credit import credit
from billing.steps.period_locks import lock_history, lock_month, unlock_month
from billing.steps.reissue import reissue
from billing.store import log
from billing.store.shards import SHARDS
from billing.store.tables import closes, credit_notes, invoices, period_locks
from billing.store.tables import log as log_rows

from .small_world import Shop, instant

JULY, AUGUST, SEPTEMBER, OCTOBER = (Month.parse(f"2026-{month}") for month in ("07", "08", "09", "10"))
NOW = instant("2026-12-01T00:00:00Z")
END_OF_AUGUST = "2026-08-31T22:00:00Z"
"""The seller's August ends then: its zone is Europe/Paris."""


def issued(shop: Shop) -> None:
    """July's usage, invoiced on 2 August; August's is there too, for a cycle that is not closed."""
    shop.load()
    shop.ingest(
        "e1,2026-07-05T00:00:00Z,a1,render,65,,",
        "e2,2026-07-06T00:00:00Z,a2,translate,3,,",
        "e3,2026-08-05T00:00:00Z,a2,translate,3,,",
        now="2026-09-02T00:00:00Z",
    )
    shop.close("08-02")


def counts(shop: Shop) -> tuple[int, int, int]:
    """Closes, invoices, credit notes."""
    with shop.home.database.read() as connection:
        return tuple(  # type: ignore[return-value]
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (closes, invoices, credit_notes)
        )


def last_log(shop: Shop) -> tuple[str, dict[str, object]]:
    with shop.home.database.read() as connection:
        log.verify(connection)
        row = connection.execute(select(log_rows).order_by(log_rows.c.seq.desc()).limit(1)).one()
    return row.kind, json.loads(row.payload)


# --- what a lock does ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("as_of", "refused"), [("2026-08-31T21:59:59.999999Z", True), ("2026-08-31T22:00:00Z", False)], ids=["last", "next"]
)
def test_a_close_with_a_date_in_a_locked_month_is_refused_before_anything_is_pinned(
    shop: Shop, as_of: str, refused: bool
) -> None:
    issued(shop)
    lock_month(shop.home, AUGUST, NOW)
    before = counts(shop)
    if refused:
        with pytest.raises(
            DataRefused, match=r"2026-08 is locked .*nothing is issued with the date 2026-08-31.*unlock 2026-08"
        ):
            shop.close(as_of)
        assert counts(shop) == before
        assert shop.close("2026-09-02T00:00:00Z").cycles == 2, "with a later date it is issued"
        return
    shop.close(as_of)
    assert counts(shop)[0] == before[0] + 1


def test_credit_notes_and_corrected_invoices_are_refused_too(shop: Shop) -> None:
    issued(shop)
    locked_date = datetime(2026, 8, 20, tzinfo=UTC)
    credit(shop.home, "INV-2026-000001", reason="wrong app", as_of=datetime(2026, 8, 10, tzinfo=UTC))
    lock_month(shop.home, AUGUST, NOW)
    before = counts(shop)
    with pytest.raises(DataRefused, match="2026-08 is locked"):
        credit(shop.home, "INV-2026-000002", reason="wrong app", as_of=locked_date)
    with pytest.raises(DataRefused, match="2026-08 is locked"):
        reissue(shop.home, "INV-2026-000001", as_of=locked_date)
    assert counts(shop) == before
    september = datetime(2026, 9, 1, tzinfo=UTC)
    credit(shop.home, "INV-2026-000002", reason="wrong app", as_of=september)
    reissue(shop.home, "INV-2026-000001", as_of=september)
    assert counts(shop) == (before[0], before[1] + 1, before[2] + 1), "an invoice of a locked month may be given back"


def test_months_before_the_first_lock_are_locked_with_it(shop: Shop) -> None:
    issued(shop)
    lock_month(shop.home, AUGUST, NOW)
    assert [str(row.through) for row in lock_history(shop.home)] == ["2026-08"]
    with pytest.raises(DataRefused, match="2026-07 is locked by 2026-08 too"):
        unlock_month(shop.home, JULY, NOW, "x")


# --- when a month can be locked --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("now", "over"), [("2026-08-31T21:59:59.999999Z", False), (END_OF_AUGUST, True)])
def test_a_month_is_locked_once_it_is_over_in_the_sellers_zone(shop: Shop, now: str, over: bool) -> None:
    issued(shop)
    if over:
        assert lock_month(shop.home, AUGUST, instant(now)).is_new
        return
    with pytest.raises(DataRefused, match="2026-08 is not over in Europe/Paris"):
        lock_month(shop.home, AUGUST, instant(now))
    assert lock_history(shop.home) == []


def test_months_are_locked_in_order(shop: Shop) -> None:
    """From the first one in which anything was issued."""
    issued(shop)
    with pytest.raises(DataRefused, match="2026-08 is not locked yet, and months are locked in order: lock 2026-08"):
        lock_month(shop.home, SEPTEMBER, NOW)
    lock_month(shop.home, AUGUST, NOW)
    with pytest.raises(DataRefused, match="lock 2026-09 first"):
        lock_month(shop.home, OCTOBER, NOW)
    lock_month(shop.home, SEPTEMBER, NOW)
    assert lock_month(shop.home, OCTOBER, NOW).is_new


def test_a_month_that_is_locked_is_found_so(shop: Shop) -> None:
    issued(shop)
    first = lock_month(shop.home, AUGUST, NOW)
    again = lock_month(shop.home, AUGUST, NOW)
    assert (first.is_new, again.is_new) == (True, False)
    assert first.totals == again.totals
    assert len(lock_history(shop.home)) == 1


@pytest.mark.parametrize("rated", [0, SHARDS])
def test_a_close_that_is_pinned_and_not_issued_keeps_its_month_open(shop: Shop, rated: int) -> None:
    issued(shop)
    close_no, _ = open_close(shop.home, instant("2026-08-31T00:00:00Z"))
    rate_shards(shop.home, close_no, list(range(rated)))
    with pytest.raises(DataRefused, match=r"Close 2 as of 2026-08-31T00:00:00Z is pinned and not issued"):
        lock_month(shop.home, AUGUST, NOW)
    rate_shards(shop.home, close_no, list(range(SHARDS)))
    issue(shop.home, close_no)
    assert lock_month(shop.home, AUGUST, NOW).is_new


def test_a_close_pinned_for_a_later_month_does_not_keep_it_open(shop: Shop) -> None:
    issued(shop)
    close_no, _ = open_close(shop.home, instant("2026-09-02T00:00:00Z"))
    assert lock_month(shop.home, AUGUST, NOW).is_new
    rate_shards(shop.home, close_no, list(range(SHARDS)))
    assert issue(shop.home, close_no) == ("INV-2026-000003",)


def test_a_register_that_is_not_the_ledgers_is_not_locked(shop: Shop) -> None:
    issued(shop)
    with shop.home.database.write() as connection:
        connection.execute(update(invoices).where(invoices.c.number == "INV-2026-000001").values(net_minor=1))
    with pytest.raises(ConservationBroken, match="INV-2026-000001: net 0.01 EUR, by the ledger 2.30"):
        lock_month(shop.home, AUGUST, NOW)
    assert lock_history(shop.home) == []


# --- what is kept of it ----------------------------------------------------------------------------------------------


def test_the_log_keeps_the_totals_of_the_months_register(shop: Shop) -> None:
    issued(shop)
    lock_month(shop.home, AUGUST, NOW, "books of August")
    assert last_log(shop) == (
        "period_lock",
        {
            "month": "2026-08",
            "action": "lock",
            "reason": "books of August",
            "totals": [
                {
                    "currency": "EUR",
                    "tax_category": category,
                    "tax_percent": percent,
                    "invoices": number,
                    "credit_notes": 0,
                    "net": net,
                    "tax": tax,
                    "total": total,
                }
                for category, percent, number, net, tax, total in (
                    ("AE", "0", 1, "7.20", "0.00", "7.20"),
                    ("S", "20", 1, "2.30", "0.46", "2.76"),
                    ("all", "", 2, "9.50", "0.46", "9.96"),
                )
            ],
        },
    )


def test_taking_a_lock_back_is_a_row_with_a_reason(shop: Shop) -> None:
    issued(shop)
    lock_month(shop.home, AUGUST, NOW, "done")
    lock_month(shop.home, SEPTEMBER, NOW)
    for reason in ("", "  "):
        with pytest.raises(DataRefused, match="say why it is opened again"):
            unlock_month(shop.home, SEPTEMBER, NOW, reason)
    unlock_month(shop.home, SEPTEMBER, NOW, "a credit note of September")
    assert last_log(shop)[1] == {"month": "2026-09", "action": "unlock", "reason": "a credit note of September"}
    assert [(row.lock_no, str(row.through), row.reason) for row in lock_history(shop.home)] == [
        (1, "2026-08", "done"),
        (2, "2026-09", ""),
        (3, "2026-08", "a credit note of September"),
    ]
    september = datetime(2026, 9, 20, tzinfo=UTC)
    assert credit(shop.home, "INV-2026-000001", reason="x", as_of=september).number
    with pytest.raises(DataRefused, match="2026-09 is not locked"):
        unlock_month(shop.home, SEPTEMBER, NOW, "again")
    assert lock_month(shop.home, SEPTEMBER, NOW).is_new


def test_nothing_is_locked_at_first(shop: Shop) -> None:
    issued(shop)
    assert lock_history(shop.home) == []
    with pytest.raises(DataRefused, match="2026-08 is not locked"):
        unlock_month(shop.home, AUGUST, NOW, "x")
    with shop.home.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(period_locks)).scalar_one() == 0
