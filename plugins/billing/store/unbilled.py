"""Usage that no closed cycle has billed, summed where it is kept (``core.sums.UnbilledUsage``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from billing.core.instants import DAY_US
from billing.core.segments import Cuts, Segment
from billing.core.streams import TeamPlan
from billing.store.engine import engine
from billing.store.lake import CommittedBatches, LakeTable
from billing.store.shards import shard_of

CUTS_A_DAY = 6
"""A team's day that is cut more often is summed instant by instant."""
# Whole days, more than any instant has before 1970, so that dividing by a day's length rounds down in SQL too.
_SHIFT_US = 10_000_000 * DAY_US
# A sum beyond this is not told: whoever adds a few up stays within 64 bits.
_SUM_MAX = 2**61

_LATER_THAN_ANY = 2**62

# Delta's statistics cut instants off at the millisecond.
_STATISTICS_US = 1_000

_UNBILLED = f"""
    select plan.place, api, epoch_us(occurred_at) as at_us, (at_us + {_SHIFT_US}) // {DAY_US} as day, batch_no,
           quantity_micro, event_id, corrects
    from {{usage}} join plan using (team_id)
    where {{counts}} and at_us < until_us and (at_us >= start_us or batch_no > pinned_batch)
"""  # noqa: S608 - numbers, and names of the lake's own files
_SUMS = f"""
    select place, api, max(at_us) as at_us, sum(quantity_micro) as quantity,
           min(quantity_micro) < 0 or quantity > {_SUM_MAX} as by_event,
           (case when abs(quantity) > {_SUM_MAX} then 0 else quantity end)::bigint as quantity_micro
    from ({{unbilled}}) left join cut using (place, day)
    group by place, api, day, {{piece}}
    order by place, at_us, api
"""  # noqa: S608
_TEAMS_SINCE = """
    select distinct team_id from {usage} where {counts} and batch_no > {since}
"""
_USED = """
    select place, api, max(at_us) as last_us from ({unbilled}) group by place, api order by place, api
"""
_EVENTS = """
    select place, api, at_us, batch_no, quantity_micro, event_id, corrects <> '' as is_correction
    from ({unbilled}) join segment using (place, day)
    where at_us >= from_us and at_us < until_us
"""


class Unbilled:
    """Unbilled usage of batches that count: it occurred in the plans' time, or is late (rule 3.5)."""

    def __init__(self, lake: LakeTable, batches: CommittedBatches) -> None:
        self._lake, self._batches = lake, batches

    def sums(self, plans: Sequence[TeamPlan], cuts: Cuts) -> pd.DataFrame:
        """A row per API and segment: see ``core.sums.UnbilledUsage``."""
        days = _cut_days(cuts)
        passed = [f"coalesce((at_us >= {name})::bigint, 0)" for name in days.column_names if name.startswith("cut_")]
        piece = f"case when is_crowded then at_us else {' + '.join(passed) or '0'} end"
        with self._engine(plans) as (connection, unbilled):
            connection.register("cut", days)
            found = connection.sql(_SUMS.format(unbilled=unbilled, piece=piece)).to_arrow_table()
        return _frame(found, plans).assign(by_event=found["by_event"].to_numpy())

    def events(self, plans: Sequence[TeamPlan], segments: Sequence[Segment]) -> pd.DataFrame:
        """All events of some segments, each of which lies within one UTC day."""
        with self._engine(plans, segments) as (connection, unbilled):
            connection.register("segment", _segments(plans, segments))
            found = connection.sql(_EVENTS.format(unbilled=unbilled)).to_arrow_table()
        return _frame(found, plans)

    def used(self, plans: Sequence[TeamPlan]) -> pd.DataFrame:
        """What is used at all: team_id and api (str), and last_us (int64), when the last of it occurred."""
        with self._engine(plans) as (connection, unbilled):
            found = connection.sql(_USED.format(unbilled=unbilled)).to_arrow_table()
        teams = np.array([plan.team_id for plan in plans], dtype=object)
        columns = {"api": found["api"].to_pylist(), "last_us": found["last_us"].to_numpy()}
        return pd.DataFrame({"team_id": teams[found["place"].to_numpy()], **columns})

    def teams_since(self, batch_no: int) -> frozenset[str]:
        """The teams of which any usage came in a later batch."""
        later = self._lake.paths(lambda files: pc.greater(files["max.batch_no"], batch_no))
        if not later:
            return frozenset()
        with engine() as connection:
            usage = self._lake.read_in(connection, later)
            query = _TEAMS_SINCE.format(usage=usage, counts=self._batches.sql(), since=batch_no)
            return frozenset(team_id for (team_id,) in connection.execute(query).fetchall())

    @contextmanager
    def _engine(
        self, plans: Sequence[TeamPlan], segments: Sequence[Segment] | None = None
    ) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
        """An engine that knows the plans, and SQL for their unbilled events: at least for those of the segments."""
        with engine() as connection:
            connection.register("plan", _plans(plans))
            usage = self._lake.read_in(connection, self._files(plans, segments))
            yield connection, _UNBILLED.format(usage=usage, counts=self._batches.sql())

    def _files(self, plans: Sequence[TeamPlan], segments: Sequence[Segment] | None) -> list[str]:
        """The data files that may hold any of it, by their statistics."""
        if not plans or segments == []:
            return []
        from_us, until_us = min(plan.start_us for plan in plans), max(plan.until_us for plan in plans)
        late_after = min(plan.pinned_batch for plan in plans)
        shards = sorted({shard_of(one.team_id) for one in (plans if segments is None else segments)})

        def may_hold(files: pa.Table) -> pa.BooleanArray:
            first, last = (files[f"{end}.occurred_at"].cast(pa.int64()) for end in ("min", "max"))
            mine = pc.is_in(files["partition.shard"], value_set=pa.array(shards, pa.int32()))
            mine = pc.and_(mine, pc.less_equal(files["min.batch_no"], self._batches.through))
            mine = pc.and_(mine, pc.less(first, until_us))
            in_time = pc.greater(pc.add(last, _STATISTICS_US), from_us)
            mine = pc.and_(mine, pc.or_(in_time, pc.greater(files["max.batch_no"], late_after)))
            return mine if segments is None else pc.and_(mine, _touched(first, last, segments))

        return self._lake.paths(may_hold)


