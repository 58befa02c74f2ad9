"""The tasks of `payment_collection`, in a process with an Airflow of its own: a dry list, a run whose gateway is not
set up, and what is stuck, named in red; the same from `cycle_close`, with the same metrics. The gateway itself is asked
over HTTP by ``tests/gateway``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from billing.store.home import Home
from tests.payments.fake_gateway import FakeGateway
from tests.steps.small_world import Shop
from tests.steps.test_collect import ONE, Till

from .observing import Metrics

DAGS = Path(__file__).parents[2] / "dags"
SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import payment_collection as module
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
dag = module.payment_collection()
tasks = {task.task_id: task.python_callable for task in dag.tasks}
class Run:
    dag_id, run_id, data_interval_end = "payment_collection", "manual", None
    from datetime import datetime, UTC
    run_after = datetime(2026, 8, 2, 12, tzinfo=UTC)
told = {}
def call(name, *given, **params):
    module.get_current_context = lambda: {"params": dag.params.dump() | params, "dag_run": Run}
    try:
        told[name] = tasks[name](*given)
    except (AirflowSkipException, AirflowFailException) as end:
        told[name] = f"{type(end).__name__}: {end}"
call("what_would_be_done", only_list=True)
call("collect_payments", 1)
call("reconcile_payments", [])
told["in the afternoon"] = told["reconcile_payments"]
call("reconcile_payments", [], reconcile_from="2026-08-01T00:00:00Z")
call("name_what_is_stuck", told["collect_payments"])
print("RETURNED", json.dumps(told))
"""
CLOSE = """
import sys
sys.path.insert(0, sys.argv[1])
import cycle_close
print("RETURNED", cycle_close.cycle_close().get_task("collect_payments").python_callable(1))
"""


def run(script: str, environment: dict[str, str]) -> str:
    """What a script printed, in a process of its own."""
    command = [sys.executable, "-c", script, str(DAGS)]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of an Airflow whose home has an invoice that could not be collected, and a gateway that is not set up."""
    shop = Shop(home=Home.at(tmp_path / "home"), folder=tmp_path / "in")
    shop.home.create()
    till = Till(shop, FakeGateway(file=tmp_path / "gateway.json"))
    till.load()
    till.issue()
    till.rules = till.rules.__class__(retry_after_days=())
    till.gateway.answer("tok_1_of_cus1", "insufficient_funds")
    till.collect()
    assert till.state() == "uncollected"
    shop.home.close()
    (tmp_path / "home" / "billing.toml").write_text("[payments]\n", "utf-8")
    return {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "BILLING_HOME": str(tmp_path / "home"),
    }


def test_the_tasks_collect_and_name_what_is_stuck(environment: dict[str, str]) -> None:
    said = run(SCRIPT, environment)
    (line,) = [line for line in said.splitlines() if line.startswith("RETURNED ")]
    told = json.loads(line.removeprefix("RETURNED "))
    assert told["what_would_be_done"].startswith("AirflowSkipException: 1 things would be done; nothing was")
    assert f"{ONE}: 8.64 EUR, ask fake" in said
    assert "the gateway 'fake' is not configured" in said
    assert told["in the afternoon"].startswith("AirflowSkipException: Reconciled in the first run of a day")
    assert told["reconcile_payments"] == 0
    stuck = f"{ONE}: 8.64 EUR could not be collected in 1 attempts (insufficient_funds)"
    assert told["name_what_is_stuck"].startswith(f"AirflowFailException: 1 payments wait for a person:\n{stuck}")


def test_a_close_collects_counts_and_says_the_same(environment: dict[str, str]) -> None:
    with Metrics() as metrics:
        said = run(CLOSE, environment | metrics.environment)
        metrics.wait_for("billing.payments.stuck")
    assert f"{ONE}: 8.64 EUR could not be collected in 1 attempts" in said
    assert "RETURNED 0" in said, "and ends green"
    assert {
        f"billing.payments.{name}" for name in ("uncollected", "refunded", "declined", "received")
    } <= metrics.names()
