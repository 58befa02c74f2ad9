"""``billing files``: copies of documents in a folder or in object storage."""

from __future__ import annotations

from typing import Annotated

import typer

from billing.commands.terminal import errors, opened_home, progress_shown, show_table
from billing.core.errors import UsageError
from billing.core.instants import format_instant

files_app = typer.Typer(help="Copies of documents where others take them from.", no_args_is_help=True)
_COLUMNS = ("destination", "path", "number", "kind", "bytes", "sha256", "placed")


@files_app.command("place")
def files_place(context: typer.Context) -> None:
    """Copy every document that is not there yet to the place that [files] of billing.toml names."""
    from billing import connections
    from billing.steps.place_files import Destination, place_files

    with opened_home(context) as (home, settings), progress_shown() as progress:
        if settings.files is None:
            raise UsageError(f"{settings.home}/billing.toml has no [files]: documents are copied nowhere.")
        done = place_files(home, Destination.at(settings.files, connections), progress)
    typer.echo(f"{done.placed} files placed in {settings.files.location}.")
    for problem in done.problems:
        errors.print(f"not placed: {problem}", markup=False)
    if done.problems:
        raise typer.Exit(1)


@files_app.command("list")
def files_list(
    context: typer.Context,
    number: Annotated[str | None, typer.Option(help="Only those of this invoice, credit note or close.")] = None,
) -> None:
    """Every copy that was made, with its hash."""
    from billing.steps.place_files import list_placed

    with opened_home(context) as (home, _):
        found = list_placed(home, number)
    rows = [
        (one.destination, one.path, one.number, one.kind, str(one.size_bytes), one.sha256, format_instant(one.at))
        for one in found
    ]
    show_table("Files", _COLUMNS, rows)
