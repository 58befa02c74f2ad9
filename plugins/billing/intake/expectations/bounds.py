"""The bounds of the extract's suite: each may be changed in ``billing.toml``, table ``[expectations]``, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import isfinite

from billing.core.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """How far a window may be from what was usual before it stops the run. Every one is a number, not below 0.

    history_days        how far back "usual" reaches: four weeks have four of each weekday, and a month's end
    windows_min         windows with records before a source has a history at all; a source that delivers seldom is
                        compared with this many windows, however far back they lie (until 400 days)
    days_min            days of history before volume and silence are compared: two weekends must have been seen
    slack_records       so many records of a window may be bad before any share of them says something: one bad
                        record in three is no anomaly, and neither is a test file
    malformed_percent   of a file's records, those that are unreadable, and those without a proper instant or quantity:
                        above it the file holds something else than its header says
    quarantined_percent of a window's records, where nothing is usual yet: above it, reference data or source are wrong
    quarantined_times,  a window's share may be this many times the usual one and these points more: a customer whose
    quarantined_points  apps are not registered yet moves it by some points, a format that changed by most of them
    duplicates_times,   as for quarantined ones, but only a warning: what was sent again is dropped, and what matters is
    duplicates_points   that somebody knows why
    volume_up_times,    the last day's records against the fullest and the emptiest day of the history. A day, not the
    volume_down_times   window: nights, and windows that make up for an outage, are like any other in a day's sum. The
                        emptiest day is a Sunday or a holiday, so that one more of these is no anomaly
    volume_slack        records a day that are no anomaly by themselves, whatever the ratio: of little, much is noise
    weekday_times       the last day against the same weekdays, both ways; only a warning, as holidays fall on weekdays
    delay_times,        how old the newest record is at the window's end, against the oldest it was before
    delay_slack_hours
    silence_times,      how long nothing has come, against the longest pause before: nights and weekends are pauses
    silence_slack_hours
    unknown_names       names of APIs, and of apps, that reference data do not know and this source never sent before:
                        some are new customers, many at once are names that are written in another way
    """

    history_days: float = 28
    windows_min: float = 10
    days_min: float = 14
    slack_records: float = 20
    malformed_percent: float = 20
    quarantined_percent: float = 50
    quarantined_times: float = 3
    quarantined_points: float = 10
    duplicates_times: float = 3
    duplicates_points: float = 20
    volume_up_times: float = 5
    volume_down_times: float = 3
    volume_slack: float = 100
    weekday_times: float = 3
    delay_times: float = 3
    delay_slack_hours: float = 1
    silence_times: float = 3
    silence_slack_hours: float = 1
    unknown_names: float = 20

    @classmethod
    def of(cls, changed: Mapping[str, float]) -> Bounds:
        """The defaults with some changed. Raises ``UsageError`` for a name or a number that makes no sense."""
        known = [field.name for field in fields(cls)]
        if wrong := sorted(set(changed) - set(known)):
            raise UsageError(f"[expectations]: {wrong[0]!r} is no bound; there are: {', '.join(known)}.")
        for name, value in changed.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
                raise UsageError(f"[expectations]: {name} is {value!r}; it must be a number, not below 0.")
            if name.endswith("down_times") and value < 1:
                raise UsageError(f"[expectations]: {name} is {value!r}; below 1 every day would be too empty.")
        return replace(cls(), **changed)
