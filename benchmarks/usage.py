"""From usage to charged units: ours beside the floor, a window query in PostgreSQL and a rater of one event at a time.

    python -m benchmarks usage [--events 1000000] [--teams 2000] [--months 0] [--rounds 1] [--only floor,ours]
    python -m benchmarks usage --grid --out FOLDER

All on the same made data in one run, each part in a process of its own: seconds, CPU and peak memory are its own.
``floor.py``, ``pipeline.py``, ``postgres.py`` and ``one_by_one.py`` say what each does. What they charge is compared,
and a run in which they disagree fails. The table has medians of the rounds. A series (several ``--events`` or
``--teams``, or ``--grid``) makes a table each, and with ``--out`` writes ``usage.csv`` and ``usage.svg``.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

import psutil

from benchmarks.agreement import disagreements
from benchmarks.growth import write_growth
from benchmarks.measuring import Figures, run
from benchmarks.workload import DAYS, HISTORY_DAYS, Size, write_workload

CONTENDERS = ("floor", "ours", "postgres", "events")
GRID_EVENTS = (1_000_000, 2_000_000, 5_000_000, 10_000_000)
GRID_TEAMS = (200, 2_000, 20_000)
SAMPLE = 5_000_000
"""As many as one process takes in about a minute, one at a time."""

_BOTH = ("floor_ingest", "floor_rate")

PARTS = {
    "floor_ingest": ("floor: files to Parquet with teams", ("floor_ingest",)),
    "floor_rate": ("floor: sums by team and API", ("floor_rate",)),
    "ours_ingest": ("ours: ingest, file by file", ("floor_ingest",)),
    "ours_rate": ("ours: one close, until its ledger", ("floor_rate",)),
    "ours_issue": ("ours: its invoices issued", ("floor_rate",)),
    "ours_simulate": ("ours: simulate, month by month", _BOTH),
    "postgres_load": ("PostgreSQL: COPY, unique ids", ("floor_ingest",)),
    "postgres_query": ("PostgreSQL: window query", ("floor_rate",)),
    "one_by_one": ("one event at a time, in Python", ("floor_rate",)),
}
"""By part its name in the table, and the floors that it is compared with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A part's line in the table. ``sample`` is how many events it took where it did not take all: seconds are then
    extrapolated by event; memory never is. ``ratio`` and ``cpu_ratio`` are to the floor, in seconds and in seconds of
    CPU (the steadier one on a machine that is shared); None where no floor was measured.
    """

    size: Size
    part: str
    figures: Figures
    ratio: float | None
    cpu_ratio: float | None
    sample: int | None

    @property
    def events_per_s(self) -> float:
        """Events of the measured month per second."""
        return self.size.events / self.figures.wall_s


def main() -> None:
    """Measure each size of the series, print its table, and write the series."""
    chosen = _arguments()
    cores, memory_gb = os.cpu_count(), psutil.virtual_memory().total / 2**30
    print(f"Python {platform.python_version()}, {platform.machine()}, {cores} cores, {memory_gb:.0f} GB")
    rows: list[Row] = []
    for size in _series(chosen):
        found = measure(size, chosen.only, rounds=chosen.rounds, sample=chosen.sample)
        _print(found, chosen.rounds)
        rows += found
        if chosen.out is not None:  # after each, so that a series that is stopped has shown something
            chosen.out.mkdir(parents=True, exist_ok=True)
            write_growth(chosen.out, rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=_numbers, default=[1_000_000], help=f"events of {DAYS} days; a,b,c: a series")
    parser.add_argument("--teams", type=_numbers, default=[2_000], help="teams; a,b,c: a series")
    parser.add_argument("--months", type=int, default=0, help="months of usage before, already closed")
    parser.add_argument("--history-events", type=int, help="events of each of them; as many a day unless given")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", type=_contenders, default=CONTENDERS, help=",".join(CONTENDERS))
    parser.add_argument("--sample", type=int, default=SAMPLE, help="events that are taken one at a time at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--grid", action="store_true", help=f"series: events {GRID_EVENTS}, teams {GRID_TEAMS}")
    parser.add_argument("--out", type=Path, help="where the series is written")
    chosen = parser.parse_args()
    if chosen.grid:
        chosen.events, chosen.teams = GRID_EVENTS, GRID_TEAMS
        if chosen.out is None:
            parser.error("--grid needs --out FOLDER")
    return chosen


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _contenders(text: str) -> list[str]:
    if unknown := set(text.split(",")) - {*CONTENDERS}:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: give some of {','.join(CONTENDERS)}")
    return text.split(",")


def _series(chosen: argparse.Namespace) -> list[Size]:
    return [
        Size(
            events=events,
            teams=teams,
            months=chosen.months,
            history_events=events * HISTORY_DAYS // DAYS if chosen.history_events is None else chosen.history_events,
            seed=chosen.seed,
        )
        for teams in chosen.teams
        for events in chosen.events
    ]


def measure(
    size: Size, only: Sequence[str] = CONTENDERS, *, rounds: int = 1, sample: int = SAMPLE, scratch: Path | None = None
) -> list[Row]:
    """Medians of the rounds, a row a part. Ends the program where the contenders disagree."""
    with tempfile.TemporaryDirectory(prefix="billing-bench-", dir=scratch) as name:
        folder = Path(name)
        write_workload(folder / "workload", size)
        if "ours" in only:
            run("pipeline", "prepare", folder / "workload", folder / "prepared", folder)
        # In turn, so that a busy minute is not one contender's alone.
        each = [_round(folder, size, only, min(sample, size.events)) for _ in range(rounds)]
    return _rows(size, {part: _median([one[part] for one in each]) for part in each[0]})


def _round(folder: Path, size: Size, only: Sequence[str], sample: int) -> dict[str, Figures]:
    workload, results = folder / "workload", folder / "results"
    results.mkdir()
    found: dict[str, Figures] = {}
    if "floor" in only:
        for step in ("ingest", "rate"):
            found |= run("floor", step, workload, results)
    if "ours" in only:
        shutil.copytree(folder / "prepared", results / "home")
        for step in ("ingest", "rate", "issue"):
            found |= run("pipeline", step, workload, results / "home", results)
        if not size.months:  # a scenario begins with nothing
            found |= run("pipeline", "simulate", workload, results / "scenario", results)
    if "postgres" in only:
        found |= run("postgres", workload, results)
    if "events" in only:
        run("one_by_one", "sample", workload, results, sample)
        found |= run("one_by_one", "rate", workload, results)
    if differing := disagreements(workload, results):
        sys.exit("\n".join(["The contenders disagree:", *differing]))
    shutil.rmtree(results)
    return found


def _median(rounds: Sequence[Figures]) -> Figures:
    names = [field.name for field in fields(Figures)]
    return Figures(**{name: median(getattr(one, name) for one in rounds) for name in names})


def _rows(size: Size, found: dict[str, Figures]) -> list[Row]:
    rows = []
    for part, (_, floors) in PARTS.items():
        if part not in found:
            continue
        figures, sample = found[part], None
        if figures.events and figures.events < size.events:
            sample, factor = figures.events, size.events / figures.events
            figures = Figures(wall_s=figures.wall_s * factor, cpu_s=figures.cpu_s * factor, peak_mb=figures.peak_mb)
        ratio = cpu_ratio = None
        if floors[0] in found:
            ratio = figures.wall_s / sum(found[floor].wall_s for floor in floors)
            cpu_ratio = figures.cpu_s / max(0.01, sum(found[floor].cpu_s for floor in floors))
        rows.append(Row(size=size, part=part, figures=figures, ratio=ratio, cpu_ratio=cpu_ratio, sample=sample))
    return rows


def _print(rows: Sequence[Row], rounds: int) -> None:
    size = rows[0].size
    history = f", after {size.months} months of {size.history_events:,}" if size.months else ""
    print(f"\n{size.events:,} events, {size.teams:,} teams{history}; medians of {rounds}")
    print(f"{'':36} {'s':>9} {'CPU s':>9} {'M events/s':>11} {'peak MB':>9} {'x floor':>9} {'x its CPU':>9}")
    for row in rows:
        title, _ = PARTS[row.part]
        ratio, cpu_ratio = ("" if each is None else f"{each:.1f}" for each in (row.ratio, row.cpu_ratio))
        about = "~" if row.sample else " "
        figures = row.figures
        print(
            f"{title:35} {about}{figures.wall_s:9.2f} {figures.cpu_s:9.2f} {row.events_per_s / 1e6:11.3f} "
            f"{figures.peak_mb:9.0f} {ratio:>9} {cpu_ratio:>9}"
        )
    for row in rows:
        if row.sample:
            print(f"~ {PARTS[row.part][0]}: {row.sample:,} events of whole teams were taken; extrapolated by event")


if __name__ == "__main__":
    main()
