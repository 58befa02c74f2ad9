"""Files of usage events to chunks of columns: CSV, JSON Lines (both also gzipped) and Parquet.

Source: data contract, "Conventions" and "Usage events". A record that cannot be read is in the output once, as
``unreadable``; a file that is not what it should be is refused whole, even where that shows only at its end.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from billing.core.errors import Finding
from billing.intake import containers, usage_columns
from billing.intake.containers import BOM, Bools, ByteSource, Ints, Piece, format_of, refusal

REQUIRED = ("event_id", "occurred_at", "app_id", "api", "quantity")
OPTIONAL = ("corrects", "team_id")
COLUMNS = REQUIRED + OPTIONAL
TEXT_COLUMNS = ("event_id", "app_id", "api", "corrects", "team_id")

# Bytes read at a time for each record of a chunk; real records are of about this size.
_RECORD_BYTES = 64
_BLOCK_BYTES_MAX = 16 << 20

Parser = Callable[[pa.Array], tuple[Ints, Bools]]


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageChunk:
    """Up to ``chunk_rows`` records of one file, in file order; every array has one element a record.

    - ``line``: int64, the record's number. In CSV the header is 1 and the first record 2, elsewhere the first
      record is 1; empty lines are no records and are not counted.
    - ``unreadable``: bool; all other columns of such a record are blank, 0 or False.
    - ``event_id``, ``app_id``, ``api``, ``corrects``, ``team_id``: string or large_string without nulls, blank is
      "". ``team_id`` is as it came; it counts only where ``app_id`` is blank.
    - ``occurred_at_us``: int64, microseconds since the epoch, 0 where not ok. ``occurred_at_ok``: bool.
    - ``quantity_micro``: int64, 10^-6 of a unit, 0 where not ok. ``quantity_ok``: bool, a decimal as in the data
      contract, not zero, of a magnitude of at most 10^12 units; it may be negative.
    """

    line: Ints
    unreadable: Bools
    event_id: pa.Array
    app_id: pa.Array
    api: pa.Array
    corrects: pa.Array
    team_id: pa.Array
    occurred_at_us: Ints
    occurred_at_ok: Bools
    quantity_micro: Ints
    quantity_ok: Bools

    def __len__(self) -> int:
        return len(self.line)

    def of_lines(self, lines: Ints) -> UsageChunk:
        """The records with these numbers (ascending), of those that the chunk has."""
        begin, end = np.searchsorted(lines, [self.line[0], self.line[-1] + 1]) if len(self) else (0, 0)
        rows = lines[begin:end] - (self.line[0] if len(self) else 0)
        index = pa.array(rows, pa.int64())
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return UsageChunk(**{n: v[rows] if isinstance(v, np.ndarray) else v.take(index) for n, v in parts.items()})


def read_usage(
    path: Path, name: str, *, chunk_rows: int = 262_144, unknown: set[str] | None = None
) -> Iterator[UsageChunk]:
    """Read a file of usage events; ``name`` is what it was called, and tells its format.

    Chunks are provisional until the iterator ends: ``DataRefused`` (findings with file, record and column) may
    still be raised after many of them, for invalid UTF-8, a quote never closed, or damaged gzip or Parquet data
    far into the file; then none of them counts. Nothing is read, nor refused, before the first ``next()``.
    Names of columns that are ignored are added to ``unknown``, if given; they are complete at the end.
    """
    if chunk_rows < 1:
        raise ValueError("chunk_rows is at least 1")
    ignored: set[str] = set() if unknown is None else unknown
    yield from _READERS[format_of(name).kind](path, name, chunk_rows, ignored)


def raw_records(path: Path, name: str, lines: Collection[int]) -> dict[int, bytes]:
    """The raw bytes of the records with these numbers, in one pass; numbers that the file lacks are left out.

    CSV: the record's text without its line end; JSON Lines: the line; both at most ``MAX_RECORD_BYTES``, the rest
    of a larger record is cut off. Parquet: a JSON object of the row's values as text, null where null, without
    columns that are binary or nested. ``DataRefused`` as in ``read_usage``.
    """
    wanted = np.unique(np.fromiter(lines, np.int64, len(lines)))
    if not len(wanted):
        return {}
    if format_of(name).kind == "parquet":
        return _parquet_raw(path, name, wanted)
    found: dict[int, bytes] = {}
    for piece in _text_pieces(path, name, _BLOCK_BYTES_MAX):
        for line in _within(wanted, piece.line, len(piece)):
            raw = piece.raw(line - piece.line)
            found[line] = raw.removesuffix(b"\r")
    return found


def _within(wanted: Ints, first: int, count: int) -> list[int]:
    begin, end = np.searchsorted(wanted, [first, first + count])
    lines: list[int] = wanted[begin:end].tolist()
    return lines


def _text_pieces(path: Path, name: str, block_bytes: int) -> Iterator[Piece]:
    how = format_of(name)
    assert how.kind != "parquet"
    with ByteSource(path, name, gzipped=how.gzipped) as source:
        yield from containers.pieces(source, name, how.kind, block_bytes=block_bytes)


def _block_bytes(chunk_rows: int) -> int:
    return min(chunk_rows * _RECORD_BYTES, _BLOCK_BYTES_MAX)


def _chunk(
    line: int,
    unreadable: Bools,
    columns: dict[str, pa.Array],
    instants: Parser = usage_columns.instants_from_text,
    quantities: Parser = usage_columns.quantities_from_text,
) -> UsageChunk:
    """A chunk of columns by name; a column that is absent is blank."""
    count = len(unreadable)
    text = {name: columns[name] if name in columns else pa.repeat("", count) for name in TEXT_COLUMNS}
    occurred_at_us, occurred_at_ok = instants(columns["occurred_at"])
    quantity_micro, quantity_ok = quantities(columns["quantity"])
    return UsageChunk(
        line=np.arange(line, line + count, dtype=np.int64),
        unreadable=unreadable,
        **text,
        occurred_at_us=occurred_at_us,
        occurred_at_ok=occurred_at_ok,
        quantity_micro=quantity_micro,
        quantity_ok=quantity_ok,
    )


# --- CSV


def _read_csv(path: Path, name: str, chunk_rows: int, unknown: set[str]) -> Iterator[UsageChunk]:
    header: list[str] | None = None
    for piece in _text_pieces(path, name, _block_bytes(chunk_rows)):
        begin = 0
        if header is None:
            header = _csv_header(piece, name)
            unknown.update(set(header) - set(COLUMNS))
            begin = 1
        for place in range(begin, len(piece), chunk_rows):
            yield _csv_chunk(piece.part(place, place + chunk_rows), header)
    if header is None:
        raise refusal(name, "is empty; a CSV file begins with a header row, " + ",".join(REQUIRED))


def _csv_header(piece: Piece, name: str) -> list[str]:
    if piece.flawed[0]:
        raise refusal(name, "the header row cannot be read; check its quotes and its size", 1)
    text = io.StringIO(piece.raw(0).decode(), newline="")
    try:
        [header] = csv.reader(text, strict=True)
    except csv.Error as error:
        raise refusal(name, f"the header row cannot be read ({error})", 1) from None
    _check_header(header, name, 1)
    return header


def _check_header(header: Sequence[str], name: str, line: int | None) -> None:
    """Refuse a file that lacks a required column or has any column twice, with every such column."""
    findings = [
        Finding(file=name, line=line, column=column, message="the column is missing; add it, spelled like this")
        for column in REQUIRED
        if column not in header
    ]
    findings += [
        Finding(file=name, line=line, column=column, message="the column is there more than once; keep one")
        for column in dict.fromkeys(header)
        if header.count(column) > 1
    ]
    if findings:
        raise refusal(name, findings)


def _csv_chunk(piece: Piece, header: Sequence[str]) -> UsageChunk:
    unreadable = piece.flawed | (piece.cells > len(header))
    data = piece.data
    if (unreadable | (piece.cells < len(header))).any():
        data = _squared(piece, unreadable, len(header))
    # pyarrow would take a byte order mark for one that begins a file; the empty line is no record.
    table = _parse_csv(b"\n" + data if data.startswith(BOM) else data, header)
    if table.num_rows != len(piece):
        raise RuntimeError(f"{len(piece)} records were found, {table.num_rows} parsed; this is a bug")
    return _chunk(piece.line, unreadable, {name: _one_array(table[name]) for name in table.column_names})


def _parse_csv(data: bytes, header: Sequence[str]) -> pa.Table:
    """Parse regular CSV whose records all have one cell a column; every cell is text."""
    columns = [name for name in header if name in COLUMNS]
    names = [name if name in columns else f"ignored {place}" for place, name in enumerate(header)]
    return pacsv.read_csv(
        pa.BufferReader(data),
        # One block, since records would have to be looked for again at its borders.
        pacsv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
        pacsv.ParseOptions(newlines_in_values=b'"' in data),
        pacsv.ConvertOptions(
            check_utf8=False,
            column_types=dict.fromkeys(columns, pa.string()),
            include_columns=columns,
            null_values=[],
            strings_can_be_null=False,
        ),
    )


def _squared(piece: Piece, dropped: Bools, width: int) -> bytes:
    """The piece's text with short records filled up with blanks and the ``dropped`` ones all blank."""
    block = np.frombuffer(piece.data, np.uint8)
    border = np.zeros(len(block) + 1, np.int8)
    border[piece.start[dropped]] = 1
    border[piece.end[dropped]] = -1
    kept = np.cumsum(border[:-1], dtype=np.int8) == 0
    removed = np.cumsum(np.where(dropped, piece.end - piece.start, 0))
    commas = np.where(dropped, width - 1, width - piece.cells)
    filled: bytes = np.insert(block[kept], np.repeat(piece.end - removed, commas), ord(",")).tobytes()
    return filled


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


