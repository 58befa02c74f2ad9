"""Usage files of every format, by the clauses of the data contract ("Conventions" and "Usage events")."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.core.errors import DataRefused
from billing.core.instants import parse_instant_us
from billing.core.quantity import parse_micro
from billing.intake.containers import MAX_RECORD_BYTES
from billing.intake.usage_files import UsageChunk, raw_records, read_usage

HEADER = "event_id,occurred_at,app_id,api,quantity"
NOON = "2025-07-20T12:00:00Z"
NOON_US = parse_instant_us(NOON)
TEXTS = ("event_id", "app_id", "api", "corrects", "team_id")
UNREADABLE = None

Row = tuple[Any, ...]


def ignored_columns(path: Path, name: str) -> list[str]:
    """The columns that reading a file to its end finds and ignores."""
    unknown: set[str] = set()
    for _ in read_usage(path, name, unknown=unknown):
        pass
    return sorted(unknown)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def rows(path: Path, **options: Any) -> dict[int, Row | None]:
    """By record number: the five texts, microseconds and millionths (None where not ok); or ``UNREADABLE``."""
    return {line: row for chunk in read_usage(path, path.name, **options) for line, row in chunk_rows(chunk)}


def chunk_rows(chunk: UsageChunk) -> list[tuple[int, Row | None]]:
    texts = zip(*(getattr(chunk, name).to_pylist() for name in TEXTS), strict=True)
    instants = [us if ok else None for us, ok in zip(chunk.occurred_at_us.tolist(), chunk.occurred_at_ok, strict=True)]
    quantities = [n if ok else None for n, ok in zip(chunk.quantity_micro.tolist(), chunk.quantity_ok, strict=True)]
    whole = [(*text, us, n) for text, us, n in zip(texts, instants, quantities, strict=True)]
    for row, bad in zip(whole, chunk.unreadable, strict=True):
        assert not bad or row == ("", "", "", "", "", None, None)
    readable = [None if bad else row for row, bad in zip(whole, chunk.unreadable, strict=True)]
    return list(zip(chunk.line.tolist(), readable, strict=True))


def refused(path: Path, name: str | None = None) -> list[str]:
    with pytest.raises(DataRefused) as caught:
        for _ in read_usage(path, name or path.name):
            pass
    assert caught.value.findings
    return [str(finding) for finding in caught.value.findings]


def event(event_id: str, *, quantity: int | None = 1_000_000, corrects: str = "", team_id: str = "") -> Row:
    return (event_id, "a1", "api", corrects, team_id, NOON_US, quantity)


E1 = f"e1,{NOON},a1,api,1"
CSV_CASES = [
    ("a short record ends in blanks", f"{HEADER}\ne1\n", {2: ("e1", "", "", "", "", None, None)}),
    ("one with more cells than the header is unreadable", f"{HEADER}\n{E1},\n{E1}\n", {2: UNREADABLE, 3: event("e1")}),
    ("an empty line is no record", f"\n\n{HEADER}\n\n{E1}\n\r\n\n{E1}\n\n", {2: event("e1"), 3: event("e1")}),
    ("a line of one blank quoted cell is a record", f'{HEADER}\n""\n', {2: ("", "", "", "", "", None, None)}),
    ("a line of blanks is a record", f"{HEADER}\n \n", {2: (" ", "", "", "", "", None, None)}),
    ("CRLF, and no line end at the end", f"{HEADER}\r\n{E1}\r\n{E1}", {2: event("e1"), 3: event("e1")}),
    ("a lone CR ends a line too", f"{HEADER}\r{E1}\r\r{E1}", {2: event("e1"), 3: event("e1")}),
    ("quoted cells", f'{HEADER}\n"e,""1""\r\n",{NOON},"a1","api","1"\n', {2: event('e,"1"\r\n')}),
    ("a stray quote makes the record unreadable", f'{HEADER}\ne"1,x\n{E1}\n', {2: UNREADABLE, 3: event("e1")}),
    ("text after a closing quote does too", f'{HEADER}\n"e"1,x\n{E1}\n', {2: UNREADABLE, 3: event("e1")}),
    ("a BOM is ignored", f"\ufeff{HEADER}\n{E1}", {2: event("e1")}),
    ("a BOM is ignored before a quoted header", f'\ufeff"event_id"{HEADER[8:]}\n{E1}', {2: event("e1")}),
    ("a BOM elsewhere is text", f"{HEADER}\n\ufeff{E1}", {2: event("\ufeffe1")}),
    ("ids are taken as they are", f"{HEADER}\n é\0 ,{NOON},a1,api,1", {2: event(" é\0 ")}),
    ("no word means null", f"{HEADER}\nNULL,{NOON},a1,api,1", {2: event("NULL")}),
    (
        "optional columns, in any order",
        f"team_id,corrects,{HEADER}\nt,c,{E1}",
        {2: event("e1", corrects="c", team_id="t")},
    ),
    ("further columns are ignored", f"note,{HEADER},x\nn,{E1},n", {2: event("e1")}),
    ("only a header", HEADER, {}),
]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".CSV"])
@pytest.mark.parametrize(("clause", "text", "expected"), CSV_CASES, ids=[case[0] for case in CSV_CASES])
def test_csv(clause: str, text: str, expected: dict[int, Row | None], suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"u{suffix}", text)
    assert rows(path) == expected
    for size in (1, 2, 3):
        assert rows(path, chunk_rows=size) == expected


def line(**values: Any) -> str:
    return json.dumps({"event_id": "e1", "occurred_at": NOON, "app_id": "a1", "api": "api", "quantity": "1"} | values)


def with_quantity(text: str) -> str:
    return line(quantity="@").replace('"@"', text)


JSON_CASES = [
    ("an absent key is blank", '{"event_id": "e1"}', ("e1", "", "", "", "", None, None)),
    ("an empty object is all blank", "{}", ("", "", "", "", "", None, None)),
    ("null is blank", line(corrects=None, api=None), ("e1", "a1", "", "", "", NOON_US, 1_000_000)),
    ("numbers are read by their text: 2.50", with_quantity("2.50"), event("e1", quantity=2_500_000)),
    ("numbers are read by their text: 1e2", with_quantity("1e2"), event("e1", quantity=None)),
    ("numbers are read by their text: 0.1234567", with_quantity("0.1234567"), event("e1", quantity=None)),
    ("numbers are read by their text: -0", with_quantity("-0"), event("e1", quantity=None)),
    ("a number as an id is its text", line(event_id=7), event("7")),
    ("a number of any length is its text", line(event_id="@").replace('"@"', "9" * 5000), event("9" * 5000)),
    ("booleans are read by their text", line(event_id=True, quantity=False), event("true", quantity=None)),
    ("doubled keys are unreadable", '{"event_id": "a", "event_id": "a"}', UNREADABLE),
    ("doubled keys that are spelled differently", '{"api": "a", "\\u0061pi": "a"}', UNREADABLE),
    ("doubled keys of further columns too", '{"x": 1, "x": 1}', UNREADABLE),
    ("nested values are unreadable: object", line(api={}), UNREADABLE),
    ("nested values are unreadable: array", line(api=[]), UNREADABLE),
    ("nested values of further columns too", line(note=["n"]), UNREADABLE),
    ("NaN is not JSON", with_quantity("NaN"), UNREADABLE),
    ("Infinity is not JSON", with_quantity("-Infinity"), UNREADABLE),
    ("07 is not JSON", with_quantity("07"), UNREADABLE),
    ("text after the object is not JSON", line() + " x", UNREADABLE),
    ("a control character is not JSON", '{"event_id": "a\tb"}', UNREADABLE),
    ("nothing but deep nesting", "[" * 100_000, UNREADABLE),
    ("an array is no object", '[["event_id", "e1"]]', UNREADABLE),
    ("a number is no object", "7", UNREADABLE),
    ("null is no object", "null", UNREADABLE),
    ("a string is no object", '"e1"', UNREADABLE),
    ("a form feed is not JSON's white space", "\f", UNREADABLE),
    ("a lone surrogate cannot be UTF-8", '{"event_id": "\\ud800"}', UNREADABLE),
    ("nor in a key", '{"\\uDfff": "e1"}', UNREADABLE),
    ("a pair of surrogates is a character", line(event_id="\U0001f600"), event("\U0001f600")),
    ("an escaped backslash is no surrogate", line(event_id="\\ud800"), event("\\ud800")),
    ("NUL is a character", line(event_id="e\0"), event("e\0")),
    ("further keys are ignored", line(note="n"), event("e1")),
    ("white space around", f" \t{line()}\t \r", event("e1")),
]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
@pytest.mark.parametrize(("clause", "text", "expected"), JSON_CASES, ids=[case[0] for case in JSON_CASES])
def test_json_lines(clause: str, text: str, expected: Row | None, suffix: str, tmp_path: Path) -> None:
    """Blank lines are no records, before, between and after."""
    path = write(tmp_path, f"u{suffix}", f"\ufeff\n \t\r\n{text}\n\n{line(event_id='e2')}\n{text}\r\n \n")
    assert rows(path) == {1: expected, 2: event("e2"), 3: expected}
    assert rows(path, chunk_rows=1) == rows(path)
    assert raw_records(path, path.name, [3]) == {3: text.encode()}


REFUSED = [
    ("u.csv", "", "is empty"),
    ("u.csv", "\ufeff\n\r\n", "is empty"),
    ("u.csv.gz", "", "is empty"),
    ("u.csv", "event_id,occurred_at,app_id,quantity\n", "u.csv, line 1, column api: the column is missing"),
    ("u.csv", HEADER.upper(), "column event_id: the column is missing"),
    ("u.csv", f"{HEADER},api\n", "u.csv, line 1, column api: the column is there more than once"),
    ("u.csv", f"{HEADER},note,note\n", "column note: the column is there more than once"),
    ("u.csv", f'{HEADER},n"ote\n', "line 1: the header row cannot be read"),
    ("u.csv", f'{HEADER}\n"e1', "u.csv, line 2: a quoted cell that begins here is never closed"),
    ("u.csv", f"{HEADER}\n{E1}\n".encode() + b"\xe9", "line 3: the byte 0xE9 is not UTF-8"),
    ("u.csv", f"{HEADER},note\n{E1},".encode() + b"\xe9", "line 2: the byte 0xE9 is not UTF-8"),
    ("u.csv", HEADER.encode("utf-16"), "line 1: the byte 0xFF is not UTF-8"),
    ("u.csv", gzip.compress(HEADER.encode(), mtime=0), "is gzip data; name it with .gz"),
    ("u.csv", b"PAR1....", "is a Parquet file; name it .parquet"),
    ("u.jsonl", line().encode() + b"\n\n\xff", "u.jsonl, line 2: the byte 0xFF is not UTF-8"),
    ("u.jsonl", f"{HEADER}\n{E1}\n", "is CSV; name it .csv"),
    ("u.parquet", f"{HEADER}\n{E1}\n", "is not a Parquet file"),
    ("u.parquet", "", "is not a Parquet file"),
    ("u.txt", HEADER, "its name tells no format"),
]


@pytest.mark.parametrize(("name", "content", "message"), REFUSED)
def test_a_file_that_is_not_what_it_should_be_is_refused(
    name: str, content: str | bytes, message: str, tmp_path: Path
) -> None:
    findings = refused(write(tmp_path, name, content))
    assert message in "\n".join(findings)


def test_all_bad_columns_are_found_together(tmp_path: Path) -> None:
    findings = refused(write(tmp_path, "u.csv", "api,api,event_id,x,x\n"))
    assert [re.split("column |:", finding)[1] for finding in findings] == [
        "occurred_at",
        "app_id",
        "quantity",
        "api",
        "x",
    ]


@pytest.mark.parametrize("name", ["u.csv.gz", "u.jsonl.gz"])
def test_gzip_that_is_none_or_damaged_or_cut_off_is_refused(name: str, tmp_path: Path) -> None:
    text = f"{HEADER}\n" + f"{E1}\n" * 1000 if "csv" in name else f"{line()}\n" * 1000
    data = gzip.compress(text.encode())
    for broken in (text.encode(), b"", data[:1], data[:-1], data[:-9], data[:30], data + b"x", data[:-8] + bytes(8)):
        (tmp_path / name).write_bytes(broken)
        assert "gzip" in refused(tmp_path / name)[0]


def test_a_file_is_refused_late_after_chunks_that_were_good(tmp_path: Path) -> None:
    path = write(tmp_path, "u.csv", f"{HEADER}\n".encode() + f"{E1}\n".encode() * 1000 + b"\xff")
    chunks = read_usage(path, path.name, chunk_rows=10)
    assert next(chunks).line.tolist() == list(range(2, 12))
    with pytest.raises(DataRefused, match="line 1002"):
        list(chunks)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for name in ("u.csv", "u.parquet"):
        assert "cannot be opened" in refused(tmp_path / name)[0]


def test_the_name_tells_the_format_not_the_path(tmp_path: Path) -> None:
    path = write(tmp_path, "upload-17", f"{HEADER}\n{E1}\n")
    assert [len(chunk) for chunk in read_usage(path, "usage/001.csv")] == [1]
    assert "usage/001.jsonl, line 1: is CSV" in refused(path, "usage/001.jsonl")[0]


# --- the worked examples


CASES = Path(__file__).parents[3] / "shared" / "cases"
needs_cases = pytest.mark.skipif(not CASES.exists(), reason="the cases are not here")
READ_REASONS = {"unreadable", "missing_event_id", "bad_occurred_at"}


def reason(row: Row | None) -> str | None:
    """The first of the reasons that only the record itself tells."""
    if row is None:
        return "unreadable"
    if not row[0]:
        return "missing_event_id"
    return "bad_occurred_at" if row[5] is None else None


@needs_cases
@pytest.mark.parametrize(
    "case", sorted(path.parent.name for path in CASES.glob("*/steps.json")) if CASES.exists() else []
)
def test_the_cases(case: str) -> None:
    """What is rejected for the record alone is what the case expects, by record number."""
    folder = CASES / case
    expected_file = folder / "expected/rejected.csv"
    with expected_file.open(newline="") as handle:
        expected = {(row["file"], int(row["line"])): row["reason"] for row in csv.DictReader(handle)}
    steps = json.loads((folder / "steps.json").read_text())
    files = sorted({step["file"] for step in steps if step["do"] == "ingest"})
    found = {
        (file, number): row
        for file in files
        for chunk in read_usage(folder / file, file)
        for number, row in chunk_rows(chunk)
    }
    told = {key: text for key, row in found.items() if (text := reason(row))}
    assert told == {key: text for key, text in expected.items() if text in READ_REASONS}
    assert set(expected) <= set(found)
    for key, row in found.items():
        if row is not None and row[6] is None:
            assert expected[key] in READ_REASONS | {"unknown_api", "bad_quantity"}
        negative = row is not None and (row[6] or 0) < 0 and not row[3]
        assert expected.get(key) != "bad_quantity" or negative or (row is not None and row[6] is None)


# --- both CSV paths against Python's csv module


CELL = r'(?:"(?:[^"]|"")*"|[^",\r\n]*)'
REGULAR = re.compile(rf"{CELL}(?:(?:,|\r\n|\r|\n){CELL})*")
TEXT = st.text('aé,"\r\n\0\ufeff٣ 1', max_size=30)
QUOTED = st.text('a,"\r\n', max_size=4).map(lambda cell: '"' + cell.replace('"', '""') + '"')
PLAIN = st.sampled_from(["e1", NOON, "1.5", "-7", "0", "", " ", "٣", "\0", "\ufeff", "2025-07-20T12:00:00.5+02:00"])
LINES = st.lists(
    st.tuples(
        st.lists(st.one_of(PLAIN, PLAIN, QUOTED), max_size=9).map(",".join), st.sampled_from(["\n", "\r\n", "\r"])
    ),
    max_size=8,
).map(lambda lines: "".join(cells + end for cells, end in lines))
PLAIN_LINES = LINES.map(lambda text: text.replace('"', ""))


def by_csv_module(text: str, header: Sequence[str]) -> dict[int, Row | None]:
    records = [record for record in csv.reader(io.StringIO(text, newline=""), strict=True) if record]
    return {number: by_scalars(record, header) for number, record in enumerate(records, start=2)}


def by_scalars(record: list[str], header: Sequence[str]) -> Row | None:
    if len(record) > len(header):
        return UNREADABLE
    cells = dict.fromkeys(TEXTS, "") | dict.fromkeys(header, "") | dict(zip(header, record, strict=False))
    us, micro = None, 0
    with suppress(ValueError):
        us = parse_instant_us(cells["occurred_at"])
    with suppress(ValueError):
        micro = parse_micro(cells["quantity"])
    return (*(cells[name] for name in TEXTS), us, micro if 0 < abs(micro) <= 10**18 else None)


@given(
    body=st.one_of(TEXT, LINES, PLAIN_LINES),
    header=st.permutations([*HEADER.split(","), "corrects", "note"]),
    size=st.integers(1, 9),
)
@settings(max_examples=1500, deadline=None)
def test_csv_reads_as_the_csv_module_does(
    body: str, header: list[str], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """RFC 4180: with quotes (slow or fast) and without (fast); other quoting loses and doubles nothing."""
    path = write(tmp_path_factory.getbasetemp(), "u.csv", ",".join(header) + "\n" + body)
    if REGULAR.fullmatch(body):
        assert rows(path, chunk_rows=size) == by_csv_module(body, header)
        return
    try:
        found = rows(path, chunk_rows=size)
    except DataRefused:
        assert "never closed" in refused(path)[0]
        return
    assert UNREADABLE in found.values()
    raw = raw_records(path, path.name, found)
    assert list(raw) == list(found) == list(range(2, len(found) + 2))
    assert re.sub(r"[\r\n]", "", body).encode() == re.sub(rb"[\r\n]", b"", b"".join(raw.values()))


# --- raw records and further columns


def test_raw_records_of_csv(tmp_path: Path) -> None:
    large = "x" * (MAX_RECORD_BYTES + 5)
    path = write(tmp_path, "u.csv.gz", f'{HEADER}\r\n"a\n""b",1\r\n\r\n{large}\n"c"d\nlast')
    assert raw_records(path, path.name, {2, 4, 3, 5, 9}) == {
        2: b'"a\n""b",1',
        3: large[:MAX_RECORD_BYTES].encode(),
        4: b'"c"d',
        5: b"last",
    }
    assert raw_records(path, path.name, []) == {}


def test_further_columns_are_named_for_a_warning(tmp_path: Path) -> None:
    many = "".join(f"{line()}\n" for _ in range(100))
    files = {
        "u.csv": f"note,{HEADER},team_id,Corrects\n",
        "u.jsonl": f"{line(note=1)}\n{many}{line(Corrects=None)}\n" + '{"bad": []}',
    }
    for name, text in files.items():
        path = write(tmp_path, name, text)
        assert ignored_columns(path, name) == ["Corrects", "note"]
        seen: set[str] = set()
        assert list(read_usage(path, name, chunk_rows=1, unknown=seen)) or name == "u.csv"
        assert seen == {"Corrects", "note"}


# --- Parquet


def parquet(folder: Path, columns: dict[str, Any], **options: Any) -> Path:
    """Absent columns are those of event e1, e2, ..."""
    count = len(next(iter(columns.values())))
    usual = {
        "event_id": [f"e{n + 1}" for n in range(count)],
        "occurred_at": [NOON] * count,
        "app_id": ["a1"] * count,
        "api": ["api"] * count,
        "quantity": ["1"] * count,
    }
    table = pa.table({name: values for name, values in (usual | columns).items() if values is not None})
    pq.write_table(table, folder / "u.parquet", **options)
    return folder / "u.parquet"


MOMENT = datetime(2025, 7, 20, 12, tzinfo=UTC)
QUANTITY_COLUMNS = [
    (pa.array(["2.50", "1e2", None]), [2_500_000, None, None]),
    (pa.array([7, 0, None], pa.int8()), [7_000_000, None, None]),
    (pa.array([10**12, 10**12 + 1], pa.uint64()), [10**18, None]),
    (pa.array([Decimal("2.500"), None, Decimal("-1")], pa.decimal128(18, 3)), [2_500_000, None, -1_000_000]),
    (pa.array([Decimal("0.0000001"), Decimal("100")], pa.decimal128(38, 18)), [None, 10**8]),
    (pa.array([Decimal("0.0000010"), Decimal("1e12")], pa.decimal256(60, 20)), [1, 10**18]),
    (pa.array(["1", "x"]).dictionary_encode(), [1_000_000, None]),
    (pa.array([None, None], pa.null()), [None, None]),
]


@pytest.mark.parametrize(("column", "expected"), QUANTITY_COLUMNS, ids=[str(case[0].type) for case in QUANTITY_COLUMNS])
def test_parquet_quantities_are_strings_integers_or_decimals(
    column: pa.Array, expected: list[int | None], tmp_path: Path
) -> None:
    path = parquet(tmp_path, {"quantity": column})
    events = {n + 1: event(f"e{n + 1}", quantity=quantity) for n, quantity in enumerate(expected)}
    assert rows(path) == events == rows(path, chunk_rows=1) == rows(path, chunk_rows=2)


INSTANT_COLUMNS = [
    (pa.array([NOON, "x", None]), [NOON_US, None, None]),
    (pa.array([MOMENT, None], pa.timestamp("s", "UTC")), [NOON_US, None]),
    (pa.array([MOMENT], pa.timestamp("ms", "UTC")), [NOON_US]),
    (pa.array([MOMENT], pa.timestamp("us", "Asia/Tokyo")), [NOON_US]),
    (pa.array([NOON_US * 1000, NOON_US * 1000 + 1], pa.timestamp("ns", "UTC")), [NOON_US, None]),
    (pa.array([2**62, -(2**62)], pa.timestamp("ms", "UTC")), [None, None]),
]


@pytest.mark.parametrize(("column", "expected"), INSTANT_COLUMNS, ids=[str(case[0].type) for case in INSTANT_COLUMNS])
def test_parquet_instants_are_strings_or_timestamps_adjusted_to_utc(
    column: pa.Array, expected: list[int | None], tmp_path: Path
) -> None:
    path = parquet(tmp_path, {"occurred_at": column})
    assert [row and row[5] for row in rows(path).values()] == expected


REFUSED_TYPES = [
    ("quantity", pa.array([1.5], pa.float32()), "does not keep quantities exactly"),
    ("quantity", pa.array([1.5], pa.float64()), "does not keep quantities exactly"),
    ("quantity", pa.array([True]), "does not keep quantities exactly"),
    ("occurred_at", pa.array([MOMENT], pa.timestamp("us")), "not adjusted to UTC"),
    ("occurred_at", pa.array([MOMENT.date()], pa.date32()), "no instant"),
    ("occurred_at", pa.array([1], pa.int64()), "no instant"),
    ("event_id", pa.array([b"e1"], pa.binary()), "binary is no text"),
    ("app_id", pa.array([1.0]), "no text"),
    ("api", pa.array([["api"]]), "no text"),
    ("api", pa.array([{"api": "x"}]), "no text"),
    ("corrects", pa.array([True]), "no text"),
]


@pytest.mark.parametrize(("name", "column", "message"), REFUSED_TYPES)
def test_parquet_columns_of_other_types_refuse_the_file(
    name: str, column: pa.Array, message: str, tmp_path: Path
) -> None:
    [finding] = refused(parquet(tmp_path, {name: column}))
    assert finding.startswith(f"u.parquet, column {name}: ")
    assert message in finding


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_parquet_texts_of_any_string_type(kind: pa.DataType, tmp_path: Path) -> None:
    path = parquet(
        tmp_path, {"corrects": pa.array(["c", "", None, "é"]).cast(kind), "event_id": pa.array([7, 8, 9, 10])}
    )
    corrects = ["c", "", "", "é"]
    expected = {n + 1: event(str(n + 7), corrects=text) for n, text in enumerate(corrects)}
    assert rows(path) == expected == rows(path, chunk_rows=3)


def test_parquet_columns_missing_or_doubled_refuse_the_file(tmp_path: Path) -> None:
    assert "column api: the column is missing" in refused(parquet(tmp_path, {"quantity": ["1"], "api": None}))[0]
    names = [*HEADER.split(","), "api"]
    pq.write_table(pa.table([pa.array(["x"])] * 6, names=names), tmp_path / "d.parquet")
    assert "column api: the column is there more than once" in refused(tmp_path / "d.parquet")[0]


@pytest.mark.parametrize("dictionary", [True, False])
def test_parquet_strings_that_are_not_utf_8_refuse_the_file(dictionary: bool, tmp_path: Path) -> None:
    """Written as if it were valid, as careless writers do."""
    bad = pa.array([b"a", None, b"\xff"], pa.binary()).view(pa.string())
    path = parquet(tmp_path, {"app_id": bad}, use_dictionary=dictionary)
    assert refused(path) == ["u.parquet, line 3, column app_id: is not UTF-8; write strings as UTF-8"]


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    whole = parquet(tmp_path, {"event_id": [f"e{n}" for n in range(5000)]}).read_bytes()
    for broken in (whole[:-1], whole[: len(whole) // 2], whole[:200] + bytes(2000) + whole[2200:]):
        assert "is not a Parquet file, or a damaged one" in refused(write(tmp_path, "d.parquet", broken))[0]


def test_raw_records_of_parquet_are_json_that_reads_the_same(tmp_path: Path) -> None:
    columns = {
        "quantity": pa.array([Decimal("2.50"), None, Decimal("-7")], pa.decimal128(18, 2)),
        "occurred_at": pa.array([NOON_US * 1000 + 1, NOON_US * 1000, None], pa.timestamp("ns", "Europe/Paris")),
        "note": ['"é"', None, "\n"],
        "binary": [b"\xff", b"", None],
        "nested": [[1], [], None],
    }
    path = parquet(tmp_path, columns, row_group_size=2)
    raw = raw_records(path, path.name, [1, 2, 3, 4])
    assert list(raw) == [1, 2, 3]
    assert json.loads(raw[1])["note"] == '"é"'
    assert "binary" not in json.loads(raw[1])
    assert raw_records(path, path.name, [3]) == {3: raw[3]}
    again = write(tmp_path, "u.jsonl", b"\n".join(raw.values()))
    assert rows(again) == rows(path)
    assert ignored_columns(path, path.name) == ["binary", "nested", "note"]
