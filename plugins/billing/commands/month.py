"""``billing month``: accrue, tokens, journal, lock, unlock, status. Finance's month, from its last close on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from billing.commands.sheets import say_written, show_sheets
from billing.commands.terminal import errors, opened_home, show_table
from billing.core.instants import format_us
from billing.core.months import Month

if TYPE_CHECKING:
    from billing.core.model import Parked
    from billing.steps.books_at import Known

month_app = typer.Typer(help="Finance's month: accruals, prepaid tokens, the journal, locks.", no_args_is_help=True)


def _parse_month(text: str) -> Month:
    try:
        return Month.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


TheMonth = Annotated[
    Month, typer.Argument(parser=_parse_month, metavar="YYYY-MM", help="A month of the seller's calendar.")
]
Out = Annotated[
    Path | None, typer.Option(dir_okay=False, help="Write it into this file, .csv or .xlsx, rather than show it.")
]
Reason = Annotated[str, typer.Option(help="Why; kept with the lock.")]


@month_app.command("accrue")
def month_accrue(context: typer.Context, month: TheMonth, out: Out = None) -> None:
    """What pay as you go has earned in cycles that were running when the month ended, with the reversing entries."""
    from billing.steps.month_end import accrual_sheets, accrue, write_accrual

    with opened_home(context) as (home, _):
        found = accrue(home, month, datetime.now(UTC))
    if out is None:
        show_sheets(accrual_sheets(found))
    else:
        say_written(write_accrual(found, out))
    sums = ", ".join(f"{net:f} {currency}" for currency, net in found.net.items()) or "nothing"
    errors.print(f"Accrued at {format_us(found.at_us)}: {sums}.", markup=False)
    if found.undated:
        errors.print(
            f"{len(found.undated)} cycles were over by then and invoiced later, or not yet: they are listed apart, no "
            "part of the accrual."
        )
    _say_known(found.known, found.troubles)


@month_app.command("tokens")
def month_tokens(context: typer.Context, month: TheMonth, out: Out = None) -> None:
    """What became of every grant of tokens: sold, used, expired unused (breakage), still owed (deferred)."""
    from billing.steps.month_end import token_sheets, tokens, write_tokens

    with opened_home(context) as (home, _):
        found = tokens(home, month, datetime.now(UTC))
    if out is None:
        show_sheets(token_sheets(found))
    else:
        say_written(write_tokens(found, out))
    _say_known(found.known, found.troubles)


@month_app.command("journal")
def month_journal(
    context: typer.Context,
    month: TheMonth,
    out: Annotated[Path, typer.Option(file_okay=False, help="The folder in which the files are written.")],
) -> None:
    """What was issued, earned and paid, in double entry, as CSV and beancount; kept once the month is locked."""
    from billing.steps.journal import journal, write_journal

    with opened_home(context) as (home, settings):
        found = journal(home, month, datetime.now(UTC), settings.accounts)
    say_written(write_journal(found, out))
    for (account, currency), amount in found.closing.items():
        typer.echo(f"  {account}: {found.opening.get((account, currency), 0)} before, {amount} {currency} after")
    stays = "it is kept with the lock" if found.is_kept else "estimates may change until the month is locked"
    errors.print(f"{len(found.entries)} entries, balanced and proven against the books; {stays}.")
    for trouble in found.troubles:
        errors.print(f"not told honestly: {trouble}", markup=False)


@month_app.command("lock")
def month_lock(context: typer.Context, month: TheMonth, reason: Reason = "") -> None:
    """Lock a month that is over: nothing is issued with a date in it any more. Months are locked in order."""
    from billing.steps.period_locks import lock_month

    with opened_home(context) as (home, _):
        done = lock_month(home, month, datetime.now(UTC), reason)
    typer.echo(f"{month} is locked{'' if done.is_new else ' already'}: nothing is issued with a date in it any more.")
    for one in done.totals:
        if one.tax_treatment is None:
            counts = f"{one.invoices} invoices, {one.credit_notes} credit notes"
            typer.echo(f"  {one.currency}: {counts}, net {one.net}, tax {one.tax}, total {one.total}")


@month_app.command("unlock")
def month_unlock(context: typer.Context, month: TheMonth, reason: Reason) -> None:
    """Take the lock of the last locked month back. The reason is kept, and so is the lock's own row."""
    from billing.steps.period_locks import unlock_month

    with opened_home(context) as (home, _):
        unlock_month(home, month, datetime.now(UTC), reason)
    typer.echo(f"{month} is open again; months before it stay locked.")


@month_app.command("status")
def month_status(context: typer.Context) -> None:
    """Every lock and every one taken back, the last one being how it stands."""
    from billing.steps.period_locks import lock_history

    with opened_home(context) as (home, _):
        found = lock_history(home)
    columns = ("lock", "locked through", "at", "reason")
    show_table("Locks", columns, ((str(row.lock_no), str(row.through), row.at, row.reason) for row in found))


def _say_known(known: Known, troubles: Iterable[Parked]) -> None:
    errors.print(f"Where cycles are open, what is known now counts: batch {known.batch_no}, load {known.load_no}.")
    for one in troubles:
        cycle = format_us(one.cycle_start_us)
        errors.print(f"not told honestly: team {one.team_id}, cycle of {cycle}: {one.reason}", markup=False)
