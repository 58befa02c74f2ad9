"""Data contract, "Files": CSV, JSON Lines and Parquet give the same tables, or say why they cannot be read."""

from __future__ import annotations

import gzip
import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from billing.core.instants import from_us, parse_instant_us
from billing.core.reference import FOREVER_US, NO_TOKENS, TABLES, ColumnKind
from billing.intake.reference_files import read_reference_folder

from .folders import EARLY, csv_text, header, load, small, write

BOM = "\ufeff"


def _jsonl(table: str, rows: list[list[str]]) -> str:
    records = [{k: v for k, v in zip(header(table), row, strict=True) if v} for row in rows]
    return "".join(json.dumps(record) + "\n" for record in records)


def _write_as(folder: Path, suffix: str) -> Path:
    folder.mkdir(parents=True)
    for table, rows in small().items():
        path = folder / (table + suffix)
        text = _jsonl(table, rows) if "jsonl" in suffix else csv_text(table, rows)
        if suffix == ".parquet":
            columns = {n: [r[i] or None for r in rows] for i, n in enumerate(header(table))}
            pq.write_table(pa.table({n: pa.array(c, pa.string()) for n, c in columns.items()}), path)
        elif suffix.endswith(".gz"):
            path.write_bytes(gzip.compress((BOM + text).encode()))
        else:
            path.write_text(BOM + text, encoding="utf-8", newline="")
    return folder


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet"])
def test_every_container_gives_the_same_tables(tmp_path: Path, suffix):
    folder = _write_as(tmp_path / "it", suffix)
    assert load(folder) == []
    found, _ = read_reference_folder(folder)
    plain, _ = read_reference_folder(write(tmp_path / "plain", small()))
    assert found.warnings == []
    for table in TABLES:
        pd.testing.assert_frame_equal(found.tables[table], plain.tables[table])
        first = 2 if "csv" in suffix else 1
        assert found.lines[table].tolist() == list(range(first, first + len(found.tables[table])))
        assert found.files[table] == table + suffix


def test_the_dtypes_are_those_of_core_reference(tmp_path: Path):
    found, _ = read_reference_folder(write(tmp_path, small()))
    for table in TABLES.values():
        frame = found.tables[table.name]
        assert list(frame.columns) == [column.name for column in table.columns]
        assert frame.index.equals(pd.RangeIndex(len(frame)))
        for column in table.columns:
            assert frame[column.name].dtype == (object if column.kind is ColumnKind.TEXT else np.int64)
    rates, hubs = found.tables["unit_rates"], found.tables["hub_teams"]
    assert rates["unit_size"].tolist() == [20_000_000, 10_000_000]
    assert rates["tokens_per_unit"].tolist() == [500_000, NO_TOKENS]
    assert hubs["valid_from"][0] == parse_instant_us(EARLY)
    assert hubs["valid_to"][1] == FOREVER_US
    assert found.tables["free_allowances"]["units_per_period"].tolist() == [5]
    assert found.tables["tax_rates"]["valid_from"].tolist() == [16071, 19967]
    assert found.tables["customers"]["vat_id"].tolist() == ["FR83404833048", ""]


def test_dtypes_hold_without_rows(tmp_path: Path):
    found, _ = read_reference_folder(write(tmp_path, {table: [] for table in TABLES}))
    assert found.tables["hubs"].dtypes.tolist() == [object, object]
    assert found.tables["hub_teams"]["valid_to"].dtype == np.int64


# --- CSV -----------------------------------------------------------------------------------------------------------


