"""``billing alerts``: of what admins were told."""

from __future__ import annotations

from typing import Annotated

import typer

from billing.commands.terminal import opened_home, show_table
from billing.core.instants import format_instant

alerts_app = typer.Typer(help="What admins are told of before it hurts.", no_args_is_help=True)


@alerts_app.callback()
def _alerts() -> None:
    """Keeps ``list`` a command of its own."""


@alerts_app.command("list")
def alerts_list(
    context: typer.Context,
    team: Annotated[str | None, typer.Option(help="Only this team's.")] = None,
    ended: Annotated[bool, typer.Option("--all", help="Those too that do not hold any more.")] = False,
) -> None:
    """Alerts that hold, the newest first, as the last refresh found them."""
    from billing.steps.alerts import list_alerts

    with opened_home(context) as (home, _):
        found = list_alerts(home, team, ended=ended)
    columns = ("raised", "ended", "kind", "team", "about", "says")
    show_table(
        "Alerts",
        columns,
        (
            (
                format_instant(one.raised_at),
                format_instant(one.ended_at) if one.ended_at else "",
                one.kind,
                one.team_id,
                one.subject_id,
                one.subject,
            )
            for one in found
        ),
    )
