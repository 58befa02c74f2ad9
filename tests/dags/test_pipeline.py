"""The pipeline's own DAGs under a real scheduler: the same outputs as ``billing simulate``, and red where a team is
parked.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from billing.demo.local_airflow import LocalAirflow
from billing.steps.audit.manifest import file_all
from billing.steps.export import export
from billing.steps.homes import configure, home_at
from billing.steps.invoices import list_invoices
from billing.steps.overdue import Overdue
from billing.steps.status import status
from billing.steps.window_history import window_history

from .observing import Metrics, Warehouse

pytestmark = pytest.mark.airflow

CASES = Path(__file__).parents[3] / "shared" / "cases"
CHECKOUT = Path(__file__).parents[2]
DAGS = ("reference_sync", "usage_ingest", "cycle_close")
TARDY = """
import time
from datetime import timedelta

from airflow.sdk import dag, task

from observed import done_within


@dag(schedule=None, deadline=done_within(timedelta(seconds=2)))
def tardy():
    @task
    def sleep():
        time.sleep(15)

    sleep()


tardy()
"""
SLOW_QUERY = """
select event_id, occurred_at, app_id, api, quantity,
       pg_sleep(case when number % 50 = 0 then 0.5 else 0 end)::text as slow
from usage_events
where arrived_at >= :window_start and arrived_at < :window_end
order by number
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


@pytest.fixture(scope="module")
def dags_folder(folder: Path) -> Path:
    """A folder of DAGs of the test's own."""
    (folder / "dags").mkdir()
    return folder / "dags"


@pytest.fixture(scope="module")
def warehouse(postgres_url: Callable[[], str]) -> Warehouse:
    """A database that usage is read from."""
    return Warehouse(postgres_url())


@pytest.fixture(scope="module")
def metrics() -> Iterator[Metrics]:
    """What Airflow sends to a StatsD server."""
    with Metrics() as listening:
        yield listening


@pytest.fixture(scope="module")
def airflow(folder: Path, metrics: Metrics, warehouse: Warehouse, dags_folder: Path) -> Iterator[LocalAirflow]:
    """The DAGs of the checkout, with metrics, lineage and a connection, and one that is always overdue."""
    for path in (*(CHECKOUT / "dags").glob("*.py"), CHECKOUT / "dags" / ".airflowignore"):
        shutil.copyfile(path, dags_folder / path.name)
    (dags_folder / "tardy.py").write_text(TARDY, "utf-8")
    environment = {
        "BILLING_HOME": str(folder / "home"),
        "BILLING_DROP_FOLDER": str(folder / "drop"),
        "BILLING_REFERENCE_FOLDER": str(folder / "reference"),
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
            {"type": "file", "log_file_path": str(folder / "lineage.jsonl"), "append": True}
        ),
        "AIRFLOW_CONN_WAREHOUSE": warehouse.connection,
        **metrics.environment,
    }
    with LocalAirflow(
        folder / "airflow", dags_folder=dags_folder, dag_ids=(*DAGS, "tardy"), environment=environment
    ) as running:
        running.unpause(*DAGS, "tardy")
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


