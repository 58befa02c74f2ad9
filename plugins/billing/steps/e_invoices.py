"""Invoices as XML: checked by the norm's own rules before they are issued, written beside their documents, and as UBL
for those who ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from billing.core.document_checks import document_findings
from billing.core.errors import DataRefused, Finding
from billing.core.invoicing import DraftInvoice, invoice_number, issue_date
from billing.core.issuing import Facts, invoice_of
from billing.core.model import Invoice, Parked, ParkedReason
from billing.core.reference import Reference
from billing.documents.e_invoice.errors import NotInTheNorm
from billing.documents.e_invoice.read_back import amount_findings
from billing.documents.e_invoice.syntaxes import Syntax
from billing.documents.e_invoice.validator import Validator

_FINDINGS_TOLD = 3


def not_valid(drafts: Sequence[DraftInvoice], reference: Reference, as_of: datetime) -> list[Parked]:
    """The cycles whose invoices would break a rule of EN 16931 or would not add up, and what they break.

    They are checked as they will be issued, but for the digits of their number. ``ValidatorUnavailable`` where the
    rules cannot be run.
    """
    if not drafts:
        return []
    facts = Facts.from_reference(reference)
    found = findings([_as_issued(draft, place, facts, as_of) for place, draft in enumerate(drafts, start=1)])
    return [
        Parked(
            team_id=draft.team_id,
            cycle_start_us=draft.cycle.start_us,
            reason=ParkedReason.INVALID_INVOICE,
            detail="; ".join(wrong[:_FINDINGS_TOLD]),
        )
        for draft, wrong in zip(drafts, found.values(), strict=True)
        if wrong
    ]


def demand_valid(invoice: Invoice, about: Invoice | None = None) -> None:
    """Raise ``DataRefused`` where an invoice or credit note breaks a rule of EN 16931, or does not add up.

    A credit note has the parties of the issued invoice that it is ``about``: rules that this one breaks too are let
    pass, or what was wrong with it could never be given back (rule 6.4).
    """
    wrong = findings([invoice])[invoice.number]
    if wrong and about is not None:
        broken = {_rule(message) for message in findings([about])[about.number]}
        wrong = tuple(message for message in wrong if _rule(message) not in broken)
    if wrong:
        listed = [Finding(file=invoice.number, message=message) for message in wrong]
        raise DataRefused("This cannot be issued: it would break rules for e-invoices (EN 16931).", listed)


def _rule(finding: str) -> str:
    """``BR-CO-26`` of ``"BR-CO-26: ..."``; sums that are wrong name no rule, and are the same nowhere else."""
    return finding.partition(": ")[0]


def findings(invoices: Sequence[Invoice], syntax: Syntax = Syntax.CII) -> dict[str, tuple[str, ...]]:
    """What is wrong with each invoice or credit note, by number: its sums, its XML, what is read back from that.

    One that EN 16931 cannot write (``NotInTheNorm``) is checked by its sums alone.
    """
    found = {invoice.number: _said(document_findings(invoice)) for invoice in invoices}
    written = {invoice.number: xml for invoice in invoices if (xml := xml_of(invoice, syntax)) is not None}
    for invoice in invoices:
        if invoice.number in written:
            found[invoice.number] += _said(amount_findings(invoice, written[invoice.number]))
    for number, wrong in Validator().findings(list(written.items()), syntax).items():
        found[number] += wrong
    return found


def xml_of(invoice: Invoice, syntax: Syntax = Syntax.CII) -> bytes | None:
    """Its XML; None where EN 16931 has no way to write its amounts (three decimals)."""
    from billing.documents.e_invoice.writing import written

    try:
        return written(invoice, syntax)
    except NotInTheNorm:
        return None


def _as_issued(draft: DraftInvoice, place: int, facts: Facts, as_of: datetime) -> Invoice:
    seller = facts.parties.seller
    day = issue_date(as_of, seller.time_zone)
    number = invoice_number(seller.invoice_prefix, day.year, place)
    return invoice_of(draft, facts, number=number, issued_at=as_of, issued_on=day)


def _said(found: Sequence[Finding]) -> tuple[str, ...]:
    return tuple(finding.message for finding in found)
