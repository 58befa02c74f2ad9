"""Ingest batches: numbered in the order in which they were committed, exactly once (rule 3.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, update

from billing.core.errors import ConservationBroken, SourceUnavailable
from billing.core.instants import to_us
from billing.store import sources
from billing.store.database import insert_rows
from billing.store.files import Stored
from billing.store.home import Home
from billing.store.lake import CommittedBatches
from billing.store.tables import batch_files, batches, duplicate_ranges, quarantine

OPEN, COMMITTED, VOID = "open", "committed", "void"
DELIVERY, REPLAY, REPLACEMENT = "delivery", "replay", "replacement"
"""A delivery says something of completeness. A replay takes quarantined records again, a replacement is the corrected
delivery of a file: both say nothing of it.
"""


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
    """A record that could not be billed: where it stood, why, its raw bytes, and what it is looked for by
    (``occurred_day``: UTC, days since 1970-01-01, None where it cannot be read).
    """

    file_no: int
    line: int
    reason: str
    raw: bytes
    event_id: str = ""
    app_id: str = ""
    api: str = ""
    occurred_day: int | None = None


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
    home: Home,
    *,
    kind: str,
    source: str,
    request: str,
    window: tuple[datetime | None, datetime],
    load_no: int,
    at: datetime,
) -> int:
    """Take the next number, and void what an ingest that died has left open. The caller holds the lock ``ingest``."""
    with home.database.exclusive("books") as connection:
        connection.execute(update(batches).where(batches.c.state == OPEN).values(state=VOID))
        demand_lake(home, connection)
        number = int(connection.execute(select(func.coalesce(func.max(batches.c.batch_no), 0))).scalar_one()) + 1
        if home.usage.lake.has_batch(number):
            raise ConservationBroken(
                f"The usage table holds batch {number}, which the database does not know: it was restored from a "
                "backup. Run `billing usage reconcile`, then ingest the missing files again."
            )
        connection.execute(
            insert(batches).values(
                batch_no=number,
                state=OPEN,
                kind=kind,
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
    insert_rows(connection, quarantine, [_quarantine_row(number, q) for q in outcome.quarantined])
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
    if (missing := _not_in_lake(home, connection)) is not None:
        raise ConservationBroken(
            f"The database knows batch {missing}, which is not in the usage table under {home.folder}: this is another "
            "home's database, or the lake is an older one. Name the right home, or restore its folder `lake` from a "
            "backup."
        )


def demand_rows(home: Home, connection: Connection, through: int) -> None:
    """Raise ``SourceUnavailable`` where the lake, as this machine sees it, is not yet as far as batch ``through``.

    On shared storage another machine's append may be seen late: usage would be billed without what it brought.
    """
    if (missing := _not_in_lake(home, connection, through)) is not None:
        raise SourceUnavailable(
            f"The usage table does not hold batch {missing} here, though it is committed: nothing was rated. Where the "
            "home is on shared storage, this machine does not see the newest files yet and trying again is enough "
            "(mount it without caching of names); else the folder `lake` is an older one: restore it."
        )


def _not_in_lake(home: Home, connection: Connection, through: int | None = None) -> int | None:
    """The newest batch (up to ``through``) that the database has rows of, where the usage table has none of it."""
    counts = [batches.c.state == COMMITTED, batches.c.accepted > 0]
    if through is not None:
        counts.append(batches.c.batch_no <= through)
    last = connection.execute(select(func.max(batches.c.batch_no)).where(*counts)).scalar()
    return None if last is None or home.usage.lake.has_batch(last) else int(last)


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
class Missing:
    """A window of a source that was not taken, though a later one was."""

    source: str
    start_us: int
    end_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Completeness:
    """How far extraction is complete (rule 3.4): where every source is. ``sources`` says how far each is, None where
    nothing is known of it yet; ``missing`` are windows that are missing before later ones.
    """

    through_us: int | None
    sources: Mapping[str, int | None]
    missing: tuple[Missing, ...]


def completeness(connection: Connection, through_batch: int) -> Completeness:
    """Put each source's windows end to end. A batch without a beginning (``usage ingest --now``) says "complete
    through its end" of a home whose usage is delivered by hand; it says nothing of the sources that are registered.
    """
    done = batches.c.state == COMMITTED, batches.c.batch_no <= through_batch, batches.c.kind == DELIVERY
    columns = (batches.c.source, batches.c.window_start_us, batches.c.window_end_us)
    rows = connection.execute(select(*columns).where(*done)).all()
    said = max((row.window_end_us for row in rows if row.window_start_us is None), default=None)
    registered, retired = sources.active(connection), sources.retired(connection)
    windows: dict[str, list[tuple[int, int]]] = {name: [] for name in registered}
    for row in rows:
        if row.window_start_us is not None and row.source not in retired:
            windows.setdefault(row.source, []).append((row.window_start_us, row.window_end_us))
    chains = {
        name: _chain(name, None if name in registered else said, sorted(mine)) for name, mine in sorted(windows.items())
    }
    reached = {name: through for name, (through, _) in chains.items()}
    known = [through for through in reached.values() if through is not None]
    unknown = len(known) < len(reached)
    through = said if not reached else None if unknown else min(known)
    return Completeness(
        through_us=through, sources=reached, missing=tuple(m for _, gaps in chains.values() for m in gaps)
    )


def _chain(source: str, said: int | None, windows: Sequence[tuple[int, int]]) -> tuple[int | None, list[Missing]]:
    """How far a source's windows reach without a gap, and the gaps after that."""
    through = said if said is not None else (windows[0][0] if windows else None)
    reached, missing = through, []
    for start, end in windows:
        if reached is not None and start > reached:
            missing.append(Missing(source=source, start_us=reached, end_us=start))
        reached = end if reached is None else max(reached, end)
        if not missing:
            through = reached
    return through, missing


def _quarantine_row(number: int, record: QuarantinedRecord) -> dict[str, object]:
    fields = {name: getattr(record, name) for name in QuarantinedRecord.__slots__}
    return {"batch_no": number, **fields, "ending": "", "ended_in": None, "ended_at_us": None, "ended_why": ""}


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
