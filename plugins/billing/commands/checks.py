"""``billing checks``: what was expected of usage and of the books, and what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from billing.commands.terminal import opened_home, show_table
from billing.core.instants import format_us

checks_app = typer.Typer(help="What was expected of usage and of the books, and what was found.", no_args_is_help=True)


@checks_app.command("list")
def checks_list(
    context: typer.Context,
    run: Annotated[str | None, typer.Option(help="Only of this run: DAG_ID/RUN_ID, or `command`.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 100,
) -> None:
    """What was expected of usage and of the books, what was found, and who let it pass."""
    from billing.steps.checks import list_checks

    with opened_home(context) as (home, _):
        found = list_checks(home, limit=limit, run=run)
    show_table(
        "Checks",
        ("check", "at", "suite", "subject", "run", "outcome", "not as expected", "accepted because"),
        (
            (
                str(one.validation_no),
                format_us(one.at_us // 1_000_000 * 1_000_000),
                one.suite,
                one.subject,
                one.run,
                one.outcome,
                ", ".join(failure["name"] for failure in one.failed),
                one.accepted_why,
            )
            for one in found
        ),
    )


@checks_app.command("show")
def checks_show(
    context: typer.Context,
    check: Annotated[int, typer.Argument(help="Its number, as `billing checks list` gives it.")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="Write its page into this file, for a browser.")],
) -> None:
    """The page of a check (Data Docs): one file that needs no network."""
    from billing.steps.checks import check_page

    with opened_home(context) as (home, _):
        page = check_page(home, check)
    out.write_bytes(page)
    typer.echo(f"{out}: {len(page)} bytes")
