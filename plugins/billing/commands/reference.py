"""``billing reference``: load, diff, late."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from billing.commands.terminal import errors, opened_home, show_table, warn
from billing.core.errors import UsageError
from billing.core.instants import format_us
from billing.settings.settings import Settings

if TYPE_CHECKING:
    from billing.steps.reference_diff import Diff, RowDifference
    from billing.store.late_rows import LateRow

reference_app = typer.Typer(help="Reference data: customers, teams, apps, prices, subscriptions.", no_args_is_help=True)


def _parse_table(text: str) -> str:
    from billing.core.reference import TABLES

    if text not in TABLES:
        raise typer.BadParameter(f"{text!r} is no reference table; there are: {', '.join(TABLES)}")
    return text


AllowRemovals = Annotated[
    bool, typer.Option("--allow-removals", help="Rows that are no longer there stop being known.")
]


ReferenceFolder = Annotated[Path | None, typer.Argument(file_okay=False, help="A file a table: customers.csv ...")]


FromSql = Annotated[
    bool, typer.Option("--from-sql", help="Instead, by the queries that [reference] in billing.toml names.")
]


ReferenceTable = Annotated[str | None, typer.Option(parser=_parse_table, metavar="TABLE", help="Only this table.")]


_LATE_SAID_MAX = 100


@reference_app.command("load")
def reference_load(
    context: typer.Context,
    folder: ReferenceFolder = None,
    from_sql: FromSql = False,
    allow_removals: AllowRemovals = False,
) -> None:
    """Load reference data: one file or query a table, taken whole or refused whole with every error."""
    from billing.steps.reference import load_reference, load_reference_sql

    _demand_one(folder, from_sql)
    with opened_home(context) as (home, settings):
        if folder is None:
            done = load_reference_sql(home, *_reference_sql(settings), allow_removals=allow_removals)
        else:
            done = load_reference(home, folder, allow_removals=allow_removals)
    warn(done.warnings)
    typer.echo(f"Load {done.load_no}: {done.added} rows added, {done.changed} changed, {done.removed} removed.")
    _say_late(done.late[:_LATE_SAID_MAX], done.late_total, f"billing reference late --load {done.load_no}")


@reference_app.command("diff")
def reference_diff(
    context: typer.Context,
    folder: ReferenceFolder = None,
    from_sql: FromSql = False,
    allow_removals: AllowRemovals = False,
    table: ReferenceTable = None,
    limit: Annotated[int, typer.Option(min=0, help="List at most so many rows.")] = 1_000,
) -> None:
    """Show what a load would do, and change nothing: rows added, changed and removed, what is refused, what is late.

    Exit status 1 where the load would be refused. It may be run while usage is taken in.
    """
    from billing.core.errors import DataRefused
    from billing.steps.reference_diff import diff_reference, diff_reference_sql

    _demand_one(folder, from_sql)
    with opened_home(context) as (home, settings):
        if folder is None:
            sql = _reference_sql(settings)
            found = diff_reference_sql(home, *sql, allow_removals=allow_removals, table=table, limit=limit)
        else:
            found = diff_reference(home, folder, allow_removals=allow_removals, table=table, limit=limit)
    warn(found.warnings)
    _show_differences(found)
    if found.late is not None:
        _say_late(found.late.rows[:limit], found.late.total, "raise --limit")
    if found.findings:
        raise DataRefused(f"{found.source}: a load of this would be refused.", found.findings)


@reference_app.command("late")
def reference_late(
    context: typer.Context,
    load: Annotated[int | None, typer.Option(help="Only what this load brought.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 1_000,
) -> None:
    """Rows that came too late for a closed cycle, the newest load first: what they would have changed (rule 3.6)."""
    from billing.steps.reference import list_late_rows

    with opened_home(context) as (home, _):
        found, total = list_late_rows(home, load_no=load, limit=limit)
    columns = ("load", "table", "key", "changed", "team", "cycle", "invoices", "touched", "figures")
    rows = (
        (
            str(number),
            late.table,
            late.key,
            "; ".join(map(str, late.changed)),
            late.team_id,
            format_us(late.cycle_start_us),
            " ".join(late.invoices),
            "; ".join(late.touched),
            "; ".join(map(str, late.figures)),
        )
        for number, late in found
    )
    show_table("Late rows", columns, rows)
    if total > len(found):
        errors.print(f"and {total - len(found)} more: raise --limit")


def _demand_one(folder: Path | None, from_sql: bool) -> None:
    if from_sql is not (folder is None):
        raise UsageError("Name either a FOLDER of reference files or --from-sql.")


def _reference_sql(settings: Settings) -> tuple[str, Path]:
    """The URL of the database that reference data comes from, with its password, and the folder of queries."""
    from billing.connections import sql_url

    given = settings.reference
    if given is None:
        raise UsageError(f"{settings.home / 'billing.toml'} has no [reference]: give it a connection or a url there.")
    return given.url or sql_url(given.connection), given.queries


_SIGNS = {"added": "+", "changed": "~", "removed": "-"}


def _show_differences(found: Diff) -> None:
    """A line a row on a terminal, a record a cell in CSV; what sums it up goes to standard error."""
    title = f"What a load would do to load {found.load_no}" if found.load_no else "What the first load would do"
    if sys.stdout.isatty():
        lines = ((row.table, _SIGNS[row.what], row.key, _cells(row)) for row in found.rows)
        show_table(title, ("table", "", "key", "cells"), lines)
    else:
        no_cells = (("", "", ""),)
        show_table(
            title,
            ("table", "difference", "key", "column", "before", "after"),
            (
                (row.table, row.what, row.key, *cell)
                for row in found.rows
                for cell in [(c.column, c.before, c.after) for c in row.cells] or no_cells
            ),
        )
    if found.rows_total > len(found.rows):
        errors.print(f"and {found.rows_total - len(found.rows)} more rows: raise --limit, or name a --table")
    for counts in found.tables:
        errors.print(str(counts), markup=False)
    if found.late is None:
        errors.print("What would be late is said when the data can be taken.")


def _cells(row: RowDifference) -> str:
    """``column before -> after`` of a changed row; ``column value`` of one that is added or removed."""
    if row.what == "changed":
        return "\n".join(map(str, row.cells))
    return ", ".join(f"{cell.column} {cell.before or cell.after}" for cell in row.cells)


def _say_late(late: Sequence[LateRow], total: int, more: str) -> None:
    for row in late:
        errors.print(f"late: {row}", markup=False)
    if total > len(late):
        errors.print(f"late: and {total - len(late)} more: {more}", markup=False)
