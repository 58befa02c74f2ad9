"""Append-only Delta tables whose appends are exactly once: the usage table is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import RLock
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pa_fs
from deltalake import ColumnProperties, CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from billing.core.errors import ConservationBroken
from billing.store.compaction import FILE_BYTES, Piece, pieces
from billing.store.lake_storage import ObjectStorage, dataset_of, storage_at

_TRIES = 5
_STATISTICS = "delta.dataSkippingStatsColumns"
_LEFTOVERS_KEPT = timedelta(days=1)
_ROWS_AT_ONCE = 32 << 10
_ROW_GROUP = 128 << 10
# Two compactions at the same time exclude each other by its name; its version says nothing.
_COMPACTION = Transaction("compaction", 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class CommittedBatches:
    """Which rows of the lake count: those of batches up to ``through`` that are not void (rule 3.7)."""

    through: int
    void: tuple[int, ...]

    def filter(self) -> pc.Expression:
        """As a condition on ``batch_no``."""
        counts = pc.field("batch_no") <= self.through
        return counts & ~pc.field("batch_no").isin(list(self.void)) if self.void else counts

    def sql(self) -> str:
        """The same in SQL."""
        void = ", ".join(map(str, self.void))
        return f"batch_no <= {self.through}" + (f" and batch_no not in ({void})" if void else "")


class LakeTable:
    """One Delta table. Every row carries the number of the ingest batch that brought it."""

    def __init__(
        self,
        location: Path | ObjectStorage,
        schema: pa.Schema,
        partition_by: Sequence[str],
        *,
        sought: Sequence[str],
        unlike: Sequence[str] = (),
    ) -> None:
        """``unlike``: columns whose values hardly ever repeat, which are not worth a dictionary. ``sought``: columns
        that readers pass files over by; to keep the least and greatest of all others would take as long as writing.
        """
        columns = {
            column.name: _column(column.type, unlike=column.name in unlike, sought=column.name in sought)
            for column in schema
        }
        self._sought = {_STATISTICS: ",".join(sought)}
        self._appending = WriterProperties(compression="SNAPPY", column_properties=columns)
        # What is read for years is worth more work than what is read for a day.
        self._compacting = WriterProperties(
            compression="ZSTD", compression_level=3, max_row_group_size=_ROW_GROUP, column_properties=columns
        )
        self.storage = storage_at(location)
        self.schema = schema
        self._partition_by = list(partition_by)
        self._table: DeltaTable | None = None
        self._options: dict[str, str] | None = None
        self._files: tuple[int, pa.Table] | None = None
        self._reading = RLock()

    def create(self) -> None:
        """Make the table where it is not there yet."""
        self.storage.prepare()
        DeltaTable.create(
            self.storage.uri,
            self.schema,
            mode="ignore",
            partition_by=self._partition_by,
            storage_options=self.storage.options(),
            configuration=self._sought,
        )
        table = self._open()
        if not self._says_what_is_sought(table):  # it was made by an earlier version
            table.alter.set_table_properties(self._sought)

    def exists(self) -> bool:
        """Whether the table was made."""
        return bool(DeltaTable.is_deltatable(self.storage.uri, self.storage.options()))

    def has_batch(self, batch_no: int) -> bool:
        """Whether rows of that batch were ever appended, whatever the database knows of it."""
        found: int | None = self._open().transaction_version(_application(batch_no))
        return found is not None

    def append(self, batch_no: int, rows: Callable[[], pa.RecordBatchReader]) -> None:
        """Append one batch's rows (of the schema) in one commit. A batch that is there already is refused: a number is
        never used twice. ``rows`` is asked for a new reader each time that it is tried.
        """
        properties = CommitProperties(app_transactions=[Transaction(_application(batch_no), 1)])
        for left in reversed(range(_TRIES)):
            table = self._open()
            if table.transaction_version(_application(batch_no)) is not None:
                raise ConservationBroken(
                    f"Batch {batch_no} is in {self.storage.name} already: run `billing usage reconcile`."
                )
            try:
                write_deltalake(
                    table,
                    rows(),
                    mode="append",
                    partition_by=self._partition_by,
                    writer_properties=self._appending if self._says_what_is_sought(table) else None,
                    commit_properties=properties,
                )
                return
            except CommitFailedError:  # a compaction was committed meanwhile, which Delta takes for a change of rows
                if not left:
                    raise

    def dataset(self) -> ds.Dataset:
        """The table as it is now, to read from: filters prune files by partition and statistics."""
        # Not by deltalake's own file system: its threads call Python, and abort the process where that is ending.
        return self._open().to_pyarrow_dataset(filesystem=self.storage.files())

    def rows(self) -> int:
        """How many rows the table has, from its own statistics."""
        files = self.files()
        return int(pc.sum(files["num_records"]).as_py()) if files.num_rows else 0

    def rows_by(self, partition: str) -> dict[str, int]:
        """How many rows each value of a partition column has, from the table's own statistics."""
        actions = self.files()
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
        with self._reading:
            table = self._open()
            version = table.version()
            if self._files is None or self._files[0] != version:
                self._files = version, pa.table(table.get_add_actions(flatten=True))
            return self._files[1]

    def paths(self, holds: Callable[[pa.Table], pa.BooleanArray]) -> list[str]:
        """The ``path`` of those files of which something holds (given ``files()``), in order."""
        files = self.files()
        return sorted(files.filter(holds(files))["path"].to_pylist()) if files.num_rows else []

    def size(self) -> tuple[int, int]:
        """How many data files the table has, and their bytes together."""
        files = self.files()
        return files.num_rows, int(pc.sum(files["size_bytes"]).as_py()) if files.num_rows else 0

    def read_in(self, engine: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> str:
        """SQL for a table expression that reads these data files (``path`` of ``files()``) in a DuckDB connection.

        The columns are the schema's without those of the partition, which stand in ``files()``.
        """
        columns = [column for column in self.schema if column.name not in self._partition_by]
        if not paths:
            engine.register("no_rows", pa.schema(columns).empty_table())
            return "no_rows"
        return self.storage.read_in(engine, self._sizes(paths), pa.schema(columns))

    def last_batch(self) -> int:
        """The largest batch number with rows here; 0 where there are none."""
        files = self.files()
        return int(pc.max(files["max.batch_no"]).as_py() or 0) if files.num_rows else 0

    def compact(self, done: Callable[[int, int], None] = lambda *_: None, *, file_bytes: int = FILE_BYTES) -> None:
        """Put the small data files of each partition that has many together (see ``store.compaction``), a commit a new
        file; ``done`` is told after each how many of how many are.

        Rows go by their batches in a file, and a file spans few, so that readers pass over what they don't want.
        Safe beside appends, readers and other compactions: a row is in the table exactly once at any version, what was
        put together stays on disk until ``vacuum``, and where somebody else was faster the commit fails and is tried
        anew. Killed, all that was committed stands. What is known of batches stays known. Raises ``CommitFailedError``
        where others were faster again and again.
        """
        table = self._opened()
        planned, number = self._pieces(table, file_bytes), 0
        left = planned
        while left:
            piece, number = left[0], number + 1
            table = self._put_together(table, piece, file_bytes)
            done(number, max(number, len(planned)))
            # Planned anew of the table as it is after that commit: what is written is what that very version has.
            left = [other for other in self._pieces(table, file_bytes) if other.place > piece.place]

    def checkpoint(self) -> None:
        """Sum the log up, so that whoever opens the table reads one file and what was committed after it. What the log
        says of before 30 days is deleted with it.
        """
        self._open().create_checkpoint()

    def vacuum(self, keep: timedelta, now: datetime) -> int:
        """Delete data files that the table has not named any more for ``keep`` (7 days at most: the log forgets them
        then), and what writers that were killed left behind, a day after that at the earliest. How many files.

        Who reads the table as it was before that is left without its files.
        """
        before = self._stored()
        table, hour = self._open(), timedelta(hours=1)
        table.vacuum(keep // hour, dry_run=False, enforce_retention_duration=False)
        # ``full`` takes files that no commit ever named, too; those of a writer at work are young.
        hours = max(keep, _LEFTOVERS_KEPT) // hour
        table.vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True)
        for path, written in before.items():
            # Half a file: it is written as NAME#1, which Delta's own listing of a folder leaves out.
            if "#" in path and written < now - _LEFTOVERS_KEPT:
                self.storage.files().delete_file(path)
        return len(before.keys() - self._stored().keys())

    def _says_what_is_sought(self, table: DeltaTable) -> bool:
        """Whether files may lack statistics: readers take them for columns of nulls unless the table tells them."""
        return bool(self._sought.items() <= table.metadata().configuration.items())

    def _pieces(self, table: DeltaTable, file_bytes: int) -> list[Piece]:
        return pieces(pa.table(table.get_add_actions(flatten=True)), self._partition_by, file_bytes)

    def _put_together(self, table: DeltaTable, piece: Piece, file_bytes: int) -> DeltaTable:
        """Write a piece as one file instead of its many; the table after that. Where it fails because of what somebody
        else has committed meanwhile, look what is to be done at this place now.
        """
        for left in reversed(range(_TRIES)):
            try:
                self._rewrite(table, piece)
            except CommitFailedError:
                if not left:
                    raise
                table = self._opened()
                again = [other for other in self._pieces(table, file_bytes) if other.place == piece.place]
                if not again:
                    break
                piece = again[0]
            else:
                break
        return table

    def _rewrite(self, table: DeltaTable, piece: Piece) -> None:
        """Raises ``ConservationBroken`` where a piece has not as many rows as the table says: nothing is committed."""
        rows, broken, reader = 0, "", self._reader(piece)

        def counted() -> Iterator[pa.RecordBatch]:
            nonlocal rows, broken
            for batch in reader:
                rows += batch.num_rows
                yield batch
            if rows != piece.rows:
                broken = (
                    f"{self.storage.name}, {piece.predicate}: {rows} rows are in files that should hold {piece.rows}"
                )
                raise ValueError(broken)  # breaks the writing off

        try:
            write_deltalake(
                table,
                pa.RecordBatchReader.from_batches(self.schema, counted()),
                mode="overwrite",
                predicate=piece.predicate,
                partition_by=self._partition_by,
                target_file_size=max(2 * piece.size_bytes, FILE_BYTES),
                writer_properties=self._compacting if self._says_what_is_sought(table) else None,
                commit_properties=CommitProperties(app_transactions=[_COMPACTION]),
            )
        except DeltaError as error:
            if not broken:
                raise
            raise ConservationBroken(
                f"{broken}. Nothing was changed: restore the usage table's files from a backup."
            ) from error

    def _reader(self, piece: Piece) -> pa.RecordBatchReader:
        """The rows of a piece, file by file."""
        same = pc.scalar(True)
        for name, value in piece.partition.items():
            same &= pc.field(name) == pa.scalar(value, self.schema.field(name).type)
        sizes = {unquote(path): size for path, size in piece.files.items()}
        files = dataset_of(self.storage.files(), sizes, self.schema, same)
        return files.scanner(batch_size=_ROWS_AT_ONCE, fragment_readahead=2, batch_readahead=4).to_reader()

    def _sizes(self, paths: Sequence[str]) -> dict[str, int | None]:
        """The places of data files below the table, and their bytes where the table still names them."""
        files = self.files()
        known = dict(zip(files["path"].to_pylist(), files["size_bytes"].to_pylist(), strict=True))
        return {unquote(path): known.get(path) for path in paths}

    def _stored(self) -> dict[str, datetime]:
        """When each data file that lies in storage was written, whether the table names it or not."""
        everything = self.storage.files().get_file_info(pa_fs.FileSelector("", recursive=True))
        return {info.path: info.mtime for info in everything if info.is_file and not info.path.startswith("_")}

    def _opened(self) -> DeltaTable:
        """The table as it is now, and stays in this very object until that commits."""
        return DeltaTable(self.storage.uri, storage_options=self.storage.options())

    def _open(self) -> DeltaTable:
        """The table as it is now: read once, then only what was committed since."""
        options = self.storage.options()
        if self._table is None or options != self._options:  # keys of a role were replaced
            self._table, self._options = self._opened(), options
        else:
            self._table.update_incremental()
        return self._table


def _column(kind: pa.DataType, *, unlike: bool, sought: bool) -> ColumnProperties:
    is_number = pa.types.is_integer(kind) or pa.types.is_timestamp(kind)
    return ColumnProperties(
        dictionary_enabled=not unlike,
        encoding=("DELTA_BINARY_PACKED" if is_number else "PLAIN") if unlike else None,
        statistics_enabled="CHUNK" if sought else "NONE",
    )


def _application(batch_no: int) -> str:
    # One name for all batches would make parallel appends fail, and could go backwards.
    return f"batch-{batch_no}"
