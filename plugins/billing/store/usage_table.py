"""The usage table: every accepted event, append-only, partitioned by month of use and by shard of the team."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import pyarrow as pa
import pyarrow.compute as pc

from billing.store.lake import CommittedBatches, LakeTable
from billing.store.unbilled import Unbilled

SHARDS = 8
"""How many groups teams are kept in; part of the layout, so it never changes for a home."""

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
        pa.field("month", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),
    ]
)


def shard_of(team_id: str) -> int:
    """The shard that a team's usage is kept in."""
    return crc32(team_id.encode()) % SHARDS


class UsageTable:
    """Accepted events in Delta Lake. ``occurred_at`` is in UTC; ``line`` and ``file_no`` say where in the batch's
    sources it stood.
    """

    def __init__(self, folder: Path) -> None:
        self.lake = LakeTable(folder, SCHEMA, ("month", "shard"))

    def append(self, batch_no: int, events: pa.Table) -> None:
        """Append accepted events (the schema's columns but ``batch_no``, ``month`` and ``shard``)."""
        shards = {team: shard_of(team) for team in pc.unique(events["team_id"]).to_pylist()}
        teams = events["team_id"].combine_chunks().dictionary_encode()
        by_code = pa.array([shards[team] for team in teams.dictionary.to_pylist()], pa.int32())
        rows = events.append_column("batch_no", pa.repeat(pa.scalar(batch_no, pa.int64()), events.num_rows))
        rows = rows.append_column("month", pc.strftime(events["occurred_at"], "%Y-%m"))
        rows = rows.append_column("shard", by_code.take(teams.indices))
        self.lake.append(batch_no, rows.select(SCHEMA.names))

    def unbilled(self, batches: CommittedBatches, shards: Sequence[int] = tuple(range(SHARDS))) -> Unbilled:
        """What no closed cycle has billed of the usage of some shards."""
        return Unbilled(self.lake, batches, shards)

    def newest_by_batch(self) -> dict[int, int]:
        """When the newest event of a batch occurred, in microseconds, from the table's own statistics: only of batches
        whose files hold nothing else (compaction puts several into one).
        """
        files = self.lake.files()
        if not files.num_rows:
            return {}
        files = files.filter(pc.equal(files["min.batch_no"], files["max.batch_no"]))
        newest = files.group_by("min.batch_no").aggregate([("max.occurred_at", "max")])
        instants = newest["max.occurred_at_max"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
        return dict(zip(newest["min.batch_no"].to_pylist(), instants.to_pylist(), strict=True))

    def corrected(self, batches: CommittedBatches, event_ids: Sequence[str], months: Sequence[str]) -> pa.Table:
        """Accepted events of these ids, and all corrections of them, among usage of these months."""
        ids = pa.array(event_ids, pa.string())
        named = pc.field("event_id").isin(ids) | pc.field("corrects").isin(ids)
        return self.lake.dataset().to_table(filter=batches.filter() & pc.field("month").isin(list(months)) & named)
