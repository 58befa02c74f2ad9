"""Killed by SIGKILL at every commit point and at random moments, then run again: the outputs of an undisturbed run.

Also: two closes, and two ingests, of the same thing at once.
"""

from __future__ import annotations

import csv
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from billing.steps import commit_points
from billing.steps.homes import home_at
from billing.steps.invoices import list_invoices
from billing.steps.status import status
from tests.kills import driver
from tests.slow_model import histories

pytestmark = pytest.mark.kills

ROOT = Path(__file__).parents[2]
SEED = 33  # nine invoices in two closes
RANDOM_MOMENTS = 20


def run(scenario: Path, work: Path, url: str | None, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.kills.driver", str(scenario), str(work), *more]
    command += ["--database", url] if url else []
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(scenario: Path, work: Path, url: str | None, *more: str) -> None:
    process = run(scenario, work, url, *more)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said.decode()


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
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random history with corrections, late usage, duplicates, rejects and several invoices."""
    folder = tmp_path_factory.mktemp("scenario")
    histories.write(histories.generate(random.Random(SEED)), folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(scenario: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    work = tmp_path_factory.mktemp("undisturbed")
    finish(scenario, work, None)
    seen = outcome(work)
    assert len([name for name in seen if not name.endswith(".csv")]) == 10  # nine documents and the count of events
    return seen


@pytest.mark.parametrize("point", commit_points.ALL)
def test_killed_at_a_commit_point(scenario: Path, undisturbed: dict[str, object], tmp_path: Path, point: str) -> None:
    process = run(scenario, tmp_path, None, "--kill", point, "--time", "2")
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, f"{point} was not reached twice"
    finish(scenario, tmp_path, None)
    assert outcome(tmp_path) == undisturbed


@pytest.mark.parametrize("point", commit_points.ALL[2::3])
def test_killed_at_a_commit_point_on_postgresql(
    scenario: Path, undisturbed: dict[str, object], tmp_path: Path, point: str, postgres_url: Callable[[], str]
) -> None:
    url = postgres_url()
    process = run(scenario, tmp_path, url, "--kill", point)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    finish(scenario, tmp_path, url)
    assert outcome(tmp_path, url) == undisturbed


def test_killed_at_random_moments(scenario: Path, undisturbed: dict[str, object], tmp_path: Path) -> None:
    moments = random.Random(SEED)
    killed = rounds = 0
    while killed < RANDOM_MOMENTS:
        work = tmp_path / f"round-{rounds}"
        rounds += 1
        while killed < RANDOM_MOMENTS:
            process = run(scenario, work, None)
            time.sleep(moments.uniform(1.2, 4.0))
            process.kill()
            process.communicate(timeout=120)
            if process.returncode == 0:
                break
            killed += 1
        finish(scenario, work, None)
        assert outcome(work) == undisturbed


def test_two_closes_at_once_make_one_set_of_invoices(
    scenario: Path, undisturbed: dict[str, object], tmp_path: Path, database_url: str | None
) -> None:
    """The same cycles closed, and the same files ingested, by two runs at once: one set of rows, one invoice each."""
    lines = driver.commands(scenario)
    first_close = next(number for number, line in enumerate(lines) if line[0] == "cycles")
    together = first_close - 2  # an ingest, the word that usage is complete, the close
    finish(scenario, tmp_path, database_url, "--commands", str(together))
    home = ["--home", str(tmp_path / "home"), *(["--database", database_url] if database_url else [])]
    for line in lines[together : first_close + 1]:
        command = [sys.executable, "-m", "billing.cli", *home, *line]
        both = [subprocess.Popen(command, cwd=scenario, stdout=subprocess.DEVNULL) for _ in range(2)]
        assert {process.wait(timeout=120) for process in both} <= {0, 3}
    (tmp_path / "done").write_text(str(first_close + 1))
    finish(scenario, tmp_path, database_url)
    assert outcome(tmp_path, database_url) == undisturbed
