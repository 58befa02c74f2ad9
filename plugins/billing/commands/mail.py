"""``billing mail``: what is in the outbox, what became of it, and what a person decides about it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from billing.commands.terminal import errors, opened_home, show_table
from billing.core.errors import UsageError
from billing.core.instants import format_instant

if TYPE_CHECKING:
    from billing.settings.mail import MailSettings
    from billing.store.mailings import Mailing

TROUBLED_STATUS = 3

mail_app = typer.Typer(
    help="Mails to buyers and finance: what is due, what was sent with which proof. Exit status 3: some wait for you.",
    no_args_is_help=True,
)

Key = Annotated[str, typer.Argument(help="Of a mail, like invoice:INV-2026-000042; `billing mail list` has them.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the log.", show_default=False)]
_COLUMNS = ("key", "state", "due", "attempts", "recipient", "sent", "problem")


@mail_app.command("list")
def mail_list(
    context: typer.Context,
    state: Annotated[str, typer.Option(help="Only those in this state: due, sent, failed, unknown ...")] = "",
) -> None:
    """Every mail of the outbox, in the order in which they are due."""
    from billing.steps.mail_outbox import list_mails

    with opened_home(context) as (home, _):
        found = list_mails(home, state)
    show_table("Mails", _COLUMNS, [_cells(one) for one in found])


@mail_app.command("show")
def mail_show(context: typer.Context, key: Key) -> None:
    """All that is known of a mail: what it tells, and of what was sent the proof."""
    from billing.steps.mail_outbox import read_mail

    with opened_home(context) as (home, _):
        one = read_mail(home, key)
    for name, value in zip(_COLUMNS, _cells(one), strict=True):
        if value:
            typer.echo(f"{name:12} {value}")
    typer.echo(f"{'about':12} {one.kind} {one.subject_id}, customer {one.customer_id or 'none: it is for finance'}")
    if one.message_id:
        typer.echo(f"{'message id':12} {one.message_id}")
    for name, told in (("tells", one.payload), ("proof", one.proof)):
        typer.echo(f"{name:12} {json.dumps(told, ensure_ascii=False, indent=2, sort_keys=True)}")


@mail_app.command("send")
def mail_send(context: typer.Context) -> None:
    """Write mails for what was issued, and send what is due. What waits for a person is named (exit status 3)."""
    from billing import connections
    from billing.steps.deliver_mail import deliver_mail, described, troubled
    from billing.steps.mail_issued import mail_issued

    with opened_home(context) as (home, settings):
        mail = _demand(settings.mail, str(settings.home))
        now = datetime.now(UTC)
        outboxed = mail_issued(home, since=mail.since, now=now, off=mail.off, finance=bool(mail.finance))
        done = deliver_mail(home, mail, connections, settings.templates, settings.theme, now)
        waiting = troubled(home)
    typer.echo(f"{len(done.sent)} mails sent, {done.put_off} are tried again later, {done.dropped} dropped.")
    for number in outboxed.without_document:
        close_no = number.removeprefix("close-")
        command = "invoices render" if close_no == number else f"cycles summary {close_no} --out FILE"
        errors.print(f"{number} has no document yet: `billing {command}` makes it.", markup=False)
    for problem in (*done.problems, *(described(one) for one in waiting)):
        errors.print(problem, markup=False)
    if waiting or done.problems:
        raise typer.Exit(TROUBLED_STATUS)


@mail_app.command("resend")
def mail_resend(context: typer.Context, key: Key, reason: Reason) -> None:
    """Have a mail sent again, whatever became of it: the next run of the sender takes it."""
    from billing.steps.deliver_mail import resend

    with opened_home(context) as (home, settings):
        _demand(settings.mail, str(settings.home))
        was = resend(home, key, reason=reason, now=datetime.now(UTC))
    typer.echo(f"{key} was {was.state}; it is due now. `billing mail send` sends it at once.")


@mail_app.command("drop")
def mail_drop(context: typer.Context, key: Key, reason: Reason) -> None:
    """See that a mail is not sent: it was told in another way, say. It waits for nobody any more."""
    from billing.steps.deliver_mail import drop

    with opened_home(context) as (home, _):
        was = drop(home, key, reason=reason)
    typer.echo(f"{key} was {was.state}; it is dropped.")


@mail_app.command("preview")
def mail_preview(
    context: typer.Context,
    number: Annotated[str, typer.Argument(help="Of an invoice or a credit note.")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="The file to write, like mail.eml.")],
) -> None:
    """Write what a buyer would get as a file that mail programs open. Nothing is sent."""
    from billing import connections
    from billing.steps.mail_making import preview_mail

    with opened_home(context) as (home, settings):
        sender = "" if settings.mail is None or settings.mail.sender else _sender(settings.mail, connections)
        made = preview_mail(home, number, settings.mail, sender, settings.templates, settings.theme)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(made)
    typer.echo(f"{out} written. Nothing was sent.")


def _sender(mail: MailSettings, connections: object) -> str:
    """The connection's address; blank where it is not defined here, as a preview needs no server."""
    try:
        return str(connections.smtp_sender(mail.connection))  # type: ignore[attr-defined]
    except UsageError:
        return ""


def _demand(mail: MailSettings | None, home: str) -> MailSettings:
    if mail is None:
        raise UsageError(f"{home}/billing.toml has no [mail], so no mail is sent: docs/delivery.md says how to begin.")
    return mail


def _cells(one: Mailing) -> tuple[str, ...]:
    sent = format_instant(one.ended_at) if one.state == "sent" and one.ended_at else ""
    due = format_instant(one.due)
    return (one.key, one.state, due, str(one.attempts), one.recipient, sent, one.problem)
