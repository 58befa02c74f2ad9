"""What the files in ``deploy/`` say fits what is there: settings, Airflow's configuration and commands, the lock.

The chart's own schema is not in here: the names of its values that are used were looked up in it (``CHART_VALUES``).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

import billing.settings
from billing.cli import app
from tests.deploy.files import (
    COMPOSE,
    DEPLOY,
    DOCKERFILE,
    ON_KUBERNETES,
    ROOT,
    VALUES,
    VARIABLE,
    airflow_services,
    commands,
    compose_environment,
    copied,
    helm_environment,
    keys,
    read,
)

PAGE = (ROOT / "docs" / "deployment.md").read_text("utf-8")
LOCKED = {one["name"]: one["version"] for one in tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]}
CHART_VALUES = {
    "airflowVersion",
    "apiSecretKeySecretName",
    "apiServer.replicas",
    "apiServer.resources",
    "config",
    "createUserJob.enabled",
    "dagProcessor.resources",
    "data.metadataSecretName",
    "env",
    "executor",
    "fernetKeySecretName",
    "images.airflow.repository",
    "images.airflow.tag",
    "jwtSecretName",
    "logs.persistence.enabled",
    "logs.persistence.existingClaim",
    "logs.persistence.subPath",
    "postgresql.enabled",
    "redis.enabled",
    "scheduler.resources",
    "secret",
    "triggerer.persistence.enabled",
    "triggerer.resources",
    "useStandardNaming",
    "volumeMounts",
    "volumes",
    "workers.celery.persistence.enabled",
    "workers.celery.replicas",
    "workers.celery.resources",
    "workers.celery.terminationGracePeriodSeconds",
    "workers.kubernetes.resources",
    "workers.kubernetes.terminationGracePeriodSeconds",
}
"""Looked up in ``chart/values.schema.json`` of apache/airflow (after chart 1.22.0, where ``workers`` has no others)."""
ASK_AIRFLOW = """
import json, sys
from importlib import import_module
from airflow.cli.cli_parser import get_parser
from airflow.configuration import conf, retrieve_configuration_description
from airflow.executors.executor_loader import ExecutorLoader

asked = json.load(sys.stdin)
described = retrieve_configuration_description()
options = {f"AIRFLOW__{section}__{name}".upper() for section, one in described.items() for name in one["options"]}
parser = get_parser()
refused = []
for command in asked["commands"]:
    try:
        parser.parse_args(command)
    except SystemExit:
        refused.append(command)
for executor in asked["executors"]:
    module, _, name = ExecutorLoader.executors[executor].rpartition(".")
    getattr(import_module(module), name)
conf.getimport("core", "auth_manager")
print("ANSWER", json.dumps({"options": sorted(options), "refused": refused}))
"""
ASK_LAYOUT = """
import json, sys
from pathlib import Path
from airflow.dag_processing.dagbag import BundleDagBag
import billing
from billing.settings.settings import Settings

