"""The tasks of `payment_collection`, in a process with an Airflow of its own: a dry list, a run whose gateway is not
set up, and what is stuck, named in red. The gateway itself is asked over HTTP by ``tests/gateway``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from billing.store.home import Home
from tests.payments.fake_gateway import FakeGateway
from tests.steps.small_world import Shop
from tests.steps.test_collect import ONE, Till

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


def test_the_tasks_collect_and_name_what_is_stuck(tmp_path: Path) -> None:
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
    environment = os.environ | {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "BILLING_HOME": str(tmp_path / "home"),
    }
    command = [sys.executable, "-c", SCRIPT, str(DAGS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RETURNED ")]
    told = json.loads(line.removeprefix("RETURNED "))
    assert told["what_would_be_done"].startswith("AirflowSkipException: 1 things would be done; nothing was")
    assert f"{ONE}: 8.64 EUR, ask fake" in done.stdout
    assert "the gateway 'fake' is not configured" in done.stdout
    assert told["in the afternoon"].startswith("AirflowSkipException: Reconciled in the first run of a day")
    assert told["reconcile_payments"] == 0
    stuck = f"{ONE}: 8.64 EUR could not be collected in 1 attempts (insufficient_funds)"
    assert told["name_what_is_stuck"].startswith(f"AirflowFailException: 1 payments wait for a person:\n{stuck}")
