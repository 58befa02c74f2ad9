"""Ingest batches: numbered in the order in which they were committed, exactly once (rule 3.7)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, update

from billing.core.errors import ConservationBroken
from billing.core.instants import to_us
from billing.store.database import insert_rows
from billing.store.files import Stored
from billing.store.home import Home
from billing.store.lake import CommittedBatches
from billing.store.tables import batch_files, batches, duplicate_ranges, quarantine

OPEN, COMMITTED, VOID = "open", "committed", "void"


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchFile:
    """A source file of a batch, as it was named and as it is archived. ``arrived_at`` is known of files of a drop
    folder.
    """

    name: str
    stored: Stored
    records: int
    arrived_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantinedRecord:
    """A record that could not be billed: where it stood, why, and its raw text."""

    file_no: int
    line: int
    reason: str
    raw: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of a batch's records: records = accepted + duplicates + quarantined (rule 2.4).

    ``duplicates`` are runs of consecutive records: (file_no, first line, last line).
    """

    files: tuple[BatchFile, ...]
    accepted: int
    quarantined: tuple[QuarantinedRecord, ...]
    duplicates: tuple[tuple[int, int, int], ...]

    @property
    def records(self) -> int:
        """All records read."""
        return sum(file.records for file in self.files)

    @property
    def duplicate_count(self) -> int:
        """How many records were second deliveries."""
        return sum(last - first + 1 for _, first, last in self.duplicates)


def open_batch(
    home: Home, *, source: str, request: str, window: tuple[datetime | None, datetime], load_no: int, at: datetime
) -> int:
    """Take the next number, and void what an ingest that died has left open. The caller holds the lock ``ingest``."""
    with home.database.exclusive("books") as connection:
        connection.execute(update(batches).where(batches.c.state == OPEN).values(state=VOID))
        demand_lake(home, connection)
        number = int(connection.execute(select(func.coalesce(func.max(batches.c.batch_no), 0))).scalar_one()) + 1
        if home.usage.lake.has_batch(number) or home.ids.lake.has_batch(number):
            raise ConservationBroken(
                f"The usage table holds batch {number}, which the database does not know: it was restored from a "
                "backup. Run `billing usage reconcile`, then ingest the missing files again."
            )
        connection.execute(
            insert(batches).values(
                batch_no=number,
                state=OPEN,
                source=source,
                request=request,
                window_start_us=None if window[0] is None else to_us(window[0]),
                window_end_us=to_us(window[1]),
                load_no=load_no,
                opened_at_us=to_us(at),
                records=0,
                accepted=0,
                duplicates=0,
                quarantined=0,
            )
        )
    return number


