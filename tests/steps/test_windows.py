"""Windows of sources: what was taken, what is missing and why, and that usage is complete only where all of it came
(rule 3.4).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from billing.core.errors import AnomalyFound, BillingError, DataRefused, NotFound, SourceUnavailable
from billing.intake.sources.seam import SourceFile, Taken, Window
from billing.steps.batch import Also, Judged
from billing.steps.close import close
from billing.steps.ingest import Occasion
from billing.steps.status import status
from billing.steps.window_history import WindowState, window_history
from billing.steps.windows import WindowSummary, register, retire, set_aside, take_window
from billing.store.home import Home

from .small_world import USAGE_HEADER, Shop, instant

NOON = instant("2026-07-10T12:00:00Z")


def minutes(number: float) -> datetime:
    return NOON + timedelta(minutes=number)


@dataclass
class Feed:
    """A source by hand: files that arrived at a minute, and what happens when it is read."""

    folder: Path
    name: str = "feed"
    kind: str = "files"
    location: str = "by hand"
    arrived: dict[str, float] = field(default_factory=dict)
    broken: BillingError | None = None
    windows: list[Window] = field(default_factory=list)
    staging: list[Path] = field(default_factory=list)

    def deliver(self, name: str, at: float, *lines: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text("\n".join([USAGE_HEADER, *lines, ""]))
        self.arrived[name] = at

    def extract(self, window: Window, taken: Taken, staging: Path) -> list[SourceFile]:
        self.windows.append(window)
        self.staging.append(staging)
        (staging / "half").write_text("what a source fetches")
        if self.broken:
            raise self.broken
        names = {name for name, _, _ in taken.files}
        waiting = [name for name, at in self.arrived.items() if minutes(at) < window.end and name not in names]
        return [SourceFile(path=self.folder / n, name=n, arrived_at=minutes(self.arrived[n])) for n in waiting]


def event(number: int) -> str:
    return f"e{number},2026-07-05T10:00:00Z,a1,render,1,,"


@pytest.fixture
def feed(shop: Shop) -> Feed:
    """A source that is empty, beside a home that knows the small world."""
    shop.load()
    return Feed(folder=shop.folder / "feed")


def take(shop: Shop, source: Feed, start: float, end: float) -> WindowSummary:
    return take_window(shop.home, source, minutes(start), minutes(end))


def stretches(shop: Shop, now: float, **options: bool) -> list[tuple[str, str, float | None, float, int, int]]:
    found = window_history(shop.home, minutes(now), **options)  # type: ignore[arg-type]
    since = [None if one.start is None else (one.start - NOON) / timedelta(minutes=1) for one in found]
    return [
        (one.source, one.state.value, start, (one.end - NOON) / timedelta(minutes=1), one.windows, one.records)
        for one, start in zip(found, since, strict=True)
    ]


def test_what_is_missing_has_its_reason_and_is_made_up(shop: Shop, feed: Feed) -> None:
    feed.deliver("a.csv", 5, event(1))
    take(shop, feed, 0, 10)
    feed.deliver("b.csv", 15, event(2))
    feed.broken = SourceUnavailable("feed: the connection was refused")
    with pytest.raises(SourceUnavailable):
        take(shop, feed, 10, 20)
    assert stretches(shop, 30) == [("feed", "succeeded", 0, 10, 1, 1), ("feed", "awaited", 10, 30, 0, 0)]
    assert "unavailable at " in window_history(shop.home, minutes(30))[-1].why
    feed.broken = None
    assert take(shop, feed, 20, 30).window_start == minutes(10), "it reaches back to the last one that succeeded"
    take(shop, feed, 30, 40)
    assert stretches(shop, 40) == [("feed", "succeeded", 0, 30, 2, 2), ("feed", "empty", 30, 40, 1, 0)]


def test_the_first_window_of_a_source_says_so(shop: Shop, feed: Feed) -> None:
    take(shop, feed, 0, 10)
    take(shop, feed, 10, 20)
    assert [window.first for window in feed.windows] == [True, False]


def test_nothing_of_an_extract_stays_behind(shop: Shop, feed: Feed) -> None:
    take(shop, feed, 0, 10)
    feed.broken = DataRefused("feed: not like this")
    with pytest.raises(DataRefused):
        take(shop, feed, 10, 20)
    left = shop.home.folder / "staging" / "killed"
    left.mkdir()
    os.utime(left, (time.time() - 3 * 86_400,) * 2)
    feed.broken = None
    take(shop, feed, 10, 20)
    assert not any(staging.exists() for staging in feed.staging)
    assert list((shop.home.folder / "staging").iterdir()) == [], "nor of one that was killed three days ago"


def test_a_refused_file_is_named_with_what_to_do_and_can_be_set_aside(shop: Shop, feed: Feed) -> None:
    feed.deliver("good.csv", 1, event(1))
    feed.deliver("bad.csv", 2)
    (feed.folder / "bad.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(DataRefused, match="billing usage set-aside feed bad.csv --why"):
        take(shop, feed, 0, 10)
    with pytest.raises(NotFound, match="no file named other.csv waits there"):
        set_aside(shop.home, feed, "other.csv", "a typing error")
    assert set_aside(shop.home, feed, "bad.csv", "the gateway wrote UTF-16; asked for a new one") == 1
    done = take(shop, feed, 0, 10)
    assert (done.files, done.ingested and done.ingested.accepted) == (1, 1)
    assert (feed.folder / "bad.csv").exists(), "it is not touched"


def test_an_inspector_can_stop_a_window(shop: Shop, feed: Feed) -> None:
    def stop(home: Home, judged: Judged, occasion: Occasion) -> Also:
        assert (occasion.source, occasion.window_start) == ("feed", minutes(0))
        raise AnomalyFound("feed: ten times as many records as usual")

    feed.deliver("a.csv", 1, event(1))
    with pytest.raises(AnomalyFound):
        take_window(shop.home, feed, minutes(0), minutes(10), inspector=stop)
    assert "anomaly at " in window_history(shop.home, minutes(10))[0].why
    assert shop.export()["rejected"] == []
    assert take(shop, feed, 0, 10).files == 1


def test_a_close_names_the_source_that_it_waits_for(shop: Shop, feed: Feed) -> None:
    """Rule 3.4: and why nothing came of it."""
    take_window(shop.home, feed, instant("07-01"), instant("2026-08-01T02:00:00Z"))
    slow = Feed(folder=shop.folder / "slow", name="slow", broken=SourceUnavailable("slow: no route to host"))
    with pytest.raises(SourceUnavailable):
        take_window(shop.home, slow, instant("07-01"), instant("2026-08-01T02:00:00Z"))
    done = close(shop.home, instant("2026-08-01T02:00:00Z"))
    assert done.cycles == 0
    assert done.waiting.cycles == 2
    (waits,) = done.waiting.awaited
    assert str(waits).startswith("source slow: nothing was taken yet; last attempt was unavailable at ")
    assert str(waits).endswith("slow: no route to host")
    assert [one.source for one in status(shop.home).awaited] == ["slow"]
    slow.broken = None
    take_window(shop.home, slow, instant("07-01"), instant("2026-08-01T02:00:00Z"))
    assert close(shop.home, instant("2026-08-01T02:00:00Z")).cycles == 2


def test_a_source_that_is_retired_is_awaited_no_more(shop: Shop, feed: Feed) -> None:
    register(shop.home, Feed(folder=shop.folder, name="old"))
    take_window(shop.home, feed, instant("07-01"), instant("2026-08-01T02:00:00Z"))
    assert close(shop.home, instant("2026-08-01T02:00:00Z")).cycles == 0
    with pytest.raises(NotFound, match="there are: feed, old"):
        retire(shop.home, "odl", "mistyped")
    retire(shop.home, "old", "the gateway replaced it")
    assert close(shop.home, instant("2026-08-01T02:00:00Z")).cycles == 2


def test_each_window_can_be_listed(shop: Shop, feed: Feed) -> None:
    for start in (0, 10, 30):
        feed.deliver(f"{start}.csv", start + 1, event(start))
        take_window(shop.home, feed, minutes(start), minutes(start + 10))
    listed = stretches(shop, 40, each=True)
    assert [one[1:4] for one in listed] == [("succeeded", 0, 10), ("succeeded", 10, 20), ("succeeded", 20, 40)]


def test_a_window_that_was_skipped_by_a_person_is_missing(shop: Shop, feed: Feed) -> None:
    """Two batches with a gap between, as a restored backup may have them."""
    from billing.steps.ingest import ingest

    ingest(shop.home, [], minutes(10), window_start=minutes(0), source="feed")
    ingest(shop.home, [], minutes(30), window_start=minutes(20), source="feed")
    assert [(one.state, one.start, one.end) for one in window_history(shop.home, minutes(30))] == [
        (WindowState.EMPTY, minutes(0), minutes(10)),
        (WindowState.MISSING, minutes(10), minutes(20)),
        (WindowState.EMPTY, minutes(20), minutes(30)),
        (WindowState.AWAITED, minutes(10), minutes(30)),
    ]


def test_two_runs_of_one_source_exclude_each_other(shop: Shop, feed: Feed) -> None:
    feed.deliver("a.csv", 1, event(1))
    inside, most = 0, 0
    extract: Callable[[Window, Taken, Path], list[SourceFile]] = feed.extract

    def slowly(window: Window, taken: Taken, staging: Path) -> list[SourceFile]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.2)
        found = extract(window, taken, staging)
        inside -= 1
        return found

    feed.extract = slowly  # type: ignore[method-assign]
    runs = [threading.Thread(target=take, args=(shop, feed, 0, 10)) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert most == 1
    assert shop.export()["rejected"] == [], "the second found nothing new"
