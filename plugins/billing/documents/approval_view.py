"""What a person is asked to approve, as Markdown for a page: tables of bounded size, in which names are only text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from billing.core.approval import Proposal, ProposedInvoice, ProposedTotals
from billing.core.instants import format_instant

SHOWN_MAX = 20
"""So many rows of a table are shown; the rest is counted."""
_NAME_MAX = 60
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_MARKS = re.compile(r"([!-/:-@\[-`{-~])")


def question_body(proposal: Proposal) -> str:
    """The body of the request. Not longer than some 30 KB, whatever names and numbers are."""
    return "\n".join(_lines(proposal))


def as_text(name: str) -> str:
    """A name that Markdown, HTML and templates take for nothing else: one line, no more than 60 characters, every mark
    of ASCII escaped, and nothing that cannot be seen.
    """
    kept = "".join(" " if unicodedata.category(c) in _HIDDEN else c for c in name)
    short = " ".join(kept.split())
    short = short if len(short) <= _NAME_MAX else f"{short[:_NAME_MAX].rstrip()}…"
    # Entities rather than backslashes: in a table's cell a backslash before a bar is taken twice.
    return _MARKS.sub(lambda mark: f"&#{ord(mark.group(1))};", short)


def _lines(proposal: Proposal) -> Iterator[str]:
    yield f"**Close {proposal.close_no}**, as of {format_instant(proposal.as_of)}: {proposal.cycles} cycles of "
    yield f"{len(proposal.teams)} teams are rated, {len(proposal.invoices)} invoices would be issued."
    yield ""
    yield f"Asked because: {'; '.join(proposal.asked_why)}."
    yield from _table(
        "Totals",
        ("currency", "invoices", "net", "tax", "total", "with an earlier one", "their net", "before", "change"),
        [_totals(one) for one in proposal.totals],
        numbers=8,
    )
    columns = ("team", "buyer", "subscription", "net", "usual", "times", "before", "total")
    times = f"{proposal.outlier_times} times the usual net or more"
    for title, invoices in (
        (f"Outliers: {times}", proposal.outliers),
        ("Rejected at an earlier close", proposal.again),
        ("First invoices of a buyer", proposal.new_buyers),
        ("Largest", proposal.largest),
    ):
        yield from _table(title, columns, [_invoice(one) for one in invoices], numbers=5)
    reasons = {one.team_id: one.was_rejected for one in proposal.again}
    yield from _table(
        "Why they were rejected", ("team", "reason"), [(t, as_text(r)) for t, r in _named(reasons.items())]
    )
    parked = [(as_text(one.team_id), as_text(one.reason), as_text(one.detail)) for one in proposal.parked]
    yield from _table("Parked, and not in this close", ("team", "reason", "detail"), parked)
    yield ""
    yield f"All of it: `billing cycles approval {proposal.close_no}`. What was seen: `{proposal.sha256[:16]}`."
    yield ""
    yield (
        "**Approve** issues the invoices, dated now, without the teams that are left out below; these are parked, and "
        "the next close rates them anew. **Reject all** issues nothing and parks every team."
    )


def _named(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((as_text(name), reason) for name, reason in pairs)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int = 0) -> Iterator[str]:
    """A table of Markdown with the last ``numbers`` columns set to the right; nothing where there is no row."""
    if not rows:
        return
    yield from ("", f"### {title}", "")
    yield f"| {' | '.join(columns)} |"
    yield f"| {' | '.join('---' if place < len(columns) - numbers else '---:' for place in range(len(columns)))} |"
    for row in rows[:SHOWN_MAX]:
        yield f"| {' | '.join(row)} |"
    if len(rows) > SHOWN_MAX:
        yield from ("", f"... and {len(rows) - SHOWN_MAX} more.")


def _totals(one: ProposedTotals) -> tuple[str, ...]:
    amounts = (one.net, one.tax, one.total)
    compared = (str(one.compared), f"{one.compared_net:,f}", f"{one.before:,f}", f"{one.change:+,f}")
    return (one.currency, str(one.invoices), *(f"{amount:,f}" for amount in amounts), *compared)


def _invoice(one: ProposedInvoice) -> tuple[str, ...]:
    def money(amount: Decimal | None) -> str:
        return "" if amount is None else f"{amount:,f}"

    team = as_text(one.team_id) + (f" {as_text(one.team_name)}" if one.team_name not in ("", one.team_id) else "")
    times = "" if one.times is None else f"{one.times:,f}"
    amounts = (money(one.net), money(one.usual), times, money(one.before), f"{one.total:,f} {as_text(one.currency)}")
    return (team, as_text(one.customer), as_text(one.subscription_id), *amounts)
