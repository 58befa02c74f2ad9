"""The events whose usage completed an invoice's units, as its close had pinned them (rule 7.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Row, select

from billing.core.asof import AsOf, Int64s
from billing.core.errors import ConservationBroken, NotFound, UsageError
from billing.core.metering import NO_SIZE, Metered, meter
from billing.store import ledger
from billing.store.batches import committed, demand_rows
from billing.store.database import in_parts
from billing.store.home import Home
from billing.store.lake import CommittedBatches
from billing.store.ledger import Close
from billing.store.tables import batch_files, carry, cycles, invoice_lines, invoices, reference_history

READ_AT_ONCE = 2_000_000
"""So many events of an API and cycle are read for a part of them; the command reads any number."""


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
class TracedEvents:
    """Events of an API in an invoice's cycle, in their order (rule 4.2): all ``total`` of them begin with the opening
    carry-over and complete the charged units; ``events`` are those that were asked for.
    """

    team_id: str
    cycle_start_us: int
    api: str
    opening_micro: int
    closing_micro: int
    charged_units: int
    total: int
    events: Sequence[TracedEvent]


def invoice_and_lines(
    connection: Connection, number: str, line_no: int | None = None
) -> tuple[Row[Any], list[Row[Any]]]:
    """An invoice and its lines, or one of them. Raises ``NotFound``."""
    invoice = connection.execute(select(invoices).where(invoices.c.number == number)).first()
    if invoice is None:
        raise NotFound(f"{number} was never issued: `billing invoices list` shows what was.")
    query = select(invoice_lines).where(invoice_lines.c.number == number).order_by(invoice_lines.c.line_no)
    lines = [row for row in connection.execute(query) if line_no in (None, row.line_no)]
    if not lines:
        raise NotFound(f"{number} has no line {line_no}.")
    return invoice, lines


def trace_line(home: Home, connection: Connection, number: str, line_no: int, offset: int, limit: int) -> TracedEvents:
    """Of the events behind an invoice's line ``limit`` from place ``offset`` on.

    Raises ``NotFound``; ``UsageError`` where more than ``READ_AT_ONCE`` would have to be read; ``ConservationBroken``
    where the events are not what was charged.
    """
    invoice, [line] = invoice_and_lines(connection, number, line_no)
    return Stretch.of(home, connection, invoice).trace(
        home, connection, line.api, slice(offset, offset + limit), READ_AT_ONCE
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """An invoice's cycle, and what of usage is billed in it: of these batches, and late usage that came after a batch
    where the cycle is the first that was open (rule 3.5).
    """

    number: str
    team_id: str
    start_us: int
    end_us: int
    late_after: int | None
    batches: CommittedBatches
    load_no: int

    @classmethod
    def of(cls, home: Home, connection: Connection, invoice: Row[Any]) -> Stretch:
        """That of an invoice's row. Raises ``SourceUnavailable`` where the lake is not as far as its close was."""
        this = ledger.read_close(connection, invoice.close_no)
        demand_rows(home, connection, this.pinned_batch)
        mine = (cycles.c.team_id == invoice.team_id) & (cycles.c.close_no == this.close_no)
        spans = select(cycles.c.cycle_start_us, cycles.c.cycle_end_us).where(mine)
        ends = {row.cycle_start_us: row.cycle_end_us for row in connection.execute(spans)}
        return cls(
            number=invoice.number,
            team_id=invoice.team_id,
            start_us=invoice.cycle_start_us,
            end_us=ends[invoice.cycle_start_us],
            late_after=_billed_before(connection, invoice.team_id, this)
            if invoice.cycle_start_us == min(ends)
            else None,
            batches=committed(connection, this.pinned_batch),
            load_no=this.pinned_load,
        )

    def trace(
        self, home: Home, connection: Connection, api: str, wanted: slice, at_most: int | None = None
    ) -> TracedEvents:
        """The events of an API that are effective in the cycle, metered in the order of rule 4.2."""
        cycle = (carry.c.team_id == self.team_id) & (carry.c.cycle_start_us == self.start_us)
        kept = connection.execute(select(carry).where(cycle, carry.c.api == api)).one()
        asked = (self.batches, self.team_id, api, self.start_us, self.end_us)
        if at_most is not None and home.usage.count_of_team(*asked, late_after=self.late_after) > at_most:
            raise UsageError(
                f"More than {at_most:,} events are behind this line: `billing audit trace {self.number}` lists them."
            )
        rows = self._in_order(home.usage.of_team(*asked, late_after=self.late_after))
        metered = self._meter(connection, api, rows, kept.opening_micro)
        _demand_equal(self.number, kept, rows, metered)
        return TracedEvents(
            team_id=self.team_id,
            cycle_start_us=self.start_us,
            api=api,
            opening_micro=kept.opening_micro,
            closing_micro=kept.closing_micro,
            charged_units=kept.charged_units,
            total=rows.num_rows,
            events=self._events(connection, rows, metered, wanted),
        )

    def _in_order(self, usage: pa.Table) -> pa.Table:
        at_us = usage["occurred_at"].cast(pa.int64())
        effective = pc.max_element_wise(at_us, pa.scalar(self.start_us, pa.int64()))
        usage = usage.append_column("at_us", at_us).append_column("effective_us", effective)
        usage = usage.append_column("is_usage", pc.cast(pc.equal(usage["corrects"], ""), pa.int8()))
        order = [(name, "ascending") for name in ("effective_us", "at_us", "is_usage", "event_id")]
        return usage.take(pc.sort_indices(usage, sort_keys=order))

    def _meter(self, connection: Connection, api: str, rows: pa.Table, opening_micro: int) -> Metered:
        zeros = np.zeros(rows.num_rows, dtype=np.int64)
        sizes = self._sizes(connection, api, rows["effective_us"].to_numpy())
        return meter(zeros, rows["quantity_micro"].to_numpy(), sizes, np.array([opening_micro], dtype=np.int64))

    def _sizes(self, connection: Connection, api: str, effective_us: Int64s) -> Int64s:
        """The unit size in force at each instant, by what the close had pinned (rule 4.1)."""
        rates = reference_history["unit_rates"].c
        then = (rates.known_from <= self.load_no) & (rates.known_to > self.load_no)
        found = connection.execute(select(rates.valid_from, rates.unit_size).where(rates.api == api, then)).all()
        starts = np.array([row.valid_from for row in found], dtype=np.int64)
        sizes = np.array([*(row.unit_size for row in found), NO_SIZE], dtype=np.int64)
        place = np.zeros(len(effective_us), dtype=np.int64)
        in_force: Int64s = sizes[AsOf(np.zeros(len(starts), dtype=np.int64), starts, 1).row_at(place, effective_us)]
        return in_force

    def _events(
        self, connection: Connection, rows: pa.Table, metered: Metered, wanted: slice
    ) -> tuple[TracedEvent, ...]:
        start, stop, _ = wanted.indices(rows.num_rows)
        some = rows.slice(start, max(0, stop - start)).to_pylist()
        names = files_of(connection, {row["batch_no"] for row in some})
        units, carried = metered.charged_units[wanted].tolist(), metered.carry_micro[wanted].tolist()
        return tuple(
            TracedEvent(
                event_id=row["event_id"],
                occurred_at_us=row["at_us"],
                app_id=row["app_id"],
                quantity_micro=row["quantity_micro"],
                corrects=row["corrects"],
                is_late=row["at_us"] < self.start_us,
                charged_units=completed,
                carry_micro=after,
                batch_no=row["batch_no"],
                file=names[row["batch_no"], row["file_no"]],
                record=row["line"],
            )
            for row, completed, after in zip(some, units, carried, strict=True)
        )


