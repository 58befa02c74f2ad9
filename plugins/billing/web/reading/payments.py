"""What became of invoices' money: one word an invoice, from its charge, its events and its credit notes (rule 6.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Row, Select, Subquery, case, cast, func, literal, select

from billing.core.instants import from_day
from billing.core.payments import ChargeState, EventKind, Money
from billing.store.invoices import from_minor
from billing.store.tables import (
    CodePointText,
    charge_invoices,
    charges,
    credit_notes,
    cycles,
    documents,
    invoices,
    payment_events,
)

_NAMED_AT_ONCE = 500


class InvoiceState(StrEnum):
    """What an invoice's money came to, as finance and the buyer see it. Its charge's state where money is awaited."""

    NOTHING_DUE = "nothing_due"  # a total of 0
    ISSUED = "issued"  # owed, and no charge was begun: a bank transfer, or the next collection
    WAITING = "waiting"
    OPEN = "open"
    PROCESSING = "processing"
    DECLINED = "declined"
    AUTHENTICATION_REQUIRED = "authentication_required"
    BLOCKED = "blocked"
    UNCOLLECTED = "uncollected"
    DISPUTED = "disputed"  # the buyer's bank has taken it back
    PARTLY_PAID = "partly_paid"
    PAID = "paid"
    WRITTEN_OFF = "written_off"
    CREDITED = "credited"  # credit notes gave all of it back
    OWED_TO_BUYER = "owed_to_buyer"  # more was paid than is owed


_OF_CHARGES = frozenset(ChargeState) - {ChargeState.PAID, ChargeState.CANCELLED}


def state_of(total_minor: int, credited_minor: int, sums: Money, charge: ChargeState | None) -> InvoiceState:
    """The word for an invoice. Amounts are in minor units; ``charge`` is None where none was begun."""
    outstanding = sums.outstanding(total_minor, credited_minor)
    if outstanding < 0:
        return InvoiceState.OWED_TO_BUYER
    if outstanding == 0:
        return _settled(total_minor, credited_minor, sums)
    if sums.disputed > 0:
        return InvoiceState.DISPUTED
    if charge in _OF_CHARGES and charge is not None:
        return InvoiceState(charge.value)
    return InvoiceState.PARTLY_PAID if sums.held > 0 else InvoiceState.ISSUED


def _settled(total_minor: int, credited_minor: int, sums: Money) -> InvoiceState:
    if total_minor == 0:
        return InvoiceState.NOTHING_DUE
    if sums.written_off > 0:
        return InvoiceState.WRITTEN_OFF
    return InvoiceState.CREDITED if credited_minor == total_minor else InvoiceState.PAID


def state_in_sql(
    total: ColumnElement[int],
    credited: ColumnElement[int],
    held: ColumnElement[int],
    disputed: ColumnElement[int],
    written_off: ColumnElement[int],
    charge: ColumnElement[Any],
) -> ColumnElement[str]:
    """``state_of`` where many are counted: the same word, found by the database."""
    outstanding = total - credited - held - written_off
    return case(
        (outstanding < 0, _word(InvoiceState.OWED_TO_BUYER)),
        ((outstanding == 0) & (total == 0), _word(InvoiceState.NOTHING_DUE)),
        ((outstanding == 0) & (written_off > 0), _word(InvoiceState.WRITTEN_OFF)),
        ((outstanding == 0) & (credited == total), _word(InvoiceState.CREDITED)),
        (outstanding == 0, _word(InvoiceState.PAID)),
        (disputed > 0, _word(InvoiceState.DISPUTED)),
        (charge.in_(sorted(_OF_CHARGES)), charge),
        (held > 0, _word(InvoiceState.PARTLY_PAID)),
        else_=_word(InvoiceState.ISSUED),
    )


def _word(state: InvoiceState) -> ColumnElement[str]:
    return literal(state.value, CodePointText)


def money_by_invoice(which: ColumnElement[bool]) -> Subquery:
    """A row an invoice that the condition (of ``invoices``) chooses: ``number``, where it stands in the order of issue,
    its amounts, what became of its money in minor units, and its ``state``.
    """
    chosen = select(invoices.c.number).where(which)
    moved, back = _moved_by_invoice(chosen), _credited_by_invoice(chosen)
    held, disputed, written_off = (_or_none(moved.c[name]) for name in ("held", "disputed", "written_off"))
    credited, total = _or_none(back.c.credited), invoices.c.total_minor
    names = ("number", "year", "prefix", "sequence", "currency", "net_minor", "tax_minor", "total_minor")
    return (
        select(
            *(invoices.c[name] for name in names),
            credited.label("credited"),
            held.label("held"),
            written_off.label("written_off"),
            (total - credited - held - written_off).label("outstanding"),
            state_in_sql(total, credited, held, disputed, written_off, charges.c.state).label("state"),
        )
        .select_from(
            invoices.outerjoin(moved, moved.c.number == invoices.c.number)
            .outerjoin(back, back.c.number == invoices.c.number)
            .outerjoin(charge_invoices, charge_invoices.c.number == invoices.c.number)
            .outerjoin(charges, charges.c.charge_key == charge_invoices.c.charge_key)
        )
        .where(which)
        .subquery("money")
    )


def _moved_by_invoice(chosen: Select[Any]) -> Subquery:
    """``core.payments.Money`` of invoices' events, added up by the database."""
    kind, minor = payment_events.c.kind, payment_events.c.amount_minor

    def added(*signs: tuple[EventKind, int]) -> ColumnElement[int]:
        signed = case(*((kind == which.value, sign * minor) for which, sign in signs), else_=0)
        return cast(func.sum(signed), BigInteger)

    taken_back = ((EventKind.DISPUTED, -1), (EventKind.DISPUTE_WON, 1))
    given_back = ((EventKind.REFUNDED, -1), (EventKind.REFUND_FAILED, 1))
    return (
        select(
            payment_events.c.number,
            added((EventKind.RECEIVED, 1), *given_back, *taken_back).label("held"),
            (-added(*taken_back)).label("disputed"),
            added((EventKind.WRITTEN_OFF, 1)).label("written_off"),
        )
        .where(payment_events.c.number.in_(chosen))
        .group_by(payment_events.c.number)
        .subquery("moved")
    )


