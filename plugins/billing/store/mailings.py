"""The outbox: a mail is written in the transaction of what it tells of, and sent later, once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, insert, select

from billing.core.instants import to_us
from billing.store.log import canonical
from billing.store.tables import mailings


class MailKind(StrEnum):
    """What a mail tells of; ``subject_id`` is the number, payment method, close or team that it is about."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"
    PAYMENT_DECLINED = "payment_declined"
    AUTHENTICATION_REQUIRED = "authentication_required"
    PAYMENT_FINAL_NOTICE = "payment_final_notice"
    PAYMENT_OVERDUE = "payment_overdue"
    CARD_EXPIRING = "card_expiring"
    RUN_SUMMARY = "run_summary"
    BALANCE_ALERT = "balance_alert"


DUE, CLAIMED, SENT, FAILED, UNKNOWN, DROPPED = "due", "claimed", "sent", "failed", "unknown", "dropped"
"""A mail is due until a sender has claimed it; unknown where the sender ended before it knew what became of it."""


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