# --- JSON Lines


def _not_json(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


# Objects become tuples of pairs and numbers their text, so that what is left of other types is nested or a bool.
_DECODER = json.JSONDecoder(object_pairs_hook=tuple, parse_int=str, parse_float=str, parse_constant=_not_json)
_AS_TEXT = {None: "", True: "true", False: "false"}
_JSON_SPACE = " \t\r\n"


def _read_jsonl(path: Path, name: str, chunk_rows: int, unknown: set[str]) -> Iterator[UsageChunk]:
    for piece in _text_pieces(path, name, _block_bytes(chunk_rows)):
        if piece.line == 1:
            _check_is_not_csv(piece.raw(0), name)
        for place in range(0, len(piece), chunk_rows):
            yield _jsonl_chunk(piece.part(place, place + chunk_rows), unknown)


def _check_is_not_csv(first: bytes, name: str) -> None:
    if set(REQUIRED) <= {cell.strip(' "') for cell in first.decode(errors="replace").strip().split(",")}:
        raise refusal(name, "is CSV; name it .csv", 1)


def _jsonl_chunk(piece: Piece, unknown: set[str]) -> UsageChunk:
    """Records that are written like the first one are taken apart together, the others one by one."""
    unreadable = piece.flawed.copy()
    alike, texts = _alike(piece, unknown)
    others: list[tuple[str, ...]] = []
    for place in np.flatnonzero(~alike).tolist():
        row = None if unreadable[place] else _json_record(piece.data[piece.start[place] : piece.end[place]].decode())
        if row is None:
            unreadable[place] = True
            row = {}
        elif not row.keys() <= _KNOWN:
            unknown.update(row.keys() - _KNOWN)
        others.append(tuple([row.get(column, "") for column in COLUMNS]))
    columns = dict(zip(COLUMNS, zip(*others, strict=True), strict=True)) if others else {}
    order = np.argsort(np.concatenate([np.flatnonzero(alike), np.flatnonzero(~alike)]), kind="stable")
    merged = {
        column: pa.concat_arrays([texts[column], pa.array(columns.get(column, ()), pa.string())]).take(pa.array(order))
        for column in COLUMNS
    }
    return _chunk(piece.line, unreadable, merged if len(others) else texts)


class _Shape(NamedTuple):
    """How a flat JSON object is written: ``pattern`` is a regular expression (RE2) that holds for a line with the same
    keys in the same order, the same of its values quoted, nothing escaped. Every such line falls apart at its quotes
    into equally many pieces; ``cells`` are, by key, the piece that holds the value and whether it is quoted.
    """

    pattern: str
    cells: Mapping[str, tuple[int, bool]]


_SHAPE_KEYS_MAX = 30
_JSON_BARE = r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null)"
_JSON_QUOTED = r'"[^"\\\x00-\x1f]*"'
_JSON_GAP = r"[ \t\r\n]*"


