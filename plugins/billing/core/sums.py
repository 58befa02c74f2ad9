"""Rating by sums first: usage is summed where it is kept, and taken event by event only where the order can matter.

The result is that of ``rating.rate`` on all events. Within a segment (``core.segments``) the order of events matters
only where there is a correction, since units once charged are not taken back (rule 4.3), and where a pool that several
APIs share may run out (rule 5.3). The first is seen in the sums, the second while drawing; both are asked for again,
event by event, until nothing is open any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pandas as pd

from billing.core.attribution import places
from billing.core.rating import Rated, rate
from billing.core.segments import Cuts, Segment
from billing.core.spans import Opening
from billing.core.streams import TeamPlan
from billing.core.terms import Terms


class UnbilledUsage(Protocol):
    """Usage of the planned teams that no closed cycle has billed, as ``streams.stream_of`` chooses it."""

    def sums(self, plans: Sequence[TeamPlan], cuts: Cuts) -> pd.DataFrame:
        """A row per API and segment with any usage, with the columns that ``rating.rate`` takes and by_event (bool):
        the sum is not to be used, because it holds a correction or does not fit into 64 bits.

        ``occurred_at_us`` is the largest of the events', ``batch_no`` later than any: all of it is unbilled.
        """

    def events(self, plans: Sequence[TeamPlan], segments: Sequence[Segment]) -> pd.DataFrame:
        """All events of some segments, with the columns that ``rating.rate`` takes. Each lies within one UTC day."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summed:
    """The sums of some teams' usage (``UnbilledUsage.sums``), and where their time is cut."""

    cuts: Cuts
    sums: pd.DataFrame


def summed(terms: Terms, plans: Sequence[TeamPlan], usage: UnbilledUsage) -> Summed:
    """Sum what the planned cycles are to bill."""
    cuts = Cuts.of(terms, plans)
    return Summed(cuts=cuts, sums=usage.sums(plans, cuts))


def rate_by_sums(
    terms: Terms, plans: Sequence[TeamPlan], usage: UnbilledUsage, opening: Opening, first: Summed | None = None
) -> Rated:
    """Rate the planned cycles: as ``rating.rate`` would on all events. ``first``: their sums, if they are at hand."""
    todo, first = list(plans), first or summed(terms, plans, usage)
    cuts, sums = first.cuts, first.sums.assign(is_sum=True)
    wanted = list(dict.fromkeys(_segments_of(sums[sums["by_event"]], cuts)))
    events = sums.iloc[:0]
    done: list[Rated] = []
    while todo or not done:
        if wanted:
            found = usage.events(todo, wanted).assign(is_sum=False)
            events = pd.concat([events, found], ignore_index=True) if len(events) else found
            sums = _without(sums, wanted, cuts)
        rated = rate(terms, todo, pd.concat([sums, events], ignore_index=True) if len(events) else sums, opening, cuts)
        wanted = list(dict.fromkeys(rated.unsettled))
        again = {segment.team_id for segment in wanted}
        done.append(_without_teams(rated, again))
        todo = [plan for plan in todo if plan.team_id in again]
        sums, events = (frame[frame["team_id"].isin(again)] for frame in (sums, events))
        cuts = Cuts.of(terms, todo)
    return together(done, plans)


def _segments_of(sums: pd.DataFrame, cuts: Cuts) -> list[Segment]:
    """The segment of every row."""
    return cuts.segments_at(places(sums["team_id"], cuts.team_ids), sums["occurred_at_us"].to_numpy(dtype=np.int64))


def _without(sums: pd.DataFrame, segments: Sequence[Segment], cuts: Cuts) -> pd.DataFrame:
    """The sums of other segments."""
    gone, kept = set(segments), np.ones(len(sums), dtype=bool)
    mine = np.flatnonzero(sums["team_id"].isin({segment.team_id for segment in segments}).to_numpy())
    kept[mine] = [segment not in gone for segment in _segments_of(sums.iloc[mine], cuts)]
    return sums[kept]


def _without_teams(rated: Rated, team_ids: set[str]) -> Rated:
    """The same without teams that are rated again."""
    if not team_ids:
        return rated

    def kept(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[~frame["team_id"].isin(team_ids)]

    troubles = tuple(trouble for trouble in rated.troubles if trouble.team_id not in team_ids)
    return replace(
        rated,
        carry=kept(rated.carry),
        draws=kept(rated.draws),
        days=kept(rated.days),
        troubles=troubles,
        unsettled=(),
    )


def together(parts: Sequence[Rated], plans: Sequence[TeamPlan]) -> Rated:
    """Parts of different teams as one, in the order of the plans."""
    if len(parts) == 1:
        return parts[0]
    place = {plan.team_id: number for number, plan in enumerate(plans)}

    def joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
        frame = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
        order = np.argsort(frame["team_id"].map(place).to_numpy(dtype=np.int64), kind="stable")
        return frame.iloc[order].reset_index(drop=True)

    troubles = sorted((t for part in parts for t in part.troubles), key=lambda t: place[t.team_id])
    return Rated(
        carry=joined([part.carry for part in parts]),
        draws=joined([part.draws for part in parts]),
        days=joined([part.days for part in parts]),
        troubles=tuple(troubles),
    )
