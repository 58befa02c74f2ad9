"""Ingest usage files: read, judge, attribute and store them as one batch, exactly once (section 2 of the rules)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import insert, select

from billing.core.attribution import Owners
from billing.core.errors import DataRefused, Finding
from billing.core.instants import format_instant, from_us, to_us
from billing.intake.judging import ACCEPTED, REASONS, Correctable, Known, Reason, UsageRecords, Verdicts, judge
from billing.intake.usage_files import UsageChunk, raw_records, read_usage
from billing.steps import commit_points
from billing.steps.progress import Progress, silent
from billing.steps.reference import current_reference
from billing.store import log
from billing.store.batches import (
    BatchFile,
    Outcome,
    QuarantinedRecord,
    commit_batch,
    committed,
    committed_request,
    open_batch,
    reasons_of,
)
from billing.store.files import Stored
from billing.store.home import Home
from billing.store.id_index import hash_text
from billing.store.lake import CommittedBatches
from billing.store.tables import used_apis

Int64s = npt.NDArray[np.int64]
_DUPLICATE = REASONS.index(Reason.DUPLICATE)
_TEXTS = ("event_id", "app_id", "api", "corrects", "team_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestSummary:
    """What an ingest did: counts of records, by reason where they were rejected."""

    batch_no: int
    records: int
    accepted: int
    duplicates: int
    quarantined: int
    reasons: Mapping[str, int]
    warnings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """A usage file and the name by which it is spoken of. ``arrived_at`` is said of files of a drop folder."""

    path: Path
    name: str
    arrived_at: datetime | None = None


def ingest(
    home: Home,
    files: Sequence[SourceFile],
    now: datetime,
    *,
    window_start: datetime | None = None,
    source: str = "files",
    progress: Progress = silent,
) -> IngestSummary:
    """Take these files as one batch, complete through ``now``.

    Without ``window_start`` this says that usage is complete through ``now``; with it, only that the window
    ``[window_start, now)`` is. A file that cannot be read refuses the whole ingest and leaves nothing behind. The
    same files (names and bytes) with the same instants, next after each other and judged by the same reference data,
    are one request that is retried: it finds its work done. Anything else is another delivery (rule 2.2).
    """
    with home.database.holding("ingest"):
        sources = _archive(home, files)
        commit_points.reached(commit_points.INGEST_ARCHIVED)
        load_no, reference = current_reference(home)
        request = _request(sources, source, load_no, window_start, now)
        if (done := _done_already(home, request)) is not None:
            return done
        try:
            if not load_no and files:
                raise DataRefused("There is no reference data yet: run `billing reference load FOLDER` first.")
            gathered = _read(home, sources, progress)
        except DataRefused:
            for one in sources:
                home.archive.take_back(one.stored)
            raise
        started, window = datetime.now(UTC), (window_start, now)
        number = open_batch(home, source=source, request=request, window=window, load_no=load_no, at=started)
        commit_points.reached(commit_points.INGEST_OPENED)
        with home.database.read() as connection:
            batches = committed(connection)
        owners = Owners.from_reference(reference)
        verdicts = _judge(home, gathered, reference["apis"]["api"].tolist(), owners, to_us(now), batches)
        _append(home, number, gathered, verdicts, owners)
        return _commit(home, number, _outcome(home, sources, gathered, verdicts), gathered, verdicts, now, started)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """A source file as it was named, and its archived bytes: what is read, whatever happens to the file meanwhile."""

    file: SourceFile
    stored: Stored


def _archive(home: Home, files: Sequence[SourceFile]) -> list[_Source]:
    faults = [f"{file.name!a}: its name is not UTF-8; rename it." for file in files if not _is_text(file.name)]
    faults = faults or [f"{file.name}: there is no such file." for file in files if not file.path.is_file()]
    if faults:
        raise DataRefused("\n".join(faults))
    return [_Source(file=file, stored=home.archive.put_file(file.path, _suffix(file.name))) for file in files]


def _is_text(name: str) -> bool:
    """Whether it can be kept: a name whose bytes are not UTF-8 reaches us with lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _request(
    sources: Sequence[_Source], source: str, load_no: int, window_start: datetime | None, now: datetime
) -> str:
    """What tells one request from another: SHA-256 of the files' names and bytes, the load, and the instants."""
    named = [[one.file.name, one.stored.sha256] for one in sources]
    start = None if window_start is None else format_instant(window_start)
    return sha256(log.canonical([source, load_no, named, start, format_instant(now)]).encode()).hexdigest()


