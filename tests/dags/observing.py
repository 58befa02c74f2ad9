"""What the tests of the pipeline look at from outside: a StatsD server's ear, and a database that usage comes from."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Self

from sqlalchemy import create_engine, make_url, text


class Metrics:
    """Listens where Airflow sends metrics to (StatsD over UDP, on loopback)."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._counts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def environment(self) -> dict[str, str]:
        """Settings that make Airflow send its metrics here."""
        port = str(self._socket.getsockname()[1])
        settings = {"STATSD_ON": "True", "STATSD_HOST": "127.0.0.1", "STATSD_PORT": port, "STATSD_PREFIX": "a"}
        return {f"AIRFLOW__METRICS__{name}": value for name, value in settings.items()}

    def names(self) -> set[str]:
        """Everything that was ever sent."""
        return set(self._counts)

    def wait_for(self, name: str, seconds: float = 10) -> None:
        """Until it was sent: what a process sent before it ended may not be heard yet."""
        until = time.monotonic() + seconds
        while name not in self._counts and time.monotonic() < until:
            time.sleep(0.01)

    def total(self, name: str) -> int:
        """The sum of a counter."""
        return self._counts[name]

    def _listen(self) -> None:
        while True:
            try:
                said = self._socket.recv(65_536).decode()
            except OSError:
                return
            for line in said.splitlines():
                name, _, value = line.removeprefix("a.").partition(":")
                number, _, kind = value.partition("|")
                self._counts[name] += int(number) if kind.startswith("c") else 0


class Warehouse:
    """A table of usage in PostgreSQL, as ``sql/extract/usage.sql`` reads it."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url)
        self._url = make_url(url)
        columns = "number int, event_id text, occurred_at timestamptz, app_id text, api text, quantity numeric"
        with self._engine.begin() as connection:
            connection.execute(text(f"create table usage_events ({columns}, arrived_at timestamptz)"))

    @property
    def connection(self) -> str:
        """An Airflow Connection to it, as JSON."""
        fields = {"conn_type": "postgres", "login": self._url.username, "password": self._url.password}
        place = {"host": self._url.host, "port": self._url.port, "schema": self._url.database}
        return json.dumps({**fields, **place, "extra": json.dumps(dict(self._url.query))})

    def arrive(self, numbers: Iterable[int], at: str) -> None:
        """Rows of these numbers arrive at an instant."""
        rows = [{"number": n, "event_id": f"w{n}", "at": at} for n in numbers]
        insert = (
            "insert into usage_events values (:number, :event_id, '2024-01-09T10:00:00Z', 'a1', 'automation', 1, :at)"
        )
        with self._engine.begin() as connection:
            connection.execute(text(insert), rows)

    def break_off(self, timeout_s: float = 60) -> None:
        """Wait until somebody is reading from this database for a while, then end that connection at the server."""
        others = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        give_up = time.monotonic() + timeout_s
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not (found := connection.execute(text(f"{others} and state = 'active'")).scalars().all()):
                if time.monotonic() > give_up:
                    raise TimeoutError("nobody reads from the warehouse")
                time.sleep(0.1)
            time.sleep(1)
            for pid in found:
                connection.execute(text("select pg_terminate_backend(:pid)"), {"pid": pid})
