"""Tables for spreadsheets: no cell is a formula, numbers are exact, and the same table is the same bytes."""

from __future__ import annotations

import csv
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO, StringIO
from pathlib import Path
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook

from billing.core.errors import UsageError
from billing.core.formulas import is_formula
from billing.outbound.spreadsheets import Cell, Sheet, csv_bytes, text_of, workbook_bytes, write_sheets

AT = datetime(2026, 8, 2, 1, tzinfo=UTC)
FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\tplain",
    "\r=1",
    "\n=1",
    "  =1",
    "\u00a0=1",
    "\u3000=1",
    "\u200b=1",
    "\ufeff=1",
    "\x00=1",
    "＝1+1",
    "＋1",
    "－1",
    "＠SUM(A1)",
    " ＝1",
    '=HYPERLINK("http://example.com")',
]
HARMLESS = [" ", "Buyer", "a=b", "1-2", "'=1", "é", "(-1)", "*", '"=1"', "Müller & Söhne"]


def sheet(*rows: tuple[Cell, ...], name: str = "Register") -> Sheet:
    return Sheet(name=name, columns=tuple("abcdefgh"[: len(rows[0])]), rows=rows)


def workbook_cells(*rows: tuple[Cell, ...]) -> list[list[object]]:
    """The cells of a workbook as openpyxl reads them, without the header."""
    workbook = load_workbook(BytesIO(workbook_bytes([sheet(*rows)], AT)))
    return [list(row) for row in workbook.worksheets[0].iter_rows(min_row=2)]


def raw_values(*rows: tuple[Cell, ...]) -> str:
    with ZipFile(BytesIO(workbook_bytes([sheet(*rows)], AT))) as archive:
        return archive.read("xl/worksheets/sheet1.xml").decode()


@pytest.mark.parametrize("text", FORMULAS)
def test_what_could_be_a_formula_is_a_text(text: str) -> None:
    (row,) = list(csv.reader(StringIO(csv_bytes(sheet((text,))).decode(), newline="")))[1:]
    assert row == [f"'{text}"]
    ((cell,),) = workbook_cells((text,))
    assert cell.data_type == "s" and cell.quotePrefix and "<f>" not in raw_values((text,))


@pytest.mark.parametrize("text", HARMLESS)
def test_what_could_not_stays_as_it_is(text: str) -> None:
    assert not is_formula(text)
    assert text_of(text) == text
    ((cell,),) = workbook_cells((text,))
    assert cell.value == text and not cell.quotePrefix


@given(st.text(min_size=1))
def test_no_text_at_all_becomes_a_formula_or_breaks_the_file(text: str) -> None:
    written = text_of(text)
    seen = written.lstrip()
    assert seen[:1] not in tuple("=+-@\uff1d\uff0b\uff0d\uff20") or not seen
    assert written[:1] not in ("\t", "\r", "\n")
    ((cell,),) = workbook_cells((text,))
    assert cell.data_type == "s"


@pytest.mark.parametrize(
    ("number", "value", "shown"),
    [
        (Decimal("9.95"), "9.95", "0.00"),
        (Decimal("-4.00"), "-4.00", "0.00"),
        (Decimal("1"), "1", "0"),
        (Decimal("1.005"), "1.005", "0.000"),
        (Decimal("9007199254740.99"), "9007199254740.99", "0.00"),
        (Decimal("-999999999999999.00"), "-999999999999999.00", "0.00"),
        (Decimal("1E+3"), "1000", "0"),
        (0, "0", "0"),
        (-(10**15) + 1, "-999999999999999", "0"),
    ],
)
def test_numbers_are_numbers_with_their_own_digits(number: Decimal | int, value: str, shown: str) -> None:
    """Up to 15 digits, which is what a spreadsheet can hold: digit by digit in the file, no noise of a float."""
    assert f"<v>{value}</v>" in raw_values((number,))
    ((cell,),) = workbook_cells((number,))
    assert (cell.data_type, cell.number_format, Decimal(str(cell.value))) == ("n", shown, Decimal(number))


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(0, 4))
def test_every_amount_that_fits_is_written_digit_by_digit(minor: int, digits: int) -> None:
    amount = Decimal(minor).scaleb(-digits)
    assert f"<v>{amount:f}</v>" in raw_values((amount,))


@pytest.mark.parametrize("number", [Decimal("90071992547409.91"), Decimal("-1234567890123456"), 10**15, -(10**18)])
def test_numbers_of_more_than_15_digits_are_texts(number: Decimal | int) -> None:
    ((cell,),) = workbook_cells((number,))
    assert (cell.data_type, cell.value) == ("s", f"{Decimal(number):f}")
    assert text_of(number) == f"{Decimal(number):f}", "no apostrophe: it is a number in CSV"


def test_dates_are_dates_and_instants_say_that_they_are_in_utc() -> None:
    ((day, old, instant, nothing),) = workbook_cells((date(2026, 8, 2), date(1900, 2, 28), AT, None))
    assert (day.value, day.is_date, day.number_format) == (datetime(2026, 8, 2), True, "yyyy-mm-dd")  # noqa: DTZ001
    assert (old.value, old.data_type) == ("1900-02-28", "s"), "a spreadsheet has no such day"
    assert (instant.value, nothing.value) == ("2026-08-02T01:00:00Z", None)
    assert csv_bytes(sheet((date(2026, 8, 2), AT, None))).decode() == "a,b,c\r\n2026-08-02,2026-08-02T01:00:00Z,\r\n"


def test_what_no_workbook_can_hold_is_replaced() -> None:
    ((cell, long),) = workbook_cells(("bell \x07 \ufffe", "x" * 40_000))
    assert cell.value == "bell \ufffd \ufffd" and len(long.value) == 32_767


def test_the_same_sheets_are_the_same_bytes_at_any_time() -> None:
    sheets = [sheet(("=1", Decimal("1.50"), date(2026, 8, 2))), sheet(("Totals", 3, None), name="Totals")]
    first = workbook_bytes(sheets, AT)
    time.sleep(2.1)  # the times of a zip archive have two seconds
    assert workbook_bytes(sheets, AT) == first
    assert workbook_bytes(sheets, AT.replace(hour=2)) != first, "the instant that is told is in it"
    with ZipFile(BytesIO(first)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert b"2026-08-02T01:00:00Z" in archive.read("docProps/core.xml")


def test_the_suffix_decides_and_further_sheets_are_further_files(tmp_path: Path) -> None:
    sheets = [sheet(("one",)), sheet(("two",), name="Not dated yet")]
    written = write_sheets(tmp_path / "new" / "july.csv", sheets, AT)
    assert [path.name for path in written] == ["july.csv", "july-not-dated-yet.csv"]
    assert written[1].read_bytes() == b"a\r\ntwo\r\n"
    (book,) = write_sheets(tmp_path / "new" / "july.XLSX", sheets, AT)
    assert load_workbook(book).sheetnames == ["Register", "Not dated yet"]
    with pytest.raises(UsageError, match=r"july.pdf: write a file that ends in .csv or .xlsx"):
        write_sheets(tmp_path / "july.pdf", sheets, AT)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {*(path.name for path in written), "july.XLSX"}
