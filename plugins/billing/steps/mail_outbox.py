"""The outbox, looked at."""

from __future__ import annotations

from billing.core.errors import UsageError
from billing.store.home import Home
from billing.store.mailings import STATES, Mailing, in_states, mailing, mailings_where


def list_mails(home: Home, state: str = "") -> list[Mailing]:
    """Every mail, or those in one state, in the order in which they are due. ``UsageError`` for no state of mails."""
    if state and state not in STATES:
        raise UsageError(f"{state!r} is no state of a mail; there are {', '.join(STATES)}.")
    with home.database.read() as connection:
        return mailings_where(connection, *([in_states((state,))] if state else []))


def read_mail(home: Home, key: str) -> Mailing:
    """One of them. ``NotFound`` where there is none of this key."""
    with home.database.read() as connection:
        return mailing(connection, key)
