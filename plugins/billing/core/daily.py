"""Actual usage by UTC day, for the statements of what is invoiced (rules 6.6 and 8.2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from billing.core.asof import Int64s
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
    day = np.where(mine.late, -1, mine.occurred_us // DAY_US)
    key = mine.cycle * len(terms.apis) + mine.api
    rows = []
    for (cycle_no, api_no), sums in _sums(key, day, mine.quantity_micro, len(terms.apis)).items():
        team_id, cycle = cycles[cycle_no]
        first, last = cycle.start_us // DAY_US, (cycle.end_us - 1) // DAY_US
        quantities = tuple(sums.get(number, 0) for number in range(first, last + 1))
        rows.append((team_id, cycle.start_us, terms.apis[api_no], first, quantities, sums.get(-1, 0)))
    return pd.DataFrame(rows, columns=list(DAY_COLUMNS))


def _sums(key: Int64s, day: Int64s, quantity: Int64s, apis: int) -> dict[tuple[int, int], dict[int, int]]:
    """Exact sums by (cycle, API) and day."""
    order = np.lexsort((day, key))
    key, day = key[order], day[order]
    begins = np.flatnonzero(np.append(True, (key[1:] != key[:-1]) | (day[1:] != day[:-1]))) if len(key) else order
    totals = np.add.reduceat(quantity[order], begins) if len(key) else quantity
    found: dict[tuple[int, int], dict[int, int]] = {}
    for group, number, total in zip(key[begins].tolist(), day[begins].tolist(), totals.tolist(), strict=True):
        found.setdefault(divmod(group, apis), {})[number] = total
    return found
