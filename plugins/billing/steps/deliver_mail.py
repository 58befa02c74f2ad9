"""The outbox is sent: each mail at most once, with proof of what went when (docs/decisions/mail-at-most-once.md).

A mail is claimed in a transaction of its own before the server hears of it, and its end is recorded after. What surely
did not go is tried again later; of what may have gone a person decides.
"""

from __future__ import annotations

import smtplib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection

from billing.core.errors import BillingError, DataRefused
from billing.core.instants import format_instant, to_us
from billing.core.mail_kinds import MailKind
from billing.documents.errors import TemplateBroken
from billing.outbound.mail_message import Mail, as_bytes
from billing.outbound.smtp import Accepted, CannotCarry, MaybeSent, NotSent, Outgoing
from billing.steps import commit_points
from billing.steps.mail_making import DescribedMail, Maker, Undeliverable
from billing.steps.origin import origin
from billing.steps.telemetry import say, warn
from billing.store import log
from billing.store.home import Home
from billing.store.mailings import (
    CLAIMED,
    DROPPED,
    DUE,
    FAILED,
    SENT,
    TROUBLED,
    UNDELIVERABLE,
    UNKNOWN,
    Mailing,
    claim,
    enqueue,
    in_states,
    mailing,
    mailings_where,
    put,
)
from billing.store.tables import mailings

RETRY_AFTER = tuple(timedelta(minutes=minutes) for minutes in (10, 60, 240, 720, 1440, 1440))
"""How long after each try that surely failed the next one is; after the last it is given up."""
TRIES_OF_REFUSED = 3
"""So many where the server says that it will never take it (5xx)."""
_TOLD_MAX = 50
_LOST = "its sender ended before it was known what became of it"


