"""Every golden case beside the checkout agrees to the last cell, through ``simulate``, on SQLite and on PostgreSQL."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from billing.steps.homes import home_at
from billing.steps.simulate import simulate

CASES = Path(__file__).parents[2] / "shared" / "cases"
NAMES = sorted(path.name for path in CASES.iterdir() if path.is_dir()) if CASES.is_dir() else []

pytestmark = pytest.mark.skipif(not NAMES, reason="the cases are not beside the checkout")


def table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.reader(handle))


def compare(expected: Path, actual: Path) -> None:
    """Cell by cell and in order; further columns may follow the expected ones."""
    for path in sorted(expected.glob("*.csv")):
        want = table(path)
        width = len(want[0])
        assert [row[:width] for row in table(actual / path.name)] == want, path.name


@pytest.mark.parametrize("name", NAMES)
def test_case(name: str, tmp_path: Path, database_url: str | None) -> None:
    home = home_at(tmp_path / "home", database_url)
    simulate(home, CASES / name, tmp_path / "out")
    home.close()
    compare(CASES / name / "expected", tmp_path / "out")


@pytest.mark.parametrize(("name", "status"), [("waterfall", 0), ("parked", 3)])
def test_case_through_the_command(name: str, status: int, tmp_path: Path) -> None:
    """Exit status 0: done; 3: done, but teams are parked."""
    command = [
        sys.executable,
        "-m",
        "billing.cli",
        "simulate",
        str(CASES / name),
        "--out",
        str(tmp_path),
        "--documents",
    ]
    assert subprocess.run(command, check=False).returncode == status
    compare(CASES / name / "expected", tmp_path)
    invoices = [row[0] for row in table(tmp_path / "invoices.csv")[1:]]
    assert sorted(path.stem for path in (tmp_path / "documents").glob("*.pdf")) == invoices
