"""Parquet reference files to cells of text (data contract, "Files").

Quantities are strings, integers or decimals ("a FLOAT or DOUBLE column refuses the file"), instants strings or
timestamps adjusted to UTC, days strings or dates. Texts may be integers too: their digits are taken.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from billing.core.instants import MAX_US, MIN_US, format_us
from billing.core.reference import Column, ColumnKind, Table
from billing.intake.reference_cells import RawTable
from billing.intake.reference_codes import has_card_number
from billing.intake.reference_containers import FileRefused, check_header, split_columns

_TICKS_A_SECOND = MappingProxyType({"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000})


def read_parquet(table: Table, content: bytes) -> RawTable:
    """Row 1 is the first. Unknown columns are named, and read only in ``payment_methods`` (for card numbers)."""
    try:
        source = pq.ParquetFile(io.BytesIO(content))
        names = source.schema_arrow.names
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FileRefused(f"is not Parquet, as its name says ({_brief(error)})") from None
    check_header(table, names)
    known = {column.name: column for column in table.columns}
    _check_types([(known[field.name], field.type) for field in source.schema_arrow if field.name in known])
    scanned = table.name == "payment_methods"
    try:
        data = source.read(columns=None if scanned else list(known))
        cells = {name: _texts(data.column(name)) for name in data.column_names}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FileRefused(f"cannot be read ({_brief(error)}); write it again") from None
    columns, extra = split_columns(table, cells)
    for name in names:
        if name not in known:
            extra.setdefault(name, [])
    return RawTable(
        columns=columns,
        extra=extra,
        lines=np.arange(1, data.num_rows + 1, dtype=np.int64),
        card_number=scanned and has_card_number("\n".join(names)),
    )


def _brief(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:120]


def _check_types(columns: list[tuple[Column, pa.DataType]]) -> None:
    reasons = [
        f"has the column {column.name} as {kind}; write it as {_ALLOWED[column.kind][1]}"
        for column, kind in columns
        if not _allows(column.kind, kind)
    ]
    if reasons:
        raise FileRefused(*reasons)


def _allows(column_kind: ColumnKind, kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(_is_string(kind) or pa.types.is_null(kind) or _ALLOWED[column_kind][0](kind))


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_exact(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _is_utc_timestamp(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.tz is not None)


_ALLOWED: Mapping[ColumnKind, tuple[Callable[[pa.DataType], bool], str]] = MappingProxyType(
    {
        ColumnKind.TEXT: (pa.types.is_integer, "strings"),
        ColumnKind.INSTANT: (_is_utc_timestamp, "strings or timestamps adjusted to UTC"),
        ColumnKind.DAY: (pa.types.is_date, "strings or dates"),
        ColumnKind.MICRO: (_is_exact, "strings, integers or decimals"),
        ColumnKind.WHOLE: (_is_exact, "strings, integers or decimals"),
    }
)
"""Besides strings: which types a column may have, and how a message names them."""


def _texts(column: pa.ChunkedArray) -> list[str]:
    """Cells as they would be written in CSV; null is blank."""
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        unit = column.type.unit
        return ["" if ticks is None else _instant_text(ticks, unit) for ticks in column.cast(pa.int64()).to_pylist()]
    return ["" if value is None else _text(value) for value in column.to_pylist()]


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text  # DECIMAL(38, 9) holds 20 as 20.000000000
    return value.isoformat() if isinstance(value, date) else str(value)


def _instant_text(ticks: int, unit: str) -> str:
    """RFC 3339 with all digits there are: the common check then refuses what is finer than a microsecond."""
    us, finer = divmod(ticks * 1_000_000, _TICKS_A_SECOND[unit])
    if not MIN_US <= us <= MAX_US:
        return f"{us} microseconds since 1970"
    if not finer:
        return format_us(us)
    return f"{format_us(us - us % 1_000_000)[:-1]}.{us % 1_000_000:06d}{finer // 1_000_000:03d}Z"  # only "ns" is finer
