"""What a close did, on one page for finance: put together from the ledger, and kept as a document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Row, func, select

from billing.core.cycles import cycles_from, first_start_us
from billing.core.errors import DataRefused, NotFound
from billing.core.instants import format_instant, format_us, from_us
from billing.core.invoicing import issue_date
from billing.core.model import Parked, ParkedReason, TaxCategory, TaxTreatment
from billing.core.parties import Parties
from billing.core.quantity import decimal_of_micro
from billing.core.reference import Reference
from billing.core.run_summary import LargestInvoice, NetChange, RunSummary, RunTotals
from billing.core.terms import subscriptions_of
from billing.documents.renderer import Renderer
from billing.steps.reference import reference_at
from billing.steps.render import DEFAULT_THEME, keep_bundle
from billing.store import log
from billing.store.batches import completeness
from billing.store.configuration import CLOSE_LAG_SECONDS, configured
from billing.store.documents import documents_of, write_document
from billing.store.home import Home
from billing.store.invoices import from_minor
from billing.store.ledger import ISSUED, read_parked
from billing.store.tables import closes, credit_notes, cycles, invoices

SUMMARY = "summary"
"""The kind of the document; its number is ``close-N``."""
_LARGEST = 5


class SummaryRenderer(Protocol):
    """What makes a page of a summary."""

    def render_run_summary(self, summary: RunSummary, locale: str) -> bytes:
        """The page as PDF."""

    def recorded_versions(self) -> Mapping[str, str]:
        """All that decides its bytes; ``bundle`` is the hash of what it was rendered with."""

    def bundle_files(self) -> Mapping[str, bytes]:
        """What it was rendered with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptSummary:
    """A page that was made now. ``sha256`` is that of the one that is kept, which is the first that was ever made:
    later ones tell later credit notes.
    """

    pdf: bytes
    number: str
    sha256: str
    is_new: bool


def run_summary(home: Home, close_no: int) -> RunSummary:
    """A close as it is told now. ``NotFound`` for one that never was, ``DataRefused`` for one that is not issued."""
    with home.database.read() as connection:
        row = _issued_close(connection, close_no)
        reference = reference_at(home, row.pinned_load)
        parties = Parties.from_reference(reference)
        heads = _invoices_of(connection, close_no)
        before = _issued_before(connection, close_no)
        through = completeness(connection, row.pinned_batch).through_us
        now_parked = read_parked(connection, close_no)
        return RunSummary(
            close_no=close_no,
            as_of=from_us(row.as_of_us),
            issued_at=from_us(row.issued_at_us),
            issue_date=issue_date(from_us(row.issued_at_us), parties.seller.time_zone),
            seller=parties.seller,
            pinned_batch=row.pinned_batch,
            pinned_load=row.pinned_load,
            cycles=_count(connection, select(cycles.c.team_id).where(cycles.c.close_no == close_no)),
            invoices=len(heads),
            zero_total=sum(1 for head in heads if head.total_minor == 0),
            credit_notes=_credit_notes_since(connection, close_no),
            first_number=heads[0].number if heads else "",
            last_number=heads[-1].number if heads else "",
            totals=tuple(_totals(heads)),
            largest=tuple(_largest(heads, parties)),
            compared_with=before,
            changes=tuple(_changes(heads, [] if before is None else _invoices_of(connection, before), before)),
            waiting=_waiting(connection, reference, row),
            complete_through=None if through is None else from_us(through),
            parked=now_parked,
            parked_reasons=_reasons(now_parked),
        )


def has_page(home: Home, close_no: int) -> bool:
    """Whether there is anything to tell of an issued close: before the first load not even a seller is known."""
    with home.database.read() as connection:
        return bool(connection.execute(select(closes.c.pinned_load).where(closes.c.close_no == close_no)).scalar())


def last_issued(home: Home) -> int | None:
    """The last close that was issued and has something to tell; None before the first."""
    with home.database.read() as connection:
        told = closes.c.state == ISSUED, closes.c.pinned_load > 0
        return connection.execute(select(func.max(closes.c.close_no)).where(*told)).scalar()


