"""``billing usage quarantine ...`` and ``billing usage ingest --replaces``: what they say, and how they end."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from .small_world import REFERENCE, USAGE_HEADER, write_reference
from .test_command import AS_OF, invoke

GOOD = [f"g{n},2026-07-05T00:00:00Z,a1,render,1,," for n in range(5)]
WAITS = "e1,2026-07-05T00:00:00Z,a2,render,65,,"
HOSTILE = "\x1b[2Je2,2026-07-06T00:00:00Z,gh\u202eost,render,1,,"


@pytest.fixture
def home(tmp_path: Path) -> list[str]:
    """A home with one record that is mended since, and one that never will be."""
    write_reference(tmp_path / "before", {**REFERENCE, "app_hubs": REFERENCE["app_hubs"][:1]})
    write_reference(tmp_path / "after", REFERENCE)
    usage_file(tmp_path, "july.csv", [*GOOD, WAITS, HOSTILE])
    where = ["--home", str(tmp_path / "home")]
    for line in (["init"], ["reference", "load", str(tmp_path / "before")]):
        assert invoke(*where, *line)[0] == 0
    assert invoke(*where, "usage", "ingest", str(tmp_path / "july.csv"), "--now", AS_OF)[0] == 0
    assert invoke(*where, "reference", "load", str(tmp_path / "after"))[0] == 0
    return where


def usage_file(folder: Path, name: str, lines: list[str]) -> Path:
    (folder / name).write_text("\n".join([USAGE_HEADER, *lines, ""]), "utf-8")
    return folder / name


def quarantine(home: list[str], *arguments: str, status: int = 0) -> list[str]:
    ended, said = invoke(*home, "usage", "quarantine", *arguments)
    assert ended == status, said
    assert "\x1b" not in said and "\u202e" not in said, "nothing that a terminal acts on"
    return said.splitlines()


def test_it_is_listed_counted_and_shown(home: list[str]) -> None:
    rows = list(csv.DictReader(quarantine(home, "list")))
    assert [(row["record"], row["reason"], row["app"], row["ending"]) for row in rows] == [
        ("1:0:7", "unattributed_app", "a2", "waiting"),
        ("1:0:8", "unattributed_app", "gh\\u202eost", "waiting"),
    ]
    assert rows[1]["raw"] == "\\x1b[2Je2,2026-07-06T00:00:00Z,gh\\u202eost,render,1,,"
    assert quarantine(home, "count", "--by", "reason,day") == [
        "reason,day,records",
        "unattributed_app,2026-07-05,1",
        "unattributed_app,2026-07-06,1",
    ]
    shown = quarantine(home, "show", "1:0:7", "--now", AS_OF)
    assert f"raw              {WAITS}" in shown
    assert "if replayed now  accepted" in shown
    assert shown[-1] == "history          1:0:7 unattributed_app; waits"
    assert len(quarantine(home, "list", "--app", "a2", "--day", "2026-07-05")) == 2
    assert len(quarantine(home, "list", "--app", "a2", "--day", "2026-07-06")) == 1


def test_it_is_replayed_dry_and_then_for_good(home: list[str]) -> None:
    dry = ["replay", "--all", "--dry-run", "--now", AS_OF]
    outcomes = ["  unattributed_app -> accepted: 1", "  unattributed_app, as before: 1"]
    for _ in range(2):
        assert quarantine(home, *dry) == ["2 records; if replayed now:", *outcomes]
    assert quarantine(home, *dry, "--records")[1].startswith("1:0:7,")
    done = quarantine(home, "replay", "--reason", "unattributed_app", "--now", AS_OF)
    assert done == ["Batch 2: 2 records = 1 accepted + 0 duplicates + 0 quarantined + 1 that stayed.", *outcomes]
    assert quarantine(home, "replay", "--all") == [
        "1 records, of which nothing changed: no batch was taken.",
        "  unattributed_app, as before: 1",
    ]


def test_it_is_given_up_with_a_reason(home: list[str]) -> None:
    assert quarantine(home, "dismiss", "--record", "1:0:8", "--why", "a\x1b[31m test") == ["1 records were given up."]
    assert "dismissed" in quarantine(home, "list", "--ending", "dismissed")[1]
    assert quarantine(home, "show", "1:0:8")[-1].endswith(": a\\x1b[31m test")
    assert quarantine(home, "dismiss", "--all", "--why", " ", status=1)


@pytest.mark.parametrize(
    "wrong",
    [
        ["replay"],
        ["replay", "--all", "--id", "e1"],
        ["replay", "--reason", "duplicate"],
        ["replay", "--record", "1:0"],
        ["dismiss", "--why", "x"],
        ["dismiss", "--all"],
        ["list", "--day", "yesterday"],
        ["list", "--ending", "gone"],
        ["count", "--by", "colour"],
        ["show", "1"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_end_with_2(home: list[str], wrong: list[str]) -> None:
    quarantine(home, *wrong, status=2)


def test_a_record_that_is_not_there_ends_with_1(home: list[str]) -> None:
    quarantine(home, "show", "1:0:9", status=1)


def test_a_corrected_file_replaces_the_wrong_one(home: list[str], tmp_path: Path) -> None:
    """Told first, put right on request; each time it says what it did."""
    right = usage_file(tmp_path, "right.csv", [GOOD[0].replace("render,1", "render,2"), *GOOD[1:4], WAITS])
    replaces = [*home, "usage", "ingest", str(right), "--replaces", str(tmp_path / "july.csv"), "--now", AS_OF]
    status, said = invoke(*replaces)
    assert status == 0
    assert "Batch 2: 5 records = 1 accepted + 3 duplicates + 1 quarantined." in said
    assert f"2 waiting records of 1:0 {tmp_path / 'july.csv'} (7 records, SHA-256 " in said
    assert "accepted: g0 (1:0:2), 1 of render at 2026-07-05T00:00:00Z, differs: 2 of render at " in said
    assert "accepted: g4 (1:0:6), 1 of render at 2026-07-05T00:00:00Z, is missing; stands" in said
    assert "2 accepted events differ and stand: --correct puts them right." in said
    status, said = invoke(*replaces, "--correct")
    assert (status, "3 corrections were made." in said) == (0, True)
    status, said = invoke(*replaces[:-1], "2026-08-03T00:00:00Z", "--correct")
    assert (status, "0 corrections were made." in said) == (0, True)
    assert len(quarantine(home, "list")) == 1, "nothing waits"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["july.csv", "--correct"], 2, "--correct says what to do with --replaces"),
        (["--replaces", "july.csv"], 2, "--replaces takes one FILE"),
        (["july.csv", "july.csv", "--replaces", "july.csv"], 2, "--replaces takes one FILE"),
        (["july.csv", "--replaces", "june.csv"], 1, "No file was delivered as june.csv. There are:\n  1:0 "),
    ],
)
def test_a_replacement_that_makes_no_sense_says_so(
    home: list[str], tmp_path: Path, arguments: list[str], status: int, says: str
) -> None:
    files = [str(tmp_path / one) if one == "july.csv" else one for one in arguments]
    ended, said = invoke(*home, "usage", "ingest", *files, "--now", AS_OF)
    assert (ended, says in said) == (status, True), said
