"""Who gets in: nobody without Airflow, members to their teams only, operators everywhere; over every route there is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from billing.core.model import Role
from billing.settings.access import AccessSettings
from billing.settings.settings import Settings
from billing.web import access
from billing.web.access import Reader, _reader, is_operator
from billing.web.app import app
from billing.web.viewer import NotForYou, Viewer

from .conftest import BUYER, DEVELOPER, NOBODY, OPERATOR, OTHER, member
from .small_books import FIRST, SECOND, Books

Clients = Callable[[Viewer], AbstractContextManager[TestClient]]

ALL, MONEY, TEAM, SOME_TEAM, OPERATORS = ("everybody", "money of t1", "members of t1", "any member", "operators")
ROUTES: dict[str, tuple[str, str]] = {
    # path of the route: who may, and an address of it that is about t1
    "/api/v1/me": (ALL, "/api/v1/me"),
    "/api/v1/openapi.json": (ALL, "/api/v1/openapi.json"),
    "/api/v1/teams": (SOME_TEAM, "/api/v1/teams"),
    "/api/v1/team": (MONEY, "/api/v1/team?team_id=t1"),
    "/api/v1/usage": (TEAM, "/api/v1/usage?team_id=t1"),
    "/api/v1/invoice": (MONEY, f"/api/v1/invoice?number={FIRST}"),
    "/api/v1/invoice/events": (MONEY, f"/api/v1/invoice/events?number={FIRST}&line_no=1"),
    "/api/v1/invoice/file": (MONEY, f"/api/v1/invoice/file?number={FIRST}"),
    "/api/v1/month": (OPERATORS, "/api/v1/month?month=2026-08"),
    "/api/v1/operations": (OPERATORS, "/api/v1/operations"),
    "/teams": (SOME_TEAM, "/teams"),
    "/team": (MONEY, "/team?team_id=t1"),
    "/usage": (TEAM, "/usage?team_id=t1"),
    "/usage.csv": (TEAM, "/usage.csv?team_id=t1"),
    "/invoice": (MONEY, f"/invoice?number={FIRST}"),
    "/invoice/line": (MONEY, f"/invoice/line?number={FIRST}&line_no=1"),
    "/finance": (OPERATORS, "/finance"),
    "/operations": (OPERATORS, "/operations"),
    "/checks": (OPERATORS, "/checks"),
    "/checks/{number}": (OPERATORS, "/checks/1"),
    "/runs/{dag_id}/{run_id:path}": (OPERATORS, "/runs/cycle_close/r1"),
    "/audits/{run_id:path}": (OPERATORS, "/audits/r1"),
}
"""Every route of the app: one that is missing here makes the first test red."""
FOR_ALL = {"/static/{name}"}
"""A stylesheet and a script, which tell nothing of anybody."""

MAY: dict[str, set[str]] = {
    ALL: {"root", "ada", "dev", "ben", "zoe"},
    MONEY: {"root", "ada"},
    TEAM: {"root", "ada", "dev"},
    SOME_TEAM: {"root", "ada", "dev", "ben"},
    OPERATORS: {"root"},
}


def test_every_route_says_who_may() -> None:
    assert {route.path for route in _routes()} == set(ROUTES) | FOR_ALL
    for route in _routes():
        if route.path in FOR_ALL:
            continue
        assert route.methods == {"GET"}, "nothing is written here"
        known = {dependency.call for dependency in _dependencies(route)}
        assert known & {access._viewer, access._reader}, f"{route.path} asks nobody who they are"


def _routes() -> list[APIRoute]:
    return [route for route in app.routes if isinstance(route, APIRoute)]


def _dependencies(route: APIRoute) -> list[SimpleNamespace]:
    return list(route.dependant.dependencies)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ROUTES)
def test_anonymous_is_asked_to_log_in(books: Books, path: str) -> None:
    answer = TestClient(app).get(ROUTES[path][1])
    assert answer.status_code == 401
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_page_offers_the_log_in_and_leads_back(books: Books) -> None:
    """In JSON and files, which no person reads, nothing is offered."""
    page = TestClient(app).get("/usage?team_id=t1&days=90")
    assert page.status_code == 401 and "Log in to see this page." in page.text
    assert 'href="/api/v2/auth/login?next=%2Fusage%3Fteam_id%3Dt1%26days%3D90"' in page.text
    answer = TestClient(app).get("/api/v1/usage?team_id=t1")
    assert answer.status_code == 401 and answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ROUTES)
def test_each_sees_what_is_theirs(books: Books, client_of: Clients, path: str) -> None:
    whom, address = ROUTES[path]
    for viewer in (OPERATOR, BUYER, DEVELOPER, OTHER, NOBODY):
        with client_of(viewer) as client:
            app.dependency_overrides[_reader] = _as(viewer)
            answer = client.get(address)
        if viewer.user in MAY[whom]:
            assert answer.status_code in (200, 404), answer.text
        else:
            assert answer.status_code == 403, (viewer.user, answer.text)


def _as(viewer: Viewer) -> Callable[[], Reader]:
    return lambda: _Reads(viewer)


class _Reads(Reader):
    """A reader as Airflow would have it: everybody here may read DAG runs there, which members may not here."""

    def __init__(self, viewer: Viewer) -> None:
        object.__setattr__(self, "user", viewer.user)
        object.__setattr__(self, "is_limited", not viewer.is_operator)

    def may_see(self, run: str) -> bool:
        return not self.is_limited


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ("/api/v1/team?team_id=t1", "/api/v1/team?team_id=t9"),
        ("/api/v1/usage?team_id=t1", "/api/v1/usage?team_id=t9"),
        ("/team?team_id=t1", "/team?team_id=t9"),
        (f"/invoice?number={FIRST}", "/invoice?number=INV-9"),
        (f"/api/v1/invoice?number={FIRST}", "/api/v1/invoice?number=INV-9"),
        (f"/api/v1/invoice/file?number={FIRST}", "/api/v1/invoice/file?number=INV-9"),
        (f"/api/v1/invoice/file?number={FIRST}", f"/api/v1/invoice/file?number={FIRST}&kind=none"),
        (f"/api/v1/invoice/events?number={FIRST}&line_no=1", f"/api/v1/invoice/events?number={FIRST}&line_no=9"),
    ],
)
def test_others_cannot_tell_what_exists(client_of: Clients, there: str, missing: str) -> None:
    """The same answer, byte for byte and header for header, for what is others' and for what is not there."""
    with client_of(OTHER) as client:
        one, two = client.get(there), client.get(missing)
    assert (one.status_code, one.content, one.headers) == (403, two.content, two.headers)
    with client_of(OPERATOR) as client:
        assert client.get(missing).status_code == 404


