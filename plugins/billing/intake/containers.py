"""From a file's bytes to whole records: formats by name, gzip, UTF-8, and where each record begins and ends.

Memory is bounded: a file is read in blocks, and a record of more than ``MAX_RECORD_BYTES`` is skipped over.

How CSV is split (RFC 4180, and what it leaves open):

- LF, CRLF and a lone CR each end a line; an empty line is no record.
- A quote inside an unquoted cell, or anything between a closing quote and the next separator, makes its
  record flawed. The record then ends at the end of that line, and the next one is read as usual.
- A quote that is never closed refuses the file: which records follow it cannot be known.
"""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, cast

import numpy as np
import numpy.typing as npt

from billing.core.errors import DataRefused, Finding

MAX_RECORD_BYTES = 1 << 20
EXPANSION_MAX = 200
"""How many times its size a gzip file may grow: usage, whose ids differ, compresses 5 to 30 times."""
EXPANSION_FREE_BYTES = 16 << 20
BOM = codecs.BOM_UTF8

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

_LF, _CR, _QUOTE, _COMMA = b'\n\r",'
_BESIDE_QUOTE = np.zeros(256, np.bool_)
_BESIDE_QUOTE[[_LF, _CR, _QUOTE, _COMMA]] = True
_LINE_ENDS = re.compile(rb"[\r\n]*")
_QUOTES = re.compile(rb'"+')
_UNQUOTED = re.compile(rb'[^"\r\n]+')

