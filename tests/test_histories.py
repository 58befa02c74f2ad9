"""The pipeline equals a slow model, written from the rules alone, on random histories that sit on the edges.

``--histories N`` runs N of them (``make test ARGS="tests/test_histories.py --histories 2000"``).
"""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from billing.steps.homes import home_at
from billing.steps.simulate import simulate
from tests.slow_model import histories, model


def table(path: Path) -> list[tuple[str, ...]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return [tuple(row) for row in csv.reader(handle)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    first, count = (metafunc.config.getoption(name) for name in ("--first-seed", "--histories"))
    metafunc.parametrize("seed", range(first, first + count))


def test_a_random_history_gives_what_the_rules_say(seed: int, tmp_path: Path) -> None:
    scenario = tmp_path / "scenario"
    histories.write(histories.generate(random.Random(seed)), scenario)
    home = home_at(tmp_path / "home")
    simulate(home, scenario, tmp_path / "out")
    home.close()
    for name, rows in model.run(scenario).items():
        width = len(rows[0])  # further columns may follow those of the data contract
        found = [row[:width] for row in table(tmp_path / "out" / name)]
        assert found == [tuple(row) for row in rows], f"seed {seed}: {name}"
