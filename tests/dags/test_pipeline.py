"""The pipeline's own DAGs under a real scheduler: the same outputs as ``billing simulate``, and red where a team is
parked.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from billing.demo.local_airflow import LocalAirflow
from billing.steps.export import export
from billing.steps.homes import configure, home_at
from billing.steps.invoices import list_invoices

pytestmark = pytest.mark.airflow

CASES = Path(__file__).parents[3] / "shared" / "cases"
DAGS = ("reference_sync", "usage_ingest", "cycle_close")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


@pytest.fixture(scope="module")
def airflow(folder: Path) -> Iterator[LocalAirflow]:
    environment = {
        "BILLING_HOME": str(folder / "home"),
        "BILLING_DROP_FOLDER": str(folder / "drop"),
        "BILLING_REFERENCE_FOLDER": str(folder / "reference"),
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
    }
    with LocalAirflow(folder / "airflow", dag_ids=DAGS, environment=environment) as running:
        running.unpause(*DAGS)
        yield running


@pytest.fixture
def books(folder: Path) -> Iterator[Path]:
    """A fresh home where the DAGs look for theirs."""
    for name in ("home", "drop", "reference", "outputs"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "drop").mkdir()
    home = home_at(folder / "home")
    home.create()
    configure(home, "close_lag_seconds", 0)
    home.close()
    return folder


def deliver(source: Path, target: Path, arrived_at: str) -> None:
    """Put a file into the drop folder as if it had arrived then."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    instant = datetime.fromisoformat(arrived_at).timestamp()
    os.utime(target, (instant, instant))


def run_green(airflow: LocalAirflow, dag_id: str, conf: dict[str, object]) -> None:
    """Run a DAG to its end; where a task failed the test fails with its log."""
    run_id = airflow.trigger(dag_id, conf)
    if airflow.wait(dag_id, run_id, 180) != "success":
        failed = [task for task, state in airflow.task_states(dag_id, run_id).items() if state == "failed"]
        pytest.fail("\n".join(f"{dag_id}.{task}:\n{airflow.task_log(dag_id, run_id, task)}" for task in failed))


def ingest(airflow: LocalAirflow, start: str, end: str) -> None:
    run_green(airflow, "usage_ingest", {"window_start": start, "window_end": end})


def table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.reader(handle))


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not beside the checkout")
def test_real_traffic_by_the_dags_agrees_to_the_last_cell(airflow: LocalAirflow, books: Path) -> None:
    case = CASES / "real-llm-calls"
    shutil.copytree(case / "reference", books / "reference")
    run_green(airflow, "reference_sync", {})
    deliver(case / "usage" / "001.csv", books / "drop" / "usage" / "001.csv", "2023-11-16T19:29:00Z")
    deliver(case / "usage" / "002.csv", books / "drop" / "usage" / "002.csv", "2023-11-16T20:29:00Z")
    ingest(airflow, "2023-11-16T18:00:00Z", "2023-11-16T19:30:00Z")
    run_green(airflow, "cycle_close", {"as_of": "2023-11-16T19:30:00Z"})
    ingest(airflow, "2023-11-16T19:30:00Z", "2023-11-16T20:30:00Z")
    ingest(airflow, "2023-11-16T20:30:00Z", "2023-11-17T20:30:00Z")
    run_green(airflow, "cycle_close", {"as_of": "2023-11-17T20:30:00Z"})
    ingest(airflow, "2023-11-17T20:30:00Z", "2023-12-20T00:00:00Z")
    run_green(airflow, "cycle_close", {"as_of": "2023-12-20T00:00:00Z", "groups": 4})

    home = home_at(books / "home")
    export(home, books / "outputs")
    documents = [invoice.document for invoice in list_invoices(home)]
    home.close()
    for expected in sorted((case / "expected").glob("*.csv")):
        assert table(books / "outputs" / expected.name) == table(expected), expected.name
    assert documents
    assert all(Path(document).read_bytes().startswith(b"%PDF") for document in documents)


