"""Credentials by the id of an Airflow connection: in a task, and in a process that knows of no Airflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import airflow  # before anything else imports it: here it is the Airflow of the tests, not a library
import fsspec
import pytest
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ConnectionResult, ErrorResponse, GetConnection
from moto.server import ThreadedMotoServer

from billing import connections
from billing.core.errors import BillingError
from billing.intake.sources.opening import Resolver, open_source
from billing.intake.sources.seam import Taken, Window
from billing.settings.sources import SourceSettings

assert airflow
PASSWORD = "pa/ss@wörd:1"


def define(monkeypatch: pytest.MonkeyPatch, conn_id: str, **fields: object) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))


def test_the_module_is_a_resolver() -> None:
    resolver: Resolver = connections
    assert callable(resolver.sql_url) and callable(resolver.storage)


# --- databases

SERVER = {"host": "db.example", "login": "me", "password": PASSWORD, "schema": "usage"}
USER = "me:pa%2Fss%40w%C3%B6rd%3A1"


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"conn_type": "postgres", **SERVER}, f"postgresql+psycopg://{USER}@db.example/usage"),
        ({"conn_type": "postgres", **SERVER, "port": 5433}, f"postgresql+psycopg://{USER}@db.example:5433/usage"),
        (
            {
                "conn_type": "postgres",
                **SERVER,
                "extra": {"sslmode": "require", "keepalives": 1, "iam": False, "x": {}},
            },
            f"postgresql+psycopg://{USER}@db.example/usage?keepalives=1&sslmode=require",
        ),
        ({"conn_type": "postgres", "host": "db"}, "postgresql+psycopg://db"),
        ({"conn_type": "sqlite", "host": "/data/a b.db"}, "sqlite:////data/a b.db"),
        ({"conn_type": "sqlite", "schema": "/data/a.db"}, "sqlite:////data/a.db"),
        (
            {"conn_type": "mysql", **SERVER, "extra": {"charset": "utf8mb4"}},
            f"mysql://{USER}@db.example/usage?charset=utf8mb4",
        ),
        (
            {"conn_type": "generic", **SERVER, "extra": {"sqlalchemy_scheme": "oracle+oracledb", "service_name": "X"}},
            f"oracle+oracledb://{USER}@db.example/usage?service_name=X",
        ),
        (
            {"conn_type": "mysql", **SERVER, "extra": {"sqlalchemy_scheme": "mysql+pymysql", "a": True, "b": ""}},
            f"mysql+pymysql://{USER}@db.example/usage?a=true",
        ),
    ],
)
def test_a_database_as_sqlalchemy_names_it(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, object], url: str
) -> None:
    define(monkeypatch, "source_db", **fields)
    assert connections.sql_url("source_db") == url


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        (
            "postgresql://me:p%40w@db:5433/usage?sslmode=require",
            "postgresql+psycopg://me:p%40w@db:5433/usage?sslmode=require",
        ),
        ("sqlite:////data/usage.db", "sqlite:////data/usage.db"),
        ("sqlite:///usage.db", "sqlite:///usage.db"),
    ],
)
def test_a_connection_may_be_a_url(monkeypatch: pytest.MonkeyPatch, uri: str, url: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SOURCE_DB", uri)
    assert connections.sql_url("source_db") == url


@pytest.mark.parametrize(
    ("defined", "says"),
    [
        (None, "Define it in Airflow .* AIRFLOW_CONN_SOURCE_DB"),
        (json.dumps({"conn_type": "generic", **SERVER}), "'generic'; make it postgres, sqlite, mysql, or give"),
        (f"://{PASSWORD}://{PASSWORD}", "Define it"),
        (f'{{"password": "{PASSWORD}"', "Define it"),
    ],
    ids=["missing", "of another type", "no url", "no json"],
)
def test_what_cannot_be_used_says_what_to_define(
    monkeypatch: pytest.MonkeyPatch, defined: str | None, says: str
) -> None:
    if defined is not None:
        monkeypatch.setenv("AIRFLOW_CONN_SOURCE_DB", defined)
    with pytest.raises(BillingError, match=says) as caught:
        connections.sql_url("source_db")
    assert "'source_db'" in str(caught.value) and PASSWORD not in str(caught.value)


class Supervisor:
    """Answers a task's question for a connection, as Airflow's supervisor does."""

    def __init__(self, answer: ConnectionResult | ErrorResponse) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def send(self, message: object) -> object:
        if isinstance(message, GetConnection):
            self.asked.append(message.conn_id)
            return self.answer
        return None


def test_in_a_task_airflow_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = ConnectionResult.model_validate(
        {"conn_id": "of_airflow", "conn_type": "postgres", "port": None, "extra": None} | SERVER
    )
    supervisor = Supervisor(answer)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    assert connections.sql_url("of_airflow") == f"postgresql+psycopg://{USER}@db.example/usage"
    assert supervisor.asked == ["of_airflow"]


# --- storage


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def aws(endpoint: str) -> dict[str, object]:
    extra = {"endpoint_url": endpoint, "region_name": "eu-central-1"}
    return {"conn_type": "aws", "login": "testing", "password": PASSWORD, "extra": extra}


def test_a_connection_of_type_aws_opens_s3(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    define(monkeypatch, "bucket_keys", **aws(endpoint))
    files = connections.storage("bucket_keys", "s3://usage/drop")
    files.mkdir("usage", region_name="eu-central-1")  # any other region is refused
    files.pipe("s3://usage/drop/a.csv", b"x")
    assert files.find("s3://usage/drop") == ["usage/drop/a.csv"]
    assert PASSWORD not in repr(files)


def test_storage_without_its_connection_is_never_anonymous(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BillingError, match="AIRFLOW_CONN_BUCKET_KEYS"):
        connections.storage("bucket_keys", "s3://usage/drop")


def test_a_scheme_without_a_provider_is_said(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    define(monkeypatch, "bucket_keys", **aws(endpoint))
    with pytest.raises(BillingError, match="nosuch:// cannot be opened .* install Airflow's provider"):
        connections.storage("bucket_keys", "nosuch://usage/drop")


# --- the lake


def test_a_connection_of_type_aws_opens_a_lake(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    define(monkeypatch, "bucket_keys", **aws(endpoint))
    given = connections.object_store("bucket_keys")
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": PASSWORD}
    assert given() == {**keys, "aws_region": "eu-central-1", "aws_endpoint_url": endpoint}
    assert PASSWORD not in repr(given)
    define(monkeypatch, "session", conn_type="aws", login="a", password="b", extra={"aws_session_token": "c"})
    assert connections.object_store("session")()["aws_session_token"] == "c"
    assert "aws_endpoint_url" not in connections.object_store("session")()


def test_keys_of_a_role_are_those_that_are_valid_when_they_are_used(
    monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    """They are replaced a quarter of an hour before they end: those that last so long, at each use."""
    services = {name: {"endpoint_url": endpoint} for name in ("s3", "sts")}
    role = {"role_arn": "arn:aws:iam::123456789012:role/lake", "region_name": "eu-central-1"}
    for seconds, is_kept in ((3600, True), (900, False)):
        extra = {"service_config": services, **role, "assume_role_kwargs": {"DurationSeconds": seconds}}
        define(monkeypatch, "bucket_keys", conn_type="aws", login="testing", password=PASSWORD, extra=extra)
        given = connections.object_store("bucket_keys")
        first, second = given(), given()
        assert first["aws_session_token"] and first["aws_access_key_id"] != "testing"
        assert first["aws_endpoint_url"] == endpoint
        assert (first == second) is is_kept


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (None, "AIRFLOW_CONN_BUCKET_KEYS"),
        ({"conn_type": "postgres", **SERVER}, "'bucket_keys' gives no keys of an S3 API; make it of the type aws"),
    ],
)
def test_a_connection_that_opens_no_lake_is_said(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, object] | None, says: str
) -> None:
    if fields is not None:
        define(monkeypatch, "bucket_keys", **fields)
    given = connections.object_store("bucket_keys")
    with pytest.raises(BillingError, match=says) as caught:
        given()
    assert PASSWORD not in str(caught.value)


# --- payment gateways

KEY = "sk_live_" + "hush" * 5


@pytest.mark.parametrize(
    ("fields", "base"),
    [
        ({"conn_type": "http", "password": KEY}, ""),
        ({"conn_type": "generic", "password": f" {KEY}\n", "login": "x", "extra": {"a": 1}}, ""),
        ({"conn_type": "http", "password": KEY, "host": "https://proxy.example/"}, "https://proxy.example"),
        ({"conn_type": "http", "password": KEY, "host": "proxy.example", "port": 8443}, "https://proxy.example:8443"),
        (
            {"conn_type": "http", "password": KEY, "host": "127.0.0.1", "port": 8420, "schema": "http"},
            "http://127.0.0.1:8420",
        ),
    ],
)
def test_a_gateway_s_key_is_the_password_and_the_host_is_optional(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, object], base: str
) -> None:
    define(monkeypatch, "stripe_key", **fields)
    assert connections.gateway_access("stripe_key") == (KEY, base)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (None, "AIRFLOW_CONN_STRIPE_KEY"),
        (
            {"conn_type": "http", "host": "proxy.example"},
            "'stripe_key' has no password: the secret key of the payment gateway",
        ),
        ({"conn_type": "http", "password": KEY, "host": "http://proxy.example"}, "'stripe_key' would send a live key"),
    ],
)
def test_a_connection_that_opens_no_gateway_is_said(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, object] | None, says: str
) -> None:
    if fields is not None:
        define(monkeypatch, "stripe_key", **fields)
    with pytest.raises(BillingError, match=says) as caught:
        connections.gateway_access("stripe_key")
    assert "hush" not in str(caught.value)


# --- settings to sources


def test_settings_open_as_sources(monkeypatch: pytest.MonkeyPatch, endpoint: str, tmp_path: Path) -> None:
    define(monkeypatch, "app_db", conn_type="postgres", **SERVER)
    define(monkeypatch, "bucket_keys", **aws(endpoint))
    described = [
        SourceSettings(name="a", kind="files", location=str(tmp_path)),
        SourceSettings(name="b", kind="files", location="s3://usage/drop", connection="bucket_keys"),
        SourceSettings(name="c", kind="sql", connection="app_db", query=tmp_path / "q.sql"),
        SourceSettings(name="d", kind="sql", url="postgres://db/usage", query=tmp_path / "q.sql", by="occurrence"),
    ]
    sources = [open_source(one, connections) for one in described]
    assert [(one.name, one.kind, one.location) for one in sources] == [
        ("a", "files", str(tmp_path)),
        ("b", "files", "s3://usage/drop"),
        ("c", "sql", "postgresql://db.example/usage"),
        ("d", "sql", "postgresql://db/usage"),
    ]
    assert PASSWORD not in repr(sources) and "pa%2Fss" not in repr(sources)


# --- a process that Airflow did not start

PLAIN = """
import sys
from billing import connections
assert "airflow" not in sys.modules
print(connections.sql_url("source_db"))
print(connections.storage("bucket_keys", "s3://x").endpoint_url)
try:
    connections.sql_url("not_there")
