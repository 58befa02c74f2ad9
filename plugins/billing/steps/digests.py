"""A batch's digest: what its accepted events say, whatever their order and the files that they lie in (rule 7.1).

Every event gives 64 bits over all that it says: what a second delivery is compared by, its id, its team, and where it
stood in the source. A digest is how many events there are, the sum of these numbers, and the sum of them mixed once
more, each modulo 2^64. Compaction changes none of it; an event that is changed, lost or there twice does. It is written
into the log with its batch, whose chain keeps it. It finds what a disk or a person changed; it does not withstand
somebody who searches for events of the same digest, which the source's SHA-256 does: ``audit rerun --from-genesis``
starts from that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from billing.intake.judging import UsageRecords
from billing.steps.gathering import content_hash, hash_repeated, mix
from billing.store.lake import CommittedBatches
from billing.store.usage_table import UsageTable

Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
_WORD = 8
_SECOND = np.uint64(0x2545F4914F6CDD1D)
_COLUMNS = (
    *(
        "batch_no",
        "file_no",
        "line",
        "event_id",
        "occurred_at",
        "app_id",
        "api",
        "quantity_micro",
        "corrects",
        "team_id",
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Digest:
    """``first`` and ``second`` are the two sums, modulo 2^64."""

    events: int = 0
    first: int = 0
    second: int = 0

    def __add__(self, other: Digest) -> Digest:
        return Digest(
            events=self.events + other.events,
            first=(self.first + other.first) % 2**64,
            second=(self.second + other.second) % 2**64,
        )

    def __str__(self) -> str:
        return f"{self.events}-{self.first:016x}{self.second:016x}"


def digest(content: Int64s, event_id: pa.StringArray, team: Int64s, file_no: Int64s, line: Int64s) -> Digest:
    """Of events, shapes (events,), int64: ``content`` by ``content_hash``, the teams by ``hash_text``."""
    return _summed(_numbers(content, event_id, team, file_no, line))


def stored_digests(usage: UsageTable, batches: CommittedBatches) -> dict[int, Digest]:
    """The digest of each of these batches that has events, of the events as they lie in the usage table now. What the
    table says of their content hashes is not asked.
    """
    found: dict[int, Digest] = {}
    for rows in usage.lake.dataset().to_batches(columns=list(_COLUMNS), filter=batches.filter()):
        for batch_no, mine in _by_batch(rows):
            found[batch_no] = found.get(batch_no, Digest()) + mine
    return found


def _by_batch(rows: pa.RecordBatch) -> Iterator[tuple[int, Digest]]:
    if not rows.num_rows:
        return
    columns = {name: rows.column(name) for name in _COLUMNS}
    said = _records(columns)
    numbers = _numbers(
        content_hash(said),
        said.event_id,
        hash_repeated(said.team_id),
        columns["file_no"].to_numpy().astype(np.int64),
        columns["line"].to_numpy(),
    )
    batch = columns["batch_no"].to_numpy()
    for number in np.unique(batch).tolist():
        yield number, _summed(numbers[batch == number])


def _records(columns: dict[str, pa.Array]) -> UsageRecords:
    """Accepted events as the records that they were."""
    good = np.ones(len(columns["batch_no"]), dtype=np.bool_)
    texts = {name: columns[name].cast(pa.string()) for name in ("event_id", "app_id", "api", "corrects", "team_id")}
    return UsageRecords(
        unreadable=~good,
        occurred_at_us=columns["occurred_at"].cast(pa.int64()).to_numpy(),
        occurred_at_ok=good,
        quantity_micro=columns["quantity_micro"].to_numpy(),
        quantity_ok=good,
        **texts,
    )


def _numbers(content: Int64s, event_id: pa.StringArray, team: Int64s, file_no: Int64s, line: Int64s) -> UInt64s:
    mixed = _mixed_bytes(event_id)
    for part in (content, team, file_no, line):
        mixed = mix(mixed ^ np.ascontiguousarray(part, dtype=np.int64).view(np.uint64))
    return mixed


def _mixed_bytes(values: pa.StringArray) -> UInt64s:
    """64 bits of each text: its length, then its UTF-8 bytes, eight at a time. Texts of a length are taken together, as
    ids of a source have few.
    """
    offsets = np.frombuffer(values.buffers()[1], dtype=np.int32)[values.offset : values.offset + len(values) + 1]
    held = values.buffers()[2]
    data = np.frombuffer(held, dtype=np.uint8) if held is not None else np.zeros(0, dtype=np.uint8)
    lengths = np.diff(offsets)
    mixed = mix(lengths.astype(np.uint64))
    for length in np.unique(lengths[lengths > 0]).tolist():
        mine = np.flatnonzero(lengths == length)
        for low in range(0, length, _WORD):
            word = np.zeros((len(mine), _WORD), dtype=np.uint8)
            many = min(_WORD, length - low)
            word[:, :many] = data[offsets[mine, None] + low + np.arange(many)]
            mixed[mine] = mix(mixed[mine] ^ word.view("<u8").reshape(-1))
    return mixed


def _summed(numbers: UInt64s) -> Digest:
    return Digest(
        events=len(numbers),
        first=int(numbers.sum(dtype=np.uint64)),
        second=int(mix(numbers ^ _SECOND).sum(dtype=np.uint64)),
    )
