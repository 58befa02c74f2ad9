"""What a load would do, shown and not done (data contract, "Reference data"; rule 3.6).

Nothing is locked and nothing is written: one snapshot of the books is read, while an ingest or a close may go on. It
says what a load would have done at that moment; what is accepted meanwhile may still refuse the load itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from billing.core.errors import Finding
from billing.steps.late_reference import Late
from billing.steps.reference import (
    Examined,
    Picture,
    TableCounts,
    examine,
    picture_of_folder,
    picture_of_sql,
    table_counts,
)
from billing.steps.reference_versions import Version, versions
from billing.store.home import Home
from billing.store.late_rows import CellChange


@dataclass(frozen=True, kw_only=True, slots=True)
class RowDifference:
    """A row that a load would add, change or remove (``what``), with the cells that say so: of a changed row those that
    differ, of another one all that are not blank. The key is joined by commas.
    """

    table: str
    what: str
    key: str
    cells: tuple[CellChange, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Diff:
    """What a load would do to what is known since load ``load_no`` (0: nothing is known yet).

    ``findings``: all that it would be refused for. ``tables``: those that came. ``rows``: by table and key, the first
    of ``rows_total``. ``late``: None where the data is so wrong that nothing can be said of it.
    """

    source: str
    load_no: int
    findings: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    tables: tuple[TableCounts, ...]
    rows: tuple[RowDifference, ...]
    rows_total: int
    late: Late | None


def diff_reference(
    home: Home, folder: Path, *, allow_removals: bool = False, table: str | None = None, limit: int = 1_000
) -> Diff:
    """What ``load_reference`` of a folder would do; of ``table`` only, and with at most ``limit`` rows. What is refused
    is refused whatever the table.
    """
    return _diff(home, picture_of_folder(folder), allow_removals, table, limit)


def diff_reference_sql(
    home: Home,
    url: str,
    queries: Path,
    *,
    allow_removals: bool = False,
    table: str | None = None,
    limit: int = 1_000,
) -> Diff:
    """What ``load_reference_sql`` would do. ``DataRefused`` or ``SourceUnavailable`` where there is nothing to read."""
    with picture_of_sql(url, queries) as picture:
        return _diff(home, picture, allow_removals, table, limit)


def _diff(home: Home, picture: Picture, allow_removals: bool, table: str | None, limit: int) -> Diff:
    with home.database.read() as connection:
        examined = examine(home, connection, picture, allow_removals=allow_removals)
    tables = tuple(one for one in table_counts(examined) if table in (None, one.table))
    return Diff(
        source=picture.source,
        load_no=examined.load_no,
        findings=examined.findings,
        warnings=tuple(picture.new.warnings),
        tables=tables,
        rows=tuple(islice(_rows(examined, table), limit)),
        rows_total=sum(one.added + one.changed + one.removed for one in tables),
        late=_of_table(examined.late, table),
    )


def _rows(examined: Examined, table: str | None) -> Iterator[RowDifference]:
    for name, change in examined.changes.items():
        if table in (None, name):
            whole = name not in examined.picture.new.incomplete
            yield from (_difference(v) for v in versions(name, change) if whole or v.what != "removed")


def _difference(version: Version) -> RowDifference:
    return RowDifference(table=version.table, what=version.what, key=version.key, cells=version.cells())


def _of_table(late: Late | None, table: str | None) -> Late | None:
    if late is None or table is None:
        return late
    mine = tuple(row for row in late.rows if row.table == table)
    return Late(rows=mine, total=len(mine))
