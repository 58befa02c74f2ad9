"""``make demo``: two months of an API platform, from files to PDF invoices, by the real DAGs in a real Airflow.

Everything goes into one folder (default ``.demo``): the data set, the home, Airflow's own files. Run it again and
it finds its work done: the same books, the same documents.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from rich.console import Console

from billing.core.errors import BillingError
from billing.core.instants import format_instant
from billing.demo.airflow_client import AirflowError
from billing.demo.books import tell_how_teams_stand
from billing.demo.dataset import Dataset, write_dataset
from billing.demo.local_airflow import LocalAirflow
from billing.demo.money import settle
from billing.demo.overview import show_overview
from billing.steps.export import export
from billing.steps.homes import configure, home_at
from billing.steps.status import status

DAGS = ("reference_sync", "usage_ingest", "cycle_close")
_RUN_TIMEOUT_S = 180
_SUCCESS = "success"


def main() -> int:
    """Run the demo and show what came of it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.split("\n\n")[0])
    parser.add_argument("--folder", type=Path, default=Path(".demo"))
    folder: Path = parser.parse_args().folder.absolute()
    # A log is as wide as its tables need; a terminal is as wide as it is.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 132)
    try:
        data = _prepare(folder)
        _run_dags(folder, data, console)
        settle(folder, tell_how_teams_stand(folder))
        show_overview(folder, _read(folder), data.stories, console)
    except (BillingError, AirflowError) as problem:
        console.print(str(problem), markup=False)
        return 1
    return 0


def _prepare(folder: Path) -> Dataset:
    """The data set, the drop folder with every file as it arrived, and an initialised home."""
    data = write_dataset(folder / "data")
    drop = folder / "drop"
    drop.mkdir(parents=True, exist_ok=True)
    for path in data.arrivals:
        shutil.copy2(path, drop / path.name)
    home = home_at(folder / "home")
    try:
        home.create()
        configure(home, "close_lag_seconds", 3600)
    finally:
        home.close()
    return data


def _last_close(folder: Path) -> str:
    home = home_at(folder / "home")
    try:
        return status(home).last_close
    finally:
        home.close()


def _read(folder: Path) -> Path:
    """Export the outputs; returns their folder."""
    home = home_at(folder / "home")
    try:
        export(home, folder / "outputs")
    finally:
        home.close()
    return folder / "outputs"


def _run_dags(folder: Path, data: Dataset, console: Console) -> None:
    done = _last_close(folder)
    todo = [close for close in data.closes if format_instant(close) > done]
    if not todo:
        console.print(f"Everything is closed as of {done} already; nothing to run. Remove {folder} to start over.")
        return
    environment = {
        "BILLING_HOME": str(folder / "home"),
        "BILLING_DROP_FOLDER": str(folder / "drop"),
        "BILLING_REFERENCE_FOLDER": str(data.reference),
        # The demo triggers every run itself: its months are long over.
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
    }
    console.print("Starting Airflow (about half a minute) ...")
    with LocalAirflow(folder / "airflow", dag_ids=DAGS, environment=environment) as airflow:
        console.print(f"Airflow runs at {airflow.url} while the demo does.")
        airflow.unpause(*DAGS)
        run(airflow, console, "reference_sync", {})
        begins = dict(zip(data.closes, data.window_boundaries, strict=False))
        for close in todo:
            run(airflow, console, "usage_ingest", _window(begins[close], close))
            run(airflow, console, "cycle_close", {"as_of": format_instant(close)})


def _window(start: datetime, end: datetime) -> dict[str, str]:
    return {"window_start": format_instant(start), "window_end": format_instant(end)}


def run(airflow: LocalAirflow, console: Console, dag_id: str, conf: Mapping[str, object]) -> None:
    """Trigger a DAG and wait for it. A close ends red where a team is parked: it says so and the demo goes on."""
    run_id = airflow.trigger(dag_id, conf)
    state = airflow.wait(dag_id, run_id, _RUN_TIMEOUT_S)
    failed = [task for task, task_state in airflow.task_states(dag_id, run_id).items() if task_state == "failed"]
    is_meant = failed == ["report"]
    said = ", ".join(f"{name} {value}" for name, value in conf.items())
    why = ", red on purpose: Łódź is parked, see below" if is_meant else ""
    console.print(f"  {dag_id} ({said}): {state}{why}" if said else f"  {dag_id}: {state}", markup=False)
    if state != _SUCCESS and not is_meant:
        log = "\n".join(airflow.task_log(dag_id, run_id, task) for task in failed)
        raise AirflowError(f"{dag_id} failed in {', '.join(failed)}:\n{log}")


if __name__ == "__main__":
    sys.exit(main())