def _done_already(home: Home, request: str) -> IngestSummary | None:
    with home.database.read() as connection:
        found = committed_request(connection, request)
        if found is None:
            return None
        reasons = reasons_of(connection, found.batch_no)
    if found.duplicates:
        reasons[Reason.DUPLICATE.value] = found.duplicates
    return IngestSummary(
        batch_no=found.batch_no,
        records=found.records,
        accepted=found.accepted,
        duplicates=found.duplicates,
        quarantined=found.quarantined,
        reasons={reason.value: reasons[reason.value] for reason in REASONS if reason.value in reasons},
        warnings=(),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Gathered:
    """All records of an ingest in file order, and where each stood: shapes (records,)."""

    records: UsageRecords
    file_no: Int64s
    line: Int64s
    warnings: tuple[Finding, ...]

    @classmethod
    def of(cls, read: Sequence[Sequence[UsageChunk]], warnings: Sequence[Finding]) -> _Gathered:
        chunks = [chunk for file in read for chunk in file]
        numbers = [np.full(len(chunk.line), number) for number, file in enumerate(read) for chunk in file]

        def numeric(name: str, dtype: type) -> Any:
            return np.concatenate([np.zeros(0, dtype=dtype), *(getattr(chunk, name) for chunk in chunks)]).astype(dtype)

        def text(name: str) -> pa.StringArray:
            parts = [part for chunk in chunks for part in _parts(getattr(chunk, name))]
            return pa.chunked_array(parts, pa.string()).combine_chunks() if parts else pa.array([], pa.string())

        booleans = ("unreadable", "occurred_at_ok", "quantity_ok")
        records = UsageRecords(
            **{name: numeric(name, np.bool_) for name in booleans},
            **{name: numeric(name, np.int64) for name in ("occurred_at_us", "quantity_micro")},
            **{name: text(name) for name in _TEXTS},
        )
        files = np.concatenate([np.zeros(0, dtype=np.int64), *numbers])
        return cls(records=records, file_no=files, line=numeric("line", np.int64), warnings=tuple(warnings))


def _parts(values: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    return [chunk.cast(pa.string()) for chunk in chunks]


def _read(home: Home, sources: Sequence[_Source], progress: Progress) -> _Gathered:
    """All records of the archived sources, in file order."""
    read: list[list[UsageChunk]] = []
    ignored: list[Finding] = []
    for number, one in enumerate(sources):
        progress("reading usage files", number, len(sources))
        unknown: set[str] = set()
        read.append(list(read_usage(home.archive.locate(one.stored.path), one.file.name, unknown=unknown)))
        ignored += [Finding(file=one.file.name, column=c, message="unknown column, ignored") for c in sorted(unknown)]
    return _Gathered.of(read, ignored)


def _suffix(name: str) -> str:
    """What a file's name says of its format, kept in the archive."""
    return "".join(f".{part}" for part in Path(name).name.split(".")[1:] if part in ("csv", "jsonl", "parquet", "gz"))


def _judge(
    home: Home, gathered: _Gathered, apis: list[str], owners: Owners, now_us: int, batches: CommittedBatches
) -> Verdicts:
    def known_content(ids: pa.StringArray) -> tuple[npt.NDArray[np.bool_], Int64s]:
        found = home.ids.look_up(batches, ids)
        return found.known, found.content_hash

    def known_events(ids: list[str], instants_us: list[int]) -> Mapping[str, Correctable]:
        months = sorted({from_us(us).strftime("%Y-%m") for us in instants_us})
        return _correctable(home.usage.corrected(batches, ids, months))

    return judge(
        gathered.records,
        apis=pa.array(apis, pa.string()),
        owners=owners,
        now_us=now_us,
        content_hash=_content_hash(gathered.records),
        known=Known(content_hash=known_content, events=known_events),
    )


def _correctable(rows: pa.Table) -> dict[str, Correctable]:
    events: dict[str, Correctable] = {}
    records = rows.select(
        ["event_id", "app_id", "api", "occurred_at", "team_id", "quantity_micro", "corrects"]
    ).to_pylist()
    for row in records:
        if not row["corrects"]:
            events[row["event_id"]] = Correctable(
                app_id=row["app_id"],
                api=row["api"],
                occurred_at_us=to_us(row["occurred_at"]),
                team_id=row["team_id"],
                quantity_micro=row["quantity_micro"],
            )
    for row in records:
        if row["corrects"] in events:
            events[row["corrects"]].taken_back_micro -= row["quantity_micro"]
    return events


def _content_hash(records: UsageRecords) -> Int64s:
    """What a second delivery is compared by (rule 2.2): every column by value; a team only where the app is blank."""
    team = pc.if_else(pc.equal(records.app_id, ""), records.team_id, "")
    mixed = np.zeros(len(records.occurred_at_us), dtype=np.uint64)
    for part in (
        records.occurred_at_us,
        records.quantity_micro,
        *map(_text_hash, (records.app_id, records.api, records.corrects, team)),
    ):
        mixed = _mix(mixed ^ part.view(np.uint64))
    return mixed.view(np.int64)


def _text_hash(values: pa.StringArray) -> Int64s:
    encoded = values.dictionary_encode()
    return (
        hash_text(encoded.dictionary)[encoded.indices.to_numpy(zero_copy_only=False)]
        if len(values)
        else np.zeros(0, np.int64)
    )


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of SplitMix64: every bit of the input moves every bit of the output."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _append(home: Home, number: int, gathered: _Gathered, verdicts: Verdicts, owners: Owners) -> None:
    """The lake first, under the batch's number: rows of a number that the database never commits do not count."""
    rows = np.flatnonzero(verdicts.reason == ACCEPTED)
    if not len(rows):
        return
    index, records = pa.array(rows), gathered.records
    teams = pa.array(owners.team_ids, pa.string()).take(pa.array(verdicts.team[rows]))
    events = pa.table(
        {
            "file_no": gathered.file_no[rows].astype(np.int32),
            "line": gathered.line[rows],
            "event_id": records.event_id.take(index),
            "occurred_at": pa.array(records.occurred_at_us[rows]).cast(pa.timestamp("us", tz="UTC")),
            "app_id": records.app_id.take(index),
            "api": records.api.take(index),
            "quantity_micro": records.quantity_micro[rows],
            "corrects": records.corrects.take(index),
            "team_id": teams,
        }
    )
    home.usage.append(number, events)
    commit_points.reached(commit_points.INGEST_USAGE_APPENDED)
    home.ids.append(number, records.event_id.take(index), verdicts.content_hash[rows])
    commit_points.reached(commit_points.INGEST_IDS_APPENDED)


def _outcome(home: Home, sources: Sequence[_Source], gathered: _Gathered, verdicts: Verdicts) -> Outcome:
    counts = np.bincount(gathered.file_no, minlength=len(sources)).tolist()
    quarantined = (verdicts.reason != ACCEPTED) & (verdicts.reason != _DUPLICATE)
    rejected: list[QuarantinedRecord] = []
    for number, one in enumerate(sources):
        rows = np.flatnonzero(quarantined & (gathered.file_no == number))
        path = home.archive.locate(one.stored.path)
        raw = raw_records(path, one.file.name, set(gathered.line[rows].tolist())) if len(rows) else {}
        rejected += [
            QuarantinedRecord(file_no=number, line=line, reason=REASONS[reason].value, raw=raw[line])
            for line, reason in zip(gathered.line[rows].tolist(), verdicts.reason[rows].tolist(), strict=True)
        ]
    return Outcome(
        files=tuple(
            BatchFile(name=one.file.name, stored=one.stored, records=count, arrived_at=one.file.arrived_at)
            for one, count in zip(sources, counts, strict=True)
        ),
        accepted=int(np.count_nonzero(verdicts.reason == ACCEPTED)),
        quarantined=tuple(rejected),
        duplicates=_ranges(gathered, np.flatnonzero(verdicts.reason == _DUPLICATE)),
    )


def _ranges(gathered: _Gathered, rows: Int64s) -> tuple[tuple[int, int, int], ...]:
    """Runs of consecutive records of one file: a file that came twice is a single one."""
    if not len(rows):
        return ()
    file_no, line = gathered.file_no[rows], gathered.line[rows]
    breaks = np.flatnonzero((np.diff(file_no) != 0) | (np.diff(line) != 1)) + 1
    firsts, lasts = np.append(0, breaks), np.append(breaks, len(rows)) - 1
    return tuple(zip(file_no[firsts].tolist(), line[firsts].tolist(), line[lasts].tolist(), strict=True))


def _commit(
    home: Home,
    number: int,
    outcome: Outcome,
    gathered: _Gathered,
    verdicts: Verdicts,
    now: datetime,
    started: datetime,
) -> IngestSummary:
    accepted_apis = pc.unique(
        gathered.records.api.take(pa.array(np.flatnonzero(verdicts.reason == ACCEPTED)))
    ).to_pylist()
    names = [REASONS[reason].value for reason in verdicts.reason[verdicts.reason != ACCEPTED].tolist()]
    reasons = {reason.value: names.count(reason.value) for reason in REASONS if reason.value in names}
    summary = IngestSummary(
        batch_no=number,
        records=outcome.records,
        accepted=outcome.accepted,
        duplicates=outcome.duplicate_count,
        quarantined=len(outcome.quarantined),
        reasons=reasons,
        warnings=gathered.warnings,
    )
    with home.database.exclusive("books") as connection:
        commit_batch(connection, number, outcome, started)
        known = set(connection.execute(select(used_apis.c.api)).scalars())
        new = [{"api": api, "first_batch_no": number} for api in accepted_apis if api not in known]
        if new:
            connection.execute(insert(used_apis), new)
        payload = {
            "batch_no": number,
            "complete_through": format_instant(now),
            "files": [
                {"name": file.name, "sha256": file.stored.sha256, "records": file.records} for file in outcome.files
            ],
            "accepted": summary.accepted,
            "rejected": reasons,
        }
        log.append(connection, started, "batch", payload)
    commit_points.reached(commit_points.INGEST_COMMITTED)
    return summary
