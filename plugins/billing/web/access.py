"""Who may see what: the only file of the pages that knows Airflow's security, which it calls its own, not public.

A page of a plugin is open to everybody unless it says otherwise; every route of ours takes a ``Reader``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.models.dag import DagModel
from fastapi import Depends


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """Somebody who is logged in."""

    user: Any

    def may_see(self, run: str) -> bool:
        """Whether the books' ``run`` (``dag_id/run_id``) is of a DAG whose runs this person may read. What was done by
        hand, without a DAG, is for those who may see plugins at all.
        """
        dag_id, slash, _ = run.partition("/")
        if not slash:
            return bool(get_auth_manager().is_authorized_view(access_view=AccessView.PLUGINS, user=self.user))
        details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
        manager = get_auth_manager()
        return bool(
            manager.is_authorized_dag(method="GET", access_entity=DagAccessEntity.RUN, details=details, user=self.user)
        )


def _reader(user: GetUserDep) -> Reader:
    """Answers 401 to whom Airflow does not know."""
    return Reader(user=user)


ReaderDep = Annotated[Reader, Depends(_reader)]
