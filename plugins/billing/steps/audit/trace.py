"""From an invoice's line to the events whose usage completed its units, and from an event to where it was billed
(rule 7.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, select

from billing.core.errors import ConservationBroken, NotFound
from billing.core.instants import to_us
from billing.core.metering import meter
from billing.core.terms import Terms
from billing.steps.reference import reference_at
from billing.store import ledger
from billing.store.batches import committed, demand_rows
from billing.store.home import Home
from billing.store.tables import batch_files, carry, cycles, invoice_lines, invoices, quarantine


@dataclass(frozen=True, kw_only=True, slots=True)
class TracedEvent:
    """An event of a cycle: where it stood in what the source sent (``file``, ``record``), the units that it completed,
    and the carry-over after it in 10^-6.
    """

    event_id: str
    occurred_at_us: int
    app_id: str
    quantity_micro: int
    corrects: str
    is_late: bool
    charged_units: int
    carry_micro: int
    batch_no: int
    file: str
    record: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """All events of an API in an invoice's cycle, in their order (rule 4.2): they begin with the opening carry-over and
    complete the charged units; ``lines`` are (number, units), those that pay as you go paid for.
    """

    number: str
    team_id: str
    cycle_start_us: int
    api: str
    opening_micro: int
    closing_micro: int
    charged_units: int
    lines: Sequence[tuple[int, int]]
    events: Sequence[TracedEvent]


def trace(home: Home, number: str, line_no: int | None = None) -> list[Trace]:
    """The events behind every line of an invoice, or behind one; an API with several prices is traced once.

    Raises ``NotFound`` for what was never issued, ``ConservationBroken`` where the events are not what was charged.
    """
    with home.database.read() as connection:
        invoice = connection.execute(select(invoices).where(invoices.c.number == number)).first()
        if invoice is None:
            raise NotFound(f"{number} was never issued: `billing invoices list` shows what was.")
        query = select(invoice_lines).where(invoice_lines.c.number == number).order_by(invoice_lines.c.line_no)
        lines = [row for row in connection.execute(query) if line_no in (None, row.line_no)]
        if not lines:
            raise NotFound(f"{number} has no line {line_no}.")
        demand_rows(home, connection, ledger.read_close(connection, invoice.close_no).pinned_batch)
        return [
            _traced(home, connection, invoice, api, [(r.line_no, r.charged_units) for r in lines if r.api == api])
            for api in dict.fromkeys(row.api for row in lines)
        ]


def _traced(home: Home, connection: Connection, invoice: Row[Any], api: str, lines: Sequence[tuple[int, int]]) -> Trace:
    key = (invoice.team_id, invoice.cycle_start_us)
    this = ledger.read_close(connection, invoice.close_no)
    closed = ledger.close_cycles(connection, invoice.close_no)
    first_us = min(start_us for team_id, start_us in closed if team_id == invoice.team_id)
    last = ledger.last_closed(connection, before_close=this.close_no).get(invoice.team_id)
    usage = home.usage.of_team(committed(connection, this.pinned_batch), invoice.team_id, api)
    rows = _in_order(usage.to_pylist(), first_us, last.pinned_batch if last else 0, (key[1], closed[key].end_us))
    kept = connection.execute(
        select(carry).where(carry.c.team_id == key[0], carry.c.cycle_start_us == key[1], carry.c.api == api)
    ).one()
    terms = Terms.from_reference(reference_at(home, this.pinned_load), [invoice.team_id])
    effective = np.array([max(row["at_us"], first_us) for row in rows], dtype=np.int64)
    size = terms.rate_size_micro[terms.rates.row_at(np.full(len(rows), terms.apis.index(api)), effective)]
    quantity = np.array([row["quantity_micro"] for row in rows], dtype=np.int64)
    metered = meter(np.zeros(len(rows), dtype=np.int64), quantity, size, np.array([kept.opening_micro]))
    names = _files(connection, {row["batch_no"] for row in rows})
    events = tuple(
        TracedEvent(
            event_id=row["event_id"],
            occurred_at_us=row["at_us"],
            app_id=row["app_id"],
            quantity_micro=row["quantity_micro"],
            corrects=row["corrects"],
            is_late=row["at_us"] < first_us,
            charged_units=units,
            carry_micro=carried,
            batch_no=row["batch_no"],
            file=names[row["batch_no"], row["file_no"]],
            record=row["line"],
        )
        for row, units, carried in zip(rows, metered.charged_units.tolist(), metered.carry_micro.tolist(), strict=True)
    )
    found = Trace(
        number=invoice.number,
        team_id=invoice.team_id,
        cycle_start_us=invoice.cycle_start_us,
        api=api,
        opening_micro=kept.opening_micro,
        closing_micro=kept.closing_micro,
        charged_units=kept.charged_units,
        lines=lines,
        events=events,
    )
    _demand_equal(found, kept)
    return found


def _in_order(
    rows: Iterable[dict[str, Any]], first_us: int, billed_batch: int, cycle: tuple[int, int]
) -> list[dict[str, Any]]:
    """The events that are effective in the cycle, in the order of rule 4.2. ``first_us`` is where the close began to
    bill the team; what occurred before it and came by ``billed_batch`` is billed already (rule 3.5).
    """
    found = []
    for row in rows:
        at_us = to_us(row["occurred_at"])
        unbilled = at_us >= first_us or row["batch_no"] > billed_batch
        if unbilled and cycle[0] <= max(at_us, first_us) < cycle[1]:
            found.append({**row, "at_us": at_us})
    found.sort(key=lambda row: (max(row["at_us"], first_us), row["at_us"], not row["corrects"], row["event_id"]))
    return found


def _files(connection: Connection, numbers: Iterable[int]) -> dict[tuple[int, int], str]:
    """The names of batches' files, as the source called them, by batch and number of the file."""
    query = select(batch_files.c.batch_no, batch_files.c.file_no, batch_files.c.name)
    rows = connection.execute(query.where(batch_files.c.batch_no.in_(sorted(numbers))))
    return {(row.batch_no, row.file_no): row.name for row in rows}


