"""One invoice: its lines, how usage became them, what became of its money, its files, where its figures come from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, select

from billing.core.cycles import CycleSpan
from billing.core.errors import NotFound
from billing.core.instants import from_day, from_us
from billing.core.issuing import ApiFacts, api_facts
from billing.core.metering import units_by_size
from billing.core.model import SOURCES, ApiBilling, Kind
from billing.core.payments import ChargeState, EventKind
from billing.core.quantity import decimal_of_micro, round_half_up
from billing.store import credit_notes as notes
from billing.store.documents import documents_of
from billing.store.home import Home
from billing.store.invoices import from_minor, replaced_by
from billing.store.tables import (
    carry,
    charge_invoices,
    charges,
    closes,
    credit_notes,
    cycles,
    draws,
    invoice_lines,
    invoices,
    mailings,
    payment_events,
    reference_history,
    usage_days,
)
from billing.store.trace import Paid, TracedEvent, TracedLine, trace_line
from billing.web.reading import known
from billing.web.reading.known import instant, quantity
from billing.web.reading.payments import InvoiceRow, invoice_rows
from billing.web.reading.team import TeamCustomer, UnitsBySource
from billing.web.viewer import NO_MONEY, NotForYou, Viewer

EVENTS = 1_000
_DIGITS_OF_THE_NORM = 2
_MEDIA_TYPES: Mapping[str, str] = {"pdf": "application/pdf", "xml": "application/xml", "html": "text/html"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """Charged units of one API at one price (rule 6.1)."""

    line_no: int
    api: str
    api_name: str
    usage_unit: str
    unit_sizes: tuple[Decimal, ...]
    charged_units: int
    unit_price: Decimal
    net: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeSince:
    """The units that were completed while a unit size was in force, and since when it was: None where it already was
    when the cycle began.
    """

    unit_size: Decimal
    since: datetime | None
    charged_units: int


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitsLine:
    """How one API's usage became units in the cycle (rules 4.4, 6.6): opening + usage = units x size + closing. In the
    API's usage unit; ``usage`` includes ``late_usage``. ``invoiced_units`` are those on this invoice. An API that is
    not rated has usage only. ``by_size``: the units of each size, in order of time; none where the sums do not say it,
    and the events of a line do.
    """

    api: str
    api_name: str
    usage_unit: str
    billing: ApiBilling
    unit_sizes: tuple[Decimal, ...]
    by_size: tuple[SizeSince, ...]
    opening: Decimal
    usage: Decimal
    late_usage: Decimal
    units: tuple[UnitsBySource, ...]
    charged_units: int
    invoiced_units: int
    closing: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class CreditNoteLine:
    """What is given back of a line; ``by_amount``: 1 x an amount rather than units."""

    line_no: int
    invoice_line_no: int
    charged_units: int
    unit_price: Decimal
    net: Decimal
    by_amount: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class CreditNoteRow:
    """A credit note that names the invoice (rule 6.4); amounts are what it gives back, above 0."""

    number: str
    reason: str
    issued_at: datetime
    issue_date: date
    net: Decimal
    tax: Decimal
    total: Decimal
    lines: tuple[CreditNoteLine, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PaymentRow:
    """What happened to the invoice's money: when it happened, and when it was recorded here. ``detail``, which is the
    gateway's or finance's words, is blank for members.
    """

    kind: EventKind
    amount: Decimal
    gateway: str
    reference: str
    at: datetime
    recorded_at: datetime
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ChargeRow:
    """The charge that takes the invoice's money (rule 6.5), maybe with others of the same customer: ``amount`` is its
    whole. ``problem`` and ``detail`` are blank where nothing is wrong, and for members.
    """

    charge_key: str
    gateway: str
    state: ChargeState
    amount: Decimal
    attempts: int
    opened_at: datetime
    attempted_at: datetime | None
    next_attempt: datetime | None
    problem: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentRow:
    """A file of the invoice, or of one of its credit notes (``number``), as it was rendered once."""

    number: str
    kind: str
    media_type: str
    file_name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MailRow:
    """A mail about the invoice: when it is due, and when it was sent or given up. ``recipient``: blank before."""

    kind: str
    state: str
    due_at: datetime
    ended_at: datetime | None
    recipient: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What the figures were made from: the close, and what it pinned (rule 3.4). A rerun reads exactly this."""

    close_no: int
    as_of: datetime
    pinned_batch: int
    pinned_load: int
    tzdata: str
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DailyRow:
    """Actual usage of an API in the UTC days of the cycle, from ``first_day`` on, late usage apart (rule 6.6)."""

    api: str
    first_day: date
    quantities: tuple[Decimal, ...]
    late: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredMethod:
    """The payment method that an invoice names: never more than brand and last four digits, blank where there are
    none.
    """

    gateway: str
    brand: str
    last4: str
    is_direct_debit: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class InvoicePage:
    """Everything of one invoice. ``tax_percent`` and ``tax_category``: rule 6.2. ``payment_method``: what was stored at
    its issue (rule 6.5), None where it is to be paid by bank transfer. ``replaced_by``: the invoice that took its
    place, blank where none did. ``why_no_xml``: why it was rendered without an e-invoice, blank where it was not.
    """

    head: InvoiceRow
    team_name: str
    customer: TeamCustomer
    issued_at: datetime
    cycle_start: datetime
    cycle_end: datetime
    time_zone: str
    tax_category: str
    tax_percent: Decimal
    payment_method: StoredMethod | None
    replaced_by: str
    lines: tuple[Line, ...]
    units: tuple[UnitsLine, ...]
    daily: tuple[DailyRow, ...]
    credit_notes: tuple[CreditNoteRow, ...]
    payments: tuple[PaymentRow, ...]
    charge: ChargeRow | None
    mails: tuple[MailRow, ...]
    documents: tuple[DocumentRow, ...]
    why_no_xml: str
    origin: Origin


