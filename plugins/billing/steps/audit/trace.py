"""From an invoice's line to the events whose usage completed its units, and from an event to where it was billed
(rule 7.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, select

from billing.core.asof import Int64s
from billing.core.errors import ConservationBroken, NotFound
from billing.core.instants import to_us
from billing.core.metering import meter
from billing.core.terms import Terms
from billing.steps.reference import reference_at
from billing.store import ledger
from billing.store.batches import committed, demand_rows
from billing.store.home import Home
from billing.store.lake import CommittedBatches
from billing.store.ledger import Close
from billing.store.shards import shard_of
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
        this = ledger.read_close(connection, invoice.close_no)
        demand_rows(home, connection, this.pinned_batch)
        stretch = _Stretch.of(home, connection, this, invoice)
        return [
            _traced(
                home, connection, stretch, invoice, api, [(r.line_no, r.charged_units) for r in lines if r.api == api]
            )
            for api in dict.fromkeys(row.api for row in lines)
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stretch:
    """An invoice's cycle, and what of usage is billed in it: of these batches, and late usage that came after a batch
    where the cycle is the first that was open (rule 3.5).
    """

    team_id: str
    start_us: int
    end_us: int
    late_after: int | None
    batches: CommittedBatches
    terms: Terms

    @classmethod
    def of(cls, home: Home, connection: Connection, this: Close, invoice: Row[Any]) -> _Stretch:
        mine = (cycles.c.team_id == invoice.team_id) & (cycles.c.close_no == this.close_no)
        spans = select(cycles.c.cycle_start_us, cycles.c.cycle_end_us).where(mine)
        ends = {row.cycle_start_us: row.cycle_end_us for row in connection.execute(spans)}
        last = ledger.last_closed(connection, [shard_of(invoice.team_id)], before_close=this.close_no)
        billed = last[invoice.team_id].pinned_batch if invoice.team_id in last else 0
        return cls(
            team_id=invoice.team_id,
            start_us=invoice.cycle_start_us,
            end_us=ends[invoice.cycle_start_us],
            late_after=billed if invoice.cycle_start_us == min(ends) else None,
            batches=committed(connection, this.pinned_batch),
            terms=Terms.from_reference(reference_at(home, this.pinned_load), [invoice.team_id]),
        )

    def sizes(self, api: str, effective_us: Int64s) -> Int64s:
        """The unit size in force at each instant, by what the close had pinned (rule 4.1)."""
        place = np.full(len(effective_us), self.terms.apis.index(api), dtype=np.int64)
        found: Int64s = self.terms.rate_size_micro[self.terms.rates.row_at(place, effective_us)]
        return found


def _traced(
    home: Home,
    connection: Connection,
    stretch: _Stretch,
    invoice: Row[Any],
    api: str,
    lines: Sequence[tuple[int, int]],
) -> Trace:
    key = (invoice.team_id, invoice.cycle_start_us)
    query = select(carry).where(carry.c.team_id == key[0], carry.c.cycle_start_us == key[1], carry.c.api == api)
    kept = connection.execute(query).one()
    found = Trace(
        number=invoice.number,
        team_id=invoice.team_id,
        cycle_start_us=invoice.cycle_start_us,
        api=api,
        opening_micro=kept.opening_micro,
        closing_micro=kept.closing_micro,
        charged_units=kept.charged_units,
        lines=lines,
        events=_events(home, connection, stretch, api, kept.opening_micro),
    )
    _demand_equal(found, kept)
    return found


def _events(
    home: Home, connection: Connection, stretch: _Stretch, api: str, opening_micro: int
) -> tuple[TracedEvent, ...]:
    """The events of an API that are effective in the invoice's cycle, metered in the order of rule 4.2."""
    start_us = stretch.start_us
    usage = home.usage.of_team(
        stretch.batches, stretch.team_id, api, start_us, stretch.end_us, late_after=stretch.late_after
    )
    rows = [{**row, "at_us": to_us(row["occurred_at"])} for row in usage.to_pylist()]
    rows.sort(key=lambda row: (max(row["at_us"], start_us), row["at_us"], not row["corrects"], row["event_id"]))
    quantity = np.array([row["quantity_micro"] for row in rows], dtype=np.int64)
    effective = np.array([max(row["at_us"], start_us) for row in rows], dtype=np.int64)
    size = stretch.sizes(api, effective)
    metered = meter(np.zeros(len(rows), dtype=np.int64), quantity, size, np.array([opening_micro]))
    names = _files(connection, {row["batch_no"] for row in rows})
    return tuple(
        TracedEvent(
            event_id=row["event_id"],
            occurred_at_us=row["at_us"],
            app_id=row["app_id"],
            quantity_micro=row["quantity_micro"],
            corrects=row["corrects"],
            is_late=row["at_us"] < start_us,
            charged_units=units,
            carry_micro=carried,
            batch_no=row["batch_no"],
            file=names[row["batch_no"], row["file_no"]],
            record=row["line"],
        )
        for row, units, carried in zip(rows, metered.charged_units.tolist(), metered.carry_micro.tolist(), strict=True)
    )


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
