"""The index of ids: which event ids were ever accepted, in which batch (rule 2.2).

It outlives every view: a second delivery is known whatever its month or team. Ids are found by a hash of theirs in
**runs**, files of sorted hashes that a batch adds to and that are merged as they become many, so that what a batch
costs does not grow with the history behind it. What is found is then compared with the usage table, code point by code
point. The table is the truth: runs that are missing, damaged, or of another table are made from it again.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from billing.store.engine import engine
from billing.store.files import new_file
from billing.store.lake import CommittedBatches, LakeTable

Int64s = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

RUNS_MAX = 4
"""So many runs are looked through one by one; then the newest are merged."""
PART_ROWS = 2_000_000
"""So many ids of a run are looked at, or merged, at a time: what is held in memory does not grow with the history."""
_ROWS_MADE_AT_ONCE = 10_000_000
_HASH_MAX = 2**64 - 1
_PROBE = b"probe"
_SCHEMA = pa.schema(
    [pa.field("id_hash", pa.uint64(), nullable=False), pa.field("batch_no", pa.int32(), nullable=False)]
)

_MADE_AGAIN = """
    select hash(event_id) as id_hash, batch_no from {usage} where batch_no between {first} and {last}
    order by id_hash, batch_no
"""
_COUNTS = """
    select batch_no, count(*) from {usage} where batch_no between {first} and {last} group by batch_no order by batch_no
"""
_CONTENT = """
    select place, content_hash from {usage} join found using (batch_no, event_id)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownIds:
    """What the index says of ids, shapes (ids,). ``content_hash`` is 0 where the id is not known; ``id_hash`` is what
    ids are found by. ``all_differ``: no id is among them twice, by their hashes (which may meet by chance).
    """

    known: npt.NDArray[np.bool_]
    content_hash: Int64s
    id_hash: Hashes
    all_differ: bool


Batches = npt.NDArray[np.int32]
Part = tuple[Hashes, Batches]
"""Hashes in order, and the batch of each; shapes (ids,)."""


class _Run:
    """The ids of the batches ``first`` to ``last``, in a file that is mapped into memory: parts, in order of their
    hashes.
    """

    def __init__(self, path: Path) -> None:
        """Raises ``ArrowInvalid``, ``OSError`` or ``ValueError`` for what is not such a file."""
        self.path = path
        self.first, self.last = (int(part) for part in path.stem.split("-")[1:])
        with path.open("rb") as file:
            self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        reader = pa.ipc.open_file(pa.py_buffer(self._mapped))
        if reader.schema != _SCHEMA or (reader.schema.metadata or {}).get(_PROBE) != _probe():
            raise ValueError("made by another engine, or by another version")
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self._parts: list[Part] = [
            (one["id_hash"].to_numpy(), one["batch_no"].to_numpy()) for one in batches if len(one)
        ]
        self.rows = sum(len(id_hash) for id_hash, _ in self._parts)

    def find(self, asked: Hashes) -> Iterator[tuple[Int64s, Batches]]:
        """Places of hashes (in order) that are here, and the batch of each; one that is here twice is told twice."""
        for id_hash, batch_no in self._parts:
            low, high = np.searchsorted(asked, id_hash[0]), np.searchsorted(asked, id_hash[-1], side="right")
            mine = asked[low:high]
            first = np.searchsorted(id_hash, mine)
            hit = np.flatnonzero(id_hash[np.minimum(first, len(id_hash) - 1)] == mine)
            count = np.searchsorted(id_hash, mine[hit], side="right") - first[hit]
            within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            yield np.repeat(hit + low, count), batch_no[np.repeat(first[hit], count) + within]
            self._let_go()

    def between(self, low: int, high: int) -> list[Part]:
        """The ids whose hash is in ``[low, high)``."""
        found: list[Part] = []
        for id_hash, batch_no in self._parts:
            if low <= int(id_hash[-1]) and int(id_hash[0]) < high:
                begin = np.searchsorted(id_hash, np.uint64(low))
                end = len(id_hash) if high > _HASH_MAX else np.searchsorted(id_hash, np.uint64(high))
                found.append((id_hash[begin:end].copy(), batch_no[begin:end].copy()))
        self._let_go()
        return found

    def _let_go(self) -> None:
        """Pages that were read are the system's to keep, not this process's."""
        self._mapped.madvise(mmap.MADV_DONTNEED)


