"""Rating: the usage of many teams' cycles to carry-over and draws, at once (rules 3.5, 3.8, sections 4 and 5).

Each team is rated as one stream of events from the start of its first open cycle on. That start and the batch
pinned by its last close say which events are still to be billed; whatever occurred before it is late (rule 3.5).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from billing.core.asof import AsOf, Int64s
from billing.core.attribution import places
from billing.core.cycles import CycleSpan, active_payg
from billing.core.drawdown import Demand, Draw, Drawn, draw_span, order_can_matter, use_capacity
from billing.core.metering import NO_SIZE, meter, overflowing
from billing.core.model import ApiBilling, Kind, ParkedReason, Subscription
from billing.core.reference import NO_TOKENS
from billing.core.spans import TeamBalances, Used, balance_of, capacity_cuts, cut_instants, payer
from billing.core.terms import Grant, TeamTerms, Terms

CARRY_COLUMNS = (
    "team_id",
    "cycle_start_us",
    "api",
    "billing",
    "opening_micro",
    "usage_micro",
    "late_usage_micro",
    "charged_units",
    "closing_micro",
)
DRAW_COLUMNS = ("team_id", "cycle_start_us", *Draw._fields, "charged_units", "tokens_micro")


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamPlan:
    """What of one team is to be rated: ``cycles`` in order, without gap. ``pinned_batch`` is that of its last close
    (0 before the first): what had come by then and occurred before the first of ``cycles`` is billed already."""

    team_id: str
    cycles: tuple[CycleSpan, ...]
    pinned_batch: int

    @property
    def start_us(self) -> int:
        """Where its first open cycle begins."""
        return self.cycles[0].start_us

    @property
    def until_us(self) -> int:
        """Where the last cycle to be rated ends."""
        return self.cycles[-1].end_us


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """Where closed cycles left a shard: ``carry_micro`` by (team_id, api), negative for a credit, and what is used of
    balances.
    """

    carry_micro: Mapping[tuple[str, str], int]
    used: Used


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked:
    """A cycle that cannot be billed honestly, and why (rule 3.8)."""

    team_id: str
    cycle_start_us: int
    reason: ParkedReason


@dataclass(frozen=True, kw_only=True, slots=True)
class Rated:
    """Cycles rated: frames with ``CARRY_COLUMNS`` and ``DRAW_COLUMNS``, and the troubles met on the way.

    Rows of a parked cycle and of those after it are still in the frames: ``without_parked`` takes them out.
    Capacity shows as ``billing = capacity`` in the carry (its closing is minus the credit) and as draws whose
    ``tokens_micro`` is the quantity of the resource.
    """

    carry: pd.DataFrame
    draws: pd.DataFrame
    troubles: tuple[Parked, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stream:
    """Unbilled events of many teams in their order (rule 4.2); every array is of shape (events,).

    ``team`` is the place in the plans, ``api`` in the terms' APIs, ``cycle`` in the list of all planned cycles.
    """

    team: Int64s
    api: Int64s
    effective_us: Int64s
    occurred_us: Int64s
    quantity_micro: Int64s
    cycle: Int64s

    @property
    def late(self) -> npt.NDArray[np.bool_]:
        """Late usage: its effective instant is not when it occurred (rule 3.5)."""
        differs: npt.NDArray[np.bool_] = self.effective_us != self.occurred_us
        return differs

    def take(self, rows: npt.NDArray[np.generic]) -> _Stream:
        """The same of some rows (a mask or row numbers)."""
        return _Stream(**{name: getattr(self, name)[rows] for name in self.__slots__})


def rate(terms: Terms, plans: Sequence[TeamPlan], events: pd.DataFrame, opening: Opening) -> Rated:
    """Rate the planned cycles.

    ``events``: team_id, event_id, api (str); occurred_at_us, quantity_micro, batch_no (int64); is_correction (bool),
    accepted events of these teams, in any order; those already billed or not effective in the planned cycles are
    left aside.
    """
    stream = _stream(terms, plans, events)
    billing = np.array([b.value for b in terms.billing], dtype=object)
    rated = stream.take(billing[stream.api] == ApiBilling.RATED) if len(stream.api) else stream
    capacity = stream.take(billing[stream.api] == ApiBilling.CAPACITY) if len(stream.api) else stream
    carry, completions, troubles = _charge_units(terms, plans, rated, opening)
    draws = _draw_units(terms, plans, completions, opening.used)
    capacity_carry, capacity_draws = _count_capacity(terms, plans, capacity, opening)
    return Rated(
        carry=pd.concat([carry, capacity_carry], ignore_index=True) if len(capacity_carry) else carry,
        draws=_draw_frame(plans, [*draws, *capacity_draws]),
        troubles=tuple(troubles),
    )


def without_parked(rated: Rated, parked: Sequence[Parked]) -> Rated:
    """The same without the cycles of parked teams from the parked one on."""
    first = {p.team_id: p.cycle_start_us for p in parked}

    def kept(frame: pd.DataFrame) -> pd.DataFrame:
        limit = frame["team_id"].map(first)
        return frame[limit.isna() | (frame["cycle_start_us"] < limit)].reset_index(drop=True)

    return Rated(carry=kept(rated.carry), draws=kept(rated.draws), troubles=rated.troubles) if first else rated


def first_troubles(troubles: Sequence[Parked]) -> list[Parked]:
    """For each team the earliest cycle in trouble, with the first reason in the order of rule 3.8."""
    order = list(ParkedReason)
    found: dict[str, Parked] = {}
    for trouble in sorted(troubles, key=lambda p: (p.team_id, p.cycle_start_us, order.index(p.reason))):
        found.setdefault(trouble.team_id, trouble)
    return list(found.values())


def _planned_cycles(plans: Sequence[TeamPlan]) -> tuple[Int64s, Int64s]:
    """All planned cycles in order: the place of the team and the start, shapes (cycles,)."""
    team = np.repeat(np.arange(len(plans)), [len(p.cycles) for p in plans])
    start = np.array([c.start_us for p in plans for c in p.cycles], dtype=np.int64)
    return team.astype(np.int64), start


def _stream(terms: Terms, plans: Sequence[TeamPlan], events: pd.DataFrame) -> _Stream:
    team = places(events["team_id"], [p.team_id for p in plans])
    start = np.array([p.start_us for p in plans] + [0], dtype=np.int64)[team]
    until = np.array([p.until_us for p in plans] + [0], dtype=np.int64)[team]
    pinned = np.array([p.pinned_batch for p in plans] + [0], dtype=np.int64)[team]
    occurred = events["occurred_at_us"].to_numpy(dtype=np.int64)
    effective = np.maximum(occurred, start)
    unbilled = (occurred >= start) | (events["batch_no"].to_numpy() > pinned)
    rows = np.flatnonzero((team >= 0) & unbilled & (effective < until))
    rows = rows[_event_order(team[rows], effective[rows], occurred[rows], events.iloc[rows])]
    cycle_team, cycle_start = _planned_cycles(plans)
    return _Stream(
        team=team[rows],
        api=places(events["api"], terms.apis)[rows],
        effective_us=effective[rows],
        occurred_us=occurred[rows],
        quantity_micro=events["quantity_micro"].to_numpy(dtype=np.int64)[rows],
        cycle=AsOf(cycle_team, cycle_start, len(plans)).row_at(team[rows], effective[rows]),
    )


def _event_order(team: Int64s, effective: Int64s, occurred: Int64s, events: pd.DataFrame) -> Int64s:
    """Rows by team, then by (effective instant, occurred_at, corrections first, event_id) (rule 4.2).

    Ids are compared only where everything else is equal: they are slow to sort and rarely decide.
    """
    ordinary = ~events["is_correction"].to_numpy(dtype=bool)
    order = np.lexsort((ordinary, occurred, effective, team))
    tied = np.ones(max(len(order) - 1, 0), dtype=bool)
    for key in (team, effective, occurred, ordinary):
        ordered = key[order]
        tied &= ordered[1:] == ordered[:-1]
    if tied.any():
        in_tie = np.append(tied, False) | np.insert(tied, 0, False)
        places_in_tie = np.flatnonzero(in_tie)
        group = np.cumsum(np.append(True, ~tied))[places_in_tie]
        ids = events["event_id"].to_numpy(dtype=object)[order[places_in_tie]]
        by_id = sorted(range(len(ids)), key=lambda k: (group[k], ids[k]))
        order[places_in_tie] = order[places_in_tie][by_id]
    return order


@dataclass(frozen=True, kw_only=True, slots=True)
class _Completions:
    """Events that completed units, in their order; shapes (completions,)."""

    stream: _Stream
    units: Int64s
    rate_row: Int64s


def _charge_units(
    terms: Terms, plans: Sequence[TeamPlan], stream: _Stream, opening: Opening
) -> tuple[pd.DataFrame, _Completions, list[Parked]]:
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
    return carry, _Completions(stream=stream.take(done), units=units[done], rate_row=rate_row[done]), troubles


def _accumulators(
    terms: Terms, plans: Sequence[TeamPlan], stream: _Stream, carry_micro: Mapping[tuple[str, str], int]
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
    plans: Sequence[TeamPlan], stream: _Stream, reason: ParkedReason, where: npt.NDArray[np.bool_]
) -> list[Parked]:
    cycles = [(p.team_id, c.start_us) for p in plans for c in p.cycles]
    return [
        Parked(team_id=cycles[c][0], cycle_start_us=cycles[c][1], reason=reason) for c in np.unique(stream.cycle[where])
    ]


def _carry_frame(
    terms: Terms,
    plans: Sequence[TeamPlan],
    stream: _Stream,
    keys: Int64s,
    opening_micro: Int64s,
    accumulator: Int64s,
    quantity: Int64s,
    units: Int64s,
    carry_after: Int64s,
) -> pd.DataFrame:
    """A row per accumulator and planned cycle with any event, or an opening or closing that is not zero."""
    cycle_team, cycle_start = _planned_cycles(plans)
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


def _draw_units(
    terms: Terms, plans: Sequence[TeamPlan], done: _Completions, used: Used
) -> list[tuple[int, int, Drawn]]:
    """Section 5 for every team: (place of the team, start of the cycle, what was drawn)."""
    result: list[tuple[int, int, Drawn]] = []
    for place in np.unique(done.stream.team):
        first, last = np.searchsorted(done.stream.team, [place, place + 1])
        rows = slice(int(first), int(last))
        team = terms.teams[plans[place].team_id]
        result += [
            (int(place), start, drawn) for start, drawn in _draw_team(terms, plans[place], team, done, rows, used)
        ]
    return result


def _draw_team(
    terms: Terms, plan: TeamPlan, team: TeamTerms, done: _Completions, rows: slice, used: Used
) -> list[tuple[int, Drawn]]:
    starts = [c.start_us for c in plan.cycles]
    cuts = np.array(cut_instants(team, terms, plan.start_us, plan.until_us, starts), dtype=np.int64)
    effective = done.stream.effective_us[rows]
    span = np.searchsorted(cuts, effective, side="right") - 1
    late_payers = _late_payers(team, done.stream, rows)
    edges = np.append(np.flatnonzero(np.diff(span, prepend=-1)), len(span))
    balances = TeamBalances(team, used)
    result: list[tuple[int, Drawn]] = []
    for low, high in pairwise(edges.tolist()):
        at_us = int(cuts[span[low]])
        cycle_start = starts[int(np.searchsorted(starts, at_us, side="right")) - 1]
        demands = _demands(terms, team, done, rows.start + int(low), rows.start + int(high), at_us, late_payers)
        now = balances.at(at_us)
        summed = _summed(demands)
        drawn = draw_span(demands if order_can_matter(summed, now) else summed, now)
        result += [(cycle_start, one) for one in drawn]
    return result


def _late_payers(team: TeamTerms, stream: _Stream, rows: slice) -> dict[int, Subscription]:
    """For late completions, by row: the ``payg`` under which the usage occurred (rule 5.1)."""
    if not team.payg:
        return {}
    late = np.flatnonzero(stream.late[rows]) + rows.start
    found = {int(row): active_payg(team.payg, int(stream.occurred_us[row])) for row in late}
    return {row: payg for row, payg in found.items() if payg is not None}


def _demands(
    terms: Terms,
    team: TeamTerms,
    done: _Completions,
    low: int,
    high: int,
    at_us: int,
    late_payers: Mapping[int, Subscription],
) -> list[Demand]:
    """What completes in one span, in order; runs of one API, rate and payer are taken together."""
    result: list[Demand] = []
    kinds: dict[tuple[int, int, str], Demand] = {}
    api, rate_row, units = (a[low:high].tolist() for a in (done.stream.api, done.rate_row, done.units))
    for offset, key in enumerate(zip(api, rate_row, strict=True)):
        late = late_payers.get(low + offset)
        full = (*key, late.subscription_id if late else "")
        if full not in kinds:
            cost = int(terms.rate_tokens_micro[key[1]])
            name = terms.apis[key[0]]
            kinds[full] = Demand(name, 0, None if cost == NO_TOKENS else cost, payer(team, terms, name, at_us, late))
        same = kinds[full]
        if result and result[-1][:1] == same[:1] and result[-1][2:] == same[2:]:
            result[-1] = result[-1]._replace(units=result[-1].units + units[offset])
        else:
            result.append(same._replace(units=units[offset]))
    return result


def _summed(demands: Sequence[Demand]) -> list[Demand]:
    sums: dict[Demand, int] = defaultdict(int)
    for demand in demands:
        sums[demand._replace(units=0)] += demand.units
    return [key._replace(units=units) for key, units in sums.items()]


def _count_capacity(
    terms: Terms, plans: Sequence[TeamPlan], stream: _Stream, opening: Opening
) -> tuple[pd.DataFrame, list[tuple[int, int, Drawn]]]:
    """Rule 5.6 for every team and resource: carry rows (closing is minus the credit) and draws of the quantity used."""
    carry: list[tuple[object, ...]] = []
    draws: list[tuple[int, int, Drawn]] = []
    by_place = [api for api, b in enumerate(terms.billing) if b is ApiBilling.CAPACITY]
    team_of = {p.team_id: place for place, p in enumerate(plans)}
    open_credit = {(team_of[t], a) for (t, a), micro in opening.carry_micro.items() if micro and t in team_of}
    at_work = set(zip(stream.team.tolist(), stream.api.tolist(), strict=True))
    at_work |= {(t, terms.apis.index(a)) for t, a in open_credit if a in terms.apis and terms.apis.index(a) in by_place}
    for place, api in sorted(at_work):
        plan, name = plans[place], terms.apis[api]
        mine = stream.take(np.flatnonzero((stream.team == place) & (stream.api == api)))
        credit = -opening.carry_micro.get((plan.team_id, name), 0)
        grants = [g for g in terms.teams[plan.team_id].capacity_grants if g.api == name]
        rows, drawn = _count_resource(plan, name, grants, mine, credit, opening.used)
        carry += rows
        draws += [(place, start, one) for start, one in drawn]
    return pd.DataFrame(carry, columns=list(CARRY_COLUMNS)), draws


def _count_resource(
    plan: TeamPlan, api: str, grants: Sequence[Grant], stream: _Stream, credit: int, used: Used
) -> tuple[list[tuple[object, ...]], list[tuple[int, Drawn]]]:
    balances = {g.grant_id: balance_of(g, used) for g in grants}
    cuts = np.array(capacity_cuts(grants), dtype=np.int64)
    carry: list[tuple[object, ...]] = []
    draws: list[tuple[int, Drawn]] = []
    for cycle in plan.cycles:
        opened, before = credit, {key: b.used_micro for key, b in balances.items()}
        low, high = np.searchsorted(stream.effective_us, [cycle.start_us, cycle.end_us])
        span = np.searchsorted(cuts, stream.effective_us[low:high], side="right")
        for part in np.split(np.arange(low, high), np.flatnonzero(np.diff(span)) + 1):
            if len(part):
                at_us = int(stream.effective_us[part[0]])
                valid = [balances[g.grant_id] for g in grants if g.valid_at(at_us)]
                quantities = stream.quantity_micro[part].tolist()
                credit = use_capacity(quantities if min(quantities) < 0 else [sum(quantities)], valid, credit)
        late = sum(stream.quantity_micro[low:high][stream.late[low:high]].tolist())
        if high > low or opened or credit:
            usage = sum(stream.quantity_micro[low:high].tolist())
            carry.append(
                (plan.team_id, cycle.start_us, api, ApiBilling.CAPACITY.value, -opened, usage, late, 0, -credit)
            )
        for key, balance in balances.items():
            if taken := balance.used_micro - before[key]:
                draws.append((cycle.start_us, Drawn(Draw(api, Kind.CAPACITY, balance.subscription_id, key), 0, taken)))
    return carry, draws


def _draw_frame(plans: Sequence[TeamPlan], draws: Sequence[tuple[int, int, Drawn]]) -> pd.DataFrame:
    sums: dict[tuple[int, int, Draw], list[int]] = defaultdict(lambda: [0, 0])
    for place, start, one in draws:
        total = sums[place, start, one.draw]
        total[0] += one.charged_units
        total[1] += one.tokens_micro
    rows = [(plans[place].team_id, start, *draw, *total) for (place, start, draw), total in sums.items()]
    frame = pd.DataFrame(rows, columns=list(DRAW_COLUMNS), dtype=object)
    return frame.astype({"cycle_start_us": "int64", "charged_units": "int64", "tokens_micro": "int64"})