def _demand_equal(found: Trace, kept: Row[Any]) -> None:
    """The events must come to what the ledger says of the cycle."""
    usage = sum(event.quantity_micro for event in found.events)
    units = sum(event.charged_units for event in found.events)
    closing = found.events[-1].carry_micro if found.events else found.opening_micro
    if (usage, units, closing) != (kept.usage_micro, kept.charged_units, kept.closing_micro):
        raise ConservationBroken(
            f"{found.number}, {found.api}: its events come to {usage} usage, {units} units and {closing} carried over "
            f"(in 10^-6), and {kept.usage_micro}, {kept.charged_units} and {kept.closing_micro} are in the ledger. See "
            f"what differs: `billing audit rerun {found.number}`."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where an event id was met. ``state`` is ``billed``, ``open`` (its cycle is not closed) or ``quarantined``; of a
    quarantined record ``detail`` is its reason and how it ended, else the invoices of its cycle.
    """

    state: str
    team_id: str
    cycle_start_us: int | None
    batch_no: int
    file: str
    record: int
    detail: str


def whereabouts(home: Home, event_id: str) -> list[Place]:
    """Every place in which an id was met: accepted once, quarantined any number of times. Second deliveries of what was
    accepted are kept as ranges of records without their ids, and are not among them. Raises ``NotFound`` for an id that
    was never met.
    """
    with home.database.read() as connection:
        accepted = home.usage.named(committed(connection), event_id).to_pylist()
        held = connection.execute(select(quarantine).where(quarantine.c.event_id == event_id)).all()
        names = _files(connection, {row["batch_no"] for row in accepted} | {row.batch_no for row in held})
        found = [_billed(connection, row, names) for row in accepted]
    found += [
        Place(
            state="quarantined",
            team_id="",
            cycle_start_us=None,
            batch_no=row.batch_no,
            file=names[row.batch_no, row.file_no],
            record=row.line,
            detail=f"{row.reason}; {row.ending or 'waits'}" + (f" in batch {row.ended_in}" if row.ended_in else ""),
        )
        for row in held
    ]
    if not found:
        raise NotFound(f"No event {event_id!r} was ever accepted or quarantined.")
    return found


def _billed(connection: Connection, row: dict[str, Any], names: dict[tuple[int, int], str]) -> Place:
    """The cycle that billed an accepted event: the first of its team that ends after it and pinned its batch."""
    query = select(cycles).where(
        cycles.c.team_id == row["team_id"],
        cycles.c.state == ledger.ISSUED,
        cycles.c.cycle_end_us > to_us(row["occurred_at"]),
        cycles.c.pinned_batch >= row["batch_no"],
    )
    cycle = connection.execute(query.order_by(cycles.c.cycle_start_us).limit(1)).first()
    numbers: list[str] = []
    if cycle is not None:
        mine = invoices.c.team_id == cycle.team_id, invoices.c.cycle_start_us == cycle.cycle_start_us
        numbers = list(connection.execute(select(invoices.c.number).where(*mine).order_by(invoices.c.number)).scalars())
    return Place(
        state="open" if cycle is None else "billed",
        team_id=row["team_id"],
        cycle_start_us=None if cycle is None else cycle.cycle_start_us,
        batch_no=row["batch_no"],
        file=names[row["batch_no"], row["file_no"]],
        record=row["line"],
        detail=", ".join(numbers),
    )
