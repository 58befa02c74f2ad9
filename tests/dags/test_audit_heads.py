"""The task of `audit_heads`, in a process with an Airflow of its own: skipped without a place, else a head is kept, and
mailed by a connection of Airflow to a real SMTP server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from billing.steps.audit.chain import verify_log
from billing.store.home import Home
from tests.steps.mail_world import Server, connection_to
from tests.steps.small_world import Shop

DAGS = Path(__file__).parents[2] / "dags"
SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import audit_heads as module
from airflow.sdk.exceptions import AirflowSkipException
dag = module.audit_heads()
module.get_current_context = lambda: {"params": dag.params.dump()}
try:
    told = dag.tasks[0].python_callable()
except AirflowSkipException:
    told = "skipped"
print("RETURNED", json.dumps(told))
"""


def test_the_task_keeps_a_head_where_a_place_is_set(tmp_path: Path, server: Server) -> None:
    shop = Shop(home=Home.at(tmp_path / "home"), folder=tmp_path / "in")
    shop.home.create()
    shop.load()
    head = str(verify_log(shop.home))
    shop.home.close()
    environment = os.environ | {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_SMTP_DEFAULT": connection_to(server.port),
        "BILLING_HOME": str(tmp_path / "home"),
    }

    def run() -> object:
        command = [sys.executable, "-c", SCRIPT, str(DAGS)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("RETURNED ")]
        return json.loads(line.removeprefix("RETURNED "))

    assert run() == "skipped"
    (tmp_path / "home" / "billing.toml").write_text('[audit]\nheads = "../kept"\nmail = "a@example.com"\n')
    assert run() == {"head": head, "new": True, "mailed": "a@example.com"}
    assert run() == {"head": head, "new": False, "mailed": "a@example.com"}
    for recipients, message, _ in server.mails:
        assert recipients == ["a@example.com"]
        assert message["From"] == "billing@example.com"
        assert head in message.get_body().get_content()  # type: ignore[union-attr]
    assert len(server.mails) == 2
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.read_text() == f"{head}\n"
