"""Credit notes: what was wrong with an issued invoice is given back, and the invoice stays as it is (rule 6.4).

Neither charged units nor carry-over are touched: a credit note is about money.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal

from sqlalchemy import Connection

from billing.core import checks
from billing.core.crediting import (
    Credit,
    CreditLine,
    Wanted,
    credits_are_conserved,
    vat_given_back,
    what_is_left,
)
from billing.core.crediting import credit as credit_of
from billing.core.errors import DataRefused, NotFound
from billing.core.instants import day_number, format_instant, format_us, to_us
from billing.core.invoicing import issue_date
from billing.core.model import Invoice, InvoiceLine, InvoiceReference, InvoiceType
from billing.core.particulars import ExchangeRates
from billing.core.quantity import format_micro, minor_digits, parse_micro, total
from billing.core.reference import Reference
from billing.steps import commit_points
from billing.steps.e_invoices import demand_valid
from billing.steps.invoices import read_invoices
from billing.steps.origin import origin
from billing.steps.reference import reference_at
from billing.steps.telemetry import say
from billing.store import credit_notes, log
from billing.store.credit_notes import CreditNote, NewCreditNote
from billing.store.home import Home
from billing.store.invoices import last_issue_us, pinned_loads
from billing.store.period_locks import demand_open
from billing.store.reference_history import last_load


@dataclass(frozen=True, kw_only=True, slots=True)
class Credited:
    """A credit note that was issued, and what of its invoice's net is left."""

    number: str
    invoice_number: str
    currency: str
    net: Decimal
    tax: Decimal
    total: Decimal
    net_left: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class Issuing:
    """The transaction in which a number is given, what is known in it, and the issue instant with the seller's local
    date of it.
    """

    connection: Connection
    load_no: int
    reference: Reference
    issued_at: datetime
    issue_date: date


def credit(
    home: Home, number: str, *, reason: str, wanted: Sequence[Wanted] = (), as_of: datetime | None = None
) -> Credited:
    """Issue a credit note for an invoice: for all that is left of it, or for what is ``wanted`` of its lines.

    The issue instant is ``as_of``, or now. Raises ``NotFound`` for an invoice that was never issued, ``DataRefused``
    where more is wanted than is left, with every reason; nothing is issued then.
    """
    why = _demand_reason(reason)
    (invoice,) = read_invoices(home, [number])
    with issuing(home, as_of) as now:
        earlier = credit_notes.of_invoices(now.connection, [number]).get(number, [])
        given = _give_back(invoice, earlier, wanted)
        new = NewCreditNote(
            invoice_number=number,
            currency=invoice.currency,
            reason=why,
            credit=given,
            issued_at=now.issued_at,
            issue_date=now.issue_date,
        )
        note = credit_notes.write_credit_note(now.connection, _prefix(now.reference), new)
        demand_valid(_document(home, now.connection, invoice, note), about=invoice)
        log.append(now.connection, datetime.now(UTC), "credit_note", _logged(note, new))
        commit_points.reached(commit_points.CREDIT_NOTE_WRITTEN)
    commit_points.reached(commit_points.CREDIT_NOTE_ISSUED)
    say("credit note issued", number=note, invoice=number, total=str(given.total), currency=invoice.currency)
    left = what_is_left(invoice, [*(one.credit for one in earlier), given])
    return Credited(
        number=note,
        invoice_number=number,
        currency=invoice.currency,
        net=given.net,
        tax=given.tax,
        total=given.total,
        net_left=total((one.net for one in left.values()), minor_digits(invoice.currency)),
    )


def read_credit_notes(home: Home, numbers: Sequence[str]) -> list[Invoice]:
    """Issued credit notes as documents need them, in the order asked for: each with the parties, the cycle and the tax
    treatment of its invoice, which is its ``preceding``. Raises ``NotFound`` for a number that was never issued.
    """
    with home.database.read() as connection:
        invoice_by_note = credit_notes.invoice_of(connection, numbers)
        named = sorted(set(invoice_by_note.values()))
        notes = credit_notes.of_invoices(connection, named)
        loads = pinned_loads(connection, named)
    missing = [number for number in numbers if number not in invoice_by_note]
    if missing:
        raise NotFound(f"No credit note {missing[0]} was ever issued; `billing export` writes all of them.")
    found: dict[str, Invoice] = {}
    for invoice in read_invoices(home, named):
        rates = ExchangeRates.from_reference(reference_at(home, loads[invoice.number]))
        found |= _as_documents(invoice, notes[invoice.number], rates)
    return [found[number] for number in numbers]


def unrendered_credit_notes(home: Home, kind: str = "pdf") -> list[str]:
    """Numbers of issued credit notes that have no document of this kind yet, in order."""
    with home.database.read() as connection:
        return credit_notes.without_document(connection, kind)


