"""Which row of a history is in force at an instant: one vectorised search, used wherever something has a
``valid_from``.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]


class AsOf:
    """Rows with a key and a start, searched by key and instant.

    ``keys`` are whole numbers in ``[0, key_count)``, ``starts_us`` int64; both of shape (rows,). Rows need not be
    sorted.
    """

    def __init__(self, keys: Int64s, starts_us: Int64s, key_count: int) -> None:
        self._order = np.lexsort((starts_us, keys))
        self._starts = starts_us[self._order]
        self._first = np.searchsorted(keys[self._order], np.arange(key_count + 1))
        self._longest = int(np.diff(self._first).max(initial=0))

    def row_at(self, keys: Int64s, at_us: Int64s) -> Int64s:
        """For each pair the row of that key with the latest start at or before the instant; -1 where there is none
        (a key of -1 has none)."""
        known = keys >= 0
        safe = np.where(known, keys, 0)
        if not len(self._starts):
            return np.full(len(keys), -1, dtype=np.int64)
        low, high = self._first[safe], self._first[safe + 1]
        base = low.copy()
        for _ in range(self._longest.bit_length()):
            middle = (low + high) // 2
            inside = low < high
            hit = inside & (self._starts[np.minimum(middle, len(self._starts) - 1)] <= at_us)
            low = np.where(hit, middle + 1, low)
            high = np.where(inside & ~hit, middle, high)
        found = known & (low > base)
        return np.where(found, self._order[np.maximum(low - 1, 0)], -1)


def values_during(rows: Iterable[tuple[int, int]], start_us: int, end_us: int) -> list[tuple[int | None, int]]:
    """Of instants and values from then on, in order of time, those in force during ``[start, end)``; one that is the
    same as before is left out. The instant is None where a value held at the start.
    """
    found: list[tuple[int | None, int]] = []
    for since, value in rows:
        if since <= start_us:
            found = [(None, value)]
        elif since < end_us and (not found or found[-1][1] != value):
            found.append((since, value))
    return found
