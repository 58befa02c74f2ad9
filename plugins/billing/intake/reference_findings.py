"""Collects what is wrong with reference data: everything, in the order of the files, within a bound.

A load is refused whole "with every error in one report (file, line, column, what is wrong)" (data contract,
"Reference data"). A file with a million bad cells must not make a report of a million lines, so the first
``FINDINGS_MAX`` are kept and a last one says how many more there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from billing.core.errors import Finding
from billing.core.reference import TABLES
from billing.intake.reference_codes import mask_card_numbers

FINDINGS_MAX = 1_000
SHOWN_CHARACTERS_MAX = 80

Lines = NDArray[np.int64]
Message = str | Callable[[int], str]

_TABLE_ORDER = {name: place for place, name in enumerate(TABLES)}
_COLUMN_ORDER = {
    (table.name, column.name): place for table in TABLES.values() for place, column in enumerate(table.columns)
}


@dataclass(slots=True)
class FindingList:
    """Findings as they are found; ``report()`` sorts and bounds them. ``total`` counts those that were not kept too."""

    total: int = 0
    _kept: list[tuple[str, Finding]] = field(default_factory=list)

    def add(self, table: str, file: str, message: str, *, line: int | None = None, column: str | None = None) -> None:
        """One finding about ``table``; no full card number gets through from ``payment_methods``."""
        if table == "payment_methods" or column == "payment_method_id":
            message = mask_card_numbers(message)
        self.total += 1
        self._kept.append((table, Finding(file=file, line=line, column=column, message=message)))

    def add_rows(
        self, table: str, file: str, lines: Lines | None, rows: NDArray[np.bool_], column: str | None, message: Message
    ) -> None:
        """One finding per row where ``rows`` is true. ``message`` is a text, or makes one from the row's number.

        ``lines`` is ``None`` for a table that no file of this load holds.
        """
        places = np.flatnonzero(rows)
        for row in places[:FINDINGS_MAX].tolist():
            text = message if isinstance(message, str) else message(row)
            self.add(table, file, text, line=None if lines is None else int(lines[row]), column=column)
        self.total += max(0, len(places) - FINDINGS_MAX)

    def report(self) -> list[Finding]:
        """The findings by table, line and column; at most ``FINDINGS_MAX``, and one more if there are more."""
        findings = [finding for _, finding in sorted(self._kept, key=_place)][:FINDINGS_MAX]
        if self.total > len(findings):
            more = f"and {self.total - len(findings):,} more findings; mend those above and load again"
            findings.append(Finding(file=findings[-1].file, message=more))
        return findings


def _place(entry: tuple[str, Finding]) -> tuple[int, int, int, str]:
    table, finding = entry
    column = _COLUMN_ORDER.get((table, finding.column or ""), -1)
    return _TABLE_ORDER.get(table, len(_TABLE_ORDER)), finding.line or 0, column, finding.message


def shown(text: str) -> str:
    """``text`` quoted for a message, cut where it is long."""
    return repr(text if len(text) <= SHOWN_CHARACTERS_MAX else text[: SHOWN_CHARACTERS_MAX - 3] + "...")
