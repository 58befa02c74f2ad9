"""The task that collects, for the DAGs that have it: issued invoices to their money, by the gateways set up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from observed import count, gauge
from wiring import home_and_settings

if TYPE_CHECKING:
    from billing.steps.collect import Collected


@contextmanager
def opened_gateways() -> Iterator[Any]:
    """Home, gateways and rules. Skipped without ``[payments]``."""
    from billing import connections
    from billing.steps.payments.gateways import opened

    with home_and_settings() as (home, settings):
        if not settings.payments.is_set_up:
            raise AirflowSkipException("billing.toml has no [payments]: nothing is collected.")
        yield home, opened(settings.payments.gateways, connections), settings.payments.rules


def collect_due(now: datetime) -> Collected:
    """Collect what is due at ``now``, and say what a person should read. What is stuck turns nothing red here."""
    from billing.steps.collect import collect

    with opened_gateways() as (home, gateways, rules):
        done = collect(home, gateways, rules, now)
    print("\n".join(done.told))
    count("payments.received", done.paid)
    count("payments.declined", done.declined)
    count("payments.refunded", done.refunded)
    for state, number in done.states.items():
        gauge(f"payments.{state}", number)
    gauge("payments.stuck", len(done.stuck))
    return done