class MailResolver(Protocol):
    """Mail servers by the id of a connection: what the module ``connections`` gives."""

    def smtp(self, conn_id: str, /) -> smtplib.SMTP:
        """A connection that is logged in."""
        ...

    def smtp_sender(self, conn_id: str, /) -> str:
        """The address that it sends from; blank where it has none."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivered:
    """What a run did: keys of what was sent, how many tries are repeated later, how many mails were dropped; and what
    kept mails from being made at all, as ``key: problem``: they stay due.
    """

    sent: tuple[str, ...]
    put_off: int
    dropped: int
    problems: tuple[str, ...]


def deliver_mail(
    home: Home, mail: DescribedMail, resolve: MailResolver, templates: Path, theme: str, now: datetime
) -> Delivered:
    """Send what is due at ``now``. One sender at a time: a second one waits and finds it done.

    Raises ``SourceUnavailable`` where the server cannot be reached and ``UsageError`` where it refuses the log-in: what
    is due stays due then, and no try is counted.
    """
    with home.database.holding("mail"):
        _give_up_claimed(home)
        dropped = _drop_unwanted(home, mail, now)
        run = _Run(home, mail, resolve, templates, theme, now)
        with closing(run.outgoing):
            run.send_all()
            if _tell_finance(home, mail, now):
                run.send_all()
    problems = tuple(f"{key}: {problem}" for key, problem in run.problems.items())
    return Delivered(sent=tuple(run.sent), put_off=run.put_off, dropped=dropped, problems=problems)


def troubled(home: Home) -> list[Mailing]:
    """Mails that wait for a person: failed, unknown, undeliverable."""
    with home.database.read() as connection:
        return mailings_where(connection, in_states(TROUBLED))


def described(one: Mailing) -> str:
    """A mail that waits, in words: which, since when, why."""
    to = f" to {one.recipient}" if one.recipient else ""
    return f"{one.key}{to}: {one.state}, {one.problem or 'no reason is kept'}"


def resend(home: Home, key: str, *, reason: str, now: datetime) -> Mailing:
    """Have a mail sent again, whatever became of it, and say why (a row of the log); the mail as it was.

    ``DataRefused`` without a reason, and for one that a sender has in hand.
    """
    with _by_hand(home, key, reason) as (connection, one, said):
        proof = {"earlier": one.earlier + ([_sent_part(one)] if one.state == SENT else []), "by_hand": True}
        put(connection, key, DUE, proof, due=now, attempts=0)
        log.append(connection, datetime.now(UTC), "mail_resend", said)
        return one


def drop(home: Home, key: str, *, reason: str) -> Mailing:
    """See that a mail is not sent, and say why (a row of the log); the mail as it was."""
    with _by_hand(home, key, reason) as (connection, one, said):
        if one.state in (SENT, DROPPED):
            raise DataRefused(f"{key} is {one.state}: there is nothing to drop.")
        put(connection, key, DROPPED, {"problem": f"dropped: {said['reason']}", "earlier": one.earlier})
        log.append(connection, datetime.now(UTC), "mail_dropped", said)
        return one


@contextmanager
def _by_hand(home: Home, key: str, reason: str) -> Iterator[tuple[Connection, Mailing, dict[str, object]]]:
    """The transaction in which a person decides about a mail that no sender has in hand, and what the log says."""
    why = " ".join(reason.split())
    if not why:
        raise DataRefused("Say why: the reason is kept in the log.")
    with home.database.exclusive("books") as connection:
        one = mailing(connection, key)
        if one.state == CLAIMED:
            raise DataRefused(
                f"{key} is being sent, or its sender was killed: run `billing mail send` first, which finds out."
            )
        yield connection, one, {"key": key, "reason": why, "was": one.state, "by": origin()}


class _Run:
    """One run of the sender: what it makes mails with is opened when the first is due, and so is the connection."""

    def __init__(
        self, home: Home, mail: DescribedMail, resolve: MailResolver, templates: Path, theme: str, now: datetime
    ) -> None:
        self._home, self._mail, self._resolve, self._now = home, mail, resolve, now
        self._templates, self._theme = templates, theme
        self.outgoing = Outgoing(lambda: resolve.smtp(mail.connection))
        self.sent: list[str] = []
        self.put_off = 0
        self.problems: dict[str, str] = {}

    @cached_property
    def _maker(self) -> Maker:
        sender = "" if self._mail.sender else self._resolve.smtp_sender(self._mail.connection)
        return Maker(self._home, self._mail, sender, self._templates, self._theme)

    def send_all(self) -> None:
        """Everything that is due; nothing of one mail stops another."""
        with self._home.database.read() as connection:
            waiting = mailings_where(connection, in_states((DUE, UNDELIVERABLE)), mailings.c.due_us <= to_us(self._now))
        for one in waiting:
            if one.state == DUE or self._maker.address_of(one) != one.proof.get("address"):
                self._send(one)

    def _send(self, one: Mailing) -> None:
        maker = self._maker  # what it cannot be made of stops the run, what a mail cannot be made of stops that mail
        try:
            made = maker.make(one)
        except (TemplateBroken, BillingError) as problem:
            self.problems[one.key] = str(problem)
            return
        if isinstance(made, Undeliverable):
            self._end(one, UNDELIVERABLE, made.problem, address=made.address, as_read=True)
            return
        self.outgoing.ready()
        at = datetime.now(UTC)
        message = as_bytes(made, at)
        # In "books", as a person decides: who has read that it is due comes before this, or sees it claimed.
        with self._home.database.exclusive("books") as connection:
            to = ", ".join(box.address for box in made.to)
            if not claim(connection, one, recipient=to, message_id=made.message_id, at=at):
                return
        commit_points.reached(commit_points.MAIL_CLAIMED)
        try:
            accepted = self.outgoing.send(made, message)
        except NotSent as problem:
            self._not_sent(one, problem)
        except CannotCarry as problem:
            self._end(one, UNDELIVERABLE, str(problem), address=maker.address_of(one))
        except MaybeSent as problem:
            self._end(one, UNKNOWN, str(problem))
        else:
            commit_points.reached(commit_points.MAIL_ANSWERED)
            self._record(one, made, message, accepted, at)

    def _not_sent(self, one: Mailing, problem: NotSent) -> None:
        """Due again later, or given up."""
        tries = one.attempts + 1
        if tries > len(RETRY_AFTER) or (problem.is_permanent and tries >= TRIES_OF_REFUSED):
            self._end(one, FAILED, f"{problem}; given up after {tries} tries")
            return
        self.put_off += 1
        proof = {**one.proof, "problem": str(problem)}
        with self._home.database.write() as connection:
            put(connection, one.key, DUE, proof, due=self._now + RETRY_AFTER[tries - 1])
        warn("mail put off", key=one.key, problem=str(problem), tries=tries)

    def _record(self, one: Mailing, made: Mail, message: bytes, accepted: Accepted, at: datetime) -> None:
        ended = datetime.now(UTC)
        proof = _proof(made, message, accepted, at)
        said = {"key": one.key, "kind": one.kind, "about": one.subject_id, "by": origin(), **proof}
        with self._home.database.exclusive("books") as connection:
            put(connection, one.key, SENT, {**proof, "earlier": one.earlier}, ended=ended)
            log.append(connection, ended, "mail", said)
        commit_points.reached(commit_points.MAIL_RECORDED)
        self.sent.append(one.key)
        say("mail sent", key=one.key, message_id=made.message_id)

    def _end(self, one: Mailing, state: str, problem: str, address: str = "", as_read: bool = False) -> None:
        if one.state == state and one.problem == problem and one.proof.get("address") == address:
            return
        _in_trouble(self._home, one, state, problem, address, as_read)


def _in_trouble(home: Home, one: Mailing, state: str, problem: str, address: str = "", as_read: bool = False) -> None:
    """A state that waits for a person, with a row of the log. ``as_read``: of a mail that was not claimed, so that
    nothing becomes of one that a person has decided about meanwhile.
    """
    at = datetime.now(UTC)
    proof = {"problem": problem, "address": address, "earlier": one.earlier}
    said = {"key": one.key, "kind": one.kind, "about": one.subject_id, "state": state, "problem": problem}
    with home.database.exclusive("books") as connection:
        if as_read and mailing(connection, one.key) != one:
            return
        put(connection, one.key, state, proof, ended=at)
        log.append(connection, at, "mail_trouble", said | {"by": origin()})
    warn("mail in trouble", key=one.key, state=state, problem=problem)


def _give_up_claimed(home: Home) -> None:
    """Whoever claimed these was killed: while it lived, it held the lock that this process holds."""
    with home.database.read() as connection:
        left = mailings_where(connection, in_states((CLAIMED,)))
    for one in left:
        _in_trouble(home, one, UNKNOWN, _LOST)


def _drop_unwanted(home: Home, mail: DescribedMail, now: datetime) -> int:
    """What is due and not to be sent: kinds that are off, and all from before mail was switched on."""
    with home.database.exclusive("books") as connection:
        waiting = mailings_where(connection, in_states((DUE, UNDELIVERABLE)), mailings.c.due_us <= to_us(now))
        unwanted = [(one, why) for one in waiting if (why := _unwanted(one, mail)) and not one.proof.get("by_hand")]
        for one, why in unwanted:
            put(connection, one.key, DROPPED, {"problem": why, "earlier": one.earlier})
            said = {"key": one.key, "reason": why, "was": one.state, "by": origin()}
            log.append(connection, datetime.now(UTC), "mail_dropped", said)
        return len(unwanted)


def _unwanted(one: Mailing, mail: DescribedMail) -> str:
    if one.kind in mail.off:
        return f"mails of the kind {one.kind} are off in [mail]"
    return f"it is from before {format_instant(mail.since)}, since in [mail]" if one.due < mail.since else ""


def _tell_finance(home: Home, mail: DescribedMail, now: datetime) -> bool:
    """Write one mail to finance about everything that has come to wait for a person; whether there was any."""
    if not mail.finance or MailKind.DELIVERY_PROBLEM.value in mail.off:
        return False
    with home.database.exclusive("books") as connection:
        waiting = mailings_where(connection, in_states(TROUBLED), mailings.c.customer_id != "")
        news = [one for one in waiting if not one.proof.get("told")]
        if not news:
            return False
        for one in news:
            put(connection, one.key, one.state, {**one.proof, "told": True})
        key = f"{MailKind.DELIVERY_PROBLEM.value}:{_name_of(news)}"
        payload = {"count": len(news), "lines": _lines(news)}
        kind = MailKind.DELIVERY_PROBLEM
        return enqueue(connection, key, kind, subject_id=news[0].key, customer_id="", payload=payload, due=now)


def _name_of(news: Sequence[Mailing]) -> str:
    """One name for the same news."""
    told = [[one.key, one.state, one.attempts, one.problem, str(one.ended_at)] for one in news]
    return sha256(log.canonical(told).encode()).hexdigest()[:16]


def _lines(news: Sequence[Mailing]) -> list[str]:
    more = [f"and {len(news) - _TOLD_MAX} more"] if len(news) > _TOLD_MAX else []
    return [described(one) for one in news[:_TOLD_MAX]] + more


def _proof(made: Mail, message: bytes, accepted: Accepted, at: datetime) -> dict[str, object]:
    """What was sent, and what the server said."""
    files = [{"name": one.name, "bytes": len(one.content), "sha256": one.sha256} for one in made.attachments]
    return {
        "to": ", ".join(box.address for box in made.to),
        "copies": [box.address for box in made.copies],
        "refused": list(accepted.refused),
        "from": made.sender.address,
        "subject": made.subject,
        "message_id": made.message_id,
        "at": format_instant(at),
        "answer": accepted.answer,
        "bytes": len(message),
        "sha256": sha256(message).hexdigest(),
        "attachments": files,
    }


def _sent_part(one: Mailing) -> dict[str, object]:
    return {name: value for name, value in one.proof.items() if name != "earlier"}
