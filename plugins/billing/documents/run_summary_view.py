"""A close on one page as strings, for finance. Formats; never computes."""

from __future__ import annotations

from dataclasses import dataclass

from billing.core.model import Parked, ParkedReason
from billing.core.run_summary import RunSummary
from billing.core.zones import zone
from billing.documents.tables import TableView, table_view
from billing.documents.texts import Texts, isolated
from billing.documents.theme import Theme
from billing.documents.view import PageView, PartyView, page_view, party_view, tax_code

PARKED_MAX = 6
"""How many parked teams are named at most: what fits on the page."""
_DETAIL_MAX, _WORD_MAX = 80, 40


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummaryView:
    """What the template shows. ``facts`` are labels with their values; ``tables`` in their order on the page."""

    lang: str
    title: str
    kind: str
    number: str
    seller: PartyView
    facts: tuple[tuple[str, str], ...]
    seen: str
    tables: tuple[TableView, ...]
    notes: tuple[str, ...]
    footer: str
    page: PageView


def run_summary_view(summary: RunSummary, texts: Texts, theme: Theme) -> RunSummaryView:
    """The view of one close in one language."""
    title = texts("Billing run %(number)s", number=str(summary.close_no))
    tables = (make(summary, texts) for make in (_totals, _changes, _largest, _parked))
    footer = (summary.seller.legal_name, title, theme.texts(texts.language).footer)
    return RunSummaryView(
        lang=texts.language,
        title=title,
        kind=texts("Billing run"),
        number=str(summary.close_no),
        seller=party_view(summary.seller, texts),
        facts=_facts(summary, texts),
        seen=_seen(summary, texts),
        tables=tuple(table for table in tables if table.rows),
        notes=_notes(summary, texts),
        footer=" · ".join(text for text in footer if text),
        page=page_view(texts),
    )


def _facts(summary: RunSummary, texts: Texts) -> tuple[tuple[str, str], ...]:
    numbers = "–" if not summary.first_number else f"{summary.first_number} – {summary.last_number}"
    return (
        (texts("Issue date"), texts.day(summary.issue_date)),
        (texts("Numbers"), numbers),
        (texts("Cycles closed"), texts.decimal(summary.cycles)),
        (texts("Invoices"), texts.decimal(summary.invoices)),
        (texts("with a total of 0"), texts.decimal(summary.zero_total)),
        (texts("Credit notes since"), texts.decimal(summary.credit_notes)),
    )


def _seen(summary: RunSummary, texts: Texts) -> str:
    """What the close had seen (rule 3.4)."""
    local = summary.as_of.astimezone(zone(summary.seller.time_zone))
    return texts(
        "As of %(instant)s (%(time_zone)s): usage through batch %(batch)s, reference data through load %(load)s.",
        instant=texts.minute(local),
        time_zone=summary.seller.time_zone,
        batch=str(summary.pinned_batch),
        load=str(summary.pinned_load),
    )


def _totals(summary: RunSummary, texts: Texts) -> TableView:
    heads = (texts("Currency"), texts("VAT"), texts("Invoices"), texts("Net"), texts("VAT"), texts("Total"))
    rows = [
        (
            one.currency,
            tax_code(one.tax_treatment, texts),
            texts.decimal(one.invoices),
            texts.amount(one.net, one.currency),
            texts.amount(one.tax, one.currency),
            texts.amount(one.total, one.currency),
        )
        for one in summary.totals
    ]
    return table_view(texts("Totals"), heads, rows)


def _changes(summary: RunSummary, texts: Texts) -> TableView:
    other = texts("Run %(number)s", number=str(summary.compared_with)) if summary.compared_with is not None else ""
    heads = (texts("Amount"), texts("Currency"), texts("This run"), other, texts("Change"))
    rows = [
        (
            texts("Total before tax"),
            one.currency,
            texts.amount(one.net, one.currency),
            texts.amount(one.before, one.currency),
            texts.amount(one.change, one.currency),
        )
        for one in summary.changes
    ]
    return table_view(texts("Beside the run before"), heads, rows)


def _largest(summary: RunSummary, texts: Texts) -> TableView:
    heads = (texts("Customer"), texts("Number"), texts("Total"))
    rows = [(isolated(one.customer), one.number, texts.money(one.total, one.currency)) for one in summary.largest]
    return table_view(texts("Largest invoices"), heads, rows)


def _parked(summary: RunSummary, texts: Texts) -> TableView:
    heads = (texts("Team"), texts("Reason"))
    rows = [(one.team_id, _reason(one, texts)) for one in summary.parked[:PARKED_MAX]]
    return table_view(texts("Teams that could not be billed"), heads, rows)


def _reason(one: Parked, texts: Texts) -> str:
    name = reason_name(one.reason, texts)
    return texts("%(label)s: %(value)s", label=name, value=_in_short(one.detail)) if one.detail else name


def _in_short(detail: str) -> str:
    """What fits on the page: without the places in an XML, which are longer than any word, and cut."""
    text = " ".join(word for word in detail.split() if len(word) <= _WORD_MAX)
    return text if len(text) <= _DETAIL_MAX else f"{text[:_DETAIL_MAX].rstrip()}…"


def reason_name(reason: ParkedReason, texts: Texts) -> str:
    """Why a team was parked, in words."""
    names = {
        ParkedReason.NO_UNIT_SIZE: texts("no unit size"),
        ParkedReason.NO_TAX_RATE: texts("no tax rate"),
        ParkedReason.BOUND_EXCEEDED: texts("bound exceeded"),
        ParkedReason.MISSING_PARTICULARS: texts("missing particulars"),
        ParkedReason.INVALID_INVOICE: texts("invalid invoice"),
    }
    return names[reason]


def _notes(summary: RunSummary, texts: Texts) -> tuple[str, ...]:
    reasons = [
        texts("%(label)s: %(value)s", label=reason_name(reason, texts), value=texts.decimal(count))
        for reason, count in summary.parked_reasons
    ]
    waiting = texts("Cycles that are over and wait for their usage: %(count)s.", count=texts.decimal(summary.waiting))
    named = {"shown": texts.decimal(PARKED_MAX), "all": texts.decimal(len(summary.parked))}
    return (
        *([texts("All reasons: %(reasons)s.", reasons=", ".join(reasons))] if reasons else []),
        *(
            [texts("The first %(shown)s of %(all)s teams are named.", **named)]
            if len(summary.parked) > PARKED_MAX
            else []
        ),
        *([waiting] if summary.waiting else []),
        _complete(summary, texts),
    )


def _complete(summary: RunSummary, texts: Texts) -> str:
    if summary.complete_through is None:
        return texts("Usage is not known to be complete through any instant.")
    local = summary.complete_through.astimezone(zone(summary.seller.time_zone))
    return texts("Usage is complete through %(instant)s.", instant=texts.minute(local))
