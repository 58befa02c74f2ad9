"""``billing standing TEAM``: how a team stands, in words or as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from billing.commands.terminal import opened_home, parse_instant


def standing(
    context: typer.Context,
    team: Annotated[str, typer.Argument(help="The team's id.")],
    at: Annotated[
        datetime | None,
        typer.Option(parser=parse_instant, metavar="INSTANT", help="Not before a team's last close. Default: now."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All of it as JSON.")] = False,
) -> None:
    """How a team stands: what is available of what was granted, until when it lasts, what the running cycle costs."""
    from billing.core.standing_words import as_values, in_words
    from billing.steps.standings import standing_at

    with opened_home(context) as (home, settings):
        told = standing_at(home, team, at or datetime.now(UTC), settings.alerts)
    outlook, projection = told.outlooks.of, told.outlooks.projection
    if as_json:
        values = as_values(told.standing, outlook, projection)
        alerts = [{"kind": a.kind.value, "subject": a.subject, **a.detail} for a in told.alerts]
        typer.echo(json.dumps(values | {"alerts": alerts}, indent=1, ensure_ascii=False))
        return
    for line in in_words(told.standing, told.team, outlook, projection):
        typer.echo(line)
    for alert in told.alerts:
        typer.echo(f"Alert: {alert.subject}")
