"""Cells of text to typed columns (data contract, "Conventions"; dtypes of ``core.reference``).

A cell that cannot be read is a finding, and leaves a value in the frame that the checks know to pass over:
``UNREADABLE`` in a column of integers, ``""`` in one of text. So one mistake is reported once. ``written`` is the way
back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from billing.core.instants import format_us, from_day, parse_day, parse_instant_us
from billing.core.quantity import MICRO, fits_int64, format_micro, parse_micro
from billing.core.reference import BLANK, FOREVER_US, Column, ColumnKind, Table
from billing.intake.reference_findings import FindingList, Lines, shown

UNREADABLE = -(2**63)
"""Stands for a cell that could not be read. ``fits_int64`` lets no written value be this one."""

CELL_CHARACTERS_MAX = 4_000
"""Longer texts are no number or instant; Python reads no integers of more than 4,300 digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RawTable:
    """The cells of one file as text, blank is ``""``.

    ``columns`` are the contract's, ``extra`` all others; ``lines`` are record numbers. ``complete`` is false where
    records of the file could not be read at all. ``card_number`` says that one stands somewhere in the file's text.
    """

    columns: Mapping[str, Sequence[str]]
    extra: Mapping[str, Sequence[str]]
    lines: Lines
    complete: bool = True
    card_number: bool = False


@dataclass(frozen=True, slots=True)
class _Bound:
    lowest: int
    highest: int | None
    message: str


_ABOVE_ZERO = _Bound(1, None, "must be above 0")
_NOT_NEGATIVE = _Bound(0, None, "must not be below 0")
_BOUNDS: Mapping[tuple[str, str], _Bound] = MappingProxyType(
    {
        ("unit_rates", "unit_size"): _ABOVE_ZERO,
        ("unit_rates", "tokens_per_unit"): _Bound(1, None, "must be above 0, or blank where not payable in tokens"),
        ("unit_prices", "unit_price"): _NOT_NEGATIVE,
        ("free_allowances", "units_per_period"): _NOT_NEGATIVE,
        ("token_grants", "tokens"): _ABOVE_ZERO,
        ("capacity_grants", "quantity"): _ABOVE_ZERO,
        ("token_grants", "amount"): _Bound(0, None, "must not be below 0, or blank where it is not known"),
        ("tax_rates", "percent"): _Bound(0, 100 * MICRO, "must be from 0 to 100"),
        ("exchange_rates", "rate"): _ABOVE_ZERO,
        ("seller", "payment_days"): _Bound(0, 365, "must be from 0 to 365"),
    }
)
"""Bounds in the column's unit (10^-6 or whole): "sizes, tokens and tokens per unit not above 0, prices below 0"."""


def typed_frame(table: Table, raw: RawTable, file: str, found: FindingList) -> pd.DataFrame:
    """The frame of ``table`` with the dtypes of ``core.reference``; what is wrong with its cells goes to ``found``."""
    columns: dict[str, pd.Series] = {}
    for column in table.columns:
        cells = raw.columns.get(column.name) or [""] * len(raw.lines)
        values: NDArray[np.generic]
        if column.kind is ColumnKind.TEXT:
            values = _text_column(table, column, cells, raw.lines, file, found)
        else:
            values = _integer_column(table, column, cells, raw.lines, file, found)
        columns[column.name] = pd.Series(values, dtype=values.dtype)
    return pd.DataFrame(columns)


def written(kind: ColumnKind, value: object) -> str:
    """A cell as the contract writes it: instants RFC 3339 in UTC, decimals without trailing zeros, days as dates; blank
    where it does not apply or is open.
    """
    if kind is ColumnKind.TEXT:
        return str(value)
    number = int(str(value))
    if number == UNREADABLE:
        return "(unreadable)"
    if (kind is ColumnKind.INSTANT and number == FOREVER_US) or (kind is not ColumnKind.DAY and number == BLANK):
        return ""
    return _WRITERS[kind](number)


