"""Where the time of teams is cut, so that usage between two cuts may be summed before it is rated.

A **segment** is a stretch of one team's time, by ``occurred_at``, that contains no instant at which anything that
could pay changes, nor a UTC midnight. Within one nothing but the sum of usage per API matters, but for corrections
and for pools that run out (``core.sums``). What occurred before the team's first open cycle is late; it is cut where
pay as you go began or ended, since that says who may have to pay for it (rule 5.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from billing.core.asof import AsOf, Int64s
from billing.core.instants import DAY_US
from billing.core.spans import cut_instants
from billing.core.streams import TeamPlan
from billing.core.terms import TeamTerms, Terms

EVER_US = 2**62
"""Further away than any instant."""


class Segment(NamedTuple):
    """The stretch ``[from_us, until_us)`` of a team's time, by ``occurred_at``; it lies within one UTC day."""

    team_id: str
    from_us: int
    until_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Cuts:
    """Every cut of every plan but the midnights, in order of team and time; arrays of shape (cuts,).

    ``team`` is the place of the plan, ``at_us`` the instant. Cuts from the plan's start on begin a span
    (``core.spans``).
    """

    team_ids: Sequence[str]
    team: Int64s
    at_us: Int64s
    _search: AsOf

    @classmethod
    def of(cls, terms: Terms, plans: Sequence[TeamPlan]) -> Cuts:
        """The cuts of some plans, of teams that the terms know."""
        found = [_cuts_of(terms.teams[plan.team_id], terms, plan) for plan in plans]
        team = np.repeat(np.arange(len(plans), dtype=np.int64), [len(mine) for mine in found])
        at_us = np.array([cut for mine in found for cut in mine], dtype=np.int64)
        return cls(
            team_ids=[plan.team_id for plan in plans], team=team, at_us=at_us, _search=AsOf(team, at_us, len(plans))
        )

    def row_at(self, team: Int64s, at_us: Int64s) -> Int64s:
        """The last cut of a team at or before an instant, as its place; -1 before the first. Shapes (pairs,)."""
        return self._search.row_at(team, at_us)

    def segment_numbers(self, team: Int64s, occurred_us: Int64s) -> Int64s:
        """A number for each event's segment: the same for two of a team in one segment, and only then. Shape (events,).

        Meant for neighbours: events of other teams may have the same.
        """
        return self.row_at(team, occurred_us) + (occurred_us // DAY_US) * (len(self.at_us) + 2)

    def segments_at(self, team: Int64s, occurred_us: Int64s) -> list[Segment]:
        """The segments of events. Shapes (events,)."""
        row = self.row_at(team, occurred_us)
        midnight_us = occurred_us // DAY_US * DAY_US
        padded_team, padded_us = np.append(self.team, -1), np.append(self.at_us, EVER_US)
        after = np.where(row >= 0, row + 1, np.searchsorted(self.team, team))
        next_us = np.where(padded_team[after] == team, padded_us[after], EVER_US)
        from_us = np.maximum(midnight_us, np.where(row >= 0, padded_us[row], -EVER_US))
        until_us = np.minimum(midnight_us + DAY_US, next_us)
        named = (self.team_ids[place] for place in team.tolist())
        return [Segment(*one) for one in zip(named, from_us.tolist(), until_us.tolist(), strict=True)]


def _cuts_of(team: TeamTerms, terms: Terms, plan: TeamPlan) -> list[int]:
    payers = {edge for s in team.payg for edge in (s.purchased_at_us, s.ends_at_us) if edge < plan.start_us}
    return [
        *sorted(payers),
        *cut_instants(team, terms, plan.start_us, plan.until_us, [c.start_us for c in plan.cycles]),
    ]
