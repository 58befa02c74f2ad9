"""What came of faults, counted: a row a kind and database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.faults.work import STATUS_OF_TRACEBACK, Rows, Seen

COLUMNS = ("kind", "database", "tried", "recovered", "lost", "doubled", "unseen")


@dataclass(kw_only=True)
class Tally:
    """Faults of one kind. ``recovered`` are those after which all was as without them; ``lost`` and ``doubled`` count
    rows, ``unseen`` faults of which nobody was told. ``wrong`` says what else was not as it should be.
    """

    kind: str
    database: str
    tried: int = 0
    recovered: int = 0
    lost: int = 0
    doubled: int = 0
    unseen: int = 0
    swept: int = 0
    cuts: int = 0
    wrong: list[str] = field(default_factory=list)
    seen_by: dict[str, list[str]] = field(default_factory=dict)

    @property
    def fine(self) -> bool:
        """Whether every fault was recovered from, or found."""
        return self.recovered == self.tried and not (self.lost or self.doubled or self.unseen or self.wrong)

    def compare(self, what: str, wanted: Rows, seen: Seen) -> None:
        """Count one fault by what is in the home after it."""
        lost, doubled = wanted - seen.rows, seen.rows - wanted
        problems = list(seen.wrong)
        if seen.status == STATUS_OF_TRACEBACK:
            problems.append("a traceback")
        if not seen.swept:
            problems.append(f"left behind: {seen.left}")
        self.tried += 1
        self.lost += lost.total()
        self.doubled += doubled.total()
        self.swept += bool(seen.left)
        self.recovered += not (lost or doubled or problems)
        self.wrong += [f"{what}: {problem}" for problem in problems]
        self.wrong += [
            f"{what}: {name} {row}" for name, rows in (("-", lost), ("+", doubled)) for row in list(rows)[:3]
        ]

    def found(self, what: str, by: Sequence[str]) -> None:
        """Count one fault by who told of it."""
        self.tried += 1
        self.recovered += bool(by)
        self.unseen += not by
        if not by:
            self.wrong.append(f"unseen: {what}")

    @property
    def cells(self) -> tuple[str, ...]:
        """The row, as it is shown."""
        counts = (self.tried, self.recovered, self.lost, self.doubled, self.unseen)
        return (self.kind, self.database, *map(str, counts))


def table(tallies: Iterable[Tally]) -> str:
    """The table, in Markdown."""
    rows = [COLUMNS, *(tally.cells for tally in tallies)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "| " + " | ".join("---".ljust(width, "-") for width in widths) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])
