"""A real Airflow on this machine: scheduler, DAG processor and API server over SQLite, on loopback only.

``make ui`` (``python -m billing.demo.local_airflow``) starts one and prints its address and log-in. The demo and the
tests start theirs by ``LocalAirflow``::

    with LocalAirflow(home, dag_ids=["usage_ingest"], environment={"BILLING_HOME": str(books)}) as airflow:
        airflow.unpause("usage_ingest")
        run_id = airflow.trigger("usage_ingest", {"window": "2026-07-01T09"})
        assert airflow.wait("usage_ingest", run_id, timeout_s=120) == "success"

For development: SQLite and Airflow's simple auth manager are not for production.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import BinaryIO, Self
from urllib.parse import quote

import psutil

from billing.core.errors import BillingError
from billing.core.instants import format_instant
from billing.demo.airflow_client import AirflowClient, AirflowError
from billing.demo.books import reference_folder, tell_how_teams_stand
from billing.demo.reference import MEMBERS

TEAMS_PAGE = "/plugin/billing-teams"
MEMBERS_LOG_IN = "/api/v2/auth/login?next=/billing/teams"
"""Log in, then the same outside of Airflow's frame, which Airflow shows to nobody without a permission of its own."""
CHECKOUT = Path(__file__).resolve().parents[3]
_SEEN_BY_ROLE = {"admin": "sees everything", "viewer": "sees runs and their checks, no teams"}
_LOOPBACK = "127.0.0.1"
_LOG_TAIL_LINES = 25
# Airflow's parts share one file on a machine that has other things to do.
_DATABASE_WAIT_S = 60


