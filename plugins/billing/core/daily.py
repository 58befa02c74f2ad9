"""Actual usage by UTC day, for the statements of what is invoiced (rules 6.6 and 8.2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from billing.core.instants import DAY_US
from billing.core.model import ApiBilling, Kind
from billing.core.streams import Stream, TeamPlan
from billing.core.terms import Terms

DAY_COLUMNS = ("team_id", "cycle_start_us", "api", "first_day", "quantities_micro", "late_micro")
"""A row per cycle and API: ``quantities_micro`` is a tuple of ints, one a UTC day from ``first_day`` (days since
1970-01-01) to the day of the cycle's last instant; ``late_micro`` is what was used before the cycle and billed in it.
"""


def days_of_invoiced(terms: Terms, plans: Sequence[TeamPlan], stream: Stream, draws: pd.DataFrame) -> pd.DataFrame:
    """Usage by day in the cycles in which pay as you go paid for units: a frame with ``DAY_COLUMNS``.

    ``draws`` has the columns of ``rating.DRAW_COLUMNS``. Resources of ``capacity`` are left out.
    """
    paid = draws[(draws["source"] == Kind.PAYG.value) & (draws["charged_units"] > 0)]
    invoiced = set(zip(paid["team_id"], paid["cycle_start_us"].astype("int64").tolist(), strict=True))
    cycles = [(plan.team_id, cycle) for plan in plans for cycle in plan.cycles]
    wanted = np.array([(team_id, cycle.start_us) in invoiced for team_id, cycle in cycles], dtype=bool)
    if not wanted.any() or not len(stream.api):
        return pd.DataFrame([], columns=list(DAY_COLUMNS))
    shown = np.array([billing is not ApiBilling.CAPACITY for billing in terms.billing], dtype=bool)
    mine = stream.take(wanted[stream.cycle] & shown[stream.api])
    groups, group = np.unique(mine.cycle * len(terms.apis) + mine.api, return_inverse=True)
    cycle_no, api_no = np.divmod(groups, len(terms.apis))
    first_day, last_day = (
        np.array([edge // DAY_US for edge in edges], dtype=np.int64)[cycle_no]
        for edges in ([c.start_us for _, c in cycles], [c.end_us - 1 for _, c in cycles])
    )
    # One row of cells after the other: first what is late, then day by day.
    cells = last_day - first_day + 2
    edges = np.append(0, np.cumsum(cells))
    cell = edges[group] + np.where(mine.late, 0, mine.occurred_us // DAY_US - first_day[group] + 1)
    sums = np.zeros(edges[-1], dtype=np.int64)
    np.add.at(sums, cell, mine.quantity_micro)
    quantities = sums.tolist()
    columns = (
        [cycles[number][0] for number in cycle_no.tolist()],
        [cycles[number][1].start_us for number in cycle_no.tolist()],
        [terms.apis[number] for number in api_no.tolist()],
        first_day,
        [tuple(quantities[low + 1 : high]) for low, high in pairwise(edges.tolist())],
        sums[edges[:-1]],
    )
    return pd.DataFrame(dict(zip(DAY_COLUMNS, columns, strict=True)))
