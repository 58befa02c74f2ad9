"""Killed by SIGKILL at every commit point and at random moments, then run again: the outputs of an undisturbed run.

Also: two closes, two ingests, and both together, at once. The processes are real ones, forked from a server that has
imported everything: what is killed is work, not imports.
"""

from __future__ import annotations

import csv
import multiprocessing
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from billing.steps import commit_points
from billing.steps.homes import home_at
from billing.steps.invoices import list_invoices
from billing.steps.status import status
from tests.kills import driver
from tests.slow_model import histories
from tests.steps.small_world import Shop

pytestmark = pytest.mark.kills

ROOT = Path(__file__).parents[2]
SEED = 33  # nine invoices in two closes
RANDOM_MOMENTS = 20
IMPORTED = [
    f"billing.steps.{name}"
    for name in ("close", "ingest", "inspection", "render", "export", "status", "reference", "replay", "replacement")
]
LONG_S = 120


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """What a run gives that nobody kills, and how long it takes."""

    outcome: dict[str, object]
    seconds: float


@pytest.fixture(scope="module")
def forks() -> multiprocessing.context.ForkServerContext:
    """Processes that begin where the imports end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.kills.driver", "alembic.command", *IMPORTED])
    return context


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Starts the driver of one scenario."""

    forks: multiprocessing.context.ForkServerContext
    scenario: Path

    def start(self, work: Path, url: str | None = None, *more: str) -> ForkServerProcess:
        """A run in ``work`` from where the last one there came to."""
        where = [str(self.scenario), str(work), *more, *(["--database", url] if url else [])]
        process = self.forks.Process(target=driver.drive, args=(where, work.with_name(f"{work.name}.said")))
        process.start()
        return process

    def killed(self, work: Path, url: str | None, point: str, times: int) -> None:
        """A run that dies when the point is reached."""
        process = self.start(work, url, "--kill", point, "--time", str(times))
        process.join(LONG_S)
        assert process.exitcode == -signal.SIGKILL, f"{point} was not reached {times} times"

    def finish(self, work: Path, url: str | None = None, *more: str) -> None:
        """A run to the end."""
        process = self.start(work, url, *more)
        process.join(LONG_S)
        assert process.exitcode == 0, work.with_name(f"{work.name}.said").read_text()


def outcome(work: Path, url: str | None = None) -> dict[str, object]:
    """All that anybody sees: every output, every document's bytes, and that the books hold."""
    seen: dict[str, object] = {path.name: path.read_bytes() for path in sorted((work / "out").glob("*.csv"))}
    home = home_at(work / "home", url)
    for invoice in list_invoices(home):
        seen[invoice.number] = Path(invoice.document).read_bytes()
    books = status(home)
    home.close()
    assert books.open_batches == 0
    with (work / "out" / "rejected.csv").open(newline="") as handle:
        rejected = len(list(csv.reader(handle))) - 1
    assert rejected == books.duplicates + sum(books.quarantined.values())
    assert not list((work / "out").glob(".*"))
    return seen | {"accepted": books.accepted}