def test_a_parked_team_ends_the_run_red_and_is_named(airflow: LocalAirflow, books: Path) -> None:
    """Rule 3.8: the others are billed, the run says who is not, and a later close, once mended, is green."""
    write_parked_team(books / "reference")
    usage = books / "usage.csv"
    usage.write_text("event_id,occurred_at,app_id,api,quantity\ne1,2024-01-10T10:00:00Z,a1,automation,20\n", "utf-8")
    deliver(usage, books / "drop" / "usage.csv", "2024-02-20T00:00:00Z")
    run_green(airflow, "reference_sync", {})
    ingest(airflow, "2024-01-01T00:00:00Z", "2024-03-01T00:00:00Z")
    run_id = airflow.trigger("cycle_close", {"as_of": "2024-02-25T00:00:00Z"})
    assert airflow.wait("cycle_close", run_id, 180) == "failed"
    states = airflow.task_states("cycle_close", run_id)
    assert [name for name, state in states.items() if state == "failed"] == ["report"]
    assert "team t1, cycle of 2024-01-05T00:00:00Z: no_tax_rate" in airflow.task_log("cycle_close", run_id, "report")

    (books / "reference" / "tax_rates.csv").write_text("country,valid_from,percent\nFR,2014-01-01,20\n", "utf-8")
    run_green(airflow, "reference_sync", {})
    run_green(airflow, "cycle_close", {"as_of": "2024-02-26T00:00:00Z"})
    home = home_at(books / "home")
    (invoice,) = list_invoices(home)
    home.close()
    assert (invoice.number, invoice.total) == ("INV-2024-000001", "2.88")


def test_refused_data_fails_at_once_and_says_why(airflow: LocalAirflow, books: Path) -> None:
    write_parked_team(books / "reference")
    (books / "reference" / "teams.csv").write_text("team_id,customer_id,name\nt1,nobody,Team\n", "utf-8")
    run_id = airflow.trigger("reference_sync", {})
    assert airflow.wait("reference_sync", run_id, 120) == "failed"
    log = airflow.task_log("reference_sync", run_id, "load_reference_data")
    assert "teams.csv" in log
    assert "line 2" in log
    assert "nobody" in log


REFERENCE = {
    "seller": "legal_name,address_line1,postal_code,city,country,vat_id,invoice_prefix,time_zone,iban,email\n"
    "Example SAS,1 rue Exemple,75002,Paris,FR,FR40303265045,INV,Europe/Paris,,billing@example.com\n",
    "customers": "customer_id,legal_name,address_line1,address_line2,postal_code,city,region,"
    "country,vat_id,email,locale\n"
    "c1,Atelier,2 rue B,,69002,Lyon,,FR,,ap@example.com,fr-FR\n",
    "teams": "team_id,customer_id,name\nt1,c1,Team\n",
    "hubs": "hub_id,name\nh1,Hub\n",
    "hub_teams": "hub_id,team_id,valid_from,valid_to\nh1,t1,2024-01-01T00:00:00Z,\n",
    "apps": "app_id,name\na1,App\n",
    "app_hubs": "app_id,hub_id,valid_from,valid_to\na1,h1,2024-01-01T00:00:00Z,\n",
    "apis": "api,name,usage_unit,billing\nautomation,Automation,processing_minute,rated\n",
    "unit_rates": "api,valid_from,unit_size,tokens_per_unit\nautomation,2024-01-01T00:00:00Z,20,\n",
    "unit_prices": "api,currency,valid_from,unit_price\nautomation,EUR,2024-01-01T00:00:00Z,2.40\n",
    "subscriptions": "subscription_id,team_id,kind,purchased_at,time_zone,ends_at,currency,payment_method_id\n"
    "s1,t1,payg,2024-01-05T00:00:00Z,UTC,,EUR,pm1\n",
    "free_allowances": "subscription_id,api,units_per_period\n",
    "token_grants": "grant_id,subscription_id,tokens,valid_from,expires_at\n",
    "tax_rates": "country,valid_from,percent\n",
}


def write_parked_team(folder: Path) -> None:
    """Reference data of one team whose country has no tax rate yet."""
    folder.mkdir()
    for name, text in REFERENCE.items():
        (folder / f"{name}.csv").write_text(text, "utf-8")
