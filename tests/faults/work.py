"""What a forked process does in a home: commands, until it ends or is killed; and what is in the home afterwards."""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import typer
from sqlalchemy import Table, select

from billing import cli
from billing.core.errors import BillingError
from billing.steps.audit.choosing import Choice
from billing.steps.audit.comparing import Verdict
from billing.steps.audit.rerun import rerun
from billing.steps.audit.sql import run_sql
from billing.steps.export import export
from billing.steps.homes import home_at
from billing.steps.ledger_checks import look
from billing.steps.status import status
from billing.store import tables
from billing.store.batches import COMMITTED
from billing.store.documents import documents_of, files_of_bundle
from billing.store.home import Home
from tests.faults.leftovers import leftovers, swept
from tests.kills.driver import die_at

LAWS = Path(__file__).parents[2] / "sql" / "checks"
STATUS_OF_TRACEBACK = 70
_DATED = {"draw_no", "issued_at_us", "committed_at_us", "opened_at_us", "batch_no", "ended_at_us", "pinned_batch"}
"""Columns that say when or in which turn a thing was done; a step that is taken again does it later."""
_KEPT: tuple[Table, ...] = (
    *(tables.cycles, tables.carry, tables.draws, tables.usage_days, tables.invoices, tables.invoice_lines),
    *(tables.credit_notes, tables.credit_note_lines, tables.parked, tables.used_apis, tables.quarantine),
    tables.duplicate_ranges,
)

Rows = Counter[tuple[str, ...]]
"""Rows of all that is kept, each with the name of where it is."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """A home, and the folder in which its commands are given."""

    home: Path
    url: str | None
    folder: Path

    def line(self, line: Sequence[str]) -> list[str]:
        """A command line that names the home."""
        return ["--home", str(self.home), *(["--database", self.url] if self.url else []), *line]

    def open(self) -> Home:
        """The home, in this very process."""
        return home_at(self.home, self.url)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a process found after its commands: their last status, what is kept, and what is wrong."""

    status: int
    rows: Rows
    wrong: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    swept: bool = True


def run(where: Where, lines: Sequence[Sequence[str]]) -> int:
    """Give commands as ``billing`` would, one after the other; the status of the last. A traceback ends it."""
    os.chdir(where.folder)
    last = 0
    for line in lines:
        sys.argv = ["billing", *where.line(line)]
        try:
            cli.main()
        except SystemExit as end:
            last = end.code if isinstance(end.code, int) else 1
        except typer.Exit as end:
            last = end.exit_code
        except BaseException:
            traceback.print_exc()
            return STATUS_OF_TRACEBACK
    return last


def told(said: Path) -> None:
    """From now on, whatever this process says goes to a file."""
    with said.open("ab") as handle:
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)


def _end(code: int) -> None:
    """End this process, all that it said with it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def killed_at(where: Where, lines: Sequence[Sequence[str]], said: Path, point: str, times: int) -> None:
    """Give commands and die when a point is reached for the so-manieth time."""
    told(said)
    die_at(point, times)
    os._exit(run(where, lines))


def at_work(where: Where, lines: Sequence[Sequence[str]], said: Path, ready: Connection) -> None:
    """Give commands, after saying that the work begins: whoever listens may kill at any moment."""
    told(said)
    ready.send(b"")
    _end(run(where, lines))


def bounded(where: Where, lines: Sequence[Sequence[str]], said: Path, bytes_max: int | None) -> None:
    """Give commands; no file may become larger than ``bytes_max``."""
    told(said)
    if bytes_max is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max))
    _end(run(where, lines))


def finish(where: Where, lines: Sequence[Sequence[str]], said: Path, documents: bool, answer: Connection) -> None:
    """Give commands to their end and look at everything."""
    told(said)
    code = run(where, lines)
    try:
        home = where.open()
        seen = Seen(status=code, rows=kept(home), wrong=list(wrong(home, documents)), left=leftovers(home))
        if seen.left:
            seen = Seen(status=code, rows=seen.rows, wrong=seen.wrong, left=seen.left, swept=swept(home))
        home.close()
    except BaseException:
        traceback.print_exc()
        seen = Seen(status=STATUS_OF_TRACEBACK, rows=Counter(), wrong=[traceback.format_exc()])
    answer.send(seen)
    _end(0)


def statuses(where: Where, lines: Sequence[Sequence[str]], said: Path, answer: Connection) -> None:
    """Give commands, and send how each ended."""
    told(said)
    answer.send([run(where, [line]) for line in lines])
    _end(0)


def call(work: Callable[[Home], object], where: Where, said: Path, answer: Connection) -> None:
    """Do something with a home; what comes of it, or the error as text, is sent."""
    told(said)
    home = where.open()
    try:
        answer.send(work(home))
    except Exception as problem:
        answer.send(problem)
        raise
    finally:
        home.close()


def kept(home: Home) -> Rows:
    """All that is kept, row by row: outputs, ledger, accepted usage, documents."""
    rows: Rows = Counter()
    with TemporaryDirectory() as folder:
        export(home, Path(folder))
        for path in sorted(Path(folder).glob("*.csv")):
            rows.update((path.name, line) for line in path.read_text("utf-8").splitlines()[1:])
    with home.database.read() as connection:
        for table in _KEPT:
            columns = [column for column in table.c if column.name not in _DATED]
            rows.update((table.name, *map(str, row)) for row in connection.execute(select(*columns)))
        done = select(tables.batches.c.kind, tables.batches.c.records, tables.batches.c.accepted)
        found = connection.execute(done.where(tables.batches.c.state == COMMITTED))
        rows.update(("batches", *map(str, row)) for row in found)
        rows.update(("documents", d.number, d.kind, d.sha256, d.bundle) for d in documents_of(connection))
    usage = run_sql(home, "select event_id, quantity_micro, team_id, occurred_at from usage").rows
    rows.update(("usage", *map(str, row)) for row in usage)
    return rows


def wrong(home: Home, documents: bool) -> list[str]:
    """What is broken: laws, totals, gaps, the log, the figures made again, files that rows name."""
    found: list[str] = []
    laws, totals = look(home, LAWS)
    found += [f"law {law.name}: {law.rows}" for law in laws if law.violations]
    found += [f"total {total.name}: {total.left}, {total.right}" for total in totals if total.left != total.right]
    with home.database.read() as connection:
        for table in (tables.invoices, tables.credit_notes):
            order = select(table.c.sequence).order_by(table.c.sequence)
            numbers = list(connection.execute(order).scalars())
            if numbers != list(range(1, len(numbers) + 1)):
                found.append(f"numbers of {table.name}: {numbers}")
        for document in documents_of(connection):
            home.documents.read(document.path, document.sha256)
            if document.bundle:
                list(files_of_bundle(home.bundles, document.bundle))
    try:
        status(home)
        different = [c for c in rerun(home, Choice(), documents=documents) if c.verdict is not Verdict.EQUAL]
        found += [f"rerun: {one}" for one in different[:3]]
    except BillingError as problem:
        found.append(str(problem))
    return found
