"""How Airflow is imported where it did not start the process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def plain_airflow() -> Iterator[None]:
    """Where Airflow is imported first in here, it makes no folder, and leaves the logs of this process alone.

    For processes that Airflow did not start: in others it has been imported before.
    """
    variable = "_AIRFLOW__AS_LIBRARY"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        yield
    finally:
        os.environ.pop(variable)
        if before is not None:
            os.environ[variable] = before
