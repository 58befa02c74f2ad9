"""Checks under a real Airflow: an anomaly stops the run and is accepted in the form, and the run's page shows why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from billing.demo.local_airflow import LocalAirflow
from billing.steps.homes import configure, home_at
from tests.steps.small_world import REFERENCE, USAGE_HEADER, write_reference

pytestmark = pytest.mark.airflow

DAGS = ("reference_sync", "usage_ingest", "cycle_close")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with reference data to load, and a file in which thirty of forty records belong to nobody."""
    folder = tmp_path_factory.mktemp("checks")
    members = ["ada,t1,buyer", "dev,t1,developer", "lowest,t1,buyer"]
    write_reference(folder / "reference", {**REFERENCE, "team_members": members})
    home = home_at(folder / "home")
    home.create()
    configure(home, "close_lag_seconds", 0)
    home.close()
    (folder / "drop").mkdir()
    known = [f"e{n},2026-07-05T10:00:00Z,a1,render,20,," for n in range(10)]
    ghosts = [f"g{n},2026-07-05T10:00:00Z,<script>{n % 3},render,1,," for n in range(30)]
    file = folder / "drop" / "<b>usage<b>.csv"
    file.write_text("\n".join([USAGE_HEADER, *known, *ghosts, ""]), "utf-8")
    arrived = datetime.fromisoformat("2026-08-01T00:00:00Z").timestamp()
    os.utime(file, (arrived, arrived))
    return folder


@pytest.fixture(scope="module")
def airflow(folder: Path) -> Iterator[LocalAirflow]:
    environment = {
        "BILLING_HOME": str(folder / "home"),
        "BILLING_DROP_FOLDER": str(folder / "drop"),
        "BILLING_REFERENCE_FOLDER": str(folder / "reference"),
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
    }
    # Members need a login and no role; one has Airflow's lowest, with which all DAG runs may be read there.
    users = {"admin": "admin", "auditor": "viewer", "ada": "", "dev": "", "lowest": "viewer", "zoe": ""}
    with LocalAirflow(folder / "airflow", dag_ids=DAGS, environment=environment, users=users) as running:
        running.unpause(*DAGS)
        yield running


def run(airflow: LocalAirflow, dag_id: str, conf: dict[str, object]) -> tuple[str, str]:
    """A run's id, and how it ended."""
    run_id = airflow.trigger(dag_id, conf)
    return run_id, airflow.wait(dag_id, run_id, 180)


def page(airflow: LocalAirflow, path: str, user: str | None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {airflow.token(user)}"} if user else {}
    return httpx.get(f"{airflow.url}/billing/{path}", headers=headers, trust_env=False, timeout=60)


def test_an_anomaly_is_stopped_shown_and_accepted(airflow: LocalAirflow) -> None:
    assert run(airflow, "reference_sync", {})[1] == "success"
    window = {"window_start": "2026-07-01T00:00:00Z", "window_end": "2026-08-02T00:00:00Z"}
    stopped, state = run(airflow, "usage_ingest", window)
    assert state == "failed"
    log = airflow.task_log("usage_ingest", stopped, "ingest_usage_window[0]")
    assert "at most 20 of 40 records are quarantined" in log
    assert "accept_anomaly" in log

    taken, state = run(airflow, "usage_ingest", {**window, "accept_anomaly": "three apps come tomorrow"})
    assert state == "success"
    closed, state = run(airflow, "cycle_close", {"as_of": "2026-08-02T00:00:00Z"})
    assert state == "success"
    assert airflow.task_states("cycle_close", closed)["check_ledger"] == "success"

    plugins = airflow.request("GET", "plugins")["plugins"]
    (billing,) = [plugin for plugin in plugins if plugin["name"] == "billing"]
    views = {view["destination"]: view["href"] for view in billing["external_views"]}
    href = views["dag_run"].removeprefix("billing/")
    for dag_id, run_id, said in (
        ("usage_ingest", stopped, "stopped"),
        ("usage_ingest", taken, "three apps come tomorrow"),
        ("cycle_close", closed, "close 1"),
    ):
        path = href.replace("{DAG_ID}", quote(dag_id, safe="")).replace("{RUN_ID}", quote(run_id, safe=""))
        assert page(airflow, path, None).status_code == 401
        for user in ("admin", "auditor"):
            shown = page(airflow, path, user)
            assert shown.status_code == 200
            assert said in shown.text
    assert page(airflow, "checks/1", None).status_code == 401
    found = page(airflow, "checks/1", "auditor")
    assert 'href="/billing/checks/1?kept=true"' in found.text
    data_docs = page(airflow, "checks/1?kept=true", "auditor")
    assert "Evaluated Expectations" in data_docs.text
    assert "http" not in data_docs.text.replace("http-equiv", "")
    assert page(airflow, views["nav"].removeprefix("billing/"), "auditor").text.count("/billing/checks/") == 4
    for answer in (found, data_docs):
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("path", "may"),
    [
        ("api/v1/me", {"admin", "auditor", "ada", "dev", "lowest", "zoe"}),
        ("api/v1/teams", {"admin", "ada", "dev", "lowest"}),
        ("api/v1/team?team_id=t1", {"admin", "ada", "lowest"}),
        ("api/v1/usage?team_id=t1", {"admin", "ada", "dev", "lowest"}),
        ("api/v1/team?team_id=t2", {"admin"}),
        ("api/v1/month?month=2026-08", {"admin"}),
        ("api/v1/operations", {"admin"}),
        ("checks", {"admin", "auditor", "zoe"}),
        ("checks/1", {"admin", "auditor"}),
    ],
)
def test_members_see_their_teams_and_those_who_may_close_see_all(
    airflow: LocalAirflow, path: str, may: set[str]
) -> None:
    """By Airflow's own tokens. The auditor is a member of nothing, and no operator unless the settings say so."""
    assert page(airflow, path, None).status_code == 401
    answers = {
        user: page(airflow, path, user).status_code for user in ("admin", "auditor", "ada", "dev", "lowest", "zoe")
    }
    assert answers == {user: 200 if user in may else 403 for user in answers}
