"""Which small data files of a table are put together: files of one partition that are next to each other in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa

FILE_BYTES = 32 << 20
"""What data files are filled up to. One of half of it is full, and not touched again. Bounds memory, too."""
SMALL_FILES_MAX = 8
"""A partition is left alone as long as fewer of its files are not full."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Data files to be written as one. In their partition, they hold batches ``first`` to ``last``, and no other file
    holds any of these.

    ``partition``: the value of each partition column. ``files``: bytes by path, ascending by batches. ``rows``: of all
    together.
    """

    partition: Mapping[str, str | int]
    first: int
    last: int
    files: Mapping[str, int]
    rows: int

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(self.files.values())

    @property
    def place(self) -> tuple[object, ...]:
        """Pieces are taken in this order."""
        return (*self.partition.values(), self.first)

    @property
    def predicate(self) -> str:
        """SQL that holds for the rows of these files and no others."""
        values = {name: f"'{value}'" if isinstance(value, str) else value for name, value in self.partition.items()}
        same = [f"{name} = {value}" for name, value in values.items()]
        return " and ".join([*same, f"batch_no >= {self.first}", f"batch_no <= {self.last}"])


def pieces(files: pa.Table, partition_by: Sequence[str], file_bytes: int = FILE_BYTES) -> list[Piece]:
    """What to put together of these files (``LakeTable.files``), in the order of ``Piece.place``."""
    if not files.num_rows:
        return []
    keys = [f"partition.{name}" for name in partition_by]
    columns = ("min.batch_no", "max.batch_no", "path", "num_records", "size_bytes")
    rows = files.sort_by([(name, "ascending") for name in (*keys, *columns[:3])]).select([*keys, *columns]).to_pylist()
    found: list[Piece] = []
    for values, mine in groupby(rows, key=lambda row: tuple(row[key] for key in keys)):
        partition = dict(zip(partition_by, values, strict=True))
        singles = [_single(partition, row) for row in mine]
        if sum(one.size_bytes < file_bytes // 2 for one in singles) >= SMALL_FILES_MAX:
            found += _filled_up(_apart(singles), file_bytes)
    return found


def _single(partition: Mapping[str, str | int], row: Mapping[str, Any]) -> Piece:
    return Piece(
        partition=partition,
        first=row["min.batch_no"],
        last=row["max.batch_no"],
        files={row["path"]: row["size_bytes"]},
        rows=row["num_records"],
    )


def _apart(files: Sequence[Piece]) -> Iterator[Piece]:
    """Files by their first batch; those that span each other's batches as one."""
    held: list[Piece] = []
    last = 0
    for file in files:
        if held and file.first > last:
            yield _together(held)
            held = []
        held.append(file)
        last = max(last, file.last)
    yield _together(held)


def _filled_up(apart: Iterable[Piece], file_bytes: int) -> Iterator[Piece]:
    """As many next to each other as make a file. One that is full already stays, and so does one between two such."""
    held: list[Piece] = []
    size = 0
    for one in apart:
        is_full = one.size_bytes >= file_bytes // 2
        if is_full or size + one.size_bytes > file_bytes:
            yield from _several(held)
            held, size = [], 0
        if not is_full:
            held.append(one)
            size += one.size_bytes
    yield from _several(held)


def _several(parts: Sequence[Piece]) -> Iterator[Piece]:
    if sum(len(part.files) for part in parts) > 1:
        yield _together(parts)


def _together(parts: Sequence[Piece]) -> Piece:
    return Piece(
        partition=parts[0].partition,
        first=parts[0].first,
        last=max(part.last for part in parts),
        files={path: size for part in parts for path, size in part.files.items()},
        rows=sum(part.rows for part in parts),
    )
