"""Airflow with Celery workers, each a machine of its own as far as Airflow can tell: own processes, own name.

PostgreSQL is everything here: Airflow's database, the results of Celery and, by kombu's transport for SQLAlchemy, its
broker. A deployment has Redis for the broker (``docs/deployment.md``); no server has to be installed for this one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import psutil
from celery.backends.database.session import ResultModelBase
from kombu import Connection
from sqlalchemy import create_engine

from billing.demo.local_airflow import LocalAirflow

READY_S = 90
LOST_AFTER_S = 10
"""Without a sign of life for so long, Airflow takes a task for lost; five minutes, where nothing else is said."""
LOCAL_SETTINGS = '''
"""Whose name a process gives; and a lost task is tried again at once, not after half a minute."""

import os
from datetime import timedelta


def machine():
    return os.environ.get("MACHINE", "airflow")


def task_policy(task):
    task.retry_delay = timedelta(seconds=1)
    task.retry_exponential_backoff = False
'''


class Worker:
    """One Celery worker, that can be killed and started again. ``name`` is what Airflow calls its machine."""

    def __init__(self, name: str, airflow: LocalAirflow) -> None:
        self.name = name
        self.log = airflow.logs / f"{name}.log"
        self._airflow = airflow
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it takes tasks from when it is ready."""
        options = ["--celery-hostname", self.name, "--concurrency", "1", "--pid", f"{self.log}.pid"]
        options += ["--skip-serve-logs", "--without-gossip", "--without-mingle"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "celery", "worker", *options],
                cwd=self._airflow.home,
                env={**self._airflow._full_environment(), "MACHINE": self.name},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until it takes tasks."""
        deadline = time.monotonic() + READY_S
        while f"{self.name} ready" not in (said := self.log.read_text("utf-8", errors="replace")):
            assert self._process is not None and self._process.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.2)

    def lose_machine(self) -> None:
        """SIGKILL to all that runs there: the worker, those who watch over tasks, and the tasks."""
        deadline = time.monotonic() + READY_S
        while found := self.processes():
            for process in found:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            self._reap()
            assert time.monotonic() < deadline, f"processes of {self.name} cannot be killed: {found}"

    def lose_worker(self) -> None:
        """SIGKILL to the worker's process group. A task that it had started is in a group of its own, and goes on."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._reap()

    def processes(self) -> list[int]:
        """What still runs of it."""
        if self._process is None:
            return []
        return [each.pid for each in psutil.process_iter() if _runs_in(self._process.pid, each)]

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait(READY_S)


def _runs_in(session: int, process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    return False


class Machines:
    """A context manager: scheduler, DAG processor and API server on one machine, workers on others; nothing afterwards.

    database_url: an empty database, for Airflow and for the broker.
    environment: goes to every process.
    """

    def __init__(self, home: Path, database_url: str, environment: Mapping[str, str], names: tuple[str, ...]) -> None:
        (home / "config").mkdir(parents=True)
        (home / "config" / "airflow_local_settings.py").write_text(LOCAL_SETTINGS, "utf-8")
        self._database_url = database_url
        settings = {
            "CORE__EXECUTOR": "CeleryExecutor",
            "CORE__HOSTNAME_CALLABLE": "airflow_local_settings.machine",
            "DATABASE__SQL_ALCHEMY_CONN": database_url,
            "DATABASE__SQL_ALCHEMY_CONN_ASYNC": database_url,  # psycopg is both
            "CELERY__BROKER_URL": f"sqla+{database_url}",
            "CELERY__RESULT_BACKEND": f"db+{database_url}",
            "CELERY__WORKER_ENABLE_REMOTE_CONTROL": "False",  # this broker cannot send to all
            "SCHEDULER__USE_JOB_SCHEDULE": "False",
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(LOST_AFTER_S),
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "1",
            # A message that a worker had taken but not begun is lost with it.
            "SCHEDULER__TASK_QUEUED_TIMEOUT": str(LOST_AFTER_S),
            "SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "2",
        }
        self.airflow = LocalAirflow(
            home,
            dag_ids=["cycle_close"],
            parallelism=len(names),  # a task that no worker has a place for stays scheduled: queued, it would time out
            environment={f"AIRFLOW__{name}": value for name, value in settings.items()} | dict(environment),
        )
        self.workers = {name: Worker(name, self.airflow) for name in names}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            self._make_tables()
            for worker in self.workers.values():
                self._stack.callback(worker.lose_machine)
                worker.start()
            self._stack.enter_context(self.airflow)
            for worker in self.workers.values():
                worker.wait_until_ready()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _make_tables(self) -> None:
        """Tables of broker and results, which workers that start at once would all make."""
        with Connection(f"sqla+{self._database_url}") as broker:
            broker.default_channel.queue_declare("default")
        engine = create_engine(self._database_url)
        ResultModelBase.metadata.create_all(engine)
        engine.dispose()
