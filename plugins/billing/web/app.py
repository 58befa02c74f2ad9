"""The pages and the JSON: the checks of usage and of the books, the report of a rerun, what ``api.py`` gives, and what
``pages`` shows.

Mounted by the plugin below ``/billing``. Nothing in an address names a file: a check is a number, and its page is found
by what the database says of it; a rerun is a run's id, whose folder is always one below ``audit/``. Pages of checks are
for whoever may read the DAG's runs; what a person or a source wrote is escaped, and no page may load or run anything.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse

from billing.core.errors import NotFound
from billing.store import validations
from billing.store.audit_files import has_report, read_report
from billing.store.home import Home
from billing.store.validations import Validation
from billing.web.access import ReaderDep, ViewerDep
from billing.web.answers import guard
from billing.web.api import api
from billing.web.books import opened
from billing.web.pages.rendering import PageRoute, show
from billing.web.pages.routes import pages
from billing.web.parameters import Now
from billing.web.reading.checks import expectations_of
from billing.web.viewer import NotForYou

LISTED = 100
RERUNS = "audit_rerun"
"""The DAG that leaves reports."""

app = FastAPI(title="Billing", docs_url=None, redoc_url=None, openapi_url=None)
guard(app)
app.include_router(api)
app.include_router(pages)
checks = APIRouter(route_class=PageRoute)


@checks.get("/runs/{dag_id}/{run_id:path}")
def checks_of_run(
    dag_id: str, run_id: str, request: Request, reader: ReaderDep, viewer: ViewerDep, at: Now
) -> HTMLResponse:
    """What was checked in a DAG run; a tab of the run in Airflow, too."""
    run = f"{dag_id}/{run_id}"
    _demand(reader.may_see(run))
    with opened() as home, home.database.read() as connection:
        found = validations.of_run(connection, run)
        report = dag_id == RERUNS and has_report(home, run_id)
    values: dict[str, Any] = {
        "title": f"Checks of {run}",
        "run": run,
        "checks": found,
        "older": None,
        "report": run_id if report else "",
    }
    return show("checks.html", request, viewer, at=at, section="checks", **values)


@checks.get("/checks")
def all_checks(
    request: Request, reader: ReaderDep, viewer: ViewerDep, at: Now, before: int | None = None
) -> HTMLResponse:
    """The newest checks that the reader may see; older ones by ``before``."""
    _demand(not reader.is_limited)
    with opened() as home, home.database.read() as connection:
        found = validations.newest(connection, LISTED, before)
    older = found[-1].validation_no if len(found) == LISTED else None
    allowed = {run: reader.may_see(run) for run in {check.run for check in found}}
    mine = [check for check in found if allowed[check.run]]
    values: dict[str, Any] = {"title": "Checks", "run": "", "checks": mine, "older": older, "report": ""}
    return show("checks.html", request, viewer, at=at, section="checks", **values)


@checks.get("/audits/{run_id:path}")
def audit_report(run_id: str, reader: ReaderDep) -> HTMLResponse:
    """The report of a rerun of closed cycles, as it was left."""
    _demand(reader.may_see(f"{RERUNS}/{run_id}"))
    with opened() as home:
        page = read_report(home, run_id)
    return HTMLResponse(page)


@checks.get("/checks/{number}")
def check(
    number: int, request: Request, reader: ReaderDep, viewer: ViewerDep, at: Now, kept: bool = False
) -> HTMLResponse:
    """A check: each expectation, and what was found. ``kept``: its Data Docs page as it was made then."""
    _demand(not reader.is_limited)
    with opened() as home:
        found = _found(home, number)
        _demand(reader.may_see(found.run))
        page = validations.read_page(home.checks, found)
    if kept:
        return HTMLResponse(page)
    values: dict[str, Any] = {
        "title": f"Check {number}",
        "check": found,
        "failed": {failure["name"] for failure in found.failed},
        "expectations": expectations_of(page),
    }
    return show("check.html", request, viewer, at=at, section="checks", **values)


def _found(home: Home, number: int) -> Validation:
    if not 0 < number < 2**63:
        raise NotFound("There is no such check.")
    with home.database.read() as connection:
        return validations.read(connection, number)


def _demand(allowed: bool) -> None:
    if not allowed:
        raise NotForYou("This DAG’s runs are not for you to see.")


app.include_router(checks)
