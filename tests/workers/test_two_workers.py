"""A close on two workers, each of which is killed while it works: the books of a close that nobody killed.

At moments that a lock of the books holds still, one worker's machine is lost in the middle of rating, and the other's
while invoices get their numbers. Last, a worker is killed that renders, and the task that it had started goes on by
itself, beside the try that takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from billing.steps.close import close
from billing.steps.export import export
from billing.steps.invoices import list_invoices
from billing.steps.render import render, unrendered
from billing.steps.run_summary import render_summary, run_summary
from billing.store import log
from billing.store.documents import PDF
from billing.store.home import Home
from billing.store.tables import documents
from billing.store.tables import log as log_table
from tests.steps.small_world import TEMPLATES, instant
from tests.workers.machines import Machines
from tests.workers.world import AS_OF, open_books

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.kills,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),  # of the broker's tables
]

WORKERS = ("worker-a", "worker-b")
GROUPS = 6
LONG_S = 240


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All that anybody sees of the books: output tables, documents by number and kind, and what the log tells of."""

    tables: dict[str, bytes]
    documents: dict[tuple[str, str], str]
    logged: list[str]


def outcome(home: Home, folder: Path) -> Outcome:
    """What there is, after a look at what must hold in any home."""
    export(home, folder)
    with home.database.read() as connection:
        log.verify(connection)
        kept = {(row.number, row.kind): row for row in connection.execute(select(documents))}
        logged = sorted(connection.execute(select(log_table.c.kind)).scalars())
    files = {path for path in home.documents.folder.rglob("*") if path.is_file()}
    assert files == {home.documents.locate(row.path) for row in kept.values()}, "no file twice, none half written"
    assert all(home.documents.read(row.path, row.sha256) for row in kept.values())
    return Outcome(
        tables={path.name: path.read_bytes() for path in folder.glob("*.csv")},
        documents={key: row.sha256 for key, row in kept.items()},
        logged=logged,
    )


@pytest.fixture(scope="module", autouse=True)
def _asked_for(request: pytest.FixtureRequest) -> None:
    """Four minutes, and signs of life that come in time, are too much to ask for beside other tests."""
    if not request.config.getoption("--machines"):
        pytest.skip("python -m pytest tests/workers --machines")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[Outcome]]:
    """The same close in one process that nobody kills; it runs while Airflow starts."""

    def run(folder: Path) -> Outcome:
        home = open_books(folder, None)
        close(home, instant(AS_OF))
        render(home, unrendered(home), TEMPLATES)
        render_summary(home, run_summary(home, 1), TEMPLATES)
        found = outcome(home, folder / "outputs")
        home.close()
        return found

    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(run, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory, postgres_url: Callable[[], str]) -> Iterator[Home]:
    """The home that both workers work in."""
    home = open_books(tmp_path_factory.mktemp("books"), postgres_url())
    yield home
    home.close()


@pytest.fixture(scope="module")
def machines(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_url: Callable[[], str],
    books: Home,
    undisturbed: Future[Outcome],
) -> Iterator[Machines]:
    """Airflow and the workers, over that home."""
    environment = {"BILLING_HOME": str(books.folder), "BILLING_DATABASE_URL": books.database.url}
    with Machines(tmp_path_factory.mktemp("machines") / "airflow", postgres_url(), environment, WORKERS) as running:
        running.airflow.unpause("cycle_close")
        yield running


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the DAG."""

    machines: Machines
    run_id: str

    def tasks(self) -> list[dict[str, Any]]:
        """All its tasks, as Airflow tells of them."""
        path = f"dags/cycle_close/dagRuns/{self.run_id}/taskInstances"
        return list(self.machines.airflow.request("GET", path, params={"limit": 100})["task_instances"])

    def in_state(self, name: str, state: str) -> list[dict[str, Any]]:
        """The tasks of this name in this state."""
        return [task for task in self.tasks() if task["task_id"] == name and task["state"] == state]

    def wait_for(self, what: str, reached: Callable[[], bool]) -> None:
        """Wait until something is so."""

        def complaint() -> str:
            return f"not reached: {what}; tasks: {self.machines.airflow.task_states('cycle_close', self.run_id)}"

        self.machines.airflow.poll(lambda: reached() or None, LONG_S, complaint)

    def tries(self) -> dict[str, int]:
        """How often the tasks of each name were tried, at most."""
        tries: dict[str, int] = {}
        for task in self.tasks():
            tries[task["task_id"]] = max(tries.get(task["task_id"], 0), task["try_number"])
        return tries


@contextmanager
def held_up(books: Home, name: str) -> Iterator[Callable[[], int]]:
    """Nobody enters a transaction of this name meanwhile. Gives a function that counts who waits at such a door."""

    def waiting() -> int:
        query = "select count(*) from pg_locks l join pg_database d on d.oid = l.database"
        query += " where d.datname = current_database() and l.locktype = 'advisory' and not l.granted"
        with books.database.read() as connection:
            return int(connection.execute(text(query)).scalar_one())

    with books.database.exclusive(name):
        yield waiting


def rendered(books: Home) -> int:
    """How many invoices have their document."""
    return sum(1 for invoice in list_invoices(books) if invoice.document)


def test_workers_that_are_killed_while_they_work_change_nothing(
    machines: Machines, books: Home, undisturbed: Future[Outcome], tmp_path: Path
) -> None:
    expected = undisturbed.result(LONG_S)
    invoices = sum(1 for _, kind in expected.documents if kind == PDF)
    run_id = machines.airflow.trigger("cycle_close", {"as_of": AS_OF, "groups": GROUPS}, run_id="killed")
    run = Run(machines=machines, run_id=run_id)
    one, other = machines.workers.values()

    run.wait_for("a rated group", lambda: bool(run.in_state("rate_teams", "success")))
    with held_up(books, "rating") as waiting:
        run.wait_for("both workers about to write what they rated", lambda: waiting() == len(WORKERS))
        assert {task["hostname"] for task in run.in_state("rate_teams", "running")} == set(WORKERS)
        assert len(run.in_state("rate_teams", "success")) < GROUPS - len(WORKERS)
        one.lose_machine()

    with held_up(books, "books") as waiting:
        run.wait_for(
            "invoices about to be issued", lambda: bool(run.in_state("issue_invoices", "running")) and waiting() == 1
        )
        [issuing] = run.in_state("issue_invoices", "running")
        assert issuing["hostname"] == other.name, "there is no other"
        one.start()
        one.wait_until_ready()
        other.lose_machine()
        other.start()

    run.wait_for("some documents", lambda: rendered(books) >= invoices // 10)
    [rendering] = run.in_state("render_documents", "running")
    worker = machines.workers[str(rendering["hostname"])]
    worker.lose_worker()
    assert worker.processes(), "the task that it had started goes on"
    assert rendered(books) < invoices
    worker.start()

    assert machines.airflow.wait("cycle_close", run_id, LONG_S) == "success"
    tries = run.tries()
    assert all(tries[name] > 1 for name in ("rate_teams", "issue_invoices", "render_documents")), tries
    seen = outcome(books, tmp_path)
    assert seen.tables == expected.tables
    assert seen.documents == expected.documents
    assert seen.logged == expected.logged, "one close, and each document once"
    numbers = [invoice.number for invoice in list_invoices(books)]
    assert sorted(numbers) == [f"INV-2026-{number:06d}" for number in range(1, invoices + 1)]
