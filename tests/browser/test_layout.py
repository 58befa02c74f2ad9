"""Where lines may break and what fits: the pages alone, in Chromium, at widths between a telephone's and a desk's."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import update

from billing.store.home import Home
from billing.store.tables import reference_history, sources
from billing.store.validations import NewValidation, keep_page, write
from billing.web.access import Reader, _reader, _viewer
from billing.web.app import app
from billing.web.clock import now
from billing.web.viewer import Viewer
from tests.web.small_books import FIRST, NOW, make

playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not there")
uvicorn = pytest.importorskip("uvicorn", reason="comes with Airflow")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (Debian's package chromium)")

TABLES = (
    "teams",
    "team?team_id=t1",
    f"invoice?number={FIRST}",
    f"invoice/line?number={FIRST}&line_no=1",
    "finance?month=2026-08",
    "operations",
    "checks",
    "checks/1",
    "runs/cycle_close/manual__2026-08-02T00:00:00.123456+00:00",
)
AIRFLOWS_OWN_PX = 72
"""Airflow's menu beside our frame."""
SPLIT = """() => {
  const split = [];
  for (const table of document.querySelectorAll("table")) {
    const texts = document.createTreeWalker(table, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const text = texts.currentNode, range = document.createRange();
      for (const word of text.data.matchAll(/[^\\s/-]+/g)) {
        range.setStart(text, word.index);
        range.setEnd(text, word.index + word[0].length);
        if (new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1) split.push(word[0]);
      }
    }
  }
  return split;
}"""
"""Words in tables that stand on more than one line. Where a mark of ours lets one break, its parts are words here."""
OVER = """() => [...document.querySelectorAll(".scroll:has(.stack)"), document.documentElement]
  .filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.ariaLabel ?? "the page")"""
"""What is wider than its place. The figures of a chart may have many columns: their region scrolls."""


class _SeesAll(Reader):
    def may_see(self, run: str) -> bool:
        """Airflow would be asked here."""
        return True


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The small world's pages to an operator, its teams and apps with names as long as real ones."""
    folder = tmp_path_factory.mktemp("layout")
    home = Home.at(folder / "home", None)
    home.create()
    make(home, folder / "files")
    with home.database.write() as connection:
        for table, column, name in (
            ("teams", "name", "Auckland surveyors"),
            ("customers", "legal_name", "Tasman Laboratories International"),
            ("apis", "name", "Model Derivative (complex)"),
        ):
            connection.execute(update(reference_history[table]).values({column: name}))
        connection.execute(update(sources).values(location="/srv/carryover/incoming/usage"))
        page = "<td>credit_note_numbers_have_no_gap (critical): Credit notes’ numbers are gapless (rule 6.3)</td>"
        broken = {name: f"{name} of credit notes" for name in ("severity", "expected", "observed", "advice")}
        check = NewValidation(
            suite="ledger",
            subject="files, 2026-07-01T00:00:00Z to 2026-08-01T00:00:00Z",
            run="cycle_close/manual__2026-08-02T00:00:00.123456+00:00",
            at=NOW,
            expectations=24,
            failed=[{"name": "credit_note_numbers_have_no_gap", **broken}],
            page=keep_page(home.checks, page.encode()),
        )
        write(connection, check)
    home.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BILLING_HOME", str(home.folder))
        patch.delenv("BILLING_DATABASE_URL", raising=False)
        patch.setitem(app.dependency_overrides, _viewer, lambda: Viewer(user="root", is_operator=True))
        patch.setitem(app.dependency_overrides, _reader, lambda: _SeesAll(user="root"))
        patch.setitem(app.dependency_overrides, now, lambda: NOW)
        with _served() as url:
            yield url


class _served:
    """The app on a free port, in a thread."""

    def __enter__(self) -> str:
        listening = socket.create_server(("127.0.0.1", 0))
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listening]})
        self.thread.start()
        while not self.server.started:
            time.sleep(0.05)
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(30)


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page(base_url=address)
        browser.close()


@pytest.mark.parametrize("width_px", [390, 820, 1024, 1100, 1280])
@pytest.mark.parametrize("path", TABLES)
def test_no_word_breaks_and_nothing_runs_off_the_edge(page: Any, path: str, width_px: int) -> None:
    """Alone, and beside Airflow's menu."""
    for width in (width_px, width_px - AIRFLOWS_OWN_PX):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(f"/{path}")
        assert page.evaluate(SPLIT) == [], width
        assert page.evaluate(OVER) == [], width


def test_on_a_telephone_nothing_is_cut_off(page: Any) -> None:
    """Every tab, field and button is within the margins, also the current tab."""
    outside = """() => [...document.querySelectorAll("nav a, button, input, select")].filter((one) => {
      const box = one.getBoundingClientRect();
      return one.type !== "hidden" && (box.left < 8 || box.right > document.documentElement.clientWidth - 8);
    }).map((one) => one.textContent)"""
    for width in (390, 390 - AIRFLOWS_OWN_PX):
        page.set_viewport_size({"width": width, "height": 900})
        for path in ("checks", "finance?month=2026-08", "teams", "usage?team_id=t1"):
            page.goto(f"/{path}")
            assert page.evaluate(outside) == [], (path, width)


def test_on_a_telephone_a_row_is_a_few_lines(page: Any) -> None:
    """Hundreds of events can be scrolled through."""
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto(f"/invoice/line?number={FIRST}&line_no=1")
    rows = page.locator("table tbody tr")
    assert rows.count() == 2
    assert all(row.bounding_box()["height"] < 160 for row in rows.all()), "eight lines of the smaller type"
    page.goto(f"/invoice?number={FIRST}")
    said = page.evaluate(
        """() => [...document.querySelectorAll("tfoot td.n")].map((one) => getComputedStyle(one, "::before").content)"""
    )
    assert said == ["none"] * 3, "their rows are named already"


@pytest.mark.parametrize("width_px", [390, 820, 1024, 1400])
def test_no_card_of_operations_is_alone_in_its_row(page: Any, width_px: int) -> None:
    page.set_viewport_size({"width": width_px - AIRFLOWS_OWN_PX, "height": 900})
    page.goto("/operations")
    for cards in (".numbers > *", ".cards > *"):
        tops = [card.bounding_box()["y"] for card in page.locator(cards).all()]
        assert len({tops.count(top) for top in tops}) == 1, tops
