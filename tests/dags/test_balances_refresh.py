"""The tasks of `balances_refresh`, in a process with an Airflow of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from billing.steps.usage_views import read_usage, views_that_differ
from billing.store.home import Home
from tests.steps.mail_world import Server, connection_to, said
from tests.steps.small_world import Shop

DAGS = Path(__file__).parents[2] / "dags"
SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import balances_refresh as module
dag = module.balances_refresh()
params = dag.params.dump()
for from_scratch in (False, True):
    module.get_current_context = lambda: {"params": params | {"from_scratch": from_scratch}}
    print("RETURNED", json.dumps({task.task_id: task.python_callable() for task in dag.tasks}))
print("WAITS", json.dumps(sorted(up for task in dag.tasks for up in task.upstream_task_ids)))
"""


def test_the_tasks_bring_balances_and_usage_by_day_up_to_date(tmp_path: Path, server: Server) -> None:
    """Neither waits for the other; from scratch all is derived again. Who asked for alerts is told, once."""
    shop = Shop(home=Home.at(tmp_path / "home"), folder=tmp_path / "in")
    shop.home.create()
    shop.load(teams=["t1,c1,Team <One>", "t2,c2,Team Two"])
    today = datetime.now(UTC).date()
    shop.ingest(f"e1,{today}T00:00:00Z,a1,render,65,,", now=f"{today}T00:00:01Z")
    environment = os.environ | {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_SMTP_DEFAULT": connection_to(server.port),
        "BILLING_HOME": str(shop.home.folder),
    }
    notifier = '[[notify]]\nnotifier = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"'
    message = 'subject = "{{ raised }} {{ outcome }}", html_content = "{{ summary | e }}"'
    (shop.home.folder / "billing.toml").write_text(
        f'{notifier}\non = ["failure", "alerts"]\narguments = {{ to = "team@example.com", {message} }}\n'
        f'{notifier}\narguments = {{ to = "closes@example.com", {message} }}\n'
        '[[notify]]\nnotifier = "no.such.Notifier"\non = "alerts"\n'
    )
    command = [sys.executable, "-c", SCRIPT, str(DAGS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    told = [json.loads(line.removeprefix("RETURNED ")) for line in lines if line.startswith("RETURNED ")]
    assert [one["refresh_usage_by_day"] for one in told] == [{"rows": 1, "forgotten": 0, "through_batch": 1}] * 2
    assert [one["tell_how_teams_stand"]["rated"] for one in told] == [2, 2]
    assert [one["tell_how_teams_stand"]["alerts_raised"] for one in told] == [2, 0]
    [(to, mail, _)] = server.mails
    assert (to, mail["Subject"]) == (["team@example.com"], "2 alerts")
    assert said(mail, "html").splitlines() == [
        "Team &lt;One&gt;: There is no stored payment method for pay as you go (payg1)",
        "Team Two: There is no stored payment method for pay as you go (payg2)",
    ]
    assert "WAITS []" in lines
    [series] = read_usage(shop.home, "t1", today, today).series
    assert series.quantities_micro == (65_000_000,)
    assert list(views_that_differ(shop.home, datetime.now(UTC))) == []
    shop.home.close()
