"""Usage by its arrival at a source, window by window: what arrived before a window's end and was not taken yet.

A window that was taken is a batch of its source. One that took nothing, because something was refused or stopped, is
kept beside with its reason; the next run makes up for it.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from billing.core.errors import AnomalyFound, BillingError, DataRefused, NotFound, SourceUnavailable, UsageError
from billing.core.instants import format_instant, from_us, to_us
from billing.intake.sources.seam import Source, SourceFile, Taken, Window
from billing.steps.batch import IngestSummary
from billing.steps.ingest import Inspector, ingest
from billing.steps.progress import Progress, silent
from billing.steps.telemetry import warn
from billing.store import log, sources
from billing.store.batches import completeness, pinnable
from billing.store.files import archive_suffix
from billing.store.home import Home

_STAGING_KEPT_S = 2 * 86_400


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowSummary:
    """What a window brought. ``ingested`` is None where the window had been taken already and nothing new had come."""

    source: str
    window_start: datetime
    window_end: datetime
    files: int
    ingested: IngestSummary | None


def take_window(
    home: Home,
    source: Source,
    window_start: datetime,
    window_end: datetime,
    *,
    inspector: Inspector | None = None,
    progress: Progress = silent,
) -> WindowSummary:
    """Take what arrived at ``source`` before ``window_end`` as one batch.

    The window begins where the source's last one ended if that is earlier: one run after an outage catches up on all
    of it. Safe to run again: a window that is complete and finds nothing new takes no batch number. Raises
    ``DataRefused`` or ``SourceUnavailable``, which are kept as the reason why the window is missing.
    """
    if window_start >= window_end:
        raise DataRefused(
            f"The window ends at {window_end.isoformat()}, before it begins at {window_start.isoformat()}."
        )
    register(home, source)
    with home.database.holding(f"source-{source.name}"), _staging(home) as staging:
        window, through_us = _window(home, source.name, window_start, window_end)
        try:
            files = source.extract(window, _taken(home, source.name), staging)
            summary = None
            if files or through_us is None or through_us < to_us(window_end):
                summary = _ingest(home, files, window, source.name, inspector, progress)
        except BillingError as stop:
            _keep_stop(home, source.name, window, stop)
            raise
    return WindowSummary(
        source=source.name, window_start=window.start, window_end=window_end, files=len(files), ingested=summary
    )


def set_aside(home: Home, source: Source, name: str, why: str) -> int:
    """Let windows go on without a file of a source that cannot be read; returns how many versions of it were set
    aside. The file is not touched; what is delivered under its name later is taken.
    """
    if source.kind != "files":
        raise UsageError(f"{source.name} gives rows, not files: mend them there, or what its query selects.")
    now = datetime.now(UTC)
    with _staging(home) as staging:
        waiting = source.extract(Window(start=now, end=now, first=True), _taken(home, source.name), staging)
        found = [file for file in waiting if file.name == name]
        facts = [(name, file.path.stat().st_size, to_us(file.arrived_at or now)) for file in found]
    if not facts:
        raise NotFound(f"{source.name}: no file named {name} waits there. Give the name as the refusal does.")
    with home.database.exclusive("books") as connection:
        for fact in facts:
            sources.set_aside(connection, source.name, fact, now, why)
        log.append(connection, now, "set aside", {"source": source.name, "name": name, "why": why})
    return len(facts)


def retire(home: Home, source: str, why: str) -> None:
    """Await nothing from a source any more: usage is complete without it from now on."""
    now = datetime.now(UTC)
    with home.database.exclusive("books") as connection:
        sources.retire(connection, source, now, why)
        log.append(connection, now, "source retired", {"source": source, "why": why})


def _ingest(
    home: Home, files: Sequence[SourceFile], window: Window, name: str, inspector: Inspector | None, progress: Progress
) -> IngestSummary:
    try:
        return ingest(
            home,
            files,
            window.end,
            window_start=window.start,
            source=name,
            inspector=inspector,
            progress=progress,
        )
    except DataRefused as refused:
        at_fault = sorted({finding.file for finding in refused.findings} & {file.name for file in files})
        if not at_fault:
            raise
        hint = f"Send it again, or go on without it: `billing usage set-aside {name} {at_fault[0]} --why ...`"
        raise DataRefused(f"{refused.summary}. {hint}", refused.findings) from None


def register(home: Home, source: Source) -> None:
    """From now on usage is complete only where this source is (rule 3.4)."""
    known = sources.KnownSource(name=source.name, kind=source.kind, location=source.location)
    with home.database.read() as connection:
        if sources.is_registered(connection, known):
            return
    now = datetime.now(UTC)
    with home.database.exclusive("books") as connection:
        sources.register(connection, known, now)
        log.append(connection, now, "source", {"name": known.name, "kind": known.kind, "location": known.location})


def _window(home: Home, source: str, start: datetime, end: datetime) -> tuple[Window, int | None]:
    """The window, reaching back to the source's last one, and how far the source was taken before."""
    with home.database.read() as connection:
        through_us = completeness(connection, pinnable(connection)).sources.get(source)
        first = not sources.was_ever_taken(connection, source)
    reached = start if through_us is None else min(start, from_us(through_us))
    return Window(start=reached, end=end, first=first), through_us


def _taken(home: Home, source: str) -> Taken:
    with home.database.read() as connection:
        files = sources.files_taken(connection, source)

    def extracts(since: datetime) -> list[Path]:
        with home.database.read() as connection:
            found = sources.extracts_after(connection, source, since)
        return [home.archive.locate(home.archive.stored(sha, 0, archive_suffix(name)).path) for name, sha in found]

    return Taken(files=files, extracts=extracts)


def _keep_stop(home: Home, source: str, window: Window, stop: BillingError) -> None:
    kind = sources.REFUSED
    if isinstance(stop, SourceUnavailable):
        kind = sources.UNAVAILABLE
    elif isinstance(stop, AnomalyFound):
        kind = sources.ANOMALY
    said = {"window_start": format_instant(window.start), "window_end": format_instant(window.end), "why": str(stop)}
    warn("window stopped", source=source, kind=kind, **said)
    with home.database.write() as connection:
        sources.write_stop(connection, source, (window.start, window.end), datetime.now(UTC), kind, str(stop))


@contextmanager
def _staging(home: Home) -> Iterator[Path]:
    """A folder for what is fetched, gone afterwards; what a killed process left is removed when it is old."""
    folder = home.folder / "staging"
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.iterdir():
        if time.time() - left.stat().st_mtime > _STAGING_KEPT_S:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder) as staging:
        yield Path(staging)