@contextmanager
def issuing(home: Home, as_of: datetime | None) -> Iterator[Issuing]:
    """The transaction in which numbers are given out by hand, at ``as_of`` or now, with what is known then.

    Raises ``DataRefused`` before the first load, for an instant before anything that was issued (rule 6.3), and for a
    date in a locked month. Whether an instant is in the future is the caller's question: simulations have their own
    time.
    """
    while True:
        with home.database.read() as connection:
            load_no = last_load(connection)
        if not load_no:
            raise DataRefused("There are no reference data yet, so nothing was ever issued: load them first.")
        reference = reference_at(home, load_no)
        with home.database.exclusive("books") as connection:
            if last_load(connection) != load_no:
                continue  # a load came in between: what it says counts
            issued_at = datetime.now(UTC) if as_of is None else as_of
            day = issue_date(issued_at, str(reference["seller"].iloc[0]["time_zone"]))
            _demand_issuable(connection, issued_at, day)
            yield Issuing(
                connection=connection, load_no=load_no, reference=reference, issued_at=issued_at, issue_date=day
            )
            return


def _demand_issuable(connection: Connection, issued_at: datetime, day: date) -> None:
    last_us = last_issue_us(connection)
    if last_us is not None and to_us(issued_at) < last_us:
        raise DataRefused(
            f"{format_instant(issued_at)} is before {format_us(last_us)}, when something was last issued, and the "
            "issue instant never goes back (rule 6.3): give that instant or a later one."
        )
    demand_open(connection, day_number(day))


def _demand_reason(reason: str) -> str:
    """The reason in one line. It is printed, so it has no control characters."""
    why = " ".join(reason.split())
    if not why or any(unicodedata.category(character) in ("Cc", "Cs") for character in why):
        raise DataRefused("A credit note says why (rule 6.4): give a reason, in one line of text.")
    return why


def _give_back(invoice: Invoice, earlier: Sequence[CreditNote], wanted: Sequence[Wanted]) -> Credit:
    before = [note.credit for note in earlier]
    given, findings = credit_of(invoice, before, wanted)
    if given is None:
        by = f"; given back so far by {', '.join(note.number for note in earlier)}" if earlier else ""
        raise DataRefused(f"This cannot be given back of {invoice.number}{by}:", findings)
    checks.demand(credits_are_conserved(invoice, [*before, given]))
    return given


def _prefix(reference: Reference) -> str:
    """The series of credit notes. A load in which it is that of invoices is refused."""
    seller = reference["seller"].iloc[0]
    return str(seller["credit_note_prefix"]) or f"{seller['invoice_prefix']}-CN"


def _logged(number: str, new: NewCreditNote) -> dict[str, object]:
    return {
        "by": origin(),
        "number": number,
        "invoice": new.invoice_number,
        "issued_at": format_instant(new.issued_at),
        "reason": new.reason,
        "lines": [_line_logged(line) for line in new.credit.lines],
        "net": str(new.credit.net),
        "tax": str(new.credit.tax),
        "total": str(new.credit.total),
        "currency": new.currency,
        "units": "unchanged",
    }


def _line_logged(line: CreditLine) -> dict[str, object]:
    counted = {} if line.by_amount else {"units": line.charged_units, "unit_price": _price(line.unit_price)}
    return {"invoice_line": line.invoice_line_no, "net": str(line.net)} | counted


def _price(price: Decimal) -> str:
    return format_micro(parse_micro(f"{price:f}"))


def _document(home: Home, connection: Connection, invoice: Invoice, note: str) -> Invoice:
    """A credit note that this transaction has written, as it will be rendered."""
    load_no = pinned_loads(connection, [invoice.number])[invoice.number]
    rates = ExchangeRates.from_reference(reference_at(home, load_no))
    notes = credit_notes.of_invoices(connection, [invoice.number])[invoice.number]
    return _as_documents(invoice, notes, rates)[note]


def _as_documents(invoice: Invoice, notes: Sequence[CreditNote], rates: ExchangeRates) -> Mapping[str, Invoice]:
    """By number all credit notes of an invoice, which are in the order of their issue."""
    credits = [note.credit for note in notes]
    return {
        note.number: replace(
            invoice,
            number=note.number,
            issued_at=note.issued_at,
            issue_date=note.issue_date,
            lines=tuple(_as_lines(invoice, note.credit)),
            net=note.credit.net,
            tax=note.credit.tax,
            total=note.credit.total,
            type=InvoiceType.CREDIT_NOTE,
            due_date=None,
            vat_total=vat_given_back(invoice, credits[:place], note.credit, rates),
            preceding=InvoiceReference(number=invoice.number, issue_date=invoice.issue_date),
            reason=note.reason,
            statement=None,
        )
        for place, note in enumerate(notes)
    }


def _as_lines(invoice: Invoice, given: Credit) -> Iterator[InvoiceLine]:
    by_no = {line.line_no: line for line in invoice.lines}
    for line_no, line in enumerate(given.lines, start=1):
        yield replace(
            by_no[line.invoice_line_no],
            line_no=line_no,
            charged_units=line.charged_units,
            unit_price=line.unit_price,
            net=line.net,
            by_amount=line.by_amount,
        )
