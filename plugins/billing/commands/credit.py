"""``billing invoices credit`` and ``billing invoices reissue``: what was wrong is given back, and issued anew."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from billing.commands.terminal import opened_home, parse_instant
from billing.core.errors import UsageError
from billing.core.instants import format_instant

if TYPE_CHECKING:
    from billing.core.crediting import Wanted

Number = Annotated[str, typer.Argument(help="The invoice's number.", show_default=False)]
AsOf = Annotated[
    datetime | None,
    typer.Option(parser=parse_instant, metavar="INSTANT", help="The issue instant; now, where none is given."),
]


def parse_line(text: str) -> Wanted:
    from billing.core.crediting import parse_wanted

    try:
        return parse_wanted(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def invoices_credit(
    context: typer.Context,
    number: Number,
    reason: Annotated[str, typer.Option(help="Why; it is printed on the credit note.", show_default=False)],
    line: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LINE[:UNITS|=AMOUNT]",
            help="Only this of a line: 2 is the rest of line 2, 2:100 are 100 of its units, 2=12.50 is an amount. "
            "May be given more than once.",
        ),
    ] = None,
    as_of: AsOf = None,
) -> None:
    """Issue a credit note for an invoice: for all that is left of it, or for parts of its lines (rule 6.4).

    The invoice itself never changes, nor do the units that were charged. Given twice for all of it, the command is
    refused and names the credit note; given twice for a part, it is a second credit note.
    """
    from billing.steps.credit import credit

    wanted = [parse_line(text) for text in line or ()]
    _demand_past(as_of)
    with opened_home(context) as (home, _):
        done = credit(home, number, reason=reason, wanted=wanted, as_of=as_of)
    said = f"{done.net} net, {done.tax} tax, {done.total} {done.currency} in all"
    typer.echo(f"{done.number} gives back {said} of {done.invoice_number}.")
    typer.echo(f"  {done.net_left} {done.currency} net is left." if done.net_left else "  Nothing of it is left.")


def invoices_reissue(context: typer.Context, number: Number, as_of: AsOf = None) -> None:
    """Issue the corrected invoice of one that was given back whole: the same units at the same prices, to the buyer and
    at the tax that are known now (rule 6.4).
    """
    from billing.steps.reissue import reissue

    _demand_past(as_of)
    with opened_home(context) as (home, _):
        done = reissue(home, number, as_of=as_of)
    said = f"{done.net} net, {done.tax} tax, {done.total} {done.currency} in all"
    typer.echo(f"{done.number} takes the place of {done.replaces}: {said}.")


def _demand_past(as_of: datetime | None) -> None:
    if as_of is not None and as_of > datetime.now(UTC):
        raise UsageError(f"{format_instant(as_of)} is in the future: nothing is issued before its time (rule 6.3).")
