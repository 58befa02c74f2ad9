"""Airflow's REST API, as far as the demo and the tests need it: trigger, wait, answer, read logs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

_ENDED = frozenset({"success", "failed"})
_POLL_S = 0.2
_DATABASE_RETRIES = 3
# Airflow 3.3 fails a task whose answer comes before the executor has reported that the asking process is done.
_ANSWER_AFTER_S = 5.0
_T = TypeVar("_T")


class AirflowError(RuntimeError):
    """Airflow did not do what was asked; the message says what, and where to look."""


class AirflowClient:
    """Calls Airflow at ``url`` as one of several users (``passwords``: name -> password; the first is the default).

    A task is named as Airflow's page shows it: ``name``, or ``name[map index]`` where it is mapped.
    """

    def __init__(self, url: str, passwords: Mapping[str, str]) -> None:
        self.url = url
        self.passwords = dict(passwords)
        # Loopback never goes through a proxy, whatever the machine's settings are.
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=60)
        self._tokens: dict[str, str] = {}

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def unpause(self, *dag_ids: str) -> None:
        """Let these DAGs run, by their schedules too."""
        for dag_id in dag_ids:
            self.request("PATCH", f"dags/{_quoted(dag_id)}", json={"is_paused": False})

    def trigger(
        self,
        dag_id: str,
        conf: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        partition_key: str | None = None,
    ) -> str:
        """Start a run with these parameters; the run's id. It stays queued while the DAG is paused."""
        body = {"dag_run_id": run_id, "conf": dict(conf or {}), "logical_date": None, "partition_key": partition_key}
        return str(self.request("POST", f"dags/{_quoted(dag_id)}/dagRuns", json=body)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """``queued``, ``running``, ``success`` or ``failed``."""
        return str(self.request("GET", _run_path(dag_id, run_id))["state"])

    def wait(self, dag_id: str, run_id: str, timeout_s: float) -> str:
        """Wait until the run has ended; ``success`` or ``failed``."""

        def ended() -> str | None:
            state = self.run_state(dag_id, run_id)
            return state if state in _ENDED else None

        def complaint() -> str:
            return f"run {run_id} of {dag_id} has not ended; its tasks: {self.task_states(dag_id, run_id)}"

        return self.poll(ended, timeout_s, complaint)

    def wait_for_task(self, dag_id: str, run_id: str, task: str, state: str, timeout_s: float) -> None:
        """Wait until a task is in a state, such as ``awaiting_input``."""
        states: dict[str, str | None] = {}

        def reached() -> bool | None:
            states.update(self.task_states(dag_id, run_id))
            return states.get(task) == state or None

        self.poll(reached, timeout_s, lambda: f"task {task} of {dag_id} is not {state}; tasks: {states}")

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """The state of every task of a run; ``None`` before it is scheduled."""
        return {_task_name(task): task["state"] for task in self._tasks(dag_id, run_id)}

    def task_log(self, dag_id: str, run_id: str, task: str) -> str:
        """What the last try of a task logged, a line an event."""
        found = next((each for each in self._tasks(dag_id, run_id) if _task_name(each) == task), None)
        if found is None:
            raise AirflowError(f"Run {run_id} of {dag_id} has no task {task}.")
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{_quoted(found['task_id'])}/logs/{found['try_number']}"
        answer = self.request("GET", path, params={"map_index": found["map_index"], "full_content": True})
        return "\n".join(_log_line(event) for event in answer["content"])

    def question(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """What an approval task asks: its subject, body, options, form and assigned users, and the answer so far."""
        found: dict[str, Any] = self.request("GET", _question_path(dag_id, run_id, task_id))
        return found

    def answer(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        option: str,
        user: str | None = None,
        form: Mapping[str, Any] | None = None,
    ) -> None:
        """Answer an approval task with one of its options, and what is written into its form, as a user; not faster
        than a person could.
        """
        asked_at = datetime.fromisoformat(self.question(dag_id, run_id, task_id)["created_at"])
        time.sleep(max(0.0, _ANSWER_AFTER_S - (datetime.now(UTC) - asked_at).total_seconds()))
        body = {"chosen_options": [option], "params_input": dict(form or {})}
        self.request("PATCH", _question_path(dag_id, run_id, task_id), user, json=body)

    def import_errors(self, since: datetime | None = None) -> dict[str, str]:
        """DAG files that cannot be imported, as seen since then or ever: file name -> traceback."""
        errors = self.request("GET", "importErrors")["import_errors"]
        return {
            error["filename"]: error["stack_trace"]
            for error in errors
            if since is None or datetime.fromisoformat(error["timestamp"]) >= since
        }

    def request(self, method: str, path: str, user: str | None = None, **arguments: Any) -> Any:
        """One call below ``/api/v2/``; the answer's JSON. An answer that is an error raises. Where Airflow's database
        refused, as SQLite does when it is locked, nothing was written, and the call is made again.
        """
        answer = self.send(method, path, user, **arguments)
        for _ in range(_DATABASE_RETRIES):
            if answer.status_code != httpx.codes.INTERNAL_SERVER_ERROR or "Database error" not in answer.text:
                break
            time.sleep(_POLL_S)
            answer = self.send(method, path, user, **arguments)
        if answer.is_error:
            raise AirflowError(f"{method} {answer.url}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def send(self, method: str, path: str, user: str | None = None, **arguments: Any) -> httpx.Response:
        """One call below ``/api/v2/``; the answer as it came."""
        headers = {"Authorization": f"Bearer {self.token(user)}"}
        return self._client.request(method, f"/api/v2/{path}", headers=headers, **arguments)

    def token(self, user: str | None = None) -> str:
        """A bearer token of a user, for calls of one's own. Good for a day."""
        name = user or next(iter(self.passwords))
        if name not in self._tokens:
            login = {"username": name, "password": self.passwords[name]}
            answer = self._client.post("/auth/token", json=login)
            if answer.is_error:
                raise AirflowError(f"Log-in of {name} at {self.url}: {answer.status_code} {answer.text}")
            self._tokens[name] = answer.json()["access_token"]
        return self._tokens[name]

    def health(self) -> dict[str, str | None]:
        """Part -> ``healthy``, ``unhealthy`` or ``None``; empty where nobody answers."""
        try:
            answer = self._client.get("/api/v2/monitor/health")
            return {part: found["status"] for part, found in answer.json().items()} if answer.is_success else {}
        except httpx.TransportError:
            return {}

    def warm_up(self) -> None:
        """Have the server build what tasks talk to: it would do so when the first task calls, and hold up everyone."""
        with suppress(httpx.TransportError):
            self._client.get("/execution/health")

    def poll(self, attempt: Callable[[], _T | None], timeout_s: float, complaint: Callable[[], str]) -> _T:
        """Try until there is a result; after the time is up, raise ``AirflowError`` with the complaint."""
        deadline = time.monotonic() + timeout_s
        while (result := attempt()) is None:
            self.check_running()
            if time.monotonic() > deadline:
                raise AirflowError(f"After {timeout_s:.0f} s: {complaint()}")
            time.sleep(_POLL_S)
        return result

    def check_running(self) -> None:
        """Raise where waiting longer is of no use. Here: never."""

    def _tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = self.request(
                "GET", f"{_run_path(dag_id, run_id)}/taskInstances", params={"limit": 100, "offset": len(found)}
            )
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found


def _run_path(dag_id: str, run_id: str) -> str:
    return f"dags/{_quoted(dag_id)}/dagRuns/{_quoted(run_id)}"


def _question_path(dag_id: str, run_id: str, task_id: str) -> str:
    return f"{_run_path(dag_id, run_id)}/taskInstances/{_quoted(task_id)}/-1/hitlDetails"


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _task_name(task: Mapping[str, Any]) -> str:
    return str(task["task_id"]) if task["map_index"] < 0 else f"{task['task_id']}[{task['map_index']}]"


def _log_line(event: Mapping[str, Any] | str) -> str:
    if isinstance(event, str):
        return event
    extra = {name: value for name, value in event.items() if name in ("error_detail", "exception") and value}
    return " ".join([str(event.get("timestamp") or ""), str(event["event"]), *map(str, extra.values())]).strip()
