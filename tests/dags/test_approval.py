"""The approval in `cycle_close` under a real scheduler: answered in the form by one who may, left without an
answer, and asked again. One Airflow, one test, in the order of time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from billing.demo.airflow_client import AirflowError
from billing.demo.local_airflow import LocalAirflow
from billing.steps.approval import answer_for, waiting_close
from billing.steps.audit.choosing import Choice
from billing.steps.audit.rerun import rerun
from billing.steps.homes import home_at
from billing.steps.ledger_checks import check_ledger
from billing.store.home import Home
from billing.store.tables import closes
from tests.steps.mail_world import Server, connection_to
from tests.steps.small_world import Shop

pytestmark = pytest.mark.airflow

LAWS = Path(__file__).parents[2] / "sql" / "checks"
DAG, TASK = "cycle_close", "approval"
HOSTILE = "<b onclick=x>Team</b> {{ 7*7 }} | two"
SETTINGS = """
[approval]
when = "always"
approvers = ["ada"]
within_hours = {hours}
mail = "finance@example.com"
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Two teams with usage in July."""
    home = home_at(tmp_path / "home")
    home.create()
    shop = Shop(home=home, folder=tmp_path / "in")
    shop.load(teams=["t1,c1,Team One", f't2,c2,"{HOSTILE}"'])
    usage = ("e1,2026-07-05T00:00:00Z,a1,translate,3,,", "e2,2026-07-06T00:00:00Z,a2,translate,5,,")
    shop.ingest(*usage, now="08-02")
    settings(home, hours=1)
    yield home
    home.close()


@pytest.fixture
def airflow(tmp_path: Path, home: Home, server: Server) -> Iterator[LocalAirflow]:
    environment = {
        "BILLING_HOME": str(home.folder),
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
        "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
        "AIRFLOW_CONN_SMTP_DEFAULT": connection_to(server.port),
    }
    users = {"admin": "admin", "ada": "op", "bob": "op"}
    with LocalAirflow(tmp_path / "airflow", dag_ids=(DAG,), environment=environment, users=users) as running:
        running.unpause(DAG)
        yield running


def settings(home: Home, hours: float) -> None:
    (home.folder / "billing.toml").write_text(SETTINGS.format(hours=hours), "utf-8")


def asked(airflow: LocalAirflow, **conf: object) -> str:
    """Trigger a run, and wait until it asks."""
    run_id = airflow.trigger(DAG, conf)
    airflow.wait_for_task(DAG, run_id, TASK, "awaiting_input", 90)
    return run_id


def failed(airflow: LocalAirflow, run_id: str) -> list[str]:
    return [task for task, state in airflow.task_states(DAG, run_id).items() if state == "failed"]


def numbers(home: Home) -> list[str]:
    folder = home.folder.parent / "out"
    shop = Shop(home=home, folder=folder)
    return [row[0] for row in shop.export()["invoices"]]


def test_a_person_approves_leaves_a_team_out_or_lets_the_time_pass(
    airflow: LocalAirflow, home: Home, server: Server
) -> None:
    """Rules 6.3 and 6.7."""
    run_id = asked(airflow, as_of="2026-08-02T00:00:00Z")
    question = airflow.question(DAG, run_id, TASK)
    assert question["subject"] == "Close 1: issue 2 invoices?"
    assert [user["id"] for user in question["assigned_users"]] == ["ada"]
    assert "| EUR | 2 | 19.20 | 1.44 | 20.64 |" in question["body"]
    assert "<b" not in question["body"]
    assert "{{" not in question["body"]
    with pytest.raises(AirflowError, match="403"):
        airflow.answer(DAG, run_id, TASK, "Approve", "bob")
    assert numbers(home) == []
    form = {"left_out": "t2 = the price is wrong", "reason": "as agreed"}
    before = datetime.now(UTC)
    airflow.answer(DAG, run_id, TASK, "Approve", "ada", form)
    assert airflow.wait(DAG, run_id, 120) == "failed", "a team is parked"
    assert failed(airflow, run_id) == ["report"]
    assert "team t2, cycle of 2026-07-01T00:00:00Z: rejected (the price is wrong)" in airflow.task_log(
        DAG, run_id, "report"
    )
    answer = answer_for(home, 1)
    assert answer is not None
    assert (answer.approved_by, answer.comment, answer.rejected) == ("ada", "as agreed", {"t2": "the price is wrong"})
    assert before <= answer.approved_at <= datetime.now(UTC)
    with home.database.read() as connection:
        assert connection.execute(select(closes.c.issued_at_us == closes.c.approved_at_us)).scalar()
    assert len(numbers(home)) == 1

    settings(home, hours=0.003)
    run_id = asked(airflow)
    assert airflow.wait(DAG, run_id, 90) == "failed"
    assert failed(airflow, run_id) == ["approval"]
    assert "Nobody answered for close 2" in airflow.task_log(DAG, run_id, TASK)
    assert (len(numbers(home)), waiting_close(home)) == (1, 2)

    settings(home, hours=1)
    run_id = airflow.trigger(DAG, {"approval": "do not ask"})
    assert airflow.wait(DAG, run_id, 90) == "failed"
    assert "is not to be asked for, and must be: 1 team rejected" in airflow.task_log(DAG, run_id, "ask_for_approval")

    run_id = asked(airflow)
    assert "Rejected at an earlier close" in airflow.question(DAG, run_id, TASK)["body"]
    airflow.answer(DAG, run_id, TASK, "Approve", "ada", {"left_out": "", "reason": ""})
    assert airflow.wait(DAG, run_id, 120) == "success"
    assert len(numbers(home)) == 2
    check_ledger(home, LAWS, close_no=2)
    found = list(rerun(home, Choice(), documents=True))
    assert found
    assert [one for one in found if one.stored != one.again] == []

    mails = [message for _, message, _ in server.mails]
    assert [str(mail["Subject"]) for mail in mails] == [
        "Close 1: issue 2 invoices?",
        *["Close 2: issue 1 invoices?"] * 2,
    ]
    text = mails[0].get_body(("html",)).get_content()  # type: ignore[union-attr]
    assert f"{airflow.url}/dags/cycle_close/runs/" in text
    assert "20.64 EUR in all" in text
