"""``billing statements``: a team's month as files that can go to its customer."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from billing.commands.terminal import errors, opened_home, parse_instant, progress_shown
from billing.core.errors import UsageError
from billing.core.months import Month

statements_app = typer.Typer(
    help="Statements for customers: a team's month on paper and as a page.", no_args_is_help=True
)


def _month(text: str) -> Month:
    try:
        return Month.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@statements_app.command("render")
def statements_render(
    context: typer.Context,
    what: Annotated[
        list[str], typer.Argument(metavar="[TEAM] MONTH", help="MONTH: of the calendar in UTC, like 2026-07.")
    ],
    out: Annotated[Path, typer.Option(file_okay=False, help="The folder to write into.")],
    everybody: Annotated[bool, typer.Option("--all", help="Every team that had a subscription.")] = False,
    now: Annotated[
        datetime | None,
        typer.Option(parser=parse_instant, metavar="INSTANT", help="When it is told, for a month that is not over."),
    ] = None,
    theme: Annotated[str | None, typer.Option(help="A folder in the templates' themes. Default: the home's.")] = None,
) -> None:
    """Write a team's month as PDF and as one HTML file, in its customer's language: balances at the end of the month,
    usage by UTC day and by app, how it became units, what was issued.

    Nothing is kept in the home. A month that is over and closed gives the same bytes whenever it is asked for.
    """
    from billing.steps.customer_statements import write_statements
    from billing.steps.usage_views import refresh_views

    if len(what) != (1 if everybody else 2):
        raise UsageError("Name a team and a month, or a month with --all.")
    month, teams = _month(what[-1]), None if everybody else [what[0]]
    told_at = now or datetime.now(UTC)
    with opened_home(context) as (home, settings), progress_shown() as progress:
        refresh_views(home, datetime.now(UTC), progress=progress)
        chosen = theme or settings.theme
        done = write_statements(
            home, month, told_at, out, settings.templates, teams=teams, theme=chosen, progress=progress
        )
    typer.echo(f"{done.written} statements of {month} written to {out}, each as PDF and HTML.")
    for team_id, problem in done.failed:
        errors.print(f"no PDF for {team_id}: {problem}", markup=False)
    if done.failed:
        raise typer.Exit(1)
