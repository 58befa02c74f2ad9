"""One half of a home restored from an older copy: what is said, and how one comes back to where everything fits."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.faults import work
from tests.faults.tally import Tally
from tests.faults.work import Rows, Seen, Where
from tests.faults.worlds import LINES, World, after

_NEXT_MONTH = "2026-10-02T00:00:00Z"
_AGAIN = ["usage", "ingest", "again.csv", "--now", _NEXT_MONTH]
"""August delivered again under another name."""


def older_databases(world: World) -> Tally:
    """The database as it was before each step, beside the newest usage table, archive and documents; then what
    ``docs/operations.md`` says: where it is asked for, reconcile, and everything again in its order.
    """
    tally = Tally(kind="restore: older database", database=world.engine)
    for step in LINES:
        where = with_database(world, world.before["end"], world.before[step])
        lines = [LINES[step], *after(step)]
        if step == "ingest":
            said = refused(world, where, LINES[step])
            tally.unseen += "usage reconcile" not in said
            lines = [["usage", "reconcile"], *lines]
        seen = world.finish(where, lines, documents=True)
        tally.compare(f"database before {step}", world.undisturbed["render"].rows, seen)
        world.drop(where)
    return tally


def older_tables(world: World) -> Tally:
    """The usage table of before the last ingest beside the newest database: nothing is taken, closed or compared until
    the newest one is there again.
    """
    tally = Tally(kind="restore: older usage table", database=world.engine)
    newest, older = world.before["end"], world.before["ingest"]
    for folders in (("lake",), ("lake", "ids")):
        for line in (
            _AGAIN,
            ["cycles", "close", "--as-of", _NEXT_MONTH, "--no-documents"],
            ["audit", "rerun", "--all", "--no-documents"],
        ):
            with world.copied(newest) as where:
                _put(older.home, where.home, folders)
                said = refused(world, where, line)
                tally.unseen += "restore" not in said
                _put(newest.home, where.home, folders)
                what = f"{' '.join(line[:2])} with an older {' and '.join(folders)}: {said}"
                tally.compare(what, world.undisturbed["render"].rows, world.finish(where, []))
    return tally


def older_indexes(world: World) -> Tally:
    """An older index of ids, or none, beside the newest usage table: what is delivered again is known all the same."""
    tally = Tally(kind="restore: older index of ids", database=world.engine)
    for source in (world.before["ingest"].home, None):
        with world.copied(world.before["end"]) as where:
            shutil.rmtree(where.home / "ids")
            if source is not None:
                shutil.copytree(source / "ids", where.home / "ids")
            seen = world.finish(where, [_AGAIN])
            tally.compare(f"index of {source}", _usage(world.undisturbed["render"]).rows, _usage(seen))
    return tally


def older_documents(world: World) -> Tally:
    """Documents of before they were last rendered, beside the newest database: a missing one is named."""
    tally = Tally(kind="restore: older documents", database=world.engine)
    with world.copied(world.before["end"]) as where:
        _put(world.before["render"].home, where.home, ("documents",))
        for line in (["audit", "rerun", "--all"], ["invoices", "pdf", "INV-2026-000005", "--out", "one.pdf"]):
            tally.unseen += "missing" not in refused(world, where, line)
        _put(world.before["end"].home, where.home, ("documents",))
        tally.compare("documents", world.undisturbed["render"].rows, world.finish(where, [], documents=True))
    return tally


def restores(world: World) -> Iterator[Tally]:
    """All of them."""
    for kind in (older_databases, older_indexes, older_tables, older_documents):
        yield kind(world)


def with_database(world: World, newest: Where, older: Where) -> Where:
    """The newest home with an older copy of its database."""
    where = world.copy(replace(newest, url=None))
    if older.url is not None:
        return replace(where, url=world.copied_database(older))
    for name in ("billing.db", "billing.db-wal", "billing.db-shm"):
        (where.home / name).unlink(missing_ok=True)
        if (older.home / name).exists():
            shutil.copyfile(older.home / name, where.home / name)
    return where


def refused(world: World, where: Where, line: list[str]) -> str:
    """What a command says that must be refused; blank where it is not."""
    said = world.folder / "said-of-restore"
    said.unlink(missing_ok=True)
    process = world.forks.Process(target=work.bounded, args=(where, [line], said, None))
    process.start()
    process.join()
    return said.read_text() if process.exitcode == 1 else ""


def _put(source: Path, target: Path, folders: Sequence[str]) -> None:
    for folder in folders:
        shutil.rmtree(target / folder)
        shutil.copytree(source / folder, target / folder)


def _usage(seen: Seen) -> Seen:
    """Only accepted events: that a file came again is kept, too."""
    rows: Rows = Rows({row: count for row, count in seen.rows.items() if row[0] == "usage"})
    return replace(seen, rows=rows)
