"""What the demo's apps did from 16 January to 31 March 2024, and what went wrong on the way.

Only ``random.Random.random`` is used: its numbers for a seed are the same in every version of Python.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from billing.core.instants import format_instant
from billing.core.quantity import format_micro
from billing.demo.formats import Record

FIRST_DAY, LAST_DAY = date(2024, 1, 16), date(2024, 3, 31)
_SEED = "carryover demo 1"
_WEEKEND_SHARE = 0.3
_BUSY_HOURS = 16

_STEP_MICRO: Mapping[str, int] = MappingProxyType(
    {
        "automation": 1_000,
        "model_derivative_complex": 1_000_000,
        "model_derivative_simple": 1_000_000,
        "reality_capture": 10_000,
        "flow_graph": 250_000,
        "data_management": 1_000_000,
    }
)
"""By API, the grain in which it measures its usage."""


class Workload(NamedTuple):
    """About ``per_day`` events each working day in ``[first_day, end_day)``, fewer at weekends, around noon local time.

    Quantities are ``low`` to ``high`` steps of the API.
    """

    app_id: str
    api: str
    per_day: int
    low: int
    high: int
    noon_utc: int
    first_day: date = FIRST_DAY
    end_day: date = LAST_DAY + timedelta(days=1)


def _day(month: int, day: int) -> date:
    return date(2024, month, day)


WORKLOADS = (
    Workload("berlin-statics", "automation", 32, 200, 6_000, 11, _day(1, 17)),
    Workload("berlin-statics", "model_derivative_complex", 8, 1, 2, 11, _day(1, 17)),
    Workload("berlin-statics", "flow_graph", 6, 1, 8, 11, _day(1, 17)),
    Workload("berlin-statics", "data_management", 14, 1, 400, 11, _day(1, 17)),
    Workload("cairo-graphs", "flow_graph", 14, 1, 12, 10, _day(1, 26)),
    Workload("dublin-scans", "data_management", 8, 1, 60, 12, _day(1, 29)),
    Workload("helsinki-clouds", "reality_capture", 14, 10, 90, 10, _day(1, 18)),
    Workload("helsinki-drawings", "automation", 24, 200, 5_000, 10, _day(1, 18)),
    Workload("helsinki-drawings", "data_management", 12, 1, 300, 10, _day(1, 18)),
    Workload("kolkata-campus", "automation", 22, 100, 2_500, 7, _day(1, 21)),
    Workload("kolkata-campus", "model_derivative_simple", 8, 1, 2, 7, _day(1, 21)),
    Workload("kolkata-campus", "data_management", 14, 1, 80, 7, _day(1, 21)),
    Workload("kuwait-towers", "automation", 18, 300, 7_000, 9, _day(1, 24)),
    Workload("kuwait-towers", "model_derivative_complex", 10, 1, 3, 9, _day(1, 24)),
    Workload("kuwait-towers", "flow_graph", 3, 1, 6, 9, _day(1, 24)),
    Workload("lodz-catalogue", "model_derivative_simple", 18, 1, 4, 11, _day(2, 13)),
    Workload("lodz-catalogue", "automation", 10, 200, 3_000, 11, _day(2, 13)),
    Workload("losangeles-farm", "automation", 64, 1_000, 12_000, 20, _day(2, 2)),
    Workload("losangeles-preview", "model_derivative_simple", 5, 1, 5, 20, _day(1, 19), _day(2, 2)),
    Workload("losangeles-preview", "model_derivative_simple", 22, 1, 5, 20, _day(2, 2)),
    Workload("losangeles-preview", "data_management", 26, 1, 900, 20, _day(1, 19)),
    Workload("madrid-metro", "automation", 16, 500, 5_000, 11, _day(1, 17), _day(2, 20)),
    Workload("madrid-metro", "model_derivative_simple", 9, 1, 4, 11, _day(1, 17), _day(2, 20)),
    Workload("newyork-twin", "model_derivative_complex", 1, 1, 3, 17, _day(1, 20), _day(2, 8)),
    Workload("newyork-twin", "model_derivative_complex", 14, 1, 3, 17, _day(2, 8)),
    Workload("newyork-twin", "reality_capture", 1, 5, 120, 17, _day(1, 20), _day(2, 8)),
    Workload("newyork-twin", "reality_capture", 7, 5, 120, 17, _day(2, 8)),
    Workload("newyork-twin", "flow_graph", 3, 1, 10, 17, _day(2, 8)),
    Workload("paris-drawings", "automation", 5, 200, 6_000, 11, FIRST_DAY, _day(2, 1)),
    Workload("paris-drawings", "automation", 34, 200, 6_000, 11, _day(2, 1)),
    Workload("paris-drawings", "data_management", 16, 1, 250, 11),
    Workload("paris-viewer", "model_derivative_complex", 1, 1, 2, 11, FIRST_DAY, _day(2, 1)),
    Workload("paris-viewer", "model_derivative_complex", 9, 1, 2, 11, _day(2, 1)),
    Workload("paris-viewer", "model_derivative_simple", 3, 1, 3, 11, FIRST_DAY, _day(2, 1)),
    Workload("paris-viewer", "model_derivative_simple", 15, 1, 3, 11, _day(2, 1)),
    Workload("saopaulo-facades", "automation", 17, 200, 6_000, 15, _day(1, 31)),
    Workload("saopaulo-facades", "reality_capture", 6, 10, 150, 15, _day(1, 31)),
    Workload("saopaulo-facades", "data_management", 9, 1, 120, 15, _day(1, 31)),
    Workload("sunset-batch", "automation", 20, 500, 4_000, 6, _day(1, 30)),
    Workload("tasman-terrain", "reality_capture", 16, 10, 200, 2, _day(1, 24)),
    Workload("tasman-terrain", "automation", 7, 200, 4_000, 2, _day(1, 24)),
    Workload("tokyo-converter", "model_derivative_complex", 3, 1, 4, 3, _day(1, 17), _day(3, 1)),
    Workload("tokyo-converter", "model_derivative_complex", 22, 1, 4, 3, _day(3, 1)),
    Workload("tokyo-converter", "model_derivative_simple", 4, 1, 3, 3, _day(1, 17), _day(3, 1)),
    Workload("tokyo-converter", "model_derivative_simple", 28, 1, 3, 3, _day(3, 1)),
    Workload("tokyo-converter", "flow_graph", 2, 1, 8, 3, _day(3, 1)),
    Workload("vienna-stairs", "automation", 11, 200, 4_000, 11, _day(1, 30)),
    Workload("vienna-stairs", "model_derivative_complex", 6, 1, 2, 11, _day(1, 30)),
)


def records_by_day() -> dict[date, list[Record]]:
    """By UTC day of use, everything that the apps did, in order of time."""
    days: dict[date, list[Record]] = {}
    for day, drawn in _drawn_by_day().items():
        ordered = sorted(enumerate(drawn), key=lambda event: (event[1][0], event[0]))
        days[day] = [
            Record(f"u-{day:%m%d}-{number:04d}", format_instant(at), load.app_id, load.api, format_micro(micro))
            for number, (_, (at, load, micro)) in enumerate(ordered, start=1)
        ]
        days[day] += PLANNED.get(day, ())
    return days


_Drawn = tuple[datetime, Workload, int]


def _drawn_by_day() -> dict[date, list[_Drawn]]:
    days: dict[date, list[_Drawn]] = {FIRST_DAY + timedelta(days=n): [] for n in range((LAST_DAY - FIRST_DAY).days + 1)}
    for load in WORKLOADS:
        # A generator of its own: another workload changes nothing in this one.
        numbers = random.Random(f"{_SEED}/{load.app_id}/{load.api}/{load.first_day}")
        for day, events in days.items():
            if load.first_day <= day < load.end_day:
                events += _draw(load, day, numbers)
    return days


def _draw(load: Workload, day: date, numbers: random.Random) -> Iterator[_Drawn]:
    share = _WEEKEND_SHARE if day.weekday() >= 5 else 1.0
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    for _ in range(int(load.per_day * share * (0.7 + 0.6 * numbers.random()) + numbers.random())):
        # The mean of two draws is busiest in the middle; what runs over a midnight comes back on the same UTC day.
        busy = (numbers.random() + numbers.random()) / 2 - 0.5
        millis = int((load.noon_utc + busy * _BUSY_HOURS) * 3_600_000) % 86_400_000
        steps = load.low + int(numbers.random() * (load.high - load.low + 1))
        yield midnight + timedelta(milliseconds=millis), load, steps * _STEP_MICRO[load.api]


# --- what was planned rather than drawn ----------------------------------------------------------------------------


def _assets(team_id: str, day: date, quantity: str) -> Record:
    return Record(f"assets-{team_id}-{day:%m%d}", f"{day}T07:00:00Z", "", "info_assets", quantity, "", team_id)


def _dublin(day: date) -> Record:
    return Record(f"dublin-{day:%m%d}", f"{day}T12:15:00Z", "dublin-scans", "reality_capture", "0.5")


_PLANNED = (
    *((day, _dublin(day)) for day in (_day(2, d) for d in (1, 5, 9, 14, 19, 23))),
    *((day, _dublin(day)) for day in (_day(3, d) for d in (1, 6, 11, 15, 20, 25))),
    *((day, _assets("berlin", day, "2")) for day in (_day(1, 18), _day(2, 1), _day(2, 15), _day(3, 1), _day(3, 14))),
    *((day, _assets("newyork", day, "45.5")) for day in (_day(2, 9), _day(3, 8))),
    (_day(2, 12), Record("vienna-twice", "2024-02-12T09:30:00Z", "vienna-stairs", "model_derivative_complex", "8")),
    (_day(2, 21), Record("vienna-stuck", "2024-02-21T16:05:00Z", "vienna-stairs", "automation", "480")),
    (
        _day(2, 16),
        Record(
            "vienna-twice-back",
            "2024-02-12T09:30:00Z",
            "vienna-stairs",
            "model_derivative_complex",
            "-4",
            "vienna-twice",
        ),
    ),
)
"""By day of the file, events with a story."""

_REJECTED = (
    # Reasons in the order of the contract; "unreadable" is in BROKEN_LINES, "duplicate" in a file that comes again.
    (_day(1, 18), Record("", "2024-01-18T10:00:00Z", "paris-viewer", "model_derivative_simple", "1")),
    (_day(1, 22), Record("no-offset", "2024-01-22T10:00:00", "paris-drawings", "automation", "3.5")),
    (_day(1, 25), Record("no-such-api", "2024-01-25T08:20:00Z", "kuwait-towers", "teleportation", "1")),
    (_day(1, 29), Record("nothing-used", "2024-01-29T20:00:00Z", "losangeles-farm", "automation", "0")),
    (_day(2, 2), Record("seven-decimals", "2024-02-02T10:00:00Z", "helsinki-drawings", "automation", "1.2345678")),
    (_day(2, 6), Record("clock-of-2034", "2034-02-06T11:00:00Z", "saopaulo-facades", "automation", "4.2")),
    (_day(2, 12), Record("vienna-twice", "2024-02-12T09:30:00Z", "vienna-stairs", "model_derivative_complex", "9")),
    (
        _day(2, 14),
        Record("back-of-none", "2024-02-14T10:00:00Z", "tokyo-converter", "model_derivative_simple", "-2", "no-event"),
    ),
    (_day(2, 19), Record("unknown-app", "2024-02-19T13:00:00Z", "left-over-test-app", "automation", "7")),
    *(
        (_day(3, d), Record(f"toronto-{d}", f"2024-03-{d:02d}T17:00:00Z", "toronto-trial", "automation", "12.5"))
        for d in (4, 5, 7)
    ),
)


def _by_day(*planned: tuple[date, Record]) -> Mapping[date, tuple[Record, ...]]:
    days: dict[date, tuple[Record, ...]] = {}
    for day, record in planned:
        days[day] = (*days.get(day, ()), record)
    return MappingProxyType(days)


PLANNED = _by_day(*_PLANNED, *_REJECTED)

BROKEN_LINES: Mapping[date, tuple[str, ...]] = MappingProxyType(
    {
        _day(1, 23): ("cut-off,2024-01-23T23:59:59Z,paris-drawings,automation,1,,,,one cell too many",),
        _day(2, 7): ('{"event_id": "torn", "occurred_at": "2024-02-07T23:5',),
    }
)
"""By day of the file, records that cannot be read."""
