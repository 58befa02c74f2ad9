"""Usage to charged units and carry-over (section 4 of the rules), vectorised over many accumulators at once.

With ``total`` the running sum of opening carry and quantities, the units charged up to an event are
``max(0, the largest total // size seen so far)``: units once charged are not taken back (rule 4.3), and what
is left, ``total - units * size``, is the carry-over. A change of size starts a new stretch whose opening is
the carry-over of the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pandas as pd

from billing.core.asof import Int64s

NO_SIZE = -1
"""The unit size of an API that has none in force: usage waits in the carry-over (rule 8.1)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metered:
    """Per event, in the order given: units that it completed and the carry-over after it (int64)."""

    charged_units: Int64s
    carry_micro: Int64s


def units_by_size(sizes: Sequence[Decimal], used_up: Decimal, units: int) -> tuple[int, ...] | None:
    """How many of some units were of each size, where they used up ``used_up`` together: opening + usage - closing of a
    cycle (rule 4.4). None where the sums alone do not say it: with three sizes or more, or where they do not add up.
    """
    if len(sizes) == 1:
        return (units,) if Fraction(used_up) == units * Fraction(sizes[0]) else None
    if len(sizes) != 2 or sizes[0] == sizes[1]:
        return None
    first, second = map(Fraction, sizes)
    of_first = (Fraction(used_up) - units * second) / (first - second)
    return (int(of_first), units - int(of_first)) if of_first.denominator == 1 and 0 <= of_first <= units else None


# Float64 sums are off by far less than this margin, so whatever stays below fits in int64.
_SAFE_MICRO = float(2**62)


def overflowing(accumulator: Int64s, quantity_micro: Int64s, opening_micro: Int64s) -> npt.NDArray[np.bool_]:
    """From which event on an accumulator could leave 64 bits: bool of shape (events,). Arguments as for ``meter``."""
    moved = np.cumsum(np.abs(quantity_micro.astype(np.float64)))
    before = np.concatenate([[0.0], moved[:-1]])[np.searchsorted(accumulator, accumulator)] if len(moved) else moved
    reached: npt.NDArray[np.float64] = moved - before + np.abs(opening_micro.astype(np.float64))[accumulator]
    return reached >= _SAFE_MICRO


def meter(accumulator: Int64s, quantity_micro: Int64s, size_micro: Int64s, opening_micro: Int64s) -> Metered:
    """Charge whole units (rule 4.2).

    accumulator     (events,) int64, non-decreasing: which team and API the event belongs to; within one
                    accumulator events stand in their order (rule 4.2)
    quantity_micro  (events,) int64, negative for corrections
    size_micro      (events,) int64, the unit size in force at the event's effective instant, or ``NO_SIZE``
    opening_micro   (accumulators,) int64, the carry-over before the first event

    The caller has set to 0 what ``overflowing`` names.
    """
    charged = np.zeros(len(accumulator), dtype=np.int64)
    carry = np.zeros(len(accumulator), dtype=np.int64)
    opening = opening_micro.copy()
    for rows in _stretches(accumulator, size_micro):
        metered = _meter_stretch(accumulator[rows], quantity_micro[rows], size_micro[rows], opening)
        charged[rows], carry[rows] = metered.charged_units, metered.carry_micro
        # The last row of an accumulator wins: assignment with repeated indexes keeps the last value.
        opening[accumulator[rows]] = metered.carry_micro
    return Metered(charged_units=charged, carry_micro=carry)


def _stretches(accumulator: Int64s, size_micro: Int64s) -> list[Int64s]:
    """Row numbers in rounds: round k holds the k-th stretch of constant size of every accumulator."""
    if not len(accumulator):
        return []
    fresh = np.ones(len(accumulator), dtype=bool)
    fresh[1:] = accumulator[1:] != accumulator[:-1]
    changed = ~fresh
    changed[1:] &= size_micro[1:] != size_micro[:-1]
    if not changed.any():
        return [np.arange(len(accumulator))]
    changes = np.cumsum(changed)
    first_row = np.maximum.accumulate(np.where(fresh, np.arange(len(accumulator)), 0))
    stretch = changes - changes[first_row]
    by_stretch = np.argsort(stretch, kind="stable")
    return np.split(by_stretch, np.flatnonzero(np.diff(stretch[by_stretch])) + 1)


def _meter_stretch(accumulator: Int64s, quantity: Int64s, size: Int64s, opening: Int64s) -> Metered:
    """One size per accumulator. Sums over all rows may wrap around; differences within one accumulator are exact."""
    fresh = np.ones(len(accumulator), dtype=bool)
    fresh[1:] = accumulator[1:] != accumulator[:-1]
    starts = np.flatnonzero(fresh)
    lengths = np.diff(np.append(starts, len(accumulator)))
    running = np.cumsum(quantity)
    before = running[starts] - quantity[starts]
    total = running - np.repeat(before, lengths) + opening[accumulator]
    sized = size != NO_SIZE
    reached = np.where(sized, np.maximum(total // np.where(sized, size, 1), 0), 0)
    if (quantity < 0).any():
        reached = pd.Series(reached).groupby(np.repeat(np.arange(len(starts)), lengths)).cummax().to_numpy()
    charged = np.diff(reached, prepend=0)
    charged[starts] = reached[starts]
    return Metered(charged_units=charged, carry_micro=total - np.where(sized, reached * size, 0))
