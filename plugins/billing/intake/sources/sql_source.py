"""Usage from a query: a window's new rows as one extract (Parquet).

Rows that were given before are left out, so that reading a stretch again is no second delivery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from billing.core.errors import DataRefused, Finding
from billing.core.instants import DAY_US, to_us
from billing.intake.sources.extracts import write_rows, write_unknown
from billing.intake.sources.seam import SourceFile, Taken, Window
from billing.intake.sources.sql_rows import location_of, open_snapshot, parameters_of, parse_url
from billing.intake.usage_files import REQUIRED

By = Literal["arrival", "occurrence"]
OVERLAP = timedelta(hours=1)
_READ_EVERY_TIME = timedelta(hours=72)
_READ_ONCE_A_DAY = timedelta(days=35)
_BOUNDS = ("window_start", "window_end")
_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class SqlSource:
    """A query over a database, and how far back it is asked each time.

    By ``arrival``: ``overlap`` before the window's start, as a transaction may commit after rows that arrived later
    were read. By ``occurrence``, where the source does not know when a row arrived: the last 72 hours before the
    window's end; the last 35 days where a UTC midnight lies in the window; from the window's start, where that is
    earlier. Nothing before ``since`` is read, if it is given.
    """

    name: str
    url: str = field(repr=False)
    query: Path
    by: By = "arrival"
    overlap: timedelta = OVERLAP
    since: datetime | None = None

    @property
    def kind(self) -> str:
        """What kind of source it is."""
        return "sql"

    @property
    def location(self) -> str:
        """The database, without user, password and options."""
        return location_of(parse_url(self.url))

    def extract(self, window: Window, taken: Taken, staging: Path) -> list[SourceFile]:
        """The new rows as one file, or none where there are no new rows; see the seam."""
        low = self.reads_from(window)
        title = f"{_compact(window.start)}--{_compact(window.end)}.parquet"
        read, new, done = staging / f"{title}.read.part", staging / f"{title}.part", staging / title
        try:
            count = self._read(read, low, window.end)
            known = [path for path in taken.extracts(low) if path.suffix == ".parquet"] if count else []
            if known:
                count = write_unknown(new, read, known, staging)
            if not count:
                return []
            (new if known else read).replace(done)
        finally:
            read.unlink(missing_ok=True)
            new.unlink(missing_ok=True)
        return [SourceFile(path=done, name=f"{self.name}/{title}")]

    def reads_from(self, window: Window) -> datetime:
        """The instant from which on the query is asked."""
        if window.first:
            low = _BEGINNING
        elif self.by == "arrival":
            low = window.start - self.overlap
        else:
            back = _READ_ONCE_A_DAY if _has_midnight(window) else _READ_EVERY_TIME
            low = min(window.start, window.end - back)
        return low if self.since is None else max(low, self.since)

    def _read(self, path: Path, low: datetime, end: datetime) -> int:
        _check_bounds(self.query)
        with open_snapshot(self.url) as snapshot:
            bounds = dict(zip(_BOUNDS, (low, end), strict=True))
            rows = snapshot.rows(self.query, bounds, instants=("occurred_at",))
            _check_columns(self.query.name, rows.columns)
            return write_rows(path, rows)


def _has_midnight(window: Window) -> bool:
    """Whether a day in UTC begins in the window: so it is in one window a day, also when it is taken again."""
    midnight_us = -(-to_us(window.start) // DAY_US) * DAY_US
    return midnight_us < to_us(window.end)


def _compact(instant: datetime) -> str:
    """Sorts as text as it does in time; good as a part of a file's name."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").translate(_NO_MARKS).replace("+0000", "Z")


_NO_MARKS = str.maketrans("", "", "-:")


def _check_bounds(query: Path) -> None:
    named = parameters_of(query)
    findings = [
        Finding(file=query.name, message=f"the parameter :{bound} is missing; read only [:window_start, :window_end)")
        for bound in _BOUNDS
        if bound not in named
    ]
    if findings:
        raise DataRefused(f"{query.name}: the extract is refused.", findings)


def _check_columns(name: str, columns: Sequence[str]) -> None:
    findings = [
        Finding(file=name, column=column, message="the query does not give this column; add it, spelled like this")
        for column in REQUIRED
        if column not in columns
    ]
    if findings:
        raise DataRefused(f"{name}: the extract is refused.", findings)