def lineage(folder: Path) -> set[tuple[str, str, str]]:
    """What was said to be read or written by which task: (DAG and task, "reads" or "writes", dataset)."""
    said = set()
    for line in (folder / "lineage.jsonl").read_text("utf-8").splitlines():
        event = json.loads(line)
        for how, datasets in (("reads", event.get("inputs", ())), ("writes", event.get("outputs", ()))):
            said |= {(event["job"]["name"], how, dataset["name"]) for dataset in datasets}
    return said


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
    file_all(home, books / "manifests")
    home.close()
    triggers = [json.loads(path.read_text())["triggered_by"]["run"] for path in (books / "manifests").iterdir()]
    assert {run.partition("/")[0] for run in triggers} == {"reference_sync", "usage_ingest", "cycle_close"}
    assert all(run.partition("/")[2] for run in triggers), "a run's own name"
    for expected in sorted((case / "expected").glob("*.csv")):
        want = table(expected)
        width = len(want[0])  # further columns may follow the contract's
        assert [row[:width] for row in table(books / "outputs" / expected.name)] == want, expected.name
    assert documents
    assert all(Path(document).read_bytes().startswith(b"%PDF") for document in documents)


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not beside the checkout")
def test_what_the_runs_did_was_counted_and_its_lineage_told(
    airflow: LocalAirflow, metrics: Metrics, folder: Path
) -> None:
    """From the source to the invoice and its document; after the test above."""
    told = lineage(folder)
    assert {
        ("reference_sync.load_reference_data", "reads", str(folder / "reference")),
        ("reference_sync.load_reference_data", "writes", "reference"),
        ("usage_ingest.ingest_usage_window", "reads", str(folder / "drop")),
        ("usage_ingest.ingest_usage_window", "writes", "usage"),
        ("cycle_close.rate_teams", "reads", "usage"),
        ("cycle_close.rate_teams", "writes", "ledger"),
        ("cycle_close.issue_invoices", "reads", "ledger"),
        ("cycle_close.issue_invoices", "writes", "invoices"),
        ("cycle_close.render_documents", "reads", "invoices"),
        ("cycle_close.render_documents", "writes", "documents"),
    } <= told
    records, accepted = metrics.total("billing.usage.records"), metrics.total("billing.usage.accepted")
    rejected = sum(metrics.total(name) for name in metrics.names() if name.startswith("billing.usage.rejected."))
    assert records == accepted + rejected > 0
    assert metrics.total("billing.invoices.issued") == metrics.total("billing.documents.rendered") == 10
    assert "billing.usage.ingest" in metrics.names()


def test_a_run_that_is_not_done_in_time_is_noted(airflow: LocalAirflow, books: Path) -> None:
    """DeadlineAlert: where `billing status` shows it."""
    run_id = airflow.trigger("tardy", {})
    deadline = time.monotonic() + 60
    found: tuple[Overdue, ...] = ()
    home = home_at(books / "home")
    while not found and time.monotonic() < deadline:
        time.sleep(1)
        found = status(home).overdue
    home.close()
    assert [(one.dag_id, one.run_id) for one in found] == [("tardy", run_id)]


def test_a_source_that_goes_away_in_the_middle_loses_nothing(
    airflow: LocalAirflow, books: Path, warehouse: Warehouse
) -> None:
    """Its server ends the connection while rows are read; more rows arrive meanwhile; the task is tried again."""
    write_parked_team(books / "reference")
    run_green(airflow, "reference_sync", {})
    query = books / "slow.sql"
    query.write_text(SLOW_QUERY, "utf-8")
    settings = f'[sources.warehouse]\nkind = "sql"\nconnection = "warehouse"\nquery = "{query}"\n'
    (books / "home" / "billing.toml").write_text(settings, "utf-8")
    warehouse.arrive(range(400), "2024-01-10T00:05:00Z")
    windows = {"window_start": "2024-01-10T00:00:00Z", "window_end": "2024-01-10T00:10:00Z"}
    run_id = airflow.trigger("usage_ingest", windows)
    warehouse.break_off()
    warehouse.arrive(range(400, 450), "2024-01-10T00:09:59Z")
    warehouse.arrive(range(450, 500), "2024-01-10T00:10:00Z")
    assert airflow.wait("usage_ingest", run_id, 180) == "success"
    assert accepted_ids(books) == set(range(450)), "those that arrived meanwhile, in the window, are there"
    run_green(airflow, "usage_ingest", {"window_start": "2024-01-10T00:10:00Z", "window_end": "2024-01-10T00:20:00Z"})
    assert accepted_ids(books) == set(range(500))
    home = home_at(books / "home")
    found = status(home)
    history = window_history(home, datetime(2024, 1, 10, 0, 20, tzinfo=UTC), each=True)
    home.close()
    assert (found.accepted, found.duplicates) == (500, 0), "nothing twice"
    assert [one.records for one in history] == [450, 50]


def accepted_ids(books: Path) -> set[int]:
    home = home_at(books / "home")
    ids = home.usage.lake.dataset().to_table(columns=["event_id"])["event_id"].to_pylist()
    home.close()
    assert len(ids) == len(set(ids))
    return {int(event_id.removeprefix("w")) for event_id in ids}


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