def _touched(first: pa.Array, last: pa.Array, segments: Sequence[Segment]) -> pa.BooleanArray:
    """Which of the stretches from ``first`` to ``last`` (in microseconds, by statistics) meet any segment's day."""
    days = np.array(sorted({segment.from_us // DAY_US for segment in segments}), dtype=np.int64)
    low, high = first.to_numpy() // DAY_US, (last.to_numpy() + _STATISTICS_US) // DAY_US
    return pa.array(np.searchsorted(days, low) < np.searchsorted(days, high, side="right"))


def _plans(plans: Sequence[TeamPlan]) -> pa.Table:
    return pa.table(
        {
            "place": pa.array(range(len(plans)), pa.int32()),
            "team_id": pa.array([plan.team_id for plan in plans], pa.string()),
            "start_us": pa.array([plan.start_us for plan in plans], pa.int64()),
            "until_us": pa.array([plan.until_us for plan in plans], pa.int64()),
            "pinned_batch": pa.array([plan.pinned_batch for plan in plans], pa.int64()),
        }
    )


def _cut_days(cuts: Cuts) -> pa.Table:
    """A row a team and day that is cut within: place, day (shifted), is_crowded and the cuts in order, as cut_0, ..."""
    inner = np.flatnonzero(cuts.at_us % DAY_US != 0)
    team, at_us = cuts.team[inner], cuts.at_us[inner]
    day = (at_us + _SHIFT_US) // DAY_US
    fresh = np.flatnonzero(np.diff(team, prepend=-1) | np.diff(day, prepend=-1))
    sizes = np.diff(np.append(fresh, len(team)))
    columns = {
        "place": pa.array(team[fresh], pa.int32()),
        "day": pa.array(day[fresh], pa.int64()),
        "is_crowded": pa.array(sizes > CUTS_A_DAY),
    }
    for number in range(min(int(sizes.max(initial=0)), CUTS_A_DAY)):
        there = sizes > number
        found = at_us[np.minimum(fresh + number, len(at_us) - 1)] if len(at_us) else at_us
        columns[f"cut_{number}"] = pa.array(found, pa.int64(), mask=~there)
    return pa.table(columns)


def _segments(plans: Sequence[TeamPlan], segments: Sequence[Segment]) -> pa.Table:
    place = {plan.team_id: number for number, plan in enumerate(plans)}
    return pa.table(
        {
            "place": pa.array([place[s.team_id] for s in segments], pa.int32()),
            "day": pa.array([(s.from_us + _SHIFT_US) // DAY_US for s in segments], pa.int64()),
            "from_us": pa.array([s.from_us for s in segments], pa.int64()),
            "until_us": pa.array([s.until_us for s in segments], pa.int64()),
        }
    )


def _frame(found: pa.Table, plans: Sequence[TeamPlan]) -> pd.DataFrame:
    """What ``core.rating.rate`` takes."""
    count, api = found.num_rows, found["api"].combine_chunks().dictionary_encode()
    teams = pd.Index([plan.team_id for plan in plans], dtype=object)
    return pd.DataFrame(
        {
            "team_id": pd.Categorical.from_codes(found["place"].to_numpy(), categories=teams),
            "event_id": found["event_id"].to_pandas() if "event_id" in found.column_names else np.full(count, ""),
            "api": pd.Categorical.from_codes(api.indices.to_numpy(), categories=api.dictionary.to_pylist()),
            "occurred_at_us": found["at_us"].to_numpy(),
            "quantity_micro": found["quantity_micro"].to_numpy(),
            "batch_no": (
                found["batch_no"].to_numpy() if "batch_no" in found.column_names else np.full(count, _LATER_THAN_ANY)
            ),
            "is_correction": (
                found["is_correction"].to_numpy() if "is_correction" in found.column_names else np.zeros(count, bool)
            ),
        }
    )
