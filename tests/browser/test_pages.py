"""The pages as people see them: in Airflow's own navigation and frame, in Chromium, after a real log-in."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from billing.core.alert_rules import AlertRules
from billing.demo.local_airflow import MEMBERS_LOG_IN, TEAMS_PAGE, LocalAirflow
from billing.steps.homes import home_at
from billing.steps.open_ratings import refresh_open
from billing.steps.origin import acting_for
from billing.steps.standings import refresh_standings
from billing.steps.usage_views import refresh_views
from billing.store.documents import documents_of
from tests.steps.small_world import Shop
from tests.web.test_access import ALL, ROUTES, SOME_TEAM

playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not there")
axe = pytest.importorskip("axe_core_python.base", reason="the package axe-core-python is not there")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (Debian's package chromium)"),
]

AT = "2026-08-11T12:00:00Z"
INVOICE = "INV-2026-000001"
RUN = "usage_ingest/manual__2026-08-02T00:00:00+00:00"
PAGES = (
    "teams",
    "team?team_id=t1",
    "usage?team_id=t1&days=90",
    f"invoice?number={INVOICE}",
    f"invoice/line?number={INVOICE}&line_no=1",
    "finance?month=2026-08",
    "operations",
    "checks",
    "team?team_id=nobody",
)


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home as the DAGs leave it: July issued and rendered, August running, how teams stand on the 11th."""
    folder = tmp_path_factory.mktemp("pages")
    home = home_at(folder / "home")
    home.create()
    shop = Shop(home=home, folder=folder / "files")
    shop.load(team_members=["ada,t1,buyer", "ben,t1,buyer", "cat,t2,buyer"])
    with acting_for(RUN):
        shop.ingest(
            "e1,2026-07-05T00:00:00Z,a1,render,65.5,,",
            "x1,2026-07-05T00:00:00Z,a2,translate,2,,",
            "ghost,2026-07-05T00:00:00Z,nobody,render,1,,",
            now="08-02",
            name="july.csv",
        )
    shop.close("08-02")
    shop.render()
    shop.ingest(
        *(f"a{day},2026-08-{day:02d}T10:00:00Z,a1,render,{day}.25,," for day in range(1, 11)),
        "s1,2026-08-03T00:00:00Z,,seats,2,,t1",
        now="08-11",
        name="august.csv",
    )
    at = datetime(2026, 8, 11, 12, tzinfo=UTC)
    refresh_open(home)
    refresh_standings(home, at, AlertRules(mail=False))
    refresh_views(home, at)
    home.close()
    return folder


@pytest.fixture(scope="module")
def airflow(books: Path) -> Iterator[LocalAirflow]:
    """Without DAGs: the pages are in the API server."""
    (books / "dags").mkdir()
    with LocalAirflow(
        books / "airflow",
        dags_folder=books / "dags",
        environment={"BILLING_HOME": str(books / "home"), "BILLING_PAGES_AT": AT},
        users={"admin": "admin", "ada": "viewer", "ben": "", "cat": ""},
    ) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def log_in(airflow: LocalAirflow, chromium: Any, user: str, **how: Any) -> Any:
    """A page of somebody who came in by the form; errors of the console are kept in ``said``."""
    context = chromium.new_context(base_url=airflow.url, viewport={"width": 1440, "height": 900}, **how)
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto("/auth/login/")
    sign_in(airflow, page, user)
    return page


def sign_in(airflow: LocalAirflow, page: Any, user: str) -> None:
    page.get_by_label("Username").fill(user)
    page.locator("input[type=password]").fill(airflow.passwords[user])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "login" not in url)


def test_an_admin_finds_what_is_left_and_why(airflow: LocalAirflow, chromium: Any, books: Path) -> None:
    """From Airflow's menu to a team, its balance, its usage, its invoice, an event's record; the file as it is kept."""
    page = log_in(airflow, chromium, "admin")
    page.get_by_role("button", name="Plugins").click()
    page.get_by_role("menuitem", name="Billing").click()
    page.get_by_role("menuitem", name="Teams").click()
    page.wait_for_url(f"**{TEAMS_PAGE}**")
    frame = page.frame_locator("iframe")
    frame.get_by_label("Find").fill("team one")
    frame.get_by_role("button", name="Show").click()
    frame.get_by_text("1 team with").wait_for()
    frame.get_by_role("link", name="Team One").click()
    frame.get_by_role("heading", name="Team One").wait_for()
    assert "0 of 1 units available" in frame.locator("main").inner_text()
    assert "3 of 5 seats available" in frame.locator("main").inner_text()
    chart = frame.locator("figure", has_text="Rendering").first
    assert chart.locator("svg.bars g").count() == 10
    chart.get_by_text("Figures of Rendering").click()
    assert "10.25" in chart.get_by_role("table").inner_text()

    kept, content = stored(books)
    with page.expect_download() as download:
        frame.get_by_role("link", name=f"PDF of {INVOICE}").first.click()
    assert download.value.suggested_filename == f"{INVOICE}.pdf"
    assert Path(download.value.path()).read_bytes() == content

    frame.get_by_role("link", name=INVOICE, exact=True).click()
    frame.get_by_role("heading", name=f"Invoice {INVOICE}").wait_for()
    said = frame.locator("main").inner_text()
    assert "0 carried over + 65.5 used = 3 x 20 + 5.5 carried on" in said
    assert kept in said.replace("​", "")
    frame.get_by_role("link", name="Events of line 1").click()
    frame.get_by_text("july.csv, record").wait_for()

    frame.get_by_role("link", name="Operations").click()
    frame.get_by_role("link", name="usage_ingest").first.click()
    page.wait_for_url("**/dags/usage_ingest/runs/**")
    page.locator("iframe").wait_for(state="detached")  # Airflow's own page is there instead of our frame, not in it
    page.context.close()


