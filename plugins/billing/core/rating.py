"""Rating: the usage of many teams' cycles to carry-over and draws, at once (rules 3.5, 3.8, sections 4 and 5).

Each team is rated as one stream of events from the start of its first open cycle on. That start and the batch
pinned by its last close say which events are still to be billed; whatever occurred before it is late (rule 3.5).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from billing.core.asof import Int64s
from billing.core.capacity import CARRY_COLUMNS, count_capacity
from billing.core.daily import days_of_invoiced
from billing.core.drawdown import Draw, Drawn
from billing.core.drawing import Completions, Drawing
from billing.core.metering import NO_SIZE, meter, overflowing
from billing.core.model import ApiBilling, Parked, ParkedReason
from billing.core.segments import Cuts, Segment
from billing.core.spans import Opening
from billing.core.streams import Stream, TeamPlan, planned_cycles, stream_of
from billing.core.terms import Terms

DRAW_COLUMNS = ("team_id", "cycle_start_us", *Draw._fields, "charged_units", "tokens_micro")
_WHOLE = ("cycle_start_us", "charged_units", "tokens_micro")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rated:
    """Cycles rated: frames with ``CARRY_COLUMNS``, ``DRAW_COLUMNS`` and ``core.daily.DAY_COLUMNS``, and the troubles
    met on the way.

    Rows of a parked cycle and of those after it are still in the frames: ``without_parked`` takes them out.
    Capacity shows as ``billing = capacity`` in the carry (its closing is minus the credit) and as draws whose
    ``tokens_micro`` is the quantity of the resource. ``unsettled``: where usage came as sums and the order of its
    events can change what paid; the draws of their teams are not final.
    """

    carry: pd.DataFrame
    draws: pd.DataFrame
    days: pd.DataFrame
    troubles: tuple[Parked, ...]
    unsettled: tuple[Segment, ...] = ()


def rate(
    terms: Terms, plans: Sequence[TeamPlan], events: pd.DataFrame, opening: Opening, cuts: Cuts | None = None
) -> Rated:
    """Rate the planned cycles.

    ``events``: team_id, event_id, api (str); occurred_at_us, quantity_micro, batch_no (int64); is_correction (bool),
    accepted events of these teams, in any order; those already billed or not effective in the planned cycles are
    left aside. Where there is a column is_sum (bool), rows of it are the sum of one API's events in a segment, at the
    instant of the last of them. ``cuts`` are those of the plans, if they are at hand.
    """
    stream = stream_of(terms, plans, events)
    billing = np.array([b.value for b in terms.billing], dtype=object)
    rated = stream.take(billing[stream.api] == ApiBilling.RATED) if len(stream.api) else stream
    capacity = stream.take(billing[stream.api] == ApiBilling.CAPACITY) if len(stream.api) else stream
    carry, completions, troubles = _charge_units(terms, plans, rated, opening)
    drawing = Drawing(terms, plans, cuts or Cuts.of(terms, plans), completions, opening.used)
    drawing.run()
    capacity_carry, capacity_draws, beyond = count_capacity(terms, plans, capacity, opening)
    draw_frame = _draw_frame(plans, [*drawing.draws, *capacity_draws])
    return Rated(
        carry=pd.concat([carry, capacity_carry], ignore_index=True) if len(capacity_carry) else carry,
        draws=draw_frame,
        days=days_of_invoiced(terms, plans, stream, draw_frame),
        troubles=(*troubles, *beyond),
        unsettled=tuple(drawing.unsettled),
    )


def drawn_by_event(terms: Terms, plan: TeamPlan, events: pd.DataFrame, opening: Opening, api: str) -> list[list[Drawn]]:
    """What the units of one API were drawn on: an entry for each event that completed any, in the order of rule 4.2.

    ``events`` as ``rate`` takes them, without sums, of rated APIs only: of this one, and of all that draw on the same
    balances.
    """
    _, done, _ = _charge_units(terms, [plan], stream_of(terms, [plan], events), opening)
    drawn = Drawing(terms, [plan], Cuts.of(terms, [plan]), done, opening.used).each()
    mine = terms.api_place[api]
    return [one for place, one in zip(done.stream.api.tolist(), drawn, strict=True) if place == mine]


def without_parked(rated: Rated, parked: Sequence[Parked]) -> Rated:
    """The same without the cycles of parked teams from the parked one on."""
    first = {p.team_id: p.cycle_start_us for p in parked}

    def kept(frame: pd.DataFrame) -> pd.DataFrame:
        limit = frame["team_id"].map(first)
        return frame[limit.isna() | (frame["cycle_start_us"] < limit)].reset_index(drop=True)

    if not first:
        return rated
    return replace(rated, carry=kept(rated.carry), draws=kept(rated.draws), days=kept(rated.days))


def first_troubles(troubles: Sequence[Parked]) -> list[Parked]:
    """For each team the earliest cycle in trouble, with the first reason in the order of rule 3.8."""
    order = list(ParkedReason)
    found: dict[str, Parked] = {}
    for trouble in sorted(troubles, key=lambda p: (p.team_id, p.cycle_start_us, order.index(p.reason))):
        found.setdefault(trouble.team_id, trouble)
    return list(found.values())


def _charge_units(
    terms: Terms, plans: Sequence[TeamPlan], stream: Stream, opening: Opening
) -> tuple[pd.DataFrame, Completions, list[Parked]]:
    """Section 4: the carry frame, what completed, and cycles that cannot be rated."""
    keys, opening_micro = _accumulators(terms, plans, stream, opening.carry_micro)
    accumulator = np.searchsorted(keys, stream.team * len(terms.apis) + stream.api)
    rate_row = terms.rates.row_at(stream.api, stream.effective_us)
    size = terms.rate_size_micro[rate_row]
    grouped = np.argsort(accumulator, kind="stable")
    beyond = np.zeros(len(accumulator), dtype=bool)
    beyond[grouped] = overflowing(accumulator[grouped], stream.quantity_micro[grouped], opening_micro)
    quantity = np.where(beyond, 0, stream.quantity_micro)
    metered = meter(accumulator[grouped], quantity[grouped], size[grouped], opening_micro)
    units, carry_after = np.empty_like(accumulator), np.empty_like(accumulator)
    units[grouped], carry_after[grouped] = metered.charged_units, metered.carry_micro
    troubles = _troubles(plans, stream, ParkedReason.NO_UNIT_SIZE, size == NO_SIZE)
    troubles += _troubles(plans, stream, ParkedReason.BOUND_EXCEEDED, beyond)
    carry = _carry_frame(terms, plans, stream, keys, opening_micro, accumulator, quantity, units, carry_after)
    done = np.flatnonzero(units > 0)
    return carry, Completions(stream=stream.take(done), units=units[done], rate_row=rate_row[done]), troubles


def _accumulators(
    terms: Terms, plans: Sequence[TeamPlan], stream: Stream, carry_micro: Mapping[tuple[str, str], int]
) -> tuple[Int64s, Int64s]:
    """The accumulators at work, as sorted ``team * apis + api``, with their opening carry: shapes (accumulators,)."""
    team_place = {p.team_id: place for place, p in enumerate(plans)}
    api_place = {
        api: place
        for place, (api, b) in enumerate(zip(terms.apis, terms.billing, strict=True))
        if b is ApiBilling.RATED
    }
    opened = {
        team_place[team] * len(terms.apis) + api_place[api]: micro
        for (team, api), micro in carry_micro.items()
        if micro and team in team_place and api in api_place
    }
    used = np.unique(stream.team * len(terms.apis) + stream.api)
    keys = np.union1d(used, np.array(list(opened), dtype=np.int64)).astype(np.int64)
    return keys, np.array([opened.get(int(key), 0) for key in keys], dtype=np.int64)


def _troubles(
    plans: Sequence[TeamPlan], stream: Stream, reason: ParkedReason, where: npt.NDArray[np.bool_]
) -> list[Parked]:
    cycles = [(p.team_id, c.start_us) for p in plans for c in p.cycles]
    return [
        Parked(team_id=cycles[c][0], cycle_start_us=cycles[c][1], reason=reason) for c in np.unique(stream.cycle[where])
    ]


def _carry_frame(
    terms: Terms,
    plans: Sequence[TeamPlan],
    stream: Stream,
    keys: Int64s,
    opening_micro: Int64s,
    accumulator: Int64s,
    quantity: Int64s,
    units: Int64s,
    carry_after: Int64s,
) -> pd.DataFrame:
    """A row per accumulator and planned cycle with any event, or an opening or closing that is not zero."""
    cycle_team, cycle_start = planned_cycles(plans)
    first_cycle = np.searchsorted(cycle_team, np.arange(len(plans)))
    cycles_of = np.array([len(p.cycles) for p in plans], dtype=np.int64)
    key_team, key_api = keys // max(len(terms.apis), 1), keys % max(len(terms.apis), 1)
    owner = np.repeat(np.arange(len(keys)), cycles_of[key_team])
    first_row = np.concatenate([[0], np.cumsum(cycles_of[key_team])])[:-1]
    cycle = np.arange(len(owner)) - np.repeat(first_row, cycles_of[key_team]) + first_cycle[key_team][owner]
    row = first_row[accumulator] + stream.cycle - first_cycle[stream.team]
    usage, late, charged = (np.zeros(len(owner), dtype=np.int64) for _ in range(3))
    np.add.at(usage, row, quantity)
    np.add.at(late, row, np.where(stream.late, quantity, 0))
    np.add.at(charged, row, units)
    touched = np.zeros(len(owner), dtype=bool)
    touched[row] = True
    # Rows follow time within an accumulator, so the last event of a cycle is written last.
    closing = np.zeros(len(owner), dtype=np.int64)
    closing[row] = carry_after
    last = np.maximum.accumulate(np.where(touched, np.arange(len(owner)), -1))
    closing = np.where(last >= first_row[owner], closing[last], opening_micro[owner])
    before = np.concatenate([[0], closing[:-1]]) if len(owner) else closing
    begins = np.arange(len(owner)) == first_row[owner]
    opened = np.where(begins, opening_micro[owner], before)
    kept = touched | (opened != 0) | (closing != 0)
    team_ids, apis = np.array([p.team_id for p in plans], dtype=object), np.array(terms.apis, dtype=object)
    columns = (
        team_ids[key_team[owner]],
        cycle_start[cycle],
        apis[key_api[owner]],
        np.full(len(owner), ApiBilling.RATED.value, dtype=object),
        opened,
        usage,
        late,
        charged,
        closing,
    )
    return pd.DataFrame({name: column[kept] for name, column in zip(CARRY_COLUMNS, columns, strict=True)})


def _draw_frame(plans: Sequence[TeamPlan], draws: Sequence[tuple[int, int, Drawn]]) -> pd.DataFrame:
    sums: dict[tuple[int, int, Draw], list[int]] = defaultdict(lambda: [0, 0])
    for place, start, one in draws:
        total = sums[place, start, one.draw]
        total[0] += one.charged_units
        total[1] += one.tokens_micro
    rows = [(plans[place].team_id, start, *draw, *total) for (place, start, draw), total in sums.items()]
    columns = zip(*rows, strict=True) if rows else [()] * len(DRAW_COLUMNS)
    return pd.DataFrame(
        {
            name: np.fromiter(values, np.int64, len(rows)) if name in _WHOLE else pd.Series(values, dtype=object)
            for name, values in zip(DRAW_COLUMNS, columns, strict=True)
        }
    )
