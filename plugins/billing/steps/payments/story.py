"""Payments as finance sees them: a list, and the whole story of one invoice's money, as facts and in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import Connection, select

from billing.core.collecting import InvoiceState
from billing.core.instants import format_instant, format_us, from_day
from billing.core.payments import ChargeState, EventKind
from billing.steps.payments.by_hand import read_account
from billing.steps.payments.methods import Methods
from billing.steps.payments.work import written
from billing.store import payments
from billing.store.home import Home
from billing.store.payments import Account, Charge, Event
from billing.store.tables import mailings

Facts: TypeAlias = Mapping[str, Any]

WHAT_TO_DO: Mapping[InvoiceState, str] = {
    InvoiceState.NOTHING_DUE: "nothing: a total of 0 is not collected",
    InvoiceState.OPEN: "nothing: it is not due yet, or the next run charges it",
    InvoiceState.OVERDUE: "the buyer is reminded by mail; when the transfer comes: billing payments record",
    InvoiceState.PARTLY_PAID: "the rest is awaited; when it comes: billing payments record",
    InvoiceState.PAID: "nothing",
    InvoiceState.OVERPAID: "more is held than is owed: the next run gives back for a credit note what the invoice's "
    "charge holds, and names the rest; pay that back and record it with billing payments refunded",
    InvoiceState.WAITING: "nothing: it is below the gateway's minimum and is collected with the next invoice",
    InvoiceState.PROCESSING: "nothing: the gateway is at it, the next run asks",
    InvoiceState.DECLINED: "nothing while a next attempt is named; else the buyer must give another payment method",
    InvoiceState.AUTHENTICATION_REQUIRED: "the buyer must confirm it at its bank, or give another payment method",
    InvoiceState.BLOCKED: "mend what is said; each run tries again",
    InvoiceState.UNCOLLECTED: "decide: billing payments retry, record or write-off",
    InvoiceState.DISPUTED: "answer the dispute at the gateway in time",
    InvoiceState.CHARGED_BACK: "the buyer's bank took it back: ask the buyer, or billing payments write-off",
    InvoiceState.CREDITED: "nothing: all of it was given back before it was paid",
    InvoiceState.WRITTEN_OFF: "nothing: it was given up",
}
"""What finance does in each state; ``docs/payments.md`` has the same table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PaymentListed:
    """An invoice's money in a list; amounts as texts, dates as they are written."""

    number: str
    customer_id: str
    issue_date: str
    due_date: str
    currency: str
    total: str
    credited: str
    held: str
    outstanding: str
    state: InvoiceState
    next_attempt: str
    why: str


def list_payments(home: Home, now: datetime, states: Collection[InvoiceState] = ()) -> list[PaymentListed]:
    """Every invoice's money at an instant, in the order of the numbers; of some ``states`` only where any are named."""
    methods = Methods.read(home)
    with home.database.read() as connection:
        found = payments.accounts(connection)
        charges = {charge.charge_key: charge for charge in payments.read_charges(connection)}
    listed = [_listed(account, charges.get(account.charge_key), methods, now) for account in found]
    return [one for one in listed if not states or one.state in states]


def _listed(account: Account, charge: Charge | None, methods: Methods, now: datetime) -> PaymentListed:
    standing = account.standing
    return PaymentListed(
        number=account.number,
        customer_id=account.customer_id,
        issue_date=from_day(account.issue_day).isoformat(),
        due_date=account.due.isoformat(),
        currency=account.currency,
        total=written(account.total_minor, account.currency),
        credited=written(standing.credited_minor, account.currency),
        held=written(standing.money.held, account.currency),
        outstanding=written(standing.outstanding_minor, account.currency),
        state=standing.state(methods.day(now)),
        next_attempt=format_instant(charge.next_attempt) if charge and charge.next_attempt else "",
        why=_why(charge),
    )


def _why(charge: Charge | None) -> str:
    if charge is None or not charge.problem:
        return ""
    return charge.problem if not charge.detail else f"{charge.problem}: {charge.detail}"


def story(home: Home, number: str, now: datetime) -> dict[str, Any]:
    """All there is to say of an invoice's money. ``NotFound`` for a number that was never issued."""
    methods = Methods.read(home)
    with home.database.read() as connection:
        account = read_account(connection, number)
        charge = payments.charge_of(connection, number)
        mails = _mails(connection, number, charge)
    listed = _listed(account, charge, methods, now)
    fields = ("number", "customer_id", "issue_date", "due_date", "currency", "total", "credited", "held", "outstanding")
    facts: dict[str, Any] = {name: getattr(listed, name) for name in fields}
    facts |= {"state": listed.state.value, "what_to_do": WHAT_TO_DO[listed.state], "replaces": account.replaces}
    facts["credit_notes"] = [
        {"number": note, "total": written(total, account.currency)} for note, total in account.notes
    ]
    facts["charge"] = None if charge is None else _charge_facts(charge, methods)
    facts["events"] = [_event_facts(event, account.currency) for event in account.events]
    facts["mails"] = mails
    return facts


