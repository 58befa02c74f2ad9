"""A real Airflow starts, runs DAGs, says what is wrong with them, and leaves no process behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from billing.demo.airflow_client import AirflowError
from billing.demo.dataset import write_dataset
from billing.demo.local_airflow import LocalAirflow
from billing.steps.homes import home_at
from billing.steps.reference import load_reference

pytestmark = pytest.mark.airflow

ProcessesOf = Callable[[int | None], list[str]]
SCRIPT = """
import sys, time
from pathlib import Path
from billing.demo.local_airflow import LocalAirflow

with LocalAirflow(Path(sys.argv[1]), dags_folder=Path(sys.argv[2]), dag_ids=["slow"]) as airflow:
    airflow.unpause("slow")
    airflow.wait_for_task("slow", airflow.trigger("slow"), "sleep", "running", 120)
    print("running", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, dags_folder: Path) -> Iterator[LocalAirflow]:
    """One Airflow for the tests of what it runs."""
    with LocalAirflow(
        tmp_path_factory.mktemp("airflow"),
        dags_folder=dags_folder,
        dag_ids=["quick", "asking", "slow"],
        users={"admin": "admin", "finance": "user", "auditor": "viewer"},
    ) as running:
        running.unpause("quick", "asking", "slow")
        yield running


def test_a_run_gets_its_parameters_and_its_tasks_say_what_they_did(airflow: LocalAirflow) -> None:
    run_id = airflow.trigger("quick", {"words": ["carry", "over", "on"]}, run_id="three-words")
    assert run_id == "three-words"
    assert airflow.wait("quick", run_id, timeout_s=120) == "success"
    expected = dict.fromkeys(("words", "say[0]", "say[1]", "say[2]"), "success")
    assert airflow.task_states("quick", run_id) == expected
    assert "said over" in airflow.task_log("quick", run_id, "say[1]")


def test_an_approval_is_answered_by_one_who_may(airflow: LocalAirflow) -> None:
    run_id = airflow.trigger("asking")
    airflow.wait_for_task("asking", run_id, "approve", "awaiting_input", timeout_s=120)
    with pytest.raises(AirflowError, match="403"):
        airflow.answer("asking", run_id, "approve", "Approve", user="auditor")
    airflow.answer("asking", run_id, "approve", "Approve", user="finance")
    assert airflow.wait("asking", run_id, timeout_s=120) == "success"


def test_waiting_says_what_it_waited_for(airflow: LocalAirflow) -> None:
    run_id = airflow.trigger("slow")
    airflow.wait_for_task("slow", run_id, "sleep", "running", timeout_s=120)
    with pytest.raises(AirflowError, match=r"has not ended; its tasks: {'sleep': 'running'}"):
        airflow.wait("slow", run_id, timeout_s=1)


def test_a_home_is_one_airflow_s_at_a_time(airflow: LocalAirflow) -> None:
    with pytest.raises(AirflowError, match="runs already. Stop it first"), LocalAirflow(airflow.home):
        pass
    assert airflow.health()["scheduler"] == "healthy"


def test_nothing_is_left_though_a_task_was_running(airflow: LocalAirflow, processes_of: ProcessesOf) -> None:
    run_id = airflow.trigger("slow", run_id="still-running")
    airflow.wait_for_task("slow", run_id, "sleep", "running", timeout_s=120)
    assert len(processes_of(airflow.process_id)) >= 6  # the first, three parts, a worker and its task
    airflow.stop()
    assert processes_of(airflow.process_id) == []


def test_a_dag_that_cannot_be_imported_is_reported(tmp_path: Path, processes_of: ProcessesOf) -> None:
    (tmp_path / "broken.py").write_text("# a dag for airflow\nimport no_such_module_anywhere\n", "utf-8")
    airflow = LocalAirflow(tmp_path / "home", dags_folder=tmp_path, dag_ids=["broken"])
    with pytest.raises(AirflowError, match=r"(?s)broken\.py.*No module named 'no_such_module_anywhere'"), airflow:
        pass
    assert processes_of(airflow.process_id) == []


