"""The pages of checks: for who may read the run, harmless whatever stands in them, and never a file by its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from billing.store import validations
from billing.store.audit_files import REPORT, audit_folder
from billing.store.home import Home
from billing.store.validations import NewValidation
from billing.web.access import Reader, _reader, _viewer
from billing.web.app import app
from billing.web.viewer import Viewer

HOSTILE = "<script>alert(1)</script>{{7*7}}'\""
RUN = "usage_ingest/manual__2026-08-01T00:00:00+00:00"
Reads = Callable[..., TestClient]


class Known(Reader):
    """Somebody who may read the runs of some DAGs."""

    dags: tuple[str, ...]

    def __init__(self, *dags: str) -> None:
        object.__setattr__(self, "dags", dags)
        object.__setattr__(self, "is_limited", False)

    def may_see(self, run: str) -> bool:
        return run.partition("/")[0] in self.dags


@pytest.fixture
def home(tmp_path: Path, database_url: str | None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home with three checks: of a run, of another DAG's run, and made by hand."""
    made = Home.at(tmp_path / "home", database_url)
    made.create()
    monkeypatch.setenv("BILLING_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BILLING_DATABASE_URL", raising=False)
    if database_url:
        monkeypatch.setenv("BILLING_DATABASE_URL", database_url)
    for run, subject in ((RUN, f"drop {HOSTILE}"), ("cycle_close/r1", "close 1"), ("command", "files")):
        keep(made, run, subject)
    yield made
    made.close()


def keep(home: Home, run: str, subject: str, *, why: str = HOSTILE, page: str = "") -> None:
    failure = {
        "name": "quarantined",
        "severity": "critical",
        "expected": HOSTILE,
        "observed": HOSTILE,
        "advice": "Look.",
    }
    new = NewValidation(
        suite="extract",
        subject=subject,
        run=run,
        at=datetime(2026, 8, 1, tzinfo=UTC),
        expectations=9,
        failed=[failure],
        page=validations.keep_page(home.checks, f"<!DOCTYPE html>{page or f'<p>the page of {run}</p>'}".encode()),
        accepted_why=why,
    )
    with home.database.write() as connection:
        validations.write(connection, new)


@contextmanager
def reading(*dags: str) -> Iterator[TestClient]:
    app.dependency_overrides[_reader] = lambda: Known(*dags)
    app.dependency_overrides[_viewer] = lambda: Viewer(user="root", is_operator=True)
    try:
        with TestClient(app) as client:
            yield client
    finally:
        app.dependency_overrides.clear()


@pytest.mark.parametrize("path", [f"/runs/{RUN}", "/checks", "/checks/1", "/checks?before=9"])
def test_anonymous_gets_nothing(home: Home, path: str) -> None:
    answer = TestClient(app).get(path)
    assert answer.status_code == 401
    assert "extract" not in answer.text


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/"])
def test_there_is_nothing_else(home: Home, path: str) -> None:
    with reading("usage_ingest") as client:
        assert client.get(path).status_code == 404


def test_a_run_shows_its_own_checks_and_their_pages(home: Home) -> None:
    with reading("usage_ingest") as client:
        page = client.get(f"/runs/{RUN}")
        assert page.status_code == 200
        assert "<code>quarantined</code> (critical)" in page.text
        assert 'href="/checks/1"' in page.text
        assert "close 1" not in page.text
        assert client.get("/checks/1?kept=true").text == f"<!DOCTYPE html><p>the page of {RUN}</p>"
        assert "Nothing was checked here" in client.get("/runs/usage_ingest/other").text


def test_pages_of_checks_lead_back(home: Home) -> None:
    """They have what every page has, and say instants as every page does."""
    keep(home, "usage_ingest/r2", "drop, 2026-07-01T00:00:00Z to 2026-99-01T00:00:00Z")
    with reading("usage_ingest") as client:
        run, check = client.get(f"/runs/{RUN}").text, client.get("/checks/4").text
        assert "Data of the past" not in check
    for page in (run, check):
        assert '<nav aria-label="Billing">' in page and '<p class="crumbs">' in page
        assert '<a href="/checks">Checks</a>' in page
    assert '<a href="/operations#runs">Operations</a>' in run
    assert '<a href="/runs/usage_ingest/r2">' in check
    assert ">1\N{NO-BREAK SPACE}Jul\N{NO-BREAK SPACE}2026, 00:00\N{NO-BREAK SPACE}UTC</time> to 2026-99-01T" in check


def test_a_check_says_in_words_what_was_expected(home: Home) -> None:
    says = "quarantined (critical): at most 20 of 200 records are quarantined"
    held = "unknown_columns (warning): only columns of the data contract"
    page = f"<table><tr><td><p>{says}</p><p>9 unexpected values</p></td></tr><tr><td>\n{held} </td></tr></table>"
    keep(home, "usage_ingest/r2", "drop", page=page)
    with reading("usage_ingest") as client:
        told = client.get("/checks/4").text
    rows = re.findall(r"<tr><td class=.long.>(.*?)</td>.*?<span class=.state (\w+).>.*?<code>(.*?)</code>", told)
    assert rows == [
        ("at most 20 of 200 records are quarantined", "bad", "quarantined"),
        ("only columns of the data contract", "good", "unknown_<wbr>columns"),
    ]


@pytest.mark.parametrize("path", ["/checks", "/checks/1", f"/runs/{RUN}", "/checks/none", "/checks?before=x"])
def test_refusals_are_pages(home: Home, path: str) -> None:
    with reading("other") as client:
        app.dependency_overrides[_reader] = lambda: Reader(user="ada", is_limited=True)
        answer = client.get(path)
    assert answer.status_code == {"/checks/none": 404, "/checks?before=x": 400}.get(path, 403)
    assert "<h1>Not shown</h1>" in answer.text


