"""Ingest usage files: archive, read, judge, attribute and store them as one batch, exactly once (section 2 of the
rules).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from billing.core.errors import DataRefused
from billing.core.instants import format_instant
from billing.core.reference import Reference
from billing.intake.judging import REASONS, Reason
from billing.intake.sources.seam import SourceFile
from billing.steps import commit_points
from billing.steps.batch import Also, IngestSummary, Judged, judge_files, write_batch
from billing.steps.gathering import ArchivedFile, gather
from billing.steps.progress import Progress, silent
from billing.steps.reference import current_reference
from billing.store import log
from billing.store.batches import DELIVERY, committed_request, open_batch, reasons_of
from billing.store.files import archive_suffix
from billing.store.home import Home


@dataclass(frozen=True, kw_only=True, slots=True)
class Occasion:
    """What a batch is taken for: its source, its window (no beginning: complete through ``now``), the load that judges
    it.
    """

    source: str
    window_start: datetime | None
    now: datetime
    load_no: int


class Inspector(Protocol):
    """Looks at what is about to be written. Raises ``DataRefused`` to stop it; else says what the committing
    transaction is to write of the inspection.
    """

    def __call__(self, home: Home, judged: Judged, occasion: Occasion) -> Also: ...


def ingest(
    home: Home,
    files: Sequence[SourceFile],
    now: datetime,
    *,
    window_start: datetime | None = None,
    source: str = "files",
    inspector: Inspector | None = None,
    progress: Progress = silent,
) -> IngestSummary:
    """Take these files as one batch, complete through ``now``.

    Without ``window_start`` this says that usage is complete through ``now``; with it, only that the window
    ``[window_start, now)`` of the source is. A file that cannot be read refuses the whole ingest and leaves nothing
    behind; so does an inspector. The same files (names and bytes) with the same instants, next after each other and
    judged by the same reference data, are one request that is retried: it finds its work done. Anything else is
    another delivery (rule 2.2).
    """
    with home.database.holding("ingest"):
        archived = archive_files(home, files)
        commit_points.reached(commit_points.INGEST_ARCHIVED)
        load_no, reference = current_reference(home)
        occasion = Occasion(source=source, window_start=window_start, now=now, load_no=load_no)
        request = _request(archived, occasion)
        if (done := done_already(home, request)) is not None:
            return done
        try:
            judged, also = _examine(home, archived, occasion, reference, inspector, progress)
        except DataRefused:
            for file in archived:
                home.archive.take_back(file.stored)
            raise
        started = datetime.now(UTC)
        number = open_batch(
            home, kind=DELIVERY, source=source, request=request, window=(window_start, now), load_no=load_no, at=started
        )
        commit_points.reached(commit_points.INGEST_OPENED)
        said = {"source": source, "complete_through": format_instant(now)}
        summary = write_batch(home, number, judged, started, said, also)
        pa.default_memory_pool().release_unused()  # what a large file needed is not kept for the next
        return summary


def local_files(paths: Iterable[Path]) -> list[SourceFile]:
    """Files of this machine, spoken of as they were named."""
    return [SourceFile(path=path, name=str(path)) for path in paths]


def _examine(
    home: Home,
    archived: Sequence[ArchivedFile],
    occasion: Occasion,
    reference: Reference,
    inspector: Inspector | None,
    progress: Progress,
) -> tuple[Judged, Also | None]:
    """Read and judge, and have it inspected: all that can refuse it, before anything is written."""
    if not occasion.load_no and archived:
        raise DataRefused("There is no reference data yet: run `billing reference load FOLDER` first.")
    gathered = gather(home, archived, progress)
    judged = judge_files(home, archived, gathered, reference, occasion.now)
    return judged, inspector(home, judged, occasion) if inspector else None


def archive_files(home: Home, files: Sequence[SourceFile]) -> list[ArchivedFile]:
    """Keep these files as they are. Raises ``DataRefused`` for one that is not there or has no name that is text."""
    faults = [f"{file.name!a}: its name is not UTF-8; rename it." for file in files if not _is_text(file.name)]
    faults = faults or [f"{file.name}: there is no such file." for file in files if not file.path.is_file()]
    if faults:
        raise DataRefused("\n".join(faults))
    return [
        ArchivedFile(
            name=file.name,
            stored=home.archive.put_file(file.path, archive_suffix(file.name)),
            arrived_at=file.arrived_at,
        )
        for file in files
    ]


def _is_text(name: str) -> bool:
    """Whether it can be kept: a name whose bytes are not UTF-8 reaches us with lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _request(archived: Sequence[ArchivedFile], occasion: Occasion) -> str:
    """What tells one request from another: SHA-256 of the files' names and bytes, the load, and the instants."""
    named = [[file.name, file.stored.sha256] for file in archived]
    start = None if occasion.window_start is None else format_instant(occasion.window_start)
    parts = [occasion.source, occasion.load_no, named, start, format_instant(occasion.now)]
    return sha256(log.canonical(parts).encode()).hexdigest()


def done_already(home: Home, request: str) -> IngestSummary | None:
    """What came of this very request, where the newest batch has done it."""
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
