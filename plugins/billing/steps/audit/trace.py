"""From an invoice's line to the events whose usage completed its units, and from an event to where it was billed
(rule 7.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from billing.core.errors import NotFound
from billing.core.instants import to_us
from billing.store import ledger
from billing.store.batches import committed
from billing.store.home import Home
from billing.store.tables import cycles, invoices, quarantine
from billing.store.trace import Stretch, TracedEvent, TracedEvents, files_of, invoice_and_lines

__all__ = ["Place", "Trace", "TracedEvent", "trace", "whereabouts"]


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
        invoice, lines = invoice_and_lines(connection, number, line_no)
        stretch = Stretch.of(home, connection, invoice)
        return [
            _traced(
                number,
                stretch.trace(home, connection, api, slice(None)),
                [(r.line_no, r.charged_units) for r in lines if r.api == api],
            )
            for api in dict.fromkeys(row.api for row in lines)
        ]


def _traced(number: str, found: TracedEvents, lines: Sequence[tuple[int, int]]) -> Trace:
    return Trace(
        number=number,
        team_id=found.team_id,
        cycle_start_us=found.cycle_start_us,
        api=found.api,
        opening_micro=found.opening_micro,
        closing_micro=found.closing_micro,
        charged_units=found.charged_units,
        lines=lines,
        events=found.events,
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
        names = files_of(connection, {row["batch_no"] for row in accepted} | {row.batch_no for row in held})
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