home = Path(sys.argv[1])
bag = BundleDagBag(home / "dags", bundle_path=home / "dags", bundle_name="dags-folder")
settings = Settings.read()
print("ANSWER", json.dumps({
    "dags": sorted(bag.dag_ids), "errors": bag.import_errors, "package": billing.__file__,
    "folders": [str(folder) for folder in (settings.sql, settings.templates) if folder.is_dir()],
}))
"""


def ask(script: str, *arguments: str, environment: dict[str, str], given: object = None) -> dict[str, Any]:
    """What a new process answers, with nothing of this one's Airflow in its environment."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "BILLING"))}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=inherited | environment,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    [answer] = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")] or [done.stderr]
    assert answer.startswith("ANSWER "), answer
    return dict(json.loads(answer.removeprefix("ANSWER ")))


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the installed Airflow says of the names in the files, asked with the executor and the users of the files."""
    chosen = {name: compose_environment()[f"AIRFLOW__CORE__{name}"] for name in ("EXECUTOR", "AUTH_MANAGER")}
    environment = {f"AIRFLOW__CORE__{name}": value for name, value in chosen.items()}
    environment |= {"AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    asked = {
        "commands": commands(),
        "executors": [chosen["EXECUTOR"], VALUES["executor"], ON_KUBERNETES["executor"]],
    }
    return ask(ASK_AIRFLOW, environment=environment, given=asked)


# --- what the files set


BILLING = {
    "compose": {name for name in compose_environment() if name.startswith("BILLING_")},
    "helm": {
        name
        for name in (*helm_environment(VALUES), *(one["envName"] for one in VALUES["secret"]))
        if name.startswith("BILLING_")
    },
}


@pytest.mark.parametrize("where", sorted(BILLING))
def test_what_is_set_for_billing_is_read_and_what_must_be_shared_is_set(where: str) -> None:
    known = set(re.findall(r"^(BILLING_[A-Z_]+) ", str(billing.settings.__doc__), re.MULTILINE))
    assert known >= BILLING[where] == BILLING["compose"]
    assert BILLING[where] >= {"BILLING_HOME", "BILLING_DATABASE_URL"}, "SQLite has one machine"


def test_every_setting_of_airflow_is_one_of_this_version(airflow: dict[str, Any]) -> None:
    names = set(compose_environment()) | set(helm_environment(VALUES)) | set(helm_environment(ON_KUBERNETES))
    names |= {one["envName"] for one in VALUES["secret"]}
    ours = {name for name in names if name.startswith("AIRFLOW__")}
    assert len(ours) > 15
    assert ours <= set(airflow["options"])


def test_both_ways_configure_airflow_alike() -> None:
    compose, helm = compose_environment(), helm_environment(VALUES)
    alike = {name for name in helm if name in compose and not name.endswith(("PARALLELISM", "CONCURRENCY"))}
    assert {name: helm[name] for name in alike} == {name: compose[name] for name in alike}
    assert len(alike) >= 9


def test_there_are_as_many_places_as_airflow_fills() -> None:
    """A task that is queued where no worker has a place for it is failed after ``task_queued_timeout``."""
    compose, helm = compose_environment(), VALUES["config"]
    workers = int(VARIABLE.fullmatch(COMPOSE["services"]["worker"]["deploy"]["replicas"])["default"])  # type: ignore[index]
    places = workers * int(compose["AIRFLOW__CELERY__WORKER_CONCURRENCY"])
    assert int(compose["AIRFLOW__CORE__PARALLELISM"]) == places
    places = VALUES["workers"]["celery"]["replicas"] * helm["celery"]["worker_concurrency"]
    assert helm["core"]["parallelism"] == places


def test_every_value_of_the_chart_is_one_it_has() -> None:
    assert set(keys(VALUES)) | set(keys(ON_KUBERNETES)) == CHART_VALUES


# --- what they run


def test_every_command_is_one_of_airflow_s(airflow: dict[str, Any]) -> None:
    grouped = ("celery", "db", "users", "jobs")
    run = {" ".join(command[: 2 if command[0] in grouped else 1]) for command in commands()}
    assert run == {
        "api-server",
        "scheduler",
        "dag-processor",
        "triggerer",
        "celery worker",
        "db migrate",
        "users create",
        "jobs check",
    }
    assert airflow["refused"] == []


def test_the_set_up_makes_the_home() -> None:
    assert "billing init" in COMPOSE["services"]["set-up"]["command"][-1].splitlines()
    assert "init" in {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]


def test_the_packages_for_every_url_are_there() -> None:
    """Databases and broker are reached with what uv.lock has."""
    environment = compose_environment()
    assert make_url(environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]).get_dialect().driver == "psycopg"
    assert create_async_engine(environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC"]).driver == "psycopg"
    assert Connection(environment["AIRFLOW__CELERY__BROKER_URL"]).get_transport_cls().driver_name == "redis"
    results = environment["AIRFLOW__CELERY__RESULT_BACKEND"]
    assert results == f"db+{environment['AIRFLOW__DATABASE__SQL_ALCHEMY_CONN']}"


# --- the image


def test_the_image_is_that_of_the_locked_airflow_and_project() -> None:
    assert re.findall(r"^FROM (\S+)$", DOCKERFILE, re.MULTILINE) == [
        f"apache/airflow:{LOCKED['apache-airflow']}-python3.12"
    ]
    assert VALUES["airflowVersion"] == LOCKED["apache-airflow"]
    assert VALUES["images"]["airflow"]["tag"] == LOCKED["carryover"]
    assert {one["image"] for one in airflow_services().values()} == {
        f"${{CARRYOVER_IMAGE:-carryover:{LOCKED['carryover']}}}"
    }


def test_the_image_has_the_locked_packages_and_what_documents_need() -> None:
    syncs = re.findall(r"uv sync ([^\n]*)", DOCKERFILE)
    assert syncs
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for options in syncs:
        assert "--frozen" in options and "--no-dev" in options
        assert set(re.findall(r"--extra (\S+)", options)) == set(extras)
    [libraries] = re.findall(r'^LIBRARIES="([^"]*)"', (ROOT / "scripts" / "setup.sh").read_text("utf-8"), re.MULTILINE)
    assert set(libraries.split()) <= set(DOCKERFILE.split())


def test_dags_can_be_imported_as_the_image_lays_them_out(tmp_path: Path) -> None:
    """The package finds SQL and templates of the image, and Airflow its DAGs and plugins where it is told to look."""
    let_through = {line.removeprefix("!") for line in _ignored() if line.startswith("!")}
    assert set(copied()) == let_through
    for source in copied():
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copyfile
        copy(ROOT / source, tmp_path / source)
    environment = compose_environment()
    at_home = {
        name: environment[name].replace("/opt/airflow", str(tmp_path))
        for name in ("AIRFLOW__CORE__DAGS_FOLDER", "AIRFLOW__CORE__PLUGINS_FOLDER")
    }
    assert at_home["AIRFLOW__CORE__DAGS_FOLDER"] == str(tmp_path / "dags")
    seen = ask(
        ASK_LAYOUT,
        str(tmp_path),
        environment=at_home
        | {
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PYTHONPATH": at_home["AIRFLOW__CORE__PLUGINS_FOLDER"],
        },
    )
    assert seen["errors"] == {}
    assert seen["dags"] == sorted(path.stem for path in (ROOT / "dags").glob("*.py") if path.stem not in _shared())
    assert seen["package"] == str(tmp_path / "plugins" / "billing" / "__init__.py")
    assert seen["folders"] == [str(tmp_path / "sql"), str(tmp_path / "templates" / "invoices")]


def _ignored() -> list[str]:
    return (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()


def _shared() -> set[str]:
    return {line.removesuffix(".py") for line in (ROOT / "dags" / ".airflowignore").read_text("utf-8").split()}


# --- volumes


def test_all_folders_are_on_the_volume_that_machines_share() -> None:
    compose, helm = compose_environment(), helm_environment(VALUES)
    [mounted] = COMPOSE["x-airflow"]["volumes"]
    place = mounted.rpartition(":")[2]
    assert [mount["mountPath"] for mount in VALUES["volumeMounts"]] == [place]
    assert f"/opt/carryover {place}" in " ".join(DOCKERFILE.split()), "made in the image, for its user"
    folders = [value for name, value in compose.items() if name.endswith(("_HOME", "_FOLDER")) and "CORE" not in name]
    folders += [value for name, value in helm.items() if name.startswith("BILLING_")]
    assert len(folders) == 7
    assert all(folder.startswith(f"{place}/") for folder in folders)
    assert all(service["volumes"] == [mounted] for service in airflow_services().values())


def test_the_claim_is_one_that_many_nodes_may_write() -> None:
    claim = read("helm-volume.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert [volume["persistentVolumeClaim"]["claimName"] for volume in VALUES["volumes"]] == [claim["metadata"]["name"]]
    assert VALUES["logs"]["persistence"]["existingClaim"] == claim["metadata"]["name"]


# --- secrets


SECRET = re.compile(r"PASS|SECRET|_KEY|CONN|BROKER_URL|RESULT_BACKEND|DATABASE_URL|AUTH$")


def test_compose_holds_no_secret_and_goes_nowhere_without_them() -> None:
    environments = [service.get("environment", {}) for service in COMPOSE["services"].values()]
    secrets = [(name, str(value)) for one in environments for name, value in one.items() if SECRET.search(name)]
    assert len(secrets) > 20
    for name, value in secrets:
        demanded = [found for found in VARIABLE.finditer(value) if found["how"] == "?"]
        assert demanded, f"{name} is written out"
        assert all(not password or VARIABLE.fullmatch(password) for password in _passwords(value)), name
    assert _passwords(" ".join(COMPOSE["services"]["redis"]["command"])) == []


def _passwords(value: str) -> list[str]:
    """What stands between a user's name and the host."""
    return re.findall(r"://[^:/@]*:(\$\{[^}]*\}|[^@/]*)@", value)


def test_values_hold_no_secret_and_the_page_makes_those_they_name() -> None:
    plain = {name for name in helm_environment(VALUES) if SECRET.search(name)}
    assert plain == set()
    named = {one["secretName"] for one in VALUES["secret"]} | {VALUES["data"]["metadataSecretName"]}
    named |= {value for name, value in VALUES.items() if name.endswith("SecretName")}
    assert len(named) == 5
    assert all(f"create secret generic {name} " in PAGE for name in named)
    assert VALUES["createUserJob"]["enabled"] is False, "its password would stand in the values"


# --- the page


def test_the_page_explains_every_variable_and_names_every_file() -> None:
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    variables = {found["name"] for found in VARIABLE.finditer(text)}
    assert {name for name in variables if f"`{name}`" not in PAGE} == set()
    assert [path.name for path in DEPLOY.iterdir() if f"deploy/{path.name}" not in PAGE] == []