def test_a_part_that_dies_is_reported_with_its_log(tmp_path: Path, processes_of: ProcessesOf) -> None:
    environment = {"AIRFLOW__CORE__EXECUTOR": "NoSuchExecutor"}
    airflow = LocalAirflow(tmp_path / "home", dags_folder=tmp_path, environment=environment)
    with pytest.raises(AirflowError, match=r"(?s)Its logs are in .*NoSuchExecutor"), airflow:
        pass
    assert processes_of(airflow.process_id) == []


def test_nothing_is_left_when_the_one_who_started_it_is_killed(
    tmp_path: Path, dags_folder: Path, processes_of: ProcessesOf
) -> None:
    home = tmp_path / "home"
    starter = subprocess.Popen([sys.executable, "-c", SCRIPT, str(home), str(dags_folder)], stdout=subprocess.PIPE)
    assert starter.stdout is not None and starter.stdout.readline() == b"running\n"
    session = psutil.Process(starter.pid).children()[0].pid
    assert len(processes_of(session)) >= 6
    starter.kill()
    starter.wait()
    deadline = time.monotonic() + 30
    while processes_of(session) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert processes_of(session) == []


def test_make_ui_says_where_and_stops_at_ctrl_c(tmp_path: Path, processes_of: ProcessesOf) -> None:
    with make_ui("--home", str(tmp_path / "home"), "--folder", str(tmp_path / "no demo")) as (page, said):
        assert "http://127.0.0.1:" in said and "log in as admin with " in said
        assert "(role admin: sees everything)" in said
        assert "(role viewer: sees runs and their checks, no teams)" in said
        session = psutil.Process(page.pid).children()[0].pid
        page.send_signal(signal.SIGINT)
        assert page.wait(timeout=60) == 0
    assert processes_of(session) == []


def test_make_ui_shows_the_demo_with_the_runs_it_made(demo: Path) -> None:
    """In the demo's own Airflow; by their schedules its DAGs, which are on, would close every month since."""
    with make_ui("--folder", str(demo)) as (_, said):
        assert f"billing home: {demo / 'home'}\n" in said
        assert f"logs: {demo / 'airflow' / 'logs'}\n" in said
        assert "a DAG runs where you trigger it, not by its schedule" in said
        assert address_of(said).get("/api/v2/monitor/health").json()["triggerer"]["status"] == "healthy"
        ada, ben = (member(said, name) for name in ("ada", "ben"))
        assert ada.get("/billing/teams").status_code == 200
        assert [(team["team_id"], team["name"]) for team in teams(ada)] == [("berlin", "Berlin statics")]
        assert [(team["team_id"], team["name"]) for team in teams(ben)] == [("losangeles", "Los Angeles render farm")]
        assert ada.get("/api/v2/dags").status_code == 403


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `make demo` begins it: the data set, and a home that knows its reference data."""
    folder = tmp_path_factory.mktemp("demo")
    data = write_dataset(folder / "data")
    home = home_at(folder / "home")
    home.create()
    load_reference(home, data.reference)
    home.close()
    return folder


@contextmanager
def make_ui(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and what it said until Airflow was up."""
    command = [sys.executable, "-m", "billing.demo.local_airflow", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "BILLING_HOME"}
    page = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**environment, "PYTHONUNBUFFERED": "1"})
    assert page.stdout is not None
    try:
        said = [next(page.stdout)]
        while not said[-1].strip().endswith("Ctrl-C stops it."):
            said.append(next(page.stdout))
        yield page, "".join(said)
    finally:
        page.terminate()
        page.wait(timeout=60)


def address_of(said: str) -> httpx.Client:
    """A client of the Airflow that said so."""
    found = re.search(r"http://127\.0\.0\.1:\d+", said)
    assert found
    return httpx.Client(base_url=found[0], trust_env=False, timeout=60)


def member(said: str, name: str) -> httpx.Client:
    """A client of a member who logged in with what was said at the address of members."""
    found = re.search(rf"log in at (\S+)next=/billing/teams as {name} with (\S+)  \(", said)
    assert found
    client = address_of(said)
    answer = client.post("/auth/token", json={"username": name, "password": found[2]})
    client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return client


def teams(client: httpx.Client) -> list[dict[str, str]]:
    """The teams that somebody sees."""
    found: list[dict[str, str]] = client.get("/billing/api/v1/teams").json()["teams"]
    return found
