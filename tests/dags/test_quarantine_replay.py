"""The form of `quarantine_replay`: dry unless asked otherwise, a choice, and counts in the summary."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

from billing.intake.judging import Reason
from billing.steps.quarantine import list_quarantine
from billing.store.home import Home
from tests.steps.small_world import REFERENCE, Shop

DAG_FILE = Path(__file__).parents[2] / "dags" / "quarantine_replay.py"
SCRIPT = """
import copy, json, sys
from datetime import UTC, datetime
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
import quarantine_replay as module
from airflow.sdk.exceptions import AirflowFailException
dag = module.quarantine_replay()
run = SimpleNamespace(dag_id="quarantine_replay", run_id="by hand", data_interval_end=None,
                      run_after=datetime(2026, 8, 2, tzinfo=UTC))
for given in json.loads(sys.argv[2]):
    params = copy.deepcopy(dag.params)
    for name, value in given.items():
        params[name] = value
    module.get_current_context = lambda: {"params": params.dump(), "dag_run": run}
    try:
        print("RETURNED", json.dumps(dag.tasks[0].python_callable()))
    except AirflowFailException as failure:
        print("FAILED", failure)
"""


def test_the_form_offers_every_reason_but_duplicates() -> None:
    """A DAG file imports nothing of ours at its top: its list is held to the rules here."""
    (given,) = [
        ast.literal_eval(node.value)
        for node in ast.parse(DAG_FILE.read_text("utf-8")).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "REASONS"
    ]
    assert list(given) == [reason.value for reason in Reason if reason is not Reason.DUPLICATE]


def test_a_run_is_dry_unless_asked_otherwise(tmp_path: Path) -> None:
    """And a choice is asked for; what is said of it is counts."""
    shop = Shop(home=Home.at(tmp_path / "home"), folder=tmp_path / "files")
    shop.home.create()
    shop.load(app_hubs=REFERENCE["app_hubs"][1:])
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", "e2,2026-07-05T00:00:00Z,a3,render,1,,", now="08-02")
    shop.load()
    wet = {"dry_run": False}
    said = run(tmp_path, {}, wet, wet | {"ids": ["e1"], "reason": "no_subscription"}, wet | {"everything": True})
    assert said == [
        "2 records; if replayed:",
        "  unattributed_app -> accepted: 1",
        "  unattributed_app, as before: 1",
        'RETURNED {"dry_run": true, "selected": 2, "would_change": 1}',
        "FAILED Say which records: at least one filter, or --all for everything that waits; not both.",
        "0 records, of which nothing changed: no batch was taken.",
        'RETURNED {"dry_run": false, "batch": null, "selected": 0, "accepted": 0, "duplicates": 0, "quarantined": 0, '
        '"stayed": 0}',
        "Batch 2: 2 records = 1 accepted + 0 duplicates + 0 quarantined + 1 that stayed.",
        "  unattributed_app -> accepted: 1",
        "  unattributed_app, as before: 1",
        'RETURNED {"dry_run": false, "batch": 2, "selected": 2, "accepted": 1, "duplicates": 0, "quarantined": 0, '
        '"stayed": 1}',
    ]
    assert [q.event_id for q in list_quarantine(shop.home)] == ["e2"]
    shop.home.close()


def run(folder: Path, *forms: dict[str, object]) -> list[str]:
    """What the task says, called with each of these forms in turn, in a process with an Airflow of its own."""
    environment = os.environ | {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "BILLING_HOME": str(folder / "home"),
    }
    command = [sys.executable, "-c", SCRIPT, str(DAG_FILE.parent), json.dumps(forms)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    marks = ("RETURNED", "FAILED", "  ", "Batch")
    return [line for line in done.stdout.splitlines() if line.startswith(marks) or " records" in line[:10]]