def files_of(connection: Connection, numbers: Iterable[int]) -> dict[tuple[int, int], str]:
    """The names of batches' files, as the source called them, by batch and number of the file."""
    query = select(batch_files.c.batch_no, batch_files.c.file_no, batch_files.c.name)
    found = {}
    for some in in_parts(sorted(set(numbers))):
        for row in connection.execute(query.where(batch_files.c.batch_no.in_(some))):
            found[row.batch_no, row.file_no] = row.name
    return found


def _billed_before(connection: Connection, team_id: str, this: Close) -> int:
    """The batch that the team's last closed cycle before a close had pinned; 0 where it had none."""
    mine = (cycles.c.team_id == team_id) & (cycles.c.state == ledger.ISSUED) & (cycles.c.close_no < this.close_no)
    last = select(cycles.c.pinned_batch).where(mine).order_by(cycles.c.cycle_start_us.desc()).limit(1)
    return connection.execute(last).scalar() or 0


def _demand_equal(number: str, kept: Row[Any], rows: pa.Table, metered: Metered) -> None:
    """The events must come to what the ledger says of the cycle."""
    usage = sum(rows["quantity_micro"].to_pylist())
    units = int(metered.charged_units.sum())
    closing = int(metered.carry_micro[-1]) if rows.num_rows else kept.opening_micro
    if (usage, units, closing) != (kept.usage_micro, kept.charged_units, kept.closing_micro):
        raise ConservationBroken(
            f"{number}, {kept.api}: its events come to {usage} usage, {units} units and {closing} carried over "
            f"(in 10^-6), and {kept.usage_micro}, {kept.charged_units} and {kept.closing_micro} are in the ledger. See "
            f"what differs: `billing audit rerun {number}`."
        )