def _hubs(tmp_path: Path, content: str | bytes, name: str = "hubs.csv"):
    """The hubs of a folder that has this file for them, and the findings about it."""
    folder = write(tmp_path, {table: rows for table, rows in small().items() if table != "hubs"})
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    result, findings = read_reference_folder(folder)
    frame = result.tables.get("hubs")
    rows = None if frame is None else dict(zip(result.lines["hubs"].tolist(), frame.values.tolist(), strict=True))
    return rows, [(f.line, f.column, f.message) for f in findings], result


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("hub_id,name\nh1\n", {2: ["h1", ""]}),  # a short record ends in blanks
        ("hub_id,name\n\nh1,x\r\n\r\nh2,y", {2: ["h1", "x"], 3: ["h2", "y"]}),  # an empty line is no record
        ('hub_id,name\n"h1","a ""b"", c"\n', {2: ["h1", 'a "b", c']}),
        ('hub_id,name\nh1,"two\r\nlines"\nh2,\n', {2: ["h1", "two\r\nlines"], 3: ["h2", ""]}),
        ('hub_id,name\nh1,"x"\n\nh2,', {2: ["h1", "x"], 3: ["h2", ""]}),
        ('hub_id,name\n"h1"', {2: ["h1", ""]}),
        ("name,hub_id\nx, h1 \n", {2: [" h1 ", "x"]}),  # ids are taken as they are
        ("hub_id,name\nh1,a\u2028b\x85c\x0b\n", {2: ["h1", "a\u2028b\x85c\x0b"]}),
    ],
)
def test_csv_is_read_to_the_letter(tmp_path: Path, text, rows):
    read, findings, _ = _hubs(tmp_path, text)
    assert findings == []
    assert read == rows


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("hub_id,name\nh1,a,b\nh2,c\n", 2, "3 cells, the header 2"),
        ('hub_id,name\nh1,a"b\nh2,"c"\n', 2, "cannot be read"),
        ('hub_id,name\nh1,"a"b\nh2,c\n', 2, "cannot be read"),
        ('hub_id,name\nh1,x\nh2,"never closed\n', 3, "cannot be read"),
        ("hub_id,name\nh1,a\rb\nh2,c\n", 2, "cannot be read"),
    ],
)
def test_one_bad_record_leaves_the_others(tmp_path: Path, text, line, message):
    read, findings, _ = _hubs(tmp_path, text)
    assert [(place, message in text) for place, _, text in findings] == [(line, True)]
    other = 5 - line
    assert read[other][0] in ("h1", "h2")


def test_nothing_is_said_about_rows_that_a_broken_file_may_have(tmp_path: Path):
    _hubs(tmp_path, 'hub_id,name\nh1,a"b\nh2,c\n')
    assert [(finding.file, finding.line) for finding in load(tmp_path)] == [("hubs.csv", 2)]


REFUSED = [
    ("hubs.csv", b"hub_id,name\nh\xff1,x\n", "not UTF-8"),
    ("hubs.csv", b"", "is empty"),
    ("hubs.csv", b"hub_id\nh1\n", "lacks the column name"),
    ("hubs.csv", b"hub_id,name,name\nh1,x,y\n", "'name' more than once"),
    ("hubs.csv", b"hub_id,name,z,z\nh1,x,y\n", "'z' more than once"),
    ("hubs.csv", b"Hub_id,name\nh1,x\n", "lacks the column hub_id"),
    ("hubs.csv", b'hub_id,na"me\nh1,x\n', "header"),
    ("hubs.csv", gzip.compress(b"hub_id,name\n", mtime=0), "is gzip"),
    ("hubs.csv", b"PAR1...", "is Parquet"),
    ("hubs.csv.gz", b"hub_id,name\n", "not gzip"),
    ("hubs.csv.gz", gzip.compress(b"hub_id,name\nh1,x\n", mtime=0)[:-9], "damaged gzip"),
    ("hubs.csv.gz", gzip.compress(b"hub_id,name\nh1,x\n", mtime=0) + b"more", "damaged gzip"),
    ("hubs.parquet", b"hub_id,name\nh1,x\n", "not Parquet"),
    ("hubs.jsonl", b'{"hub_id": "\xff"}\n', "not UTF-8"),
]


@pytest.mark.parametrize(("name", "content", "message"), REFUSED, ids=[f"{c[0]}-{c[2]}" for c in REFUSED])
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, name, content, message):
    read, findings, _ = _hubs(tmp_path, content, name)
    assert read is None
    assert len(findings) == 1
    assert message in findings[0][2]


