"""The tables a load would leave in force, with the places of their rows, as the checks see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from billing.core.reference import TABLES, ColumnKind, Reference, Table, empty_frame
from billing.intake.reference_cells import UNREADABLE
from billing.intake.reference_files import ReferenceFolder
from billing.intake.reference_findings import FindingList, Lines, Message


@dataclass(frozen=True, kw_only=True, slots=True)
class TableInForce:
    """One table. ``frame`` is empty where neither this load nor an earlier one has it (``present`` is then false).

    ``loaded``: it comes with this load. ``whole``: every record of it was read.
    """

    table: Table
    frame: pd.DataFrame
    file: str
    lines: Lines | None
    present: bool
    loaded: bool
    whole: bool

    def texts(self, column: str) -> list[str]:
        """The cells of a column of text."""
        cells: list[str] = self.frame[column].tolist()
        return cells

    def readable(self, *columns: str) -> NDArray[np.bool_]:
        """Per row, whether each of ``columns`` has a value: neither blank text nor unreadable."""
        rows = np.ones(len(self.frame), dtype=bool)
        for column in self.table.columns:
            if column.name in columns:
                missing = "" if column.kind is ColumnKind.TEXT else UNREADABLE
                rows &= (self.frame[column.name] != missing).to_numpy()
        return rows

    def unique(self, key: str, value: str) -> Mapping[str, str]:
        """``value`` by ``key``; where a key has two rows the first counts (the second is a finding)."""
        rows = self.frame.drop_duplicates(key)
        return dict(zip(rows[key], rows[value], strict=True))

    def line(self, row: int) -> str:
        """How a message names a row."""
        return f"line {self.lines[row]}" if self.lines is not None else f"row {row + 1}"

    def report(self, found: FindingList, rows: NDArray[np.bool_], column: str | None, message: Message) -> None:
        """A finding for each row where ``rows`` is true."""
        found.add_rows(self.table.name, self.file, self.lines, rows, column, message)


class Tables:
    """Every table by name, as ``new`` and ``known`` together leave it.

    "An absent file says nothing about its table": an optional table that ``new`` lacks is that of ``known``.
    """

    def __init__(self, new: ReferenceFolder, known: Reference | None) -> None:
        self._tables = {table.name: _in_force(table, new, known or {}) for table in TABLES.values()}

    def __getitem__(self, name: str) -> TableInForce:
        return self._tables[name]

    def __iter__(self) -> Iterator[TableInForce]:
        return iter(self._tables.values())

    def frames(self) -> Reference:
        """The frames alone."""
        return {name: table.frame for name, table in self._tables.items()}


def _in_force(table: Table, new: ReferenceFolder, known: Reference) -> TableInForce:
    name = table.name
    loaded = name in new.tables
    kept = not loaded and table.optional and name in known and name not in new.incomplete
    frame = new.tables[name] if loaded else known[name].reset_index(drop=True) if kept else empty_frame(table)
    return TableInForce(
        table=table,
        frame=frame,
        file=new.files[name] if loaded else f"{name} (as known before)",
        lines=new.lines[name] if loaded else None,
        present=loaded or kept,
        loaded=loaded,
        whole=(loaded or table.optional) and name not in new.incomplete,
    )
