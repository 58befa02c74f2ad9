"""The records of archived usage files, put together in file order: what is judged as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from billing.core.errors import DataRefused, Finding
from billing.intake.judging import UsageRecords
from billing.intake.usage_files import TEXT_COLUMNS, UsageChunk, read_usage
from billing.steps.progress import Progress, silent
from billing.store.files import Stored
from billing.store.home import Home

Int64s = npt.NDArray[np.int64]

RECORDS_MAX = 20_000_000
"""Records that one batch may have: it is held in memory, at about 400 bytes a record."""

_FLAGS = ("unreadable", "occurred_at_ok", "quantity_ok")
_NUMBERS = ("line", "occurred_at_us", "quantity_micro")


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


class _Columns:
    """Columns of records as they are read; put together one by one, so that no more than one is there twice."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Any]] = {name: [] for name in (*_FLAGS, *_NUMBERS, *TEXT_COLUMNS, "file_no")}

    def add(self, file_no: int, chunk: UsageChunk) -> None:
        """Records of a file, after all that were added before."""
        for name in (*_FLAGS, *_NUMBERS):
            self._parts[name].append(getattr(chunk, name))
        for name in TEXT_COLUMNS:
            self._parts[name] += _parts(getattr(chunk, name))
        self._parts["file_no"].append(np.full(len(chunk), file_no, dtype=np.int64))

    def gathered(self, warnings: Sequence[Finding]) -> Gathered:
        """All of them. Nothing is left here."""
        numbers = {name: self._numeric(name, np.int64) for name in ("line", "file_no")}
        records = UsageRecords(
            **{name: self._numeric(name, np.bool_) for name in _FLAGS},
            **{name: self._numeric(name, np.int64) for name in ("occurred_at_us", "quantity_micro")},
            **{name: self._text(name) for name in TEXT_COLUMNS},
        )
        return Gathered(records=records, warnings=tuple(warnings), **numbers)

    def _numeric(self, name: str, dtype: type) -> Any:
        return np.concatenate([np.zeros(0, dtype=dtype), *self._parts.pop(name)]).astype(dtype, copy=False)

    def _text(self, name: str) -> pa.StringArray:
        parts = self._parts.pop(name)
        return pa.chunked_array(parts, pa.string()).combine_chunks() if parts else pa.array([], pa.string())


def _parts(values: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    return [chunk.cast(pa.string()) for chunk in chunks]


def gather(home: Home, files: Sequence[ArchivedFile], progress: Progress = silent) -> Gathered:
    """All records of the archived files that are taken, in file order. Raises ``DataRefused`` where a file cannot be
    read.
    """
    columns = _Columns()
    ignored: list[Finding] = []
    left = RECORDS_MAX
    for number, file in enumerate(files):
        progress("reading usage files", number, len(files))
        unknown: set[str] = set()
        for chunk in read_usage(home.archive.locate(file.stored.path), file.name, unknown=unknown):
            taken = chunk if file.lines is None else chunk.of_lines(file.lines)
            columns.add(number, taken)
            left -= len(taken)
            _demand_room(left, file.name)
        ignored += [Finding(file=file.name, column=c, message="unknown column, ignored") for c in sorted(unknown)]
    return columns.gathered(ignored)


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
        *map(hash_repeated, (records.app_id, records.api, records.corrects, team)),
    ):
        mixed = mix(mixed ^ part.view(np.uint64))
    return mixed.view(np.int64)


def hash_text(values: pa.Array) -> Int64s:
    """SipHash-2-4 of each text's UTF-8 bytes, the same on every machine and in every version (a test pins it)."""
    return pd.util.hash_array(values.to_numpy(zero_copy_only=False).astype(object), categorize=False).view(np.int64)


def hash_repeated(values: pa.StringArray) -> Int64s:
    """``hash_text`` of texts of which few are different."""
    if not pc.max(pc.binary_length(values)).as_py():  # nobody fills the column in, as is usual of two of them
        return np.full(len(values), hash_text(pa.array([""]))[0], dtype=np.int64)
    encoded = values.dictionary_encode()
    hashes: Int64s = hash_text(encoded.dictionary)[encoded.indices.to_numpy(zero_copy_only=False)]
    return hashes


def mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64, of uint64s: every bit of the input moves every bit of the output."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
