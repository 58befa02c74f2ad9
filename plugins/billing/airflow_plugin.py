"""Registers this package with Airflow; imported in every task process, so it imports nothing heavy."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/billing"


class BillingPlugin(AirflowPlugin):
    """Found by its entry point, never by Airflow's walk over ``plugins/`` (see ``plugins/.airflowignore``)."""

    name = "billing"
    external_views = [  # noqa: RUF012  # Airflow's own form of it
        {
            "name": "Checks",
            "href": "billing/runs/{DAG_ID}/{RUN_ID}",
            "destination": "dag_run",
            "url_route": "billing-checks-of-run",
        },
        *(
            {
                "name": name,
                "href": f"billing/{name.lower()}",
                "destination": "nav",
                "category": "Billing",
                "url_route": f"billing-{name.lower()}",
            }
            for name in ("Teams", "Finance", "Operations", "Checks")
        ),
    ]

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The pages; imported by the API server alone, which is the only one that asks."""
        from billing.web.app import app

        return [{"app": app, "url_prefix": PREFIX, "name": "billing"}]
