"""Reference rows that came too late for closed cycles, kept with the load that brought them (rule 3.6)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, Row, func, select

from billing.core.instants import format_us
from billing.store.database import insert_rows
from billing.store.log import canonical
from billing.store.tables import late_rows


class Touched(StrEnum):
    """What of a closed cycle a late row would have changed."""

    BOUNDARIES = "cycle boundaries"
    UNITS = "units"
    BALANCE = "which balance pays"
    PRICE = "price"
    TAX = "tax"


@dataclass(frozen=True, kw_only=True, slots=True)
class CellChange:
    """A cell before and after, as the data contract writes it; blank where it does not apply, or where there was or
    is no such row.
    """

    column: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.column} {self.before or '(blank)'} -> {self.after or '(blank)'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """An exact figure: what it is of a cycle or an invoice, what stands, and what it would have been."""

    what: str
    stands: str
    would_be: str

    def __str__(self) -> str:
        return f"{self.what} is {self.stands} and would have been {self.would_be}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LateRow:
    """A row that came too late for a closed cycle, and what of that cycle it would have changed.

    ``key`` is the row's key in the order of the table's, joined by commas. ``invoices`` are all of the cycle's.
    ``figures`` hold only what is certain: what is touched and has no figure is named, never guessed.
    """

    table: str
    key: str
    changed: tuple[CellChange, ...]
    team_id: str
    cycle_start_us: int
    touched: tuple[Touched, ...]
    invoices: tuple[str, ...]
    figures: tuple[Figure, ...]

    def __str__(self) -> str:
        changed = f", {', '.join(map(str, self.changed))}," if self.changed else ""
        billed = f" ({', '.join(self.invoices)})" if self.invoices else ""
        said = f"; {'; '.join(map(str, self.figures))}" if self.figures else ""
        return (
            f"{self.table} ({self.key}){changed} came after team {self.team_id}'s cycle of "
            f"{format_us(self.cycle_start_us)}{billed} was closed; that cycle stands. "
            f"Touched: {', '.join(self.touched)}{said}."
        )


def write_late_rows(connection: Connection, load_no: int, late: Sequence[LateRow]) -> None:
    """Keep what a load brought too late, in this order."""
    insert_rows(connection, late_rows, [_record(load_no, number, row) for number, row in enumerate(late, start=1)])


def read_late_rows(
    connection: Connection, *, load_no: int | None = None, limit: int = 1_000
) -> tuple[list[tuple[int, LateRow]], int]:
    """Late rows with the load that brought each, the newest load first, at most ``limit``; and how many there are."""
    mine = [] if load_no is None else [late_rows.c.load_no == load_no]
    total = int(connection.execute(select(func.count()).select_from(late_rows).where(*mine)).scalar_one())
    ordered = select(late_rows).where(*mine).order_by(late_rows.c.load_no.desc(), late_rows.c.late_no).limit(limit)
    return [(row.load_no, _late_row(row)) for row in connection.execute(ordered)], total


def _record(load_no: int, number: int, row: LateRow) -> dict[str, object]:
    return {
        "load_no": load_no,
        "late_no": number,
        "reference_table": row.table,
        "row_key": row.key,
        "team_id": row.team_id,
        "cycle_start_us": row.cycle_start_us,
        "changed": canonical([[c.column, c.before, c.after] for c in row.changed]),
        "touched": canonical([touched.value for touched in row.touched]),
        "invoices": canonical(list(row.invoices)),
        "figures": canonical([[f.what, f.stands, f.would_be] for f in row.figures]),
    }


def _late_row(row: Row[tuple[object, ...]]) -> LateRow:
    return LateRow(
        table=row.reference_table,
        key=row.row_key,
        changed=tuple(CellChange(column=c, before=b, after=a) for c, b, a in json.loads(row.changed)),
        team_id=row.team_id,
        cycle_start_us=row.cycle_start_us,
        touched=tuple(Touched(value) for value in json.loads(row.touched)),
        invoices=tuple(json.loads(row.invoices)),
        figures=tuple(Figure(what=w, stands=s, would_be=b) for w, s, b in json.loads(row.figures)),
    )