except Exception as error:
    print(type(error).__name__)
import logging, os
print(logging.getLogger().handlers, "_AIRFLOW__AS_LIBRARY" in os.environ)
"""


def test_a_plain_process_needs_no_airflow_home_and_makes_none(tmp_path: Path) -> None:
    environment = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "AIRFLOW_CONN_SOURCE_DB": f"postgres://me:{PASSWORD.replace('/', '%2F').replace('@', '%40')}@db/usage",
        "AIRFLOW_CONN_BUCKET_KEYS": json.dumps(aws("http://127.0.0.1:1")),
    }
    done = subprocess.run(
        [sys.executable, "-c", PLAIN], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0] == f"postgresql+psycopg://{USER}@db/usage"
    assert "http://127.0.0.1:1" in lines
    assert lines[-2:] == ["UsageError", "[] False"]
    assert list(tmp_path.iterdir()) == []
    assert PASSWORD not in done.stdout + done.stderr


def test_the_bridge_is_imported_without_airflow() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import sys, billing.connections; print('airflow' in sys.modules)"],
        capture_output=True,
        text=True,
    )
    assert said.stdout == "False\n"


def test_fsspec_alone_opens_what_has_no_connection(tmp_path: Path) -> None:
    source = open_source(SourceSettings(name="m", kind="files", location="memory://drop"), connections)
    fsspec.filesystem("memory").pipe("/drop/a.csv", b"x")
    end = datetime.now(UTC) + timedelta(minutes=1)
    window = Window(start=end - timedelta(hours=1), end=end)
    assert [file.name for file in source.extract(window, Taken(), tmp_path)] == ["a.csv"]
