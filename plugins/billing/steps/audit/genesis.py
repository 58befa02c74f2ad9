"""From the beginning: no stored opening, no stored attribution, only archived bytes and the reference history.

A scratch home is made beside, with a database of its own, the archive of this home and what reference data was known
when. Every batch is read, judged and attributed again, in the order of the numbers, by the load that judged it; a
replay takes the records that it took, a corrected delivery the files that it had. Every close then rates the cycles
that it closed, from where the scratch ledger stands. What comes of it is compared with what is stored; the home is only
read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import Row, insert, select

from billing.core.instants import from_us
from billing.steps.audit.choosing import Choice, Cycles
from billing.steps.audit.comparing import Comparison, Key, compared
from billing.steps.audit.documents import documents_again
from billing.steps.audit.rerun import Again, compare_close, rate_again
from billing.steps.batch import judge_files, write_batch
from billing.steps.chosen import archived_file, demand_unchanged
from billing.steps.collector import collector_paused
from billing.steps.digests import Digest, stored_digests
from billing.steps.gathering import gather
from billing.steps.progress import Progress, silent
from billing.steps.reference import reference_at
from billing.steps.replay import replay_again
from billing.store import ledger
from billing.store.batches import COMMITTED, OPEN, REPLAY, committed
from billing.store.database import insert_rows
from billing.store.home import Home
from billing.store.ledger import Close
from billing.store.quarantine import ACCEPTED, DUPLICATE, QUARANTINED, Place, sha256_of
from billing.store.shards import shard_of
from billing.store.tables import batch_files, batches, closes, quarantine, reference_history, reference_loads

_COUNTS = ("records", "accepted", "duplicates", "quarantined")
_BATCH = (*_COUNTS, "rejected", "usage")


def genesis(home: Home, choice: Choice, *, documents: bool = True, progress: Progress = silent) -> Iterator[Comparison]:
    """Compare every batch, and of the chosen closed cycles what ``rerun`` compares, with what the archive gives.

    Of a batch: its counts, the records in quarantine with why, and the digest of its usage. All of the history is read,
    whatever is chosen. Raises ``NotFound`` where no cycle was chosen or the archive lacks a file, and
    ``ConservationBroken`` where it holds other bytes than were delivered.
    """
    with home.database.read() as connection:
        chosen = choice.read(connection)
    with _scratch(home) as scratch:
        yield from _batches_again(home, scratch, progress)
        last = max(chosen)
        for close_no in range(1, last + 1):
            progress("rating closes from the beginning", close_no - 1, last)
            yield from _close_again(home, scratch, close_no, chosen.get(close_no, frozenset()))
        progress("rating closes from the beginning", last, last)
    if documents:
        yield from documents_again(home, frozenset().union(*chosen.values()), progress)


@contextmanager
def _scratch(home: Home) -> Iterator[Home]:
    """An empty home that reads this one's archive and knows the reference data that this one knew, load by load."""
    with TemporaryDirectory(prefix="billing-genesis-") as folder:
        scratch = replace(Home.at(Path(folder)), archive=home.archive)
        scratch.create()
        try:
            with home.database.read() as connection, scratch.database.exclusive("books") as writing:
                for table in (reference_loads, *reference_history.values()):
                    found = connection.execute(select(table)).mappings()
                    insert_rows(writing, table, [dict(row) for row in found])
            yield scratch
        finally:
            scratch.close()


# --- batches ---------------------------------------------------------------------------------------------------------


def _batches_again(home: Home, scratch: Home, progress: Progress) -> Iterator[Comparison]:
    with home.database.read() as connection:
        done = connection.execute(
            select(batches).where(batches.c.state == COMMITTED).order_by(batches.c.batch_no)
        ).all()
    for place, row in enumerate(done):
        progress("taking batches again", place, len(done))
        _take_again(home, scratch, row)
    progress("taking batches again", len(done), len(done))
    yield from compared("batch", _BATCH, _batches(home), _batches(scratch))


