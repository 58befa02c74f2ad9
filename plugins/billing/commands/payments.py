"""``billing payments``: list, show, collect, record, refunded, retry, write-off, reconcile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from billing.commands.terminal import errors, opened_home, parse_day_number, parse_instant, show_table
from billing.core.collecting import InvoiceState
from billing.core.errors import UsageError
from billing.core.instants import format_instant, from_day

if TYPE_CHECKING:
    from billing.store.payments import Account

PARTLY_DONE = 3
"""Done, but something is left that a person should see to."""

payments_app = typer.Typer(help="From issued invoices to their money.", no_args_is_help=True)


def _parse_day(text: str) -> date:
    return from_day(parse_day_number(text))


def _parse_amount(text: str) -> Decimal:
    from billing.steps.payments.by_hand import parse_amount

    try:
        return parse_amount(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Number = Annotated[str, typer.Argument(help="The invoice's number.", show_default=False)]
Now = Annotated[
    datetime | None,
    typer.Option(parser=parse_instant, metavar="INSTANT", help="The instant that counts; now, where none is given."),
]
Amount = Annotated[
    Decimal,
    typer.Option(parser=_parse_amount, metavar="AMOUNT", help="In the invoice's currency.", show_default=False),
]
On = Annotated[date, typer.Option(parser=_parse_day, metavar="DATE", help="The bank's date.", show_default=False)]
BankReference = Annotated[str, typer.Option(help="The bank's reference of the transfer.", show_default=False)]


@contextmanager
def _collecting(context: typer.Context) -> Iterator[tuple[Any, Any, Any]]:
    """The home, the gateways that are set up, and the rules."""
    from billing import connections
    from billing.steps.payments.gateways import opened

    with opened_home(context) as (home, settings):
        yield home, opened(settings.payments.gateways, connections), settings.payments.rules


def _at(now: datetime | None) -> datetime:
    found = datetime.now(UTC)
    if now is not None and now > found:
        raise UsageError(f"{format_instant(now)} is in the future: money is collected in its time.")
    return found if now is None else now


@payments_app.command("list")
def payments_list(
    context: typer.Context,
    state: Annotated[
        list[InvoiceState] | None, typer.Option(help="Only invoices in this state. May be given more than once.")
    ] = None,
    now: Now = None,
) -> None:
    """Every invoice and its money: what came, what is outstanding, in which state, and why."""
    from billing.steps.payments.story import list_payments

    with opened_home(context) as (home, _):
        found = list_payments(home, _at(now), state or ())
    columns = ("number", "customer", "issue date", "due date", "currency", "total", "credited", "held", "outstanding")
    show_table(
        "Payments",
        (*columns, "state", "next attempt", "why"),
        (
            (
                *(one.number, one.customer_id, one.issue_date, one.due_date, one.currency, one.total, one.credited),
                *(one.held, one.outstanding, one.state.value, one.next_attempt, one.why),
            )
            for one in found
        ),
    )


@payments_app.command("show")
def payments_show(
    context: typer.Context,
    number: Number,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON, under keys that stay.")] = False,
    now: Now = None,
) -> None:
    """The whole story of an invoice's money: attempts, what came and went, mails, and what to do."""
    from billing.steps.payments.story import in_words, story

    with opened_home(context) as (home, _):
        facts = story(home, number, _at(now))
    typer.echo(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else "\n".join(in_words(facts)))


@payments_app.command("collect")
def payments_collect(
    context: typer.Context,
    now: Now = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be done.")] = False,
) -> None:
    """Collect what is due: charge, try again, give back, take over what happened at the gateways, remind.

    Run it as often as you like, and again after it was killed: each invoice is charged once. Exit status 3: something
    goes on only if a person does something; it is named.
    """
    from billing.steps.collect import collect, would_do

    at = _at(now)
    with _collecting(context) as (home, gateways, rules):
        if dry_run:
            plan = would_do(home, gateways, rules, at)
            cells = ((one.number, one.amount, one.currency, one.what) for one in plan)
            show_table("Would be done", ("number", "amount", "currency", "what"), cells)
            return
        done = collect(home, gateways, rules, at)
    typer.echo(
        f"{done.planned} charges opened; {done.paid} payments received, {done.declined} attempts refused, "
        f"{done.refunded} refunds, {done.mails} reminders."
    )
    for state, count in done.states.items():
        typer.echo(f"  {state:24} {count}")
    for said in (*done.told, *done.stuck):
        errors.print(said, markup=False)
    if done.stuck:
        raise typer.Exit(PARTLY_DONE)


