"""``billing``: what the DAGs do, from a terminal, by the same functions. A file a group of commands in ``commands``."""

from __future__ import annotations

import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from billing.commands.alerts import alerts_app
from billing.commands.audit import audit_app
from billing.commands.checks import checks_app
from billing.commands.closing import PARKED_STATUS
from billing.commands.cycles import cycles_app
from billing.commands.exports import export_app
from billing.commands.files import files_app
from billing.commands.invoices import invoices_app
from billing.commands.mail import mail_app
from billing.commands.month import month_app
from billing.commands.payments import payments_app
from billing.commands.reference import reference_app
from billing.commands.standing import standing
from billing.commands.statements import statements_app
from billing.commands.terminal import (
    LogFormat,
    errors,
    log_as,
    opened_home,
    parse_instant,
    progress_shown,
    show_table,
)
from billing.commands.usage import usage_app
from billing.core.errors import BillingError
from billing.core.instants import format_instant, format_us
from billing.settings.settings import Settings

_HELP = """Usage billing that can be derived again: raw usage to charged units to PDF invoices.

State lives in a **home** folder: a database, the usage table, the archive of sources and the documents.

A month, from nothing:

    billing --home acme init
    billing --home acme reference load reference/
    billing --home acme usage ingest usage/2026-07-*.csv --now 2026-08-15T01:00:00Z
    billing --home acme cycles close --as-of 2026-08-15T01:00:00Z
    billing --home acme invoices list

Instants are written like 2026-08-15T01:00:00Z or 2026-08-15T03:00:00+02:00.

Exit status: 0 done; 1 the data is refused, reasons on standard error; 2 wrong arguments; 3 done, but something waits
for a person (parked teams, payments, mails; what else is said at the command); 4 a close is rated and waits for
approval, nothing of it is issued.
"""


app = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode="markdown", add_completion=False)


app.add_typer(reference_app, name="reference")
app.add_typer(usage_app, name="usage")
app.add_typer(cycles_app, name="cycles")
app.add_typer(checks_app, name="checks")
app.add_typer(invoices_app, name="invoices")
app.add_typer(payments_app, name="payments")
app.add_typer(mail_app, name="mail")
app.add_typer(files_app, name="files")
app.add_typer(statements_app, name="statements")
app.add_typer(month_app, name="month")
app.add_typer(export_app, name="export")
app.add_typer(audit_app, name="audit")
app.add_typer(alerts_app, name="alerts")
app.command("standing")(standing)


@app.callback()
def _main(
    context: typer.Context,
    home: Annotated[
        Path | None, typer.Option(help="The home folder. Default: BILLING_HOME, else ./billing-home.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A PostgreSQL database instead of the home's own SQLite: postgresql://..."),
    ] = None,
    log: Annotated[LogFormat, typer.Option(help="json: also say what is done as lines of JSON on standard error.")] = (
        LogFormat.NONE
    ),
) -> None:
    context.obj = (home, database)
    log_as(log)


@app.command()
def init(context: typer.Context) -> None:
    """Make the home, or bring it to this version. Nothing that is there is lost."""
    with opened_home(context, check=False) as (home, settings):
        home.create()
        typer.echo(f"The home in {settings.home} is ready.")


@app.command()
def configure(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="close_lag_seconds (3600), max_units_per_cycle, or production (1: invoices are real).")
    ],
    value: Annotated[int, typer.Argument(help="A whole number.")],
) -> None:
    """Set how this home bills, from the next close on."""
    from billing.steps.homes import configure as set_up

    with opened_home(context) as (home, _):
        set_up(home, name, value)


@app.command()
def balances(
    context: typer.Context,
    at: Annotated[
        datetime, typer.Option(parser=parse_instant, metavar="INSTANT", help="Not before a team's last close.")
    ],
    out: Annotated[Path | None, typer.Option(help="Write them as CSV into this file.")] = None,
) -> None:
    """What is available of what was granted, when it ends or refreshes, open cycles included."""
    from billing.steps.balances import balances as balances_at
    from billing.steps.export import BALANCES, balance_cells, export_balances

    with opened_home(context) as (home, _):
        found = balances_at(home, at)
    if out is not None:
        typer.echo(f"{export_balances(found, out)} balances written to {out}.")
        return
    show_table(f"Balances at {format_instant(at)}", BALANCES, sorted(balance_cells(found)))


