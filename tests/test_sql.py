"""The SQL in ``sql/`` runs on both databases, finds nothing in good books, and finds what was tampered with."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from billing.steps.homes import home_at
from billing.steps.simulate import simulate
from billing.store.home import Home
from tests.slow_model import histories

SQL = Path(__file__).parent.parent / "sql"
CHECKS = sorted((SQL / "checks").glob("*.sql"))
EVERYTHING = sorted(SQL.rglob("*.sql"))
SEED_WITH_INVOICES = 7


@pytest.fixture
def books(tmp_path: Path, database_url: str | None) -> Iterator[Home]:
    """The books of a random history that issued invoices."""
    histories.write(histories.generate(random.Random(SEED_WITH_INVOICES)), tmp_path / "scenario")
    home = home_at(tmp_path / "home", database_url)
    simulate(home, tmp_path / "scenario", tmp_path / "out")
    yield home
    home.close()


def found_by(home: Home, path: Path) -> list[tuple[object, ...]]:
    with home.database.read() as connection:
        return [tuple(row) for row in connection.execute(text(path.read_text("utf-8")))]


def test_good_books_break_no_law_and_reports_say_something(books: Home) -> None:
    assert {path.stem: found_by(books, path) for path in CHECKS} == {path.stem: [] for path in CHECKS}
    for path in (SQL / "reports").glob("*.sql"):
        assert found_by(books, path), path.name


TAMPERED = {
    "units_are_drawn_once": "update carry set charged_units = charged_units + 1 where billing = 'rated'",
    "carry_moves_on": "update carry set opening_micro = opening_micro + 1",
    "numbers_have_no_gap": "update invoices set sequence = sequence + 5",
    "lines_add_up": "update invoices set total_minor = total_minor + 1",
    "lines_match_draws": "update invoice_lines set charged_units = charged_units + 1",
    "records_are_accounted_for": "update quarantine set ending = 'accepted', ended_in = batch_no",
}


@pytest.mark.parametrize("path", CHECKS, ids=lambda path: path.stem)
def test_each_law_finds_what_breaks_it(books: Home, path: Path) -> None:
    with books.database.write() as connection:
        connection.execute(text(TAMPERED[path.stem]))
    assert found_by(books, path)


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: path.stem)
def test_each_file_says_what_a_row_is_and_its_bounds(path: Path) -> None:
    header = [line for line in path.read_text("utf-8").splitlines() if line.startswith("--")]
    assert any("A row is" in line for line in header)
    assert any("Parameters:" in line and "Bounds:" in line for line in header)
