"""Everything that is shown, as JSON: the same read models by the same rules of access, described by OpenAPI.

Ids are parameters of a query, not parts of a path: they are taken as they are, and ``..`` or ``a/b`` would not survive
on the way. Decimals are strings, exact; instants and dates are written as the data contract has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from hashlib import sha256
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter

from billing.core.collecting import InvoiceState
from billing.core.model import Role
from billing.web.access import ViewerDep
from billing.web.books import reading
from billing.web.parameters import Currency, Id, Key, Now, Text
from billing.web.reading import finance as months
from billing.web.reading import invoice as invoices
from billing.web.reading import operations as running
from billing.web.reading import team as one_team
from billing.web.reading import teams as many_teams
from billing.web.reading import usage as used

PREFIX = "/api/v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Why something is not answered."""

    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Membership:
    """What the viewer is to a team."""

    team_id: str
    role: Role
    sees_money: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Me:
    """Who asks, and what they may see: operators everything, others the teams that they are members of."""

    user: str
    is_operator: bool
    memberships: tuple[Membership, ...]


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "Parameters that make no sense together, or the key of another page"},
    401: {"model": Problem, "description": "Not logged in to Airflow"},
    403: {"model": Problem, "description": "Not for this viewer; who may not see all is told so of unknown ids, too"},
    404: {"model": Problem, "description": "Not there (told to operators)"},
    503: {"model": Problem, "description": "The books cannot be read as they are: the message says why"},
}
_SAME: dict[int | str, dict[str, Any]] = {304: {"description": "As If-None-Match has it already"}}
_KINDS: dict[str, Any] = {"application/pdf": {}, "application/xml": {}, "application/octet-stream": {}}
_FILES: dict[int | str, dict[str, Any]] = {200: {"description": "The file, as it was rendered once", "content": _KINDS}}

api = APIRouter(prefix=PREFIX, responses=_PROBLEMS)


@api.get("/me", response_model=Me, responses=_SAME)
def me(request: Request, viewer: ViewerDep) -> Response:
    """Who you are here."""
    mine = tuple(
        Membership(team_id=team_id, role=role, sees_money=role.sees_money)
        for team_id in viewer.teams
        for role in sorted(viewer.roles[team_id])
    )
    return _json(request, Me(user=viewer.user, is_operator=viewer.is_operator, memberships=mine))


@api.get("/teams", response_model=many_teams.TeamsPage, responses=_SAME)
def teams(
    request: Request,
    viewer: ViewerDep,
    search: Text = "",
    sort: many_teams.Sort = many_teams.Sort.NAME,
    key: Key = "",
    limit: Annotated[int, Query(ge=1, le=many_teams.MOST_ROWS)] = many_teams.ROWS,
) -> Response:
    """Teams by name, or by what runs out, ends, is spent, is unfunded or alerted on."""
    with reading() as (_, connection):
        return _json(request, many_teams.teams(connection, viewer, search=search, sort=sort, key=key, limit=limit))


@api.get("/team", response_model=one_team.TeamPage, responses=_SAME)
def team(request: Request, viewer: ViewerDep, team_id: Id, now: Now) -> Response:
    """One team: balances, running cycle, alerts, invoices, and what is wrong. For its buyers and admins."""
    with reading() as (_, connection):
        return _json(request, one_team.team(connection, viewer, team_id, at=now))


@api.get("/usage", response_model=used.UsagePage, responses=_SAME)
def usage(
    request: Request,
    viewer: ViewerDep,
    team_id: Id,
    now: Now,
    first_day: date | None = None,
    until_day: date | None = None,
    api: Text = "",
    by_app: bool = False,
) -> Response:
    """Daily usage in UTC days `[first_day, until_day)`, the last 30 unless given, for at most 24 months back."""
    with reading() as (_, connection):
        found = used.usage(
            connection, viewer, team_id, at=now, first_day=first_day, until_day=until_day, api=api, by_app=by_app
        )
        return _json(request, found)