@pytest.fixture(scope="module")
def runs(forks: multiprocessing.context.ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A random history with corrections, late usage, duplicates, rejects and several invoices."""
    folder = tmp_path_factory.mktemp("scenario")
    histories.write(histories.generate(random.Random(SEED)), folder)
    return Runs(forks=forks, scenario=folder)


@pytest.fixture(scope="module")
def undisturbed(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    runs.finish(folder / "first")  # the first one waits for the imports
    began = time.monotonic()
    runs.finish(folder / "second")
    seconds = time.monotonic() - began
    seen = outcome(folder / "first")
    assert outcome(folder / "second") == seen
    assert len([name for name in seen if not name.endswith(".csv")]) == 10  # nine documents and the count of events
    return Undisturbed(outcome=seen, seconds=seconds)


@pytest.mark.parametrize("point", commit_points.ALL)
def test_killed_at_a_commit_point(runs: Runs, undisturbed: Undisturbed, tmp_path: Path, point: str) -> None:
    work = tmp_path / "work"
    runs.killed(work, None, point, 2)
    runs.finish(work)
    assert outcome(work) == undisturbed.outcome


@pytest.mark.parametrize("point", commit_points.ALL[2::2])
def test_killed_at_a_commit_point_on_postgresql(
    runs: Runs, undisturbed: Undisturbed, tmp_path: Path, point: str, postgres_url: Callable[[], str]
) -> None:
    work, url = tmp_path / "work", postgres_url()
    runs.killed(work, url, point, 1)
    runs.finish(work, url)
    assert outcome(work, url) == undisturbed.outcome


def test_killed_again_and_again_at_one_point(runs: Runs, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """Each time one step further: the run comes to its end in spite of it."""
    work = tmp_path / "work"
    for point in commit_points.ALL:
        runs.killed(work, None, point, 1)
    runs.finish(work)
    assert outcome(work) == undisturbed.outcome


def test_killed_at_random_moments(runs: Runs, undisturbed: Undisturbed, tmp_path: Path) -> None:
    moments = random.Random(SEED)
    killed = rounds = 0
    while killed < RANDOM_MOMENTS:
        work = tmp_path / f"round-{rounds}"
        rounds += 1
        while killed < RANDOM_MOMENTS:
            process = runs.start(work)
            process.join(moments.uniform(0.0, undisturbed.seconds / 3))
            process.kill()
            process.join(LONG_S)
            if process.exitcode == 0:
                break
            killed += 1
        runs.finish(work)
        assert outcome(work) == undisturbed.outcome


def side_by_side(runs: Runs, folder: Path, said: Path, *pieces: list[list[str]]) -> None:
    """Give each of these lists of commands in a process of its own, all at once; each must end well."""
    processes = [runs.forks.Process(target=driver.give, args=(lines, folder, said)) for lines in pieces]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONG_S)
    assert [process.exitcode for process in processes] == [0] * len(processes), said.read_text()


def test_every_command_given_twice_at_once_is_done_once(
    runs: Runs, undisturbed: Undisturbed, tmp_path: Path, database_url: str | None
) -> None:
    """Cycles closed, files ingested, documents rendered by two runs at once: one set of rows, one invoice each."""
    work = tmp_path / "work"
    home = ["--home", str(work / "home"), *(["--database", database_url] if database_url else [])]
    lines = [[*home, *line] for line in driver.commands(runs.scenario)]
    work.mkdir()
    for line in lines:
        side_by_side(runs, runs.scenario, tmp_path / "said", [line], [line])
    (work / "done").write_text(str(len(lines)))
    runs.finish(work, database_url)
    assert outcome(work, database_url) == undisturbed.outcome


def test_usage_that_comes_while_a_close_runs_is_billed_once(
    runs: Runs, tmp_path: Path, database_url: str | None
) -> None:
    """In the cycle that closes or, late, in the next: the sum is the same whichever is faster (rules 3.5, 3.7)."""
    made = home_at(tmp_path / "home", database_url)
    made.create()
    shop = Shop(home=made, folder=tmp_path / "files")
    shop.load()
    shop.ingest("e0,2026-07-05T00:00:00Z,a1,render,65,,", now="08-02")
    files = [shop.file([f"e{k}-{n},2026-07-06T00:00:00Z,a1,render,1,," for n in range(10)]) for k in range(1, 13)]
    home = ["--home", str(made.folder), *(["--database", database_url] if database_url else [])]
    as_of = "2026-08-02T00:00:00Z"
    adding = [[*home, "usage", "ingest", file.name, "--now", as_of] for file in files]
    closing = [[*home, "cycles", "close", "--as-of", as_of, "--no-documents"]] * 4
    side_by_side(runs, files[0].path.parent, tmp_path / "said", adding[:6], closing, adding[6:], closing)
    july = shop.export()["carry"]
    shop.ingest(now="09-02")
    shop.close("09-02")
    seen = shop.export()
    assert [row for row in seen["carry"] if row[1] == "2026-07-01T00:00:00Z"] == july
    mine = [row for row in seen["carry"] if row[0] == "t1"]
    assert sum(int(row[4]) for row in mine) == 65 + 120
    assert sum(int(row[6]) for row in mine) == (65 + 120) // 20
    assert sum(int(row[5]) for row in mine if row[1] == "2026-08-01T00:00:00Z") == 185 - int(mine[0][4])
    assert status(made).accepted == 121
    assert sorted(row[0] for row in seen["invoices"]) == [
        f"INV-2026-{n:06d}" for n in range(1, len(seen["invoices"]) + 1)
    ]
    made.close()


def test_the_driver_runs_by_itself(runs: Runs, tmp_path: Path) -> None:
    """As a person runs it: ``python -m tests.kills.driver SCENARIO WORK --kill POINT``."""
    command = [sys.executable, "-m", "tests.kills.driver", str(runs.scenario), str(tmp_path / "work")]
    command += ["--kill", commit_points.INGEST_OPENED]
    assert subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode == -signal.SIGKILL
