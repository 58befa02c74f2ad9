"""Scenarios in a scratch home (data contract, "Commands")."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from billing.core.errors import DataRefused
from billing.steps.simulate import read_steps, simulate
from billing.steps.status import status
from billing.store.home import Home
from tests.slow_model import model

from .small_world import REFERENCE, TEMPLATES, USAGE_HEADER, Shop, rows_of, write_reference

STEPS: list[dict[str, object]] = [
    {"do": "configure", "close_lag_seconds": 0},
    {"do": "reference", "folder": "reference"},
    {"do": "ingest", "file": "usage/july.csv", "now": "2026-07-20T00:00:00Z"},
    {"do": "close", "as_of": "2026-08-01T00:00:00Z"},
    {"do": "balances", "at": "2026-08-01T00:00:00+00:00", "out": "now"},
]


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    folder = tmp_path / "scenario"
    write_reference(folder / "reference", REFERENCE)
    (folder / "usage").mkdir()
    lines = [USAGE_HEADER, "e1,2026-07-05T00:00:00Z,a1,render,65,,", "bad", ""]
    (folder / "usage" / "july.csv").write_text("\n".join(lines))
    (folder / "steps.json").write_text(json.dumps(STEPS))
    return folder


@pytest.fixture
def home(tmp_path: Path, database_url: str | None) -> Home:
    return Home.at(tmp_path / "home", database_url)


def test_a_scenario_is_run_and_its_outputs_are_written(scenario: Path, home: Home, tmp_path: Path) -> None:
    """Usage is taken to be complete through each `as_of`; a file is rejected by the name that the step gave it."""
    out = tmp_path / "out"
    assert simulate(home, scenario, out) is False
    home.close()
    names = {"cycles", "carry", "charges", "invoices", "invoice_lines", "rejected", "parked", "now"}
    names |= {"credit_notes", "credit_note_lines", "payments", "payment_events"}
    assert {path.name for path in out.iterdir()} == {f"{name}.csv" for name in names}
    assert len(rows_of(out / "invoices.csv")) == 1
    assert rows_of(out / "rejected.csv") == [("usage/july.csv", "3", "bad_occurred_at")]
    assert len(rows_of(out / "now.csv")) == 3


def test_every_step_is_a_delivery_of_its_own(scenario: Path, home: Home, tmp_path: Path) -> None:
    """Rule 2.2: the same file again, with the same instant, is all duplicates; and is judged by what is known then."""
    write_reference(scenario / "first", {**REFERENCE, "app_hubs": []})
    ingest = STEPS[2]
    steps = [STEPS[0], {"do": "reference", "folder": "first"}, ingest, ingest, STEPS[1], ingest, ingest, STEPS[3]]
    (scenario / "steps.json").write_text(json.dumps(steps))
    simulate(home, scenario, tmp_path / "out")
    home.close()
    for name, rows in model.run(scenario).items():
        assert rows_of(tmp_path / "out" / name) == [tuple(row) for row in rows[1:]], name
    assert len(rows_of(tmp_path / "out" / "rejected.csv")) == 7


def test_documents_are_written_where_they_are_asked_for(scenario: Path, home: Home, tmp_path: Path) -> None:
    simulate(home, scenario, tmp_path / "out", templates=TEMPLATES)
    home.close()
    names = sorted(path.name for path in (tmp_path / "out" / "documents").iterdir())
    assert names == ["INV-2026-000001.pdf", "INV-2026-000001.xml"]


def test_it_says_whether_a_team_is_parked(scenario: Path, home: Home, tmp_path: Path) -> None:
    write_reference(scenario / "reference", {"tax_rates": []})
    assert simulate(home, scenario, tmp_path / "out") is True
    home.close()


def test_a_database_that_bills_someone_is_refused(scenario: Path, shop: Shop, tmp_path: Path) -> None:
    shop.load()
    before = status(shop.home)
    with pytest.raises(DataRefused, match="holds billing data already; a scenario needs an empty one"):
        simulate(shop.home, scenario, tmp_path / "out")
    assert status(shop.home) == before
    assert not (tmp_path / "out").exists()


def test_a_home_that_has_ingested_and_nothing_else_is_refused(scenario: Path, shop: Shop, tmp_path: Path) -> None:
    from billing.steps.ingest import ingest

    from .small_world import instant

    ingest(shop.home, [], instant("07-01"), window_start=instant("06-30"))
    with pytest.raises(DataRefused, match="empty"):
        simulate(shop.home, scenario, tmp_path / "out")


WRONG: dict[str, str | bytes] = {
    "not json": "{",
    "not a list": '{"do": "close"}',
    "not utf-8": b"\xff",
    "not a step": '["close"]',
    "unknown": '[{"do": "invoice"}]',
    "unhashable": '[{"do": ["close"]}]',
    "incomplete": '[{"do": "ingest", "file": "usage/july.csv"}]',
}


@pytest.mark.parametrize("name", WRONG)
def test_steps_that_are_not_steps_are_refused(tmp_path: Path, name: str) -> None:
    text = WRONG[name]
    (tmp_path / "steps.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataRefused, match=r"steps\.json"):
        read_steps(tmp_path)


def test_a_folder_without_steps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="not a scenario's steps"):
        read_steps(tmp_path)


@pytest.mark.parametrize(
    "step",
    [
        {"do": "close", "as_of": "yesterday"},
        {"do": "ingest", "file": "usage/july.csv", "now": 7},
        {"do": "ingest", "file": "usage/nothing.csv", "now": "2026-07-20T00:00:00Z"},
        {"do": "reference", "folder": "nowhere"},
        {"do": "configure", "close_lag_seconds": "an hour"},
        {"do": "close", "as_of": "2026-07-01T00:00:00Z"},
    ],
    ids=str,
)
def test_a_step_that_cannot_be_done_refuses_the_scenario(
    scenario: Path, tmp_path: Path, step: dict[str, object]
) -> None:
    (scenario / "steps.json").write_text(json.dumps([*STEPS, step]))
    home = Home.at(tmp_path / "home")
    with pytest.raises(DataRefused):
        simulate(home, scenario, tmp_path / "out")
    home.close()