@dataclass(frozen=True, kw_only=True, slots=True)
class EventPaid:
    """Units by what paid for them (rule 5.1). Pay as you go has a net unit price and its currency; Token Flex and Flex
    have the tokens drawn. ``of_line``: they are units of this very line.
    """

    source: str
    charged_units: int
    unit_price: Decimal | None
    currency: str
    tokens: Decimal
    of_line: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class EventRow:
    """An event behind a line, in the order of rule 4.2: where the source said it (``file``, ``record``), the units that
    it completed and what paid for them, and the carry-over after it. ``place`` is its own in the order, from 0 on;
    ``new_price``: from here on pay as you go has another price than before.
    """

    place: int
    event_id: str
    occurred_at: datetime
    app_id: str
    quantity: Decimal
    corrects: str
    is_late: bool
    charged_units: int
    paid: tuple[EventPaid, ...]
    new_price: bool
    carry: Decimal
    batch_no: int
    file: str
    record: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceSince:
    """A price of pay as you go that was in force in the cycle, and since when; None where it already was when the cycle
    began.
    """

    unit_price: Decimal
    currency: str
    since: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LineEvents:
    """Where a line's figures come from (rule 7.3): the events of its API in the cycle, from the ``offset``-th on, at
    most 1,000; ``total`` says how many there are. They begin with ``opening`` and end with ``closing``; the units that
    they complete are those of all lines and sources of the API (``charged_units``), which ``paid`` and ``sizes`` say
    apart. ``own_total`` events completed units of this very line, the first of them at place ``own_first``; where
    ``own``, those are the events.
    """

    number: str
    line_no: int
    api: str
    usage_unit: str
    opening: Decimal
    closing: Decimal
    charged_units: int
    paid: tuple[EventPaid, ...]
    sizes: tuple[SizeSince, ...]
    prices: tuple[PriceSince, ...]
    total: int
    own: bool
    own_total: int
    own_first: int | None
    offset: int
    events: tuple[EventRow, ...]


