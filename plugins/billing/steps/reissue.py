"""Corrected invoices: what takes the place of an invoice that was given back whole (rule 6.4).

Charged is what the close had pinned: the same units at the same prices. Names, addresses, VAT ids and tax rates are
those known now; the rate is still that of the period's last day (rule 6.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, select

from billing.core.crediting import what_is_left
from billing.core.cycles import CycleSpan
from billing.core.errors import DataRefused, Finding
from billing.core.instants import format_instant, from_day
from billing.core.invoicing import Buyers, DraftInvoice, draft_invoices
from billing.core.issuing import Facts, invoice_of
from billing.core.model import Invoice, InvoiceReference
from billing.core.reference import Reference
from billing.steps import commit_points
from billing.steps.credit import Issuing, issuing
from billing.steps.e_invoices import demand_valid
from billing.steps.invoices import read_invoices
from billing.steps.origin import origin
from billing.steps.telemetry import say
from billing.store import credit_notes, ledger, log
from billing.store.configuration import PRODUCTION, configured
from billing.store.home import Home
from billing.store.invoices import NewInvoice, invoiced_draws, replaced_by, write_invoices
from billing.store.tables import carry, cycles, invoices, usage_days


@dataclass(frozen=True, kw_only=True, slots=True)
class Reissued:
    """An invoice that took the place of another one."""

    number: str
    replaces: str
    currency: str
    net: Decimal
    tax: Decimal
    total: Decimal


def reissue(home: Home, number: str, *, as_of: datetime | None = None) -> Reissued:
    """Issue the corrected invoice of one that was given back whole. The issue instant is ``as_of``, or now.

    Raises ``NotFound`` for an invoice that was never issued; ``DataRefused`` where something of it is left or another
    one has taken its place already, where a close has not issued yet, and where the new one could not be issued
    legally, with what is missing.
    """
    (invoice,) = read_invoices(home, [number])
    with issuing(home, as_of) as now:
        _demand_all_closes_issued(now.connection)
        _demand_given_back(now.connection, invoice)
        given, draft = _issue(now, number)
        commit_points.reached(commit_points.REISSUE_WRITTEN)
    commit_points.reached(commit_points.REISSUE_ISSUED)
    say("invoice reissued", number=given, replaces=number, total=str(draft.total), currency=draft.currency)
    return Reissued(
        number=given, replaces=number, currency=draft.currency, net=draft.net, tax=draft.tax, total=draft.total
    )


def _issue(now: Issuing, number: str) -> tuple[str, DraftInvoice]:
    connection = now.connection
    old = connection.execute(select(invoices).where(invoices.c.number == number)).one()
    draft = _draft(now, old)
    new = NewInvoice(
        draft=draft,
        issued_at=now.issued_at,
        issue_date=now.issue_date,
        revision=old.revision + 1,
        replaces=number,
    )
    close = replace(ledger.read_close(connection, old.close_no), pinned_load=now.load_no)
    (given,) = write_invoices(connection, close, str(now.reference["seller"].iloc[0]["invoice_prefix"]), [new])
    preceding = InvoiceReference(number=number, issue_date=from_day(old.issue_day))
    facts = Facts.from_reference(now.reference)
    demand_valid(
        invoice_of(draft, facts, number=given, issued_at=now.issued_at, issued_on=now.issue_date, preceding=preceding)
    )
    log.append(connection, datetime.now(UTC), "reissue", _logged(now, given, new))
    return given, draft


def _demand_all_closes_issued(connection: Connection) -> None:
    """An open close issues at its own instant, which lies before this one; numbers follow time (rule 6.3). One that
    waits for its approval issues at that, which is later.
    """
    last = ledger.last_close(connection)
    if last is not None and last.state not in (ledger.RATED, ledger.ISSUED):
        raise DataRefused(
            f"Close {last.close_no} has not issued its invoices yet, and the issue instant never goes back (rule 6.3): "
            "finish it, then issue this one."
        )


def _demand_given_back(connection: Connection, invoice: Invoice) -> None:
    if later := replaced_by(connection, invoice.number):
        raise DataRefused(f"{later} has taken the place of {invoice.number} already: correct that one.")
    notes = credit_notes.of_invoices(connection, [invoice.number]).get(invoice.number, [])
    lefts = what_is_left(invoice, [note.credit for note in notes])
    if lefts:
        raise DataRefused(
            f"{invoice.number} still stands in part: give back what is left of it first "
            f"(`billing invoices credit {invoice.number} --reason ...`), then issue what takes its place (rule 6.4):",
            [
                Finding(file=invoice.number, line=line_no, message=f"{left.net} {invoice.currency} of it is left")
                for line_no, left in lefts.items()
            ],
        )


def _draft(now: Issuing, old: Row[Any]) -> DraftInvoice:
    """The pinned draws as an invoice to who buys now."""
    draws = invoiced_draws(now.connection, old.number)
    if unknown := _unknown(now.reference, old, _apis(now.connection, old)):
        raise DataRefused(f"What {old.number} charges is not known any more: load it again.", unknown)
    buyers = Buyers.from_reference(now.reference, production=bool(configured(now.connection, PRODUCTION)))
    drafts, troubles = draft_invoices(draws, {(old.team_id, old.cycle_start_us): _cycle(now.connection, old)}, buyers)
    if troubles:
        findings = [Finding(file=old.number, message=one.detail or one.reason.value) for one in troubles]
        raise DataRefused(f"What takes the place of {old.number} cannot be issued: this is missing.", findings)
    (draft,) = drafts
    return draft


def _cycle(connection: Connection, old: Row[Any]) -> CycleSpan:
    mine = cycles.c.team_id == old.team_id, cycles.c.cycle_start_us == old.cycle_start_us
    row = connection.execute(select(cycles).where(*mine)).one()
    return CycleSpan(row.cycle_start_us, row.cycle_end_us, row.time_zone, row.payg_subscription_id or None)


def _apis(connection: Connection, old: Row[Any]) -> set[str]:
    """The APIs that an invoice and its statement name."""
    found: set[str] = set()
    for table in (carry, usage_days):
        mine = table.c.team_id == old.team_id, table.c.cycle_start_us == old.cycle_start_us
        found |= set(connection.execute(select(table.c.api).where(*mine)).scalars())
    return found


def _unknown(reference: Reference, old: Row[Any], apis: set[str]) -> list[Finding]:
    """What a document would name and no reference data do any more: rows may have been removed since."""
    needed: Sequence[tuple[str, str, set[str]]] = (
        ("teams", "team_id", {old.team_id}),
        ("subscriptions", "subscription_id", {old.subscription_id}),
        ("apis", "api", apis),
    )
    return [
        Finding(file=table, column=column, message=f"{name} is missing")
        for table, column, names in needed
        for name in sorted(names - set(reference[table][column]))
    ]


def _logged(now: Issuing, number: str, new: NewInvoice) -> dict[str, object]:
    draft = new.draft
    return {
        "by": origin(),
        "number": number,
        "replaces": new.replaces,
        "revision": new.revision,
        "issued_at": format_instant(new.issued_at),
        "pinned_load": now.load_no,
        "net": str(draft.net),
        "tax": str(draft.tax),
        "total": str(draft.total),
        "currency": draft.currency,
        "units": "unchanged",
    }
