"""``billing cycles approval``, ``approve`` and ``reject``: what waits for a person, and the answer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from billing.commands.closing import finish
from billing.commands.credit import AsOf
from billing.commands.terminal import errors, opened_home, show_table
from billing.core.errors import NotFound, UsageError
from billing.core.instants import format_instant, format_us

if TYPE_CHECKING:
    from billing.core.approval import Proposal, ProposedInvoice
    from billing.settings.settings import Settings
    from billing.steps.approval import Answered
    from billing.store.approvals import Answer
    from billing.store.home import Home

CloseNo = Annotated[int, typer.Argument(help="The number of a close that waits.", show_default=False)]
Documents = Annotated[bool, typer.Option("--documents/--no-documents", help="Render the invoices' documents too.")]
_COLUMNS = ("team", "buyer", "subscription", "cycle start", "currency", "net", "tax", "total", "before", "usual")
_SHOWN = 20


def cycles_approval(
    context: typer.Context,
    close_no: Annotated[int | None, typer.Argument(help="The number of a close; the one that waits.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every invoice, not only those to look at.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All of it, as JSON.")] = False,
) -> None:
    """What a close would issue once it is approved: totals beside the last, outliers, first and largest invoices."""
    from billing.steps.approval import answer_for, approval_request

    with opened_home(context) as (home, _):
        number = _waiting(home) if close_no is None else close_no
        if (answer := answer_for(home, number)) is not None:
            _say_answer(answer)
            return
        found = approval_request(home, number)
    if as_json:
        typer.echo(json.dumps(_facts(found), ensure_ascii=False, indent=2))
        return
    show_proposal(found, everything=everything)


def cycles_approve(
    context: typer.Context,
    close_no: CloseNo,
    reject: Annotated[
        list[str] | None,
        typer.Option(metavar="TEAM=REASON", help="Leave this team out, and park it. May be given more than once."),
    ] = None,
    comment: Annotated[str, typer.Option(help="What is worth keeping of the decision.")] = "",
    seen: Annotated[str | None, typer.Option(help="The hash that was shown: refused where it is another now.")] = None,
    as_of: AsOf = None,
    documents: Documents = True,
) -> None:
    """Let a close that waits issue its invoices, at the instant of the approval; without the teams that are rejected,
    which are parked and rated anew by the next close.
    """
    from billing.steps.approval import approve, parse_rejected
    from billing.steps.origin import user

    at = _past(as_of)
    with opened_home(context) as (home, settings):
        leave_out = parse_rejected(home, close_no, reject or ())
        done = approve(home, close_no, by=user(), at=at, rejected=leave_out, comment=comment, seen=seen)
        _issue(home, settings, done, documents=documents)


def cycles_reject(
    context: typer.Context,
    close_no: CloseNo,
    reason: Annotated[str, typer.Option(help="Why; every team is parked with it.", show_default=False)],
    as_of: AsOf = None,
) -> None:
    """Let nothing of a close that waits be issued: what it rated is discarded, every team is parked, and the next close
    rates them anew.
    """
    from billing.steps.approval import reject_all
    from billing.steps.origin import user

    at = _past(as_of)
    with opened_home(context) as (home, settings):
        done = reject_all(home, close_no, reason=reason, by=user(), at=at)
        _issue(home, settings, done, documents=False)


def show_proposal(found: Proposal, *, everything: bool = False) -> None:
    """Print a proposal: what decides first."""
    asked = f"Asked because: {'; '.join(found.asked_why)}." if found.asked_why else "Nobody is asked for it."
    rated = (
        f"{found.cycles} cycles of {len(found.teams)} teams are rated, {len(found.invoices)} invoices would be issued"
    )
    typer.echo(f"Close {found.close_no}, as of {format_instant(found.as_of)}: {rated}.")
    typer.echo(asked)
    totals = ("currency", "invoices", "net", "tax", "total", "with an earlier one", "their net", "before", "change")
    show_table(
        "Totals",
        totals,
        (
            (t.currency, str(t.invoices), *(str(a) for a in (t.net, t.tax, t.total)), str(t.compared))
            + (str(t.compared_net), str(t.before), f"{t.change:+}")
            for t in found.totals
        ),
    )
    groups = (
        (f"Outliers: {found.outlier_times} times the usual net or more", found.outliers),
        ("Rejected at an earlier close", found.again),
        ("First invoices of a buyer", found.new_buyers),
        ("Largest", found.largest),
    )
    for title, invoices in groups if not everything else (("All invoices", found.invoices),):
        _show_invoices(title, invoices if everything else invoices[:_SHOWN], len(invoices))
    for team in found.parked:
        errors.print(f"parked, and not in it: team {team.team_id}: {team.described}", markup=False)
    typer.echo(f"seen {found.sha256}")


def _show_invoices(title: str, invoices: Iterable[ProposedInvoice], of: int) -> None:
    rows = [_cells(one) for one in invoices]
    if not rows:
        return
    typer.echo(
        f"{title}: {of}" + (f", the first {len(rows)} shown (--all shows every invoice)" if of > len(rows) else "")
    )
    show_table(title, (*_COLUMNS, "times", "rejected before"), rows)


def _cells(one: ProposedInvoice) -> tuple[str, ...]:
    amounts = (one.net, one.tax, one.total, one.before, one.usual, one.times)
    who = (one.team_id, one.customer, one.subscription_id, format_instant(one.cycle_start), one.currency)
    return (*who, *("" if amount is None else str(amount) for amount in amounts), one.was_rejected)


def _facts(found: Proposal) -> dict[str, object]:
    """Under keys that stay: amounts as text, instants as in the data contract."""
    invoices = [
        dict(zip(("team_id", "customer", "subscription_id", "cycle_start", "currency"), _cells(one)[:5], strict=True))
        | dict(zip(("net", "tax", "total", "before", "usual", "times", "was_rejected"), _cells(one)[5:], strict=True))
        | {"is_outlier": one.is_outlier, "is_new": one.is_new}
        for one in found.invoices
    ]
    names = ("currency", "invoices", "net", "tax", "total", "compared", "compared_net", "before", "change")
    return {
        "close_no": found.close_no,
        "as_of": format_instant(found.as_of),
        "asked_why": list(found.asked_why),
        "cycles": found.cycles,
        "teams": len(found.teams),
        "totals": [
            {n: getattr(t, n) if n in ("invoices", "compared") else str(getattr(t, n)) for n in names}
            for t in found.totals
        ],
        "invoices": invoices,
        "rejected_before": list(found.rejected_before),
        "parked": [
            {"team_id": p.team_id, "cycle_start": format_us(p.cycle_start_us), "reason": p.reason, "detail": p.detail}
            for p in found.parked
        ],
        "seen": found.sha256,
    }


def _say_answer(answer: Answer) -> None:
    typer.echo(
        f"Close {answer.close_no} was approved by {answer.approved_by} at {format_instant(answer.approved_at)}"
        + (f": {answer.comment}" if answer.comment else "")
    )
    typer.echo(f"  asked because: {'; '.join(answer.asked_why)}; seen {answer.seen_sha256}")
    for team_id, reason in answer.rejected.items():
        typer.echo(f"  rejected: team {team_id}: {reason}")


def _issue(home: Home, settings: Settings, done: Answered, *, documents: bool) -> None:
    """Issue what was approved, and say so; once more it is found done."""
    from billing.steps.close import invoice_numbers, issue, parked_teams

    close_no = done.answer.close_no
    issue(home, close_no)
    _say_answer(done.answer)
    numbers = invoice_numbers(home, close_no)
    typer.echo(
        f"Close {close_no}: {len(numbers)} invoices issued." + (f" {numbers[0]} to {numbers[-1]}" if numbers else "")
    )
    finish(home, settings, close_no, parked_teams(home), documents=documents)


def _waiting(home: Home) -> int:
    from billing.steps.approval import waiting_close

    if (found := waiting_close(home)) is None:
        raise NotFound("No close waits for approval. Name one by its number.")
    return found


def _past(as_of: datetime | None) -> datetime:
    now = datetime.now(UTC)
    if as_of is not None and as_of > now:
        raise UsageError(f"{format_instant(as_of)} is in the future: nothing is issued before its time (rule 6.3).")
    return as_of or now
