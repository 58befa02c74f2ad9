"""Who does what is written, and with what: kept in the log's own rows, under their hash."""

from __future__ import annotations

import os
import platform
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from billing.core.zones import TZDATA_VERSION

_UNKNOWN = "library"
_PACKAGES = ("pandas", "numpy", "pyarrow", "deltalake", "duckdb", "sqlalchemy", "apache-airflow")
_RUN: ContextVar[str] = ContextVar("run", default=_UNKNOWN)


@contextmanager
def acting_for(run: str) -> Iterator[None]:
    """Inside, what is written is written for ``run``: ``dag_id/run_id``, or a command as ``billing usage ingest``."""
    before = _RUN.set(run)
    try:
        yield
    finally:
        _RUN.reset(before)


def origin() -> dict[str, object]:
    """Run, user of the operating system, and versions, for the log's row of what is being written."""
    return {"run": _RUN.get(), "user": user(), "versions": dict(versions())}


@cache
def versions() -> Mapping[str, str]:
    """What decides the numbers in this process: our version, Python's, the zones' rules, the packages'."""
    found = {"carryover": version("carryover"), "python": platform.python_version(), "tzdata": TZDATA_VERSION}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def user() -> str:
    """The name of this process's user, or the number where there is no name for it (in a container)."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
