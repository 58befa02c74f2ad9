"""Tables for spreadsheets, as CSV and as XLSX: nothing in them is a formula, and the same table is the same bytes.

A cell is a text, an ``int``, a ``Decimal`` (its digits are those that are shown: money carries its currency's), a
``date``, an aware ``datetime``, or None where it does not apply. CSV is UTF-8, RFC 4180, like every output.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, TypeAlias
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font
from openpyxl.writer.excel import ExcelWriter

from billing.core.errors import UsageError
from billing.core.formulas import harmless, is_formula
from billing.core.instants import format_instant
from billing.outbound.whole_files import write_whole

Cell: TypeAlias = str | int | Decimal | date | datetime | None

# What cannot stand in XML 1.0 at all.
_NOT_XML = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# A binary float, which is what a spreadsheet keeps, is exact for this many digits.
_DIGITS_MAX = 15
# A spreadsheet's calendar has a day that never was, 29 February 1900.
_FIRST_DAY = date(1900, 3, 1)
_TEXT_LENGTH_MAX = 32_767
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """A table with a name: column names, and rows of as many cells."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def texts(self) -> Iterator[tuple[str, ...]]:
        """Its rows as texts, as they are in CSV."""
        return (tuple(text_of(cell) for cell in row) for row in self.rows)


def text_of(cell: Cell) -> str:
    """A cell as text that no spreadsheet takes for a formula: what could be one begins with an apostrophe. Numbers are
    written as they are.
    """
    match cell:
        case None:
            return ""
        case str():
            return harmless(cell)
        case datetime():
            return format_instant(cell)
        case date():
            return cell.isoformat()
        case Decimal():
            return f"{cell:f}"
        case _:
            return str(cell)


def write_sheets(path: Path, sheets: Sequence[Sheet], stamped: datetime) -> list[Path]:
    """Write sheets by the file's suffix: ``.xlsx`` is one workbook, ``.csv`` a file a sheet, those after the first with
    the sheet's name behind the stem. Returns the paths.

    ``stamped`` is the instant of what is told (XLSX carries one); never the clock's, so that the same sheets are the
    same bytes. ``UsageError`` for another suffix.
    """
    match path.suffix.lower():
        case ".xlsx":
            write_whole(path, workbook_bytes(sheets, stamped))
            return [path]
        case ".csv":
            named = [
                (
                    path if not place else path.with_name(f"{path.stem}-{sheet.name.lower().replace(' ', '-')}.csv"),
                    sheet,
                )
                for place, sheet in enumerate(sheets)
            ]
            for target, sheet in named:
                write_whole(target, csv_bytes(sheet))
            return [target for target, _ in named]
    raise UsageError(f"{path.name}: write a file that ends in .csv or .xlsx.")


def csv_bytes(sheet: Sheet) -> bytes:
    """A sheet as a CSV file."""
    text = StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows([sheet.columns, *sheet.texts()])
    return text.getvalue().encode()


def workbook_bytes(sheets: Sequence[Sheet], stamped: datetime) -> bytes:
    """Sheets as an XLSX workbook."""
    workbook = Workbook(write_only=True)
    for sheet in sheets:
        _fill(workbook.create_sheet(sheet.name[:31]), sheet)
    workbook.properties.creator = "carryover"
    workbook.properties.created = workbook.properties.modified = _stamp(stamped)
    buffer = BytesIO()
    ExcelWriter(workbook, ZipFile(buffer, "w")).save()
    return _with_fixed_times(buffer)


def _fill(target: Any, sheet: Sheet) -> None:
    target.freeze_panes = "A2"
    for place, name in enumerate(sheet.columns):
        longest = max((len(text_of(row[place])) for row in sheet.rows[:200]), default=0)
        target.column_dimensions[_letters(place)].width = min(max(len(name), longest) + 2, 48)
    head = []
    for name in sheet.columns:
        cell = WriteOnlyCell(target, name)
        cell.font = Font(bold=True)
        head.append(cell)
    target.append(head)
    for row in sheet.rows:
        target.append([_cell(target, one) for one in row])


def _cell(target: Any, content: Cell) -> Any:
    match content:
        case None | "":
            return None
        case Decimal():
            return _number_cell(target, f"{content:f}")
        case int():
            return _number_cell(target, str(content))
        case datetime():
            return _text_cell(target, format_instant(content))
        case date():
            if content < _FIRST_DAY:
                return _text_cell(target, content.isoformat())
            cell = WriteOnlyCell(target, content)
            cell.number_format = "yyyy-mm-dd"
            return cell
    return _text_cell(target, content)


def _number_cell(target: Any, number: str) -> Any:
    """A number by its own digits (given a Decimal, the library would write what a float makes of it), or a text where
    a spreadsheet cannot hold them all.
    """
    whole, _, fraction = number.lstrip("-").partition(".")
    if len((whole + fraction.rstrip("0")).lstrip("0")) > _DIGITS_MAX:
        return _text_cell(target, number)
    cell = WriteOnlyCell(target, number)
    cell.data_type = "n"
    cell.number_format = f"0.{'0' * len(fraction)}" if fraction else "0"
    return cell


def _text_cell(target: Any, text: str) -> Any:
    """A text, whatever it looks like: it stays one when somebody edits the cell."""
    cell = WriteOnlyCell(target, _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)[:_TEXT_LENGTH_MAX])
    cell.data_type = "s"
    cell.quotePrefix = is_formula(text)
    return cell


def _stamp(instant: datetime) -> datetime:
    """As the library takes instants: UTC, without saying so."""
    return instant.astimezone(UTC).replace(tzinfo=None, microsecond=0)


def _letters(place: int) -> str:
    """The name of a column: A to Z, AA ..."""
    letters = ""
    place += 1
    while place:
        place, letter = divmod(place - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters


def _with_fixed_times(written: BytesIO) -> bytes:
    """The same archive, its entries in their order, without the clock in them."""
    result = BytesIO()
    with ZipFile(written) as source, ZipFile(result, "w", ZIP_DEFLATED) as target:
        for name in source.namelist():
            entry = ZipInfo(name, _ZIP_EPOCH)
            entry.compress_type = ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o600 << 16
            target.writestr(entry, source.read(name))
    return result.getvalue()
