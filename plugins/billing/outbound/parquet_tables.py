"""The output tables as Parquet: the same rows as CSV, with types. What is blank there is null here.

Types go by the column's name: instants are ``timestamp[us, UTC]``, local dates ``date32``, quantities, tokens, prices
and percents ``decimal128(19, 6)``, money ``decimal128(23, 4)`` (ISO 4217 has four minor digits at most), counts
``int64``, all else text. The same rows are the same bytes with the same version of the library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

INSTANT, DAY, WHOLE = pa.timestamp("us", "UTC"), pa.date32(), pa.int64()
MICRO, MONEY = pa.decimal128(19, 6), pa.decimal128(23, 4)

_INSTANTS = ("cycle_start", "cycle_end", "opened_at", "attempted_at", "next_attempt_at", "next_attempt", "at")
_DAYS = ("period_first_day", "period_last_day", "issue_date", "due_date")
_MICROS = ("opening", "usage", "late_usage", "closing", "unit_price", "tokens", "tax_percent")
_MONEY = (
    *("net", "tax", "total", "amount"),
    *("credited", "received", "refunded", "disputed", "written_off", "outstanding"),
)
_WHOLE = ("charged_units", "line", "line_no", "invoice_line_no", "bytes", "attempts")
_TYPES: Mapping[str, Any] = (
    dict.fromkeys(_INSTANTS, INSTANT)
    | dict.fromkeys(_DAYS, DAY)
    | dict.fromkeys(_MICROS, MICRO)
    | dict.fromkeys(_MONEY, MONEY)
    | dict.fromkeys(_WHOLE, WHOLE)
)
_ROW_GROUP = 100_000


def schema_of(columns: Sequence[str]) -> pa.Schema:
    """The types of an output table's columns."""
    return pa.schema([pa.field(name, _TYPES.get(name, pa.string())) for name in columns])


def write_parquet(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Write rows of text as one Parquet file, sorted as in CSV; returns how many they are."""
    ordered = sorted(tuple(row) for row in rows)
    schema = schema_of(columns)
    with pq.ParquetWriter(path, schema, compression="zstd", version="2.6") as writer:
        for low in range(0, len(ordered), _ROW_GROUP):
            writer.write_table(_typed(ordered[low : low + _ROW_GROUP], schema))
    return len(ordered)


def _typed(rows: Sequence[Sequence[str]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True)
    arrays = [
        pa.array([cell or None for cell in cells], pa.string()).cast(kind)
        for cells, kind in zip(columns, schema.types, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
