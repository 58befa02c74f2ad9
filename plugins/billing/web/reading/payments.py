"""What became of invoices' money: one word an invoice, from its charge, its events and its credit notes (rule 6.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Row, Select, Subquery, case, cast, func, literal, select

from billing.core.collecting import OF_CHARGES, InvoiceState
from billing.core.cycles import local_date
from billing.core.instants import day_number, from_day, to_us
from billing.core.particulars import TRANSFER_DAYS
from billing.core.payments import ChargeState, EventKind
from billing.core.reference import BLANK
from billing.store.database import in_parts
from billing.store.invoices import from_minor
from billing.store.payments import Account, accounts
from billing.store.tables import (
    CodePointText,
    charge_invoices,
    charges,
    credit_notes,
    cycles,
    documents,
    invoices,
    payment_events,
    reference_history,
)
from billing.web.reading import known


def today(connection: Connection, at: datetime) -> date:
    """The seller's local date at an instant: after it an invoice is overdue."""
    return local_date(known.seller_time_zone(connection), to_us(at))


def state_in_sql(columns: Mapping[str, ColumnElement[Any]], on: date) -> ColumnElement[str]:
    """``core.collecting.Standing.state`` where many are counted: the same word, found by the database from ``total``,
    ``credited``, ``held``, ``disputed``, ``lost``, ``written_off``, ``charge`` (its state, or none), ``due`` (a day).
    """
    total, credited, charge = columns["total"], columns["credited"], columns["charge"]
    held, disputed, lost = columns["held"], columns["disputed"], columns["lost"]
    outstanding = total - credited - held - columns["written_off"]
    is_late = (columns["due"] < day_number(on)) & func.coalesce(charge != ChargeState.OPEN.value, literal(True))
    return case(
        (total == 0, _word(InvoiceState.NOTHING_DUE)),
        (disputed > lost, _word(InvoiceState.DISPUTED)),
        (outstanding < 0, _word(InvoiceState.OVERPAID)),
        ((outstanding == 0) & (columns["written_off"] != 0), _word(InvoiceState.WRITTEN_OFF)),
        ((outstanding == 0) & (credited == total), _word(InvoiceState.CREDITED)),
        (outstanding == 0, _word(InvoiceState.PAID)),
        (lost != 0, _word(InvoiceState.CHARGED_BACK)),
        *((charge == its.value, _word(state)) for its, state in OF_CHARGES.items()),
        (is_late, _word(InvoiceState.OVERDUE)),
        (held > 0, _word(InvoiceState.PARTLY_PAID)),
        else_=_word(InvoiceState.OPEN),
    )


def _word(state: InvoiceState) -> ColumnElement[str]:
    return literal(state.value, CodePointText)


def money_by_invoice(which: ColumnElement[bool], on: date) -> Subquery:
    """A row an invoice that the condition (of ``invoices``) chooses: ``number``, where it stands in the order of issue,
    its amounts, what became of its money in minor units, and its ``state`` on a day.
    """
    chosen = select(invoices.c.number).where(which)
    moved, back, seller = _moved_by_invoice(chosen), _credited_by_invoice(chosen), reference_history["seller"]
    found = {name: _or_none(moved.c[name]) for name in ("held", "disputed", "lost", "written_off")}
    found |= {"credited": _or_none(back.c.credited), "total": invoices.c.total_minor}
    days = case((seller.c.payment_days == BLANK, TRANSFER_DAYS), else_=seller.c.payment_days)
    by_transfer = func.coalesce(days, TRANSFER_DAYS, type_=BigInteger())
    due = invoices.c.issue_day + case((charges.c.charge_key.is_(None), by_transfer), else_=literal(0, BigInteger))
    names = ("number", "year", "prefix", "sequence", "currency", "net_minor", "tax_minor", "total_minor")
    left = found["total"] - found["credited"] - found["held"] - found["written_off"]
    return (
        select(
            *(invoices.c[name] for name in names),
            *(found[name].label(name) for name in ("credited", "held", "written_off")),
            left.label("outstanding"),
            state_in_sql({**found, "charge": charges.c.state, "due": due}, on).label("state"),
        )
        .select_from(
            invoices.outerjoin(moved, moved.c.number == invoices.c.number)
            .outerjoin(back, back.c.number == invoices.c.number)
            .outerjoin(charge_invoices, charge_invoices.c.number == invoices.c.number)
            .outerjoin(charges, charges.c.charge_key == charge_invoices.c.charge_key)
            .outerjoin(
                seller,
                (seller.c.known_from <= invoices.c.pinned_load) & (seller.c.known_to > invoices.c.pinned_load),
            )
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
            added((EventKind.DISPUTE_LOST, 1)).label("lost"),
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
    """An invoice in a list; names are those known now, blank where none is. ``credited``: what credit notes gave back;
    ``collected``: what is held of the buyer's money for it; ``outstanding``: what is still owed, below 0 what is owed
    to the buyer. ``due_date``: after it the invoice is overdue as long as anything is owed; a charge is due at once.
    ``documents``: kinds of its files.
    """

    number: str
    team_id: str
    team_name: str
    customer_id: str
    customer_name: str
    subscription_id: str
    period_first_day: date
    period_last_day: date
    issue_date: date
    due_date: date
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


def invoice_rows(connection: Connection, heads: Select[Any], at: datetime) -> list[InvoiceRow]:
    """The invoices that a query of ``invoices`` finds, in its order, as they stand at an instant."""
    found = connection.execute(heads).all()
    numbers = [head.number for head in found]
    on = today(connection, at)
    money = {one.number: one for some in in_parts(numbers) for one in accounts(connection, invoices.c.number.in_(some))}
    kinds, periods = _documents(connection, numbers), _periods(connection, found)
    teams = known.names(connection, "teams", {head.team_id for head in found})
    customers = known.names(connection, "customers", {head.customer_id for head in found})
    return [
        _row(
            head,
            (teams.get(head.team_id, ""), customers.get(head.customer_id, "")),
            periods[head.team_id, head.cycle_start_us],
            money[head.number],
            on,
            kinds.get(head.number, ()),
        )
        for head in found
    ]


def _row(
    head: Row[Any],
    names: tuple[str, str],
    period: tuple[date, date],
    account: Account,
    on: date,
    kinds: Sequence[str],
) -> InvoiceRow:
    def money(minor: int) -> Decimal:
        return from_minor(minor, head.currency)

    standing = account.standing
    return InvoiceRow(
        number=head.number,
        team_id=head.team_id,
        team_name=names[0],
        customer_id=head.customer_id,
        customer_name=names[1],
        subscription_id=head.subscription_id,
        period_first_day=period[0],
        period_last_day=period[1],
        issue_date=from_day(head.issue_day),
        due_date=account.due,
        currency=head.currency,
        net=money(head.net_minor),
        tax=money(head.tax_minor),
        total=money(head.total_minor),
        credited=money(standing.credited_minor),
        collected=money(standing.money.held),
        written_off=money(standing.money.written_off),
        outstanding=money(standing.outstanding_minor),
        state=standing.state(on),
        replaces=head.replaces,
        documents=tuple(kinds),
    )


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
    return [row for some in in_parts(values) for row in connection.execute(query.where(column.in_(some)))]