def invoice(connection: Connection, viewer: Viewer, number: str, *, at: datetime) -> InvoicePage:
    """All of an invoice, its money as it stands at an instant.

    Raises ``NotForYou``, and ``NotFound`` (to operators) for a number that was never issued.
    """
    head = demand_invoice(connection, viewer, number)
    cycle = connection.execute(_cycle_of(head)).one()
    span = CycleSpan(cycle.cycle_start_us, cycle.cycle_end_us, cycle.time_zone, None)
    [row] = invoice_rows(connection, select(invoices).where(invoices.c.number == number), at)
    facts = _facts(connection, head, cycle.pinned_load)
    given_back = _credit_notes(connection, number)
    lines, kept = _lines(connection, head, span, facts), _documents(connection, [number])
    return InvoicePage(
        head=row,
        team_name=_name_at(connection, head),
        customer=_customer_at(connection, head),
        issued_at=from_us(head.issued_at_us),
        cycle_start=from_us(span.start_us),
        cycle_end=from_us(span.end_us),
        time_zone=span.time_zone,
        tax_category=head.tax_category,
        tax_percent=decimal_of_micro(head.tax_percent_micro),
        payment_method=_method_at(connection, head),
        replaced_by=replaced_by(connection, number) or "",
        lines=lines,
        units=_units(connection, head, span, facts),
        daily=_daily(connection, head),
        credit_notes=given_back,
        payments=_payments(connection, viewer, head),
        charge=_charge(connection, viewer, head),
        mails=_mails(connection, number),
        documents=kept + _documents(connection, [note.number for note in given_back]),
        why_no_xml=why_no_xml(row, lines, kept),
        origin=_origin(connection, head),
    )


def events_of_line(
    home: Home, connection: Connection, viewer: Viewer, number: str, line_no: int, offset: int = 0, *, own: bool = False
) -> LineEvents:
    """The events whose usage completed a line's units, up to 1,000 from the ``offset``-th on; where ``own``, without
    those that completed no units of this very line.

    Raises ``NotForYou``; ``NotFound`` for a line that is not there; ``UsageError`` where there are too many events to
    be read here; ``ConservationBroken`` where they are not what was charged.
    """
    head = demand_invoice(connection, viewer, number)
    traced = trace_line(home, connection, number, line_no, offset, EVENTS, own)
    found = traced.found
    return LineEvents(
        number=number,
        line_no=line_no,
        api=found.api,
        usage_unit=known.apis(connection, [found.api], head.pinned_load)[found.api].usage_unit,
        opening=decimal_of_micro(found.opening_micro),
        closing=decimal_of_micro(found.closing_micro),
        charged_units=found.charged_units,
        paid=_paid_in_all(traced),
        sizes=tuple(
            SizeSince(
                unit_size=decimal_of_micro(one.size_micro),
                since=instant(one.since_us),
                charged_units=one.charged_units,
            )
            for one in found.sizes
        ),
        prices=tuple(
            PriceSince(
                unit_price=decimal_of_micro(one.unit_price_micro), currency=one.currency, since=instant(one.since_us)
            )
            for one in traced.prices
        ),
        total=found.total,
        own=own,
        own_total=len(traced.own),
        own_first=traced.own[0] if traced.own else None,
        offset=offset,
        events=tuple(_event_row(event, traced) for event in found.events),
    )


def _event_row(event: TracedEvent, traced: TracedLine) -> EventRow:
    return EventRow(
        place=event.place,
        event_id=event.event_id,
        occurred_at=from_us(event.occurred_at_us),
        app_id=event.app_id,
        quantity=decimal_of_micro(event.quantity_micro),
        corrects=event.corrects,
        is_late=event.is_late,
        charged_units=event.charged_units,
        paid=tuple(_event_paid(one, traced) for one in traced.paid.get(event.place, ())),
        new_price=event.place in traced.new_prices,
        carry=decimal_of_micro(event.carry_micro),
        batch_no=event.batch_no,
        file=event.file,
        record=event.record,
    )


def _event_paid(one: Paid, traced: TracedLine) -> EventPaid:
    return EventPaid(
        source=one.source,
        charged_units=one.charged_units,
        unit_price=quantity(one.unit_price_micro),
        currency=one.currency,
        tokens=decimal_of_micro(one.tokens_micro),
        of_line=traced.is_of_line(one),
    )