@payments_app.command("record")
def payments_record(
    context: typer.Context,
    number: Number,
    amount: Amount,
    on: On,
    reference: BankReference,
    overpaid: Annotated[bool, typer.Option("--overpaid", help="Take it though it is more than is owed.")] = False,
) -> None:
    """Record a bank transfer that came in for an invoice, whole or in part."""
    from billing.steps.payments.by_hand import record

    with opened_home(context) as (home, _):
        account = record(
            home, number, amount=amount, on=on, reference=reference, now=datetime.now(UTC), overpaid=overpaid
        )
    _say(account, f"{amount} {account.currency} received")


@payments_app.command("refunded")
def payments_refunded(
    context: typer.Context,
    number: Number,
    amount: Amount,
    on: On,
    reference: BankReference,
    credit_note: Annotated[str, typer.Option(help="The credit note that it was given back for.")] = "",
    reason: Annotated[str, typer.Option(help="Why, where the books do not say: a mistake, for example.")] = "",
) -> None:
    """Record a bank transfer by which money was given back by hand."""
    from billing.steps.payments.by_hand import refunded

    with opened_home(context) as (home, _):
        account = refunded(
            home,
            number,
            amount=amount,
            on=on,
            reference=reference,
            now=datetime.now(UTC),
            credit_note=credit_note,
            reason=reason,
        )
    _say(account, f"{amount} {account.currency} given back")


@payments_app.command("retry")
def payments_retry(
    context: typer.Context,
    number: Number,
    reason: Annotated[str, typer.Option(help="Why; kept in the log.")] = "retried by hand",
    now: Now = None,
) -> None:
    """Attempt an invoice's charge now, whatever the schedule says."""
    from billing.steps.payments.by_hand import retry

    at = _at(now)
    with _collecting(context) as (home, gateways, rules):
        account, told = retry(home, gateways, rules, number, now=at, reason=reason)
    _say(account, "tried again")
    for said in told:
        errors.print(said, markup=False)


@payments_app.command("write-off")
def payments_write_off(
    context: typer.Context,
    number: Number,
    reason: Annotated[str, typer.Option(help="Why; kept with it.", show_default=False)],
) -> None:
    """Give up what is still owed of an invoice. The invoice stays as it is; nothing of it is attempted any more."""
    from billing.steps.payments.by_hand import write_off

    with opened_home(context) as (home, _):
        account = write_off(home, number, reason=reason, now=datetime.now(UTC))
    _say(account, "given up")


@payments_app.command("reconcile")
def payments_reconcile(
    context: typer.Context,
    first: Annotated[
        date | None,
        typer.Option("--from", parser=_parse_day, metavar="DAY", help="The first day in UTC; 60 days before the last."),
    ] = None,
    last: Annotated[
        date | None,
        typer.Option("--to", parser=_parse_day, metavar="DAY", help="The last day, included; today."),
    ] = None,
    cancel_orphans: Annotated[
        bool,
        typer.Option("--cancel-orphans", help="Cancel charges that were opened at a gateway and never stored."),
    ] = False,
) -> None:
    """Compare what the gateways say with the books, to the cent. Exit status 3: differences remain."""
    from billing.steps.payment_reconciliation import DEFAULT_PERIOD, reconcile

    now = datetime.now(UTC)
    end = _midnight(last) + timedelta(days=1) if last else now + timedelta(days=1)
    begin = _midnight(first) if first else end - DEFAULT_PERIOD
    if begin >= end:
        raise UsageError("The first day is after the last one.")
    with _collecting(context) as (home, gateways, rules):
        found = reconcile(home, gateways, rules, now, begin=begin, end=end, cancel_orphans=cancel_orphans)
    errors.print(f"{found.charges} charges, {found.refunds} refunds, {found.disputes} disputes compared.")
    for (gateway, currency), (here, there) in found.received.items():
        errors.print(f"received by {gateway}: {here} {currency} in the books, {there} there", markup=False)
    for said in found.recorded:
        errors.print(f"recorded: {said}", markup=False)
    show_table(
        "Differences",
        ("gateway", "what", "numbers", "reference", "here", "there", "to do"),
        ((d.gateway, d.what, d.numbers, d.reference, d.here, d.there, d.to_do) for d in found.differences),
    )
    if found.differences:
        raise typer.Exit(PARTLY_DONE)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _say(account: Account, what: str) -> None:
    from billing.steps.payments.work import written

    left = account.standing.outstanding_minor
    if left > 0:
        rest = f"{written(left, account.currency)} {account.currency} outstanding"
    elif left < 0:
        rest = f"{written(-left, account.currency)} {account.currency} more than is owed"
    else:
        rest = "nothing outstanding"
    typer.echo(f"{account.number}: {what}; {rest}.")
