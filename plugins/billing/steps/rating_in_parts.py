"""Rating in parts: while one is rated, the next one's usage is summed beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from billing.core.rating import Rated
from billing.core.spans import Opening
from billing.core.streams import TeamPlan
from billing.core.sums import UnbilledUsage, rate_by_sums, summed, together
from billing.core.terms import Terms
from billing.store.shards import SHARDS, shard_of

PARTS_MAX = 4
TEAMS_MIN = 250
"""So many teams a part: for fewer it is not worth while to ask twice."""


def rate_in_parts(terms: Terms, plans: Sequence[TeamPlan], usage: UnbilledUsage, opening: Opening) -> Rated:
    """The same as ``rate_by_sums``. Parts have whole shards, since usage is read by these."""
    parts = _parts(plans)
    done: list[Rated] = []
    with ThreadPoolExecutor(max_workers=1) as beside:
        ahead = beside.submit(summed, terms, parts[0], usage)
        for number, part in enumerate(parts, 1):
            first = ahead.result()
            if number < len(parts):
                ahead = beside.submit(summed, terms, parts[number], usage)
            done.append(rate_by_sums(terms, part, usage, opening, first))
    return together(done, plans)


def _parts(plans: Sequence[TeamPlan]) -> list[list[TeamPlan]]:
    """One at least."""
    count = max(1, min(PARTS_MAX, len(plans) // TEAMS_MIN))
    parts: dict[int, list[TeamPlan]] = defaultdict(list)
    for plan in plans:
        parts[shard_of(plan.team_id) * count // SHARDS].append(plan)
    return [parts[number] for number in sorted(parts)] or [[]]
