"""The events whose usage completed an invoice's units, as its close had pinned them (rule 7.3), and what paid for the
units of each (rule 5.1).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, Row, select

from billing.core.asof import AsOf, Int64s, values_during
from billing.core.cycles import CycleSpan
from billing.core.drawdown import POOL_KINDS, Drawn
from billing.core.errors import ConservationBroken, NotFound, UsageError
from billing.core.metering import NO_SIZE, Metered, meter
from billing.core.model import ApiBilling, Kind
from billing.core.rating import drawn_by_event
from billing.core.reference import NO_TOKENS
from billing.core.spans import Opening
from billing.core.streams import TeamPlan
from billing.core.terms import Terms
from billing.store import ledger
from billing.store.batches import committed, demand_rows
from billing.store.database import in_parts
from billing.store.home import Home
from billing.store.lake import CommittedBatches
from billing.store.ledger import Close
from billing.store.reference_history import read_terms_of
from billing.store.tables import batch_files, carry, cycles, draws, invoice_lines, invoices, reference_history

READ_AT_ONCE = 2_000_000
"""So many events of an API and cycle are read for a part of them; the command reads any number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Paid:
    """Units by what paid for them (rule 5.1). Pay as you go has a subscription, a unit price and its currency; Token
    Flex and Flex have the tokens drawn, in 10^-6.
    """

    source: str
    subscription_id: str
    unit_price_micro: int | None
    currency: str
    charged_units: int
    tokens_micro: int

    def is_of(self, subscription_id: str, unit_price_micro: int) -> bool:
        """Whether an invoice line of this subscription at this price has them (rule 6.1)."""
        return (self.subscription_id, self.unit_price_micro) == (subscription_id, unit_price_micro)


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeUnits:
    """The units that were completed while a unit size was in force, and since when it was: None where it already was
    when the cycle began.
    """

    size_micro: int
    since_us: int | None
    charged_units: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """A price of pay as you go that was in force in a cycle; since when, as of sizes."""

    unit_price_micro: int
    currency: str
    since_us: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TracedEvent:
    """An event of a cycle: where it stood in what the source sent (``file``, ``record``), the units that it completed,
    and the carry-over after it in 10^-6. ``place`` is its own in the order, from 0 on.
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
    place: int


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
    sizes: Sequence[SizeUnits]
    events: Sequence[TracedEvent]


@dataclass(frozen=True, kw_only=True, slots=True)
class TracedLine:
    """The events behind a line, and who paid. ``paid`` is by the place of each event that completed units;
    ``new_prices`` are the places from which pay as you go has another price, where it has several; ``own`` are those of
    events that completed units of the line.
    """

    subscription_id: str
    unit_price_micro: int
    found: TracedEvents
    paid: Mapping[int, Sequence[Paid]]
    new_prices: frozenset[int]
    prices: Sequence[Price]
    own: Sequence[int]

    def is_of_line(self, one: Paid) -> bool:
        """Whether units are those of the line itself."""
        return one.is_of(self.subscription_id, self.unit_price_micro)


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


def trace_line(
    home: Home, connection: Connection, number: str, line_no: int, offset: int, limit: int, own: bool = False
) -> TracedLine:
    """Of the events behind an invoice's line ``limit`` from place ``offset`` on; where ``own``, of those only that
    completed units of this very line.

    Raises ``NotFound``; ``UsageError`` where more than ``READ_AT_ONCE`` would have to be read; ``ConservationBroken``
    where the events are not what was charged, or were not paid as the ledger says.
    """
    invoice, [line] = invoice_and_lines(connection, number, line_no)
    stretch = Stretch.of(home, connection, invoice)
    replayed = stretch.replay(home, connection, line.api, READ_AT_ONCE)
    terms = Terms.from_reference(read_terms_of(connection, stretch.load_no, stretch.team_id), [stretch.team_id])
    paid = _payers(home, connection, stretch, replayed, terms)
    of_line = (invoice.subscription_id, line.unit_price_micro)
    mine = [place for place, parts in paid.items() if any(one.is_of(*of_line) for one in parts)]
    places = np.array(mine, dtype=np.int64) if own else np.arange(replayed.rows.num_rows)
    return TracedLine(
        subscription_id=invoice.subscription_id,
        unit_price_micro=line.unit_price_micro,
        found=stretch.traced(connection, replayed, places[offset : offset + limit]),
        paid=paid,
        new_prices=_new_prices(paid),
        prices=_prices(terms, line.api, invoice.currency, stretch),
        own=mine,
    )


def _new_prices(paid: Mapping[int, Sequence[Paid]]) -> frozenset[int]:
    """The places of events whose units cost another price than those before them, the first among them; none where
    there is one price only.
    """
    found, last = set[int](), None
    for place, parts in paid.items():
        for one in parts:
            if one.unit_price_micro is not None and one.unit_price_micro != last:
                last = one.unit_price_micro
                found.add(place)
    return frozenset(found if len(found) > 1 else ())


def _prices(terms: Terms, api: str, currency: str, stretch: Stretch) -> tuple[Price, ...]:
    """The prices in force in a cycle, in order of time."""
    rows = list(zip(*terms.prices.get((api, currency), ((), ())), strict=True))
    return tuple(
        Price(unit_price_micro=price, currency=currency, since_us=since)
        for since, price in values_during(rows, stretch.start_us, stretch.end_us)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """Usage of one API in a cycle, metered again: rows in the order of rule 4.2, and the size in force at each."""

    api: str
    kept: Row[Any]
    rows: pa.Table
    sizes: Int64s
    metered: Metered


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """An invoice's cycle, and what of usage is billed in it: of these batches, and late usage that came after a batch
    where the cycle is the first that was open (rule 3.5).
    """

    number: str
    team_id: str
    close_no: int
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
            close_no=this.close_no,
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
        replayed = self.replay(home, connection, api, at_most)
        return self.traced(connection, replayed, np.arange(replayed.rows.num_rows)[wanted])

    def replay(self, home: Home, connection: Connection, api: str, at_most: int | None = None) -> Replayed:
        """All of an API's usage in the cycle, metered again; it comes to what the ledger says."""
        kept = connection.execute(select(carry).where(self._of_cycle(), carry.c.api == api)).one()
        rows = self.in_order(self.usage(home, api, at_most))
        sizes = self._sizes(connection, api, rows["effective_us"].to_numpy())
        zeros = np.zeros(rows.num_rows, dtype=np.int64)
        opening = np.array([kept.opening_micro], dtype=np.int64)
        metered = meter(zeros, rows["quantity_micro"].to_numpy(), sizes, opening)
        _demand_equal(self.number, kept, rows, metered)
        return Replayed(api=api, kept=kept, rows=rows, sizes=sizes, metered=metered)

    def usage(self, home: Home, api: str, at_most: int | None = None) -> pa.Table:
        """An API's events that are effective in the cycle, in no order."""
        asked = (self.batches, self.team_id, api, self.start_us, self.end_us)
        if at_most is not None and home.usage.count_of_team(*asked, late_after=self.late_after) > at_most:
            raise UsageError(
                f"More than {at_most:,} events are behind this line: `billing audit trace {self.number}` lists them."
            )
        return home.usage.of_team(*asked, late_after=self.late_after)

    def opening_carry(self, connection: Connection) -> dict[str, int]:
        """The opening carry-over of every rated API of the cycle, in 10^-6."""
        rated = carry.c.billing == ApiBilling.RATED.value
        query = select(carry.c.api, carry.c.opening_micro).where(self._of_cycle(), rated)
        return {row.api: row.opening_micro for row in connection.execute(query)}

    def traced(self, connection: Connection, replayed: Replayed, places: Int64s) -> TracedEvents:
        """What was metered again, with the events at some places."""
        kept = replayed.kept
        return TracedEvents(
            team_id=self.team_id,
            cycle_start_us=self.start_us,
            api=replayed.api,
            opening_micro=kept.opening_micro,
            closing_micro=kept.closing_micro,
            charged_units=kept.charged_units,
            total=replayed.rows.num_rows,
            sizes=self._units_by_size(connection, replayed),
            events=self._events(connection, replayed, places),
        )

    def _of_cycle(self) -> Any:
        return (carry.c.team_id == self.team_id) & (carry.c.cycle_start_us == self.start_us)

    def in_order(self, usage: pa.Table) -> pa.Table:
        """Events of the cycle in the order of rule 4.2."""
        at_us = usage["occurred_at"].cast(pa.int64())
        effective = pc.max_element_wise(at_us, pa.scalar(self.start_us, pa.int64()))
        usage = usage.append_column("at_us", at_us).append_column("effective_us", effective)
        usage = usage.append_column("is_usage", pc.cast(pc.equal(usage["corrects"], ""), pa.int8()))
        order = [(name, "ascending") for name in ("effective_us", "at_us", "is_usage", "event_id")]
        return usage.take(pc.sort_indices(usage, sort_keys=order))

    def _sizes(self, connection: Connection, api: str, effective_us: Int64s) -> Int64s:
        """The unit size in force at each instant, by what the close had pinned (rule 4.1)."""
        found = self._rates(connection, api)
        starts = np.array([since for since, _ in found], dtype=np.int64)
        sizes = np.array([*(size for _, size in found), NO_SIZE], dtype=np.int64)
        place = np.zeros(len(effective_us), dtype=np.int64)
        in_force: Int64s = sizes[AsOf(np.zeros(len(starts), dtype=np.int64), starts, 1).row_at(place, effective_us)]
        return in_force

    def _rates(self, connection: Connection, api: str) -> list[tuple[int, int]]:
        """Instants and the unit sizes from then on, in order of time."""
        rates = reference_history["unit_rates"].c
        then = (rates.known_from <= self.load_no) & (rates.known_to > self.load_no)
        query = select(rates.valid_from, rates.unit_size).where(rates.api == api, then).order_by(rates.valid_from)
        return [(row.valid_from, row.unit_size) for row in connection.execute(query)]

    def _units_by_size(self, connection: Connection, replayed: Replayed) -> tuple[SizeUnits, ...]:
        """The stretches of the cycle in which a unit size was in force, in order of time."""
        sizes = values_during(self._rates(connection, replayed.api), self.start_us, self.end_us)
        effective_us, found = replayed.rows["effective_us"].to_numpy(), list[SizeUnits]()
        for place, (since, size) in enumerate(sizes):
            until = sizes[place + 1][0] if place + 1 < len(sizes) else None
            rows = (effective_us >= (since or self.start_us)) & (effective_us < (until or self.end_us))
            units = int(replayed.metered.charged_units[rows].sum())
            found.append(SizeUnits(size_micro=size, since_us=since, charged_units=units))
        return tuple(found)

    def _events(self, connection: Connection, replayed: Replayed, places: Int64s) -> tuple[TracedEvent, ...]:
        some, metered = replayed.rows.take(pa.array(places)).to_pylist(), replayed.metered
        names = files_of(connection, {row["batch_no"] for row in some})
        units, carried = metered.charged_units[places].tolist(), metered.carry_micro[places].tolist()
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
                place=place,
            )
            for row, place, completed, after in zip(some, places.tolist(), units, carried, strict=True)
        )


