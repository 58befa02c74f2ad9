"""The addresses of the pages: what is asked for, read and shown. Every one asks who looks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from billing.core.collecting import InvoiceState
from billing.core.months import Month
from billing.web.access import ViewerDep
from billing.web.books import reading
from billing.web.pages import daily, rendering
from billing.web.pages.daily import Stack
from billing.web.pages.rendering import PageRoute, show
from billing.web.parameters import Currency, Id, Key, Now, Text
from billing.web.reading import finance as months
from billing.web.reading import invoice as invoices
from billing.web.reading import operations as running
from billing.web.reading import team as one_team
from billing.web.reading import teams as many_teams
from billing.web.reading import usage as used
from billing.web.reading.teams import Sort

pages = APIRouter(route_class=PageRoute)

PANELS = 12
"""So many charts of usage are drawn at most on a page, which says how many more there are; the CSV has them all."""


@pages.get("/static/{name}")
def static(name: str) -> Response:
    """The stylesheet and the script; the only address that asks for no log-in, since they tell nothing."""
    return rendering.static(name)


@pages.get("/teams")
def teams(
    request: Request, viewer: ViewerDep, at: Now, search: Text = "", sort: Sort = Sort.NAME, key: Key = ""
) -> Response:
    """Teams: who has how much left, until when, and who is in trouble."""
    with reading() as (_, connection):
        page = many_teams.teams(connection, viewer, search=search.strip(), sort=sort, key=key)
    return show(
        "teams.html",
        request,
        viewer,
        at=at,
        page=page,
        first=not key,
        sorts=tuple(Sort),
        title="Teams",
        section="teams",
    )


@pages.get("/team")
def team(request: Request, viewer: ViewerDep, at: Now, team_id: Id) -> Response:
    """One team: is there enough, when does it end, who uses it."""
    with reading() as (_, connection):
        page = one_team.team(connection, viewer, team_id, at=at)
        usage = used.usage(connection, viewer, team_id, at=at, by_app=True)
    drawn = daily.panels(usage, Stack.APP)
    return show(
        "team.html",
        request,
        viewer,
        at=at,
        page=page,
        usage=usage,
        panels=drawn[:PANELS],
        not_drawn=len(drawn[PANELS:]),
        title=f"Team {page.name or page.team_id}",
        section="teams",
    )


@pages.get("/usage")
def usage(
    request: Request,
    viewer: ViewerDep,
    at: Now,
    team_id: Id,
    days: Annotated[str, Query(pattern=r"^([0-9]{1,3}|[0-9]{4}-[0-9]{2}|all)$")] = "30",
    api: Text = "",
    app: Text = "",
    stack: Stack = Stack.APP,
) -> Response:
    """Daily usage of a team: the last days, a month, or all that is kept; by API, by app."""
    first, until = daily.interval(days, at)
    with reading() as (_, connection):
        whole = used.usage(connection, viewer, team_id, at=at, first_day=first, until_day=until, by_app=True)
    drawn = daily.panels(whole, stack, api=api, app=app)
    return show(
        "usage.html",
        request,
        viewer,
        at=at,
        page=whole,
        panels=drawn[:PANELS],
        not_drawn=len(drawn[PANELS:]),
        totals=daily.totals(whole, api=api, app=app),
        apis=daily.apis(whole),
        apps=daily.apps(whole),
        periods=daily.periods(at),
        asked={"team_id": team_id, "days": days, "api": api, "app": app, "stack": stack.value},
        title=f"Usage of {whole.team_name or team_id}",
        section="teams",
    )


@pages.get("/usage.csv")
def usage_csv(
    viewer: ViewerDep,
    at: Now,
    team_id: Id,
    days: Annotated[str, Query(pattern=r"^([0-9]{1,3}|[0-9]{4}-[0-9]{2}|all)$")] = "30",
    api: Text = "",
    app: Text = "",
) -> Response:
    """The same as a file: a line a day, API and app with any usage. Exact."""
    first, until = daily.interval(days, at)
    with reading() as (_, connection):
        found = daily.every_series(connection, viewer, team_id, at, first, until, api)
    text = daily.csv_text(found, api=api, app=app)
    headers = {"Content-Disposition": f'attachment; filename="usage-{found[0].first_day}-{found[0].until_day}.csv"'}
    return Response(text.encode(), media_type="text/csv; charset=utf-8", headers=headers)


@pages.get("/invoice")
def invoice(request: Request, viewer: ViewerDep, at: Now, number: Id) -> Response:
    """One invoice, and why it has its amount."""
    with reading() as (_, connection):
        page = invoices.invoice(connection, viewer, number, at=at)
    return show("invoice.html", request, viewer, at=at, page=page, title=f"Invoice {number}", section="teams")


@pages.get("/invoice/line")
def invoice_line(
    request: Request,
    viewer: ViewerDep,
    at: Now,
    number: Id,
    line_no: Annotated[int, Query(ge=1, lt=2**31)],
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    own: bool = False,
) -> Response:
    """The events behind a line, what paid for their units, and the file and record that each came in."""
    with reading() as (home, connection):
        page = invoices.invoice(connection, viewer, number, at=at)
        events = invoices.events_of_line(home, connection, viewer, number, line_no, offset, own=own)
    [line] = [one for one in page.lines if one.line_no == line_no]
    [units] = [one for one in page.units if one.api == line.api]
    return show(
        "line.html",
        request,
        viewer,
        at=at,
        page=page,
        line=line,
        units=units,
        events=events,
        step=invoices.EVENTS,
        title=f"Line {line_no} of {number}",
        section="teams",
    )


@pages.get("/finance")
def finance(
    request: Request,
    viewer: ViewerDep,
    at: Now,
    month: Annotated[str, Query(pattern=r"^([0-9]{4}-[0-9]{2})?$")] = "",
    state: InvoiceState | None = None,
    currency: Currency = "",
    key: Key = "",
) -> Response:
    """A month, by default the running one: issued, collected, open, parked, credit notes; its invoices."""
    named = month or f"{at:%Y-%m}"
    with reading() as (_, connection):
        page = months.finance_month(connection, viewer, named, at=at, state=state, currency=currency, key=key)
    this = Month.parse(page.month)
    return show(
        "finance.html",
        request,
        viewer,
        at=at,
        page=page,
        state=state,
        currency=currency,
        first=not key,
        before=str(this.before) if this > Month(1970, 1) else "",
        next=str(this.next) if this.next < Month(9999, 12) else "",
        title=f"Finance, {this.first_day:%B %Y}",
        section="finance",
    )


@pages.get("/operations")
def operations(request: Request, viewer: ViewerDep, at: Now, key: Key = "") -> Response:
    """How the pipeline runs."""
    with reading() as (_, connection):
        page = running.operations(connection, viewer, key=key)
    return show(
        "operations.html", request, viewer, at=at, page=page, first=not key, title="Operations", section="operations"
    )