def test_why_a_payment_failed_is_for_operators(client_of: Clients) -> None:
    """Of the charge, and of each attempt: a gateway's words, and finance's reason for a write-off."""
    at, page = f"/api/v1/invoice?number={FIRST}", f"/invoice?number={FIRST}"
    with client_of(OPERATOR) as client:
        seen, html = client.get(at).json(), client.get(page).text
    assert (seen["charge"]["problem"], seen["charge"]["detail"]) == ("card_declined", "no funds")
    assert [one["detail"] for one in seen["payments"]] == ["card_declined: no funds", ""]
    assert "no funds" in html
    with client_of(BUYER) as client:
        seen, html = client.get(at).json(), client.get(page).text
    assert (seen["charge"]["problem"], seen["charge"]["detail"]) == ("", "")
    assert [one["detail"] for one in seen["payments"]] == ["", ""]
    assert "no funds" not in html and "card_declined" not in html


def test_roles_are_read_anew_and_compared_as_they_are(books: Books) -> None:
    assert member(books, "cleo").roles == {
        "t1": frozenset({Role.SECONDARY_ADMIN}),
        "t2": frozenset({Role.DEVELOPER}),
    }
    assert member(books, "Ada").roles == member(books, "ada ").roles == {}


@pytest.mark.parametrize("role", Role)
def test_what_each_role_sees(role: Role) -> None:
    viewer = Viewer(user="x", roles={"t1": frozenset({role})})
    assert viewer.sees_team("t1") and not viewer.sees_team("t2")
    assert viewer.sees_money("t1") == (role not in (Role.HUB_ADMIN, Role.DEVELOPER))
    with pytest.raises(NotForYou):
        viewer.demand_operator()


@dataclass
class Fab:
    """A user as FAB has them: several roles, each with a name."""

    roles: list[SimpleNamespace]

    def get_name(self) -> str:
        return "eve"


def test_operators_are_named_or_may_run_billing(monkeypatch: pytest.MonkeyPatch) -> None:
    """By Airflow's simple auth manager: user, op and admin may run DAGs; viewer and a login without role may not."""
    monkeypatch.setattr(access, "get_auth_manager", lambda: SimpleAuthManager())
    monkeypatch.setattr(access.DagModel, "get_team_name", staticmethod(lambda _: None))
    by_default = Settings.read(Path("/nowhere")).access
    assert by_default == AccessSettings(runs=("cycle_close",))
    seen = {
        role: is_operator(SimpleAuthManagerUser(username="aud", role=role), by_default)
        for role in ("viewer", "user", "op", "admin", "", None)
    }
    assert seen == {"viewer": False, "user": True, "op": True, "admin": True, "": False, None: False}
    viewer = SimpleAuthManagerUser(username="aud", role="viewer")
    assert is_operator(viewer, AccessSettings(users=frozenset({"aud"})))
    assert is_operator(viewer, AccessSettings(roles=frozenset({"viewer"})))
    assert not is_operator(SimpleAuthManagerUser(username="x", role="admin"), AccessSettings(users=frozenset({"aud"})))
    assert is_operator(Fab([SimpleNamespace(name="Finance")]), AccessSettings(roles=frozenset({"Finance"})))
    assert not is_operator(Fab([]), AccessSettings(roles=frozenset({"Finance"})))


def test_a_member_is_limited_to_their_teams_also_where_airflow_lets_them_read_runs() -> None:
    """With Airflow's lowest role anybody may read all DAG runs there."""
    user = SimpleAuthManagerUser(username="ada", role="viewer")
    assert _reader(user, BUYER).is_limited
    assert not _reader(user, BUYER).may_see("usage_ingest/r1")
    assert not _reader(user, OPERATOR).is_limited
    assert not _reader(user, NOBODY).is_limited, "an auditor, who is a member of nothing, reads runs as before"


def test_a_backup_may_be_put_in_the_books_place(books: Books, client_of: Clients) -> None:
    """No file of SQLite is held open between requests."""
    if not books.home.database.is_sqlite:
        pytest.skip("PostgreSQL's connections are kept")
    books.home.close()
    with client_of(OPERATOR) as client:
        assert client.get(f"/api/v1/invoice?number={SECOND}").status_code == 200
        held = [path for path in _open_files() if path.startswith(str(books.home.folder))]
    assert held == []


def _open_files() -> list[str]:
    return [str(path.resolve()) for path in Path("/proc/self/fd").iterdir() if path.exists()]