def _payers(
    home: Home, connection: Connection, stretch: Stretch, replayed: Replayed, terms: Terms
) -> dict[int, tuple[Paid, ...]]:
    """What paid for the units of each event that completed any, by its place. All that draws on the same tokens is
    taken in one order, as at the close (rule 1.4).
    """
    carried = stretch.opening_carry(connection)
    events = [_as_rated(replayed.rows, stretch.team_id, replayed.api)]
    for api in _sharing(terms, stretch, replayed.api, carried):
        usage = stretch.in_order(stretch.usage(home, api, READ_AT_ONCE))
        events.append(_as_rated(usage, stretch.team_id, api))
    plan = TeamPlan(
        team_id=stretch.team_id,
        cycles=(CycleSpan(stretch.start_us, stretch.end_us, "UTC", None),),
        pinned_batch=-1,  # all of these events are billed in this cycle
    )
    used = ledger.used_before(connection, terms.with_balances(), stretch.team_id, stretch.close_no, stretch.start_us)
    opening = Opening(carry_micro={(stretch.team_id, api): micro for api, micro in carried.items()}, used=used)
    drawn = drawn_by_event(terms, plan, pd.concat(events, ignore_index=True), opening, replayed.api)
    _demand_drawn(connection, stretch, replayed.api, drawn)
    places = np.flatnonzero(replayed.metered.charged_units).tolist()
    return {place: _paid(one) for place, one in zip(places, drawn, strict=True)}


