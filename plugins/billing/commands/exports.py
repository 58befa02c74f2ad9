"""``billing export``: the outputs, as CSV or Parquet; ``billing export focus``: charges for buyers."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from billing.commands.register import parse_day
from billing.commands.terminal import Folder, errors, opened_home

_TABLES = "tables"


class _TablesByDefault(TyperGroup):
    """``billing export FOLDER`` is ``billing export tables FOLDER``; a folder of that name is written ``./focus``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_TABLES, *args]
        return super().parse_args(ctx, args)


export_app = typer.Typer(
    cls=_TablesByDefault,
    no_args_is_help=True,
    help="Write the outputs: `billing export FOLDER` (CSV, or `--format parquet`), `billing export focus FOLDER`.",
)


class Format(StrEnum):
    """How tables are written."""

    CSV = "csv"
    PARQUET = "parquet"


class FocusVersion(StrEnum):
    """Versions of FOCUS that are written."""

    NEWEST = "1.4"
    VALIDATED = "1.2"


@export_app.command(_TABLES)
def export_tables(
    context: typer.Context,
    folder: Folder,
    form: Annotated[
        Format,
        typer.Option(
            "--format", help="parquet: with types, also what became of money and documents, all of it or nothing."
        ),
    ] = Format.CSV,
) -> None:
    """Write the outputs: cycles, carry, charges, invoices and credit notes with their lines, payments with their
    events, rejected, parked.
    """
    from billing.steps.export import export, export_parquet

    with opened_home(context) as (home, _):
        write = export if form is Format.CSV else export_parquet
        for name, rows in write(home, folder).items():
            typer.echo(f"{folder / name}.{form}: {rows} rows")


@export_app.command("focus")
def export_focus(
    context: typer.Context,
    folder: Folder,
    first: Annotated[
        date, typer.Option("--from", parser=parse_day, metavar="DAY", help="The first issue date, YYYY-MM-DD.")
    ],
    last: Annotated[
        date, typer.Option("--to", parser=parse_day, metavar="DAY", help="The last issue date; it is included.")
    ],
    customer: Annotated[str, typer.Option(metavar="ID", help="Of this buyer only.")] = "",
    version: Annotated[
        FocusVersion, typer.Option(help="1.2: the columns that focus-validator checks.")
    ] = FocusVersion.NEWEST,
    together: Annotated[
        bool, typer.Option("--together", help="All buyers in one file, for the seller itself.")
    ] = False,
) -> None:
    """Write what buyers are charged as FOCUS (FinOps Open Cost and Usage Specification): CSV and Parquet.

    What is told is chosen by issue date. It is compared with the documents to the cent before it is written.
    """
    from billing.steps.focus import export_focus as export_all

    with opened_home(context) as (home, settings):
        done = export_all(
            home,
            folder,
            first,
            last,
            version=version.value,
            service=settings.service,
            customer_id=customer,
            together=together,
        )
    typer.echo(f"{folder}: FOCUS {version}, {sum(done.rows.values())} charges of {len(done.rows)} files.")
    if done.unpriced:
        errors.print(f"{done.unpriced} charges are of tokens of which it is not known what was paid: they cost 0.")
    if done.left_out:
        errors.print(f"{done.left_out} rows of usage at no cost are left out: no currency is known of their teams.")
