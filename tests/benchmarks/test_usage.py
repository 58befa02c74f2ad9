"""The bench of usage: its contenders agree on a small workload, and one that is wrong is found."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import floor, one_by_one, pipeline
from benchmarks.agreement import disagreements
from benchmarks.growth import write_growth
from benchmarks.usage import PARTS, Row, measure
from benchmarks.workload import Size, write_workload
from billing.steps.homes import home_at

SMALL = Size(events=20_000, teams=50, days_a_file=15)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Every part measured; it ends where the contenders disagree."""
    return measure(SMALL, sample=12_000)


def test_all_contenders_agree_and_are_measured(rows: list[Row]) -> None:
    assert [row.part for row in rows] == list(PARTS)
    assert all(row.figures.wall_s > 0 and row.figures.peak_mb > 20 and row.ratio is not None for row in rows)


def test_a_sample_is_said_and_extrapolated(rows: list[Row]) -> None:
    sampled = [row for row in rows if row.sample]
    assert [row.part for row in sampled] == ["one_by_one"]
    assert 6_000 < sampled[0].sample <= 12_000  # type: ignore[operator]


def test_history_changes_what_waits_and_nobody_disagrees(tmp_path: Path) -> None:
    size = replace(SMALL, events=2_000, teams=20, months=2, history_events=500, history_files=1)
    workload, home = tmp_path / "workload", home_at(tmp_path / "home")
    write_workload(workload, size)
    for step in (pipeline.prepare, pipeline.ingest_all, pipeline.rate_all, pipeline.issue_all):
        step(workload, home, tmp_path)
    floor.ingest(workload, tmp_path)
    floor.rate(tmp_path)
    one_by_one.write_sample(workload, tmp_path / "one-by-one.db", size.events)
    one_by_one.main(workload, tmp_path)
    assert len((workload / "opening.csv").read_text().splitlines()) > 20
    assert disagreements(workload, tmp_path) == []


def test_who_is_wrong_is_named(tmp_path: Path) -> None:
    write_workload(tmp_path / "workload", replace(SMALL, events=10, days_a_file=45))
    results = tmp_path / "results"
    results.mkdir()
    (results / "floor.csv").write_text("team_id,api,quantity\nt1,automation,45.5\nt2,data_management,3\n")
    (results / "postgres.csv").write_text("team_id,api,charged_units\nt1,automation,2\n")
    assert disagreements(tmp_path / "workload", results) == []
    (results / "postgres.csv").write_text("team_id,api,charged_units\nt1,automation,3\n")
    assert disagreements(tmp_path / "workload", results) == ["t1 automation: floor 2, PostgreSQL 3"]


def test_a_series_is_written_as_a_table_and_drawn(rows: list[Row], tmp_path: Path) -> None:
    larger = [replace(row, size=replace(SMALL, events=40_000)) for row in rows]
    write_growth(tmp_path, [*rows, *larger])
    with (tmp_path / "usage.csv").open(newline="") as handle:
        assert [row["events"] for row in csv.DictReader(handle)] == ["20000"] * len(PARTS) + ["40000"] * len(PARTS)
    drawing = (tmp_path / "usage.svg").read_text("utf-8")
    assert drawing.count("<circle") == 2 * 2 * len(PARTS)