_MAGIC = {
    b"\x1f\x8b": "is gzip data; name it with .gz at the end",
    b"PAR1": "is a Parquet file; name it .parquet",
    b"PK\x03\x04": "is a zip archive or a spreadsheet; save it as CSV, JSON Lines or Parquet",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """What a file's name says about its bytes."""

    kind: Literal["csv", "jsonl", "parquet"]
    gzipped: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Whole records of a text file, in file order.

    ``data``: bytes, valid UTF-8 (but for a record cut off at ``MAX_RECORD_BYTES``). ``line``: number of the
    first record; the others follow without gaps. Of n records: ``start`` and ``end``, int64[n], half-open
    places in ``data``, without the line's end; ``cells``, int64[n], CSV only, else 0; ``flawed``, bool[n]:
    larger than ``MAX_RECORD_BYTES``, or quoted against RFC 4180.
    """

    data: bytes
    line: int
    start: Ints
    end: Ints
    cells: Ints
    flawed: Bools

    def __len__(self) -> int:
        return len(self.start)

    def raw(self, row: int) -> bytes:
        """The bytes of one record, at most ``MAX_RECORD_BYTES``."""
        return self.data[self.start[row] : self.end[row]][:MAX_RECORD_BYTES]

    def part(self, begin: int, end: int) -> Piece:
        """The records of a half-open range of places, at least one."""
        if begin == 0 and end >= len(self):
            return self
        records = slice(begin, end)
        low, high = int(self.start[records][0]), int(self.end[records][-1])
        return Piece(
            data=self.data[low:high],
            line=self.line + begin,
            start=self.start[records] - low,
            end=self.end[records] - low,
            cells=self.cells[records],
            flawed=self.flawed[records],
        )


def refusal(name: str, findings: Sequence[Finding] | str, line: int | None = None) -> DataRefused:
    """The exception that refuses the file ``name``; a text becomes its one finding."""
    if isinstance(findings, str):
        findings = [Finding(file=name, line=line, message=findings)]
    return DataRefused(f"the file {name} is refused", findings)


def format_of(name: str) -> Format:
    """The format that ``name`` ends with, in any case of letters. ``DataRefused`` for any other."""
    lower = name.lower()
    stem = lower.removesuffix(".gz")
    for kind in ("csv", "jsonl"):
        if stem.endswith(f".{kind}"):
            return Format(kind=kind, gzipped=stem != lower)
    if lower.endswith(".parquet"):
        return Format(kind="parquet", gzipped=False)
    raise refusal(name, "its name tells no format; end it in .csv, .csv.gz, .jsonl, .jsonl.gz or .parquet")


class ByteSource:
    """The (decompressed) bytes of a file, in order, without a byte order mark at the beginning.

    ``DataRefused`` where the file is missing, is not gzip though its name says so (or the other way round), breaks
    off inside the gzip data, or grows to more than ``EXPANSION_MAX`` times its size (beyond 16 MiB).
    """

    def __init__(self, path: Path, name: str, *, gzipped: bool) -> None:
        self._name = name
        file = open_file(path, name)
        try:
            self._check_magic(file.read(4), gzipped)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        self._file = file
        self._left = max(EXPANSION_MAX * path.stat().st_size, EXPANSION_FREE_BYTES) if gzipped else None
        self._stream: IO[bytes] = cast(IO[bytes], gzip.GzipFile(fileobj=file)) if gzipped else file
        self._start = True

    def _check_magic(self, head: bytes, gzipped: bool) -> None:
        if gzipped:
            if not head.startswith(b"\x1f\x8b"):
                raise refusal(self._name, "is not gzip data; compress it with gzip or take .gz off its name")
            return
        for magic, message in _MAGIC.items():
            if head.startswith(magic):
                raise refusal(self._name, message)

    def read(self, size: int) -> bytes:
        """The next bytes: ``size`` of them unless the file ends (``size`` at least 4); empty at its end."""
        parts: list[bytes] = []
        missing = size
        try:
            while missing and (part := self._stream.read(missing)):
                parts.append(part)
                missing -= len(part)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise refusal(self._name, f"its gzip data is damaged or cut off ({error}); send it again") from None
        block = b"".join(parts)
        self._demand_bounds(len(block))
        if self._start:
            self._start = False
            if block.startswith(BOM):
                return block.removeprefix(BOM) or self.read(size)
        return block

    def _demand_bounds(self, size: int) -> None:
        """A few bytes of gzip can hold terabytes: such a file ends here, not the machine's memory."""
        if self._left is None:
            return
        self._left -= size
        if self._left < 0:
            message = f"grows to more than {EXPANSION_MAX} times its size, which no usage does; send it without gzip"
            raise refusal(self._name, message)

    def __enter__(self) -> ByteSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def open_file(path: Path, name: str) -> IO[bytes]:
    """Open for reading; ``DataRefused`` where there is no such file, or none that may be read."""
    try:
        return path.open("rb")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise refusal(name, f"cannot be opened ({error.strerror}); check the path and the permissions") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """Records found in a block; ``used`` bytes are theirs, the rest belongs to a record that is not complete."""

    start: Ints
    end: Ints
    cells: Ints
    flawed: Bools
    used: int
    open_quote: bool = False


class _CsvRecords:
    """Where CSV records end."""

    def find(self, data: bytes, at_end: bool) -> _Found:
        return find_csv_fast(data, at_end) or find_csv_slow(data, at_end)

    def begin_skip(self, data: bytes) -> None:
        self._state = scan_record(data, 0, _CELL)[1]

    def skip(self, data: bytes) -> int | None:
        """Place where the record being skipped ends, or None where it goes on."""
        position, self._state, _, _ = scan_record(data, 0, self._state)
        return position if self._state == _ENDED else None

    def end_skip(self) -> bool:
        """Whether the record being skipped may end with the file."""
        return self._state != _QUOTED


class _LineRecords:
    """Where the lines of a JSON Lines file end; lines of JSON's white space are no records."""

    def find(self, data: bytes, at_end: bool) -> _Found:
        block = np.frombuffer(data, np.uint8)
        end = np.flatnonzero(block == _LF)
        used = len(data) if at_end else (int(end[-1]) + 1 if len(end) else 0)
        if at_end and (not len(end) or end[-1] + 1 < len(data)):
            end = np.append(end, len(data))
        start = np.append(0, end + 1)[:-1]
        large = end - start > MAX_RECORD_BYTES
        # White space at a line's beginning is rare; only such lines are looked at one by one.
        keep = end > start
        for row in np.flatnonzero(keep & ~large):
            if block[start[row]] <= 32 and not data[start[row] : end[row]].strip(b" \t\r"):
                keep[row] = False
        start, end = start[keep], end[keep]
        return _Found(start=start, end=end, cells=np.zeros(len(end), np.int64), flawed=large[keep], used=used)

    def begin_skip(self, data: bytes) -> None:
        pass

    def skip(self, data: bytes) -> int | None:
        position = data.find(b"\n")
        return None if position < 0 else position

    def end_skip(self) -> bool:
        return True


def pieces(source: ByteSource, name: str, kind: Literal["csv", "jsonl"], *, block_bytes: int) -> Iterator[Piece]:
    """All records of a text file, each in exactly one piece, numbered from 1.

    ``DataRefused`` where the file is not UTF-8, or a quote in it is never closed; also when that shows late.
    """
    records = _CsvRecords() if kind == "csv" else _LineRecords()
    rest, line = b"", 1
    while True:
        # Reading as much as is left over keeps the work linear while a record grows over many blocks.
        block = source.read(max(block_bytes, len(rest), 4))
        data = rest + block
        found = records.find(data, at_end=not block)
        whole = _piece(data if found.used == len(data) else data[: found.used], line, found)
        _check_utf8(whole, name)
        line += len(whole)
        if found.open_quote:
            raise refusal(name, _OPEN_QUOTE, line)
        if len(whole):
            yield whole
        if not block:
            return
        rest = data[found.used :]
        if len(rest) > MAX_RECORD_BYTES:
            skipped, rest = _skip_record(records, source, name, rest, line, block_bytes)
            line += 1
            yield skipped


_OPEN_QUOTE = (
    "a quoted cell that begins here is never closed; close the quote, or send the file again if it was cut off"
)


def _piece(data: bytes, line: int, found: _Found) -> Piece:
    flawed = found.flawed | (found.end - found.start > MAX_RECORD_BYTES)
    return Piece(data=data, line=line, start=found.start, end=found.end, cells=found.cells, flawed=flawed)


def _check_utf8(piece: Piece, name: str) -> None:
    if piece.data.isascii():
        return
    try:
        piece.data.decode()
    except UnicodeDecodeError as error:
        row = int(np.searchsorted(piece.end, error.start, side="right"))
        raise refusal(name, _not_utf8(error), piece.line + row) from None


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"the byte 0x{error.object[error.start]:02X} is not UTF-8 here; save the file as UTF-8"


def _skip_record(
    records: _CsvRecords | _LineRecords, source: ByteSource, name: str, head: bytes, line: int, block_bytes: int
) -> tuple[Piece, bytes]:
    """Read past a record that is too large: its flawed piece, cut off, and the bytes after it."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    records.begin_skip(head)
    block, after, stop = head, b"", None
    try:
        decoder.decode(head)
        while stop is None:
            block = source.read(max(block_bytes, MAX_RECORD_BYTES))
            stop = records.skip(block) if block else 0
            decoder.decode(block[:stop], final=stop is not None)
            after = b"" if stop is None else block[stop:]
    except UnicodeDecodeError as error:
        raise refusal(name, _not_utf8(error), line) from None
    if not block and not records.end_skip():
        raise refusal(name, _OPEN_QUOTE, line)
    one = np.ones(1, np.int64)
    data = head[:MAX_RECORD_BYTES]
    return Piece(data=data, line=line, start=one - 1, end=one * len(data), cells=one, flawed=one > 0), after


def find_csv_fast(data: bytes, at_end: bool) -> _Found | None:
    """The records of a block of CSV, by whole-array operations; None where its quotes need ``find_csv_slow``.

    ``data`` begins at the beginning of a record; ``at_end``: the file ends with it.
    """
    block = np.frombuffer(data, np.uint8)
    separator = (block == _LF) | (block == _COMMA)
    if b"\r" in data:
        # The empty line that this makes of every CRLF is no record.
        separator |= block == _CR
    quotes = None
    if b'"' in data:
        quote = block == _QUOTE
        # As long as quoting is regular, an odd number of quotes before a place means that it is quoted.
        quoted = np.bitwise_xor.accumulate(quote.view(np.uint8)).view(np.bool_)
        if at_end and quoted[-1]:
            return None
        separator &= ~quoted
        quotes = np.flatnonzero(quote)
    place = np.flatnonzero(separator)
    last = np.flatnonzero(block[place] != _COMMA)
    used = int(place[last[-1]]) + 1 if len(last) else 0
    if at_end and used < len(data):
        last, place, used = np.append(last, len(place)), np.append(place, len(data)), len(data)
    # Quotes after the last whole record count too: one astray there would make the rest look quoted for ever.
    if quotes is not None and not _quoting_is_regular(block, quotes):
        return None
    end = place[last]
    start = np.append(0, end + 1)[:-1]
    keep = end > start
    cells = np.diff(last, prepend=-1)[keep]
    return _Found(start=start[keep], end=end[keep], cells=cells, flawed=np.zeros(len(cells), np.bool_), used=used)


def _quoting_is_regular(block: Bytes, quotes: Ints) -> bool:
    """Whether each pair of quotes encloses a cell; doubled quotes look like two cells without a separator."""
    opening, closing = quotes[0::2], quotes[1::2]
    before = block[opening[opening > 0] - 1]
    after = block[closing[closing < len(block) - 1] + 1]
    return bool(_BESIDE_QUOTE[before].all() and _BESIDE_QUOTE[after].all())


def find_csv_slow(data: bytes, at_end: bool) -> _Found:
    """The same as ``find_csv_fast`` for any quoting, record by record; this is the definition."""
    rows = array("q")  # four to a record
    position, open_quote = 0, False
    while (position := _match_end(_LINE_ENDS, data, position)) < len(data):
        stop, state, commas, flawed = scan_record(data, position, _CELL)
        if state != _ENDED and not at_end:
            break
        if state == _QUOTED:
            open_quote = True
            break
        rows.extend((position, stop, commas + 1, flawed))
        position = stop
    table = np.frombuffer(rows, np.int64).reshape(-1, 4)
    return _Found(
        start=table[:, 0],
        end=table[:, 1],
        cells=table[:, 2],
        flawed=table[:, 3] > 0,
        used=position,
        open_quote=open_quote,
    )


# Where a scan stands: before a cell, in an unquoted one, in a quoted one, after a quote in it, after the record.
_CELL, _PLAIN, _QUOTED, _CLOSED, _ENDED = range(5)


def scan_record(data: bytes, position: int, state: int) -> tuple[int, int, int, bool]:
    """Scan a CSV record on from ``position``: (where it stopped, state there, commas, flawed)."""
    commas, flawed = 0, False
    while position < len(data):
        if state == _QUOTED:
            closing = data.find(b'"', position)
            if closing < 0:
                return len(data), state, commas, flawed
            position = _match_end(_QUOTES, data, closing)
            state = _CLOSED if (position - closing) % 2 else _QUOTED
            continue
        byte = data[position]
        if byte in (_LF, _CR):
            return position, _ENDED, commas, flawed
        if byte == _QUOTE:
            flawed |= state == _PLAIN
            position, state = position + 1, _PLAIN if state == _PLAIN else _QUOTED
            continue
        stop = _match_end(_UNQUOTED, data, position)
        flawed |= state == _CLOSED and byte != _COMMA
        commas += data.count(b",", position, stop)
        position, state = stop, _CELL if data[stop - 1] == _COMMA else _PLAIN
    return position, state, commas, flawed


def _match_end(pattern: re.Pattern[bytes], data: bytes, position: int) -> int:
    match = pattern.match(data, position)
    return match.end() if match else position
