"""The small world's books, made once an engine: nothing that is shown changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient

from billing.core.model import Role
from billing.store.home import Home
from billing.web.access import _viewer
from billing.web.app import app
from billing.web.clock import now
from billing.web.reading.known import roles_of
from billing.web.viewer import Viewer

from .small_books import NOW, Books, make

OPERATOR = Viewer(user="root", is_operator=True)
BUYER = Viewer(user="ada", roles={"t1": frozenset({Role.BUYER})})
DEVELOPER = Viewer(user="dev", roles={"t1": frozenset({Role.DEVELOPER})})
OTHER = Viewer(user="ben", roles={"t2": frozenset({Role.PRIMARY_ADMIN})})
NOBODY = Viewer(user="zoe")


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def books(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """On each engine."""
    folder = tmp_path_factory.mktemp("books")
    url: Callable[[], str] | None = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    home = Home.at(folder / "home", url() if url else None)
    home.create()
    yield make(home, folder / "files")
    home.close()


@contextmanager
def looking(viewer: Viewer) -> Iterator[TestClient]:
    """A client that is this viewer, on 11 August."""
    app.dependency_overrides[_viewer] = lambda: viewer
    app.dependency_overrides[now] = lambda: NOW
    try:
        with TestClient(app, raise_server_exceptions=True) as client:
            yield client
    finally:
        app.dependency_overrides.clear()


@pytest.fixture
def client_of(books: Books, monkeypatch: pytest.MonkeyPatch) -> Callable[[Viewer], TestClient]:
    """Clients of the books' pages, by viewer."""
    monkeypatch.setenv("BILLING_HOME", str(books.home.folder))
    monkeypatch.delenv("BILLING_DATABASE_URL", raising=False)
    if not books.home.database.is_sqlite:
        monkeypatch.setenv("BILLING_DATABASE_URL", books.home.database.url)

    @contextmanager
    def client(viewer: Viewer) -> Iterator[TestClient]:
        with looking(viewer) as one:
            yield one

    return client  # type: ignore[return-value]


def member(books: Books, user: str) -> Viewer:
    """A member as the reference data has them."""
    with books.home.database.read() as connection:
        return Viewer(user=user, roles=roles_of(connection, user))