def _shape_of(line: str) -> _Shape | None:
    """The shape of a record; None where it has none."""
    row = _json_record(line)
    if not row or len(row) > _SHAPE_KEYS_MAX:
        return None
    try:
        quoted = {key: isinstance(value, str) for key, value in json.loads(line).items()}
    except ValueError:  # a whole number of thousands of digits
        return None
    written = (
        f'"{re.escape(key)}"{_JSON_GAP}:{_JSON_GAP}{_JSON_QUOTED if is_quoted else _JSON_BARE}'
        for key, is_quoted in quoted.items()
    )
    pattern = f"{_JSON_GAP},{_JSON_GAP}".join(written)
    cells, part = dict[str, tuple[int, bool]](), 1
    for key, is_quoted in quoted.items():
        cells[key] = part + 1 + is_quoted, is_quoted
        part += 2 + 2 * is_quoted
    return _Shape(rf"^{_JSON_GAP}\{{{_JSON_GAP}{pattern}{_JSON_GAP}\}}{_JSON_GAP}$", cells)


def _alike(piece: Piece, unknown: set[str]) -> tuple[Bools, dict[str, pa.Array]]:
    """Which records are written like the first that has a shape, and their columns as text."""
    none = np.zeros(len(piece), np.bool_), dict.fromkeys(COLUMNS, pa.array([], pa.string()))
    first = next((place for place in range(min(len(piece), 8)) if not piece.flawed[place]), None)
    shape = None if first is None else _shape_of(piece.raw(first).decode(errors="replace"))
    if shape is None:
        return none
    # Each line with what is between it and the next: line ends, which no shape minds.
    offsets = np.append(piece.start, piece.end[-1]).astype(np.int32)
    lines = pa.StringArray.from_buffers(len(piece), pa.py_buffer(offsets), pa.py_buffer(piece.data))
    alike = pc.match_substring_regex(lines, shape.pattern).to_numpy(zero_copy_only=False) & ~piece.flawed
    if not alike.any():
        return none
    unknown.update(shape.cells.keys() - _KNOWN)
    pieces = pc.split_pattern(lines.filter(pa.array(alike)), '"')
    blank = pa.repeat("", int(alike.sum()))
    return alike, {name: _json_cell(pieces, *shape.cells[name]) if name in shape.cells else blank for name in COLUMNS}


