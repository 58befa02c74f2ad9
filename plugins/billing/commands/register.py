"""``billing invoices register`` and ``show``: what was issued, all of it and one by one."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from billing.commands.sheets import say_written, show_sheets
from billing.commands.terminal import opened_home, parse_day_number
from billing.core.instants import from_day


def parse_day(text: str) -> date:
    """A day as it is written, for an option."""
    return from_day(parse_day_number(text))


def invoices_register(
    context: typer.Context,
    first: Annotated[
        date, typer.Option("--from", parser=parse_day, metavar="DAY", help="The first issue date, YYYY-MM-DD.")
    ],
    last: Annotated[
        date, typer.Option("--to", parser=parse_day, metavar="DAY", help="The last issue date; it is included.")
    ],
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write it into this file, .csv or .xlsx, rather than show it.")
    ] = None,
) -> None:
    """Invoices and credit notes by issue date, with totals, reconciled with the ledger to the cent."""
    from billing.steps.register import register, register_sheets, write_register

    with opened_home(context) as (home, _):
        found = register(home, first, last)
    if out is None:
        show_sheets(register_sheets(found))
    else:
        say_written(write_register(found, out))


def invoices_show(
    context: typer.Context,
    number: Annotated[str, typer.Argument(help="Of an invoice or a credit note.")],
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON, under keys that stay.")] = False,
) -> None:
    """Explain an invoice or credit note: who, why this tax, from which usage each line comes, what pinned it."""
    from billing.steps.explain import explain, in_words

    with opened_home(context) as (home, _):
        facts = explain(home, number)
    typer.echo(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else "\n".join(in_words(facts)))
