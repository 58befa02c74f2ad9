"""The containers of reference files: bytes of CSV, JSON Lines or Parquet to cells of text (data contract, "Files").

Every reader gives a ``RawTable``; what makes a file unreadable as a whole raises ``FileRefused`` with its reasons,
what makes one record unreadable is a finding and the other records are still read, so that one report has them all.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from billing.core.reference import Table
from billing.intake.reference_cells import RawTable
from billing.intake.reference_codes import has_card_number
from billing.intake.reference_findings import FindingList, shown

FILE_BYTES_MAX = 1 << 30
"""Reference files are small; one that unpacks to more than this is refused before it fills the memory."""

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"

# One cell and what ends it (RFC 4180): quoted with doubled quotes inside, or without quotes, commas and line ends.
_CELL = re.compile(r'(?:"((?:[^"]++|"")*+)"|([^",\r\n]*+))(,|\r?\n|\r?\Z)')
_UNREADABLE_CELL = (
    "cannot be read: a quote or a carriage return stands inside a cell; quote the cell, double its quotes"
)

# Of so many unknown keys of JSON the values are looked at for card numbers; the text of the file always is.
_EXTRA_KEYS_MAX = 50


SUFFIXES: tuple[str, ...] = (".csv.gz", ".csv", ".jsonl.gz", ".jsonl", ".parquet")
"""How the name of a file with data ends."""


def suffix_of(name: str) -> str:
    """The end of ``name`` that says what it holds, or ``""``."""
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


class FileRefused(Exception):
    """The file cannot be read at all; ``reasons`` says why and what to do."""

    def __init__(self, *reasons: str) -> None:
        self.reasons = reasons
        super().__init__("; ".join(reasons))


def unpacked(content: bytes) -> bytes:
    """The content of a gzip file, which may have several members."""
    if not content.startswith(_GZIP):
        raise FileRefused("is not gzip, as its name says; compress it with gzip or drop the .gz")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            plain = stream.read(FILE_BYTES_MAX + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FileRefused(f"is damaged gzip ({error}); write it again") from None
    if len(plain) > FILE_BYTES_MAX:
        raise FileRefused(f"unpacks to more than {FILE_BYTES_MAX:,} bytes")
    return plain


def decoded(content: bytes) -> str:
    """UTF-8 text without its byte order mark."""
    if content.startswith(_GZIP):
        raise FileRefused("is gzip; give it a name that ends in .gz")
    if content.startswith(_PARQUET):
        raise FileRefused("is Parquet; give it a name that ends in .parquet")
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileRefused(f"is not UTF-8: byte {error.start + 1:,}, in text line {line:,}; write it as UTF-8") from None


def check_header(table: Table, names: Sequence[str]) -> None:
    """Refuses a missing or a doubled column."""
    reasons = [
        f"has the column {shown(name)} more than once; keep one" for name, count in Counter(names).items() if count > 1
    ]
    reasons += [
        f"lacks the column {column.name}; add it, blank where it does not apply"
        for column in table.columns
        if column.name not in names and not column.optional
    ]
    if reasons:
        raise FileRefused(*reasons)


def split_columns(table: Table, named: Mapping[str, Sequence[str]]) -> tuple[dict[str, Sequence[str]], ...]:
    """The contract's columns, and the others."""
    known = {column.name for column in table.columns}
    columns = {name: cells for name, cells in named.items() if name in known}
    return columns, {name: cells for name, cells in named.items() if name not in known}


# --- CSV -----------------------------------------------------------------------------------------------------------


def read_csv(table: Table, text: str, file: str, found: FindingList) -> RawTable:
    """RFC 4180 with a header row, which is record 1. Short records end in blanks; an empty line is no record."""
    faults: list[int] = []
    records = _quoted_records(text, faults.append) if '"' in text else _plain_records(text, faults.append)
    if not records:
        raise FileRefused("is empty; it needs at least the row with the names of the columns")
    header, *rows = records
    if 1 in faults:
        raise FileRefused(f"has a header that {_UNREADABLE_CELL}")
    check_header(table, header)
    for line in faults:
        found.add(table.name, file, _UNREADABLE_CELL, line=line)
    lines = np.arange(2, len(rows) + 2, dtype=np.int64)
    widths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    found.add_rows(
        table.name,
        file,
        lines,
        widths > len(header),
        None,
        lambda row: f"has {len(rows[row])} cells, the header {len(header)}; quote cells that hold a comma",
    )
    cells = _columns_of(rows, len(header))
    columns, extra = split_columns(table, dict(zip(header, cells, strict=True)))
    # Unreadable records stay in as blanks, so that the numbers of the others are right.
    readable = ~np.isin(lines, faults)
    return RawTable(
        columns={name: _kept(cells, readable) for name, cells in columns.items()},
        extra={name: _kept(cells, readable) for name, cells in extra.items()},
        lines=lines[readable],
        complete=not faults,
        card_number=table.name == "payment_methods" and has_card_number(text),
    )


