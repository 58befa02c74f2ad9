"""Answers to what a close was asked for, and what they are judged by: invoices of earlier closes (rule 6.7)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, func, insert, select

from billing.core.approval import Earlier
from billing.core.instants import from_us, to_us
from billing.store.database import in_parts, insert_rows
from billing.store.invoices import from_minor
from billing.store.log import canonical
from billing.store.tables import approvals, cycles, invoices, rejections


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What was answered for a close: who and when, why it was asked, the hash of what was seen, and by team the reason
    for which it was left out.
    """

    close_no: int
    approved_at: datetime
    approved_by: str
    asked_why: tuple[str, ...]
    seen_sha256: str
    comment: str
    rejected: Mapping[str, str]


def read_answer(connection: Connection, close_no: int) -> Answer | None:
    """The answer for a close; None where there is none."""
    row = connection.execute(select(approvals).where(approvals.c.close_no == close_no)).first()
    if row is None:
        return None
    mine = select(rejections.c.team_id, rejections.c.reason).where(rejections.c.close_no == close_no)
    return Answer(
        close_no=close_no,
        approved_at=from_us(row.approved_at_us),
        approved_by=row.approved_by,
        asked_why=tuple(json.loads(row.asked_why)),
        seen_sha256=row.seen_sha256,
        comment=row.comment,
        rejected={one.team_id: one.reason for one in connection.execute(mine.order_by(rejections.c.team_id))},
    )


def write_answer(connection: Connection, answer: Answer, spans: Mapping[str, tuple[int, int]]) -> None:
    """Write an answer, once a close. ``spans``: by rejected team from where to where its rated cycles went."""
    connection.execute(
        insert(approvals).values(
            close_no=answer.close_no,
            approved_at_us=to_us(answer.approved_at),
            approved_by=answer.approved_by,
            asked_why=canonical(answer.asked_why),
            seen_sha256=answer.seen_sha256,
            comment=answer.comment,
        )
    )
    rows = [
        {
            "close_no": answer.close_no,
            "team_id": team_id,
            "cycle_start_us": spans[team_id][0],
            "cycle_end_us": spans[team_id][1],
            "reason": reason,
        }
        for team_id, reason in sorted(answer.rejected.items())
    ]
    insert_rows(connection, rejections, rows)


def rejected_cycles(connection: Connection, close_no: int) -> dict[tuple[str, int], str]:
    """The cycles of a close that earlier closes had rated and a person left out, with the last reason given: by team
    and start.
    """
    span = and_(
        rejections.c.team_id == cycles.c.team_id,
        rejections.c.cycle_start_us <= cycles.c.cycle_start_us,
        rejections.c.cycle_end_us > cycles.c.cycle_start_us,
        rejections.c.close_no < close_no,
    )
    columns = cycles.c.team_id, cycles.c.cycle_start_us, rejections.c.reason
    query = select(*columns).join(rejections, span).where(cycles.c.close_no == close_no)
    return {
        (row.team_id, row.cycle_start_us): row.reason
        for row in connection.execute(query.order_by(rejections.c.close_no))
    }


def earlier_invoices(
    connection: Connection, close_no: int, subscription_ids: Iterable[str], at_most: int
) -> Iterator[Earlier]:
    """The last invoices that closes before this one issued to each of the subscriptions."""
    newest = func.row_number().over(partition_by=invoices.c.subscription_id, order_by=invoices.c.cycle_start_us.desc())
    columns = [invoices.c[name] for name in ("subscription_id", "cycle_start_us", "currency", "net_minor")]
    own = invoices.c.close_no < close_no, invoices.c.revision == 1
    for some in in_parts(sorted(set(subscription_ids))):
        numbered = select(*columns, newest.label("place")).where(*own, invoices.c.subscription_id.in_(some)).subquery()
        for row in connection.execute(select(numbered).where(numbered.c.place <= at_most)):
            yield Earlier(
                subscription_id=row.subscription_id,
                cycle_start_us=row.cycle_start_us,
                currency=row.currency,
                net=from_minor(row.net_minor, row.currency),
            )


def known_buyers(connection: Connection, close_no: int) -> set[str]:
    """The customers that had an invoice of an earlier close."""
    own = invoices.c.close_no < close_no, invoices.c.revision == 1
    return set(connection.execute(select(invoices.c.customer_id).where(*own).distinct()).scalars())