@collector_paused()
def _take_again(home: Home, scratch: Home, row: Row[Any]) -> None:
    """Judge a batch's records by the load that judged them, and take them under its number."""
    now = from_us(row.window_end_us)
    reference = reference_at(scratch, row.load_no)
    with scratch.database.exclusive("books") as connection:
        opened = dict(row._mapping) | {"state": OPEN, "committed_at_us": None} | dict.fromkeys(_COUNTS, 0)
        connection.execute(insert(batches).values(**opened))
    if row.kind == REPLAY:
        replay_again(scratch, row.batch_no, _replayed(home, row.batch_no), (row.load_no, reference), now)
        return
    with home.database.read() as connection:
        mine = select(batch_files).where(batch_files.c.batch_no == row.batch_no).order_by(batch_files.c.file_no)
        files = [archived_file(home, file) for file in connection.execute(mine)]
    for file in files:
        demand_unchanged(home, file)
    judged = judge_files(scratch, files, gather(scratch, files), reference, now)
    write_batch(scratch, row.batch_no, judged, datetime.now(UTC), {"source": row.source})


def _replayed(home: Home, batch_no: int) -> Sequence[Place]:
    """Where the records stood that a replay took: what they ended as is not read."""
    ended = quarantine.c.ending.in_([ACCEPTED, DUPLICATE, QUARANTINED]), quarantine.c.ended_in == batch_no
    columns = quarantine.c.batch_no, quarantine.c.file_no, quarantine.c.line
    with home.database.read() as connection:
        found = connection.execute(select(*columns).where(*ended).order_by(*columns)).all()
    return [Place(batch_no=row.batch_no, file_no=row.file_no, line=row.line) for row in found]


def _batches(home: Home) -> Mapping[Key, Sequence[object]]:
    """Of each committed batch its counts, what it rejected, and its usage as it lies there; under no team and cycle."""
    with home.database.read() as connection:
        counted = connection.execute(
            select(batches.c.batch_no, *(batches.c[name] for name in _COUNTS)).where(batches.c.state == COMMITTED)
        ).all()
        rejected = {row.batch_no: sha256_of(connection, row.batch_no) for row in counted if row.quarantined}
        usage = stored_digests(home.usage, committed(connection))
    return {
        ("", None, row.batch_no): [*row[1:], rejected.get(row.batch_no, ""), str(usage.get(row.batch_no, Digest()))]
        for row in counted
    }


# --- closes ----------------------------------------------------------------------------------------------------------


@collector_paused()
def _close_again(home: Home, scratch: Home, close_no: int, mine: Cycles) -> list[Comparison]:
    """Rate all cycles that a close closed, from the scratch ledger and into it; compare the chosen ones."""
    with home.database.read() as connection:
        this = ledger.read_close(connection, close_no)
        row = connection.execute(select(closes).where(closes.c.close_no == close_no)).mappings().one()
        closed = ledger.close_cycles(connection, close_no)
        if this.state != ledger.ISSUED or not closed:
            return []
        with scratch.database.read() as theirs:
            again = rate_again(scratch, theirs, this, frozenset(closed), closed)
        _close(scratch, this, row, again)
        return compare_close(home, connection, this, mine, again) if mine else []


def _close(scratch: Home, this: Close, row: Mapping[Any, Any], again: Again) -> None:
    """Write what was rated into the scratch ledger, as closed."""
    due: dict[str, list[Any]] = {}
    for (team_id, _), span in again.spans.items():
        due.setdefault(team_id, []).append(span)
    with scratch.database.exclusive("books") as connection:
        ledger.open_close(connection, dict(row) | {"state": ledger.OPEN})
        ledger.write_rated(connection, this, {team_id: shard_of(team_id) for team_id in due}, due, again.rated)
        ledger.turn(connection, this.close_no, ledger.ISSUED)
