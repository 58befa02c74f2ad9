"""`audit_rerun` under a real scheduler: green where all is equal, red where something differs, and nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import select, update

from billing.demo.local_airflow import LocalAirflow
from billing.steps.audit.choosing import Choice
from billing.steps.audit.report import take
from billing.steps.audit.rerun import rerun
from billing.store.audit_files import COMPARISONS, REPORT, audit_folder
from billing.store.home import Home
from billing.store.shards import shard_of
from billing.store.tables import carry, metadata
from tests.steps.small_world import Shop

pytestmark = pytest.mark.airflow

DAG = "audit_rerun"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A home with July of two teams of different shards, closed and rendered."""
    folder = tmp_path_factory.mktemp("audit")
    made = Shop(home=Home.at(folder / "home"), folder=folder / "files")
    made.home.create()
    made.load()
    made.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", "e2,2026-07-06T00:00:00Z,a2,translate,30,,", now="08-02")
    made.close("08-02")
    assert not made.render().failed
    yield made
    made.home.close()


@pytest.fixture(scope="module")
def airflow(shop: Shop) -> Iterator[LocalAirflow]:
    environment = {"BILLING_HOME": str(shop.home.folder), "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False"}
    with LocalAirflow(shop.folder / "airflow", dag_ids=(DAG,), environment=environment) as running:
        running.unpause(DAG)
        yield running


def all_that_is_kept(home: Home) -> dict[str, object]:
    """Every row of the database, and every file beside it but reports and locks."""
    with home.database.read() as connection:
        tables = {t.name: sorted(map(repr, connection.execute(select(t)))) for t in metadata.sorted_tables}
    own = ("audit", "locks", "billing.db")
    paths = [path for path in sorted(home.folder.rglob("*")) if path.is_file()]
    names = {path: path.relative_to(home.folder).as_posix() for path in paths}
    return tables | {n: sha256(p.read_bytes()).hexdigest() for p, n in names.items() if not n.startswith(own)}


def run(airflow: LocalAirflow, conf: dict[str, object]) -> tuple[str, str]:
    """A run's id, and how it ended."""
    run_id = airflow.trigger(DAG, conf)
    return run_id, airflow.wait(DAG, run_id, 240)


def on_the_page(airflow: LocalAirflow, run_id: str) -> str:
    """The report as the link of the run's *Checks* page opens it."""
    headers = {"Authorization": f"Bearer {airflow.token()}"}
    checks, report = f"/billing/runs/{DAG}/{quote(run_id, safe='')}", f"/billing/audits/{quote(run_id)}"
    with httpx.Client(base_url=airflow.url, headers=headers, trust_env=False, timeout=60) as client:
        assert f'href="{report}"' in client.get(checks).text
        answer = client.get(report)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert httpx.get(f"{airflow.url}{report}", trust_env=False, timeout=60).status_code == 401
    return answer.text


def test_equal_is_green_and_a_tampered_row_is_red(airflow: LocalAirflow, shop: Shop, tmp_path: Path) -> None:
    """Mapped over the shards of the two teams; the same file as one process leaves; nothing but reports is written."""
    assert shard_of("t1") != shard_of("t2")
    before = all_that_is_kept(shop.home)
    run_id, state = run(airflow, {"everything": True})
    states = airflow.task_states(DAG, run_id)
    assert (state, set(states)) == (
        "success",
        {"choose_cycles", "compare_again[0]", "compare_again[1]", "leave_report"},
    ), airflow.task_log(DAG, run_id, "leave_report")
    folder = audit_folder(shop.home, run_id)
    assert f"The report: {folder / REPORT}" in airflow.task_log(DAG, run_id, "leave_report")
    shown = on_the_page(airflow, run_id)
    assert shown == (folder / REPORT).read_text("utf-8")
    for said in ("All is equal", "every closed cycle", "<dd>admin</dd>", "<dt>weasyprint</dt>", "<dt>tables</dt>"):
        assert said in shown
    take(rerun(shop.home, Choice()), tmp_path / COMPARISONS)
    assert (folder / COMPARISONS).read_bytes() == (tmp_path / COMPARISONS).read_bytes()
    assert all_that_is_kept(shop.home) == before

    with shop.home.database.write() as connection:
        assert connection.execute(update(carry).where(carry.c.team_id == "t2").values(late_usage_micro=7)).rowcount
    before = all_that_is_kept(shop.home)
    run_id, state = run(airflow, {"from": "2026-07-02T00:00:00Z", "documents": False})
    log = airflow.task_log(DAG, run_id, "leave_report")
    assert state == "failed"
    assert "Something differs in substance: 1 of" in log
    assert str(audit_folder(shop.home, run_id) / REPORT) in log
    shown = on_the_page(airflow, run_id)
    row = [f">{cell}</td>" for cell in ("t2", "late_usage_micro", "7", "0", "differs")]
    assert [cell for cell in row if cell not in shown] == []
    assert all_that_is_kept(shop.home) == before


def test_a_form_that_chooses_nothing_or_twice_is_refused(airflow: LocalAirflow, shop: Shop) -> None:
    """And so is what is not there, whatever stands in it."""
    for conf, said in (
        ({"what": "t1", "everything": True}, "Say which cycles, in one way"),
        ({"what": HOSTILE}, f"no closed cycle of an invoice or a team {HOSTILE}"),
    ):
        run_id, state = run(airflow, conf)
        assert state == "failed"
        assert said in airflow.task_log(DAG, run_id, "choose_cycles")
        assert not audit_folder(shop.home, run_id).exists()
