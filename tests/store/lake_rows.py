"""Events for the usage table and the index of ids, without an ingest."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from billing.core.instants import parse_instant_us
from billing.store.home import Home
from billing.store.id_index import hash_ids
from billing.store.lake import CommittedBatches
from billing.store.lake_storage import ObjectStorage

NOON_US = parse_instant_us("2026-07-15T12:00:00Z")


def events(
    ids: Sequence[str],
    *,
    team_id: str = "t1",
    occurred_us: int = NOON_US,
    quantity_micro: int = 1,
    content_hash: int = 0,
) -> pa.Table:
    """Accepted events as ``UsageTable.append`` takes them."""
    count = len(ids)

    def same(value: object, kind: pa.DataType) -> pa.Array:
        return pa.array([value] * count, kind)

    return pa.table(
        {
            "file_no": same(0, pa.int32()),
            "line": pa.array(range(2, count + 2), pa.int64()),
            "event_id": pa.array(ids, pa.string()),
            "occurred_at": same(occurred_us, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
            "app_id": same("a1", pa.string()),
            "api": same("render", pa.string()),
            "quantity_micro": same(quantity_micro, pa.int64()),
            "corrects": same("", pa.string()),
            "team_id": same(team_id, pa.string()),
            "content_hash": same(content_hash, pa.int64()),
        }
    )


def append(home: Home, batch_no: int, ids: Sequence[str], *, team_id: str = "t1", occurred_us: int = NOON_US) -> None:
    """Put a batch into the lake, events and ids, as an ingest does before the database says that it counts."""
    home.usage.append(batch_no, events(ids, team_id=team_id, occurred_us=occurred_us, content_hash=batch_no))
    home.ids.append(batch_no, hash_ids(pa.array(ids, pa.string())))


def same_home(home: Home) -> Home:
    """The same home, as another process opens it."""
    storage = home.usage.lake.storage
    if not isinstance(storage, ObjectStorage):
        return Home.at(home.folder)
    lake = ObjectStorage(url=storage.url.removesuffix("/usage"), credentials=storage.credentials)
    return Home.at(home.folder, None, lake)


def usage_ids(home: Home, batches: CommittedBatches) -> list[str]:
    """The ids of all events that readers of these batches see."""
    return sorted(home.usage.lake.dataset().to_table(filter=batches.filter())["event_id"].to_pylist())