def _paid_in_all(traced: TracedLine) -> tuple[EventPaid, ...]:
    """All units of the cycle by what paid for them, in the order in which sources pay; prices in that of time."""
    sums: dict[Paid, list[int]] = {}
    for one in (one for parts in traced.paid.values() for one in parts):
        total = sums.setdefault(replace(one, charged_units=0, tokens_micro=0), [0, 0])
        total[0] += one.charged_units
        total[1] += one.tokens_micro
    ordered = sorted(sums.items(), key=lambda item: SOURCES.index(item[0].source))
    return tuple(
        _event_paid(replace(one, charged_units=units, tokens_micro=tokens), traced) for one, (units, tokens) in ordered
    )


def document(home: Home, connection: Connection, viewer: Viewer, number: str, kind: str) -> tuple[DocumentRow, bytes]:
    """A file of an invoice or a credit note, its bytes checked against their SHA-256.

    Raises ``NotForYou``, ``NotFound`` where there is none (yet), ``ConservationBroken`` where it was changed.
    """
    owner = connection.execute(
        select(credit_notes.c.invoice_number).where(credit_notes.c.number == number)
    ).scalar_one_or_none()
    demand_invoice(connection, viewer, owner or number)
    for found in documents_of(connection, number):
        if found.kind == kind:
            return _document_row(found), home.documents.read(found.path, found.sha256)
    raise NotFound(f"{number} has no document of the kind {kind!r} (yet).")


def demand_invoice(connection: Connection, viewer: Viewer, number: str) -> Row[Any]:
    """The row of an invoice that a viewer may see. Raises ``NotForYou``, and ``NotFound`` to operators only: who may
    not see all is told the same of a number that was never issued.
    """
    head = connection.execute(select(invoices).where(invoices.c.number == number)).first()
    if head is not None:
        viewer.demand_money(head.team_id)
        return head
    if viewer.is_operator:
        raise NotFound("No invoice of this number was ever issued.")
    raise NotForYou(NO_MONEY)


def _cycle_of(head: Row[Any]) -> Any:
    return select(cycles).where(cycles.c.team_id == head.team_id, cycles.c.cycle_start_us == head.cycle_start_us)


def _method_at(connection: Connection, head: Row[Any]) -> StoredMethod | None:
    """The subscription's stored payment method as it was known when the invoice was issued."""
    load_no = head.pinned_load
    bought = known.by_key(connection, "subscriptions", "subscription_id", [head.subscription_id], load_no)
    named = {row.payment_method_id for row in bought}
    for row in known.by_key(connection, "payment_methods", "payment_method_id", named, load_no):
        return StoredMethod(gateway=row.gateway, brand=row.brand, last4=row.last4, is_direct_debit=bool(row.mandate))
    return None


def _facts(connection: Connection, head: Row[Any], load_no: int) -> dict[str, ApiFacts]:
    """Names, units and sizes of the cycle's APIs, as its close had pinned them."""
    mine = {
        api
        for table in (carry, usage_days)
        for api in connection.execute(
            select(table.c.api).where(table.c.team_id == head.team_id, table.c.cycle_start_us == head.cycle_start_us)
        ).scalars()
    }
    return api_facts(
        known.by_key(connection, "apis", "api", mine, load_no),
        known.by_key(connection, "unit_rates", "api", mine, load_no),
    )


def _lines(connection: Connection, head: Row[Any], span: CycleSpan, facts: Mapping[str, ApiFacts]) -> tuple[Line, ...]:
    query = select(invoice_lines).where(invoice_lines.c.number == head.number).order_by(invoice_lines.c.line_no)
    return tuple(
        Line(
            line_no=row.line_no,
            api=row.api,
            api_name=facts[row.api].name,
            usage_unit=facts[row.api].usage_unit,
            unit_sizes=facts[row.api].sizes_in(span),
            charged_units=row.charged_units,
            unit_price=decimal_of_micro(row.unit_price_micro),
            net=from_minor(row.net_minor, head.currency),
        )
        for row in connection.execute(query)
    )


