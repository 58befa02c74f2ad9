"""The tasks of `delivery` and the callbacks of `cycle_close`, in a process with an Airflow of its own: skipped without
settings, else mails go by a connection of Airflow to a real server, and what waits for a person ends the run red.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from billing.steps.run_summary import SUMMARY
from billing.store import log
from billing.store.documents import write_document
from billing.store.home import Home
from tests.steps.mail_world import Server, attached, connection_to, issue, keep_document, said
from tests.steps.small_world import Shop, instant

DAGS = Path(__file__).parents[2] / "dags"
ONE, TWO = "INV-2026-000001", "INV-2026-000002"
BUYERS = (
    "c1,Buyer One,1 street,,1000,Town,,FR,FR83404833048,one@example.com,fr-FR",
    "c2,Buyer Two,2 street,,2000,Town,,DE,DE136695976,,de-DE",
)
SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
import delivering, delivery as module, notified
dag = module.delivery()
module.get_current_context = lambda: {"params": dag.params.dump()}
told = {}
for task in dag.tasks:
    try:
        told[task.task_id] = task.python_callable()
    except AirflowSkipException as reason:
        told[task.task_id] = f"skipped: {reason}"
    except AirflowFailException as reason:
        told[task.task_id] = f"failed: {reason}"
try:
    told["deliver"] = delivering.deliver_close(1)
except AirflowFailException as reason:
    told["deliver"] = f"failed: {reason}"
for outcome in (notified.on_success, notified.on_failure):
    outcome({"dag_run": None})
print("RETURNED", json.dumps(told))
"""
DELIVER = """
import sys
sys.path.insert(0, sys.argv[1])
import delivering
try:
    delivering.deliver_close(1)
except Exception as problem:
    print("ENDED", type(problem).__name__, problem)
"""


def keep_summary(shop: Shop) -> None:
    kept = shop.home.documents.put_bytes(b"page", ".pdf")
    with shop.home.database.exclusive("books") as connection:
        write_document(connection, "close-1", SUMMARY, kept, "", {})
        told = {"number": "close-1", "kind": SUMMARY, "sha256": kept.sha256, "bundle": ""}
        log.append(connection, instant("08-02"), "document", told)


def test_what_is_due_goes_and_what_waits_is_named(tmp_path: Path, server: Server) -> None:
    shop = Shop(home=Home.at(tmp_path / "home"), folder=tmp_path / "in")
    shop.home.create()
    issue(shop, BUYERS)
    environment = os.environ | {
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_SMTP_DEFAULT": connection_to(server.port),
        "BILLING_HOME": str(tmp_path / "home"),
    }

    def run() -> dict[str, object]:
        command = [sys.executable, "-c", SCRIPT, str(DAGS)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("RETURNED ")]
        found: dict[str, object] = json.loads(line.removeprefix("RETURNED "))
        return found

    told = run()
    assert "has no [files]" in str(told["place_files"]) and "has no [mail]" in str(told["send_mails"])
    assert told["report"] is None and server.mails == []
    missing = (
        f"failed: 3 have no document yet and are not delivered; the task that makes it says why: {ONE}, {TWO}, close-1"
    )
    assert told["deliver"] == missing, "a render that failed is not hidden by what follows it"
    keep_document(shop, ONE), keep_document(shop, TWO), keep_summary(shop)
    notifier = 'notifier = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"'
    message = 'subject = "Close {{ close_no }}: {{ outcome }}", html_content = "<pre>{{ summary }}</pre>"'
    (tmp_path / "home" / "billing.toml").write_text(
        f'[mail]\nsince = 2026-01-01T00:00:00Z\nfinance = "finance@example.com"\n[files]\nlocation = "../out"\n'
        f'[[notify]]\n{notifier}\non = "success"\narguments = {{ to = "team@example.com", {message} }}\n'
        '[[notify]]\nnotifier = "no.such.Notifier"\n'
    )
    told = run()
    assert told["place_files"] == 5 and told["deliver"] is None
    assert str(told["report"]) == (
        "failed: 1 mails wait for a person (`billing mail show KEY`):\n"
        f"invoice:{TWO}: undeliverable, customer c2: no address"
    )
    [invoice] = server.to("one@example.com")
    assert set(attached(invoice)) == {f"{ONE}.pdf", f"{ONE}.xml"}
    assert sorted(message["Subject"] for message in server.to("finance@example.com")) == [
        "Billing run 1: 2 invoices",
        "Mails that could not be delivered: 1",
    ]
    [notice] = server.to("team@example.com")
    assert notice["Subject"] == "Close 1: success" and "2 invoices" in said(notice, "html")
    shop.home.close()


def test_what_else_is_wrong_is_printed(tmp_path: Path) -> None:
    """Nothing can be copied, and a document is missing: neither hides the other."""
    shop = Shop(home=Home.at(tmp_path / "home"), folder=tmp_path / "in")
    shop.home.create()
    issue(shop, BUYERS)
    keep_document(shop, ONE)
    shop.home.close()
    (tmp_path / "home" / "billing.toml").write_text('[files]\nlocation = "s3://copies"\nconnection = "not_there"\n')
    environment = os.environ | {"AIRFLOW_HOME": str(tmp_path / "airflow"), "BILLING_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", DELIVER, str(DAGS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said, _, ended = done.stdout.partition("ENDED ")
    assert "not_there" in ended
    assert f"2 have no document yet and are not delivered; the task that makes it says why: {TWO}, close-1" in said
