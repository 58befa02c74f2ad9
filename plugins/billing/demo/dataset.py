"""The demo's data set, written into a folder: reference data, usage files as they arrived, and a scenario of the same.

::

    FOLDER/reference/            the tables of ``billing.demo.reference``
    FOLDER/reference-mended/     the same with the tax rate that the parked team waits for
    FOLDER/usage/                a file for each UTC day, late files, and one that came twice
    FOLDER/steps.json            the same files in the same order, for ``billing simulate FOLDER``

Everything lies between 16 January and 3 April 2024. The files' modification times are their arrivals.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from billing.core.instants import format_instant
from billing.demo import reference
from billing.demo.formats import Record, file_bytes
from billing.demo.traffic import BROKEN_LINES, FIRST_DAY, records_by_day

CLOSE_LAG_SECONDS = 3600
CLOSES = (datetime(2024, 3, 2, 2, tzinfo=UTC), datetime(2024, 4, 2, 2, tzinfo=UTC))
MENDED_CLOSE = datetime(2024, 4, 3, 2, tzinfo=UTC)

_ARRIVES_AT = timedelta(days=1, minutes=20)
# Monday is 0: most files are CSV, and every format comes once a week.
_SUFFIX_BY_WEEKDAY = {2: "jsonl", 4: "parquet", 6: "csv.gz"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """What ``write_dataset`` wrote.

    arrivals           by usage file, when it arrived (its modification time), in that order: the order of ingest
    closes             the ``as_of`` of each close
    window_boundaries  where windows of arrival begin and end: before the first file, then at each close. A driver may
                       cut them finer, not coarser: what arrived after a close is not part of it
    mended_reference   loaded after the last of ``closes``; then nobody is parked at ``mended_close``
    stories            by team, what it shows
    """

    folder: Path
    reference: Path
    mended_reference: Path
    usage: Path
    arrivals: Mapping[Path, datetime]
    closes: tuple[datetime, ...]
    window_boundaries: tuple[datetime, ...]
    mended_close: datetime
    stories: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Delivery:
    name: str
    arrives_at: datetime
    content: bytes


def write_dataset(folder: Path) -> Dataset:
    """Write the data set into ``folder`` (made where it is not there): the same bytes and times each time."""
    _write_tables(folder / "reference", reference.TABLES)
    _write_tables(folder / "reference-mended", reference.MENDED)
    deliveries = _deliveries()
    for one in deliveries:
        _write(folder / "usage" / one.name, one.content)
        os.utime(folder / "usage" / one.name, (one.arrives_at.timestamp(), one.arrives_at.timestamp()))
    _write(folder / "steps.json", f"{json.dumps(_steps(deliveries), indent=1)}\n".encode())
    return Dataset(
        folder=folder,
        reference=folder / "reference",
        mended_reference=folder / "reference-mended",
        usage=folder / "usage",
        arrivals=MappingProxyType({folder / "usage" / one.name: one.arrives_at for one in deliveries}),
        closes=CLOSES,
        window_boundaries=(_midnight(FIRST_DAY), *CLOSES),
        mended_close=MENDED_CLOSE,
        stories=reference.STORIES,
    )


def _deliveries() -> list[_Delivery]:
    """Every usage file in order of arrival (at one instant: by name)."""
    days = records_by_day()
    late = [_late(one, _take_out(days, one.day, one.app_id)) for one in _LATE]
    daily = [_daily(day, records) for day, records in days.items()]
    content = next(one.content for one in daily if one.name == _CAME_TWICE)
    again = _Delivery(name=_AGAIN, arrives_at=_AGAIN_AT, content=content)
    return sorted([*daily, *late, again], key=lambda one: (one.arrives_at, one.name))


def _daily(day: date, records: list[Record]) -> _Delivery:
    name = f"usage-{day}.{_SUFFIX_BY_WEEKDAY.get(day.weekday(), 'csv')}"
    return _Delivery(
        name=name, arrives_at=_midnight(day) + _ARRIVES_AT, content=file_bytes(name, records, BROKEN_LINES.get(day, ()))
    )


def _late(late: _Late, records: list[Record]) -> _Delivery:
    return _Delivery(name=late.name, arrives_at=late.arrives_at, content=file_bytes(late.name, [*records, *late.more]))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


# --- what came late, and what came twice ---------------------------------------------------------------------------


class _Late(NamedTuple):
    """A file with what an app did on a day, which that day's file lacks, and ``more``."""

    name: str
    arrives_at: datetime
    day: date
    app_id: str
    more: tuple[Record, ...] = ()


_STUCK = ("2024-02-21T16:05:00Z", "vienna-stairs", "automation")

_LATE = (
    # Of cycles that are closed by then.
    _Late("usage-late-losangeles.csv", datetime(2024, 3, 7, 9, 40, tzinfo=UTC), date(2024, 2, 28), "losangeles-farm"),
    _Late("usage-late-madrid.jsonl", datetime(2024, 3, 5, 8, 10, tzinfo=UTC), date(2024, 2, 19), "madrid-metro"),
    _Late("usage-late-paris.csv", datetime(2024, 3, 6, 14, 30, tzinfo=UTC), date(2024, 2, 27), "paris-drawings"),
    # Of cycles that are still open: billed where it occurred.
    _Late("usage-late-kuwait.parquet", datetime(2024, 3, 12, 6, 0, tzinfo=UTC), date(2024, 3, 6), "kuwait-towers"),
    _Late(
        "usage-late-vienna.csv",
        datetime(2024, 3, 8, 7, 0, tzinfo=UTC),
        date(2024, 3, 5),
        "vienna-stairs",
        # Taken back after the close: the carry-over becomes a credit (rule 4.3).
        (Record("vienna-stuck-back", *_STUCK, "-450", "vienna-stuck"),),
    ),
)

_CAME_TWICE = "usage-2024-02-05.csv"
_AGAIN = "usage-2024-02-05_again.csv"
_AGAIN_AT = datetime(2024, 2, 8, 11, 15, tzinfo=UTC)


def _take_out(days: Mapping[date, list[Record]], day: date, app_id: str) -> list[Record]:
    """Take an app's usage out of its day's file."""
    taken = [record for record in days[day] if record.app_id == app_id]
    days[day][:] = [record for record in days[day] if record.app_id != app_id]
    return taken


# --- files -----------------------------------------------------------------------------------------------------------


def _steps(deliveries: list[_Delivery]) -> list[dict[str, object]]:
    """The scenario: each file is ingested when it arrives, each close sees what arrived before it."""
    steps: list[tuple[datetime, dict[str, object]]] = [
        (one.arrives_at, {"do": "ingest", "file": f"usage/{one.name}", "now": format_instant(one.arrives_at)})
        for one in deliveries
    ]
    steps += [(at, {"do": "close", "as_of": format_instant(at)}) for at in CLOSES]
    first: list[dict[str, object]] = [
        {"do": "configure", "close_lag_seconds": CLOSE_LAG_SECONDS},
        {"do": "reference", "folder": "reference"},
    ]
    last: dict[str, object] = {"do": "balances", "at": format_instant(CLOSES[-1]), "out": "balances"}
    return [*first, *(step for _, step in sorted(steps, key=lambda step: step[0])), last]


def _write_tables(folder: Path, tables: Mapping[str, str]) -> None:
    for name, text in tables.items():
        _write(folder / f"{name}.csv", text.encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
