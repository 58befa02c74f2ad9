"""Extracts: what a query gave, as Parquet. All cells are strings, null where the query gave NULL.

The same rows make the same bytes, whatever batches they came in. Memory is bounded: by a row group, and, where rows
are compared with earlier extracts, by DuckDB's limit and a byte a row.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from billing.core.errors import ConservationBroken
from billing.intake.containers import Bools
from billing.intake.sources.sql_rows import Row, Rows
from billing.intake.usage_files import COLUMNS

GROUP_ROWS = 65_536
# DuckDB spills what does not fit; keeping an order, it would need all of it at once.
_LIMITS = {"memory_limit": "512MB", "threads": 2, "preserve_insertion_order": "false"}
_KEYS = pa.schema([(column, pa.string()) for column in COLUMNS])
_NUMBERED = pa.schema([("number", pa.int64()), *_KEYS])


def write_rows(path: Path, rows: Rows) -> int:
    """Write all rows in their order and return how many there are."""
    schema = pa.schema([(column, pa.string()) for column in rows.columns])
    return _write(path, schema, (_batch(batch, schema) for batch in rows.batches))


def write_unknown(path: Path, read: Path, known: Sequence[Path], staging: Path) -> int:
    """Write those rows of the extract ``read`` that are in none of the extracts ``known``; return how many.

    Rows are compared in the usage columns of the data contract, as it reads them: a column that one of the two lacks
    is blank, and so is NULL. Other columns do not count. Order and columns are those of ``read``.

    ``staging``: where DuckDB may put what does not fit into memory. Raises ``ConservationBroken`` where a known
    extract is missing or no Parquet.
    """
    _check_known(known)
    with pq.ParquetFile(read) as file:
        is_new = _is_new(file, known, staging)
        return _write(path, file.schema_arrow, _filtered(file, is_new))


def _write(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd", store_schema=False) as writer:
        for group in _groups(batches, schema):
            writer.write_table(group, row_group_size=GROUP_ROWS)
            count += group.num_rows
    return count


def _groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Tables of ``GROUP_ROWS`` rows, the last one of what is left, in one chunk each."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        while sum(map(len, waiting)) >= GROUP_ROWS:
            table = pa.Table.from_batches(waiting, schema)
            yield table.slice(0, GROUP_ROWS).combine_chunks()
            waiting = table.slice(GROUP_ROWS).to_batches()
    if any(map(len, waiting)):
        yield pa.Table.from_batches(waiting, schema).combine_chunks()


def _batch(rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    return pa.record_batch([pa.array(cells, pa.string()) for cells in columns], schema=schema)


def _check_known(known: Sequence[Path]) -> None:
    """Raise ``ConservationBroken`` unless all of these extracts are there and can be read."""
    for path in known:
        try:
            pq.read_metadata(path)
        except (OSError, pa.ArrowException) as error:
            raise ConservationBroken(
                f"{path}: an earlier extract is missing or damaged ({str(error).partition(chr(10))[0]}); restore it "
                "from a backup."
            ) from None


def _filtered(file: pq.ParquetFile, mask: Bools) -> Iterator[pa.RecordBatch]:
    first = 0
    for batch in file.iter_batches(GROUP_ROWS):
        yield batch.filter(pa.array(mask[first : first + len(batch)]))
        first += len(batch)


def _is_new(file: pq.ParquetFile, known: Sequence[Path], staging: Path) -> Bools:
    """Of each row, whether none of the known extracts has it."""
    is_new = np.zeros(file.metadata.num_rows, np.bool_)
    same = " and ".join(f"known.{column} = new.{column}" for column in COLUMNS)
    anti_join = f"select number from new where not exists (select 1 from known where {same})"  # noqa: S608
    with tempfile.TemporaryDirectory(dir=staging) as spill, duckdb.connect(config=_LIMITS) as engine:
        engine.execute("set temp_directory = $folder", {"folder": spill})
        engine.register("new", _reader(_NUMBERED, _numbered(file)))
        engine.register("known", _reader(_KEYS, _keys_of(known)))
        for batch in engine.sql(anti_join).to_arrow_reader(GROUP_ROWS):
            is_new[batch.column("number").to_numpy()] = True
    return is_new


def _reader(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(schema, batches)


def _numbered(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """Each row's number, from 0 on, and what it is compared by."""
    columns = [column for column in COLUMNS if column in file.schema_arrow.names]
    first = 0
    for batch in file.iter_batches(GROUP_ROWS, columns=columns):
        numbers = pa.array(np.arange(first, first + len(batch)))
        yield pa.record_batch([numbers, *_keys(batch)], schema=_NUMBERED)
        first += len(batch)


def _keys_of(extracts: Iterable[Path]) -> Iterator[pa.RecordBatch]:
    for path in extracts:
        with pq.ParquetFile(path) as file:
            columns = [column for column in COLUMNS if column in file.schema_arrow.names]
            for batch in file.iter_batches(GROUP_ROWS, columns=columns):
                yield pa.record_batch(_keys(batch), schema=_KEYS)


def _keys(batch: pa.RecordBatch) -> list[pa.Array]:
    """The usage columns, blank where they are null or absent."""
    return [_key(batch, column) for column in COLUMNS]


def _key(batch: pa.RecordBatch, column: str) -> pa.Array:
    if column not in batch.schema.names:
        return pa.repeat("", len(batch))
    return pc.fill_null(batch.column(column).cast(pa.string()), "")