@app.command()
def simulate(
    context: typer.Context,
    scenario: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A folder with steps.json.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Where the outputs go.")],
    documents: Annotated[
        bool, typer.Option("--documents", help="Check the invoices as e-invoices and render them, into OUT/documents.")
    ] = False,
) -> None:
    """Run a scenario in a scratch home, by the same functions, and write the outputs.

    The scratch home is gone afterwards; with --database it uses that database, which must be empty.
    """
    from billing.steps.homes import home_at
    from billing.steps.simulate import simulate as run

    settings, database_url = Settings.read(), context.obj[1]
    with tempfile.TemporaryDirectory(prefix="billing-simulate-") as scratch, progress_shown() as progress:
        home = home_at(Path(scratch), database_url)
        try:
            parked = run(home, scenario, out, templates=settings.templates if documents else None, progress=progress)
        finally:
            home.close()
    if parked:
        errors.print(f"Teams are parked: see {out / 'parked.csv'}.")
        raise typer.Exit(PARKED_STATUS)


@app.command()
def status(context: typer.Context) -> None:
    """How the home stands, and what waits for someone. Verifies the log's chain on the way."""
    from billing.steps.place_files import count_unplaced
    from billing.steps.status import status as read_status

    with opened_home(context) as (home, settings):
        found = read_status(home)
        unplaced = count_unplaced(home, settings.files.location) if settings.files else 0
    quarantined = ", ".join(f"{count} {reason}" for reason, count in found.quarantined.items()) or "nothing"
    for name, value in (
        ("home", str(settings.home)),
        (
            "reference data",
            f"load {found.reference_load}" if found.reference_load else "none yet: billing reference load FOLDER",
        ),
        (
            "usage",
            f"{found.accepted} events accepted in {found.batches} batches, {found.duplicates} duplicates dropped",
        ),
        ("complete through", found.complete_through or "nothing ingested yet"),
        ("quarantine", quarantined),
        ("last close", f"as of {found.last_close} ({found.last_close_state})" if found.last_close else "none yet"),
        ("closed cycles", str(found.closed_cycles)),
        ("time zones", found.tzdata + (f" (last close: {found.last_close_tzdata})" if found.last_close_tzdata else "")),
        ("invoices", f"{found.invoices}, {found.documents} with a document"),
        ("log", f"{found.log_rows} rows, chain verified, head {found.log_head[:16]}"),
    ):
        typer.echo(f"{name:17} {value}")
    if found.awaits_approval is not None:
        said = f"close {found.awaits_approval} waits: billing cycles approval {found.awaits_approval}"
        typer.echo(f"{'approval':17} {said}")
    if found.mails:
        counted = ", ".join(f"{count} {state}" for state, count in found.mails.items())
        typer.echo(f"{'mails':17} {counted}: billing mail list")
    if settings.files and unplaced:
        typer.echo(f"{'files':17} {unplaced} without a copy in {settings.files.location}: billing files place")
    for source in found.awaited:
        typer.echo(f"{'usage is missing':17} {source}")
    for run in found.overdue:
        typer.echo(
            f"{'overdue':17} {run.dag_id} {run.run_id}: not done {run.limit_minutes} minutes after it was queued"
        )
    for team in found.parked:
        typer.echo(f"{'parked':17} team {team.team_id}, cycle of {format_us(team.cycle_start_us)}: {team.described}")


def main() -> None:
    """Run the command; a refusal is said on standard error and ends with its status."""
    try:
        app()
    except BillingError as refusal:
        errors.print(str(refusal), markup=False)
        sys.exit(refusal.exit_status)


if __name__ == "__main__":
    main()
