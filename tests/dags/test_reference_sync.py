"""Reference data by the DAG, under a real Airflow: from SQL where the settings say so, from files where asked to."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from billing.demo.local_airflow import LocalAirflow
from billing.steps.homes import home_at
from tests.intake_reference.source_database import add, make_source
from tests.steps.small_world import REFERENCE, Shop, write_reference

pytestmark = pytest.mark.airflow

DAGS = Path(__file__).parents[2] / "dags"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sync")


@pytest.fixture(scope="module")
def source(folder: Path) -> Iterator[Engine]:
    """A database with the small world's reference data."""
    engine = make_source(
        f"sqlite:///{folder / 'crm.db'}", {name: list(csv.reader(lines)) for name, lines in REFERENCE.items()}
    )
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def shop(folder: Path) -> Iterator[Shop]:
    """A home that takes its reference data from that database."""
    home = home_at(folder / "home")
    home.create()
    (folder / "home" / "billing.toml").write_text(f'[reference]\nurl = "sqlite:///{folder / "crm.db"}"\n', "utf-8")
    yield Shop(home=home, folder=folder / "files")
    home.close()


@pytest.fixture(scope="module")
def airflow(folder: Path, shop: Shop) -> Iterator[LocalAirflow]:
    environment = {
        "BILLING_HOME": str(folder / "home"),
        "BILLING_REFERENCE_FOLDER": str(folder / "reference"),
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
    }
    with LocalAirflow(
        folder / "airflow", dags_folder=DAGS, dag_ids=("reference_sync",), environment=environment
    ) as running:
        running.unpause("reference_sync")
        yield running


def run(airflow: LocalAirflow, conf: dict[str, object], state: str = "success") -> str:
    """Run it to its end; its log."""
    run_id = airflow.trigger("reference_sync", conf)
    ended = airflow.wait("reference_sync", run_id, 180)
    log = airflow.task_log("reference_sync", run_id, "load_reference_data")
    assert ended == state, log
    return log


def test_it_takes_what_the_settings_name_and_says_what_differs_and_what_is_late(
    airflow: LocalAirflow, shop: Shop, source: Engine
) -> None:
    assert "subscriptions: 5 added, 0 changed, 0 removed" in run(airflow, {})
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", now="08-02")
    shop.close("08-02")
    add(source, "tax_rates", ["FR", "2026-07-31", "21"])
    log = run(airflow, {"source": "sql"})
    assert "tax_rates: 1 added, 0 changed, 0 removed" in log
    assert "customers: the same" in log
    assert "INV-2026-000001: tax is 0.46 EUR (S 20 %) and would have been 0.48 EUR (S 21 %)" in log
    assert "1 late rows: billing reference late --load 2" in log


def test_a_refusal_lists_everything_whatever_the_form_names(
    airflow: LocalAirflow, shop: Shop, source: Engine, folder: Path
) -> None:
    write_reference(folder / "other", {**REFERENCE, "teams": ["t1,nobody,", "t2,none,"]})
    log = run(airflow, {"folder": str(folder / "other")}, "failed")
    assert "teams.csv, line 2, column customer_id: 'nobody' is not in customers" in log
    assert "teams.csv, line 3, column customer_id: 'none' is not in customers" in log
    assert "is not a folder" in run(airflow, {"source": "folder"}, "failed"), "the folder of the settings"
