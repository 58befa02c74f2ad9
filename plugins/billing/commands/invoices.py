"""``billing invoices``: list, render."""

from __future__ import annotations

import typer

from billing.commands.terminal import errors, opened_home, progress_shown, show_table

invoices_app = typer.Typer(help="Invoices and their documents.", no_args_is_help=True)


@invoices_app.command("list")
def invoices_list(context: typer.Context) -> None:
    """Every invoice, in the order of its number, and where its document is."""
    from billing.steps.invoices import list_invoices

    with opened_home(context) as (home, _):
        found = list_invoices(home)
    columns = ("number", "team", "customer", "issue date", "period", "total", "currency", "document")
    show_table(
        "Invoices",
        columns,
        ((i.number, i.team_id, i.customer, i.issue_date, i.period, i.total, i.currency, i.document) for i in found),
    )


@invoices_app.command("render")
def invoices_render(context: typer.Context) -> None:
    """Render the documents of issued invoices that have none yet."""
    from billing.steps.render import render, unrendered

    with opened_home(context) as (home, settings), progress_shown() as progress:
        done = render(home, unrendered(home), settings.templates, progress)
    typer.echo(f"{len(done.rendered)} documents rendered.")
    for number, problem in done.failed:
        errors.print(f"no document for {number}: {problem}", markup=False)
    if done.failed:
        raise typer.Exit(1)