def test_a_member_without_a_role_comes_in_by_an_address_of_their_own(airflow: LocalAirflow, chromium: Any) -> None:
    """Airflow's frame and menu are not for them: there, Airflow says that the page was not found."""
    context = chromium.new_context(base_url=airflow.url)
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(MEMBERS_LOG_IN)
    sign_in(airflow, page, "ben")
    page.wait_for_url("**/billing/teams")
    page.get_by_role("link", name="Team One").click()
    page.get_by_role("heading", name="Team One").wait_for()
    page.context.close()


def test_who_is_not_logged_in_comes_back_to_the_page_after_the_log_in(airflow: LocalAirflow, chromium: Any) -> None:
    context = chromium.new_context(base_url=airflow.url)
    context.set_default_timeout(60_000)
    page = context.new_page()
    assert page.goto(f"/billing/invoice?number={INVOICE}").status == 401
    assert INVOICE not in page.locator("main").inner_text()
    page.get_by_role("link", name="Log in").click()
    sign_in(airflow, page, "ben")
    page.get_by_role("heading", name=f"Invoice {INVOICE}").wait_for()
    assert page.url.endswith(f"/billing/invoice?number={INVOICE}")
    page.context.close()


@pytest.mark.parametrize("path", [path for path, (who, _) in ROUTES.items() if who not in (ALL, SOME_TEAM)])
def test_each_route_asks_airflow_who_it_is(airflow: LocalAirflow, path: str) -> None:
    """Nobody: 401. The buyer of another team: 403. Who runs billing gets an answer: 404 where an address names what is
    not there.
    """
    address = f"{airflow.url}/billing{ROUTES[path][1]}"
    assert httpx.get(address, trust_env=False).status_code == 401
    status = {}
    for user in ("cat", "admin"):
        headers = {"Authorization": f"Bearer {airflow.token(user)}"}
        status[user] = httpx.get(address, headers=headers, trust_env=False, timeout=60).status_code
    missing = path in ("/checks/{number}", "/audits/{run_id:path}")
    assert status == {"cat": 403, "admin": 404 if missing else 200}


def stored(books: Path) -> tuple[str, bytes]:
    home = home_at(books / "home")
    with home.database.read() as connection:
        [found] = [one for one in documents_of(connection, INVOICE) if one.kind == "pdf"]
    content = home.documents.read(found.path, found.sha256)
    home.close()
    return found.sha256, content


def test_the_pages_follow_airflows_theme(airflow: LocalAirflow, chromium: Any) -> None:
    page = log_in(airflow, chromium, "admin", color_scheme="light")
    page.goto(TEAMS_PAGE)
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="Teams").wait_for()
    assert page.frames[-1].title() == "Teams · Carryover", "of the frame; around it is Airflow's own"
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = page.frames[-1].evaluate(ground)
    page.evaluate(
        "() => { document.documentElement.classList.remove('light'); document.documentElement.classList.add('dark') }"
    )
    page.frames[-1].wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
    assert page.frames[-1].evaluate(ground) != light
    page.context.close()


def test_a_member_is_offered_their_team_only(airflow: LocalAirflow, chromium: Any) -> None:
    page = log_in(airflow, chromium, "ada")
    page.goto("/billing/teams")
    assert "1 team," in page.locator("main").inner_text()
    assert page.get_by_role("navigation", name="Billing").get_by_role("link").all_inner_texts() == ["Teams"]
    for path in ("finance", "operations", "team?team_id=t2"):
        answer = page.goto(f"/billing/{path}")
        assert answer.status == 403
        assert page.get_by_role("heading", name="Not shown").is_visible()
    page.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(375, "light"), (375, "dark"), (820, "light"), (1440, "dark")])
def test_everybody_can_read_them(
    airflow: LocalAirflow, chromium: Any, width: int, scheme: str, tmp_path: Path, shots: Callable[[str], Path | None]
) -> None:
    """No page is wider than its screen, loads from elsewhere, or has what axe calls serious or critical."""
    page = log_in(airflow, chromium, "admin", color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    for path in PAGES:
        page.goto(f"/billing/{path}")
        for closed in page.locator("details").all():
            closed.evaluate("one => one.open = true")
        if kept := shots(f"{re.sub(r'[^a-z0-9]+', '-', path)}-{width}-{scheme}.png"):
            page.screenshot(path=str(kept), full_page=True)
        width_over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(width_over) == 0, path
        page.evaluate(axe.AXE_SCRIPT)
        found = page.evaluate("axe.run()")["violations"]
        bad = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
        assert bad == [], path
        assert page.get_by_role("main").count() == page.get_by_role("heading", level=1).count() == 1
    assert all(url.startswith(airflow.url) for url in asked)
    assert [text for text in said if "404" not in text] == [], "the policy of contents refuses nothing of ours"
    page.context.close()


@pytest.fixture
def shots(request: pytest.FixtureRequest) -> Callable[[str], Path | None]:
    """Where screenshots are kept, if ``--shots FOLDER`` says so."""
    folder = request.config.getoption("--shots")

    def place(name: str) -> Path | None:
        if folder is None:
            return None
        Path(folder).mkdir(parents=True, exist_ok=True)
        return Path(folder) / name

    return place


def test_all_by_keyboard(airflow: LocalAirflow, chromium: Any) -> None:
    """The first stop is the skip link; what has the focus can be seen."""
    page = log_in(airflow, chromium, "admin")
    page.goto("/billing/teams")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "search"
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    page.get_by_text("1 team with").wait_for()
    page.context.close()