def test_what_was_written_by_others_is_text(home: Home) -> None:
    with reading("usage_ingest") as client:
        page = client.get(f"/runs/{RUN}").text
        one = client.get("/checks/1").text
    assert page.count("<script") == 1, "our own, by its file"
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;{{7*7}}") == 4, "subject, reason, observed, expected"
    assert one.count("<script") == 1 and one.count("&lt;script&gt;alert(1)&lt;/script&gt;{{7*7}}") == 4


def test_a_reader_sees_the_runs_of_the_dags_that_are_theirs(home: Home) -> None:
    with reading("cycle_close") as client:
        assert client.get(f"/runs/{RUN}").status_code == 403
        assert client.get("/checks/1").status_code == 403
        assert client.get("/checks/2").status_code == 200
        listed = client.get("/checks").text
    assert "close 1" in listed
    assert "drop" not in listed


@pytest.mark.parametrize(
    "number", ["0", "-1", "99", "1e3", "..%2F..%2Fbilling.db", "../billing.toml", str(2**70), "1%00"]
)
def test_a_check_is_a_number_and_nothing_else(home: Home, number: str) -> None:
    (home.folder / "billing.toml").write_text("")
    with reading("usage_ingest") as client:
        assert client.get(f"/checks/{number}").status_code in (404, 422)


def test_pages_may_load_and_run_nothing(home: Home) -> None:
    with reading("usage_ingest") as client:
        answers = [client.get(path) for path in (f"/runs/{RUN}", "/checks", "/checks/1", "/checks/1?kept=true")]
    for answer in answers:
        styles = (
            "'unsafe-inline'" if answer is answers[-1] else "'self'; script-src 'self'"
        )  # GX has its own in the page
        assert answer.headers["content-security-policy"].startswith(f"default-src 'none'; style-src {styles}; ")
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "private, no-store"
        assert not re.search(r"<script(?! src=./static/billing)|<style| style=| on[a-z]+=|https?:", answer.text)


def test_older_checks_are_a_page_further(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing.web.app.LISTED", 2)
    with reading("usage_ingest", "cycle_close", "command") as client:
        assert "/checks?before=2" in client.get("/checks").text
        assert "/checks/1" in client.get("/checks?before=2").text
        assert client.get("/checks?before=x").status_code == 400


def test_a_home_that_is_not_there_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLING_HOME", str(tmp_path / "nowhere"))
    with reading("usage_ingest") as client:
        answer = client.get("/checks")
    assert answer.status_code == 503
    assert "init" in answer.text


def test_a_page_that_was_changed_is_not_served(home: Home) -> None:
    with home.database.read() as connection:
        path = home.checks.locate(validations.read(connection, 1).page_path)
    path.chmod(0o644)
    path.write_bytes(b"all is well")
    with reading("usage_ingest") as client:
        answer = client.get("/checks/1")
    assert answer.status_code == 503
    assert "all is well" not in answer.text


def test_the_plugin_imports_its_pages_only_when_they_are_asked_for() -> None:
    import subprocess
    import sys

    script = """
import sys
from billing.airflow_plugin import BillingPlugin
assert not {name for name in sys.modules if name.startswith("billing.") and name != "billing.airflow_plugin"}
assert not {"pandas", "great_expectations", "deltalake"} & set(sys.modules)
(mounted,) = BillingPlugin().fastapi_apps
assert mounted["url_prefix"] == "/billing"
for view in BillingPlugin.external_views:
    assert view["href"].startswith("billing/")
assert "great_expectations" not in sys.modules
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "fine" in done.stdout, done.stderr


RERUN = "manual__2026-09-01T00:00:00+00:00"
REPORT_PAGE = "<!DOCTYPE html><p>All is equal</p>"


def leave_report(home: Home, run_id: str) -> None:
    folder = audit_folder(home, run_id)
    folder.mkdir(parents=True)
    (folder / REPORT).write_text(REPORT_PAGE, "utf-8")


@pytest.mark.parametrize("run_id", [RERUN, "by hand/<b>1"])
def test_a_rerun_s_report_is_a_link_away(home: Home, run_id: str) -> None:
    """From the run's page, for whoever may see the DAG's runs; nothing else is in its place."""
    with reading("audit_rerun") as client:
        shown = client.get(f"/runs/audit_rerun/{quote(run_id)}")
        assert "The report" not in shown.text
        assert client.get(f"/audits/{quote(run_id)}").status_code == 404
        leave_report(home, run_id)
        shown = client.get(f"/runs/audit_rerun/{quote(run_id)}")
        [href] = re.findall(r'href="(/audits/[^"]+)"', shown.text)
        answer = client.get(href)
    assert (answer.status_code, answer.text) == (200, REPORT_PAGE)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    with reading("usage_ingest") as client:
        assert client.get(href).status_code == 403
        assert "The report" not in client.get(f"/runs/usage_ingest/{quote(run_id)}").text
    assert TestClient(app).get(href).status_code == 401


@pytest.mark.parametrize("run_id", ["%2E%2E", "%2E%2E%2Fbilling.db", "..%2F..%2Fetc%2Fpasswd", "%00"])
def test_a_run_s_id_names_no_file_elsewhere(home: Home, run_id: str) -> None:
    (home.folder / REPORT).write_text("not for reading", "utf-8")
    with reading("audit_rerun") as client:
        assert client.get(f"/audits/{run_id}").status_code == 404
