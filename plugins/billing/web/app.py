"""The checks of usage and of the books, as pages: of a DAG run, of all, the Data Docs page of one; and the report of a
rerun.

Mounted by the plugin below ``/billing``. Nothing in an address names a file: a check is a number, and its page is found
by what the database says of it; a rerun is a run's id, whose folder is always one below ``audit/``. Every page is for
whoever may read the DAG's runs; what a person or a source wrote is escaped, and no page may load or run anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from billing.core.errors import BillingError, NotFound
from billing.core.instants import format_us
from billing.settings import Settings
from billing.store import validations
from billing.store.audit_files import has_report, read_report
from billing.store.home import Home
from billing.store.validations import Validation
from billing.web.access import ReaderDep

LISTED = 100
RERUNS = "audit_rerun"
"""The DAG that leaves reports."""
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

app = FastAPI(title="Billing", docs_url=None, redoc_url=None, openapi_url=None)
_templates = Environment(
    loader=PackageLoader("billing.web", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
_templates.filters["instant"] = lambda us: format_us(us // 1_000_000 * 1_000_000)


@app.get("/runs/{dag_id}/{run_id:path}")
def checks_of_run(dag_id: str, run_id: str, request: Request, reader: ReaderDep) -> HTMLResponse:
    """What was checked in a DAG run."""
    run = f"{dag_id}/{run_id}"
    _demand(reader.may_see(run))
    with _home() as home, home.database.read() as connection:
        found = validations.of_run(connection, run)
        report = dag_id == RERUNS and has_report(home, run_id)
    return _page("checks.html", request, title=f"Checks of {run}", checks=found, older=None, report=report and run_id)


@app.get("/checks")
def all_checks(request: Request, reader: ReaderDep, before: int | None = None) -> HTMLResponse:
    """The newest checks that the reader may see; older ones by ``before``."""
    with _home() as home, home.database.read() as connection:
        found = validations.newest(connection, LISTED, before)
    older = found[-1].validation_no if len(found) == LISTED else None
    allowed = {run: reader.may_see(run) for run in {check.run for check in found}}
    mine = [check for check in found if allowed[check.run]]
    return _page("checks.html", request, title="Checks", checks=mine, older=older, report="")


@app.get("/audits/{run_id:path}")
def audit_report(run_id: str, reader: ReaderDep) -> HTMLResponse:
    """The report of a rerun of closed cycles, as it was left."""
    _demand(reader.may_see(f"{RERUNS}/{run_id}"))
    with _home() as home:
        page = read_report(home, run_id)
    return HTMLResponse(page, headers=dict(HEADERS))


@app.get("/checks/{number}")
def check(number: int, reader: ReaderDep) -> HTMLResponse:
    """The Data Docs page of a check, as it was made then."""
    with _home() as home:
        found = _found(home, number)
        _demand(reader.may_see(found.run))
        page = validations.read_page(home.checks, found)
    return HTMLResponse(page, headers=dict(HEADERS))


def _found(home: Home, number: int) -> Validation:
    if not 0 < number < 2**63:
        raise HTTPException(404, "There is no such check.")
    with home.database.read() as connection:
        return validations.read(connection, number)


def _demand(allowed: bool) -> None:
    if not allowed:
        raise HTTPException(403, "This DAG's runs are not for you to see.")


def _page(template: str, request: Request, **values: object) -> HTMLResponse:
    root = str(request.scope.get("root_path", ""))
    return HTMLResponse(_templates.get_template(template).render(root=root, **values), headers=dict(HEADERS))


@contextmanager
def _home() -> Iterator[Home]:
    """The home of this process's settings; a refusal is an answer, not a traceback."""
    try:
        settings = Settings.read()
        home = Home.at(settings.home, settings.database_url)
        try:
            home.check_database()
            yield home
        finally:
            home.close()
    except NotFound as missing:
        raise HTTPException(404, str(missing)) from None
    except BillingError as refusal:
        raise HTTPException(503, str(refusal)) from None
