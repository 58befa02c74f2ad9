"""Months of the seller's calendar: what finance closes its books by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

from billing.core.cycles import start_of_local_day_us

_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A month of the calendar, written ``2026-07``."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """``YYYY-MM``. ``ValueError`` for anything else, and for the calendar's last month, which has no next one."""
        found = _MONTH.fullmatch(text)
        if found is None or not "0001-01" <= text < "9999-12":
            raise ValueError(f"{text!r} is not a month; write YYYY-MM")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def of(cls, day: date) -> Month:
        """The month that a day is in."""
        return cls(day.year, day.month)

    @property
    def first_day(self) -> date:
        """Its first day."""
        return date(self.year, self.month, 1)

    @property
    def last_day(self) -> date:
        """Its last day."""
        return self.next.first_day - timedelta(days=1)

    @property
    def next(self) -> Month:
        """The month after it."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def before(self) -> Month:
        """The month before it."""
        return Month.of(self.first_day - timedelta(days=1))

    def start_us(self, zone_name: str) -> int:
        """The start of its first local day in a zone, in microseconds."""
        return start_of_local_day_us(zone_name, self.first_day)

    def end_us(self, zone_name: str) -> int:
        """Where it ends, the start of the next month's first local day: that instant is no longer in it."""
        return self.next.start_us(zone_name)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"