def _credited_by_invoice(chosen: Select[Any]) -> Subquery:
    number = credit_notes.c.invoice_number
    credited = cast(func.sum(credit_notes.c.total_minor), BigInteger).label("credited")
    return select(number.label("number"), credited).where(number.in_(chosen)).group_by(number).subquery("back")


def _or_none(column: ColumnElement[Any]) -> ColumnElement[int]:
    return func.coalesce(column, literal(0, BigInteger), type_=BigInteger())


@dataclass(frozen=True, kw_only=True, slots=True)
class InvoiceRow:
    """An invoice in a list. ``credited``: what credit notes gave back; ``collected``: what is held of the buyer's money
    for it; ``outstanding``: what is still owed, below 0 what is owed to the buyer. ``documents``: kinds of its files.
    """

    number: str
    team_id: str
    customer_id: str
    subscription_id: str
    period_first_day: date
    period_last_day: date
    issue_date: date
    currency: str
    net: Decimal
    tax: Decimal
    total: Decimal
    credited: Decimal
    collected: Decimal
    written_off: Decimal
    outstanding: Decimal
    state: InvoiceState
    replaces: str
    documents: tuple[str, ...]


def invoice_rows(connection: Connection, heads: Select[Any]) -> list[InvoiceRow]:
    """The invoices that a query of ``invoices`` finds, in its order."""
    found = connection.execute(heads).all()
    numbers = [head.number for head in found]
    sums, credited = money_of(connection, numbers), _credited(connection, numbers)
    states, kinds = _charge_states(connection, numbers), _documents(connection, numbers)
    periods = _periods(connection, found)
    return [
        _row(
            head,
            periods[head.team_id, head.cycle_start_us],
            credited.get(head.number, 0),
            sums.get(head.number, Money()),
            states.get(head.number),
            kinds.get(head.number, ()),
        )
        for head in found
    ]


