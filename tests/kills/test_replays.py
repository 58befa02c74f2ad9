"""Replays and corrected deliveries killed at every commit point, then run again: the state of an undisturbed run; and
the same ones given twice at once.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from billing.core.instants import format_instant
from billing.steps import commit_points
from billing.steps.homes import home_at
from billing.steps.quarantine import list_quarantine, select_records
from billing.steps.status import status
from tests.kills import driver
from tests.kills.test_kills import Runs, forks, side_by_side
from tests.steps.small_world import REFERENCE, USAGE_HEADER, instant, write_reference

pytestmark = pytest.mark.kills
__all__ = ["forks"]

POINTS = [point for point in commit_points.ALL if point.startswith("ingest")]
FIRST_OF = {"replay": 3, "replacement": 4}
"""How often a point of an ingest is reached in the scenario when the replay, and the replacement, reaches it."""
WRONG = [
    *(f"e{n},2026-07-05T10:00:00Z,{'a1' if n % 3 else 'new'},render,{n + 1},," for n in range(40)),
    "c1,2026-07-05T10:00:00Z,new,render,-1,e3,",
    "x1,2026-07-05T10:00:00Z,nobody,render,1,,",
]
RIGHT = [
    line.replace("render,3,", "render,30,").replace("nobody", "a2") for line in WRONG if not line.startswith("e4,")
]


@pytest.fixture(scope="module")
def runs(forks: object, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """July with an app that nobody owns yet, mended, replayed, closed, and then corrected late; August."""
    folder = tmp_path_factory.mktemp("scenario")
    write_reference(folder / "before", REFERENCE)
    owned = [*REFERENCE["app_hubs"], "new,h1,2020-01-01T00:00:00Z,"]
    write_reference(folder / "after", {**REFERENCE, "apps": [*REFERENCE["apps"], "new,New"], "app_hubs": owned})
    for name, lines in (("july.csv", WRONG), ("july-2.csv", RIGHT), ("first.csv", ["bad"])):
        (folder / name).write_text("\n".join([USAGE_HEADER, *lines, ""]))
    now, later = (format_instant(instant(day)) for day in ("08-02", "09-02"))
    steps = [
        {"do": "reference", "folder": "before"},
        {"do": "ingest", "file": "first.csv", "now": now},
        {"do": "ingest", "file": "july.csv", "now": now},
        {"do": "reference", "folder": "after"},
        {"do": "replay", "now": now},
        {"do": "replace", "file": "july-2.csv", "replaces": "july.csv", "now": now},
        {"do": "close", "as_of": now},
        {"do": "close", "as_of": later},
    ]
    (folder / "steps.json").write_text(json.dumps(steps))
    return Runs(forks=forks, scenario=folder)  # type: ignore[arg-type]


def outcome(work: Path, url: str | None = None) -> dict[str, object]:
    """Every output, and how every quarantined record ended; batches are told by what they did, not by their number."""
    seen: dict[str, object] = {path.name: path.read_bytes() for path in sorted((work / "out").glob("*.csv"))}
    home = home_at(work / "home", url)
    books, rows = status(home), list_quarantine(home, select_records(endings=["any"]), limit=None)
    home.close()
    assert books.open_batches == 0
    seen["quarantine"] = sorted((q.file, q.line, q.reason, q.ending, q.ended_why) for q in rows)
    return seen | {"accepted": books.accepted, "duplicates": books.duplicates, "batches": books.batches}


@pytest.fixture(scope="module")
def undisturbed(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    work = tmp_path_factory.mktemp("undisturbed") / "work"
    runs.finish(work)
    seen = outcome(work)
    assert seen["accepted"] == 26 + 14 + 1 + 1 + 3, "at first, replayed, its correction, mended, three corrections"
    assert seen["invoices.csv"]
    assert {ending for _, _, _, ending, _ in seen["quarantine"]} == {"", "accepted", "replaced"}  # type: ignore[attr-defined]
    return seen


@pytest.mark.parametrize("what", FIRST_OF)
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_commit_point(
    runs: Runs, undisturbed: dict[str, object], tmp_path: Path, point: str, what: str, database_url: str | None
) -> None:
    times = FIRST_OF[what]
    if point == commit_points.INGEST_ARCHIVED:
        if what == "replay":
            pytest.skip("a replay archives nothing: its bytes are there")
        times -= 1
    if point in (commit_points.INGEST_USAGE_APPENDED, commit_points.INGEST_IDS_APPENDED):
        times -= 1  # nothing of the first file is accepted
    runs.killed(tmp_path / "work", database_url, point, times)
    runs.finish(tmp_path / "work", database_url)
    assert outcome(tmp_path / "work", database_url) == undisturbed


def test_given_twice_at_once(
    runs: Runs, undisturbed: dict[str, object], tmp_path: Path, database_url: str | None
) -> None:
    """Each record is taken once: the second replay finds nothing, the second replacement its work done."""
    work = tmp_path / "work"
    home = ["--home", str(work / "home"), *(["--database", database_url] if database_url else [])]
    lines = [[*home, *line] for line in driver.commands(runs.scenario)]
    work.mkdir()
    for line in lines:
        side_by_side(runs, runs.scenario, tmp_path / "said", [line], [line])
    (work / "done").write_text(str(len(lines)))
    runs.finish(work, database_url)
    assert outcome(work, database_url) == undisturbed


def test_the_scenario_is_told_apart(runs: Runs) -> None:
    """The driver knows replays and replacements."""
    said = [" ".join(line) for line in driver.commands(runs.scenario)]
    assert any(line.startswith("usage quarantine replay --all") for line in said)
    assert any("--replaces july.csv --correct" in line for line in said)
