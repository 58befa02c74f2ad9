"""The records of archived usage files, put together in file order: what is judged as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from billing.core.errors import DataRefused, Finding
from billing.intake.judging import UsageRecords
from billing.intake.usage_files import TEXT_COLUMNS, UsageChunk, read_usage
from billing.steps.progress import Progress, silent
from billing.store.files import Stored
from billing.store.home import Home
from billing.store.id_index import hash_text

Int64s = npt.NDArray[np.int64]

RECORDS_MAX = 20_000_000
"""Records that one batch may have: it is held in memory, at about 400 bytes a record."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchivedFile:
    """A source file as it was named, and its archived bytes: what is read, whatever happens to the file meanwhile.

    ``lines``: the numbers of the records that are taken, ascending, int64; None: all of them.
    """

    name: str
    stored: Stored
    arrived_at: datetime | None = None
    lines: Int64s | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """All records of a batch in file order, and where each stood: shapes (records,)."""

    records: UsageRecords
    file_no: Int64s
    line: Int64s
    warnings: tuple[Finding, ...]

    @classmethod
    def of(cls, read: Sequence[Sequence[UsageChunk]], warnings: Sequence[Finding]) -> Gathered:
        chunks = [chunk for file in read for chunk in file]
        numbers = [np.full(len(chunk.line), number) for number, file in enumerate(read) for chunk in file]

        def numeric(name: str, dtype: type) -> Any:
            return np.concatenate([np.zeros(0, dtype=dtype), *(getattr(chunk, name) for chunk in chunks)]).astype(dtype)

        def text(name: str) -> pa.StringArray:
            parts = [part for chunk in chunks for part in _parts(getattr(chunk, name))]
            return pa.chunked_array(parts, pa.string()).combine_chunks() if parts else pa.array([], pa.string())

        booleans = ("unreadable", "occurred_at_ok", "quantity_ok")
        records = UsageRecords(
            **{name: numeric(name, np.bool_) for name in booleans},
            **{name: numeric(name, np.int64) for name in ("occurred_at_us", "quantity_micro")},
            **{name: text(name) for name in TEXT_COLUMNS},
        )
        files = np.concatenate([np.zeros(0, dtype=np.int64), *numbers])
        return cls(records=records, file_no=files, line=numeric("line", np.int64), warnings=tuple(warnings))


def _parts(values: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    return [chunk.cast(pa.string()) for chunk in chunks]


def gather(home: Home, files: Sequence[ArchivedFile], progress: Progress = silent) -> Gathered:
    """All records of the archived files that are taken, in file order. Raises ``DataRefused`` where a file cannot be
    read.
    """
    read: list[list[UsageChunk]] = []
    ignored: list[Finding] = []
    left = RECORDS_MAX
    for number, file in enumerate(files):
        progress("reading usage files", number, len(files))
        unknown: set[str] = set()
        read.append([])
        for chunk in read_usage(home.archive.locate(file.stored.path), file.name, unknown=unknown):
            read[-1].append(chunk if file.lines is None else chunk.of_lines(file.lines))
            left -= len(read[-1][-1])
            _demand_room(left, file.name)
        ignored += [Finding(file=file.name, column=c, message="unknown column, ignored") for c in sorted(unknown)]
    return Gathered.of(read, ignored)


def _demand_room(left: int, name: str) -> None:
    if left < 0:
        raise DataRefused(
            f"{name}: with this file the batch has more than {RECORDS_MAX:,} records, which is more than is taken at "
            "once: deliver smaller files, and ingest them one after the other."
        )


def content_hash(records: UsageRecords) -> Int64s:
    """What a second delivery is compared by (rule 2.2): every column by value; a team only where the app is blank."""
    team = pc.if_else(pc.equal(records.app_id, ""), records.team_id, "")
    mixed = np.zeros(len(records.occurred_at_us), dtype=np.uint64)
    for part in (
        records.occurred_at_us,
        records.quantity_micro,
        *map(_text_hash, (records.app_id, records.api, records.corrects, team)),
    ):
        mixed = _mix(mixed ^ part.view(np.uint64))
    return mixed.view(np.int64)


def _text_hash(values: pa.StringArray) -> Int64s:
    encoded = values.dictionary_encode()
    return (
        hash_text(encoded.dictionary)[encoded.indices.to_numpy(zero_copy_only=False)]
        if len(values)
        else np.zeros(0, np.int64)
    )


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64: every bit of the input moves every bit of the output."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