def _kept(cells: Sequence[str], rows: NDArray[np.bool_]) -> Sequence[str]:
    return cells if rows.all() else [cell for cell, keep in zip(cells, rows, strict=True) if keep]


def _columns_of(rows: list[list[str]], width: int) -> list[Sequence[str]]:
    """Columns of ``rows``, short ones filled with blanks and long ones cut."""
    if not rows:
        return [[] for _ in range(width)]
    columns: list[Sequence[str]] = list(zip_longest(*(row[:width] for row in rows), fillvalue=""))
    return columns + [[""] * len(rows)] * (width - len(columns))


def _plain_records(text: str, fault: Callable[[int], None]) -> list[list[str]]:
    """Records of a text without quotes: the fast way for most files."""
    text = text.replace("\r\n", "\n").removesuffix("\r")
    records = [line.split(",") for line in text.split("\n") if line]
    if "\r" in text:
        for number, record in enumerate(records, start=1):
            if any("\r" in cell for cell in record):
                fault(number)
    return records


def _quoted_records(text: str, fault: Callable[[int], None]) -> list[list[str]]:
    """Records of any text. After one that cannot be read, reading goes on at the next line."""
    records: list[list[str]] = []
    record: list[str] = []
    position, empty = 0, True
    while position < len(text) or record:
        match = _CELL.match(text, position)
        if match is None:
            records.append([""])
            fault(len(records))
            record, empty = [], True
            position = (text.find("\n", position) + 1) or len(text)
            continue
        quoted, plain, end = match.groups()
        record.append(plain if quoted is None else quoted.replace('""', '"'))
        empty = empty and quoted is None and plain == "" and end != ","
        position = match.end()
        if end != ",":
            if not empty:
                records.append(record)
            record, empty = [], True
    return records


# --- JSON Lines ----------------------------------------------------------------------------------------------------


class _Unreadable(ValueError):
    """A line that is not one flat JSON object."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise _Unreadable("has a key twice; keep one")
    return content


def _constant(name: str) -> object:
    raise _Unreadable(f"holds {name}, which is not JSON")


# Numbers are "read by their text": no float is ever made of them.
_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_int=str, parse_float=str, parse_constant=_constant)


def read_jsonl(table: Table, text: str, file: str, found: FindingList) -> RawTable:
    """One object a line, the first is record 1; blank lines are no records; an absent key or null is blank."""
    records: list[dict[str, str | None]] = []
    lines: list[int] = []
    number = 0
    for line in text.split("\n"):
        if not line.strip(" \t\r"):
            continue
        number += 1
        try:
            records.append(_json_record(line))
            lines.append(number)
        except _Unreadable as error:
            found.add(table.name, file, f"cannot be read: {error}", line=number)
    known = [column.name for column in table.columns]
    unknown = list(dict.fromkeys(name for record in records for name in record if name not in known))
    scanned = unknown[:_EXTRA_KEYS_MAX] if table.name == "payment_methods" else []
    return RawTable(
        columns={name: _json_cells(name, records) for name in known},
        extra={name: _json_cells(name, records) if name in scanned else [] for name in unknown},
        lines=np.array(lines, dtype=np.int64),
        complete=len(records) == number,
        card_number=table.name == "payment_methods" and has_card_number(text),
    )


def _json_record(line: str) -> dict[str, str | None]:
    try:
        record = _JSON.decode(line)
    except _Unreadable:
        raise
    except (ValueError, RecursionError):
        raise _Unreadable("it is not JSON; write one object a line") from None
    if not isinstance(record, dict):
        raise _Unreadable("it is not a JSON object; write one object a line")
    if not all(value is None or isinstance(value, str) for value in record.values()):
        raise _Unreadable("it holds a nested value, true or false; write texts, numbers and nulls only")
    return record


def _json_cells(name: str, records: list[dict[str, str | None]]) -> list[str]:
    return [record.get(name) or "" for record in records]
