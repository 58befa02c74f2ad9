"""``billing cycles summary``: what a close did, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from billing.commands.terminal import opened_home


def cycles_summary(
    context: typer.Context,
    close_no: Annotated[int, typer.Argument(help="The number of an issued close.")],
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write it as a PDF of one page rather than show it.")
    ] = None,
    locale: Annotated[str, typer.Option(help="The language of the page, such as fr-FR.")] = "en",
) -> None:
    """What a close did, for finance: totals by currency and tax, the largest invoices, what waits or is parked."""
    from billing.steps.run_summary import in_words, render_summary, run_summary

    with opened_home(context) as (home, settings):
        found = run_summary(home, close_no)
        if out is None:
            typer.echo("\n".join(in_words(found)))
            return
        kept = render_summary(home, found, settings.templates, settings.theme, locale)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(kept.pdf)
    typer.echo(f"{out} written.")
    typer.echo(f"Kept as {kept.number}: SHA-256 {kept.sha256}{'' if kept.is_new else ', as it was first made'}.")