def _row(
    head: Row[Any],
    period: tuple[date, date],
    credited: int,
    sums: Money,
    charge: ChargeState | None,
    kinds: Sequence[str],
) -> InvoiceRow:
    def money(minor: int) -> Decimal:
        return from_minor(minor, head.currency)

    return InvoiceRow(
        number=head.number,
        team_id=head.team_id,
        customer_id=head.customer_id,
        subscription_id=head.subscription_id,
        period_first_day=period[0],
        period_last_day=period[1],
        issue_date=from_day(head.issue_day),
        currency=head.currency,
        net=money(head.net_minor),
        tax=money(head.tax_minor),
        total=money(head.total_minor),
        credited=money(credited),
        collected=money(sums.held),
        written_off=money(sums.written_off),
        outstanding=money(sums.outstanding(head.total_minor, credited)),
        state=state_of(head.total_minor, credited, sums, charge),
        replaces=head.replaces,
        documents=tuple(kinds),
    )


def money_of(connection: Connection, numbers: Sequence[str]) -> dict[str, Money]:
    """By invoice what its events add up to; those without any are not in it."""
    amount = func.sum(payment_events.c.amount_minor).label("amount")
    query = select(payment_events.c.number, payment_events.c.kind, amount).group_by(
        payment_events.c.number, payment_events.c.kind
    )
    events: dict[str, list[tuple[EventKind, int]]] = {}
    for row in _named(connection, query, payment_events.c.number, numbers):
        events.setdefault(row.number, []).append((EventKind(row.kind), int(row.amount)))
    return {number: Money.of(mine) for number, mine in events.items()}


def _credited(connection: Connection, numbers: Sequence[str]) -> dict[str, int]:
    number = credit_notes.c.invoice_number
    query = select(number.label("number"), func.sum(credit_notes.c.total_minor).label("total")).group_by(number)
    return {row.number: int(row.total) for row in _named(connection, query, number, numbers)}


def _charge_states(connection: Connection, numbers: Sequence[str]) -> dict[str, ChargeState]:
    query = select(charge_invoices.c.number, charges.c.state).join(
        charges, charges.c.charge_key == charge_invoices.c.charge_key
    )
    return {row.number: ChargeState(row.state) for row in _named(connection, query, charge_invoices.c.number, numbers)}


def _documents(connection: Connection, numbers: Sequence[str]) -> dict[str, tuple[str, ...]]:
    query = select(documents.c.number, documents.c.kind).order_by(documents.c.kind)
    found: dict[str, tuple[str, ...]] = {}
    for row in _named(connection, query, documents.c.number, numbers):
        found[row.number] = (*found.get(row.number, ()), row.kind)
    return found


def _periods(connection: Connection, heads: Sequence[Row[Any]]) -> dict[tuple[str, int], tuple[date, date]]:
    """By team and start the local dates of a cycle's first and last instants."""
    columns = (cycles.c.team_id, cycles.c.cycle_start_us, cycles.c.period_first_day, cycles.c.period_last_day)
    wanted = {(head.team_id, head.cycle_start_us) for head in heads}
    rows = _named(connection, select(*columns), cycles.c.team_id, sorted({team_id for team_id, _ in wanted}))
    return {
        (row.team_id, row.cycle_start_us): (from_day(row.period_first_day), from_day(row.period_last_day))
        for row in rows
        if (row.team_id, row.cycle_start_us) in wanted
    }


def _named(connection: Connection, query: Select[Any], column: Any, values: Sequence[str]) -> list[Row[Any]]:
    found: list[Row[Any]] = []
    for low in range(0, len(values), _NAMED_AT_ONCE):
        found += connection.execute(query.where(column.in_(values[low : low + _NAMED_AT_ONCE]))).all()
    return found
