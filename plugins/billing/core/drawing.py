"""What completed, drawn on the balances of many teams (section 5 of the rules), span by span (``core.spans``)."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from billing.core.asof import AsOf, Int64s
from billing.core.drawdown import Balances, Demand, Drawn, draw_span, order_can_matter
from billing.core.reference import NO_TOKENS
from billing.core.segments import Cuts, Segment
from billing.core.spans import TeamBalances, Used, payer
from billing.core.streams import Stream, TeamPlan
from billing.core.terms import TeamTerms, Terms


@dataclass(frozen=True, kw_only=True, slots=True)
class Completions:
    """Events that completed units, in their order; shapes (completions,)."""

    stream: Stream
    units: Int64s
    rate_row: Int64s


class Drawing:
    """Section 5 for every team, span by span: ``draws`` are (place of the team, start of the cycle, what was drawn)."""

    def __init__(self, terms: Terms, plans: Sequence[TeamPlan], cuts: Cuts, done: Completions, used: Used) -> None:
        self._terms, self._plans, self._cuts, self._done, self._used = terms, plans, cuts, done, used
        self._payers = [s for plan in plans for s in terms.teams[plan.team_id].payg]
        self._late_payer = self._late_payers()
        self._segment = cuts.segment_numbers(done.stream.team, done.stream.occurred_us)
        self._unsettled_rows: list[int] = []
        self.draws: list[tuple[int, int, Drawn]] = []

    @property
    def unsettled(self) -> list[Segment]:
        """The segments that were drawn by sums although the order of their events can matter."""
        stream = self._done.stream.take(np.array(self._unsettled_rows, dtype=np.int64))
        return self._cuts.segments_at(stream.team, stream.occurred_us)

    def run(self) -> None:
        """Draw everything."""
        span = self._cuts.row_at(self._done.stream.team, self._done.stream.effective_us)
        (spans, *keys), units = self._sums(span)
        first = np.flatnonzero(np.diff(spans, prepend=-1))
        edges, rows = np.append(first, len(units)).tolist(), np.append(np.searchsorted(span, spans[first]), len(span))
        cuts = [int(spans[low]) for low in edges[:-1]]
        for place, numbers in groupby(range(len(cuts)), key=lambda number: int(self._cuts.team[cuts[number]])):
            plan = self._plans[place]
            balances = TeamBalances(self._terms.teams[plan.team_id], self._used)
            starts = [cycle.start_us for cycle in plan.cycles]
            for number in numbers:
                at_us, low, high = int(self._cuts.at_us[cuts[number]]), edges[number], edges[number + 1]
                demands = self._demands(place, at_us, [key[low:high] for key in keys], units[low:high])
                mine = slice(int(rows[number]), int(rows[number + 1]))
                drawn = self._draw_span(place, at_us, demands, mine, balances.at(at_us))
                cycle_start = starts[bisect_right(starts, at_us) - 1]
                self.draws += [(place, cycle_start, one) for one in drawn]

    def each(self) -> list[list[Drawn]]:
        """What each completion was drawn on, in order. All are taken one by one; none may be a sum."""
        done, found = self._done, list[list[Drawn]]()
        span = self._cuts.row_at(done.stream.team, done.stream.effective_us).tolist()
        keys = zip(*(a.tolist() for a in (done.stream.api, done.rate_row, self._late_payer)), strict=True)
        balances: dict[int, TeamBalances] = {}
        now, last = Balances(), -1
        rows = zip(done.stream.team.tolist(), span, keys, done.units.tolist(), strict=True)
        for place, number, key, units in rows:
            team, at_us = self._terms.teams[self._plans[place].team_id], int(self._cuts.at_us[number])
            if number != last:
                now, last = balances.setdefault(place, TeamBalances(team, self._used)).at(at_us), number
            found.append(draw_span([self._demand(team, at_us, key, units)], now))
        return found

    def _sums(self, span: Int64s) -> tuple[list[Int64s], Int64s]:
        """Units by (span, API, rate, late payer), in that order: the keys and the sums."""
        keys = (span, self._done.stream.api, self._done.rate_row, self._late_payer)
        order = np.lexsort(keys[::-1])
        ordered = [key[order] for key in keys]
        changes = np.zeros(len(order), dtype=bool)
        changes[:1] = True
        for key in ordered:
            changes[1:] |= key[1:] != key[:-1]
        first = np.flatnonzero(changes)
        sums = np.add.reduceat(self._done.units[order], first) if len(first) else self._done.units
        return [key[first] for key in ordered], sums

    def _late_payers(self) -> Int64s:
        """For each completion the place of the ``payg`` under which late usage occurred (rule 5.1); -1 for none."""
        stream, found = self._done.stream, np.full(len(self._done.units), -1, dtype=np.int64)
        late = np.flatnonzero(stream.late)
        if not (len(late) and self._payers):
            return found
        held = [place for place, plan in enumerate(self._plans) for _ in self._terms.teams[plan.team_id].payg]
        bought, ends = (
            np.array([getattr(s, name) for s in self._payers], dtype=np.int64)
            for name in ("purchased_at_us", "ends_at_us")
        )
        # Of all that were bought by then at most one is active, and it is the last (rule 1.3).
        real = np.flatnonzero(bought < ends)
        last = AsOf(np.array(held, dtype=np.int64)[real], bought[real], len(self._plans))
        row = last.row_at(stream.team[late], stream.occurred_us[late])
        active = np.where(row >= 0, real[row], -1) if len(real) else row
        found[late] = np.where((active >= 0) & (stream.occurred_us[late] < ends[active]), active, -1)
        return found

    def _demands(self, place: int, at_us: int, keys: Sequence[Int64s], units: Int64s) -> list[Demand]:
        """What is asked for in a span; the keys are API, rate and late payer."""
        team = self._terms.teams[self._plans[place].team_id]
        return [
            self._demand(team, at_us, (api, rate_row, late_payer), count)
            for api, rate_row, late_payer, count in zip(*(key.tolist() for key in (*keys, units)), strict=True)
        ]

    def _demand(self, team: TeamTerms, at_us: int, key: tuple[int, int, int], units: int) -> Demand:
        api, rate_row, late_payer = key
        cost, name = int(self._terms.rate_tokens_micro[rate_row]), self._terms.apis[api]
        late = self._payers[late_payer] if late_payer >= 0 else None
        return Demand(name, units, None if cost == NO_TOKENS else cost, payer(team, self._terms, name, at_us, late))

    def _draw_span(self, place: int, at_us: int, demands: list[Demand], rows: slice, now: Balances) -> list[Drawn]:
        """By sums where the order of the units cannot matter, else in their order, segment by segment."""
        demands = _summed(demands)
        if not order_can_matter(demands, now):
            return draw_span(demands, now)
        stream, drawn = self._done.stream, list[Drawn]()
        left = {demand._replace(units=0): demand.units for demand in demands}
        for low, high in self._runs(rows):
            rest = [demand._replace(units=units) for demand, units in left.items() if units]
            if not order_can_matter(rest, now):
                return drawn + draw_span(rest, now)
            mine = self._in_order(place, at_us, low, high)
            summed = _summed(mine)
            if not order_can_matter(summed, now):
                mine = summed
            elif stream.summed[low:high].any():
                self._unsettled_rows.append(low)
            drawn += draw_span(mine, now)
            for demand in summed:
                left[demand._replace(units=0)] -= demand.units
        return drawn

    def _runs(self, rows: slice) -> Iterator[tuple[int, int]]:
        """Rows of a span, segment by segment where any of them is a sum."""
        stream = self._done.stream
        if not stream.summed[rows].any():
            yield rows.start, rows.stop
            return
        numbers = self._segment[rows]
        edges = np.append(np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1)), len(numbers)) + rows.start
        yield from pairwise(edges.tolist())

    def _in_order(self, place: int, at_us: int, low: int, high: int) -> list[Demand]:
        """What completes in some rows, in order; runs of one API, rate and payer are taken together."""
        team, done, result = self._terms.teams[self._plans[place].team_id], self._done, list[Demand]()
        kinds: dict[tuple[int, int, int], Demand] = {}
        keys = zip(*(a[low:high].tolist() for a in (done.stream.api, done.rate_row, self._late_payer)), strict=True)
        for key, units in zip(keys, done.units[low:high].tolist(), strict=True):
            if key not in kinds:
                kinds[key] = self._demand(team, at_us, key, 0)
            same = kinds[key]
            if result and result[-1][:1] == same[:1] and result[-1][2:] == same[2:]:
                result[-1] = result[-1]._replace(units=result[-1].units + units)
            else:
                result.append(same._replace(units=units))
        return result


def _summed(demands: Sequence[Demand]) -> list[Demand]:
    if len({demand.api for demand in demands}) == len(demands):
        return list(demands)
    sums: dict[Demand, int] = defaultdict(int)
    for demand in demands:
        sums[demand._replace(units=0)] += demand.units
    return [key._replace(units=units) for key, units in sums.items()]