def render_summary(
    home: Home, summary: RunSummary, templates: Path, theme: str = DEFAULT_THEME, locale: str = "en"
) -> KeptSummary:
    """Render a summary with the templates, and keep it where the close has none yet."""
    return keep_summary(home, summary, Renderer.open(templates, theme), locale)


def keep_summary(home: Home, summary: RunSummary, renderer: SummaryRenderer, locale: str) -> KeptSummary:
    """Render a summary, and keep it where the close has none yet (a row of the log too)."""
    pdf, number = renderer.render_run_summary(summary, locale), f"close-{summary.close_no}"
    versions = renderer.recorded_versions()
    keep_bundle(home, renderer.bundle_files())
    stored = home.documents.put_bytes(pdf, ".pdf")
    with home.database.exclusive("books") as connection:
        known = [one.sha256 for one in documents_of(connection, number) if one.kind == SUMMARY]
        if not known:
            write_document(connection, number, SUMMARY, stored, versions["bundle"], versions)
            payload = {"number": number, "kind": SUMMARY, "sha256": stored.sha256, "bundle": versions["bundle"]}
            log.append(connection, datetime.now(UTC), "document", payload)
    return KeptSummary(pdf=pdf, number=number, sha256=known[0] if known else stored.sha256, is_new=not known)


def in_words(summary: RunSummary) -> list[str]:
    """A summary as lines of plain text."""
    return [
        f"Close {summary.close_no} of {summary.seller.legal_name}, as of {format_instant(summary.as_of)}",
        f"  issued {summary.issue_date}; usage up to batch {summary.pinned_batch}, reference data of load "
        f"{summary.pinned_load}",
        f"  {summary.cycles} cycles closed, {summary.invoices} invoices ({summary.zero_total} with a total of 0), "
        f"{summary.credit_notes} credit notes since",
        *_words_of_money(summary),
        *_words_of_what_waits(summary),
    ]


def _issued_close(connection: Connection, close_no: int) -> Row[Any]:
    row = connection.execute(select(closes).where(closes.c.close_no == close_no)).one_or_none()
    if row is None:
        raise NotFound(f"There is no close {close_no}; `billing status` names the last one.")
    if row.state != ISSUED:
        raise DataRefused(f"Close {close_no} is not issued yet: run `billing cycles close` to its end first.")
    if not row.pinned_load:
        raise DataRefused(f"Close {close_no} had seen no reference data: there is nothing to tell of it.")
    return row


def _invoices_of(connection: Connection, close_no: int) -> Sequence[Row[Any]]:
    """What a close issued, in the order of its numbers; invoices that replaced others later are not its own."""
    own = (invoices.c.close_no == close_no, invoices.c.revision == 1)
    order = (invoices.c.year, invoices.c.prefix, invoices.c.sequence)
    return connection.execute(select(invoices).where(*own).order_by(*order)).all()


def _issued_before(connection: Connection, close_no: int) -> int | None:
    """The last close before it that issued anything."""
    return connection.execute(select(func.max(invoices.c.close_no)).where(invoices.c.close_no < close_no)).scalar()


def _credit_notes_since(connection: Connection, close_no: int) -> int:
    of_close = credit_notes.c.invoice_number == invoices.c.number
    query = select(credit_notes.c.number).join(invoices, of_close)
    return _count(connection, query.where(invoices.c.close_no == close_no, invoices.c.revision == 1))


def _count(connection: Connection, query: Any) -> int:
    return int(connection.execute(select(func.count()).select_from(query.subquery())).scalar_one())


