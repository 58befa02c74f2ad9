"""Upkeep killed at every commit point and at random moments: nothing is lost, nothing is there twice, and what comes
after gives what an undisturbed home gives.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
from deltalake import DeltaTable

from billing.steps import commit_points
from billing.steps.homes import home_at
from billing.steps.upkeep import upkeep
from tests.kills import driver
from tests.kills.test_kills import LONG_S, forks
from tests.steps.small_world import REFERENCE, Shop

pytestmark = pytest.mark.kills
__all__ = ["forks"]

FILES, ROWS = 12, 1_500
RANDOM_MOMENTS = 12
COMPACT = ["usage", "compact", "--keep-days", "0"]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A home with many small files, what it gives in the end, and how long its upkeep takes."""

    folder: Path
    outcome: dict[str, object]
    seconds: float


def rows() -> list[list[str]]:
    """Usage of two teams and two months, a list a file."""
    return [
        [
            f"e{file}-{n},2026-0{6 + n // 2 % 2}-{1 + n % 28:02d}T0{n % 10}:00:00Z,a{1 + n % 2},render,{1 + n % 7},,"
            for n in range(ROWS)
        ]
        for file in range(FILES)
    ]


def outcome(home_folder: Path, work: Path) -> dict[str, object]:
    """All outputs, after everything was delivered again and July was closed."""
    shop = Shop(home=home_at(home_folder), folder=work)
    again = shop.ingest(*[line for lines in rows() for line in lines[:40]], now="08-02")
    shop.close("08-02")
    lake = shop.home.usage.lake
    seen = {
        "outputs": shop.export(),
        "again": (again.accepted, again.duplicates),
        "rows": lake.rows_by("month"),
        "batches": [lake.has_batch(n) for n in range(FILES + 3)],
    }
    shop.home.close()
    return seen


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("kept")
    home = home_at(folder / "home")
    home.create()
    shop = Shop(home=home, folder=folder / "files")
    shop.load(subscriptions=[line.replace("2026-07", "2026-06") for line in REFERENCE["subscriptions"]])
    for lines in rows():
        shop.ingest(*lines, now="08-01")
    assert home.usage.lake.size()[0] == 4 * FILES
    home.close()
    for name in ("never", "quickly"):
        shutil.copytree(folder / "home", folder / name)
    quick = home_at(folder / "quickly")
    began = time.monotonic()
    upkeep(quick, keep_days=0)
    seconds = time.monotonic() - began
    quick.close()
    seen = outcome(folder / "never", folder / "never-files")
    assert seen["again"] == (0, FILES * 40)
    return Kept(folder=folder / "home", outcome=seen, seconds=seconds)


Start = Callable[[Path, str], ForkServerProcess]


@pytest.fixture(scope="module")
def start(forks: multiprocessing.context.ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> Start:
    said = tmp_path_factory.mktemp("said") / "said"

    def begin(home: Path, kill: str = "") -> ForkServerProcess:
        line = ["--home", str(home), *COMPACT]
        process = forks.Process(target=driver.give, args=([line], home.parent, said, kill))
        process.start()
        return process

    return begin


def finished(home_folder: Path) -> None:
    """The next run goes on where the killed one came to, and nothing of the table is missing on disk."""
    home = home_at(home_folder)
    upkeep(home, keep_days=0)
    assert home.usage.lake.size()[0] == 4
    home.close()
    assert DeltaTable(str(home_folder / "lake" / "usage")).to_pyarrow_dataset().count_rows() == FILES * ROWS


@pytest.mark.parametrize("point", commit_points.UPKEEP)
def test_killed_at_a_commit_point(kept: Kept, start: Start, tmp_path: Path, point: str) -> None:
    home = tmp_path / "home"
    shutil.copytree(kept.folder, home)
    process = start(home, point)
    process.join(LONG_S)
    assert process.exitcode == -signal.SIGKILL, f"{point} was not reached"
    finished(home)
    assert outcome(home, tmp_path / "files") == kept.outcome


def test_killed_at_random_moments(kept: Kept, start: Start, tmp_path: Path) -> None:
    """Also while a file is half written, and between its writing and its commit."""
    moments = random.Random(5)
    for number in range(RANDOM_MOMENTS):
        home = tmp_path / f"home-{number}"
        shutil.copytree(kept.folder, home)
        killed = 0
        while killed < 2:
            process = start(home, "")
            process.join(moments.uniform(0.0, 2 * kept.seconds))
            process.kill()
            process.join(LONG_S)
            killed += process.exitcode != 0
            if process.exitcode == 0:
                break
        finished(home)
        if number % 3 == 0:
            assert outcome(home, tmp_path / f"files-{number}") == kept.outcome


def test_a_close_and_an_ingest_beside_it(kept: Kept, start: Start, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(kept.folder, home)
    running = [start(home, ""), start(home, "")]
    seen = outcome(home, tmp_path / "files")
    for process in running:
        process.join(LONG_S)
        assert process.exitcode == 0
    assert seen == kept.outcome
