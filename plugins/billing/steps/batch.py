"""Judge the records of archived files and write them as one batch, exactly once (section 2 of the rules).

Ingest and replay both end here: a batch is the same whatever its records came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, insert, select

from billing.core.attribution import Owners
from billing.core.errors import Finding
from billing.core.instants import DAY_US, from_us, to_us
from billing.core.reference import Reference
from billing.intake.judging import ACCEPTED, REASONS, AskedIds, Correctable, Known, Reason, Verdicts, judge
from billing.intake.usage_columns import picked
from billing.intake.usage_files import raw_records
from billing.steps import commit_points
from billing.steps.digests import Digest, digest
from billing.steps.gathering import ArchivedFile, Gathered, content_hash, hash_text
from billing.steps.origin import origin
from billing.steps.telemetry import say
from billing.store import log
from billing.store.batches import BatchFile, Outcome, QuarantinedRecord, commit_batch, committed
from billing.store.home import Home
from billing.store.quarantine import searched
from billing.store.tables import used_apis

Int64s = npt.NDArray[np.int64]
_DUPLICATE = REASONS.index(Reason.DUPLICATE)
# So many events are put together at a time on their way into the usage table.
_ROWS_AT_ONCE = 250_000
_SEARCHED = ("event_id", "app_id", "api")


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestSummary:
    """What came of a batch: counts of records, by reason where they were rejected."""

    batch_no: int
    records: int
    accepted: int
    duplicates: int
    quarantined: int
    reasons: Mapping[str, int]
    warnings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Records and what is to become of them; nothing of it is written yet."""

    files: tuple[ArchivedFile, ...]
    gathered: Gathered
    verdicts: Verdicts
    owners: Owners

    @property
    def accepted(self) -> Int64s:
        """The places of accepted records, int64, ascending."""
        return np.flatnonzero(self.verdicts.reason == ACCEPTED)

    def reasons(self) -> dict[str, int]:
        """How many records were rejected, by reason, in the order of the reasons; ``duplicate`` is one of them."""
        counts = np.bincount(self.verdicts.reason[self.verdicts.reason != ACCEPTED], minlength=len(REASONS))
        return {reason.value: int(count) for reason, count in zip(REASONS, counts.tolist(), strict=True) if count}


def judge_files(
    home: Home, files: Sequence[ArchivedFile], gathered: Gathered, reference: Reference, now: datetime
) -> Judged:
    """Judge all records by this reference data and all that is committed. The caller holds the lock ``ingest``, or
    only wants to know.
    """
    with home.database.read() as connection:
        batches = committed(connection)
    owners = home.owners(reference)

    def asked(ids: pa.StringArray) -> AskedIds:
        found = home.ids.look_up(batches, ids)
        code = np.arange(len(ids)) if found.all_differ else ids.dictionary_encode().indices.to_numpy().astype(np.int64)
        return AskedIds(code=code, id_hash=found.id_hash, known=found.known, content_hash=found.content_hash)

    def known_events(ids: list[str], instants_us: list[int]) -> Mapping[str, Correctable]:
        months = sorted({from_us(us).strftime("%Y-%m") for us in instants_us})
        return _correctable(home.usage.corrected(batches, ids, months))

    verdicts = judge(
        gathered.records,
        apis=pa.array(reference["apis"]["api"].tolist(), pa.string()),
        owners=owners,
        now_us=to_us(now),
        content_hash=content_hash,
        known=Known(ids=asked, events=known_events),
    )
    return Judged(files=tuple(files), gathered=gathered, verdicts=verdicts, owners=owners)


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


Also = Callable[[Connection, int], None]
"""What is written in the transaction that commits a batch, given the batch's number."""


def write_batch(
    home: Home, number: int, judged: Judged, at: datetime, payload: Mapping[str, object], also: Also | None = None
) -> IngestSummary:
    """Make an opened batch count: the lake first, then everything else in one transaction. ``payload`` goes into the
    log, beside files and counts.
    """
    said = _append(home, number, judged)
    outcome = _outcome(home, judged)
    reasons = judged.reasons()
    with home.database.exclusive("books") as connection:
        commit_batch(connection, number, outcome, at)
        _remember_apis(connection, number, judged)
        if also is not None:
            also(connection, number)
        files = [{"name": f.name, "sha256": f.stored.sha256, "records": f.records} for f in outcome.files]
        counts = {"accepted": outcome.accepted, "rejected": reasons, "digest": str(said)}
        log.append(connection, at, "batch", {"batch_no": number, "by": origin(), "files": files, **counts, **payload})
    commit_points.reached(commit_points.INGEST_COMMITTED)
    done = {"records": outcome.records, "accepted": outcome.accepted, "duplicates": outcome.duplicate_count}
    say("batch committed", batch=number, **done, quarantined=len(outcome.quarantined), reasons=reasons, **payload)
    return IngestSummary(
        batch_no=number,
        **done,
        quarantined=len(outcome.quarantined),
        reasons=reasons,
        warnings=judged.gathered.warnings,
    )


