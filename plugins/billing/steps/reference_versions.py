"""What a load does, row by row: versions of a row before and after, and cells as the data contract writes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from billing.core.frames import rows
from billing.core.reference import TABLES, ColumnKind
from billing.intake.reference_cells import written
from billing.intake.reference_codes import mask_card_numbers
from billing.store.late_rows import CellChange
from billing.store.reference_history import TableChange

_HIDDEN = "(hidden)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A row of a table before and after a load: named tuples of the table's columns; None where it was not known
    before, or is not from now on.
    """

    table: str
    before: Any
    after: Any

    @property
    def row(self) -> Any:
        """Either of the two, for what both share."""
        return self.after if self.after is not None else self.before

    @property
    def key(self) -> str:
        """The key as it is written, joined by commas; blank for the one seller."""
        kinds = {column.name: column.kind for column in TABLES[self.table].columns}
        return ", ".join(_cell(self.table, name, kinds[name], self.row) for name in TABLES[self.table].key)

    @property
    def what(self) -> str:
        """``added``, ``changed`` or ``removed``."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"

    def changed(self, *columns: str) -> bool:
        """Whether any of these columns differs; True for a row that was added or removed."""
        if self.before is None or self.after is None:
            return True
        return any(getattr(self.before, name) != getattr(self.after, name) for name in columns)

    def each(self, column: str) -> set[Any]:
        """The values of a column, before and after."""
        return {getattr(row, column) for row in (self.before, self.after) if row is not None}

    def cells(self) -> tuple[CellChange, ...]:
        """The cells that differ, in the order of the columns; of a row that was added or removed all that say
        something beside the key. No token of a gateway and no card number is among them.
        """
        table = TABLES[self.table]
        pairs = (
            CellChange(
                column=column.name,
                before=_cell(self.table, column.name, column.kind, self.before),
                after=_cell(self.table, column.name, column.kind, self.after),
            )
            for column in table.columns
            if column.name not in table.key and self.changed(column.name)
        )
        return tuple(cell for cell in pairs if cell.before or cell.after)


def versions(name: str, change: TableChange) -> list[Version]:
    """Every row that a load adds, changes or removes, in the order of the table's key (text by code point)."""
    before = _by_key(name, change.replaced, change.removed)
    after = _by_key(name, change.added, change.changed)
    return [Version(table=name, before=before.get(key), after=after.get(key)) for key in sorted({**before, **after})]


def _by_key(name: str, *frames: pd.DataFrame) -> dict[tuple[Any, ...], Any]:
    key = TABLES[name].key
    return {tuple(getattr(row, column) for column in key): row for frame in frames for row in _native(frame)}


def _native(frame: pd.DataFrame) -> Iterator[Any]:
    return rows(frame.astype(object))


def _cell(table: str, column: str, kind: ColumnKind, row: Any) -> str:
    if row is None:
        return ""
    text = written(kind, getattr(row, column))
    if (table, column) == ("payment_methods", "token"):
        return _HIDDEN if text else ""
    return mask_card_numbers(text) if table == "payment_methods" or column == "payment_method_id" else text