class IdIndex:
    """Accepted ids, by runs in a folder beside the usage table."""

    def __init__(self, folder: Path, usage: LakeTable) -> None:
        self._folder, self._usage = folder, usage
        self._opened: dict[str, _Run] = {}

    def append(self, batch_no: int, id_hash: Hashes) -> None:
        """Add the ids of a batch's accepted events, which are in the usage table already. One process at a time."""
        runs = self._runs()
        if runs and runs[-1].last >= batch_no:  # the number was used before, by rows that are no more
            self._drop_all(runs)
        if _ids_in(runs) + len(id_hash) != self._usage.rows():
            self._up_to_date()
        else:
            hashes = np.sort(id_hash)
            part = hashes, np.full(len(hashes), batch_no, dtype=np.int32)
            self._write(runs[-1].last + 1 if runs else 1, batch_no, [part])

    def look_up(self, batches: CommittedBatches, event_ids: pa.Array) -> KnownIds:
        """Which of these ids were accepted in committed batches. Compared code point by code point."""
        known = np.zeros(len(event_ids), dtype=bool)
        content = np.zeros(len(event_ids), dtype=np.int64)
        id_hash = hash_ids(event_ids)
        in_order = np.sort(id_hash)
        if batches.through and len(event_ids):
            place, batch_no = self._found(batches, id_hash, in_order)
            place, found = self._content(event_ids, place, batch_no)
            known[place], content[place] = True, found
        all_differ = not (in_order[1:] == in_order[:-1]).any()
        return KnownIds(known=known, content_hash=content, id_hash=id_hash, all_differ=all_differ)

    def _found(self, batches: CommittedBatches, asked: Hashes, in_order: Hashes) -> tuple[Int64s, Int64s]:
        """Places of ids whose hash is in a run, and the batch that it came in; an id may be found more than once.
        ``in_order`` are the same hashes, sorted.
        """
        found = [one for run in self._up_to_date() for one in run.find(in_order)]
        place = np.concatenate([np.zeros(0, np.int64), *(place for place, _ in found)])
        batch_no = np.concatenate([np.zeros(0, np.int32), *(numbers for _, numbers in found)]).astype(np.int64)
        if len(place):  # as a rule every id is new, and to know where each stood would be most of the work
            place = np.argsort(asked)[place]
        counts = (batch_no <= batches.through) & ~np.isin(batch_no, batches.void)
        return place[counts], batch_no[counts]

    def _content(self, event_ids: pa.Array, place: Int64s, batch_no: Int64s) -> tuple[Int64s, Int64s]:
        """Of what was found by hash, the places of those that the usage table has, and their contents."""
        if not len(place):
            return place, batch_no
        found = pa.table({"place": place, "batch_no": batch_no, "event_id": event_ids.take(pa.array(place))})
        files = self._files(int(batch_no.min()), int(batch_no.max()))
        with engine() as connection:
            connection.register("found", found)
            usage = self._usage.read_in(connection, files)
            rows = connection.execute(_CONTENT.format(usage=usage)).fetchnumpy()
        return np.asarray(rows["place"], dtype=np.int64), np.asarray(rows["content_hash"], dtype=np.int64)

    def _files(self, first: int, last: int) -> list[str]:
        """The usage table's files that may hold batches ``first`` to ``last``."""
        return self._usage.paths(
            lambda files: pc.and_(
                pc.greater_equal(files["max.batch_no"], first), pc.less_equal(files["min.batch_no"], last)
            )
        )

    # Runs

    def _up_to_date(self) -> list[_Run]:
        """The runs, in order; what the usage table has and they have not is added first."""
        runs = self._runs()
        if _ids_in(runs) == self._usage.rows():
            return runs
        newest, covered = self._usage.last_batch(), runs[-1].last if runs else 0
        if newest <= covered:  # they are of another table: it was restored from a backup
            self._drop_all(runs)
            covered = 0
        for first, last, part in self._made_again(covered + 1, newest):
            self._write(first, last, [part])
        return self._runs()

    def _runs(self) -> list[_Run]:
        """Runs that can be read, without those that another one holds and without all after a gap."""
        paths = sorted(self._folder.glob("run-*.arrow"))
        found = [run for path in paths if (run := self._open(path)) is not None]
        self._opened = {run.path.name: run for run in found}
        runs: list[_Run] = []
        for run in sorted(found, key=lambda run: (run.first, -run.last)):
            if run.first == (runs[-1].last + 1 if runs else 1):
                runs.append(run)
        return runs

    def _open(self, path: Path) -> _Run | None:
        if path.name in self._opened:
            return self._opened[path.name]
        try:
            return _Run(path)
        except (pa.ArrowInvalid, OSError, ValueError):  # damaged, or merged into another meanwhile
            return None

    def _write(self, first: int, last: int, parts: Iterable[Part]) -> None:
        """Keep a run: all of it or nothing."""
        schema, name = _SCHEMA.with_metadata({_PROBE: _probe()}), f"run-{first:012d}-{last:012d}.arrow"
        with new_file(self._folder) as writer:
            try:
                with pa.ipc.new_file(writer, schema) as file:
                    for id_hash, batch_no in parts:
                        columns = [pa.array(id_hash), pa.array(batch_no)]
                        file.write_table(pa.table(columns, schema=schema), max_chunksize=PART_ROWS)
                writer.flush()
                os.fsync(writer.fileno())
                Path(writer.name).replace(self._folder / name)
            finally:
                Path(writer.name).unlink(missing_ok=True)
        self._opened.pop(name, None)

    def _drop_all(self, runs: list[_Run]) -> None:
        for run in runs:
            self._drop(run)
        runs.clear()

    def _drop(self, run: _Run) -> None:
        run.path.unlink(missing_ok=True)
        self._opened.pop(run.path.name, None)

    def merge(self) -> None:
        """Where there are many runs, merge the newest into one, so that each is larger than all after it together.
        Beside readers, and beside all that does not append here.

        An id is merged about as often as the history doubles.
        """
        runs = self._runs()
        for run in list(self._opened.values()):
            if not any(run is kept for kept in runs):
                self._drop(run)
        if len(runs) < RUNS_MAX:
            return
        after = np.cumsum([run.rows for run in reversed(runs)])[::-1]
        low = next(n for n, run in enumerate(runs) if n == len(runs) - 2 or run.rows < after[n + 1])
        merged = runs[low:]
        self._write(merged[0].first, merged[-1].last, _in_order(merged))
        for run in merged:
            self._drop(run)

    def _made_again(self, first: int, last: int) -> Iterator[tuple[int, int, Part]]:
        """Batches, and the ids that the usage table has in these."""
        if last < first:
            return
        with engine() as connection:
            usage = self._usage.read_in(connection, self._files(first, last))
            counts = connection.execute(_COUNTS.format(usage=usage, first=first, last=last)).fetchall()
            for low, high in _stretches(counts, first, last):
                rows = connection.execute(_MADE_AGAIN.format(usage=usage, first=low, last=high)).fetchnumpy()
                yield low, high, (np.asarray(rows["id_hash"]), np.asarray(rows["batch_no"]).astype(np.int32))


