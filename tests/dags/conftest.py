"""What runs under an Airflow of the tests, and how to see that nothing of it is left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.steps.mail_world import Server, serving

DAGS = """
import time
from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import dag, task


@dag(schedule=None, params={"words": ["one", "two"]})
def quick():
    @task
    def words(params):
        return params["words"]

    @task
    def say(word):
        print("said", word)

    say.expand(word=words())


@dag(schedule=None)
def asking():
    ApprovalOperator(task_id="approve", subject="Issue these invoices?", response_timeout=timedelta(hours=1))


@dag(schedule=None)
def slow():
    @task
    def sleep():
        time.sleep(600)

    sleep()


quick(), asking(), slow()
"""


@pytest.fixture(scope="module")
def dags_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of DAGs that have nothing to do with billing."""
    folder = tmp_path_factory.mktemp("dags")
    (folder / "small_dags.py").write_text(DAGS, "utf-8")
    return folder


@pytest.fixture
def processes_of() -> Callable[[int | None], list[str]]:
    """The command lines of the processes of a session: Airflow's are in one that its first process leads."""

    def find(session: int | None) -> list[str]:
        assert session is not None
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
                if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
        return found

    return find


@pytest.fixture
def server() -> Iterator[Server]:
    """A mail server; ``connection_to`` its port is what Airflow takes from the environment."""
    with serving(Server()) as made:
        yield made
