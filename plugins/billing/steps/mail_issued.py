"""What was issued goes into the outbox: invoices and credit notes that have a document, and the summary of a close."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, exists, select

from billing.core.instants import to_us
from billing.core.mail_kinds import MailKind
from billing.core.model import Invoice, InvoiceType
from billing.core.payments import MANUAL
from billing.documents.e_invoice.syntaxes import Syntax
from billing.steps.render import read_issued, unrendered
from billing.steps.run_summary import SUMMARY, has_page, in_words, run_summary
from billing.store.documents import PDF, name_of_close, own_document
from billing.store.home import Home
from billing.store.ledger import ISSUED, read_close
from billing.store.mailings import enqueue
from billing.store.tables import closes, credit_notes, cycles, documents, invoices, mailings

CII = Syntax.CII.value
_AT_ONCE = 200
_SUMMARISED = exists().where(own_document(name_of_close(closes.c.close_no), SUMMARY))
"""Whether a close has its summary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outboxed:
    """How many mails were written, and where it was asked for what could not be as it has no document yet: numbers, and
    ``close-N``.
    """

    written: int
    without_document: tuple[str, ...]


def mail_issued(
    home: Home,
    *,
    since: datetime,
    now: datetime,
    off: Collection[str] = (),
    finance: bool = True,
    name_missing: bool = True,
) -> Outboxed:
    """Write a mail for everything that was issued from ``since`` on and has none, due now, once each.

    Summaries are written where ``finance`` has an address, of closes that closed a cycle. ``name_missing``: say what
    has no document yet, which looks at everything since then.
    """
    since_us, kinds = to_us(since), {kind for kind in MailKind if kind.value not in off}
    tells_finance = finance and MailKind.RUN_SUMMARY in kinds
    with home.database.read() as connection:
        wanted = [
            number
            for kind in (MailKind.INVOICE, MailKind.CREDIT_NOTE)
            if kind in kinds
            for number in _unmailed(connection, kind, since_us)
        ]
        summaries = _unmailed_closes(connection, since_us) if tells_finance else []
        missing = _without_document(connection, since_us, summaries=tells_finance) if name_missing else ()
    written = 0
    for low in range(0, len(wanted), _AT_ONCE):
        written += _write(home, list(read_issued(home, wanted[low : low + _AT_ONCE])), now)
    for close_no in summaries:
        written += _write_summary(home, close_no, now)
    return Outboxed(written=written, without_document=missing)


def undocumented(home: Home, close_no: int) -> list[str]:
    """What has no document yet once a close is through: numbers of everything that was issued, and its own summary,
    which a close that is not issued (it waits for approval) has none of.
    """
    with home.database.read() as connection:
        issued = read_close(connection, close_no).state == ISSUED
        summarised = select(_SUMMARISED).select_from(closes).where(closes.c.close_no == close_no)
        lacks_summary = issued and not connection.execute(summarised).scalar()
    return unrendered(home) + ([f"close-{close_no}"] if lacks_summary and has_page(home, close_no) else [])


def _without_document(connection: Connection, since_us: int, *, summaries: bool) -> tuple[str, ...]:
    """What was issued since then and has no PDF yet: numbers of invoices and credit notes, and closes of cycles."""
    missing: list[str] = []
    for table in (invoices, credit_notes):
        order = (table.c.year, table.c.prefix, table.c.sequence)
        has = exists().where(own_document(table.c.number, PDF))
        query = select(table.c.number).where(table.c.issued_at_us >= since_us, ~has)
        missing += connection.execute(query.order_by(*order)).scalars()
    if summaries:
        missing += (f"close-{close_no}" for close_no in _closes(connection, since_us, ~_SUMMARISED))
    return tuple(missing)


def _unmailed(connection: Connection, kind: MailKind, since_us: int) -> list[str]:
    table = invoices if kind is MailKind.INVOICE else credit_notes
    written = exists().where(mailings.c.kind == kind.value, mailings.c.subject_id == table.c.number)
    query = select(table.c.number).join(documents, own_document(table.c.number, PDF))
    query = query.where(table.c.issued_at_us >= since_us, ~written)
    return list(connection.execute(query.order_by(table.c.year, table.c.prefix, table.c.sequence)).scalars())


def _closes(connection: Connection, since_us: int, *wanted: ColumnElement[bool]) -> list[int]:
    """Issued closes that closed a cycle: those that closed none are not worth a mail an hour."""
    some = exists().where(cycles.c.close_no == closes.c.close_no)
    issued = closes.c.state == ISSUED, closes.c.issued_at_us >= since_us
    query = select(closes.c.close_no).where(*issued, some, *wanted)
    return list(connection.execute(query.order_by(closes.c.close_no)).scalars())


def _unmailed_closes(connection: Connection, since_us: int) -> list[int]:
    name = name_of_close(closes.c.close_no)
    mailed = exists().where(mailings.c.kind == MailKind.RUN_SUMMARY.value, mailings.c.subject_id == name)
    return _closes(connection, since_us, _SUMMARISED, ~mailed)


def _write(home: Home, issued: Sequence[Invoice], now: datetime) -> int:
    with home.database.exclusive("books") as connection:
        return sum(
            enqueue(
                connection,
                f"{kind_of(one).value}:{one.number}",
                kind_of(one),
                subject_id=one.number,
                customer_id=one.customer.customer_id,
                payload=payload_of(one),
                due=now,
            )
            for one in issued
        )


def _write_summary(home: Home, close_no: int, now: datetime) -> int:
    found = run_summary(home, close_no)
    payload = {"close": close_no, "invoices": found.invoices, "lines": in_words(found)}
    with home.database.exclusive("books") as connection:
        return enqueue(
            connection,
            f"{MailKind.RUN_SUMMARY.value}:close-{close_no}",
            MailKind.RUN_SUMMARY,
            subject_id=f"close-{close_no}",
            customer_id="",
            payload=payload,
            due=now,
        )


def kind_of(issued: Invoice) -> MailKind:
    """Which mail it is told by."""
    return MailKind.CREDIT_NOTE if issued.type is InvoiceType.CREDIT_NOTE else MailKind.INVOICE


def payload_of(issued: Invoice) -> Mapping[str, object]:
    """What the mail's words need: amounts and days as texts, blank where there are none."""
    told = {
        "number": issued.number,
        "amount": f"{issued.total:f}",
        "currency": issued.currency,
        "issue_date": issued.issue_date.isoformat(),
    }
    if issued.type is InvoiceType.CREDIT_NOTE:
        before = issued.preceding
        named = {"invoice": before.number, "invoice_date": before.issue_date.isoformat()} if before else {}
        return told | {"invoice": "", "invoice_date": ""} | named | {"reason": issued.reason}
    return told | {
        "due_date": issued.due_date.isoformat() if issued.due_date else "",
        "period_first_day": issued.cycle.period_first_day.isoformat(),
        "period_last_day": issued.cycle.period_last_day.isoformat(),
        "method": _method(issued),
    }


def _method(issued: Invoice) -> str:
    """How it is charged; blank where it is not."""
    method = issued.payment_method
    if method is None or method.gateway == MANUAL or not issued.total:
        return ""
    return f"{method.brand} •••• {method.last4}" if method.last4 else method.brand
