"""The files of a deployment, read as those read them who use them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>[A-Z_]+)(?::(?P<how>[-?])(?P<default>[^}]*))?\}")
"""How Compose names a variable of the environment file: with a default, or demanded."""


def read(name: str) -> dict[str, Any]:
    """One of the YAML files."""
    return dict(yaml.safe_load((DEPLOY / name).read_text("utf-8")))


COMPOSE = read("compose.yaml")
VALUES = read("helm-values.yaml")
ON_KUBERNETES = read("helm-values-kubernetes.yaml")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8").replace("\\\n", " ")


def airflow_services() -> dict[str, dict[str, Any]]:
    """Those services of Compose that run our image."""
    return {name: one for name, one in COMPOSE["services"].items() if "CARRYOVER_IMAGE" in one["image"]}


def interpolated(text: str) -> str:
    """What Compose makes of a value, where the environment file says nothing; what is demanded is its own name."""
    return VARIABLE.sub(lambda found: found["default"] if found["how"] == "-" else found["name"].lower(), text)


def compose_environment() -> dict[str, str]:
    """What every part of Airflow gets from Compose."""
    return {name: interpolated(str(value)) for name, value in COMPOSE["x-airflow"]["environment"].items()}


def helm_environment(values: Mapping[str, Any]) -> dict[str, str]:
    """What every part of Airflow gets from the chart: variables, and options by their names as such."""
    plain = {one["name"]: one["value"] for one in values.get("env", ())}
    config = {
        f"AIRFLOW__{section.upper()}__{name.upper()}": str(value)
        for section, options in values.get("config", {}).items()
        for name, value in options.items()
    }
    return plain | config


def commands() -> list[list[str]]:
    """Every command line of Airflow's in Compose: of services, their health checks, and the set-up."""
    found = []
    for service in airflow_services().values():
        command = service["command"]
        lines = [f"airflow {command}"] if isinstance(command, str) else command[-1].replace("\\\n", " ").splitlines()
        lines += [part for part in service.get("healthcheck", {}).get("test", ()) if part.startswith("airflow ")]
        found += [shlex.split(line)[1:] for line in lines if line.startswith("airflow ")]
    return found


def copied() -> list[str]:
    """What the image takes from the checkout into Airflow's home."""
    lines = [line.split()[1:] for line in DOCKERFILE.splitlines() if line.startswith("COPY ")]
    return [source for line in lines for source in [word for word in line if not word.startswith("--")][:-1]]


def keys(values: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """The dotted names of all values; what is in lists, and what goes into airflow.cfg, is not the chart's."""
    for name, value in values.items():
        if isinstance(value, dict) and f"{before}{name}" != "config" and name != "resources":
            yield from keys(value, f"{before}{name}.")
        else:
            yield f"{before}{name}"