def _totals(heads: Sequence[Row[Any]]) -> Iterator[RunTotals]:
    sums: dict[tuple[str, str, int], list[int]] = {}
    for head in heads:
        mine = sums.setdefault((head.currency, head.tax_category, head.tax_percent_micro), [0, 0, 0, 0])
        for place, minor in enumerate((1, head.net_minor, head.tax_minor, head.total_minor)):
            mine[place] += minor
    for (currency, category, percent_micro), (count, *minors) in sorted(sums.items()):
        net, tax, total = (from_minor(minor, currency) for minor in minors)
        yield RunTotals(
            currency=currency,
            tax_treatment=TaxTreatment(category=TaxCategory(category), percent=decimal_of_micro(percent_micro)),
            invoices=count,
            net=net,
            tax=tax,
            total=total,
        )


def _largest(heads: Sequence[Row[Any]], parties: Parties) -> Iterator[LargestInvoice]:
    """The largest of each currency, at equal totals in the order of their numbers."""
    for currency in sorted({head.currency for head in heads}):
        mine = sorted((head for head in heads if head.currency == currency), key=lambda head: -head.total_minor)
        for head in mine[:_LARGEST]:
            yield LargestInvoice(
                number=head.number,
                customer=parties.customer(head.customer_id).legal_name,
                currency=currency,
                total=from_minor(head.total_minor, currency),
            )


def _changes(heads: Sequence[Row[Any]], before: Sequence[Row[Any]], compared_with: int | None) -> Iterator[NetChange]:
    if compared_with is None:
        return
    nets = [_nets(rows) for rows in (heads, before)]
    for currency in sorted({*nets[0], *nets[1]}):
        net, was = (from_minor(one[currency], currency) for one in nets)
        yield NetChange(currency=currency, net=net, before=was)


def _nets(rows: Sequence[Row[Any]]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for row in rows:
        sums[row.currency] += row.net_minor
    return sums


def _waiting(connection: Connection, reference: Reference, this: Row[Any]) -> int:
    """Cycles over at ``as_of`` that could not close, as usage was not complete through their end (rule 3.4)."""
    over_us = this.as_of_us - configured(connection, CLOSE_LAG_SECONDS) * 1_000_000
    if this.due_through_us >= over_us:
        return 0
    closed = select(cycles.c.team_id, func.max(cycles.c.cycle_end_us).label("end_us")).group_by(cycles.c.team_id)
    ends = {r.team_id: r.end_us for r in connection.execute(closed.where(cycles.c.close_no <= this.close_no))}
    return sum(
        1
        for team_id, held in subscriptions_of(reference).items()
        for cycle in cycles_from(held, ends.get(team_id, first_start_us(held)), over_us)
        if cycle.end_us > this.due_through_us
    )


def _reasons(now_parked: Sequence[Parked]) -> tuple[tuple[ParkedReason, int], ...]:
    counts = Counter(one.reason for one in now_parked)
    return tuple((reason, counts[reason]) for reason in ParkedReason if counts[reason])


def _words_of_money(summary: RunSummary) -> Iterator[str]:
    if summary.first_number:
        yield f"  numbers {summary.first_number} to {summary.last_number}"
    for one in summary.totals:
        tax = f"{one.tax_treatment.category} {one.tax_treatment.percent:f} %"
        sums = f"net {one.net:,f}, tax {one.tax:,f}, total {one.total:,f}"
        yield f"  {one.currency} {tax}: {one.invoices} invoices, {sums}"
    for change in summary.changes:
        sign = "+" if change.change > Decimal(0) else ""
        against = f"{change.before:,f} of close {summary.compared_with}"
        yield f"  {change.currency} net {change.net:,f} against {against}: {sign}{change.change:,f}"
    for large in summary.largest:
        yield f"  large: {large.number} {large.customer}, {large.total:,f} {large.currency}"


def _words_of_what_waits(summary: RunSummary) -> Iterator[str]:
    if summary.waiting:
        through = summary.complete_through
        complete = format_instant(through) if through is not None else "no instant yet"
        yield f"  {summary.waiting} cycles wait: usage is complete through {complete}"
    for one in summary.parked:
        yield f"  parked: team {one.team_id}, cycle of {format_us(one.cycle_start_us)}: {one.described}"