def _json_cell(pieces: pa.ListArray, part: int, is_quoted: bool) -> pa.StringArray:
    cell = pc.list_element(pieces, part)
    if is_quoted:
        return cell
    bare = pc.utf8_trim(cell, " \t\r\n:,}")
    return pc.if_else(pc.equal(bare, "null"), "", bare)


_KNOWN = frozenset(COLUMNS)


def _json_record(line: str) -> dict[str, str] | None:
    """A flat JSON object as text by key; None for what is unreadable."""
    line = line.strip(_JSON_SPACE)
    try:
        pairs, end = _DECODER.raw_decode(line)
    except (ValueError, RecursionError):
        return None
    if type(pairs) is not tuple or end != len(line):
        return None
    row: dict[str, Any] = dict(pairs)
    if len(row) != len(pairs):
        return None
    for key, value in row.items():
        if type(value) is not str:
            if value is not None and type(value) is not bool:
                return None
            row[key] = _AS_TEXT[value]
    # Only escapes bring in what is not UTF-8: half of a pair of surrogates.
    return row if "\\u" not in line or _is_utf8(row) else None


def _is_utf8(row: dict[str, str]) -> bool:
    try:
        "".join([*row.keys(), *row.values()]).encode()
    except UnicodeEncodeError:
        return False
    return True


# --- Parquet


def _read_parquet(path: Path, name: str, chunk_rows: int, unknown: set[str]) -> Iterator[UsageChunk]:
    with _open_parquet(path, name) as file:
        schema = file.schema_arrow
        unknown.update(set(schema.names) - set(COLUMNS))
        columns = [column for column in COLUMNS if column in schema.names]
        instants, quantities = _parquet_parsers(schema, name)
        line = 1
        for batch in file.iter_batches(chunk_rows, columns=columns):
            arrays = {column: _plain_column(batch.column(column), name, column, line) for column in columns}
            yield _chunk(line, np.zeros(len(batch), np.bool_), arrays, instants, quantities)
            line += len(batch)


@contextmanager
def _open_parquet(path: Path, name: str) -> Iterator[pq.ParquetFile]:
    with containers.open_file(path, name) as source:
        try:
            with pq.ParquetFile(source) as file:
                _check_header(file.schema_arrow.names, name, None)
                yield file
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            cause = str(error).strip().partition("\n")[0]
            raise refusal(name, f"is not a Parquet file, or a damaged one ({cause}); write it again") from None