def _text_column(
    table: Table, column: Column, cells: Sequence[str], lines: Lines, file: str, found: FindingList
) -> NDArray[np.object_]:
    values = np.empty(len(cells), dtype=object)
    values[:] = cells
    if not column.blank:
        _report_blanks(table, column, cells, lines, file, found)
    together = "".join(cells)
    if "\x00" in together:
        rows = np.array(["\x00" in cell for cell in cells], dtype=bool)
        message = "holds a NUL character (U+0000), which cannot be kept; take it out"
        found.add_rows(table.name, file, lines, rows, column.name, message)
    if not _is_unicode(together):
        rows = np.array([not _is_unicode(cell) for cell in cells], dtype=bool)
        message = "holds half of a surrogate pair, which is no character; write the character itself"
        found.add_rows(table.name, file, lines, rows, column.name, message)
    return values


def _is_unicode(text: str) -> bool:
    """False for lone surrogates, which JSON can write (``\\ud800``) and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _report_blanks(
    table: Table, column: Column, cells: Sequence[str], lines: Lines, file: str, found: FindingList
) -> None:
    if "" in cells:
        rows = np.array([cell == "" for cell in cells], dtype=bool)
        found.add_rows(table.name, file, lines, rows, column.name, "is blank; it needs a value")


def _integer_column(
    table: Table, column: Column, cells: Sequence[str], lines: Lines, file: str, found: FindingList
) -> NDArray[np.int64]:
    """Each distinct text is read once: dates and sizes repeat a lot."""
    if not column.blank:
        _report_blanks(table, column, cells, lines, file, found)
    values = {"": _blank_value(column)}
    faults: dict[str, str] = {}
    bound = _BOUNDS.get((table.name, column.name))
    for cell in set(cells) - {""}:
        values[cell], fault = _read_cell(column.kind, cell, bound)
        if fault:
            faults[cell] = fault
    if faults:
        rows = np.array([cell in faults for cell in cells], dtype=bool)
        found.add_rows(table.name, file, lines, rows, column.name, lambda row: faults[cells[row]])
    return np.fromiter((values[cell] for cell in cells), dtype=np.int64, count=len(cells))


def _blank_value(column: Column) -> int:
    if not column.blank:
        return UNREADABLE
    return FOREVER_US if column.kind is ColumnKind.INSTANT else BLANK


def _read_cell(kind: ColumnKind, cell: str, bound: _Bound | None) -> tuple[int, str]:
    """The value and what is wrong with it (``""``: nothing)."""
    if len(cell) > CELL_CHARACTERS_MAX:
        return UNREADABLE, f"{shown(cell)} is too long to be a value of this column"
    try:
        value = _READERS[kind](cell)
    except ValueError as error:
        return UNREADABLE, str(error).replace(repr(cell), shown(cell))
    if bound and (value < bound.lowest or (bound.highest is not None and value > bound.highest)):
        return UNREADABLE, f"{shown(cell)} {bound.message}"
    if not fits_int64(value):
        return UNREADABLE, f"{shown(cell)} is larger than can be kept in 64 bits"
    return value, ""


def _read_whole(cell: str) -> int:
    """A decimal that is a whole number: ``10`` and ``10.0`` are the same value."""
    whole, fraction = divmod(parse_micro(cell), MICRO)
    if fraction:
        raise ValueError(f"{cell!r} is not a whole number")
    return whole


_READERS: Mapping[ColumnKind, Callable[[str], int]] = MappingProxyType(
    {
        ColumnKind.INSTANT: parse_instant_us,
        ColumnKind.DAY: parse_day,
        ColumnKind.MICRO: parse_micro,
        ColumnKind.WHOLE: _read_whole,
    }
)

_WRITERS: Mapping[ColumnKind, Callable[[int], str]] = MappingProxyType(
    {
        ColumnKind.INSTANT: format_us,
        ColumnKind.DAY: lambda day: from_day(day).isoformat(),
        ColumnKind.MICRO: format_micro,
        ColumnKind.WHOLE: str,
    }
)
