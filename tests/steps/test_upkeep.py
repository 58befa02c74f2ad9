"""Upkeep changes no number: a home that is kept up again and again gives what one gives that never is."""

from __future__ import annotations

import pytest

from billing.core.errors import UsageError
from billing.intake.expectations.bounds import Bounds
from billing.steps.ingest import Occasion, ingest
from billing.steps.inspection import history_of
from billing.steps.reconcile import reconcile
from billing.steps.upkeep import upkeep

from .small_world import Shop, instant

FILES = 12


def month(shop: Shop, number: int, *, kept_up: bool) -> None:
    """Twelve files of a month, with late usage, duplicates, conflicts and corrections among them; then its close."""
    this, after = f"{number:02d}", f"{number + 1:02d}"
    for day in range(1, FILES + 1):
        lines = [
            f"{this}-{day}-{n},2026-{this}-{day:02d}T0{n}:30:00Z,a{1 + n % 2},render,{day + n},," for n in range(6)
        ]
        lines.append(f"{this}-{day}-s,2026-{this}-{day:02d}T10:00:00Z,,seats,1,,t1")
        if number > 7:
            lines.append(f"{this}-{day}-late,2026-{number - 1:02d}-{day:02d}T10:00:00Z,a2,translate,2,,")
        if day > 1:
            lines.append(f"{this}-{day - 1}-1,2026-{this}-{day - 1:02d}T01:30:00Z,a2,render,{day},,")
            lines.append(f"{this}-{day - 1}-2,2026-{this}-{day - 1:02d}T02:30:00Z,a1,render,99,,")
            lines.append(f"{this}-{day}-c,2026-{this}-{day - 1:02d}T03:30:00Z,a2,render,-1,{this}-{day - 1}-3,")
        shop.ingest(*lines, now=f"{this}-{day + 1:02d}")
        if kept_up and day % 5 == 0:
            upkeep(shop.home, keep_days=0)
    shop.ingest(now=f"{after}-02")
    if kept_up:
        upkeep(shop.home, keep_days=0)
    shop.close(f"{after}-02")


def test_outputs_are_those_of_a_home_that_was_never_kept_up(shop: Shop, other: Shop) -> None:
    for one in (shop, other):
        one.load()
        for number in (7, 8):
            month(one, number, kept_up=one is shop)
    assert other.home.usage.lake.size()[0] == 5 * FILES
    assert shop.home.usage.lake.size()[0] <= 2 * 5
    seen = shop.export()
    assert seen == other.export()
    assert len(seen["invoices"]) == 4 and seen["rejected"] and any(int(row[5]) for row in seen["carry"])
    assert shop.balances("09-03") == other.balances("09-03")


def test_second_deliveries_are_known_whatever_was_put_together(shop: Shop) -> None:
    shop.load()
    lines = [f"e{n},2026-07-05T10:00:00Z,a1,render,1,," for n in range(FILES)]
    for line in lines:
        shop.ingest(line, now="07-06")
    upkeep(shop.home, keep_days=0)
    again = shop.ingest(*lines, "e0,2026-07-05T10:00:00Z,a1,render,2,,", now="07-07")
    assert (again.accepted, again.duplicates, again.reasons["conflicting_duplicate"]) == (0, FILES, 1)


def test_the_summary_tells_what_was_done(shop: Shop) -> None:
    shop.load()
    for n in range(FILES):
        shop.ingest(f"e{n},2026-07-05T10:00:00Z,a1,render,1,,", now="07-06")
    files, size = shop.home.usage.lake.size()
    told: list[tuple[str, int, int]] = []
    done = upkeep(shop.home, keep_days=0, progress=lambda *said: told.append(said))
    assert (done.files_before, done.bytes_before, done.files_after, done.deleted) == (files, size, 1, FILES)
    assert 0 < done.bytes_after < done.bytes_before and done.seconds > 0
    assert told == [("partitions put together", 1, 1)]
    again = upkeep(shop.home)
    assert (again.files_before, again.files_after, again.deleted) == (1, 1, 0)


def test_days_that_cannot_be_kept_are_refused(shop: Shop) -> None:
    for days in (-1, 8):
        with pytest.raises(UsageError, match=f"kept for 0 to 7 days, not {days}"):
            upkeep(shop.home, days)


def test_a_home_without_usage_is_kept_up(shop: Shop) -> None:
    done = upkeep(shop.home)
    assert (done.files_before, done.files_after, done.deleted) == (0, 0, 0)


def test_what_a_window_is_compared_with_stays(shop: Shop) -> None:
    """How fresh earlier windows were is told by events that are in files of many batches now."""
    shop.load()

    def take(day: int) -> None:
        line = f"e{day},2026-07-{day:02d}T1{day % 10}:00:00Z,a1,render,1,,"
        window = instant(f"07-{day:02d}"), instant(f"07-{day + 1:02d}")
        ingest(shop.home, [shop.file([line])], window[1], window_start=window[0], source="drop")

    for day in range(1, FILES + 1):
        take(day)
    occasion = Occasion(source="drop", window_start=instant("07-20"), now=instant("07-21"), load_no=1)
    before = history_of(shop.home, occasion, Bounds())
    assert len(before.delays_us()) == FILES
    upkeep(shop.home, keep_days=0)
    assert history_of(shop.home, occasion, Bounds()) == before


def test_a_database_that_was_restored_is_still_told_apart(shop: Shop) -> None:
    shop.load()
    for n in range(FILES):
        shop.ingest(f"e{n},2026-07-05T10:00:00Z,a1,render,1,,", now="07-06")
    upkeep(shop.home, keep_days=0)
    assert reconcile(shop.home) == ()
