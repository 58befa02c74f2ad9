"""What was in force when: rates, prices and taxes before and after a load, and the stretches in which they differ."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from billing.core.frames import rows
from billing.core.reference import FOREVER_US

Value = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class InForce:
    """Values in order of their ``starts`` (instants in microseconds, or days), each in force until the next."""

    starts: Sequence[int] = ()
    values: Sequence[Value] = ()

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, Value]]) -> InForce:
        """From starts and values in any order."""
        ordered = sorted(pairs)
        return cls(starts=[start for start, _ in ordered], values=[value for _, value in ordered])

    def at(self, when: int) -> Value | None:
        """The value in force; None where there is none."""
        place = bisect_right(self.starts, when)
        return self.values[place - 1] if place else None

    def start_at(self, when: int) -> int | None:
        """When the value in force began; None where there is none."""
        place = bisect_right(self.starts, when)
        return self.starts[place - 1] if place else None


NOTHING = InForce()


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A stretch ``[low, high)`` in which one value was in force before a load and another one is after it.
    ``starts`` say which rows brought the two.
    """

    low: int
    high: int
    before: Value | None
    after: Value | None
    starts: frozenset[int | None]

    def within(self, low: int, high: int) -> bool:
        """Whether any instant of ``[low, high)`` lies in it."""
        return self.low < high and low < self.high


def in_force(
    frame: pd.DataFrame, key: Sequence[str], values: Sequence[str], wanted: Collection[tuple[str, ...]]
) -> dict[tuple[str, ...], InForce]:
    """By key, what a table with ``valid_from`` says of the keys that are wanted."""
    found: dict[tuple[str, ...], list[tuple[int, Value]]] = {}
    mine = frame[frame[key[0]].isin({one[0] for one in wanted})]
    for row in rows(mine.astype(object)):
        name = tuple(getattr(row, column) for column in key)
        found.setdefault(name, []).append((int(row.valid_from), tuple(int(getattr(row, v)) for v in values)))
    return {name: InForce.of(pairs) for name, pairs in found.items() if name in wanted}


def pieces(low: int, high: int, *laws: InForce) -> Iterator[tuple[int, int]]:
    """``[low, high)`` in stretches within which each of the laws is constant."""
    cuts = {low, *(start for law in laws for start in law.starts if low < start < high)}
    yield from pairwise([*sorted(cuts), high])


def differences(before: InForce, after: InForce) -> list[Difference]:
    """Every stretch in which the two are not the same, in order."""
    first = min((*before.starts, *after.starts), default=FOREVER_US)
    return [
        Difference(
            low=low,
            high=high,
            before=before.at(low),
            after=after.at(low),
            starts=frozenset({before.start_at(low), after.start_at(low)}),
        )
        for low, high in pieces(first, FOREVER_US, before, after)
        if before.at(low) != after.at(low)
    ]


def differences_by_key(
    before: Mapping[tuple[str, ...], InForce], after: Mapping[tuple[str, ...], InForce]
) -> dict[tuple[str, ...], list[Difference]]:
    """The differences of every key that has any."""
    found = {key: differences(before.get(key, NOTHING), after.get(key, NOTHING)) for key in {**before, **after}}
    return {key: mine for key, mine in found.items() if mine}
