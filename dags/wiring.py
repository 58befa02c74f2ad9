"""What all DAGs share: the home they work in, and how a refusal ends a task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, get_current_context
from airflow.sdk.exceptions import AirflowFailException

RETRIES: dict[str, Any] = {
    "retries": 3,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
}
"""For what passes: a database that restarts, a disk that was full. Refused data is not tried again."""

COMMON: dict[str, Any] = {
    "start_date": datetime(2026, 1, 1, tzinfo=UTC),
    "catchup": False,
    "max_active_runs": 1,
    "default_args": RETRIES,
    "tags": ["billing"],
}
"""What every DAG has: one run at a time, and no runs for the time before it was switched on."""


def instant_param(title: str, description: str) -> Param:
    """An optional instant in a DAG's form."""
    return Param(None, type=["null", "string"], format="date-time", title=title, description_md=description)


@contextmanager
def home_and_settings() -> Iterator[Any]:
    """The home, checked, and the settings. A refusal fails the task at once: trying again would be refused again. A
    source that cannot be reached is tried again.
    """
    from billing import connections
    from billing.core.errors import BillingError, SourceUnavailable
    from billing.settings.settings import Settings
    from billing.steps.homes import home_at
    from billing.steps.origin import acting_for

    settings = Settings.read()
    home = home_at(settings.home, settings.database_url, settings.lake, connections, memory_mb=settings.memory_mb)
    try:
        home.check()
        with acting_for(_acting()):
            yield home, settings
    except SourceUnavailable:
        raise
    except BillingError as refusal:
        raise AirflowFailException(str(refusal)) from None
    finally:
        home.close()


def _acting() -> str:
    """The run that works here; a callback of Airflow has none."""
    try:
        return run_name(get_current_context())
    except (KeyError, RuntimeError):
        return "airflow"


def instant_of(text: str | None) -> datetime | None:
    """An instant given in a form; None where it was left empty. Without an offset it is refused, never guessed."""
    from billing.core.instants import from_us, parse_instant_us

    try:
        return from_us(parse_instant_us(text)) if text else None
    except ValueError as error:
        raise AirflowFailException(str(error)) from None


def run_instant(context: Any) -> datetime:
    """The instant that a run stands for: the end of its data interval, else when it was to run. The same on every
    retry.
    """
    run = context["dag_run"]
    found: datetime = run.data_interval_end or run.run_after
    return found.astimezone(UTC)


def run_name(context: Any) -> str:
    """How a run is named in the books: ``dag_id/run_id``."""
    return f"{context['dag_run'].dag_id}/{context['dag_run'].run_id}"