def _parquet_parsers(schema: pa.Schema, name: str) -> tuple[Parser, Parser]:
    """How to read occurred_at and quantity; ``DataRefused`` with every column whose type cannot be taken."""
    types = {column: schema.field(column).type for column in COLUMNS if column in schema.names}
    messages = {column: _type_problem(column, types[column]) for column in types}
    findings = [Finding(file=name, column=column, message=text) for column, text in messages.items() if text]
    if findings:
        raise refusal(name, findings)
    instants: Parser = usage_columns.instants_from_text
    if pa.types.is_timestamp(types["occurred_at"]):
        instants = usage_columns.instants_from_timestamps
    quantities: Parser = usage_columns.quantities_from_text
    if pa.types.is_integer(types["quantity"]):
        quantities = usage_columns.quantities_from_integers
    elif pa.types.is_decimal(types["quantity"]):
        quantities = usage_columns.quantities_from_decimals
    return instants, quantities


def _type_problem(column: str, kind: pa.DataType) -> str | None:
    """What is wrong with a Parquet column's type and what to do, or None."""
    if _is_text(kind):
        return None
    if column == "occurred_at":
        if pa.types.is_timestamp(kind):
            return None if kind.tz else "timestamps that are not adjusted to UTC; write them as instants in UTC"
        return f"{kind} is no instant; write strings or timestamps adjusted to UTC"
    if column == "quantity":
        if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
            return None
        return f"{kind} does not keep quantities exactly; write decimals, integers or strings"
    return None if pa.types.is_integer(kind) else f"{kind} is no text; write strings"


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    strings = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return bool(strings or pa.types.is_null(kind))


def _plain_column(column: pa.Array, name: str, title: str, line: int) -> pa.Array:
    """Text as string or large_string without nulls, also of the integers of an id; other types as they are."""
    is_text = _is_text(column.type)
    if not is_text and title not in TEXT_COLUMNS:
        return column
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_text:
        _check_array_utf8(column, name, title, line)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        column = column.cast(pa.string())
    return pc.fill_null(column, "")


def _check_array_utf8(column: pa.Array, name: str, title: str, line: int) -> None:
    """Parquet readers take strings on trust. ``line``: record number of the first value."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        finding = Finding(
            file=name, line=line + _first_not_utf8(column), column=title, message="is not UTF-8; write strings as UTF-8"
        )
        raise refusal(name, [finding]) from None


def _first_not_utf8(column: pa.Array) -> int:
    for place, value in enumerate(column):
        try:
            value.as_py()
        except UnicodeDecodeError:
            return place
    return 0


def _parquet_raw(path: Path, name: str, wanted: Ints) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    with _open_parquet(path, name) as file:
        columns = [field.name for field in file.schema_arrow if _has_text(field.type)]
        line = 1
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if not len(_within(wanted, line, rows)):
                line += rows
                continue
            for batch in file.iter_batches(65_536, row_groups=[group], columns=columns):
                lines = _within(wanted, line, len(batch))
                picked = batch.take(pa.array([number - line for number in lines], pa.int64()))
                found.update(zip(lines, _json_rows(picked, columns), strict=True))
                line += len(batch)
    return found


def _has_text(kind: pa.DataType) -> bool:
    """Whether values of the type are written as text into a raw record."""
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return not (pa.types.is_nested(kind) or any(is_kind(kind) for is_kind in binary))


def _json_rows(batch: pa.RecordBatch, columns: Iterable[str]) -> Iterator[bytes]:
    texts = {column: _as_text(batch.column(column)) for column in columns}
    for row in zip(*texts.values(), strict=True):
        yield json.dumps(dict(zip(texts, row, strict=True)), ensure_ascii=False).encode()


def _as_text(column: pa.Array) -> list[str | None]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type):
        # As RFC 3339, in UTC where the column is; a column without a zone keeps its text without one.
        zone = "UTC" if column.type.tz else None
        column = pc.replace_substring(column.cast(pa.timestamp(column.type.unit, zone)).cast(pa.string()), " ", "T")
    return cast("list[str | None]", column.cast(pa.string()).to_pylist())


_READERS: dict[str, Callable[[Path, str, int, set[str]], Iterator[UsageChunk]]] = {
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}