def _sharing(terms: Terms, stretch: Stretch, api: str, carried: Iterable[str]) -> list[str]:
    """The other APIs of the cycle whose units may draw on the same tokens; none where the team has no tokens then."""
    grants = [grant for kind in POOL_KINDS for grant in terms.teams[stretch.team_id].token_grants[kind]]
    if not any(grant.starts_us < stretch.end_us and grant.ends_us > stretch.start_us for grant in grants):
        return []
    cost_tokens = terms.rate_tokens_micro[:-1] != NO_TOKENS
    return [one for one in sorted(carried) if one != api] if cost_tokens.any() else []


def _as_rated(rows: pa.Table, team_id: str, api: str) -> pd.DataFrame:
    """Usage with the columns that ``rating.rate`` takes."""
    return pd.DataFrame(
        {
            "team_id": pd.Series([team_id] * rows.num_rows, dtype=object),
            "event_id": pd.Series(rows["event_id"].to_pylist(), dtype=object),
            "api": pd.Series([api] * rows.num_rows, dtype=object),
            "occurred_at_us": rows["at_us"].to_numpy(),
            "quantity_micro": rows["quantity_micro"].to_numpy(),
            "batch_no": rows["batch_no"].to_numpy(),
            "is_correction": rows["is_usage"].to_numpy() == 0,
        }
    )


