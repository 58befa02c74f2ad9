"""Whose usage it is: app -> developer hub -> team at an instant (rules 1.1, 1.2, 2.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from billing.core.asof import AsOf, Int64s
from billing.core.reference import FOREVER_US, Reference


@dataclass(frozen=True, kw_only=True, slots=True)
class Owners:
    """Who owned which app when, ready to be asked about millions of events.

    Apps and teams are spoken of by their place in ``app_ids`` and ``team_ids`` (both in order by code point);
    -1 is one that is not known.
    """

    app_ids: Sequence[str]
    team_ids: Sequence[str]
    first_purchase_us: Int64s
    spans: AsOf
    span_team: Int64s
    span_end_us: Int64s

    @classmethod
    def from_reference(cls, reference: Reference) -> Owners:
        """Join both histories once: the spans in which an app belonged to a team."""
        team_ids = sorted(reference["teams"]["team_id"])
        app_ids = sorted(reference["apps"]["app_id"])
        both = reference["app_hubs"].merge(reference["hub_teams"], on="hub_id", suffixes=("_app", "_hub"))
        start = np.maximum(both["valid_from_app"].to_numpy(), both["valid_from_hub"].to_numpy())
        end = np.minimum(both["valid_to_app"].to_numpy(), both["valid_to_hub"].to_numpy())
        held = start < end
        both, start, end = both[held], start[held], end[held]
        return cls(
            app_ids=app_ids,
            team_ids=team_ids,
            first_purchase_us=_first_purchases(reference["subscriptions"], team_ids),
            spans=AsOf(places(both["app_id"], app_ids), start, len(app_ids)),
            # One row more, so that "no span" (-1) can be looked up too.
            span_team=np.append(places(both["team_id"], team_ids), -1),
            span_end_us=np.append(end, 0),
        )

    def team_at(self, app: Int64s, at_us: Int64s) -> Int64s:
        """The place of the team that owned the app at that instant; -1 where none did. Shapes: (events,)."""
        row = self.spans.row_at(app, at_us)
        return np.where(at_us < self.span_end_us[row], self.span_team[row], -1)

    def had_subscription(self, team: Int64s, at_us: Int64s) -> np.ndarray:
        """Whether the team had bought any subscription by then (rule 2.4); False for -1. Shapes: (events,)."""
        result: np.ndarray = at_us >= np.append(self.first_purchase_us, FOREVER_US)[team]
        return result


def places(values: pd.Series, among: Sequence[str]) -> Int64s:
    """The place of each value in ``among``; -1 where it is not there. Compared code point by code point."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        by_code = np.append(places(pd.Series(values.cat.categories), among), -1)
        return by_code[values.cat.codes.to_numpy()]
    index: pd.Index[Any] = pd.Series(list(among), dtype=object).pipe(pd.Index)
    return index.get_indexer(pd.Index(values.astype(object))).astype(np.int64)


def _first_purchases(subscriptions: pd.DataFrame, team_ids: Sequence[str]) -> Int64s:
    """Each team's earliest purchase of any kind; ``FOREVER_US`` where it has bought nothing."""
    first = np.full(len(team_ids), FOREVER_US, dtype=np.int64)
    owner = places(subscriptions["team_id"], team_ids)
    assigned = owner >= 0
    np.minimum.at(first, owner[assigned], subscriptions["purchased_at"].to_numpy()[assigned])
    return first
