"""Every byte of a text file is in one record or is a line's end; nothing is lost, whatever the blocks."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.core.errors import DataRefused
from billing.intake import containers
from billing.intake.containers import MAX_RECORD_BYTES, ByteSource, Piece

CSV_TEXT = st.one_of(
    st.text('a",\n\r', max_size=40),
    st.lists(
        st.sampled_from(["a", "", '"a"', '""', '"a""b"', '"a,b"', '"\n"', '"\r\n"', ",", "\n", "\r\n"]), max_size=30
    ).map("".join),
)


def found(data: bytes, result: containers._Found) -> tuple[object, ...]:
    rest = data[result.used :].lstrip(b"\r\n")
    columns = (result.start, result.end, result.cells, result.flawed)
    return (*(column.tolist() for column in columns), rest)


@given(CSV_TEXT.map(str.encode), st.booleans())
@settings(max_examples=3000, deadline=None)
def test_the_fast_splitter_finds_what_the_slow_one_finds(data: bytes, at_end: bool) -> None:
    fast, slow = containers.find_csv_fast(data, at_end), containers.find_csv_slow(data, at_end)
    if fast is None:
        assert b'"' in data
    else:
        assert not slow.open_quote
        assert found(data, fast) == found(data, slow)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@given(text=CSV_TEXT, block_bytes=st.integers(1, 20))
@settings(max_examples=500, deadline=None)
def test_every_byte_is_in_one_record_or_a_line_end(
    kind: Literal["csv", "jsonl"], text: str, block_bytes: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(text.encode())
    once, error_once = split(path, kind, 1 << 20)
    blocks, error = split(path, kind, block_bytes)
    assert error == error_once
    if error:
        return
    assert records(blocks) == records(once)
    assert without_line_ends(b"".join(piece.data for piece in blocks)) == without_line_ends(text.encode())
    for piece in blocks:
        between = bytearray(piece.data)
        for start, end in reversed(list(zip(piece.start, piece.end, strict=True))):
            del between[start:end]
        assert not between.strip(b"\r\n")


def without_line_ends(data: bytes) -> bytes:
    return data.translate(None, b"\r\n")


def split(path: Path, kind: Literal["csv", "jsonl"], block_bytes: int) -> tuple[list[Piece], str]:
    pieces: list[Piece] = []
    try:
        with ByteSource(path, "f", gzipped=False) as source:
            pieces.extend(containers.pieces(source, "f", kind, block_bytes=block_bytes))
    except DataRefused as refused:
        return [], str(refused)
    return pieces, ""


def records(pieces: list[Piece]) -> list[tuple[int, bytes, int, bool]]:
    return [
        (piece.line + row, piece.raw(row), int(piece.cells[row]), bool(piece.flawed[row]))
        for piece in pieces
        for row in range(len(piece))
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a"b,c\nd\n', [('a"b,c', True), ("d", False)]),
        ('"a"b,c\nd\n', [('"a"b,c', True), ("d", False)]),
        ('"a"b"\n"d"\n', [('"a"b"', True), ('"d"', False)]),
        ('"a" ,c\nd\n', [('"a" ,c', True), ("d", False)]),
        (' "a"\nd', [(' "a"', True), ("d", False)]),
        ('"a\n"d\n', [('"a\n"d', True)]),
        ('""\n""""\n', [('""', False), ('""""', False)]),
    ],
)
def test_a_record_quoted_against_rfc_4180_is_flawed_and_the_next_is_read(
    text: str, expected: list[tuple[str, bool]], tmp_path: Path
) -> None:
    (tmp_path / "f").write_text(text, newline="")
    for block_bytes in (1, 5, 1000):
        pieces, _ = split(tmp_path / "f", "csv", block_bytes)
        assert [(raw.decode(), flawed) for _, raw, _, flawed in records(pieces)] == expected


def test_a_quote_never_closed_refuses_the_file_at_its_record(tmp_path: Path) -> None:
    for text in ('a\nb\n"c\nd\n', 'a\nb\n"' + "c\n" * MAX_RECORD_BYTES, 'a\nx"\n"c\n'):
        (tmp_path / "f").write_text(text)
        for block_bytes in (7, 1 << 18):
            assert (
                "f, line 3: a quoted cell that begins here is never closed"
                in split(tmp_path / "f", "csv", block_bytes)[1]
            )


LARGE = "x" * MAX_RECORD_BYTES


@pytest.mark.parametrize("block_bytes", [1 << 12, 1 << 20, 1 << 25])
@pytest.mark.parametrize(
    ("kind", "record", "flawed"),
    [
        ("csv", LARGE, False),
        ("csv", LARGE + "y", True),
        ("csv", f'"{LARGE}\n{LARGE * 3}",b', True),
        ("csv", f'"{LARGE}"" ""\r\n{LARGE}"junk"', True),
        ("jsonl", LARGE, False),
        ("jsonl", LARGE + "y", True),
        ("jsonl", " " * 3 * MAX_RECORD_BYTES, True),
        ("jsonl", "é" * MAX_RECORD_BYTES, True),
    ],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n", ""])
def test_a_record_too_large_is_flawed_and_cut_off(
    kind: Literal["csv", "jsonl"], record: str, flawed: bool, ends: str, block_bytes: int, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text(f"a\n{record}{ends}" + ("b\n" if ends else ""), newline="")
    pieces, error = split(tmp_path / "f", kind, block_bytes)
    assert not error
    lines = records(pieces)
    # The CR of a JSON line is white space of its own and counts as a byte of it.
    flawed |= kind == "jsonl" and ends == "\r\n"
    assert [line for line, *_ in lines] == ([1, 2, 3] if ends else [1, 2])
    assert [flaw for *_, flaw in lines] == ([False, flawed, False] if ends else [False, flawed])
    assert lines[1][1] == record.encode()[:MAX_RECORD_BYTES]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"a\nb\xff\n", 2),
        (b"a\n\n\nb\n\xc3", 3),
        (b"a\n\xed\xa0\x80", 2),
        (b"\xff\xfea\x00", 1),
        (b"a\n" * 5000 + b"\x80", 5001),
    ],
)
def test_invalid_utf_8_anywhere_refuses_the_file_at_its_record(data: bytes, line: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(data)
    for block_bytes in (4, 1000):
        assert f"f, line {line}: the byte 0x" in split(tmp_path / "f", "csv", block_bytes)[1]


@pytest.mark.parametrize("tail", [b"\xff\nb\n", b"\xc3\nb\n", b"\xc3"])
def test_invalid_utf_8_is_found_in_a_record_too_large(tail: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a\n" + LARGE.encode() * 5 + tail)
    for kind in ("csv", "jsonl"):
        for block_bytes in (1000, 1 << 25):
            assert "f, line 2: the byte 0x" in split(tmp_path / "f", kind, block_bytes)[1]


def test_gzip_is_read_in_blocks_of_bounded_size(tmp_path: Path) -> None:
    """Two members, as gzip files joined together have; four bytes asked for, four given."""
    (tmp_path / "f").write_bytes(gzip.compress(b"\xef\xbb\xbfab") + gzip.compress(b"\xef\xbb\xbfcdefg"))
    with ByteSource(tmp_path / "f", "f.gz", gzipped=True) as source:
        blocks = [source.read(4) for _ in range(5)]
    assert blocks == [b"a", b"b\xef\xbb\xbf", b"cdef", b"g", b""]


@pytest.mark.parametrize(
    ("kind", "body"),
    [("csv", b'"' + b'a,""\n' * 1_000_000 + b'"'), ("csv", b"a,b" * 14_000_000), ("jsonl", b"{   " * 10_000_000)],
)
def test_memory_does_not_grow_with_a_record(kind: Literal["csv", "jsonl"], body: bytes, tmp_path: Path) -> None:
    """5 or 40 MB in one record."""
    (tmp_path / "f").write_bytes(b"a\n" + body + b"\nb\n")
    tracemalloc.start()
    with ByteSource(tmp_path / "f", "f", gzipped=False) as source:
        lines = [piece.line for piece in containers.pieces(source, "f", kind, block_bytes=1 << 16)]
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert lines == [1, 2, 3]
    assert peak < 32 * MAX_RECORD_BYTES


@pytest.mark.parametrize("name", ["bomb.csv.gz", "bomb.jsonl.gz"])
def test_a_gzip_bomb_is_refused_in_bounded_memory(name: str, tmp_path: Path) -> None:
    """256 MiB of short lines in 256 kB."""
    with gzip.open(tmp_path / name, "wb", 9) as handle:
        for _ in range(256):
            handle.write(b"a\n" * (1 << 19))
    tracemalloc.start()
    with ByteSource(tmp_path / name, name, gzipped=True) as source, pytest.raises(DataRefused, match="200 times"):
        list(iter(lambda: len(source.read(1 << 16)), 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * MAX_RECORD_BYTES


def test_a_small_file_may_grow_to_16_mib(tmp_path: Path) -> None:
    """A few records alike are no bomb."""
    (tmp_path / "f.gz").write_bytes(gzip.compress(b"a\n" * (8 << 20)))
    with ByteSource(tmp_path / "f.gz", "f.csv.gz", gzipped=True) as source:
        assert len(source.read(17 << 20)) == 16 << 20