def commit_batch(connection: Connection, number: int, outcome: Outcome, at: datetime) -> None:
    """Make a batch count: the last write of an ingest. Its rows are in the lake already."""
    insert_rows(connection, batch_files, [_file_row(number, no, file) for no, file in enumerate(outcome.files)])
    insert_rows(
        connection,
        quarantine,
        [
            {
                "batch_no": number,
                "file_no": q.file_no,
                "line": q.line,
                "reason": q.reason,
                "raw": q.raw,
                "replayed_in": None,
            }
            for q in outcome.quarantined
        ],
    )
    insert_rows(
        connection,
        duplicate_ranges,
        [{"batch_no": number, "file_no": f, "first_line": a, "last_line": b} for f, a, b in outcome.duplicates],
    )
    counts = {"records": outcome.records, "accepted": outcome.accepted, "duplicates": outcome.duplicate_count}
    if sum((counts["accepted"], counts["duplicates"], len(outcome.quarantined))) != counts["records"]:
        raise ConservationBroken(
            f"Batch {number}: {counts} and {len(outcome.quarantined)} quarantined do not add up (rule 2.4)."
        )
    done = connection.execute(
        update(batches)
        .where(batches.c.batch_no == number, batches.c.state == OPEN)
        .values(state=COMMITTED, committed_at_us=to_us(at), quarantined=len(outcome.quarantined), **counts)
    )
    if done.rowcount != 1:
        raise ConservationBroken(
            f"Batch {number} is not open any more: another took its place. Ingest its files again."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """A committed batch: its number and its counts of records."""

    batch_no: int
    records: int
    accepted: int
    duplicates: int
    quarantined: int


def committed_request(connection: Connection, request: str) -> Committed | None:
    """The newest batch, where it has done this very request."""
    fields = ("batch_no", "records", "accepted", "duplicates", "quarantined")
    newest = select(batches).where(batches.c.state == COMMITTED).order_by(batches.c.batch_no.desc()).limit(1)
    row = connection.execute(newest).first()
    return Committed(**{name: getattr(row, name) for name in fields}) if row and row.request == request else None


def reasons_of(connection: Connection, batch_no: int) -> dict[str, int]:
    """How many records of a batch are in quarantine, by reason."""
    count = select(quarantine.c.reason, func.count()).where(quarantine.c.batch_no == batch_no)
    return {reason: int(n) for reason, n in connection.execute(count.group_by(quarantine.c.reason))}


def demand_lake(home: Home, connection: Connection) -> None:
    """Raise ``ConservationBroken`` where the lake beside this database is not the one that its batches went to."""
    query = select(func.max(batches.c.batch_no)).where(batches.c.state == COMMITTED, batches.c.accepted > 0)
    last = connection.execute(query).scalar()
    if last is not None and not (home.usage.lake.has_batch(last) and home.ids.lake.has_batch(last)):
        raise ConservationBroken(
            f"The database knows batch {last}, which is not in the usage table under {home.folder}: this is another "
            "home's database, or the lake is an older one. Name the right home, or restore its folder `lake` from a "
            "backup."
        )


def committed(connection: Connection, through: int | None = None) -> CommittedBatches:
    """The batches that readers take, up to ``through`` (the last one where None)."""
    last = connection.execute(select(func.max(batches.c.batch_no)).where(batches.c.state == COMMITTED)).scalar() or 0
    void = connection.execute(
        select(batches.c.batch_no).where(batches.c.state != COMMITTED).order_by(batches.c.batch_no)
    ).scalars()
    limit = int(last) if through is None else through
    return CommittedBatches(through=limit, void=tuple(int(number) for number in void if number <= limit))


def pinnable(connection: Connection) -> int:
    """The largest number below which every batch is committed or void: what a close pins (rule 3.7)."""
    first_open = connection.execute(select(func.min(batches.c.batch_no)).where(batches.c.state == OPEN)).scalar()
    settled = select(func.coalesce(func.max(batches.c.batch_no), 0)).where(batches.c.state == COMMITTED)
    if first_open is not None:
        settled = settled.where(batches.c.batch_no < first_open)
    return int(connection.execute(settled).scalar_one())


@dataclass(frozen=True, kw_only=True, slots=True)
class Completeness:
    """How far extraction is complete (rule 3.4), and the windows that are missing before later ones."""

    through_us: int | None
    missing: tuple[tuple[int, int], ...]


def completeness(connection: Connection, through_batch: int) -> Completeness:
    """Put the windows of committed batches end to end. A batch without a beginning says "complete through its end"."""
    done = batches.c.state == COMMITTED, batches.c.batch_no <= through_batch
    rows = connection.execute(select(batches.c.window_start_us, batches.c.window_end_us).where(*done)).all()
    said = [row.window_end_us for row in rows if row.window_start_us is None]
    windows = sorted((row.window_start_us, row.window_end_us) for row in rows if row.window_start_us is not None)
    through = max(said) if said else (windows[0][0] if windows else None)
    reached, missing = through, []
    for start, end in windows:
        if reached is not None and start > reached:
            missing.append((reached, start))
        reached = end if reached is None else max(reached, end)
        if not missing:
            through = reached
    return Completeness(through_us=through, missing=tuple(missing))


def ingested_files(connection: Connection) -> set[tuple[str, int, int]]:
    """Files of a drop folder that committed batches hold: (name, bytes, arrival in microseconds)."""
    columns = (batch_files.c.name, batch_files.c.bytes, batch_files.c.arrived_at_us)
    query = select(*columns).join(batches, batches.c.batch_no == batch_files.c.batch_no)
    rows = connection.execute(query.where(batches.c.state == COMMITTED, batch_files.c.arrived_at_us.is_not(None)))
    return {(row.name, row.bytes, row.arrived_at_us) for row in rows}


def _file_row(number: int, file_no: int, file: BatchFile) -> dict[str, object]:
    return {
        "batch_no": number,
        "file_no": file_no,
        "name": file.name,
        "sha256": file.stored.sha256,
        "bytes": file.stored.size_bytes,
        "records": file.records,
        "arrived_at_us": None if file.arrived_at is None else to_us(file.arrived_at),
    }
