"""Registers this package with Airflow; imported in every task process, so it imports nothing heavy."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class BillingPlugin(AirflowPlugin):
    """Found by its entry point, never by Airflow's walk over ``plugins/`` (see ``plugins/.airflowignore``)."""

    name = "billing"
