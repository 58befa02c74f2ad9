"""The log and the laws, as an auditor asks for them: a head kept elsewhere finds a log that was written anew."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from billing.core.errors import ConservationBroken, UsageError
from billing.steps.audit.chain import Head, verify_log
from billing.steps.ledger_checks import look
from billing.store import log as chain
from billing.store.tables import draws, log, quarantine

from .small_world import Shop

LAWS = Path(__file__).parents[2] / "sql" / "checks"


def a_month(shop: Shop) -> Head:
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", now="08-02")
    shop.close("08-02")
    return verify_log(shop.home)


def test_the_log_holds_a_head_for_ever(shop: Shop) -> None:
    kept = a_month(shop)
    shop.ingest("e2,2026-08-05T00:00:00Z,a1,render,65,,", now="09-02")
    shop.close("09-02")
    newer = verify_log(shop.home, Head.parse(str(kept)))
    assert newer.seq == kept.seq + 2


def test_a_log_that_was_written_anew_does_not_hold_it(shop: Shop) -> None:
    """A row changed and every hash after it made again: the chain hangs together, and is another one."""
    kept = a_month(shop)
    with shop.home.database.write() as connection:
        rows = connection.execute(select(log).order_by(log.c.seq)).all()
        connection.execute(delete(log))
        for row in rows:
            payload = {"rewritten": row.seq} if row.seq == 2 else {"kind": row.kind}
            chain.append(connection, datetime.now(UTC), row.kind, payload)
    assert verify_log(shop.home).seq == kept.seq
    with pytest.raises(ConservationBroken, match=f"does not hold the head {kept}: its row {kept.seq} has the hash"):
        verify_log(shop.home, kept)


def test_a_log_that_lost_its_end_does_not_hold_it(shop: Shop) -> None:
    kept = a_month(shop)
    with shop.home.database.write() as connection:
        connection.execute(delete(log).where(log.c.seq == kept.seq))
    assert verify_log(shop.home).seq == kept.seq - 1
    with pytest.raises(ConservationBroken, match=f"it ends at row {kept.seq - 1}"):
        verify_log(shop.home, kept)


@pytest.mark.parametrize(
    "text", ["", "12", "12:", "x:" + "0" * 64, "12:" + "g" * 64, "12:" + "0" * 63, "\u0661:" + "0" * 64]
)
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no head of the log"):
        Head.parse(text)


def test_a_broken_law_is_named_with_its_rows(shop: Shop) -> None:
    a_month(shop)
    laws, totals = look(shop.home, LAWS)
    assert not any(law.violations for law in laws)
    with shop.home.database.write() as connection:
        connection.execute(update(draws).values(charged_units=draws.c.charged_units + 1))
    laws, totals = look(shop.home, LAWS)
    assert [law.name for law in laws if law.violations and "team_id t1" in law.rows[0]]
    assert [total.name for total in totals if total.left != total.right] == [
        "units_charged_and_drawn",
        "units_paid_and_invoiced",
    ]


@pytest.mark.parametrize("size", [3, 3_000_000])
def test_quarantined_bytes_that_are_not_the_archive_s_are_told(
    shop: Shop, run_billing: Callable[..., tuple[int, str]], size: int
) -> None:
    """Also of a record whose rest was cut off."""
    shop.load()
    shop.ingest(f"bad,2026-07-07T00:00:00Z,a1,render,{'x' * size},,", now="08-02", name="july.csv")
    assert run_billing(shop, "audit", "log")[0] == 0
    with shop.home.database.write() as connection:
        connection.execute(update(quarantine).values(raw=b"nothing"))
    status, said = run_billing(shop, "audit", "log")
    assert status
    assert "Quarantined records of batch 1, file july.csv, were changed" in said
    assert run_billing(shop, "audit", "log", "--no-files")[0] == 0