def _charge_facts(charge: Charge, methods: Methods) -> dict[str, Any]:
    method = methods.named(charge.payment_method_id)
    return {
        "key": charge.charge_key,
        "state": charge.state.value,
        "gateway": charge.gateway,
        "method": method.shown if method else charge.payment_method_id,
        "reference": charge.reference,
        "amount": written(charge.amount_minor, charge.currency),
        "invoices": list(charge.numbers),
        "attempts": charge.attempts,
        "attempted_at": format_instant(charge.attempted_at) if charge.attempted_at else "",
        "next_attempt": format_instant(charge.next_attempt) if charge.next_attempt else "",
        "problem": charge.problem,
        "detail": charge.detail,
    }


def _event_facts(event: Event, currency: str) -> dict[str, Any]:
    return {
        "at": format_instant(event.at),
        "kind": event.kind.value,
        "amount": written(event.amount_minor, currency),
        "gateway": event.gateway,
        "reference": event.reference,
        "detail": event.detail,
    }


def _mails(connection: Connection, number: str, charge: Charge | None) -> list[dict[str, str]]:
    about = [number, *([charge.charge_key] if charge else [])]
    query = select(mailings.c.kind, mailings.c.mail_key, mailings.c.due_us, mailings.c.state)
    order = (mailings.c.due_us, mailings.c.mail_key)
    rows = connection.execute(query.where(mailings.c.subject_id.in_(about)).order_by(*order))
    return [{"kind": row.kind, "key": row.mail_key, "due": format_us(row.due_us), "state": row.state} for row in rows]


def in_words(facts: Facts) -> list[str]:
    """The same as lines of plain text."""
    return [*_head(facts), *_words_of_charge(facts), "", *_words_of_events(facts), *_words_of_mails(facts)]


def _head(facts: Facts) -> Iterator[str]:
    currency = facts["currency"]
    yield f"Invoice {facts['number']} of {facts['issue_date']}, {facts['total']} {currency}: {facts['state']}"
    yield f"  outstanding  {facts['outstanding']} {currency}, due {facts['due_date']}"
    for note in facts["credit_notes"]:
        yield f"  given back   {note['total']} {currency} by {note['number']}"
    if facts["replaces"]:
        yield f"  it takes the place of {facts['replaces']}"
    yield f"  to do        {facts['what_to_do']}"


def _words_of_charge(facts: Facts) -> Iterator[str]:
    charge = facts["charge"]
    if charge is None:
        yield "  by bank transfer"
        return
    yield f"  charged to {charge['method']} by {charge['gateway']}: {charge['state']}, {charge['attempts']} attempts"
    if len(charge["invoices"]) > 1:
        yield f"  together     {charge['amount']} {facts['currency']} for {', '.join(charge['invoices'])}"
    if charge["problem"]:
        yield f"  problem      {charge['problem']}: {charge['detail']}".rstrip(": ")
    if charge["next_attempt"]:
        yield f"  next attempt {charge['next_attempt']}"


_SAID: Mapping[EventKind, str] = {
    EventKind.RECEIVED: "received",
    EventKind.REFUNDED: "given back",
    EventKind.REFUND_FAILED: "given back and did not arrive",
    EventKind.DISPUTED: "disputed",
    EventKind.DISPUTE_WON: "dispute won",
    EventKind.DISPUTE_LOST: "dispute lost",
    EventKind.WRITTEN_OFF: "given up",
    EventKind.DECLINED: "declined",
    EventKind.AUTHENTICATION_REQUIRED: "the buyer must confirm it",
}


def _words_of_events(facts: Facts) -> Iterator[str]:
    if not facts["events"]:
        yield "Nothing has happened yet."
    for event in facts["events"]:
        about = f" ({event['detail']})" if event["detail"] else ""
        what = f"{event['amount']} {facts['currency']} {_SAID[EventKind(event['kind'])]}"
        yield f"{event['at']}  {what}, {event['gateway']} {event['reference']}{about}"


def _words_of_mails(facts: Facts) -> Iterator[str]:
    for mail in facts["mails"]:
        yield f"{mail['due']}  mail {mail['kind']}: {mail['state']}"


def paid_in_words(account: Account, charge: Charge | None) -> str:
    """How an invoice was paid, in a line; blank where nothing has happened."""
    standing, currency = account.standing, account.currency
    if not account.events and charge is None:
        return ""
    held = f"{written(standing.money.held, currency)} {currency} received"
    left = standing.outstanding_minor
    rest = f", {written(left, currency)} outstanding" if left > 0 else ""
    over = f", {written(-left, currency)} to be given back" if left < 0 else ""
    is_at_it = charge is not None and charge.state not in (ChargeState.PAID, ChargeState.CANCELLED)
    how = f" (charge {charge.state.value})" if charge and is_at_it else ""
    return f"{held}{rest}{over}{how}: `billing payments show {account.number}`"
