"""Approval before issue: a rated close is put before a person, who lets it go or leaves teams out (rules 6.3, 6.7).

``ask`` finds whether a person is asked and has the close wait; ``approve`` and ``reject_all`` take the answer, in one
transaction. Until then nothing of the close is issued, whoever tries: ``demand_answered`` stands before the numbers.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, select

from billing.core.approval import Policy, Proposal, ProposedInvoice, propose, rejected_of
from billing.core.cycles import CycleSpan
from billing.core.errors import ApprovalAwaited, DataRefused, Finding, NotFound
from billing.core.instants import day_number, format_instant, format_us, from_us, to_us
from billing.core.invoicing import Buyers, DraftInvoice, draft_invoices, issue_date
from billing.core.model import Kind, Parked, ParkedReason
from billing.core.parties import Parties
from billing.core.reference import Reference
from billing.documents.approval_view import question_body
from billing.steps import commit_points
from billing.steps.collector import collector_paused
from billing.steps.origin import origin
from billing.steps.reference import reference_at
from billing.steps.telemetry import say, warn
from billing.store import ledger, log
from billing.store.approvals import (
    Answer,
    earlier_invoices,
    known_buyers,
    read_answer,
    rejected_cycles,
    write_answer,
)
from billing.store.home import Home
from billing.store.invoices import last_invoice_us
from billing.store.ledger import Close
from billing.store.period_locks import demand_open
from billing.store.tables import closes

LOG_KIND = "approval"
_REASON_MAX = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """An answer that is kept, and whether this call gave it."""

    answer: Answer
    is_new: bool


def ask(home: Home, close_no: int) -> Proposal | None:
    """What a person is asked to approve of a rated close, which waits from now on; None where nobody is asked, or an
    answer is there. The same however often it is called. Raises ``DataRefused`` where the close is not rated.
    """
    with home.database.read() as connection:
        this = _read(connection, close_no)
        if this.state in (ledger.APPROVED, ledger.ISSUED):
            return None
        demand_rated(connection, this)
        if not _may_be_asked(connection, this) or not ledger.close_cycles(connection, close_no):
            return None
    found = approval_request(home, close_no)
    if not found.asked_why:
        return None
    with home.database.exclusive("books") as connection:
        this = ledger.read_close(connection, close_no)
        if this.state == ledger.OPEN:
            ledger.turn(connection, close_no, ledger.RATED)
        elif this.state != ledger.RATED:
            return None  # answered in between
    commit_points.reached(commit_points.APPROVAL_ASKED)
    say("approval asked for", close=close_no, why=list(found.asked_why), seen=found.sha256)
    return found


@collector_paused()
def approval_request(home: Home, close_no: int) -> Proposal:
    """What is to be approved of a rated close, as it is derived from what it pinned. ``NotFound`` for one that never
    was, ``DataRefused`` for one that is not rated yet or is issued.
    """
    with home.database.read() as connection:
        this = _read(connection, close_no)
        if this.state == ledger.ISSUED:
            raise DataRefused(f"Close {close_no} is issued: `billing cycles summary {close_no}` tells of it.")
        demand_rated(connection, this)
        reference = reference_at(home, this.pinned_load) if this.pinned_load else None
        cycles = ledger.close_cycles(connection, close_no)
        if reference is None or not cycles:
            raise DataRefused(f"Close {close_no} has no cycle: there is nothing to approve.")
        paid = ledger.close_draws(connection, close_no, Kind.PAYG)
        drafts, _ = draft_invoices(paid, cycles, Buyers.from_reference(reference, decided=True))
        return _propose(connection, this, cycles, drafts, reference)


def demand_rated(connection: Connection, this: Close) -> None:
    """Raise ``DataRefused`` where shards of a close are not rated yet."""
    missing = set(range(this.shards)) - ledger.rated_shards(connection, this.close_no)
    if missing:
        raise DataRefused(
            f"Close {this.close_no} cannot issue yet: shards {sorted(missing)} are not rated. Run the close again."
        )


def demand_answered(
    connection: Connection,
    this: Close,
    cycles: Mapping[tuple[str, int], CycleSpan],
    drafts: Sequence[DraftInvoice],
    reference: Reference,
) -> None:
    """Raise ``ApprovalAwaited`` where a person is asked for this close and has not answered: also where whoever issues
    it has never asked. The caller holds the lock ``books``.
    """
    if this.state == ledger.APPROVED or not _may_be_asked(connection, this):
        return
    found = _propose(connection, this, cycles, drafts, reference)
    if found.asked_why:
        raise ApprovalAwaited(this.close_no, found.asked_why)


def approve(
    home: Home,
    close_no: int,
    *,
    by: str,
    at: datetime,
    rejected: Mapping[str, str] | None = None,
    comment: str = "",
    seen: str | None = None,
) -> Answered:
    """Let a close that waits go on, without the teams of ``rejected``, which are given with a reason each: what was
    rated of these is discarded, they are parked, and their cycles are rated anew by the next close (rule 6.7).

    ``by`` is who approves, ``at`` when: the issue instant of the invoices (rule 6.3). ``seen`` is the hash of the
    proposal that was looked at (``Proposal.sha256``), where it is known. Given twice, the second call finds it done.
    Raises ``DataRefused``, and leaves everything as it was, for an answer that is not the one which is there, for a
    team that the close has not rated or a reason that is missing, for a close that does not wait, for an instant
    before the close or before an invoice, and for one in a locked month.
    """
    leave_out = {team_id: _one_line(reason) for team_id, reason in (rejected or {}).items()}
    with home.database.read() as connection:
        if (there := _answer_there(connection, close_no)) is not None:
            return _found(there, leave_out)
    proposal = approval_request(home, close_no)
    _demand_known(proposal, leave_out, seen)
    answer = Answer(
        close_no=close_no,
        approved_at=at,
        approved_by=by,
        asked_why=proposal.asked_why,
        seen_sha256=proposal.sha256,
        comment=_one_line(comment),
        rejected=leave_out,
    )
    return _answer(home, proposal, answer)


def reject_all(home: Home, close_no: int, *, reason: str, by: str, at: datetime, seen: str | None = None) -> Answered:
    """Leave every team of a close that waits out, for one reason: it will issue nothing. See ``approve``."""
    with home.database.read() as connection:
        if (there := _answer_there(connection, close_no)) is not None:
            everyone = {} if ledger.close_cycles(connection, close_no) else dict.fromkeys(there.rejected, reason)
            return _found(there, {team_id: _one_line(why) for team_id, why in everyone.items()})
        teams = _rated_teams(connection, close_no)
    return approve(home, close_no, by=by, at=at, rejected=dict.fromkeys(teams, reason), seen=seen)


def parse_rejected(home: Home, close_no: int, lines: Sequence[str]) -> dict[str, str]:
    """Teams and reasons from lines ``TEAM = REASON``, as a person writes them for this close. Raises ``DataRefused``
    with all that is wrong with them.
    """
    lines = [line for line in lines if line.strip()]
    if not lines:
        return {}
    with home.database.read() as connection:
        there = _answer_there(connection, close_no)
        teams = _rated_teams(connection, close_no) if there is None else there.rejected
    found, wrong = rejected_of(lines, teams)
    if wrong:
        raise DataRefused(
            f"Close {close_no}: this cannot be left out. Give a team of the close and the reason, as TEAM = REASON:",
            [Finding(file="rejected", message=one) for one in wrong],
        )
    return found


def waiting_close(home: Home) -> int | None:
    """The number of the close that waits for a person; None where none does."""
    with home.database.read() as connection:
        last = ledger.last_close(connection)
    return last.close_no if last is not None and last.state == ledger.RATED else None


def answer_for(home: Home, close_no: int) -> Answer | None:
    """What was answered for a close; None where nothing was."""
    with home.database.read() as connection:
        return read_answer(connection, close_no)


def question(proposal: Proposal) -> dict[str, str]:
    """What a page asks: ``subject``, and a ``body`` in Markdown, of bounded size whatever the number of teams; names
    in it are text and nothing else. ``seen`` is the hash of what it shows.
    """
    return {
        "subject": f"Close {proposal.close_no}: issue {len(proposal.invoices)} invoices?",
        "body": question_body(proposal),
        "in_short": in_short(proposal),
        "seen": proposal.sha256,
    }


def in_short(proposal: Proposal) -> str:
    """One line without any name: what waits, and why."""
    sums = ", ".join(f"{one.total:,f} {one.currency}" for one in proposal.totals) or "nothing"
    return (
        f"Close {proposal.close_no} as of {format_instant(proposal.as_of)} waits for approval: "
        f"{len(proposal.invoices)} invoices, {sums} in all; {'; '.join(proposal.asked_why) or 'not asked for'}."
    )


# --- asking ----------------------------------------------------------------------------------------------------------


def _read(connection: Connection, close_no: int) -> Close:
    if connection.execute(select(closes.c.close_no).where(closes.c.close_no == close_no)).first() is None:
        raise NotFound(f"There is no close {close_no}; `billing status` names the last one.")
    return ledger.read_close(connection, close_no)


def _may_be_asked(connection: Connection, this: Close) -> bool:
    """Whether anybody has to look at what a close would issue: it waits, its settings may ask, or a person has left out
    cycles of it before. Of any other close nothing has to be derived.
    """
    return this.state != ledger.OPEN or bool(this.approval) or bool(rejected_cycles(connection, this.close_no))


def _rated_teams(connection: Connection, close_no: int) -> list[str]:
    """The teams of a rated close, by id."""
    demand_rated(connection, ledger.read_close(connection, close_no))
    return sorted({team_id for team_id, _ in ledger.close_cycles(connection, close_no)})


def _propose(
    connection: Connection,
    this: Close,
    cycles: Mapping[tuple[str, int], CycleSpan],
    drafts: Sequence[DraftInvoice],
    reference: Reference,
) -> Proposal:
    policy = Policy.from_json(this.approval)
    subscriptions = {draft.subscription_id for draft in drafts}
    return propose(
        close_no=this.close_no,
        as_of=from_us(this.as_of_us),
        policy=policy,
        cycles=cycles,
        drafts=drafts,
        parties=Parties.from_reference(reference),
        earlier=earlier_invoices(connection, this.close_no, subscriptions, policy.outlier_cycles),
        known_buyers=known_buyers(connection, this.close_no),
        rejected=rejected_cycles(connection, this.close_no),
        parked=ledger.read_parked(connection, this.close_no),
    )


# --- answering -------------------------------------------------------------------------------------------------------


def _answer_there(connection: Connection, close_no: int) -> Answer | None:
    """The answer that a close has. Refused: one that nobody asks for, or that was issued without being asked for."""
    this = _read(connection, close_no)
    there = read_answer(connection, close_no)
    if there is None and this.state == ledger.ISSUED:
        raise DataRefused(f"Close {close_no} was issued, and nobody was asked for it: there is nothing to approve.")
    if there is None and this.state == ledger.OPEN:
        raise DataRefused(
            f"Close {close_no} does not wait for approval: run `billing cycles close`, which asks once it is rated."
        )
    return there


def _found(there: Answer, leave_out: Mapping[str, str]) -> Answered:
    if dict(there.rejected) != dict(leave_out):
        left = ", ".join(f"{team_id} ({reason})" for team_id, reason in list(there.rejected.items())[:5]) or "nobody"
        more = f" and {len(there.rejected) - 5} more" if len(there.rejected) > 5 else ""
        raise DataRefused(
            f"Close {there.close_no} was answered by {there.approved_by} at {format_instant(there.approved_at)}, "
            f"leaving out {left}{more}: another answer is refused. What was issued is given back by a credit note."
        )
    return Answered(answer=there, is_new=False)


def _demand_known(proposal: Proposal, leave_out: Mapping[str, str], seen: str | None) -> None:
    wrong = [f"team {team_id!r} is not in this close" for team_id in leave_out if team_id not in proposal.teams]
    wrong += [f"team {team_id!r} is rejected without a reason" for team_id, reason in leave_out.items() if not reason]
    if wrong:
        raise DataRefused(
            f"Close {proposal.close_no}: this cannot be left out:",
            [Finding(file="rejected", message=one) for one in wrong],
        )
    if seen is not None and seen != proposal.sha256:
        raise DataRefused(
            f"Close {proposal.close_no} is not what was looked at ({seen[:12]}, and it is {proposal.sha256[:12]} now): "
            "look at it again, then answer."
        )


def _answer(home: Home, proposal: Proposal, answer: Answer) -> Answered:
    close_no, left_out = answer.close_no, answer.rejected
    with home.database.read() as connection:
        reference = reference_at(home, ledger.read_close(connection, close_no).pinned_load)
    with home.database.exclusive("books") as connection:
        if (there := _answer_there(connection, close_no)) is not None:
            return _found(there, left_out)  # somebody was faster
        _demand_instant(connection, proposal, answer, reference)
        ledger.discard(connection, close_no, left_out)
        now_parked = [
            Parked(
                team_id=team_id,
                cycle_start_us=proposal.teams[team_id][0],
                reason=ParkedReason.REJECTED,
                detail=reason,
            )
            for team_id, reason in sorted(left_out.items())
        ]
        ledger.park_rejected(connection, close_no, now_parked)
        ledger.turn(connection, close_no, ledger.APPROVED, approved_at_us=to_us(answer.approved_at))
        write_answer(connection, answer, proposal.teams)
        log.append(connection, datetime.now(UTC), LOG_KIND, _logged(proposal, answer))
        commit_points.reached(commit_points.APPROVAL_WRITTEN)
    commit_points.reached(commit_points.APPROVAL_RECORDED)
    say("close approved", close=close_no, by=answer.approved_by, rejected=len(left_out), seen=answer.seen_sha256)
    for team in now_parked:
        cycle_start = format_us(team.cycle_start_us)
        warn("team parked", close=close_no, team=team.team_id, cycle=cycle_start, reason=team.reason.value)
    return Answered(answer=answer, is_new=True)


def _demand_instant(connection: Connection, proposal: Proposal, answer: Answer, reference: Reference) -> None:
    """Refuse an instant that cannot be the issue instant (rule 6.3), or in a locked month."""
    at, issued_us = answer.approved_at, last_invoice_us(connection)
    if at < proposal.as_of:
        raise DataRefused(
            f"Close {proposal.close_no} is as of {format_instant(proposal.as_of)}, and cannot be approved before that, "
            f"at {format_instant(at)}."
        )
    if issued_us is not None and to_us(at) < issued_us:
        raise DataRefused(
            f"An invoice was issued at {format_us(issued_us)}, after {format_instant(at)}, and the issue instant never "
            "goes back (rule 6.3): approve it again, at a later instant."
        )
    if len(answer.rejected) < len(proposal.teams):
        demand_open(connection, day_number(issue_date(at, str(reference["seller"].iloc[0]["time_zone"]))))


def _logged(proposal: Proposal, answer: Answer) -> dict[str, object]:
    by_team: dict[str, list[ProposedInvoice]] = {}
    for one in proposal.invoices:
        by_team.setdefault(one.team_id, []).append(one)
    rejected = {
        team_id: {
            "reason": reason,
            "from": format_us(proposal.teams[team_id][0]),
            "to": format_us(proposal.teams[team_id][1]),
            "invoices": [
                {"subscription": one.subscription_id, "currency": one.currency} | _amounts(one)
                for one in by_team.get(team_id, ())
            ],
        }
        for team_id, reason in answer.rejected.items()
    }
    return {
        "by": origin(),
        "close_no": answer.close_no,
        "approved_at": format_instant(answer.approved_at),
        "approved_by": answer.approved_by,
        "asked_why": list(answer.asked_why),
        "seen_sha256": answer.seen_sha256,
        "seen": [{"currency": one.currency, "invoices": one.invoices} | _amounts(one) for one in proposal.totals],
        "comment": answer.comment,
        "rejected": rejected,
    }


def _amounts(one: object) -> dict[str, str]:
    return {name: str(getattr(one, name)) for name in ("net", "tax", "total")}


def _one_line(text: str) -> str:
    """What a person wrote, in one line that can be shown anywhere."""
    line = " ".join(text.split())
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in line) or len(line) > _REASON_MAX:
        raise DataRefused(f"A reason or a comment is one line of at most {_REASON_MAX} characters of text.")
    return line