def test_unknown_columns_and_files_are_warnings(tmp_path: Path):
    read, findings, result = _hubs(tmp_path, "hub_id,colour,name,\nh1,red,x,\n")
    (tmp_path / "hub.csv").write_text("")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".hidden").write_text("")
    assert read == {2: ["h1", "x"]}
    assert findings == []
    assert [warning.message.split(" is not")[0] for warning in result.warnings] == [
        "the column ''",
        "the column 'colour'",
    ]
    result, findings = read_reference_folder(tmp_path)
    assert findings == []
    assert [warning.file for warning in result.warnings] == ["hubs.csv", "hubs.csv", "hub.csv", "notes.txt"]


# --- the folder ----------------------------------------------------------------------------------------------------


def test_a_missing_file_is_an_error_except_for_optional_tables(tmp_path: Path):
    rows = small()
    for table in ("payment_methods", "capacity_grants", "teams"):
        del rows[table]
    findings = load(write(tmp_path, rows))
    assert [(finding.file, finding.message[:10]) for finding in findings] == [("teams.csv", "is missing")]


def test_two_files_of_one_table_are_an_error(tmp_path: Path):
    folder = write(tmp_path, small())
    (folder / "hubs.jsonl").write_text('{"hub_id": "h1"}')
    findings = load(folder)
    assert len(findings) == 1
    assert "hubs.csv, hubs.jsonl are files of one table" in findings[0].message


def test_no_folder(tmp_path: Path):
    assert "not a folder" in load(tmp_path / "none")[0].message