class LocalAirflow(AirflowClient):
    """A context manager: Airflow runs inside the ``with``, and nothing of it afterwards.

    home: keeps Airflow's database, logs and log-ins; may be used again, by one Airflow at a time: the second raises.
    dag_ids: entering waits until these are parsed; meanwhile, an import error of any DAG file raises, with its text.
    environment: goes to every part and task, last: it may also set ``AIRFLOW__...``. Other ``AIRFLOW...`` variables
        and the proxies of this process are not passed on.
    users: name -> role (admin, op, user, viewer; blank: nothing in Airflow). Passwords are made up and kept in
        ``home/passwords.json``.
    parallelism: how many tasks run at the same time.
    triggerer: needed for deferrable tasks only.
    port: of the page and the API; any free one if not given.
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
        self.logs = self.home / "logs"
        self.users = dict(users or {"admin": "admin"})
        self._dags_folder = dags_folder.absolute()
        self._plugins_folder = plugins_folder.absolute()
        self._dag_ids = tuple(dag_ids)
        self._environment = dict(environment or {})
        self._parallelism = parallelism
        self._parts = ["api-server", "scheduler", "dag-processor", *(["triggerer"] if triggerer else [])]
        self._start_timeout_s = start_timeout_s
        self.process_id: int | None = None  # of the leader of the session all others are in; kept
        self._process: subprocess.Popen[bytes] | None = None
        self._in_use: BinaryIO | None = None
        self._ports = _free_ports(3)
        self._ports[0] = port or self._ports[0]
        self.logs.mkdir(parents=True, exist_ok=True)
        passwords = _made_up_once(self._passwords_file, self.users, _password)
        super().__init__(f"http://{_LOOPBACK}:{self._ports[0]}", passwords)

    def __enter__(self) -> Self:
        try:
            self._take_home()
            self._start()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End every process. Harmless where nothing runs."""
        self.close()
        process, self._process = self._process, None
        if process is not None:
            _end(process)
        if self._in_use is not None:
            self._in_use.close()

    def check_running(self) -> None:
        """Raise, with the end of the log, if Airflow has ended by itself."""
        if self._process is None or self._process.poll() is None:
            return
        lines = self._log.read_text("utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        raise AirflowError("\n".join([f"Airflow ended. Its logs are in {self.logs}. The last lines:", *lines]))

    @property
    def _log(self) -> Path:
        return self.logs / "start.log"

    @property
    def _passwords_file(self) -> Path:
        return self.home / "passwords.json"

    def _take_home(self) -> None:
        """Two Airflows over one database would run each other's tasks, at addresses of the other."""
        self._in_use = (self.home / "in-use").open("wb")
        try:
            fcntl.flock(self._in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AirflowError(
                f"An Airflow with the files in {self.home} runs already. "
                "Stop it first: Ctrl-C where `make ui` or `make demo` was started."
            ) from None

    def _start(self) -> None:
        self._started_at = datetime.now(UTC)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "billing.demo.airflow_processes", str(os.getpid()), *self._parts],
                cwd=CHECKOUT,
                env=self._full_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(self._in_use.fileno(),) if self._in_use else (),  # in use until the last of them has ended
                start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the others in order
            )
        self.process_id = self._process.pid

    def _full_environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AIRFLOW") and not name.lower().endswith("_proxy")
        }
        return {
            **inherited,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)]),
            "AIRFLOW_HOME": str(self.home),
            **{f"AIRFLOW__{name}": str(value) for name, value in self._settings().items()},
            "DO_NOT_TRACK": "1",
            "SCARF_ANALYTICS": "false",
            "GX_ANALYTICS_ENABLED": "False",
            **self._environment,
        }

    def _settings(self) -> dict[str, object]:
        return {
            # Each part would make up keys of its own, and tasks could not log in.
            **_made_up_once(self.home / "keys.json", ("API__SECRET_KEY", "API_AUTH__JWT_SECRET"), _signing_key),
            **_made_up_once(self.home / "keys.json", ("CORE__FERNET_KEY",), _fernet_key),
            "CORE__DAGS_FOLDER": self._dags_folder,
            "CORE__PLUGINS_FOLDER": self._plugins_folder,
            "CORE__LOAD_EXAMPLES": False,
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": self._parallelism,
            "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in self.users.items()),
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": self._passwords_file,
            # Without the next one and API__BASE_URL, tasks call port 8080.
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            # SQLite has one writer; whoever has waited five seconds for it, the default, is told that it is locked.
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}?timeout={_DATABASE_WAIT_S}",
            "API__HOST": _LOOPBACK,
            "API__PORT": self._ports[0],
            "API__BASE_URL": self.url,
            "API__WORKERS": 1,
            "LOGGING__BASE_LOG_FOLDER": self.logs,
            "LOGGING__WORKER_LOG_SERVER_PORT": self._ports[1],
            "LOGGING__TRIGGER_LOG_SERVER_PORT": self._ports[2],
            # Otherwise a slot is held for up to five seconds after its task has ended.
            "WORKERS__MIN_HEARTBEAT_INTERVAL": 1,
        }

    def _wait_until_ready(self) -> None:
        parts = {"metadatabase", *(part.replace("-", "_") for part in self._parts if part != "api-server")}
        logs = f"The logs are in {self.logs}."

        def healthy() -> bool | None:
            if found := self.health():
                self.warm_up()
            return all(found.get(part) == "healthy" for part in parts) or None

        self.poll(healthy, self._start_timeout_s, lambda: f"Airflow is not up: {self.health()}. {logs}")
        if self._dag_ids:
            self.poll(
                lambda: not self._not_parsed() or None,
                self._start_timeout_s,
                lambda: f"not found in {self._dags_folder}: {', '.join(self._not_parsed())}. {logs}",
            )

    def _not_parsed(self) -> list[str]:
        """DAGs that are waited for and not there yet; raises where a DAG file cannot be imported."""
        if errors := self.import_errors(since=self._started_at):
            text = "\n".join(f"{file}:\n{trace}" for file, trace in sorted(errors.items()))
            raise AirflowError(f"Not every DAG file in {self._dags_folder} can be imported.\n{text}")
        return [dag_id for dag_id in self._dag_ids if self.send("GET", f"dags/{quote(dag_id, safe='')}").is_error]


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on now. Held together while they are chosen, so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((_LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


def _made_up_once(file: Path, names: Iterable[str], make: Callable[[], str]) -> dict[str, str]:
    """Name -> secret, the same at every start; new ones are made up. The file is readable by its owner only."""
    known: dict[str, str] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    made = {name: known.get(name) or make() for name in names}
    with open(file, "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as handle:
        json.dump(known | made, handle)
    return made


def _password() -> str:
    return secrets.token_urlsafe(9)


def _signing_key() -> str:
    return secrets.token_urlsafe(64)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def _end(process: subprocess.Popen[bytes]) -> None:
    tree = _descendants(process.pid)
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in tree:  # left only where their parent could not end them itself
        with suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(tree, timeout=5)


def _descendants(pid: int) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        found += psutil.Process(pid).children(recursive=True)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="make ui", description="Airflow with the billing DAGs, on this machine.")
    parser.add_argument("--folder", type=Path, default=CHECKOUT / ".demo", help="`make demo`'s folder (%(default)s)")
    parser.add_argument("--home", type=Path, help="Airflow's folder (the demo's where it is shown, else .airflow)")
    parser.add_argument("--port", type=int, help="port of the page (8080, or a free one where that is taken)")
    options = parser.parse_args(arguments)
    demo = _demo_shown(options.folder)
    # The demo's runs, to which the pages lead, are in the demo's Airflow.
    home = options.home or (demo / "airflow" if demo else CHECKOUT / ".airflow")
    port = options.port or (8080 if _port_is_free(8080) else None)
    # A shell starts what it puts into the background with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _as_interrupt)
    try:
        print("Airflow is starting; this takes about half a minute ...", flush=True)
        users = {"admin": "admin", "viewer": "viewer", **dict.fromkeys(MEMBERS if demo else (), "")}
        environment = _billing_folders(demo)
        with LocalAirflow(home, port=port, users=users, environment=environment, triggerer=True) as airflow:
            _say_where(airflow, Path(environment["BILLING_HOME"]))
            if demo:
                print("  The demo's months are over: a DAG runs where you trigger it, not by its schedule.")
            print("  Ctrl-C stops it.", flush=True)
            _say_what_is_broken(airflow)
            while True:
                airflow.check_running()
                time.sleep(1)
    except KeyboardInterrupt:
        print("\nAirflow has stopped.")
    except (AirflowError, BillingError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _demo_shown(folder: Path) -> Path | None:
    """The demo's folder where it was run, unless this process is told of other books."""
    return folder.absolute() if "BILLING_HOME" not in os.environ and (folder / "home").is_dir() else None


def _billing_folders(demo: Path | None) -> dict[str, str]:
    """Where the DAGs find their work: in the demo's folder, else as this process is told."""
    if demo is None:
        home = Path(os.environ.get("BILLING_HOME") or CHECKOUT / "billing-home").absolute()
        return {"BILLING_HOME": str(home)}
    return {
        "BILLING_HOME": str(demo / "home"),
        "BILLING_DROP_FOLDER": str(demo / "drop"),
        "BILLING_REFERENCE_FOLDER": str(reference_folder(demo)),
        "BILLING_PAGES_AT": format_instant(tell_how_teams_stand(demo)),  # its months are long over
        # The demo turned its DAGs on. By their schedules they would close every month since.
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
    }


def _say_where(airflow: LocalAirflow, home: Path) -> None:
    print(f"\n  {airflow.url}{TEAMS_PAGE}    balances, usage, invoices (menu: Plugins, Billing)")
    print(f"  {airflow.url}    Airflow itself\n")
    for name, password in airflow.passwords.items():
        if role := airflow.users[name]:
            print(f"  log in as {name} with {password}  (role {role}: {_SEEN_BY_ROLE[role]})")
        else:
            print(f"  log in at {airflow.url}{MEMBERS_LOG_IN} as {name} with {password}  ({MEMBERS[name]})")
    print(f"\n  billing home: {home}")
    if not home.is_dir():
        print(
            "  It is not there yet. `make demo` makes one with two months of invented usage, then `make ui` shows it;"
        )
        print("  `billing --home HOME init` makes an empty one, for BILLING_HOME.")
    print(f"  logs: {airflow.logs}")


def _say_what_is_broken(airflow: LocalAirflow) -> None:
    for file, trace in airflow.import_errors().items():
        print(f"\n{file} cannot be imported:\n{trace}", file=sys.stderr)


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
