"""What is expected of an extract: what a window of a source, or a delivery by hand, brought.

Absolute expectations hold for every extract. What is compared with earlier windows needs earlier windows: a young
source is not compared. Records are judged already: what is counted here is what would be written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pandas as pd

from billing.core.instants import DAY_US, format_us, from_us
from billing.intake.expectations.bounds import Bounds
from billing.intake.expectations.history import History, usual
from billing.intake.expectations.suite import WARNING, Expected, Frames, Suite, between, limited, one_of

FILES, WINDOW = "files", "window"
FORMATS = ("csv", "csv.gz", "jsonl", "jsonl.gz", "parquet")
_HOUR_US = 3_600_000_000
_ACCEPT = "Look at what came; where it is right, run it again with a reason in `accept_anomaly`"
_LOOK = "Nothing is stopped by this"


@dataclass(frozen=True, kw_only=True, slots=True)
class Extract:
    """What was brought. ``start_us`` is None where nothing is said of a window.

    ``files`` is a row a file, its index the file's name: format (text), unknown_columns, records, unreadable,
    bad_instants, bad_quantities (int64, counts). ``newest_us`` is when its newest record occurred that is not in the
    future; None where there is none. Names are counted, distinct: those that reference data do not know and the source
    never sent before, and APIs that are used for the first time. ``reasons`` says why records are quarantined.
    """

    source: str
    start_us: int | None
    end_us: int
    files: pd.DataFrame
    records: int
    quarantined: int
    duplicates: int
    newest_us: int | None
    unknown_apis: int
    unknown_apps: int
    first_used_apis: int
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """In words: the source, and its window."""
        through = format_us(self.end_us)
        if self.start_us is None:
            return f"{self.source}, through {through}"
        return f"{self.source}, {format_us(self.start_us)} to {through}"


def extract_suite(extract: Extract, history: History, bounds: Bounds) -> tuple[Suite, Frames]:
    """The suite for this extract, and the frames to evaluate it on: a row a file, and one row of the window."""
    look = _Look(extract, history, bounds)
    expectations = tuple(look.expectations())
    files = extract.files.assign(allowed=[look.allowed(n, bounds.malformed_percent) for n in extract.files["records"]])
    window = pd.DataFrame({name: [value] for name, value in look.measured.items()}, index=["the window"])
    suite = Suite(name="extract", subject=extract.subject, expectations=expectations)
    return suite, {FILES: files, WINDOW: window}


def is_silent(extract: Extract, history: History, bounds: Bounds) -> bool:
    """Whether a window without records comes after a pause that was never seen: all there is to look at in one."""
    look = _Look(extract, history, bounds)
    return any(look.measured["silent_hours"] > (e.arguments["max_value"] or 0) for e in look.silence())


class _Look:
    """What is measured of a window, each beside the limit that earlier windows give."""

    def __init__(self, extract: Extract, history: History, bounds: Bounds) -> None:
        self.extract, self.history, self.bounds = extract, history, bounds
        self.measured: dict[str, float] = {
            name: getattr(extract, name)
            for name in ("records", "quarantined", "duplicates", "unknown_apis", "unknown_apps", "first_used_apis")
        }
        last = history.last_filled_us
        self.measured["silent_hours"] = 0.0 if last is None else (extract.end_us - last) / _HOUR_US
        self.has_history = len(history.filled) >= bounds.windows_min
        self.is_old = self.has_history and history.reaches(bounds.days_min, extract.end_us)
        self.since = "" if history.since_us is None else f"since {from_us(history.since_us):%Y-%m-%d}"

    def expectations(self) -> Iterator[Expected]:
        """All that can be expected of this window."""
        if not self.extract.records:
            yield from self.silence()
            return
        yield from self._files()
        yield from self._shares()
        yield from self._names()
        yield from self._volume()
        yield from self._freshness()

    def allowed(self, records: int, percent: float) -> int:
        """So many of ``records`` may be bad."""
        return int(max(self.bounds.slack_records, records * min(percent, 100) / 100))

    def _files(self) -> Iterator[Expected]:
        percent, slack = self.bounds.malformed_percent, self.bounds.slack_records
        few = f"at most {percent:g} % of a file's records, or {slack:g} of them"
        advice = f"Open the file: its columns may have changed places or their format. {_ACCEPT}"
        yield _expected("format", FILES, one_of("format", FORMATS), "a format of the data contract", _ACCEPT)
        for name, what in (
            ("unreadable", "are unreadable"),
            ("bad_instants", "have no proper instant in occurred_at"),
            ("bad_quantities", "have no proper quantity"),
        ):
            yield _expected(name, FILES, limited(name, "allowed"), f"{few}, {what}", advice)
        known = "only columns of the data contract; others are ignored"
        yield _expected("unknown_columns", FILES, between("unknown_columns", 0, 0), known, _LOOK, WARNING)

    def _shares(self) -> Iterator[Expected]:
        bounds, records = self.bounds, self.extract.records
        percent, why = bounds.quarantined_percent, "nothing is usual yet"
        if self.has_history:
            share = 100 * self.history.share("quarantined")
            percent = share * bounds.quarantined_times + bounds.quarantined_points
            why = f"usual is {share:.2f} % {self.since}"
        most = self.allowed(records, percent)
        advice = f"They are {self._reasons()}. {_ACCEPT}"
        says = f"at most {most} of {records} records are quarantined ({why})"
        yield _expected("quarantined", WINDOW, between("quarantined", 0, most), says, advice)
        share = 100 * self.history.share("duplicates")
        most = self.allowed(records, share * bounds.duplicates_times + bounds.duplicates_points)
        says = f"at most {most} of {records} records were delivered before (usual is {share:.2f} %)"
        yield _expected("duplicates", WINDOW, between("duplicates", 0, most), says, _LOOK, WARNING)

    def _reasons(self) -> str:
        counts = sorted(self.extract.reasons.items(), key=lambda each: (-each[1], each[0]))
        return ", ".join(f"{count} {reason}" for reason, count in counts) or "not counted by reason"

    def _names(self) -> Iterator[Expected]:
        most = self.bounds.unknown_names
        for name, what in (("unknown_apis", "APIs"), ("unknown_apps", "apps")):
            says = f"at most {most:g} names of {what} that nobody knows and this source never sent before"
            advice = f"Their ids may be written in another way now, or reference data are missing. {_ACCEPT}"
            yield _expected(name, WINDOW, between(name, 0, most), says, advice)
        if self.has_history:
            says = "no API is used for the first time"
            yield _expected("first_used_apis", WINDOW, between("first_used_apis", 0, 0), says, _LOOK, WARNING)

    def _volume(self) -> Iterator[Expected]:
        extract, bounds = self.extract, self.bounds
        if extract.start_us is None or not self.is_old:
            return
        begin_us = min(extract.start_us, extract.end_us - DAY_US)
        earlier = 0.0 if begin_us == extract.start_us else self.history.records_in(begin_us, extract.start_us)
        days = self.history.days_before(begin_us, int(bounds.history_days))
        if earlier is None or len(usual(days)) < bounds.days_min:
            return
        per_day = (earlier + extract.records) * DAY_US / (extract.end_us - begin_us)
        self.measured["records_a_day"] = round(per_day, 1)
        low = max(min(usual(days)) / bounds.volume_down_times - bounds.volume_slack, 0)
        high = max(usual(days)) * bounds.volume_up_times + bounds.volume_slack
        says = f"between {low:.0f} and {high:.0f} records a day: it was {_range(days)} {self.since}"
        advice = f"Records may be missing at the source, or come twice under new ids. {_ACCEPT}"
        yield _expected("records_a_day", WINDOW, between("records_a_day", low, high), says, advice)
        yield from self._weekdays(days)

    def _weekdays(self, days: list[float | None]) -> Iterator[Expected]:
        same = days[6::7]
        if not usual(same):
            return
        self.measured["records_a_weekday"] = self.measured["records_a_day"]
        low = max(min(usual(same)) / self.bounds.weekday_times - self.bounds.volume_slack, 0)
        high = max(usual(same)) * self.bounds.weekday_times + self.bounds.volume_slack
        says = f"between {low:.0f} and {high:.0f} records a day: it was {_range(same)} on such weekdays"
        yield _expected("records_a_weekday", WINDOW, between("records_a_weekday", low, high), says, _LOOK, WARNING)

    def _freshness(self) -> Iterator[Expected]:
        extract, delays = self.extract, self.history.delays_us()
        if None in (extract.start_us, extract.newest_us) or not self.is_old or len(delays) < self.bounds.windows_min:
            return
        self.measured["delay_hours"] = (extract.end_us - int(extract.newest_us or 0)) / _HOUR_US
        most = max(delays) / _HOUR_US * self.bounds.delay_times + self.bounds.delay_slack_hours
        before = max(delays) / _HOUR_US
        says = f"the newest record is at most {most:.1f} hours old: it was at most {before:.1f} hours {self.since}"
        advice = f"The source may be behind: what it owes would be late usage. {_ACCEPT}"
        yield _expected("delay_hours", WINDOW, between("delay_hours", None, most), says, advice)

    def silence(self) -> Iterator[Expected]:
        """What is expected of a window without records."""
        pauses = self.history.pauses_us()
        if self.extract.start_us is None or not self.is_old or not pauses:
            return
        before = max(pauses) / _HOUR_US
        most = before * self.bounds.silence_times + self.bounds.silence_slack_hours
        says = f"something comes within {most:.1f} hours: the longest pause was {before:.1f} hours {self.since}"
        advice = (
            "Ask at the source whether usage is lost. Where there is none, run it again with a reason in "
            "`accept_anomaly`: a pause that was accepted counts as seen"
        )
        yield _expected("silent_hours", WINDOW, between("silent_hours", None, most), says, advice)


def _expected(
    name: str, frame: str, what: tuple[str, dict[str, object]], says: str, advice: str, severity: str = "critical"
) -> Expected:
    return Expected(
        name=name, frame=frame, kind=what[0], arguments=what[1], says=says, advice=advice + ".", severity=severity
    )


def _range(days: list[float | None]) -> str:
    return f"{min(usual(days)):.0f} to {max(usual(days)):.0f}"
