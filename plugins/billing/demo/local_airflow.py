"""A real Airflow on this machine: scheduler, DAG processor and API server over SQLite, on loopback only.

``make ui`` (``python -m billing.demo.local_airflow``) starts one and prints its address and log-in. The demo and the
tests start theirs by ``LocalAirflow``::

    with LocalAirflow(home, dag_ids=["usage_ingest"], environment={"BILLING_HOME": str(books)}) as airflow:
        airflow.unpause("usage_ingest")
        run_id = airflow.trigger("usage_ingest", {"window": "2026-07-01T09"})
        assert airflow.wait("usage_ingest", run_id, timeout_s=120) == "success"

Users log in with generated passwords, kept in the home (``passwords.json``, readable by its owner only).
For development: SQLite and Airflow's simple auth manager are not for production.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil

CHECKOUT = Path(__file__).resolve().parents[3]
ENDED = frozenset({"success", "failed"})
_LOOPBACK = "127.0.0.1"
_POLL_S = 0.2
_LOG_TAIL_LINES = 25


class LocalAirflowError(RuntimeError):
    """Airflow did not do what was asked; the message says what, and where the logs are."""


class LocalAirflow:
    """A context manager: Airflow runs inside the ``with``, and nothing of it afterwards.

    ``home`` keeps Airflow's database and logs and may be used again. Entering waits until every part is healthy and
    every DAG of ``dag_ids`` is parsed, and raises with the text of any import error. ``environment`` goes to every
    part and task, last, so that it may also set ``AIRFLOW__...``; other ``AIRFLOW...`` variables and proxies of this
    process are not passed on. ``users`` maps names to roles: admin, op, user or viewer; requests are made as the first.
    ``triggerer`` is needed for deferrable tasks only.
    """

    def __init__(
        self,
        home: Path,
        *,
        dags_folder: Path = CHECKOUT / "dags",
        plugins_folder: Path = CHECKOUT / "plugins",
        dag_ids: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        users: Mapping[str, str] | None = None,
        parallelism: int = 4,
        triggerer: bool = False,
        port: int | None = None,
        start_timeout_s: float = 180,
    ) -> None:
        self.home = home.absolute()
        self.dags_folder = dags_folder.absolute()
        self.plugins_folder = plugins_folder.absolute()
        self.dag_ids = tuple(dag_ids)
        self.users = dict(users or {"admin": "admin"})
        self.passwords: dict[str, str] = {}
        self.url = ""
        self.logs = self.home / "logs"
        self._environment = dict(environment or {})
        self._parallelism = parallelism
        self._parts = ["api-server", "scheduler", "dag-processor", *(["triggerer"] if triggerer else [])]
        self._port = port
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client()
        self._started_at = datetime.now(UTC)

    def __enter__(self) -> LocalAirflow:
        try:
            self._start()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- what runs -----------------------------------------------------------------------------------------------

    def unpause(self, *dag_ids: str) -> None:
        """Let these DAGs run, by their schedules too."""
        for dag_id in dag_ids:
            self.request("PATCH", f"dags/{quote(dag_id, '')}", json={"is_paused": False})

    def trigger(
        self,
        dag_id: str,
        conf: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        partition_key: str | None = None,
    ) -> str:
        """Start a run with these parameters; the run's id. The DAG has to be unpaused."""
        body = {"dag_run_id": run_id, "conf": dict(conf or {}), "logical_date": None, "partition_key": partition_key}
        run = self.request("POST", f"dags/{quote(dag_id, '')}/dagRuns", json=body)
        return str(run["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """``queued``, ``running``, ``success`` or ``failed``."""
        return str(self.request("GET", _run_path(dag_id, run_id))["state"])

    def wait(self, dag_id: str, run_id: str, timeout_s: float) -> str:
        """Wait until the run has ended; ``success`` or ``failed``."""
        return self._poll(
            lambda: state if (state := self.run_state(dag_id, run_id)) in ENDED else None,
            timeout_s,
            lambda: f"Run {run_id} of {dag_id} has not ended; its tasks: {self.task_states(dag_id, run_id)}",
        )

    def wait_for_task(self, dag_id: str, run_id: str, task: str, state: str, timeout_s: float) -> None:
        """Wait until a task (``name`` or ``name[map index]``) is in a state, such as ``awaiting_input``."""
        self._poll(
            lambda: self.task_states(dag_id, run_id).get(task) == state or None,
            timeout_s,
            lambda: f"Task {task} of {dag_id} is not {state}; tasks: {self.task_states(dag_id, run_id)}",
        )

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """The state of every task of a run; mapped tasks are named ``task[0]``, ``task[1]``, ..."""
        return {_task_name(task): task["state"] for task in self._tasks(dag_id, run_id)}

    def task_log(self, dag_id: str, run_id: str, task: str) -> str:
        """What the last try of a task (``name`` or ``name[map index]``) logged, a line an event."""
        found = next((each for each in self._tasks(dag_id, run_id) if _task_name(each) == task), None)
        if found is None:
            raise LocalAirflowError(f"Run {run_id} of {dag_id} has no task {task}.")
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(found['task_id'], '')}/logs/{found['try_number']}"
        content = self.request("GET", path, params={"map_index": found["map_index"], "full_content": True})["content"]
        return "\n".join(event if isinstance(event, str) else _log_line(event) for event in content)

    def answer(self, dag_id: str, run_id: str, task: str, option: str, user: str | None = None) -> None:
        """Answer an approval task (unmapped) with one of its options, as a user."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task, '')}/-1/hitlDetails"
        self.request("PATCH", path, json={"chosen_options": [option], "params_input": {}}, user=user)

    def import_errors(self) -> dict[str, str]:
        """The DAG files that could not be imported since the start: file name -> traceback."""
        errors = self.request("GET", "importErrors", params={"limit": 100})["import_errors"]
        return {
            error["filename"]: error["stack_trace"]
            for error in errors
            if datetime.fromisoformat(error["timestamp"]) >= self._started_at
        }

    def request(self, method: str, path: str, *, user: str | None = None, **arguments: Any) -> Any:
        """Call Airflow's REST API (paths below ``/api/v2/``) as a user; the answer's JSON. Errors raise."""
        answer = self._send(method, path, user, **arguments)
        if answer.is_error:
            raise LocalAirflowError(f"{method} {path}: {answer.status_code} {answer.text}\nLogs: {self.logs}")
        return answer.json() if answer.content else None

    def token(self, user: str | None = None) -> str:
        """A bearer token of a user (the first one, if none is named), for calls of one's own."""
        name = user or next(iter(self.users))
        answer = self._client.post("/auth/token", json={"username": name, "password": self.passwords[name]})
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    # -- start and stop ------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End every process. Harmless when nothing runs."""
        self._client.close()
        process, self._process = self._process, None
        if process is None:
            return
        tree = _tree(process.pid)
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for child in tree:
            if child.is_running():  # only where the parent was killed before it could do this itself
                child.kill()
        psutil.wait_procs(tree, timeout=5)

    def check_running(self) -> None:
        """Raise, with the end of the log, if Airflow has ended by itself."""
        if self._process is None or self._process.poll() is None:
            return
        text = self._log.read_text("utf-8", errors="replace").splitlines()
        tail = "\n".join(text[-_LOG_TAIL_LINES:])
        raise LocalAirflowError(f"Airflow ended (status {self._process.returncode}). Logs: {self.logs}\n{tail}")

    @property
    def _log(self) -> Path:
        return self.logs / "start.log"

    def _start(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        self.passwords = _passwords(self.home / "passwords.json", self.users)
        port = self._port or _free_ports(1)[0]
        self.url = f"http://{_LOOPBACK}:{port}"
        self._started_at = datetime.now(UTC)
        # Loopback never goes through a proxy, whatever the machine's settings are.
        self._client = httpx.Client(base_url=self.url, trust_env=False, timeout=60)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "billing.demo.airflow_processes", str(os.getpid()), *self._parts],
                cwd=CHECKOUT,
                env=self._full_environment(port),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this process only; it stops the others
            )

    def _full_environment(self, port: int) -> dict[str, str]:
        worker_log_port, trigger_log_port = _free_ports(2)
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AIRFLOW") and not name.lower().endswith("_proxy")
        }
        settings = {
            "CORE__DAGS_FOLDER": self.dags_folder,
            "CORE__PLUGINS_FOLDER": self.plugins_folder,
            "CORE__LOAD_EXAMPLES": False,
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": self._parallelism,
            "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in self.users.items()),
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": self.home / "passwords.json",
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}",
            "API__HOST": _LOOPBACK,
            "API__PORT": port,
            "API__BASE_URL": self.url,
            "API__WORKERS": 1,
            "LOGGING__BASE_LOG_FOLDER": self.logs,
            "LOGGING__WORKER_LOG_SERVER_PORT": worker_log_port,
            "LOGGING__TRIGGER_LOG_SERVER_PORT": trigger_log_port,
            # Otherwise a slot is held for up to five seconds after its task has ended.
            "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,
        }
        return {
            **inherited,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)]),
            "AIRFLOW_HOME": str(self.home),
            **{f"AIRFLOW__{name}": str(value) for name, value in settings.items()},
            "DO_NOT_TRACK": "1",
            "SCARF_ANALYTICS": "false",
            "GX_ANALYTICS_ENABLED": "False",
            **self._environment,
        }

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        self._poll(
            lambda: self._healthy() or None,
            self._start_timeout_s,
            lambda: "Airflow is not healthy",
        )
        missing: list[str] = list(self.dag_ids)

        def all_parsed() -> bool | None:
            if errors := self.import_errors():
                text = "\n".join(f"{file}:\n{trace}" for file, trace in sorted(errors.items()))
                raise LocalAirflowError(f"DAG files in {self.dags_folder} cannot be imported.\n{text}")
            missing[:] = [dag for dag in missing if self._send("GET", f"dags/{quote(dag, '')}", None).status_code != 200]
            return True if not missing else None

        self._poll(
            all_parsed,
            deadline - time.monotonic(),
            lambda: f"No DAG of this name was found in {self.dags_folder}: {', '.join(missing)}",
        )

    def _healthy(self) -> bool:
        try:
            parts = self._client.get("/api/v2/monitor/health").json()
        except (httpx.TransportError, ValueError):
            return False
        wanted = ["metadatabase", *(part.replace("-", "_") for part in self._parts if part != "api-server")]
        return all(parts[part]["status"] == "healthy" for part in wanted)

    # -- small things --------------------------------------------------------------------------------------------

    def _poll[T](self, attempt: Callable[[], T | None], timeout_s: float, complaint: Callable[[], str]) -> T: ...
