"""What the demo says while it runs: a close that is red on purpose is told from one that went wrong."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import cast

import pytest
from rich.console import Console

from billing.demo.__main__ import run
from billing.demo.airflow_client import AirflowError
from billing.demo.local_airflow import LocalAirflow


class Answers:
    """An Airflow whose one run ended with these tasks."""

    def __init__(self, tasks: Mapping[str, str]) -> None:
        self._tasks = tasks

    def trigger(self, dag_id: str, conf: Mapping[str, object]) -> str:
        return f"{dag_id} with {len(conf)}"

    def wait(self, dag_id: str, run_id: str, timeout_s: float) -> str:
        return "failed" if "failed" in self._tasks.values() else "success"

    def task_states(self, dag_id: str, run_id: str) -> Mapping[str, str]:
        return self._tasks

    def task_log(self, dag_id: str, run_id: str, task: str) -> str:
        return f"the log of {task}"


def said_of(tasks: Mapping[str, str], console: Console) -> None:
    run(cast(LocalAirflow, Answers(tasks)), console, "cycle_close", {"as_of": "2024-04-02T02:00:00Z"})


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=132)


def text_of(console: Console) -> str:
    return cast(io.StringIO, console.file).getvalue()


def test_a_close_that_is_red_on_purpose_says_so_in_its_line(console: Console) -> None:
    said_of({"rate": "success", "report": "failed"}, console)
    assert text_of(console) == (
        "  cycle_close (as_of 2024-04-02T02:00:00Z): failed, red on purpose: Łódź is parked, see below\n"
    )


def test_a_run_that_went_wrong_stops_the_demo_with_its_log(console: Console) -> None:
    with pytest.raises(AirflowError, match="(?s)cycle_close failed in rate:.*the log of rate"):
        said_of({"rate": "failed", "report": "upstream_failed"}, console)
    assert text_of(console) == "  cycle_close (as_of 2024-04-02T02:00:00Z): failed\n"


def test_a_run_that_went_well(console: Console) -> None:
    said_of({"rate": "success", "report": "success"}, console)
    assert text_of(console) == "  cycle_close (as_of 2024-04-02T02:00:00Z): success\n"