def _units(
    connection: Connection, head: Row[Any], span: CycleSpan, facts: Mapping[str, ApiFacts]
) -> tuple[UnitsLine, ...]:
    of_cycle = (draws.c.team_id == head.team_id) & (draws.c.cycle_start_us == head.cycle_start_us)
    drawn = known.grouped(connection.execute(select(draws).where(of_cycle)), "api")
    mine = (carry.c.team_id == head.team_id) & (carry.c.cycle_start_us == head.cycle_start_us)
    rows = connection.execute(select(carry).where(mine).order_by(carry.c.api)).all()
    rated = [row for row in rows if row.billing == ApiBilling.RATED.value]
    return tuple(_units_line(row, drawn.get(row.api, ()), head, span, facts[row.api]) for row in rated)


def _units_line(row: Row[Any], drawn: Sequence[Row[Any]], head: Row[Any], span: CycleSpan, api: ApiFacts) -> UnitsLine:
    by_source = {source: sum(d.charged_units for d in drawn if d.source == source) for source in SOURCES}
    mine = [d for d in drawn if d.source == Kind.PAYG.value and d.subscription_id == head.subscription_id]
    return UnitsLine(
        api=row.api,
        api_name=api.name,
        usage_unit=api.usage_unit,
        billing=api.billing,
        unit_sizes=api.sizes_in(span),
        by_size=_by_size(row, api.changes_in(span)),
        opening=decimal_of_micro(row.opening_micro),
        usage=decimal_of_micro(row.usage_micro),
        late_usage=decimal_of_micro(row.late_usage_micro),
        units=tuple(UnitsBySource(source=source, units=units) for source, units in by_source.items() if units),
        charged_units=row.charged_units,
        invoiced_units=sum(d.charged_units for d in mine),
        closing=decimal_of_micro(row.closing_micro),
    )


def _by_size(row: Row[Any], changes: Sequence[tuple[int | None, int]]) -> tuple[SizeSince, ...]:
    sizes = [decimal_of_micro(size) for _, size in changes]
    used_up = decimal_of_micro(row.opening_micro + row.usage_micro - row.closing_micro)
    counts = units_by_size(sizes, used_up, row.charged_units) or ()
    return tuple(
        SizeSince(unit_size=size, since=instant(since), charged_units=units)
        for size, (since, _), units in zip(sizes, changes, counts, strict=bool(counts))
    )


def _daily(connection: Connection, head: Row[Any]) -> tuple[DailyRow, ...]:
    mine = (usage_days.c.team_id == head.team_id) & (usage_days.c.cycle_start_us == head.cycle_start_us)
    return tuple(
        DailyRow(
            api=row.api,
            first_day=from_day(row.first_day),
            quantities=tuple(decimal_of_micro(micro) for micro in json.loads(row.quantities)),
            late=decimal_of_micro(row.late_micro),
        )
        for row in connection.execute(select(usage_days).where(mine).order_by(usage_days.c.api))
    )


def _credit_notes(connection: Connection, number: str) -> tuple[CreditNoteRow, ...]:
    return tuple(
        CreditNoteRow(
            number=note.number,
            reason=note.reason,
            issued_at=note.issued_at,
            issue_date=note.issue_date,
            net=note.credit.net,
            tax=note.credit.tax,
            total=note.credit.total,
            lines=tuple(
                CreditNoteLine(
                    line_no=line_no,
                    invoice_line_no=line.invoice_line_no,
                    charged_units=line.charged_units,
                    unit_price=line.unit_price,
                    net=line.net,
                    by_amount=line.by_amount,
                )
                for line_no, line in enumerate(note.credit.lines, start=1)
            ),
        )
        for note in notes.of_invoices(connection, [number]).get(number, ())
    )


def _payments(connection: Connection, viewer: Viewer, head: Row[Any]) -> tuple[PaymentRow, ...]:
    mine = select(payment_events).where(payment_events.c.number == head.number)
    return tuple(
        PaymentRow(
            kind=EventKind(row.kind),
            amount=from_minor(row.amount_minor, head.currency),
            gateway=row.gateway,
            reference=row.reference,
            at=from_us(row.at_us),
            recorded_at=from_us(row.recorded_at_us),
            detail=row.detail if viewer.is_operator else "",
        )
        for row in connection.execute(mine.order_by(payment_events.c.at_us, payment_events.c.event_no))
    )


