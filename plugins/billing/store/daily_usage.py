"""Actual usage by UTC day, summed where it is kept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from billing.core.instants import DAY_US
from billing.store.engine import engine
from billing.store.lake import CommittedBatches, LakeTable
from billing.store.shards import shard_of

_BY_DAY = f"""
    select team_id, api, (epoch_us(occurred_at) - {{from_us}}) // {DAY_US} as day,
           sum(quantity_micro)::double as quantity
    from {{usage}}
    where {{counts}} and epoch_us(occurred_at) >= {{from_us}} and epoch_us(occurred_at) < {{until_us}}
      and ($team is null or team_id = $team)
    group by all order by team_id, api, day
"""  # noqa: S608 - numbers, and names of the lake's own files


def usage_by_day(
    lake: LakeTable, batches: CommittedBatches, first_day: int, days: int, team_id: str | None = None
) -> tuple[list[tuple[str, str]], npt.NDArray[np.int64]]:
    """(team, API) with any usage on these UTC days, in order, and what they used, in 10^-6: shape (pairs, days). Of one
    team only where it is given.

    Sums of one day beyond 2^53 lose their last digits: this is for forecasts, nothing is billed of it.
    """
    from_us, until_us = first_day * DAY_US, (first_day + days) * DAY_US

    def may_hold(files: pa.Table) -> pa.BooleanArray:
        first, last = (files[f"{end}.occurred_at"].cast(pa.int64()) for end in ("min", "max"))
        mine = pc.less_equal(files["min.batch_no"], batches.through)
        # Delta's statistics cut instants off at the millisecond.
        if team_id is not None:
            mine = pc.and_(mine, pc.equal(files["partition.shard"], shard_of(team_id)))
        return pc.and_(mine, pc.and_(pc.less(first, until_us), pc.greater_equal(pc.add(last, 1_000), from_us)))

    with engine() as connection:
        usage = lake.read_in(connection, lake.paths(may_hold))
        query = _BY_DAY.format(usage=usage, counts=batches.sql(), from_us=from_us, until_us=until_us)
        found = connection.sql(query, params={"team": team_id}).to_arrow_table()
    pairs = list(zip(found["team_id"].to_pylist(), found["api"].to_pylist(), strict=True))
    known = list(dict.fromkeys(pairs))
    place = {pair: number for number, pair in enumerate(known)}
    sums = np.zeros((len(known), days), dtype=np.int64)
    rows = np.fromiter((place[pair] for pair in pairs), dtype=np.int64, count=len(pairs))
    sums[rows, found["day"].to_numpy()] = np.clip(found["quantity"].to_numpy(), -(2.0**62), 2.0**62).astype(np.int64)
    return known, sums