def _ids_in(runs: Sequence[_Run]) -> int:
    return sum(run.rows for run in runs)


def _in_order(runs: Sequence[_Run]) -> Iterator[Part]:
    """All ids of some runs, a slice of the hashes at a time: they are spread evenly."""
    slices = -(-_ids_in(runs) // PART_ROWS) or 1
    edges = [number * (_HASH_MAX + 1) // slices for number in range(slices + 1)]
    for low, high in pairwise(edges):
        parts = [part for run in runs for part in run.between(low, high)]
        if parts:
            id_hash = np.concatenate([one for one, _ in parts])
            order = np.argsort(id_hash, kind="stable")
            yield id_hash[order], np.concatenate([one for _, one in parts])[order]


def _stretches(counts: Sequence[tuple[int, int]], first: int, last: int) -> Iterator[tuple[int, int]]:
    """``first`` to ``last`` in stretches of about so many rows as are sorted at once; counts are (batch, rows)."""
    held = 0
    for batch_no, rows in counts:
        if held and held + rows > _ROWS_MADE_AT_ONCE:
            yield first, batch_no - 1
            first, held = batch_no, 0
        held += rows
    yield first, last


def hash_ids(event_ids: pa.Array) -> Hashes:
    """A hash of each id, the same for as long as ``_probe`` is."""
    with engine() as connection:
        connection.register("asked", pa.table({"place": np.arange(len(event_ids)), "event_id": event_ids}))
        found = connection.execute("select place, hash(event_id) as id_hash from asked").fetchnumpy()
    hashes = np.zeros(len(event_ids), dtype=np.uint64)
    hashes[np.asarray(found["place"], dtype=np.int64)] = found["id_hash"]  # rows come in no order
    return hashes


@lru_cache(maxsize=1)
def _probe() -> bytes:
    """What tells one way of hashing from another: versions of the engine may differ in it."""
    return str(hash_ids(pa.array(["carryover", "\u00e9", ""]))).encode()
