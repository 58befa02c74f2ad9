"""The usage table: every accepted event, append-only, partitioned by month of use and by shard of the team."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from billing.core.instants import DAY_US
from billing.core.months import Month
from billing.store.engine import engine
from billing.store.lake import CommittedBatches, LakeTable
from billing.store.lake_storage import ObjectStorage
from billing.store.shards import shard_of
from billing.store.unbilled import Unbilled

SCHEMA = pa.schema(
    [
        pa.field("batch_no", pa.int64(), nullable=False),
        pa.field("file_no", pa.int32(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("occurred_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("app_id", pa.string(), nullable=False),
        pa.field("api", pa.string(), nullable=False),
        pa.field("quantity_micro", pa.int64(), nullable=False),
        pa.field("corrects", pa.string(), nullable=False),
        pa.field("team_id", pa.string(), nullable=False),
        pa.field("content_hash", pa.int64(), nullable=False),
        pa.field("month", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),
    ]
)

_NEWEST = """
    select batch_no, max(epoch_us(occurred_at)) from {usage} where batch_no >= {since} group by batch_no
"""

_BY_API = """
    select api, count(*), sum(quantity_micro) from {usage} where batch_no = {batch_no} group by api order by api
"""

# Days are counted from the first one that is asked for: SQL divides towards 0, and there is nothing below it.
_BY_DAY = f"""
    with by_day as (
        select team_id, api, app_id, (epoch_us(occurred_at) - {{from_us}}) // {DAY_US} as place,
               sum(quantity_micro) as quantity_micro
        from {{usage}}
        where {{counts}} and batch_no > {{since}} and epoch_us(occurred_at) >= {{from_us}}
              and epoch_us(occurred_at) < {{until_us}}
        group by all
    )
    select team_id, api, app_id, list(place) as places, list(quantity_micro::varchar) as quantities
    from by_day group by all order by team_id, api, app_id
"""  # noqa: S608 - numbers, and names of the lake's own files

_OF_TEAMS_BY_DAY = f"""
    select team_id, api, (epoch_us(occurred_at) - {{from_us}}) // {DAY_US} as place,
           sum(quantity_micro)::double as quantity
    from {{usage}}
    where {{counts}} and epoch_us(occurred_at) >= {{from_us}} and epoch_us(occurred_at) < {{until_us}}
      and ($team is null or team_id = $team)
    group by all order by team_id, api, place
