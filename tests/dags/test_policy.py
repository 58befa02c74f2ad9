"""What holds for every DAG: it parses without work, explains itself, retries, and is scheduled on purpose."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

DAGS_FOLDER = Path(__file__).parents[2] / "dags"
SHARED = {"wiring", "observed", "approving", "notified", "delivering", "collecting"}
"""What DAG files import; see ``dags/.airflowignore``."""
FILES = sorted(path for path in DAGS_FOLDER.glob("*.py") if path.stem not in SHARED)
ON_REQUEST = {"audit_rerun", "quarantine_replay"}
"""DAGs that only a person runs, from their form."""
HEAVY = ("pandas", "numpy", "pyarrow", "deltalake", "duckdb", "weasyprint", "great_expectations", "sqlalchemy")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_dag_file_imports_nothing_heavy_at_its_top(path: Path) -> None:
    """DAG files are parsed every few seconds: what a task needs, the task imports."""
    top = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name if isinstance(node, ast.Import) else str(node.module) for node in top for alias in node.names}
    assert not [name for name in names if name.split(".")[0] in (*HEAVY, "billing")]


SCRIPT = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
from airflow.sdk import DAG
found = {}
for name in sys.argv[2:]:
    module = importlib.import_module(name)
    dag = getattr(module, name)()
    found[dag.dag_id] = {
        "doc": bool(dag.doc_md and len(dag.doc_md) > 200),
        "tags": sorted(dag.tags),
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "timetable": type(dag.timetable).__name__,
        "retries": sorted({task.retries for task in dag.tasks}),
        "params": {key: bool(dag.params.get_param(key).schema.get("title")) and
                   bool(dag.params.get_param(key).schema.get("description_md")) for key in dag.params},
        "outlets": [str(outlet) for task in dag.tasks for outlet in task.outlets],
        "tasks": [task.task_id for task in dag.tasks],
    }
print("FOUND", json.dumps(found))
"""


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    import json
    import os

    environment = os.environ | {
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    command = [sys.executable, "-c", SCRIPT, str(DAGS_FOLDER), *(path.stem for path in FILES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    found: dict[str, dict[str, object]] = json.loads(line.removeprefix("FOUND "))
    return found


def test_every_file_holds_the_dag_of_its_name(dags: dict[str, dict[str, object]]) -> None:
    scheduled = {
        "reference_sync",
        "usage_ingest",
        "cycle_close",
        "balances_refresh",
        "lake_upkeep",
        "audit_heads",
        "delivery",
        "payment_collection",
        "exports",
    }
    assert set(dags) == {path.stem for path in FILES} == {*scheduled, *ON_REQUEST}


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_a_dag_explains_itself_and_runs_one_at_a_time(dags: dict[str, dict[str, object]], name: str) -> None:
    dag = dags[name]
    assert dag["doc"], "the docstring is the page in the UI"
    assert dag["tags"] == ["billing"]
    assert dag["catchup"] is False
    assert dag["max_active_runs"] == 1
    named = {"CronDataIntervalTimetable", "CronTriggerTimetable"}
    assert dag["timetable"] in ({"NullTimetable"} if name in ON_REQUEST else named), (
        "a timetable is named, never a cron text"
    )
    assert dag["retries"] == [3]
    assert dag["params"]
    assert all(dict(dag["params"]).values()), "every parameter has a title and a description"  # type: ignore[call-overload]


def test_a_rerun_makes_nothing_run_after_it(dags: dict[str, dict[str, object]]) -> None:
    """It has no outlets: nothing is closed, issued or rendered because an auditor looked."""
    assert dags["audit_rerun"]["outlets"] == []
    assert dags["audit_rerun"]["tasks"] == ["choose_cycles", "compare_again", "leave_report"]


def test_the_tasks_read_as_a_story(dags: dict[str, dict[str, object]]) -> None:
    assert dags["cycle_close"]["tasks"] == [
        "pin_what_is_known",
        "share_out_teams",
        "rate_teams",
        "ask_for_approval",
        "approval",
        "take_answer",
        "issue_invoices",
        "check_ledger",
        "batches_of_documents",
        "render_documents",
        "collect_payments",
        "summarise",
        "deliver",
        "report",
    ]
    assert dags["payment_collection"]["tasks"] == [
        "what_would_be_done",
        "collect_payments",
        "reconcile_payments",
        "name_what_is_stuck",
    ]
