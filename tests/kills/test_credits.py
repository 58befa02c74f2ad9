"""Credit notes and corrected invoices, killed by SIGKILL at every commit point: all of it or nothing, and the next
number is the next one; and given by many at once (rules 6.3 and 6.4).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing.steps import commit_points
from billing.steps.homes import home_at
from billing.steps.ledger_checks import check_ledger
from billing.steps.status import status
from tests.kills import driver
from tests.kills.test_kills import LONG_S, Runs, forks, side_by_side
from tests.steps.small_world import Shop

pytestmark = pytest.mark.kills
__all__ = ["forks"]

LAWS = Path(__file__).parents[2] / "sql" / "checks"
INVOICE, CORRECTED, OTHER = (f"INV-2026-00000{n}" for n in (1, 3, 2))
AS_OF = ["--as-of", "2026-08-10T00:00:00Z"]
CREDIT = ["invoices", "credit", INVOICE, "--reason", "wrong buyer", *AS_OF]
REISSUE = ["invoices", "reissue", INVOICE, *AS_OF]


@pytest.fixture(scope="module")
def runs(forks: object, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Where processes come from."""
    return Runs(forks=forks, scenario=tmp_path_factory.mktemp("none"))  # type: ignore[arg-type]


@pytest.fixture
def shop(tmp_path: Path, database_url: str | None) -> Iterator[Shop]:
    """Two invoices of July."""
    home = home_at(tmp_path / "home", database_url)
    home.create()
    made = Shop(home=home, folder=tmp_path / "files")
    made.load()
    usage = ("e1,2026-07-05T00:00:00Z,a1,translate,3,,", "e2,2026-07-06T00:00:00Z,a2,translate,3,,")
    made.ingest(*usage, now="08-02")
    made.close("08-02")
    yield made
    home.close()


def command(shop: Shop, line: list[str]) -> list[str]:
    url = [] if shop.home.database.is_sqlite else ["--database", shop.home.database.url]
    return ["--home", str(shop.home.folder), *url, *line]


def ended(runs: Runs, shop: Shop, line: list[str], kill: str = "") -> int | None:
    """How a process ends that is given this command, and killed at a point."""
    shop.folder.mkdir(exist_ok=True)
    arguments = ([command(shop, line)], shop.folder, shop.folder / "said", kill)
    process = runs.forks.Process(target=driver.give, args=arguments)
    process.start()
    process.join(LONG_S)
    return process.exitcode


def said(shop: Shop) -> str:
    return (shop.folder / "said").read_text()


def numbers(shop: Shop, table: str) -> list[str]:
    return [row[0] for row in shop.export()[table]]


def books_hold(shop: Shop) -> None:
    check_ledger(shop.home, LAWS, close_no=1)
    assert status(shop.home).log_rows


@pytest.mark.parametrize("point", [commit_points.CREDIT_NOTE_WRITTEN, commit_points.CREDIT_NOTE_ISSUED])
def test_a_credit_note_is_there_whole_or_not_at_all(runs: Runs, shop: Shop, point: str) -> None:
    """Killed before the commit nothing is there; after it the same command finds its work done and names it."""
    assert ended(runs, shop, CREDIT, point) == -signal.SIGKILL
    there = point == commit_points.CREDIT_NOTE_ISSUED
    assert numbers(shop, "credit_notes") == ["INV-CN-2026-000001"] * there
    assert len(numbers(shop, "credit_note_lines")) == there
    books_hold(shop)
    assert ended(runs, shop, CREDIT) == (1 if there else 0)
    assert not there or "given back so far by INV-CN-2026-000001" in said(shop)
    assert ended(runs, shop, ["invoices", "credit", OTHER, "--reason", "wrong"]) == 0
    assert numbers(shop, "credit_notes") == ["INV-CN-2026-000001", "INV-CN-2026-000002"]
    books_hold(shop)


@pytest.mark.parametrize("point", [commit_points.REISSUE_WRITTEN, commit_points.REISSUE_ISSUED])
def test_a_corrected_invoice_is_there_whole_or_not_at_all(runs: Runs, shop: Shop, point: str) -> None:
    """The same, and its number is the next of the invoices."""
    assert ended(runs, shop, CREDIT) == 0
    assert ended(runs, shop, REISSUE, point) == -signal.SIGKILL
    there = point == commit_points.REISSUE_ISSUED
    assert numbers(shop, "invoices") == [INVOICE, OTHER, *([CORRECTED] * there)]
    books_hold(shop)
    assert ended(runs, shop, REISSUE) == (1 if there else 0)
    assert not there or f"{CORRECTED} has taken the place" in said(shop)
    assert numbers(shop, "invoices") == numbers(shop, "invoice_lines") == [INVOICE, OTHER, CORRECTED]
    books_hold(shop)


def test_every_point_of_what_is_done_by_hand_is_killed_at() -> None:
    assert commit_points.BY_HAND == (
        commit_points.CREDIT_NOTE_WRITTEN,
        commit_points.CREDIT_NOTE_ISSUED,
        commit_points.REISSUE_WRITTEN,
        commit_points.REISSUE_ISSUED,
    )


def test_parts_by_processes_at_once_are_gapless(runs: Runs, shop: Shop) -> None:
    """Rule 6.3: eight processes, three credit notes each."""
    line = command(shop, ["invoices", "credit", INVOICE, "--reason", "r", "--line", "1=0.30"])
    side_by_side(runs, shop.folder, shop.folder / "said", *[[line] * 3] * 8)
    assert numbers(shop, "credit_notes") == [f"INV-CN-2026-{n:06d}" for n in range(1, 25)]
    books_hold(shop)
