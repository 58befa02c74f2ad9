"""What a rerun found: counts, what differs, and every comparison in a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from billing.core.instants import format_us
from billing.outbound.output_tables import write_table
from billing.steps.audit.comparing import Comparison, Verdict

COLUMNS = ("what", "team_id", "cycle_start", "key", "field", "stored", "again", "verdict")
_SHOWN = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """``counts`` by (what, verdict); the first of those that are not equal, differences of substance before others."""

    counts: Mapping[tuple[str, Verdict], int]
    different: tuple[Comparison, ...]

    def count(self, verdict: Verdict) -> int:
        """How many comparisons came to it."""
        return sum(count for (_, found), count in self.counts.items() if found is verdict)


def take(comparisons: Iterable[Comparison], out: Path | None = None) -> Outcome:
    """Count them; ``out`` is where all are written as CSV, whole or not at all."""
    counts: Counter[tuple[str, Verdict]] = Counter()
    different: dict[Verdict, list[Comparison]] = {Verdict.DIFFERS: [], Verdict.RENDERER: []}

    def cells() -> Iterator[tuple[str, ...]]:
        for one in comparisons:
            counts[one.what, one.verdict] += 1
            if one.verdict is not Verdict.EQUAL and len(different[one.verdict]) < _SHOWN:
                different[one.verdict].append(one)
            yield as_cells(one)

    if out is None:
        for _ in cells():
            pass
    else:
        write_table(out, COLUMNS, cells())
    shown = (different[Verdict.DIFFERS] + different[Verdict.RENDERER])[:_SHOWN]
    return Outcome(counts=dict(counts), different=tuple(shown))


def as_cells(one: Comparison) -> tuple[str, ...]:
    """A comparison as a row of ``COLUMNS``."""
    start = "" if one.cycle_start_us is None else format_us(one.cycle_start_us)
    return one.what, one.team_id, start, one.key, one.field, one.stored, one.again, one.verdict.value
