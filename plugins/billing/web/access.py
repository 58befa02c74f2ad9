"""Who may see what: the only file of the pages that knows Airflow's security, which it calls its own, not public.

A page of a plugin is open to everybody unless it says otherwise; every route of ours takes a ``ReaderDep`` or a
``ViewerDep``, and nobody is either before Airflow knows them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.models.dag import DagModel
from fastapi import Depends

from billing.settings.access import AccessSettings
from billing.settings.settings import Settings
from billing.web.books import opened
from billing.web.reading.known import roles_of
from billing.web.viewer import Viewer


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """Somebody who is logged in, and may read what was checked in DAG runs. ``is_limited``: a member of teams who does
    not run billing, and sees nothing but these teams.
    """

    user: Any
    is_limited: bool = False

    def may_see(self, run: str) -> bool:
        """Whether the books' ``run`` (``dag_id/run_id``) is of a DAG whose runs this person may read. What was done by
        hand, without a DAG, is for those who may see plugins at all.
        """
        if self.is_limited:
            return False
        dag_id, slash, _ = run.partition("/")
        if not slash:
            return bool(get_auth_manager().is_authorized_view(access_view=AccessView.PLUGINS, user=self.user))
        details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
        manager = get_auth_manager()
        return bool(
            manager.is_authorized_dag(method="GET", access_entity=DagAccessEntity.RUN, details=details, user=self.user)
        )


def _viewer(user: GetUserDep) -> Viewer:
    """Answers 401 to whom Airflow does not know. What a member may see is read anew at each request."""
    settings, name = Settings.read(), str(user.get_name())
    if is_operator(user, settings.access):
        return Viewer(user=name, is_operator=True)
    with opened(settings) as home, home.database.read() as connection:
        return Viewer(user=name, roles=roles_of(connection, name))


ViewerDep = Annotated[Viewer, Depends(_viewer)]


def _reader(user: GetUserDep, viewer: ViewerDep) -> Reader:
    """Answers 401 to whom Airflow does not know."""
    return Reader(user=user, is_limited=bool(viewer.roles) and not viewer.is_operator)


ReaderDep = Annotated[Reader, Depends(_reader)]


def is_operator(user: Any, access: AccessSettings) -> bool:
    """Whether the settings say that this user of Airflow sees all: by name, by role, or because they may run a DAG."""
    if str(user.get_name()) in access.users or _roles(user) & access.roles:
        return True
    return any(_may_run(user, dag_id) for dag_id in access.runs)


def _may_run(user: Any, dag_id: str) -> bool:
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    manager = get_auth_manager()
    return bool(manager.is_authorized_dag(method="POST", access_entity=DagAccessEntity.RUN, details=details, user=user))


def _roles(user: Any) -> frozenset[str]:
    """The names of a user's roles: the simple auth manager gives one, FAB's several, others maybe none."""
    one = getattr(user, "role", None)
    several = getattr(user, "roles", None) or ()
    return frozenset(str(getattr(role, "name", role)) for role in ([one] if one else several))