# --- JSON Lines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"hub_id": "h1", "hub_id": "h2"}', "key twice"),
        ('{"hub_id": "h1", "x": {"y": 1}}', "nested"),
        ('{"hub_id": "h1", "x": []}', "nested"),
        ('{"hub_id": "h1", "name": true}', "true or false"),
        ('{"hub_id": "h1", "name": NaN}', "NaN"),
        ('["h1"]', "not a JSON object"),
        ("hub_id,name", "not JSON"),
        ('{"hub_id": "h1"} {}', "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_json_that_cannot_be_read(tmp_path: Path, line, message):
    read, findings, _ = _hubs(tmp_path, f'{{"hub_id": "h0"}}\n\n{line}\n{{"hub_id": "h2"}}\n', "hubs.jsonl")
    assert read == {1: ["h0", ""], 3: ["h2", ""]}
    assert [(place, message in text) for place, _, text in findings] == [(2, True)]


def test_json_numbers_are_read_by_their_text(tmp_path: Path):
    text = '{"hub_id": 10000000000000000000000.10, "name": null}\r\n{"hub_id": 1e2}'
    read, findings, _ = _hubs(tmp_path, text, "hubs.jsonl")
    assert findings == []
    assert read == {1: ["10000000000000000000000.10", ""], 2: ["1e2", ""]}


def test_half_a_surrogate_pair_cannot_be_kept(tmp_path: Path):
    _, findings, _ = _hubs(tmp_path, '{"hub_id": "h1", "name": "\\ud83d"}', "hubs.jsonl")
    assert [(line, column) for line, column, _ in findings] == [(1, "name")]


# --- Parquet -------------------------------------------------------------------------------------------------------


def _rates(tmp_path: Path, **columns: pa.Array):
    """Reads ``unit_rates`` from Parquet, with ``columns`` instead of the usual ones."""
    folder = write(tmp_path, {table: rows for table, rows in small().items() if table != "unit_rates"})
    usual = {
        "api": pa.array(["automation"]),
        "valid_from": pa.array([EARLY]),
        "unit_size": pa.array(["20"]),
        "tokens_per_unit": pa.array(["1"]),
    }
    pq.write_table(pa.table(usual | columns), folder / "unit_rates.parquet")
    result, findings = read_reference_folder(folder)
    return result.tables.get("unit_rates"), findings


@pytest.mark.parametrize(
    ("array", "micro"),
    [
        (pa.array([20], pa.int8()), 20_000_000),
        (pa.array([20], pa.uint64()), 20_000_000),
        (pa.array([Decimal("20.000000000")], pa.decimal128(38, 9)), 20_000_000),
        (pa.array([Decimal("0.000001")], pa.decimal256(60, 12)), 1),
        (pa.array([Decimal("1E+2")], pa.decimal128(5, 0)), 100_000_000),
        (pa.array(["0.70"], pa.large_string()), 700_000),
        (pa.array(["7"]).dictionary_encode(), 7_000_000),
    ],
)
def test_parquet_quantities_are_strings_integers_or_decimals(tmp_path: Path, array, micro):
    frame, findings = _rates(tmp_path, unit_size=array)
    assert findings == []
    assert frame["unit_size"].tolist() == [micro]


@pytest.mark.parametrize(
    ("column", "array"),
    [
        ("unit_size", pa.array([20.0])),
        ("unit_size", pa.array([20.0], pa.float32())),
        ("tokens_per_unit", pa.array([None], pa.float64())),
        ("valid_from", pa.array([0], pa.timestamp("us"))),
        ("valid_from", pa.array([0], pa.int64())),
        ("api", pa.array([b"automation"])),
        ("api", pa.array([["automation"]])),
    ],
)
def test_parquet_types_that_refuse_the_file(tmp_path: Path, column, array):
    frame, findings = _rates(tmp_path, **{column: array})
    assert frame is None
    assert len(findings) == 1
    assert f"has the column {column} as" in findings[0].message


@pytest.mark.parametrize(("unit", "ticks"), [("s", -1), ("ms", -1_500), ("us", 1), ("ns", 1_000)])
@pytest.mark.parametrize("zone", ["UTC", "+02:00"])
def test_parquet_timestamps_adjusted_to_utc(tmp_path: Path, unit, ticks, zone):
    frame, findings = _rates(tmp_path, valid_from=pa.array([ticks], pa.timestamp(unit, tz=zone)))
    assert findings == []
    expected = {"s": -1_000_000, "ms": -1_500_000, "us": 1, "ns": 1}[unit]
    assert frame["valid_from"].tolist() == [expected]
    assert from_us(expected).tzinfo is not None


def test_parquet_timestamps_finer_than_a_microsecond_or_out_of_range(tmp_path: Path):
    _, findings = _rates(tmp_path, valid_from=pa.array([1_001], pa.timestamp("ns", tz="UTC")))
    assert "1970-01-01T00:00:00.000001001Z" in findings[0].message
    _, findings = _rates(tmp_path, valid_from=pa.array([2**62], pa.timestamp("us", tz="UTC")))
    assert findings[0].column == "valid_from"


def test_parquet_doubled_and_missing_columns(tmp_path: Path):
    folder = write(tmp_path, {table: rows for table, rows in small().items() if table != "hubs"})
    table = pa.Table.from_arrays([pa.array(["h1"]), pa.array(["h2"])], names=["hub_id", "hub_id"])
    pq.write_table(table, folder / "hubs.parquet")
    _, findings = read_reference_folder(folder)
    assert [finding.message.split(";")[0] for finding in findings] == [
        "has the column 'hub_id' more than once",
        "lacks the column name",
    ]


def test_parquet_dates_and_blanks(tmp_path: Path):
    folder = write(tmp_path, {table: rows for table, rows in small().items() if table != "tax_rates"})
    columns = {
        "country": ["FR", "FI", None],
        "valid_from": pa.array([date(2014, 1, 1), None, date(1969, 12, 31)]),
        "percent": [20, 24, 1],
    }
    pq.write_table(pa.table(columns), folder / "tax_rates.parquet")
    result, findings = read_reference_folder(folder)
    assert [(f.line, f.column) for f in findings] == [(2, "valid_from"), (3, "country")]
    assert result.tables["tax_rates"]["valid_from"].tolist()[::2] == [16071, -1]