def _paid(drawn: Sequence[Drawn]) -> tuple[Paid, ...]:
    """The draws of an event's units, those of several grants or allowances of one kind together."""
    sums: dict[tuple[str, str, int | None, str], list[int]] = defaultdict(lambda: [0, 0])
    for draw, units, tokens_micro in drawn:
        payg = draw.source == Kind.PAYG
        key = (str(draw.source), draw.subscription_id if payg else "", draw.unit_price_micro, draw.currency)
        sums[key][0] += units
        sums[key][1] += tokens_micro
    return tuple(
        Paid(
            source=source,
            subscription_id=subscription_id,
            unit_price_micro=price,
            currency=currency,
            charged_units=units,
            tokens_micro=tokens_micro,
        )
        for (source, subscription_id, price, currency), (units, tokens_micro) in sums.items()
    )


def _demand_drawn(connection: Connection, stretch: Stretch, api: str, drawn: Sequence[Sequence[Drawn]]) -> None:
    """What the events' units were drawn on must be what the ledger says of the cycle."""
    again: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0])
    for draw, units, tokens_micro in (one for each in drawn for one in each):
        again[str(draw.source), *draw[2:]][0] += units
        again[str(draw.source), *draw[2:]][1] += tokens_micro
    columns = (draws.c.source, draws.c.subscription_id, draws.c.grant_id, draws.c.unit_price_micro, draws.c.currency)
    query = select(*columns, draws.c.period_start_us, draws.c.charged_units, draws.c.tokens_micro).where(
        draws.c.team_id == stretch.team_id, draws.c.cycle_start_us == stretch.start_us, draws.c.api == api
    )
    kept = {tuple(row[:-2]): list(row[-2:]) for row in connection.execute(query)}
    if kept != again:
        raise ConservationBroken(
            f"{stretch.number}, {api}: what its events' units were drawn on is not what the ledger says. See what "
            f"differs: `billing audit rerun {stretch.number}`."
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