@api.get("/invoice", response_model=invoices.InvoicePage, responses=_SAME)
def invoice(request: Request, viewer: ViewerDep, number: Id, now: Now) -> Response:
    """One invoice: lines, how usage became them, credit notes, payments, files, and what it was made from."""
    with reading() as (_, connection):
        return _json(request, invoices.invoice(connection, viewer, number, at=now))


@api.get("/invoice/events", response_model=invoices.LineEvents, responses=_SAME)
def invoice_events(
    request: Request,
    viewer: ViewerDep,
    number: Id,
    line_no: Annotated[int, Query(ge=1, lt=2**31)],
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    own: bool = False,
) -> Response:
    """The events behind a line, up to 1,000: the units that each completed, what paid for them and at which price, and
    the file and record of the source that it came in. `own`: those only that completed units of this very line."""
    with reading() as (home, connection):
        return _json(request, invoices.events_of_line(home, connection, viewer, number, line_no, offset, own=own))


@api.get("/invoice/file", response_class=Response, responses={**_FILES, **_SAME})
def invoice_file(
    request: Request, viewer: ViewerDep, number: Id, kind: Annotated[str, Query(pattern=r"^[a-z0-9_.-]{1,40}$")] = "pdf"
) -> Response:
    """A file of an invoice or a credit note, to be saved: the bytes that were issued, checked against their SHA-256."""
    with reading() as (home, connection):
        found, content = invoices.document(home, connection, viewer, number, kind)
    headers = {"ETag": f'"{found.sha256}"', "Content-Disposition": f'attachment; filename="{found.file_name}"'}
    if _has_it(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=found.media_type, headers=headers)


@api.get("/month", response_model=months.FinanceMonth, responses=_SAME)
def month(
    request: Request,
    viewer: ViewerDep,
    month: Annotated[str, Query(pattern=r"^[0-9]{4}-[0-9]{2}$", examples=["2026-07"])],
    now: Now,
    state: InvoiceState | None = None,
    currency: Currency = "",
    key: Key = "",
    limit: Annotated[int, Query(ge=1, le=months.MOST_ROWS)] = months.ROWS,
) -> Response:
    """A month of the seller's calendar: issued, collected and open by currency; its invoices of a state and a currency,
    or all. For operators.
    """
    with reading() as (_, connection):
        page = months.finance_month(
            connection, viewer, month, at=now, state=state, currency=currency, key=key, limit=limit
        )
        return _json(request, page)


@api.get("/operations", response_model=running.OperationsPage, responses=_SAME)
def operations(
    request: Request,
    viewer: ViewerDep,
    key: Key = "",
    limit: Annotated[int, Query(ge=1, le=running.MOST_BATCHES)] = running.BATCHES,
) -> Response:
    """Batches, sources, freshness, rejects, parked teams, and which run did what. For operators."""
    with reading() as (_, connection):
        return _json(request, running.operations(connection, viewer, key=key, limit=limit))


@api.get("/openapi.json", response_class=JSONResponse, response_model=dict[str, Any])
def openapi(request: Request, viewer: ViewerDep) -> Response:
    """This description."""
    return JSONResponse({**_described(), "servers": [{"url": str(request.scope.get("root_path", "")) or "/"}]})


@cache
def _described() -> Mapping[str, Any]:
    from importlib.metadata import version

    about = (
        "Balances, usage and invoices as the pages show them. Log in as to Airflow's own API: `Authorization: Bearer "
        "TOKEN`, or the cookie of its pages. Decimals are strings; instants are RFC 3339 in UTC; nothing is written."
    )
    return get_openapi(title="Carryover", version=version("carryover"), description=about, routes=api.routes)


def _json(request: Request, value: Any) -> Response:
    """A read model as JSON, with a hash of it for who asks again."""
    kind: Any = type(value)
    body: bytes = _adapter(kind).dump_json(value)
    etag = f'"{sha256(body).hexdigest()}"'
    if _has_it(request, etag):
        return Response(status_code=304, headers={"ETag": etag})
    return Response(body, media_type="application/json", headers={"ETag": etag})


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _has_it(request: Request, etag: str) -> bool:
    given = request.headers.get("if-none-match", "")
    return etag in (tag.strip().removeprefix("W/") for tag in given.split(","))
