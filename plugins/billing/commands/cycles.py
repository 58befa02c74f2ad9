"""``billing cycles``: close, refresh, list."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from billing.commands.approval import cycles_approval, cycles_approve, cycles_reject, show_proposal
from billing.commands.closing import finish
from billing.commands.summary import cycles_summary
from billing.commands.terminal import errors, opened_home, parse_instant, progress_shown, show_table
from billing.core.errors import ApprovalAwaited, UsageError
from billing.core.instants import format_instant

if TYPE_CHECKING:
    from billing.steps.close import CloseSummary

cycles_app = typer.Typer(help="Billing cycles.", no_args_is_help=True)
cycles_app.command("summary")(cycles_summary)
cycles_app.command("approval")(cycles_approval)
cycles_app.command("approve")(cycles_approve)
cycles_app.command("reject")(cycles_reject)


@cycles_app.command("close")
def cycles_close(
    context: typer.Context,
    as_of: Annotated[
        datetime, typer.Option(parser=parse_instant, metavar="INSTANT", help="Close what is due at this instant.")
    ],
    documents: Annotated[
        bool, typer.Option("--documents/--no-documents", help="Render the invoices' documents too.")
    ] = True,
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask for approval before anything is issued, whatever the settings say.")
    ] = False,
) -> None:
    """Close every cycle that is due, rate it, issue its invoices; name what is missing or parked.

    Where approval is asked for, it stops before anything is issued, shows what would be, and ends with status 4.
    """
    from billing.steps.approval import approval_request
    from billing.steps.close import close

    if as_of > datetime.now(UTC):
        raise UsageError(f"{format_instant(as_of)} is in the future: nothing is closed before it is over (rule 6.3).")
    with opened_home(context) as (home, settings):
        policy = settings.approval.policy
        try:
            with progress_shown() as progress:
                done = close(home, as_of, approval=policy.asked() if ask else policy, progress=progress)
        except ApprovalAwaited as awaited:
            show_proposal(approval_request(home, awaited.close_no))
            raise
        _say_close(done)
        finish(home, settings, done.close_no, done.parked, documents=documents)


def _say_close(done: CloseSummary) -> None:
    typer.echo(f"Close {done.close_no}: {done.cycles} cycles closed, {len(done.invoices)} invoices issued.")
    if done.invoices:
        typer.echo(f"  {done.invoices[0]} to {done.invoices[-1]}")
    if done.waiting.cycles:
        through = done.waiting.complete_through
        said = (
            f"usage is complete through {format_instant(through)}"
            if through
            else "usage is complete through no instant yet"
        )
        errors.print(f"{done.waiting.cycles} cycles are over and wait: {said}.")
    for source in done.waiting.awaited:
        errors.print(f"waits for {source}", markup=False)


@cycles_app.command("refresh")
def cycles_refresh(
    context: typer.Context,
    as_of: Annotated[
        datetime | None,
        typer.Option(parser=parse_instant, metavar="INSTANT", help="Tell how teams stand then. Default: now."),
    ] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Every team, also without new usage.")] = False,
) -> None:
    """Rate open cycles provisionally where there is new usage, and find how teams stand: balances, forecasts, alerts.
    Bills nothing.
    """
    from billing.steps.open_ratings import refresh_open
    from billing.steps.standings import refresh_standings

    with opened_home(context) as (home, settings):
        done = refresh_open(home, from_scratch=from_scratch)
        told = refresh_standings(home, as_of or datetime.now(UTC), settings.alerts)
    typer.echo(f"{done.rated} of {done.teams} teams rated, with usage up to batch {done.through_batch}.")
    typer.echo(f"{told.looked_at} of {told.teams} teams looked at, {told.written} stand otherwise than before.")
    if told.alerts.raised or told.alerts.ended:
        alerted = told.alerts
        typer.echo(f"{alerted.raised} alerts raised, {alerted.ended} ended, {alerted.mails} mails to be sent.")


@cycles_app.command("list")
def cycles_list(
    context: typer.Context, team: Annotated[str | None, typer.Option(help="Only this team's.")] = None
) -> None:
    """Closed cycles and each team's running one, with the time zone data that bounds it."""
    from billing.steps.cycle_listing import list_cycles

    with opened_home(context) as (home, _):
        found = list_cycles(home, team)
    columns = ("team", "start", "end", "first day", "last day", "time zone", "state", "tzdata")
    show_table(
        "Cycles",
        columns,
        ((c.team_id, c.start, c.end, c.first_day, c.last_day, c.time_zone, c.state, c.tzdata) for c in found),
    )
