"""The index of ids: which event ids were ever accepted, with what content, in which batch (rule 2.2).

It outlives every view: a second delivery is known whatever its month or team. Partitioned by a hash of the id.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from billing.store.lake import CommittedBatches, LakeTable

BUCKETS = 4
SCHEMA = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("id_hash", pa.int64(), nullable=False),
        pa.field("content_hash", pa.int64(), nullable=False),
        pa.field("batch_no", pa.int64(), nullable=False),
        pa.field("bucket", pa.int32(), nullable=False),
    ]
)
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownIds:
    """What the index says of ids, shapes (ids,). ``content_hash`` is 0 where the id is not known."""

    known: npt.NDArray[np.bool_]
    content_hash: Int64s


def hash_text(values: pa.Array) -> Int64s:
    """SipHash-2-4 of each text's UTF-8 bytes, the same on every machine and in every version (a test pins it)."""
    return pd.util.hash_array(values.to_numpy(zero_copy_only=False).astype(object), categorize=False).view(np.int64)


class IdIndex:
    """Accepted ids in Delta Lake."""

    def __init__(self, folder: Path) -> None:
        self.lake = LakeTable(folder, SCHEMA, ("bucket",))

    def append(self, batch_no: int, event_ids: pa.Array, content_hash: Int64s) -> None:
        """Add the ids of a batch's accepted events."""
        hashes = hash_text(event_ids)
        rows = pa.table(
            {
                "event_id": event_ids,
                "id_hash": hashes,
                "content_hash": content_hash,
                "batch_no": np.full(len(hashes), batch_no, dtype=np.int64),
                "bucket": (hashes.view(np.uint64) % BUCKETS).astype(np.int32),
            }
        )
        self.lake.append(batch_no, rows)

    def look_up(self, batches: CommittedBatches, event_ids: pa.Array) -> KnownIds:
        """Which of these (distinct) ids were accepted in committed batches. Compared code point by code point."""
        known = np.zeros(len(event_ids), dtype=bool)
        content = np.zeros(len(event_ids), dtype=np.int64)
        if not batches.through or not len(event_ids):
            return KnownIds(known=known, content_hash=content)
        asked = pa.table({"place": np.arange(len(event_ids)), "event_id": event_ids, "id_hash": hash_text(event_ids)})
        found = self._matches(batches, asked)
        known[found["place"]] = True
        content[found["place"]] = found["content_hash"]
        return KnownIds(known=known, content_hash=content)

    def _matches(self, batches: CommittedBatches, asked: pa.Table) -> dict[str, Int64s]:
        columns = ["event_id", "id_hash", "content_hash", "batch_no"]
        kept = self.lake.dataset().scanner(columns=columns, filter=batches.filter()).to_reader()
        with duckdb.connect() as engine:
            engine.execute("set threads = 2")
            engine.register("asked", asked)
            engine.register("kept", kept)
            rows = engine.execute(
                "select place, content_hash from kept join asked using (id_hash, event_id)"
            ).fetchnumpy()
        return {name: np.asarray(values, dtype=np.int64) for name, values in rows.items()}
