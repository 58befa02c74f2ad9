"""What the windows of a source were like before: what is usual, from counts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from billing.core.instants import DAY_US

_COVERED = 0.999
"""A day counts where windows cover it but for this: windows meet to the microsecond, days may not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PastWindow:
    """A window ``[start, end)`` that was taken, and counts of its records. ``start_us`` is None where it had no
    beginning; ``newest_us`` is when its newest accepted record occurred, None where that is not known.
    """

    start_us: int | None
    end_us: int
    records: int
    quarantined: int
    duplicates: int
    newest_us: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """A source's windows before this one, in the order of their ends. ``silences_us``: pauses that a person accepted as
    being in order: they count as seen.
    """

    windows: tuple[PastWindow, ...] = ()
    silences_us: tuple[int, ...] = ()

    @property
    def filled(self) -> tuple[PastWindow, ...]:
        """The windows that had records."""
        return tuple(window for window in self.windows if window.records)

    @property
    def since_us(self) -> int | None:
        """When the history begins."""
        return min((w.end_us if w.start_us is None else w.start_us for w in self.windows), default=None)

    @property
    def last_filled_us(self) -> int | None:
        """The end of the last window that had records."""
        return max((window.end_us for window in self.filled), default=None)

    def reaches(self, days: float, until_us: int) -> bool:
        """Whether it is that long."""
        return self.since_us is not None and until_us - self.since_us >= days * DAY_US

    def share(self, count: str) -> float:
        """Of all records, those that are ``quarantined`` or ``duplicates``; 0 where there are none."""
        records = sum(window.records for window in self.windows)
        return sum(getattr(window, count) for window in self.windows) / records if records else 0.0

    def delays_us(self) -> list[int]:
        """How old the newest record was at each window's end, where that is known."""
        return [w.end_us - w.newest_us for w in self.windows if w.records and w.newest_us is not None]

    def pauses_us(self) -> list[int]:
        """The stretches between windows with records, and those that were accepted as being in order."""
        ends = sorted(window.end_us for window in self.filled)
        return [*(late - early for early, late in pairwise(ends)), *self.silences_us]

    def records_in(self, start_us: int, end_us: int) -> float | None:
        """Records of ``[start, end)``, a window's spread evenly over it; None where windows do not cover it."""
        starts, ends, records = self._spans()
        overlap = np.clip(np.minimum(ends, end_us) - np.maximum(starts, start_us), 0, None)
        if overlap.sum() < _COVERED * (end_us - start_us):
            return None
        return float((records * (overlap / (ends - starts))).sum())

    def days_before(self, start_us: int, days: int) -> list[float | None]:
        """Records of the day before ``start_us``, of the day before that, and so on; None where it is not known."""
        return [self.records_in(start_us - (n + 1) * DAY_US, start_us - n * DAY_US) for n in range(days)]

    def _spans(self) -> npt.NDArray[np.int64]:
        bounded = [(w.start_us, w.end_us, w.records) for w in self.windows if w.start_us is not None]
        return np.array(bounded, dtype=np.int64).reshape(-1, 3).T


def usual(values: Sequence[float | None]) -> list[float]:
    """Those that are known."""
    return [value for value in values if value is not None]
