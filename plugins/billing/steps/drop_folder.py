"""Usage by its arrival in a drop folder: a window takes what arrived before its end and was not taken yet.

The arrival of a file is its modification time: whoever delivers writes under another name (``.part``, ``.tmp``
or with a leading dot, or below a folder with one) and renames when done. Nothing in the folder is moved or deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from billing.core.errors import DataRefused
from billing.core.instants import from_us, to_us
from billing.steps.ingest import IngestSummary, SourceFile, ingest
from billing.steps.progress import Progress, silent
from billing.store.batches import completeness, ingested_files, pinnable
from billing.store.home import Home

_SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet")


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowSummary:
    """What a window brought. ``ingested`` is None where the window had been taken already and nothing new had come."""

    window_start: datetime
    window_end: datetime
    files: int
    ingested: IngestSummary | None


def ingest_window(
    home: Home, folder: Path, window_start: datetime, window_end: datetime, progress: Progress = silent
) -> WindowSummary:
    """Take what arrived in ``folder`` before ``window_end`` as one batch.

    The window begins where the last one ended if that is earlier: one run after an outage catches up on all of it.
    Safe to run again: a window that is complete and finds nothing new takes no batch number.
    """
    if window_start >= window_end:
        raise DataRefused(
            f"The window ends at {window_end.isoformat()}, before it begins at {window_start.isoformat()}."
        )
    if not folder.is_dir():
        raise DataRefused(f"{folder}: there is no such folder; usage files are expected there.")
    with home.database.read() as connection:
        taken = ingested_files(connection)
        through_us = completeness(connection, pinnable(connection)).through_us
    files = _arrived(folder, window_end, taken)
    start = window_start if through_us is None else min(window_start, from_us(through_us))
    summary = None
    if files or through_us is None or through_us < to_us(window_end):
        summary = ingest(home, files, window_end, window_start=start, source=folder.name, progress=progress)
    return WindowSummary(window_start=start, window_end=window_end, files=len(files), ingested=summary)


def _arrived(folder: Path, before: datetime, taken: set[tuple[str, int, int]]) -> list[SourceFile]:
    """Files that arrived before an instant and were not taken yet, by arrival, then by name."""
    found = []
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        name = inside.as_posix()
        hidden = any(part.startswith(".") for part in inside.parts)
        if hidden or not path.name.endswith(_SUFFIXES) or not path.is_file():
            continue
        state = path.stat()
        arrived_us = state.st_mtime_ns // 1_000
        if arrived_us < to_us(before) and (name, state.st_size, arrived_us) not in taken:
            found.append(SourceFile(path=path, name=name, arrived_at=from_us(arrived_us)))
    return sorted(found, key=lambda file: (to_us(file.arrived_at or before), file.name))
