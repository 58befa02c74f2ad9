"""``billing invoices``: list, render."""

from __future__ import annotations

import typer

from billing.commands.credit import invoices_credit, invoices_reissue
from billing.commands.documents import (
    invoices_again,
    invoices_pdf,
    invoices_preview,
    invoices_render,
    invoices_xml,
)
from billing.commands.register import invoices_register, invoices_show
from billing.commands.terminal import opened_home, show_table

invoices_app = typer.Typer(help="Invoices and their documents.", no_args_is_help=True)
invoices_app.command("credit")(invoices_credit)
invoices_app.command("reissue")(invoices_reissue)
invoices_app.command("register")(invoices_register)
invoices_app.command("show")(invoices_show)


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


invoices_app.command("render")(invoices_render)
invoices_app.command("pdf")(invoices_pdf)
invoices_app.command("xml")(invoices_xml)
invoices_app.command("again")(invoices_again)
invoices_app.command("preview")(invoices_preview)
