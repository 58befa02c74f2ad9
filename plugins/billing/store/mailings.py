"""The outbox: a mail is written in the transaction of what it tells of, and sent later, once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from billing.core.errors import NotFound
from billing.core.instants import from_us, to_us
from billing.core.mail_kinds import MailKind
from billing.store.log import canonical
from billing.store.tables import mailings

DUE, CLAIMED, SENT, FAILED, UNKNOWN, DROPPED = "due", "claimed", "sent", "failed", "unknown", "dropped"
UNDELIVERABLE = "undeliverable"
"""A mail is due until a sender has claimed it; unknown where the sender ended before it knew what became of it;
undeliverable while its reader has no address that it can go to; dropped where it is not to be sent.
"""
STATES = (DUE, CLAIMED, SENT, FAILED, UNKNOWN, UNDELIVERABLE, DROPPED)
TROUBLED = (FAILED, UNKNOWN, UNDELIVERABLE)
"""Those that wait for a person."""
NOT_THROUGH = (DUE, CLAIMED, *TROUBLED)
"""Those of which something is still to come: a try, or what a person decides."""


def enqueue(
    connection: Connection,
    key: str,
    kind: MailKind,
    *,
    subject_id: str,
    customer_id: str,
    payload: Mapping[str, object],
    due: datetime,
) -> bool:
    """Write a mail that is to be sent from ``due`` on, unless one of this key was written before; whether it is new.

    ``customer_id`` is blank where it goes to finance. The caller's transaction excludes other writers (``books``).
    """
    if connection.execute(select(mailings.c.mail_key).where(mailings.c.mail_key == key)).first():
        return False
    row = {"mail_key": key, "kind": kind.value, "subject_id": subject_id, "customer_id": customer_id}
    row |= {"payload": canonical(payload), "state": DUE}
    connection.execute(insert(mailings).values(**row, due_us=to_us(due)))
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Mailing:
    """A row of the outbox. ``proof`` says of what was sent: what, to whom, what the server answered; of what was not:
    the ``problem``; and in ``earlier`` what was sent before a person had it sent again.
    """

    key: str
    kind: str
    subject_id: str
    customer_id: str
    payload: Mapping[str, Any]
    due: datetime
    state: str
    attempts: int
    recipient: str
    message_id: str
    claimed_at: datetime | None
    ended_at: datetime | None
    proof: Mapping[str, Any]

    @property
    def earlier(self) -> list[Mapping[str, Any]]:
        """What was sent before."""
        return list(self.proof.get("earlier", []))

    @property
    def problem(self) -> str:
        """Why it was not sent; blank where nothing is known to be wrong."""
        return str(self.proof.get("problem", ""))


def mailings_where(connection: Connection, *where: ColumnElement[bool]) -> list[Mailing]:
    """Rows of the outbox, in the order in which they are due."""
    rows = connection.execute(select(mailings).where(*where).order_by(mailings.c.due_us, mailings.c.mail_key))
    return [_mailing(row) for row in rows]


def mailing(connection: Connection, key: str) -> Mailing:
    """One of them. ``NotFound`` where there is none of this key."""
    for found in mailings_where(connection, mailings.c.mail_key == key):
        return found
    raise NotFound(f"There is no mail {key!r}; `billing mail list` names them all.")


def claim(connection: Connection, of: Mailing, *, recipient: str, message_id: str, at: datetime) -> bool:
    """Take a mail that nobody has taken since it was read, so that nobody else sends it; whether that is so."""
    as_read = (mailings.c.mail_key == of.key, mailings.c.state == of.state, mailings.c.attempts == of.attempts)
    values = {"state": CLAIMED, "attempts": of.attempts + 1, "recipient": recipient, "message_id": message_id}
    taken = connection.execute(update(mailings).where(*as_read).values(**values, claimed_at_us=to_us(at)))
    return taken.rowcount == 1


def put(
    connection: Connection,
    key: str,
    state: str,
    proof: Mapping[str, object],
    *,
    ended: datetime | None = None,
    due: datetime | None = None,
    attempts: int | None = None,
) -> None:
    """Give a mail another state, with what is known of it. What is None stays as it is."""
    changed: dict[str, object] = {"state": state, "proof": canonical(proof)}
    changed |= {} if ended is None else {"ended_at_us": to_us(ended)}
    changed |= {} if due is None else {"due_us": to_us(due)}
    changed |= {} if attempts is None else {"attempts": attempts}
    connection.execute(update(mailings).where(mailings.c.mail_key == key).values(**changed))


def in_states(states: Sequence[str]) -> ColumnElement[bool]:
    """Those in any of these states."""
    return mailings.c.state.in_(states)


def _mailing(row: Any) -> Mailing:
    return Mailing(
        key=row.mail_key,
        kind=row.kind,
        subject_id=row.subject_id,
        customer_id=row.customer_id,
        payload=json.loads(row.payload),
        due=from_us(row.due_us),
        state=row.state,
        attempts=row.attempts,
        recipient=row.recipient,
        message_id=row.message_id,
        claimed_at=None if row.claimed_at_us is None else from_us(row.claimed_at_us),
        ended_at=None if row.ended_at_us is None else from_us(row.ended_at_us),
        proof=json.loads(row.proof) if row.proof else {},
    )
