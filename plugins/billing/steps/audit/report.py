"""What a rerun found: counts, what differs, and every comparison in a file; files of parts put together again."""

from __future__ import annotations

import csv
from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from pathlib import Path

from billing.core.instants import format_us, parse_instant_us
from billing.outbound.output_tables import write_table
from billing.steps.audit.comparing import Comparison, Verdict

VERSION = "version"
COLUMNS = ("what", "team_id", "cycle_start", "key", "field", "stored", "again", "verdict")
SHOWN = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """``counts`` by (what, verdict), in their order; the first of those that are not equal, in the order of the file,
    differences of substance before others.
    """

    counts: Mapping[tuple[str, Verdict], int]
    different: tuple[Comparison, ...]

    def count(self, verdict: Verdict) -> int:
        """How many comparisons came to it."""
        return sum(count for (_, found), count in self.counts.items() if found is verdict)

    @property
    def verdict(self) -> Verdict:
        """Of all together: the gravest."""
        return next((one for one in (Verdict.DIFFERS, Verdict.RENDERER) if self.count(one)), Verdict.EQUAL)


def take(comparisons: Iterable[Comparison], out: Path | None = None, shown: int = SHOWN) -> Outcome:
    """Count them, and keep ``shown`` of those that differ; ``out`` is where all are written as CSV, sorted, whole or
    not at all.
    """
    counts: Counter[tuple[str, Verdict]] = Counter()
    different: dict[Verdict, list[Comparison]] = {Verdict.DIFFERS: [], Verdict.RENDERER: []}

    def cells() -> Iterator[tuple[str, ...]]:
        for one in comparisons:
            counts[one.what, one.verdict] += 1
            if one.verdict is not Verdict.EQUAL:
                insort(different[one.verdict], one, key=as_cells)
                del different[one.verdict][shown:]
            yield as_cells(one)

    if out is None:
        for _ in cells():
            pass
    else:
        write_table(out, COLUMNS, cells())
    first = (different[Verdict.DIFFERS] + different[Verdict.RENDERER])[:shown]
    return Outcome(counts=dict(sorted(counts.items())), different=tuple(first))


def as_cells(one: Comparison) -> tuple[str, ...]:
    """A comparison as a row of ``COLUMNS``."""
    start = "" if one.cycle_start_us is None else format_us(one.cycle_start_us)
    return one.what, one.team_id, start, one.key, one.field, one.stored, one.again, one.verdict.value


def read_file(path: Path) -> Iterator[Comparison]:
    """The comparisons of a file that ``take`` has written, in its order."""
    with path.open(newline="", encoding="utf-8") as handle:
        for what, team_id, start, key, field, stored, again, verdict in _rows(handle):
            yield Comparison(
                what=what,
                team_id=team_id,
                cycle_start_us=parse_instant_us(start) if start else None,
                key=key,
                field=field,
                stored=stored,
                again=again,
                verdict=Verdict(verdict),
            )


def _rows(handle: Iterable[str]) -> Iterator[list[str]]:
    cells = csv.reader(handle)
    next(cells)
    return cells


def put_together(parts: Sequence[Path]) -> Iterator[Comparison]:
    """The comparisons of files of which each has other teams, in the order of the one file that a single rerun of all
    would have given. What is said once a close, of its first team, is said once here too.
    """
    said: set[str] = set()
    for one in merge(*map(read_file, parts), key=as_cells):
        if one.what != VERSION or one.key not in said:
            yield one
        if one.what == VERSION:
            said.add(one.key)
