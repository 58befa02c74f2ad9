"""Events of many teams as one stream, in the order in which they are rated (rules 3.5 and 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from billing.core.asof import AsOf, Int64s
from billing.core.attribution import places
from billing.core.cycles import CycleSpan
from billing.core.terms import Terms


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
class Stream:
    """Unbilled events of many teams in their order (rule 4.2); every array is of shape (events,).

    ``team`` is the place in the plans, ``api`` in the terms' APIs, ``cycle`` in the list of all planned cycles.
    ``summed``: it is no event but the sum of one API's events in a segment (``core.segments``), at the last of them.
    """

    team: Int64s
    api: Int64s
    effective_us: Int64s
    occurred_us: Int64s
    quantity_micro: Int64s
    cycle: Int64s
    summed: npt.NDArray[np.bool_]

    @property
    def late(self) -> npt.NDArray[np.bool_]:
        """Late usage: its effective instant is not when it occurred (rule 3.5)."""
        differs: npt.NDArray[np.bool_] = self.effective_us != self.occurred_us
        return differs

    def take(self, rows: npt.NDArray[np.generic]) -> Stream:
        """The same of some rows (a mask or row numbers)."""
        return Stream(**{name: getattr(self, name)[rows] for name in self.__slots__})


def planned_cycles(plans: Sequence[TeamPlan]) -> tuple[Int64s, Int64s]:
    """All planned cycles in order: the place of the team and the start, shapes (cycles,)."""
    team = np.repeat(np.arange(len(plans)), [len(p.cycles) for p in plans])
    start = np.array([c.start_us for p in plans for c in p.cycles], dtype=np.int64)
    return team.astype(np.int64), start


def stream_of(terms: Terms, plans: Sequence[TeamPlan], events: pd.DataFrame) -> Stream:
    """The events that the plans are to bill, in their order; ``events`` as ``rating.rate`` takes them."""
    team = places(events["team_id"], [p.team_id for p in plans])
    start = np.array([p.start_us for p in plans] + [0], dtype=np.int64)[team]
    until = np.array([p.until_us for p in plans] + [0], dtype=np.int64)[team]
    pinned = np.array([p.pinned_batch for p in plans] + [0], dtype=np.int64)[team]
    occurred = events["occurred_at_us"].to_numpy(dtype=np.int64)
    effective = np.maximum(occurred, start)
    unbilled = (occurred >= start) | (events["batch_no"].to_numpy() > pinned)
    rows = np.flatnonzero((team >= 0) & unbilled & (effective < until))
    rows = rows[_event_order(team[rows], effective[rows], occurred[rows], events.iloc[rows])]
    cycle_team, cycle_start = planned_cycles(plans)
    return Stream(
        team=team[rows],
        api=places(events["api"], terms.apis)[rows],
        effective_us=effective[rows],
        occurred_us=occurred[rows],
        quantity_micro=events["quantity_micro"].to_numpy(dtype=np.int64)[rows],
        cycle=AsOf(cycle_team, cycle_start, len(plans)).row_at(team[rows], effective[rows]),
        summed=events["is_sum"].to_numpy(dtype=bool)[rows] if "is_sum" in events else np.zeros(len(rows), dtype=bool),
    )


def _event_order(team: Int64s, effective: Int64s, occurred: Int64s, events: pd.DataFrame) -> Int64s:
    """Rows by team, then by (effective instant, occurred_at, corrections first, event_id) (rule 4.2).

    Ids are compared only where everything else is equal: they are slow to sort and rarely decide.
    """
    ordinary = ~events["is_correction"].to_numpy(dtype=bool)
    keys = (team, effective, occurred, ordinary)
    tied, ascending = _compared(keys)
    order = np.arange(len(team))
    if not ascending:
        order = np.lexsort(keys[::-1])
        tied, _ = _compared([key[order] for key in keys])
    if tied.any():
        in_tie = np.append(tied, False) | np.insert(tied, 0, False)
        places_in_tie = np.flatnonzero(in_tie)
        group = np.cumsum(np.append(True, ~tied))[places_in_tie]
        ids = events["event_id"].to_numpy(dtype=object)[order[places_in_tie]]
        by_id = sorted(range(len(ids)), key=lambda k: (group[k], ids[k]))
        order[places_in_tie] = order[places_in_tie][by_id]
    return order


def _compared(keys: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[np.bool_], bool]:
    """Which rows equal the one before them, all but the first, and whether all are in order already."""
    tied = np.ones(max(len(keys[0]) - 1, 0), dtype=bool)
    ascending = True
    for key in keys:
        ascending = ascending and not (tied & (key[1:] < key[:-1])).any()
        tied &= key[1:] == key[:-1]
    return tied, ascending
