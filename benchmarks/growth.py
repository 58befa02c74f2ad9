"""How costs grow: a series as a table (``usage.csv``) and as a drawing (``usage.svg``) of seconds and peak memory."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.usage import Row

HEADER = (
    "events",
    "teams",
    "months_before",
    "events_a_month_before",
    "part",
    "seconds",
    "cpu_seconds",
    "events_per_second",
    "peak_mb",
    "times_floor",
    "times_floor_cpu",
    "extrapolated_from",
)
# By part its name, colour and dashes: a colour a contender.
_LINES = {
    "floor_ingest": ("floor: ingest", "#777777", ""),
    "floor_rate": ("floor: rate", "#777777", "6 4"),
    "ours_ingest": ("ours: ingest", "#0b61a4", ""),
    "ours_rate": ("ours: close", "#0b61a4", "6 4"),
    "ours_issue": ("ours: issue", "#0b61a4", "2 3"),
    "ours_simulate": ("ours: simulate", "#0b61a4", "12 3 2 3"),
    "postgres_load": ("PostgreSQL: COPY", "#c05a00", ""),
    "postgres_query": ("PostgreSQL: query", "#c05a00", "6 4"),
    "one_by_one": ("one at a time", "#a3195b", "6 4"),
}
_WIDE, _HIGH, _LEFT, _TOP, _GAP, _LEGEND = 300, 260, 70, 50, 60, 190


def write_growth(folder: Path, rows: Sequence[Row]) -> None:
    """Write both files; ``rows`` are of one number of months."""
    with (folder / "usage.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([HEADER, *map(_cells, rows)])
    (folder / "usage.svg").write_text(_drawing(rows), "utf-8")


def _cells(row: Row) -> tuple[object, ...]:
    size, figures = row.size, row.figures
    measured = (f"{figures.wall_s:.3f}", f"{figures.cpu_s:.3f}", f"{row.events_per_s:.0f}", f"{figures.peak_mb:.0f}")
    ratios = ("" if each is None else f"{each:.2f}" for each in (row.ratio, row.cpu_ratio))
    return (size.events, size.teams, size.months, size.history_events, row.part, *measured, *ratios, row.sample or "")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Panel:
    """One pair of axes, both logarithmic, in whole decades; ``left`` and ``top`` are its corner in pixels."""

    left: int
    top: int
    title: str
    across: tuple[int, int]
    up: tuple[int, int]

    def x(self, value: float) -> float:
        """Pixels of a value on the axis across."""
        low, high = self.across
        return self.left + _WIDE * (log10(value) - low) / (high - low)

    def y(self, value: float) -> float:
        """Pixels of a value on the axis upwards."""
        low, high = self.up
        return self.top + _HIGH * (1 - (log10(value) - low) / (high - low))

    def axes(self) -> Iterator[str]:
        """Frame, title, and a line a decade."""
        yield f'<text class="title" x="{self.left}" y="{self.top - 12}">{escape(self.title)}</text>'
        for power in range(self.across[0], self.across[1] + 1):
            x = self.x(10**power)
            yield f'<path class="grid" d="M{x:.1f} {self.top}v{_HIGH}"/>'
            yield f'<text x="{x:.1f}" y="{self.top + _HIGH + 16}" text-anchor="middle">{_named(power)}</text>'
        for power in range(self.up[0], self.up[1] + 1):
            y = self.y(10**power)
            yield f'<path class="grid" d="M{self.left} {y:.1f}h{_WIDE}"/>'
            yield f'<text x="{self.left - 6}" y="{y + 4:.1f}" text-anchor="end">{_named(power)}</text>'

    def line(self, part: str, points: Sequence[tuple[float, float]]) -> Iterator[str]:
        """One part's values, joined, with a dot each."""
        _, colour, dashes = _LINES[part]
        places = [(self.x(across), self.y(up)) for across, up in sorted(points)]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        yield f'<path class="line" d="{path}" stroke="{colour}" stroke-dasharray="{dashes}"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places)


def _drawing(rows: Sequence[Row]) -> str:
    """Above seconds, below memory; a panel a number of teams, by events; or one, by teams, where only they grow."""
    events, teams = sorted({row.size.events for row in rows}), sorted({row.size.teams for row in rows})
    by_teams = len(events) == 1 and len(teams) > 1
    groups = [rows] if by_teams else [[row for row in rows if row.size.teams == count] for count in teams]
    names = [f"{events[0]:,} events, by teams"] if by_teams else [f"{count:,} teams, by events" for count in teams]
    across = _decades([row.size.teams if by_teams else row.size.events for row in rows])
    parts: list[str] = []
    for level, (unit, up_of) in enumerate((("seconds", _seconds), ("peak MB", _memory))):
        up = _decades([up_of(row) for row in rows])
        for place, (name, group) in enumerate(zip(names, groups, strict=True)):
            left, top = _LEFT + place * (_WIDE + _GAP), _TOP + level * (_HIGH + _GAP + 10)
            panel = _Panel(left=left, top=top, title=f"{unit}: {name}", across=across, up=up)
            parts += panel.axes()
            for part in _LINES:
                points = [
                    (row.size.teams if by_teams else row.size.events, up_of(row)) for row in group if row.part == part
                ]
                parts += panel.line(part, points) if points else ()
    width = _LEFT + len(groups) * (_WIDE + _GAP)
    drawn = {row.part for row in rows}
    legend = _legend(width, [part for part in _LINES if part in drawn])
    return _page(width + _LEGEND, 2 * (_TOP + _HIGH + 35), [*parts, *legend])


def _seconds(row: Row) -> float:
    return max(row.figures.wall_s, 0.001)


def _memory(row: Row) -> float:
    return max(row.figures.peak_mb, 1.0)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """The least whole powers of ten around all values."""
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    return low, max(high, low + 1)


def _named(power: int) -> str:
    """A power of ten as it is read: 0.01, 100, 10k, 1M."""
    if power < 0:
        return f"{10**power:g}"
    group = min(power // 3, 3)
    return f"{10 ** (power - 3 * group)}{('', 'k', 'M', 'G')[group]}"


def _legend(left: int, names: Sequence[str]) -> Iterator[str]:
    for place, part in enumerate(names):
        name, colour, dashes = _LINES[part]
        y = _TOP + 10 + place * 22
        yield f'<path class="line" d="M{left} {y}h36" stroke="{colour}" stroke-dasharray="{dashes}"/>'
        yield f'<text x="{left + 44}" y="{y + 4}">{escape(name)}</text>'


def _page(width: int, height: int, parts: Sequence[str]) -> str:
    style = (
        "text{font:12px sans-serif;fill:#333}.title{font-weight:bold}"
        ".grid{stroke:#ddd;fill:none}.line{stroke-width:2;fill:none}"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    body = [head, "<title>What usage costs, by size</title>", f"<style>{style}</style>"]
    return "\n".join([*body, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])
