"""Upkeep of the usage table: small files put together, its log summed up, old files deleted. Changes no number.

Every ingest appends small files; a month of them is slow to read, and slow to append to. Upkeep may run at any time,
beside anything, and be killed at any time: what is done stays done, and the next run goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic

from billing.core.errors import UsageError
from billing.steps import commit_points
from billing.steps.progress import Progress, silent
from billing.steps.telemetry import say
from billing.store.home import Home

KEEP_DAYS = 7
"""How long files that are no longer read are kept; also the most that can be asked for: the log forgets them then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UpkeepSummary:
    """Data files of the usage table and their bytes, before and after; ``deleted`` counts old files that are gone."""

    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    deleted: int
    seconds: float


def upkeep(home: Home, keep_days: int = KEEP_DAYS, *, progress: Progress = silent) -> UpkeepSummary:
    """Compact the usage table, write a checkpoint of its log, and delete files that it has not named for ``keep_days``,
    and what writers anywhere in the home left unfinished when they were killed.

    Whoever reads for longer than ``keep_days`` is left without its files; 0 is for a home where nothing else runs.
    Raises ``UsageError`` for days that cannot be kept.
    """
    if not 0 <= keep_days <= KEEP_DAYS:
        raise UsageError(f"Old files are kept for 0 to {KEEP_DAYS} days, not {keep_days}.")
    began, lake = monotonic(), home.usage.lake

    def put_together(done: int, total: int) -> None:
        progress("partitions put together", done, total)
        commit_points.reached(commit_points.UPKEEP_PARTITION)

    with home.database.holding("upkeep"):
        files_before, bytes_before = lake.size()
        lake.compact(put_together)
        lake.checkpoint()
        commit_points.reached(commit_points.UPKEEP_CHECKPOINT)
        now = datetime.now(UTC)
        deleted = lake.vacuum(timedelta(days=keep_days), now) + home.sweep(now)
        commit_points.reached(commit_points.UPKEEP_VACUUMED)
        files_after, bytes_after = lake.size()
    summary = UpkeepSummary(
        files_before=files_before,
        files_after=files_after,
        bytes_before=bytes_before,
        bytes_after=bytes_after,
        deleted=deleted,
        seconds=monotonic() - began,
    )
    say("usage table kept up", **{name: getattr(summary, name) for name in UpkeepSummary.__slots__})
    return summary
