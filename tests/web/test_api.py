"""The JSON: exact, private, described as it is, and unmoved by whatever is asked of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import booleans, one_of
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from billing.core.instants import parse_instant_us
from billing.web.app import app
from billing.web.viewer import Viewer

from .conftest import BUYER, OPERATOR, OTHER
from .small_books import FIRST, ODD, PDF, Books

Clients = Callable[[Viewer], AbstractContextManager[TestClient]]
API = "/api/v1"
ADDRESSES = [
    f"{API}/me",
    f"{API}/teams?sort=spend&search=T",
    f"{API}/team?team_id=t1",
    f"{API}/usage?team_id=t1&by_app=true",
    f"{API}/invoice?number={FIRST}",
    f"{API}/invoice/events?number={FIRST}&line_no=1",
    f"{API}/invoice/file?number={FIRST}&kind=pdf",
    f"{API}/month?month=2026-08",
    f"{API}/operations",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_answers_are_private_and_say_when_nothing_is_new(client_of: Clients, address: str) -> None:
    with client_of(OPERATOR) as client:
        answer = client.get(address)
        again = client.get(address, headers={"If-None-Match": f'"x", W/{answer.headers["etag"]}'})
        other = client.get(address, headers={"If-None-Match": '"x"'})
    assert answer.status_code == other.status_code == 200, answer.text
    assert answer.headers["cache-control"] == again.headers["cache-control"] == "private, no-store"
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])


def test_numbers_are_exact_and_instants_are_the_contract_s(client_of: Clients) -> None:
    """No amount, quantity or share is a binary float; every instant reads back by the data contract's own parser."""
    instants = 0
    with client_of(OPERATOR) as client:
        for address in ADDRESSES:
            if "/file" in address:
                continue
            for value in _leaves(json.loads(client.get(address).content, parse_float=_no_float)):
                if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value):
                    instants += 1
                    assert value.endswith("Z") and parse_instant_us(value)
        team = client.get(f"{API}/team?team_id=t1").json()
    assert instants > 20
    assert [(card["available"], card["granted"]) for card in team["cards"]] == [("140", "150"), ("3", "5")]
    assert (team["cycle"]["spend"], team["cycle"]["apis"][0]["progress"]) == ("2.30", "0.500000")
    assert team["invoices"][0]["total"] == "2.76"


def _no_float(text: str) -> Decimal:
    raise AssertionError(f"{text} is a float")


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    return [leaf for inner in value for leaf in _leaves(inner)] if isinstance(value, list) else [value]


def test_ids_are_taken_as_they_are(client_of: Clients) -> None:
    with client_of(OPERATOR) as client:
        assert client.get(f"{API}/team", params={"team_id": ODD}).json()["name"] == "Straße 100%"
        assert client.get(f"{API}/usage", params={"team_id": ODD}).status_code == 200
        assert client.get(f"{API}/team", params={"team_id": f"{ODD} "}).status_code == 404


def test_a_file_is_saved_not_shown(client_of: Clients) -> None:
    with client_of(BUYER) as client:
        answer = client.get(f"{API}/invoice/file", params={"number": FIRST})
    assert answer.content == PDF
    assert answer.headers["content-disposition"] == f'attachment; filename="{FIRST}.pdf"'
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["etag"] == f'"{sha256(PDF).hexdigest()}"'
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_a_file_that_was_changed_is_not_given_out(books: Books, client_of: Clients) -> None:
    path = next(books.home.documents.folder.rglob("*.pdf"))
    path.chmod(0o644)
    path.write_bytes(b"%PDF another")
    try:
        with client_of(BUYER) as client:
            answer = client.get(f"{API}/invoice/file", params={"number": FIRST})
    finally:
        path.write_bytes(PDF)
    assert answer.status_code == 503
    assert b"another" not in answer.content
    assert "restore it" in answer.json()["detail"]


@pytest.mark.parametrize(
    "address",
    [
        "teams?limit=0",
        "teams?limit=201",
        "teams?sort=x",
        "teams?search=%00",
        "team",
        "team?team_id=",
        "team?team_id=%00",
        "usage?team_id=t1&first_day=2026-02-30",
        "invoice/events?number=x&line_no=0",
        "invoice/file?number=x&kind=../x",
        "month?month=July",
    ],
)
def test_what_makes_no_sense_is_told_so(client_of: Clients, address: str) -> None:
    with client_of(OPERATOR) as client:
        assert client.get(f"{API}/{address}").status_code == 422


@pytest.mark.parametrize("address", ["teams?key=zz", "month?month=2026-13", "usage?team_id=t1&first_day=2030-01-01"])
def test_what_does_not_fit_is_told_so(client_of: Clients, address: str) -> None:
    with client_of(OPERATOR) as client:
        answer = client.get(f"{API}/{address}")
    assert answer.status_code == 400
    assert answer.json()["detail"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_is_written(client_of: Clients, method: str) -> None:
    with client_of(OPERATOR) as client:
        for address in ADDRESSES:
            assert client.request(method, address).status_code == 405


def test_the_description_is_of_every_route(client_of: Clients) -> None:
    with client_of(OPERATOR) as client:
        described = client.get(f"{API}/openapi.json").json()
    assert set(described["paths"]) == {route.path for route in app.routes if getattr(route, "path", "").startswith(API)}
    for path, methods in described["paths"].items():
        [operation] = methods.values()
        assert {"400", "401", "403", "404", "503"} <= set(operation["responses"]), path
        assert operation["summary"] and operation["description"]
    assert described["servers"] == [{"url": "/"}]


_KNOWN = {"team_id": "t1", "number": FIRST, "month": "2026-08", "line_no": 1}
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.mark.parametrize("viewer", [OPERATOR, OTHER], ids=["operator", "other"])
def test_whatever_is_asked_is_answered_as_described(books: Books, client_of: Clients, viewer: Viewer) -> None:
    """Schemathesis: no 500, and every answer has a status, a type and a shape that the description knows. The operator
    asks PostgreSQL, which is the stricter one, the other SQLite.
    """
    if books.home.database.is_sqlite == (viewer is OPERATOR):
        pytest.skip("asked on the other engine")
    with client_of(viewer):
        schema = schemathesis.openapi.from_asgi(f"{API}/openapi.json", app)
        operations = [found.ok() for found in schema.get_all_operations()]
        statuses: Counter[int] = Counter()
        for operation in operations:
            statuses += _asked(operation)
    assert len(operations) == len(ADDRESSES)
    assert statuses[200] > 20 or viewer is OTHER
    assert statuses[422] > 10, "what makes no sense was asked, too"


def _asked(operation: Any) -> Counter[int]:
    """How often which status was answered to invented parameters; in each second case ids are of what is there."""
    statuses: Counter[int] = Counter()

    @given(
        case=one_of(*(operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode)),
        known=booleans(),
    )
    @settings(
        max_examples=12,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any, known: bool) -> None:
        if known and case.query:
            case.query.update({name: value for name, value in _KNOWN.items() if name in case.query})
        statuses[case.call_and_validate(checks=_CHECKS).status_code] += 1

    ask()
    return statuses
