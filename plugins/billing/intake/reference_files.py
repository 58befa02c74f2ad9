"""A folder of reference files to typed tables (data contract, "Reference data" and "Files").

One file a table, named ``TABLE.csv``, ``.csv.gz``, ``.jsonl``, ``.jsonl.gz`` or ``.parquet``. Everything that is
wrong with the files themselves is found here; what the tables say is checked in ``reference_checks``. The caller
puts both lists in one report and refuses the load if either has anything in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from billing.core.errors import Finding
from billing.core.reference import TABLES, ColumnKind, Table
from billing.intake.reference_cells import UNREADABLE, RawTable, typed_frame
from billing.intake.reference_codes import has_card_number
from billing.intake.reference_containers import (
    SUFFIXES,
    FileRefused,
    decoded,
    read_csv,
    read_jsonl,
    suffix_of,
    unpacked,
)
from billing.intake.reference_findings import FindingList, Lines, shown
from billing.intake.reference_parquet import read_parquet


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceFolder:
    """What a folder holds, by table; tables without a (readable) file are in none of the mappings.

    ``tables``: frames as ``core.reference`` documents them, index 0..n-1. Cells that are reported as unreadable are
    ``UNREADABLE`` or ``""``. ``lines``: the record number of each row. ``files``: the name of the table's file.
    ``sha256``: of the file's bytes as they came. ``warnings``: what was ignored. ``incomplete``: tables of which
    some record or key could not be read, so that nothing can be said about a row they do not have.
    """

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    lines: dict[str, Lines] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)
    warnings: list[Finding] = field(default_factory=list)
    incomplete: set[str] = field(default_factory=set)


def read_reference_folder(folder: Path) -> tuple[ReferenceFolder, list[Finding]]:
    """Every table of ``folder``, and all that cannot be read (at most ``FINDINGS_MAX`` findings and their count)."""
    result, found, ignored = ReferenceFolder(), FindingList(), FindingList()
    if not folder.is_dir():
        return result, [Finding(file=str(folder), message="is not a folder; name one with a file for each table")]
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    for table in TABLES.values():
        own = [table.name + suffix for suffix in SUFFIXES if table.name + suffix in names]
        if len(own) > 1:
            found.add(table.name, own[0], f"{', '.join(own)} are files of one table; keep one of them")
            result.incomplete.add(table.name)
        elif own:
            _read_table(table, folder / own[0], result, found, ignored)
        elif not table.optional:
            message = f"is missing; add it (or {', '.join(SUFFIXES)}), with its header if it has no rows"
            found.add(table.name, table.name + ".csv", message)
    _report_unknown_files(names, ignored)
    result.warnings.extend(ignored.report())
    return result, found.report()


def _report_unknown_files(names: Sequence[str], ignored: FindingList) -> None:
    for name in names:
        if name.removesuffix(suffix_of(name)) not in TABLES or not suffix_of(name):
            ignored.add("", name, "is not named like a file of a reference table, and was ignored")


def _read_table(table: Table, path: Path, result: ReferenceFolder, found: FindingList, ignored: FindingList) -> None:
    file = path.name
    try:
        content = path.read_bytes()
        raw = _read_container(table, content, file, found)
    except (FileRefused, OSError) as error:
        reasons = error.reasons if isinstance(error, FileRefused) else (f"cannot be read: {error.strerror}",)
        for reason in reasons:
            found.add(table.name, file, reason)
        result.incomplete.add(table.name)
        return
    for name in raw.extra:
        message = f"the column {shown(name)} is not in the data contract and was ignored"
        ignored.add(table.name, file, message)
    _report_card_numbers(table, raw, file, found)
    frame = typed_frame(table, raw, file, found)
    result.tables[table.name] = frame
    result.lines[table.name] = raw.lines
    result.files[table.name] = file
    result.sha256[table.name] = hashlib.sha256(content).hexdigest()
    if not raw.complete or _has_unreadable_key(table, frame):
        result.incomplete.add(table.name)


def _read_container(table: Table, content: bytes, file: str, found: FindingList) -> RawTable:
    suffix = suffix_of(file)
    if suffix == ".parquet":
        return read_parquet(table, content)
    text = decoded(unpacked(content) if suffix.endswith(".gz") else content)
    read = read_csv if suffix.startswith(".csv") else read_jsonl
    return read(table, text, file, found)


def _has_unreadable_key(table: Table, frame: pd.DataFrame) -> bool:
    texts = {column.name for column in table.columns if column.kind is ColumnKind.TEXT}
    return any(bool((frame[name] == ("" if name in texts else UNREADABLE)).any()) for name in table.key)


def _report_card_numbers(table: Table, raw: RawTable, file: str, found: FindingList) -> None:
    """``payment_methods``: "never a full card number: such a file is refused", in columns that we ignore too.

    The message never holds the number.
    """
    if table.name != "payment_methods":
        return
    message = "holds a full card number; replace it by the gateway's token and destroy this file"
    before = found.total
    for name, cells in {**raw.columns, **raw.extra}.items():
        if has_card_number("\n".join(cells)):
            rows = np.array([has_card_number(cell) for cell in cells], dtype=bool)
            found.add_rows(table.name, file, raw.lines, rows, _without_number(name), message)
    if raw.card_number and found.total == before:
        found.add(table.name, file, message)


def _without_number(column: str) -> str:
    return "(a column that is named like a card number)" if has_card_number(column) else column