def _charge(connection: Connection, viewer: Viewer, head: Row[Any]) -> ChargeRow | None:
    mine = select(charges).join(charge_invoices, charge_invoices.c.charge_key == charges.c.charge_key)
    row = connection.execute(mine.where(charge_invoices.c.number == head.number)).first()
    if row is None:
        return None
    return ChargeRow(
        charge_key=row.charge_key,
        gateway=row.gateway,
        state=ChargeState(row.state),
        amount=from_minor(row.amount_minor, row.currency),
        attempts=row.attempts,
        opened_at=from_us(row.opened_at_us),
        attempted_at=instant(row.attempted_at_us),
        next_attempt=instant(row.next_attempt_us),
        problem=row.problem if viewer.is_operator else "",
        detail=row.detail if viewer.is_operator else "",
    )


def _mails(connection: Connection, number: str) -> tuple[MailRow, ...]:
    mine = select(mailings).where(mailings.c.subject_id == number).order_by(mailings.c.due_us, mailings.c.mail_key)
    return tuple(
        MailRow(
            kind=row.kind,
            state=row.state,
            due_at=from_us(row.due_us),
            ended_at=instant(row.ended_at_us),
            recipient=row.recipient,
        )
        for row in connection.execute(mine)
    )


def _documents(connection: Connection, numbers: Sequence[str]) -> tuple[DocumentRow, ...]:
    return tuple(_document_row(found) for number in numbers for found in documents_of(connection, number))


def why_no_xml(row: InvoiceRow, lines: Sequence[Line], kept: Sequence[DocumentRow]) -> str:
    """Why an invoice has no e-invoice, in a sentence; blank where it has one, or nothing was rendered yet."""
    if not kept or any(one.media_type == "application/xml" for one in kept):
        return ""
    amounts = (*(line.net for line in lines), row.net, row.tax, row.total)
    if any(amount != round_half_up(amount, _DIGITS_OF_THE_NORM) for amount in amounts):
        return (
            f"There is no e-invoice (XML): an amount in {row.currency} has three decimals here, and the European norm "
            "EN 16931 allows two."
        )
    return (
        "There is no e-invoice (XML): none was asked for, or the European norm EN 16931 cannot write this invoice "
        "(docs/decisions/e-invoice.md)."
    )


def _document_row(found: Any) -> DocumentRow:
    return DocumentRow(
        number=found.number,
        kind=found.kind,
        media_type=_MEDIA_TYPES.get(_ending(found.path), "application/octet-stream"),
        file_name=file_name(found.number, found.kind, found.path),
        size_bytes=found.size_bytes,
        sha256=found.sha256,
    )


def file_name(number: str, kind: str, path: str) -> str:
    """What a document is called where it is downloaded: its number, its kind where the ending does not say it, and the
    ending of the kept file. Harmless letters only.
    """
    ending = _ending(path)
    named = ".".join(part for part in (number, kind if kind != ending else "", ending) if part)
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in named).lstrip(".")


def _ending(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[2]


def _origin(connection: Connection, head: Row[Any]) -> Origin:
    row = connection.execute(select(closes).where(closes.c.close_no == head.close_no)).one()
    return Origin(
        close_no=row.close_no,
        as_of=from_us(row.as_of_us),
        pinned_batch=row.pinned_batch,
        pinned_load=head.pinned_load,
        tzdata=row.tzdata,
        version=row.version,
    )


def _name_at(connection: Connection, head: Row[Any]) -> str:
    """The team's name as the invoice has it."""
    found = known.by_key(connection, "teams", "team_id", [head.team_id], head.pinned_load)
    return found[0].name if found else ""


def _customer_at(connection: Connection, head: Row[Any]) -> TeamCustomer:
    """The buyer as the invoice has it."""
    rows = reference_history["customers"].c
    [row] = connection.execute(
        known.rows_of("customers", head.pinned_load).where(rows.customer_id == head.customer_id)
    ).all()
    return TeamCustomer(
        customer_id=row.customer_id,
        legal_name=row.legal_name,
        country=row.country,
        vat_id=row.vat_id,
        email=row.email,
        locale=row.locale,
    )
