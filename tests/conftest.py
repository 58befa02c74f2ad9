"""Databases for the tests of what is kept: SQLite, and a real PostgreSQL that needs no installation.

Airflow, where a test imports it, finds an empty home of its own, never that of the person who runs the tests.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from zlib import crc32

import pytest
from sqlalchemy import make_url

from billing.store.database import Database
from tests import postgres


def pytest_configure() -> None:
    """Before any test module is imported: Airflow reads its environment when it is."""
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many random histories ``tests/test_histories.py`` runs, and from which seed on."""
    parser.addoption("--histories", type=int, default=40, help="random histories to compare with the slow model")
    parser.addoption("--first-seed", type=int, default=0, help="the seed of the first of them")
    parser.addoption("--both-engines", action="store_true", help="every test of a step on SQLite and on PostgreSQL")
    parser.addoption("--shots", help="a folder for screenshots of the pages, by tests/browser")
    parser.addoption("--schedules", action="store_true", help="wait for the DAGs' own schedules (a quarter of an hour)")
    parser.addoption("--machines", action="store_true", help="also a close on two Celery workers (four minutes)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files that take long come first, so that no worker is left with one at the end. A test of a step runs on one
    engine, which its name chooses; what is kept (``tests/store``), kills and cases are tried on both.
    """
    items.sort(key=lambda item: next((n for n, name in enumerate(_LONG) if name in item.nodeid), len(_LONG)))
    if not config.getoption("--both-engines"):
        items[:] = [item for item in items if not _is_for_the_other_engine(item)]


_LONG = ("kills/test_kills", "dags/test_pipeline", "kills/test_replays", "test_cases", "dags/", "steps/", "kills/")


def _is_for_the_other_engine(item: pytest.Item) -> bool:
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    engine = parameters.get("database_url")
    if engine is None or item.path.parent.name != "steps":
        return False
    name = item.nodeid.replace(engine, "")
    return engine != ("sqlite", "postgresql")[crc32(name.encode()) % 2]


@pytest.fixture(autouse=True)
def _schema_by_copy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """New SQLite files are copies of one that was migrated, but where the migrations are what is tested."""
    if request.path.parent.name == "store":
        return
    upgrade = Database.upgrade

    def upgraded(self: Database) -> None:
        file = make_url(self.url).database
        if self.is_sqlite and file and not Path(file).exists():
            shutil.copyfile(_migrated(upgrade), file)
        else:
            upgrade(self)

    monkeypatch.setattr(Database, "upgrade", upgraded)


@cache
def _migrated(upgrade: Callable[[Database], None]) -> Path:
    folder = Path(os.environ["AIRFLOW_HOME"], "migrated")
    database = Database(f"sqlite:///{folder / 'billing.db'}", folder / "locks")
    folder.mkdir()
    upgrade(database)
    database.close()
    return folder / "billing.db"


def pytest_unconfigure() -> None:
    """Airflow's home goes with the tests."""
    shutil.rmtree(os.environ["AIRFLOW_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[Callable[[], str]]:
    """Each call makes an empty database and gives its URL. The server starts with the first test that asks for one."""
    with postgres.running() as server:
        yield server.make


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """An empty billing database on each engine; ``None`` is the SQLite file of the test's own home."""
    if request.param == "sqlite":
        return None
    make: Callable[[], str] = request.getfixturevalue("postgres_url")
    return make()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The URL of an S3 API that takes any keys. In a process of its own: deltalake may wait for an answer while it lets
    no other thread run.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait_for(port: int) -> None:
    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens at {port}")


@pytest.fixture(scope="session")
def s3_bucket(s3_endpoint: str) -> Callable[[], tuple[str, dict[str, str]]]:
    """Each call makes a bucket, and gives its URL and what opens it, named as the lake takes it."""
    import boto3

    given = {
        "aws_access_key_id": "testing",
        "aws_secret_access_key": "hush/hush",
        "aws_region": "eu-central-1",
        "aws_endpoint_url": s3_endpoint,
    }
    named = {name.replace("aws_region", "region_name").replace("aws_e", "e"): value for name, value in given.items()}
    client, numbers = boto3.client("s3", **named), itertools.count(1)

    def make() -> tuple[str, dict[str, str]]:
        name = f"bucket-{next(numbers)}"
        client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": given["aws_region"]})
        return f"s3://{name}", dict(given)

    return make
