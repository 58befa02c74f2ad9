"""Usage by its arrival in a drop folder: windows end to end, files taken once."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from billing.core.errors import DataRefused
from billing.core.instants import to_us
from billing.intake.sources.folder_source import FolderSource
from billing.steps.status import status
from billing.steps.windows import WindowSummary, take_window

from .small_world import USAGE_HEADER, Shop, instant

NOON = instant("2026-07-10T12:00:00Z")


@pytest.fixture
def drop(shop: Shop) -> Path:
    """The folder, beside a home that knows the small world."""
    shop.load()
    folder = shop.folder / "drop"
    folder.mkdir()
    return folder


def minutes(number: float) -> datetime:
    return NOON + timedelta(minutes=number)


def arrive(folder: Path, name: str, at: float, *ids: str) -> Path:
    """A file that was complete so many minutes after noon."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{one},2026-07-05T10:00:00Z,a1,render,1,," for one in ids]
    path.write_text("\n".join([USAGE_HEADER, *lines, ""]))
    os.utime(path, ns=(0, to_us(minutes(at)) * 1_000))
    return path


def take(shop: Shop, drop: Path, start: float, end: float) -> WindowSummary:
    return take_window(shop.home, FolderSource(name="drop", folder=drop), minutes(start), minutes(end))


def accepted(summary: WindowSummary) -> int | None:
    return summary.ingested.accepted if summary.ingested else None


def test_a_window_takes_what_arrived_before_its_end(shop: Shop, drop: Path) -> None:
    arrive(drop, "b.csv", 5, "e1")
    arrive(drop, "a.csv", 9.99, "e2", "e3")
    arrive(drop, "c.csv", 10, "e4")
    first = take(shop, drop, 0, 10)
    assert (first.files, accepted(first)) == (2, 3)
    second = take(shop, drop, 10, 20)
    assert (second.files, accepted(second)) == (1, 1)
    assert status(shop.home).complete_through == "2026-07-10T12:20:00Z"


def test_files_are_taken_in_the_order_of_their_arrival_then_of_their_names(shop: Shop, drop: Path) -> None:
    """Of two records with one id the one that arrived first stands."""
    arrive(drop, "z.csv", 1, "e1")
    arrive(drop, "b.csv", 2, "e1")
    arrive(drop, "a/c.csv", 2, "e1")
    take(shop, drop, 0, 10)
    assert [row[0] for row in shop.export()["rejected"]] == ["a/c.csv", "b.csv"]


def test_a_window_that_is_taken_twice_takes_no_second_number(shop: Shop, drop: Path) -> None:
    arrive(drop, "a.csv", 5, "e1")
    take(shop, drop, 0, 10)
    before = status(shop.home)
    again = take(shop, drop, 0, 10)
    assert (again.files, again.ingested) == (0, None)
    assert status(shop.home) == before


def test_an_empty_window_is_a_batch_that_says_so(shop: Shop, drop: Path) -> None:
    empty = take(shop, drop, 0, 10)
    assert (empty.files, accepted(empty)) == (0, 0)
    assert status(shop.home).complete_through == "2026-07-10T12:10:00Z"


def test_an_empty_window_may_come_before_the_first_load(shop: Shop) -> None:
    folder = shop.folder / "drop"
    folder.mkdir(parents=True)
    assert accepted(take(shop, folder, 0, 10)) == 0
    shop.load()
    assert take(shop, folder, 10, 20).window_start == minutes(10)


def test_a_window_after_an_outage_begins_where_the_last_one_ended(shop: Shop, drop: Path) -> None:
    take(shop, drop, 0, 10)
    arrive(drop, "a.csv", 15, "e1")
    arrive(drop, "b.csv", 45, "e2")
    healed = take(shop, drop, 40, 50)
    assert (healed.window_start, healed.files, accepted(healed)) == (minutes(10), 2, 2)
    assert status(shop.home).awaited == ()
    assert status(shop.home).complete_through == "2026-07-10T12:50:00Z"


def test_an_earlier_window_run_late_takes_only_what_is_new(shop: Shop, drop: Path) -> None:
    arrive(drop, "a.csv", 5, "e1")
    take(shop, drop, 10, 20)
    arrive(drop, "b.csv", 3, "e2")
    again = take(shop, drop, 0, 10)
    assert (again.files, accepted(again)) == (1, 1)
    assert status(shop.home).complete_through == "2026-07-10T12:20:00Z"


def test_a_file_whose_rename_came_after_its_window_comes_with_the_next(shop: Shop, drop: Path) -> None:
    """Its time is that of its last write: before the end of a window that did not see it."""
    part = arrive(drop, "a.csv.part", 5, "e1")
    assert take(shop, drop, 0, 10).files == 0
    part.rename(drop / "a.csv")
    assert accepted(take(shop, drop, 10, 20)) == 1


def test_the_same_name_with_new_bytes_is_a_new_file(shop: Shop, drop: Path) -> None:
    arrive(drop, "usage.csv", 5, "e1")
    take(shop, drop, 0, 10)
    arrive(drop, "usage.csv", 15, "e1", "e2")
    second = take(shop, drop, 10, 20)
    assert second.ingested
    assert (second.ingested.accepted, second.ingested.duplicates) == (1, 1)


UNFINISHED = [
    "a.csv.part",
    "a.csv.tmp",
    ".a.csv",
    "a.txt",
    "a.csv.gz.part",
    ".incoming/a.csv",
    "x/.rsync-partial/a.csv",
]


@pytest.mark.parametrize("name", UNFINISHED)
def test_unfinished_files_are_left_alone(shop: Shop, drop: Path, name: str) -> None:
    """Also where whoever delivers writes them into a hidden folder, as rsync does."""
    arrive(drop, name, 5, "e1")
    assert take(shop, drop, 0, 10).files == 0


def test_nothing_in_the_folder_is_moved_or_deleted(shop: Shop, drop: Path) -> None:
    path = arrive(drop, "a.csv", 5, "e1")
    before = path.stat()
    take(shop, drop, 0, 10)
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)


def test_a_file_that_is_refused_stops_the_window_until_it_is_mended(shop: Shop, drop: Path) -> None:
    arrive(drop, "a.csv", 5, "e1")
    bad = drop / "b.csv"
    bad.write_text("not,usage\n")
    os.utime(bad, ns=(0, to_us(minutes(6)) * 1_000))
    with pytest.raises(DataRefused, match=r"b\.csv"):
        take(shop, drop, 0, 10)
    assert status(shop.home).complete_through == ""
    arrive(drop, "b.csv", 7, "e2")
    assert accepted(take(shop, drop, 10, 20)) == 2


def test_a_window_that_ends_before_it_begins_is_refused(shop: Shop, drop: Path) -> None:
    for start, end in ((10, 10), (10, 9)):
        with pytest.raises(DataRefused, match="before it begins"):
            take(shop, drop, start, end)


def test_a_missing_folder_is_refused_rather_than_empty(shop: Shop) -> None:
    """A disk that is not mounted must not say that there was no usage."""
    shop.load()
    with pytest.raises(DataRefused, match="there is no such folder"):
        take(shop, shop.folder / "nowhere", 0, 10)
    assert status(shop.home).batches == 0