"""  # noqa: S608 - numbers, and names of the lake's own files

_UNLIKE = ("line", "event_id", "occurred_at", "quantity_micro", "content_hash")
_ROWS_AT_ONCE = 10_000
_SOUGHT = ("batch_no", "occurred_at", "team_id")


class DayUsage(NamedTuple):
    """Usage of a month: quantities of 10^-6 by the place of the UTC day in the month, from 0 on."""

    team_id: str
    api: str
    app_id: str
    by_place: Mapping[int, int]


class UsageTable:
    """Accepted events in Delta Lake. ``occurred_at`` is in UTC; ``line`` and ``file_no`` say where in the batch's
    sources it stood; a second delivery is compared by ``content_hash``.
    """

    def __init__(self, place: Path | ObjectStorage) -> None:
        self.lake = LakeTable(place, SCHEMA, ("month", "shard"), sought=_SOUGHT, unlike=_UNLIKE)

    def append(self, batch_no: int, events: pa.Table) -> None:
        """Append accepted events (the schema's columns but ``batch_no``, ``month`` and ``shard``)."""
        self.append_slices(batch_no, lambda: [events])

    def append_slices(self, batch_no: int, slices: Callable[[], Iterable[pa.Table]]) -> None:
        """The same of many events, slice by slice; they are asked for again where appending is tried again."""

        def reader() -> pa.RecordBatchReader:
            rows = (batch for events in slices() for batch in _rows(batch_no, events).to_batches())
            return pa.RecordBatchReader.from_batches(SCHEMA, rows)

        self.lake.append(batch_no, reader)

    def unbilled(self, batches: CommittedBatches) -> Unbilled:
        """What no closed cycle has billed of the usage that these batches brought."""
        return Unbilled(self.lake, batches)

    def newest_by_batch(self, since: int) -> dict[int, int]:
        """When the newest event of each batch from ``since`` on occurred, in microseconds: by the table's statistics
        (which cut off at the millisecond), and by the events of files that compaction put several batches into.
        """
        files = self.lake.files()
        if not files.num_rows:
            return {}
        files = files.filter(pc.greater_equal(files["max.batch_no"], since))
        alone = pc.equal(files["min.batch_no"], files["max.batch_no"])
        told = files.filter(alone)
        instants = told["max.occurred_at"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
        found = list(zip(told["min.batch_no"].to_pylist(), instants, strict=True))
        if mixed := files.filter(pc.invert(alone))["path"].to_pylist():
            with engine() as connection:
                usage = self.lake.read_in(connection, mixed)
                found += connection.execute(_NEWEST.format(usage=usage, since=since)).fetchall()
        newest: dict[int, int] = {}
        for batch_no, us in found:
            newest[batch_no] = max(us, newest.get(batch_no, us))
        return newest

    def accepted_in(self, batch_no: int) -> dict[str, dict[str, int]]:
        """What a batch brought, by API: ``events`` and ``quantity_micro``, exact; the same after compaction."""
        with engine() as connection:
            usage = self.lake.read_in(connection, self.lake.paths(lambda f: _may_hold(f, batch_no)))
            rows = connection.execute(_BY_API.format(usage=usage, batch_no=int(batch_no))).fetchall()
        return {api: {"events": int(events), "quantity_micro": int(micro)} for api, events, micro in rows}

    def months_since(self, batches: CommittedBatches, since: int) -> list[str]:
        """The months (``YYYY-MM``, UTC) in which usage of a later batch than ``since`` may lie, in order."""
        files = self.lake.files()
        if not files.num_rows:
            return []
        found = files.filter(_later(files, batches, since))["partition.month"].to_pylist()
        return sorted({str(month) for month in found})

    def by_day(self, batches: CommittedBatches, since: int, month: Month) -> Iterator[DayUsage]:
        """What batches later than ``since`` brought of one UTC month, summed by day; exact, whatever was compacted.
        A row a team, API and app, in that order.
        """

        def may_hold(files: pa.Table) -> pa.BooleanArray:
            return pc.and_(_later(files, batches, since), pc.equal(files["partition.month"], str(month)))

        bounds = {"from_us": month.start_us("UTC"), "until_us": month.end_us("UTC"), "since": int(since)}
        with engine() as connection:
            usage = self.lake.read_in(connection, self.lake.paths(may_hold))
            asked = connection.execute(_BY_DAY.format(usage=usage, counts=batches.sql(), **bounds))
            while rows := asked.fetchmany(_ROWS_AT_ONCE):
                for team_id, api, app_id, places, quantities in rows:
                    yield DayUsage(team_id, api, app_id, dict(zip(places, map(int, quantities), strict=True)))

    def of_teams_by_day(
        self, batches: CommittedBatches, first_day: int, days: int, team_id: str | None = None
    ) -> tuple[list[tuple[str, str]], npt.NDArray[np.int64]]:
        """(team, API) with any usage on these UTC days, in order, and what they used, in 10^-6: shape (pairs, days). Of
        one team only where it is given.

        Sums of one day beyond 2^53 lose their last digits: this is for forecasts, nothing is billed of it.
        """
        from_us, until_us = first_day * DAY_US, (first_day + days) * DAY_US

        def may_hold(files: pa.Table) -> pa.BooleanArray:
            first, last = (files[f"{end}.occurred_at"].cast(pa.int64()) for end in ("min", "max"))
            mine = pc.less_equal(files["min.batch_no"], batches.through)
            if team_id is not None:
                mine = pc.and_(mine, pc.equal(files["partition.shard"], shard_of(team_id)))
            # Delta's statistics cut instants off at the millisecond.
            return pc.and_(mine, pc.and_(pc.less(first, until_us), pc.greater_equal(pc.add(last, 1_000), from_us)))

        with engine() as connection:
            usage = self.lake.read_in(connection, self.lake.paths(may_hold))
            query = _OF_TEAMS_BY_DAY.format(usage=usage, counts=batches.sql(), from_us=from_us, until_us=until_us)
            found = connection.sql(query, params={"team": team_id}).to_arrow_table()
        pairs = list(zip(found["team_id"].to_pylist(), found["api"].to_pylist(), strict=True))
        known = list(dict.fromkeys(pairs))
        row = {pair: number for number, pair in enumerate(known)}
        sums = np.zeros((len(known), days), dtype=np.int64)
        rows = np.fromiter((row[pair] for pair in pairs), dtype=np.int64, count=len(pairs))
        quantities = np.clip(found["quantity"].to_numpy(), -(2.0**62), 2.0**62).astype(np.int64)
        sums[rows, found["place"].to_numpy()] = quantities
        return known, sums

    def corrected(self, batches: CommittedBatches, event_ids: Sequence[str], months: Sequence[str]) -> pa.Table:
        """Accepted events of these ids, and all corrections of them, among usage of these months."""
        ids = pa.array(event_ids, pa.string())
        named = pc.field("event_id").isin(ids) | pc.field("corrects").isin(ids)
        return self.lake.dataset().to_table(filter=batches.filter() & pc.field("month").isin(list(months)) & named)

    def of_team(
        self, batches: CommittedBatches, team_id: str, api: str, from_us: int, until_us: int, late_after: int | None
    ) -> pa.Table:
        """Accepted events of a team and API that occurred in ``[from_us, until_us)``, and, where ``late_after`` is
        given, those that occurred before and came in a later batch than that. In no order.
        """
        wanted = _of_team(batches, team_id, api, from_us, until_us, late_after)
        return self.lake.dataset().to_table(filter=wanted)

    def count_of_team(
        self, batches: CommittedBatches, team_id: str, api: str, from_us: int, until_us: int, late_after: int | None
    ) -> int:
        """How many those are."""
        wanted = _of_team(batches, team_id, api, from_us, until_us, late_after)
        return int(self.lake.dataset().count_rows(filter=wanted))

    def named(self, batches: CommittedBatches, event_id: str) -> pa.Table:
        """The accepted event of an id, if there is one; whatever its month."""
        return self.lake.dataset().to_table(filter=batches.filter() & (pc.field("event_id") == event_id))


def _of_team(
    batches: CommittedBatches, team_id: str, api: str, from_us: int, until_us: int, late_after: int | None
) -> pc.Expression:
    first, last = (pa.scalar(us, pa.timestamp("us", tz="UTC")) for us in (from_us, until_us))
    when = pc.field("occurred_at") >= first
    if late_after is not None:
        when |= pc.field("batch_no") > late_after
    mine = (pc.field("shard") == shard_of(team_id)) & (pc.field("team_id") == team_id) & (pc.field("api") == api)
    return batches.filter() & mine & when & (pc.field("occurred_at") < last)


def _may_hold(files: pa.Table, batch_no: int) -> pa.BooleanArray:
    """The files that may have rows of a batch, by their statistics."""
    return pc.and_(pc.less_equal(files["min.batch_no"], batch_no), pc.greater_equal(files["max.batch_no"], batch_no))


def _later(files: pa.Table, batches: CommittedBatches, since: int) -> pa.BooleanArray:
    """The files that may have rows of batches after ``since``, up to the last that counts."""
    until = pc.less_equal(files["min.batch_no"], batches.through)
    return pc.and_(pc.greater(files["max.batch_no"], since), until)


def _rows(batch_no: int, events: pa.Table) -> pa.Table:
    """Events as they are kept."""
    teams = events["team_id"].combine_chunks().dictionary_encode()
    shards = pa.array([shard_of(team) for team in teams.dictionary.to_pylist()], pa.int32())
    rows = events.append_column("batch_no", pa.repeat(pa.scalar(batch_no, pa.int64()), events.num_rows))
    rows = rows.append_column("month", _months(events["occurred_at"].cast(pa.int64()).to_numpy()))
    return rows.append_column("shard", shards.take(teams.indices)).select(SCHEMA.names).cast(SCHEMA)


def _months(occurred_us: npt.NDArray[np.int64]) -> pa.Array:
    """``YYYY-MM`` in UTC."""
    months = occurred_us.view("datetime64[us]").astype("datetime64[M]")
    first, last = months.min(), months.max()
    if first == last:
        return pa.repeat(str(first), len(months))
    there, place = np.unique(months, return_inverse=True)
    return pa.array(there.astype(str), pa.string()).take(pa.array(place))