def _digest(judged: Judged) -> Digest:
    """Of the accepted events."""
    gathered, verdicts, rows = judged.gathered, judged.verdicts, judged.accepted
    teams = hash_text(pa.array(judged.owners.team_ids, pa.string()))[verdicts.team[rows]]
    event_id = picked(gathered.records.event_id, rows)
    return digest(verdicts.content_hash[rows], event_id, teams, gathered.file_no[rows], gathered.line[rows])


def _remember_apis(connection: Connection, number: int, judged: Judged) -> None:
    accepted = pc.unique(picked(judged.gathered.records.api, judged.accepted)).to_pylist()
    known = set(connection.execute(select(used_apis.c.api)).scalars())
    new = [{"api": api, "first_batch_no": number} for api in accepted if api not in known]
    if new:
        connection.execute(insert(used_apis), new)


def _append(home: Home, number: int, judged: Judged) -> Digest:
    """The lake first, under the batch's number: rows of a number that the database never commits do not count. Returns
    the digest of the events.
    """
    rows = judged.accepted
    if not len(rows):
        return Digest()
    parts = [rows[low : low + _ROWS_AT_ONCE] for low in range(0, len(rows), _ROWS_AT_ONCE)]
    teams = pa.array(judged.owners.team_ids, pa.string())
    with ThreadPoolExecutor(max_workers=1) as beside:
        merging, said = beside.submit(home.ids.merge), beside.submit(_digest, judged)
        home.usage.append_slices(number, lambda: (_events(judged, teams, part) for part in parts))
        merging.result()
    commit_points.reached(commit_points.INGEST_USAGE_APPENDED)
    home.ids.append(number, judged.verdicts.id_hash[rows])
    commit_points.reached(commit_points.INGEST_IDS_APPENDED)
    return said.result()


def _events(judged: Judged, teams: pa.Array, rows: Int64s) -> pa.Table:
    """Some of the accepted records as events."""
    gathered, verdicts = judged.gathered, judged.verdicts
    records = gathered.records
    return pa.table(
        {
            "file_no": gathered.file_no[rows].astype(np.int32),
            "line": gathered.line[rows],
            "event_id": picked(records.event_id, rows),
            "occurred_at": pa.array(records.occurred_at_us[rows]).cast(pa.timestamp("us", tz="UTC")),
            "app_id": picked(records.app_id, rows),
            "api": picked(records.api, rows),
            "quantity_micro": records.quantity_micro[rows],
            "corrects": picked(records.corrects, rows),
            "team_id": pa.DictionaryArray.from_arrays(verdicts.team[rows], teams),
            "content_hash": verdicts.content_hash[rows],
        }
    )


def _outcome(home: Home, judged: Judged) -> Outcome:
    gathered, reason = judged.gathered, judged.verdicts.reason
    counts = np.bincount(gathered.file_no, minlength=len(judged.files)).tolist()
    return Outcome(
        files=tuple(
            BatchFile(name=file.name, stored=file.stored, records=count, arrived_at=file.arrived_at)
            for file, count in zip(judged.files, counts, strict=True)
        ),
        accepted=len(judged.accepted),
        quarantined=tuple(q for number, file in enumerate(judged.files) for q in _quarantined(home, judged, number)),
        duplicates=_ranges(gathered, np.flatnonzero(reason == _DUPLICATE)),
    )


def _quarantined(home: Home, judged: Judged, file_no: int) -> list[QuarantinedRecord]:
    """The records of one file that are quarantined, with their raw text."""
    gathered, reason, file = judged.gathered, judged.verdicts.reason, judged.files[file_no]
    rows = np.flatnonzero((reason != ACCEPTED) & (reason != _DUPLICATE) & (gathered.file_no == file_no))
    if not len(rows):
        return []
    lines = gathered.line[rows].tolist()
    raw = raw_records(home.archive.locate(file.stored.path), file.name, set(lines))
    texts = {name: picked(getattr(gathered.records, name), rows).to_pylist() for name in _SEARCHED}
    ok, at_us = gathered.records.occurred_at_ok[rows].tolist(), gathered.records.occurred_at_us[rows].tolist()
    return [
        QuarantinedRecord(
            file_no=file_no,
            line=line,
            reason=REASONS[reason[row]].value,
            raw=raw[line],
            **{name: searched(values[place]) for name, values in texts.items()},
            occurred_day=at_us[place] // DAY_US if ok[place] else None,
        )
        for place, (row, line) in enumerate(zip(rows.tolist(), lines, strict=True))
    ]


def _ranges(gathered: Gathered, rows: Int64s) -> tuple[tuple[int, int, int], ...]:
    """Runs of consecutive records of one file: a file that came twice is a single one."""
    if not len(rows):
        return ()
    file_no, line = gathered.file_no[rows], gathered.line[rows]
    breaks = np.flatnonzero((np.diff(file_no) != 0) | (np.diff(line) != 1)) + 1
    firsts, lasts = np.append(0, breaks), np.append(breaks, len(rows)) - 1
    return tuple(zip(file_no[firsts].tolist(), line[firsts].tolist(), line[lasts].tolist(), strict=True))
