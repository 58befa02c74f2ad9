"""Invoices drafted again from the draws of a rerun, compared with those that were issued (section 6 of the rules)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from sqlalchemy import Connection, Row, select

from billing.core.cycles import CycleSpan
from billing.core.instants import from_us
from billing.core.invoicing import Buyers, DraftInvoice, draft_invoices, issue_date
from billing.core.reference import Reference
from billing.steps.audit.choosing import Cycles
from billing.steps.audit.comparing import Comparison, Key, compared
from billing.steps.reference import reference_at
from billing.store.home import Home
from billing.store.invoices import NewInvoice, invoice_row, line_rows
from billing.store.ledger import Close
from billing.store.tables import cycles, invoice_lines, invoices

Rows: TypeAlias = dict[Key, Sequence[object]]

_HEADER = (
    *("customer_id", "subscription_id", "currency", "net_minor", "tax_category", "tax_percent_micro", "tax_minor"),
    *("total_minor", "issued_at_us", "issue_day", "place"),
)
_LINE = ("api", "charged_units", "unit_price_micro", "net_minor")


def invoices_again(
    home: Home,
    connection: Connection,
    this: Close,
    mine: Cycles,
    paid: pd.DataFrame,
    spans: Mapping[tuple[str, int], CycleSpan],
) -> Iterator[Comparison]:
    """Compare every invoice of the chosen cycles of a close: each is drafted by the reference data that it was made
    from, its close's or those of the day on which it took another one's place. ``paid``: the rerun's draws of pay as
    you go. ``place`` is the one in the order in which the close gave numbers out (rule 6.3), among all its invoices: of
    those that were not chosen it is taken from what is stored of their cycles.
    """
    same = (cycles.c.team_id == invoices.c.team_id) & (cycles.c.cycle_start_us == invoices.c.cycle_start_us)
    query = select(invoices, cycles.c.cycle_end_us).join(cycles, same).where(invoices.c.close_no == this.close_no)
    issued = connection.execute(query.order_by(invoices.c.sequence)).all()
    kept = [row for row in issued if (row.team_id, row.cycle_start_us) in mine]
    others = [row for row in issued if (row.team_id, row.cycle_start_us) not in mine and row.revision == 1]
    places = _places([_subscription(row) for row in issued if row.revision == 1])
    stored, stored_lines = _stored(connection, this, kept, places)
    again, lines = _again(home, this, kept, others, paid, spans)
    yield from compared("invoice", _HEADER, stored, again)
    yield from compared("line", _LINE, stored_lines, lines)


def _stored(
    connection: Connection, this: Close, kept: Sequence[Row[Any]], places: Mapping[tuple[str, int, str], int]
) -> tuple[Rows, Rows]:
    """Invoices and lines as they are kept."""
    headers: Rows = {
        _numbered(row): [*(getattr(row, name) for name in _HEADER[:-1]), _place(places, row)] for row in kept
    }
    by_number = {row.number: _numbered(row) for row in kept}
    found = connection.execute(select(invoice_lines).join(invoices).where(invoices.c.close_no == this.close_no))
    lines: Rows = {
        (*by_number[row.number], row.line_no): [getattr(row, name) for name in _LINE]
        for row in found
        if row.number in by_number
    }
    return headers, lines


def _again(
    home: Home,
    this: Close,
    kept: Sequence[Row[Any]],
    others: Sequence[Row[Any]],
    paid: pd.DataFrame,
    spans: Mapping[tuple[str, int], CycleSpan],
) -> tuple[Rows, Rows]:
    """The same as they would be written now; what nobody has issued is among the invoices."""
    loads = {this.pinned_load, *(row.pinned_load for row in kept)}
    references = {load_no: reference_at(home, load_no) for load_no in loads}
    drafts = {load_no: _drafts(reference, paid, spans) for load_no, reference in references.items()}
    own = drafts[this.pinned_load]
    order = {key: draft.issue_order for key, draft in own.items()}
    order |= {_subscription(row): (row.cycle_end_us, row.team_id, row.subscription_id) for row in others}
    places = _places(sorted(order, key=lambda key: order[key]))
    headers: Rows = {}
    lines: Rows = {}
    for row in kept:
        if (draft := drafts[row.pinned_load].get(_subscription(row))) is not None:
            made = _written(this, references[row.pinned_load], draft, row)
            headers[_numbered(row)] = [*(made[name] for name in _HEADER[:-1]), _place(places, row)]
            for line in line_rows(draft, row.number):
                lines[(*_numbered(row), line["line_no"])] = [line[name] for name in _LINE]
    for key in own.keys() - {_subscription(row) for row in kept if row.revision == 1}:
        headers[(*key[:2], f"{key[2]}, never issued")] = [""] * len(_HEADER)
    return headers, lines


def _drafts(
    reference: Reference, paid: pd.DataFrame, spans: Mapping[tuple[str, int], CycleSpan]
) -> dict[tuple[str, int, str], DraftInvoice]:
    """By team, start of the cycle and subscription."""
    drafts, _ = draft_invoices(paid, spans, Buyers.from_reference(reference, decided=True))
    return {(draft.team_id, draft.cycle.start_us, draft.subscription_id): draft for draft in drafts}


def _places(keys: Sequence[tuple[str, int, str]]) -> dict[tuple[str, int, str], int]:
    return {key: place for place, key in enumerate(keys)}


def _place(places: Mapping[tuple[str, int, str], int], row: Row[Any]) -> object:
    """Corrected invoices have none: they are issued one by one."""
    return places.get(_subscription(row), "") if row.revision == 1 else ""


def _subscription(row: Row[Any]) -> tuple[str, int, str]:
    return row.team_id, row.cycle_start_us, row.subscription_id


def _numbered(row: Row[Any]) -> tuple[str, int, str]:
    return row.team_id, row.cycle_start_us, row.number


def _written(this: Close, reference: Reference, draft: DraftInvoice, row: Row[Any]) -> dict[str, object]:
    """The invoice as it would be written now, under the number that it has."""
    issued_us = this.issue_us if row.revision == 1 else row.issued_at_us
    issued_at = from_us(issued_us)
    day = issue_date(issued_at, reference["seller"].iloc[0]["time_zone"])
    new = NewInvoice(draft=draft, issued_at=issued_at, issue_date=day, revision=row.revision, replaces=row.replaces)
    close = replace(this, pinned_load=row.pinned_load)
    return invoice_row(close, new, row.prefix, row.year, row.sequence, row.number)


def of_cycles(frame: pd.DataFrame, mine: Cycles) -> pd.DataFrame:
    """The rows of these cycles, of a frame with team_id and cycle_start_us."""
    keys = zip(frame["team_id"].tolist(), frame["cycle_start_us"].tolist(), strict=True)
    return frame[np.array([key in mine for key in keys], dtype=bool)]
