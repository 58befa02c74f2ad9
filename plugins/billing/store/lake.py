"""Append-only Delta tables whose appends are exactly once: the usage table and the index of ids are built on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from billing.core.errors import ConservationBroken


@dataclass(frozen=True, kw_only=True, slots=True)
class CommittedBatches:
    """Which rows of the lake count: those of batches up to ``through`` that are not void (rule 3.7)."""

    through: int
    void: tuple[int, ...]

    def filter(self) -> pc.Expression:
        """As a condition on ``batch_no``."""
        counts = pc.field("batch_no") <= self.through
        return counts & ~pc.field("batch_no").isin(list(self.void)) if self.void else counts


class LakeTable:
    """One Delta table. Every row carries the number of the ingest batch that brought it."""

    def __init__(self, location: Path, schema: pa.Schema, partition_by: Sequence[str]) -> None:
        self._location = location
        self.schema = schema
        self._partition_by = list(partition_by)
        self._table: DeltaTable | None = None

    def create(self) -> None:
        """Make the table where it is not there yet."""
        self._location.parent.mkdir(parents=True, exist_ok=True)
        DeltaTable.create(str(self._location), self.schema, mode="ignore", partition_by=self._partition_by)

    def exists(self) -> bool:
        """Whether the table was made."""
        return bool(DeltaTable.is_deltatable(str(self._location)))

    def has_batch(self, batch_no: int) -> bool:
        """Whether rows of that batch were ever appended, whatever the database knows of it."""
        found: int | None = self._open().transaction_version(_application(batch_no))
        return found is not None

    def append(self, batch_no: int, rows: pa.Table) -> None:
        """Append one batch's rows in one commit. A batch that is there already is refused: a number is never used
        twice.
        """
        table = self._open()
        if table.transaction_version(_application(batch_no)) is not None:
            raise ConservationBroken(
                f"Batch {batch_no} is in {self._location.name} already: run `billing usage reconcile`."
            )
        properties = CommitProperties(app_transactions=[Transaction(_application(batch_no), 1)])
        write_deltalake(
            table, rows.cast(self.schema), mode="append", partition_by=self._partition_by, commit_properties=properties
        )

    def dataset(self) -> ds.Dataset:
        """The table as it is now, to read from: filters prune files by partition and statistics."""
        return self._open().to_pyarrow_dataset()

    def rows_by(self, partition: str) -> dict[str, int]:
        """How many rows each value of a partition column has, from the table's own statistics."""
        actions = pa.table(self._open().get_add_actions(flatten=True))
        if not actions.num_rows:
            return {}
        grouped = actions.group_by(f"partition.{partition}").aggregate([("num_records", "sum")])
        return dict(
            zip(grouped[f"partition.{partition}"].to_pylist(), grouped["num_records_sum"].to_pylist(), strict=True)
        )

    def files(self) -> pa.Table:
        """A row a data file of the table as it is now, with the least and greatest of its columns (``min.*``,
        ``max.*``).
        """
        return pa.table(self._open().get_add_actions(flatten=True))

    def read_in(self, engine: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> str:
        """SQL for a table expression that reads these data files (``path`` of ``files()``) in a DuckDB connection.

        The columns are the schema's without those of the partition, which stand in ``files()``.
        """
        named = [str(self._location / unquote(path)).replace("'", "''") for path in paths]
        return "read_parquet([" + ", ".join(f"'{path}'" for path in named) + "], hive_partitioning = false)"

    def last_batch(self) -> int:
        """The largest batch number with rows here; 0 where there are none."""
        actions = pa.table(self._open().get_add_actions(flatten=True))
        return int(pc.max(actions["max.batch_no"]).as_py() or 0) if actions.num_rows else 0

    def _open(self) -> DeltaTable:
        """The table as it is now: read once, then only what was committed since."""
        if self._table is None:
            self._table = DeltaTable(str(self._location))
        else:
            self._table.update_incremental()
        return self._table


def _application(batch_no: int) -> str:
    # One name for all batches would make parallel appends fail, and could go backwards.
    return f"batch-{batch_no}"
