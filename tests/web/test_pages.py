"""What the pages say: the read models' figures in words; harmless whatever names hold; nothing of others linked."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from html import unescape
from io import StringIO
from pathlib import Path
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient

from billing.core.errors import UsageError
from billing.settings.settings import Settings
from billing.store.home import Home
from billing.web.access import Reader, _reader
from billing.web.app import app
from billing.web.pages import bars, daily, rendering, wording
from billing.web.pages.bars import Series
from billing.web.reading.alerts import AlertRow
from billing.web.reading.invoice import StoredMethod, invoice
from billing.web.reading.known import Api
from billing.web.reading.team import BalanceRow, team
from billing.web.reading.usage import usage
from billing.web.viewer import Viewer
from tests.steps.small_world import REFERENCE, Shop

from .conftest import BUYER, DEVELOPER, OPERATOR, looking
from .small_books import FIRST, NOTE, NOW, ODD, SECOND, Books

Clients = Callable[[Viewer], AbstractContextManager[TestClient]]
HOSTILE = """<script>alert(1)</script>"'><img src=x onerror=alert(1)>{{7*7}}"""


def text_of(page: str) -> str:
    """What a person reads: without marks, blanks put together."""
    bare = re.sub(r"<(style|script|title)\b.*?</\1>|<wbr>", "", page, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", bare)).split())


def read(client_of: Clients, viewer: Viewer, path: str, **query: object) -> str:
    with client_of(viewer) as client:
        answer = client.get(f"{path}?{urlencode(query)}")
    assert answer.status_code == 200, answer.text
    return answer.text


def test_teams_are_listed_found_and_linked(client_of: Clients) -> None:
    page = read(client_of, OPERATOR, "/teams", sort="least_left")
    said = text_of(page)
    assert "3 teams, sorted by least left." in said
    assert said.index("Team One") < said.index("Team Two") < said.index("Straße 100%")
    assert "5 % left" in said and "23 Aug 2026 (in 12 days)" in said and "2.30 EUR" in said
    assert f'href="/team?{urlencode({"team_id": ODD})}"' in unescape(page), "an id that no path would survive"
    with client_of(OPERATOR) as client:
        assert client.get("/team", params={"team_id": ODD}).status_code == 200
    assert "No team that you may see" in text_of(read(client_of, OPERATOR, "/teams", search="zzz"))


def test_a_team_shows_what_the_read_model_has(books: Books, client_of: Clients) -> None:
    """Rule 8.1: available of granted, when it ends or refreshes, the carry-over towards the next unit."""
    with books.home.database.read() as connection:
        model = team(connection, OPERATOR, "t1", at=NOW)
    said = text_of(read(client_of, BUYER, "/team", team_id="t1"))
    for card in model.cards:
        assert f"{wording.number(card.available)} of {wording.number(card.granted)}" in said
        if card.total_purchased is not None:
            assert f"{wording.number(card.total_purchased)} purchased in total" in said
    assert model.cycle is not None
    for api in model.cycle.apis:
        assert (
            f"{wording.number(api.carry)} of {wording.number(api.unit_size or 0)} minutes towards the next unit" in said
        )
    assert f"Would be invoiced today, net {model.cycle.spend} EUR" in said
    assert "140 of 150 units available" in said and "Refreshes 23 Aug 2026 (in 12 days)" in said
    assert "2 grants not valid now" in said
    assert "5 of 9 never used, ended 10 Aug 2026 (yesterday)" in said and "next: 7, begins later" in said
    assert FIRST in said and SECOND not in said
    seats = said[said.index("seats1 Capacity") :]
    bought = "seats1 Capacity 1 Jul 2026, 00:00 UTC no end set its last grant ends 1 Jul 2027 (in 323 days)"
    assert seats.startswith(bought), seats[:120]
    assert "There is not enough usage yet" not in said and "Too few days of usage." in said


def test_an_invoice_says_why_it_has_its_amount(books: Books, client_of: Clients) -> None:
    """Rules 4.4, 6.1, 6.2: opening + usage = units x size + closing; units x price; tax once."""
    with books.home.database.read() as connection:
        model = invoice(connection, OPERATOR, FIRST, at=NOW)
    said = text_of(read(client_of, BUYER, "/invoice", number=FIRST))
    (line,) = model.lines
    [one] = [each for each in model.units if each.api == line.api]
    size = one.unit_sizes[0]
    assert one.opening + one.usage == one.charged_units * size + one.closing
    opening, used, closing = (wording.number(value) for value in (one.opening, one.usage, one.closing))
    units = f"{one.charged_units} x {wording.number(size)}"
    assert f"{opening} carried over + {used} used = {units} + {closing} carried on" in said
    assert f"{line.charged_units} x {line.unit_price.normalize():f} EUR = {line.net} EUR" in said
    assert f"20 % of {model.head.net} EUR = {model.head.tax} EUR" in said
    assert f"Total {model.head.total} EUR" in said
    for document in model.documents:
        assert document.sha256 in said
    other = text_of(read(client_of, OPERATOR, "/invoice", number=SECOND))
    assert NOTE in other and "a mistake of ours" in other
    assert "Still owed 1.76 EUR due 2 Aug 2026" in said and "due" not in other[: other.index("Lines")]
    assert "To be paid by bank transfer." in said and "To be paid" not in other, "nothing is owed any more"


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (("stripe", "visa", "4242", False), "To be charged to visa ending 4242."),
        (("stripe", "", "4242", False), "To be charged to the card ending 4242."),
        (("stripe", "", "", False), "To be charged via stripe."),
        (("stripe", "", "3000", True), "To be collected by SEPA direct debit."),
    ],
)
def test_an_invoice_says_how_it_is_paid(books: Books, method: tuple[str, str, str, bool], words: str) -> None:
    """Rule 6.5, as the invoice itself says it."""
    gateway, brand, last4, by_debit = method
    with books.home.database.read() as connection:
        page = invoice(connection, OPERATOR, FIRST, at=NOW)
    stored = StoredMethod(gateway=gateway, brand=brand, last4=last4, is_direct_debit=by_debit)
    assert wording.paid_how(replace(page, payment_method=stored)) == words
    assert wording.paid_how(replace(page, payment_method=stored, head=replace(page.head, total=D(0)))) == (
        "Nothing to pay."
    )


def test_a_line_leads_to_its_events(client_of: Clients) -> None:
    """Rule 7.3: to the file and the record."""
    said = text_of(read(client_of, BUYER, "/invoice/line", number=FIRST, line_no=1))
    assert "2 events of this API" in said
    assert "july.csv, record" in said and "e1" in said and "e2" in said
    assert "1 free" in said and "2 pay as you go at 1.15 EUR" in said and "from here" not in said
    assert "The 2 units of this line were completed by 1 event" in said
    assert "The cycle runs from 1 Jul 2026, 00:00 UTC until before 1 Aug 2026, 00:00 UTC" in said
    own = text_of(read(client_of, BUYER, "/invoice/line", number=FIRST, line_no=1, own="true"))
    assert "1 event that completed units of this line" in own and "e1" not in own and "e2" in own


@pytest.fixture
def august(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A cycle in which a price and a unit size change, with a correction of July's usage; it ends at noon."""
    home = Home.at(tmp_path / "home", None)
    home.create()
    shop = Shop(home=home, folder=tmp_path / "files")
    ending = [row.replace(",UTC,,EUR,", ",UTC,2026-08-31T12:00:00Z,EUR,") for row in REFERENCE["subscriptions"]]
    shop.load(
        subscriptions=ending,
        unit_prices=[*REFERENCE["unit_prices"], "render,EUR,2026-08-10T00:00:00Z,1.3"],
        unit_rates=[*REFERENCE["unit_rates"], "render,2026-08-15T00:00:00Z,16,1"],
    )
    shop.ingest("e0,2026-07-05T00:00:00Z,a1,render,45,,", now="08-02")
    shop.close("08-02")
    shop.ingest(
        "back,2026-07-05T00:00:00Z,a1,render,-10,e0,",
        "e1,2026-08-05T00:00:00Z,a1,render,60,,",
        "e2,2026-08-12T00:00:00Z,a1,render,10,,",
        "e3,2026-08-20T00:00:00Z,a1,render,30,,",
        now="09-02",
    )
    shop.close("09-02")
    home.close()
    monkeypatch.delenv("BILLING_DATABASE_URL", raising=False)
    monkeypatch.setenv("BILLING_HOME", str(tmp_path / "home"))
    with looking(OPERATOR) as client:
        yield client


def test_a_change_of_price_and_of_size_can_be_followed(august: TestClient) -> None:
    """Rules 4.1, 4.4, 5.4: from when which holds, where a price begins, and an equation that holds as it is written."""
    said = text_of(august.get("/invoice/line?number=INV-2026-000002&line_no=2").text)
    assert "3 x 1.30 EUR = 3.90 EUR" in said
    assert "5 1 free, 1 pay as you go at 1.15 EUR, 3 pay as you go at 1.30 EUR" in said
    assert "A unit costs 1.15 EUR, and 1.30 EUR from 10 Aug 2026, 00:00 UTC" in said
    assert "5 carried over + 90 used = 3 x 20 + 2 x 16 + 3 carried on" in said
    assert "3 units of 20 until 15 Aug 2026, 00:00 UTC , 2 units of 16 from then on" in said
    assert "The 3 units of this line were completed by 2 events" in said
    assert "1 free, 1 pay as you go at 1.15 EUR from here 1.15 EUR" in said
    assert "1 pay as you go at 1.30 EUR from here 1.30 EUR" in said


def test_an_invoice_says_the_units_of_each_size_and_what_was_corrected_late(august: TestClient) -> None:
    """Rules 4.4, 6.6: 3 x 20 + 2 x 16 rather than "5 units"; late usage below 0 is a correction. An edge of the cycle
    that is no midnight has its time.
    """
    said = text_of(august.get("/invoice?number=INV-2026-000002").text)
    assert "5 carried over + 90 used = 3 x 20 + 2 x 16 + 3 carried on" in said
    assert "3 units of 20 until 15 Aug 2026, 00:00 UTC , 2 units of 16 from then on" in said
    assert "a correction of −10 is in it, to usage of closed cycles" in said
    assert "1 Aug 2026 to 31 Aug 2026, 12:00 (UTC)" in said
    assert "3 x 1.30 EUR = 3.90 EUR" in said


@pytest.mark.parametrize(
    ("value", "currency", "words"),
    [
        ("2.6", "EUR", "2.60 EUR"),
        ("0.3125", "EUR", "0.3125 EUR"),
        ("732.5", "JPY", "732.5 JPY"),
        ("1000", "JPY", "1,000 JPY"),
        ("0.88", "KWD", "0.880 KWD"),
        ("0", "EUR", "0.00 EUR"),
    ],
)
def test_a_price_has_at_least_the_currency_s_digits(value: str, currency: str, words: str) -> None:
    assert wording.price(D(value), currency) == words


def test_events_are_paged_in_both_directions(books: Books, client_of: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above and below the table: to the first page, the one before, the next, as far as there are any."""
    monkeypatch.setattr("billing.web.reading.invoice.EVENTS", 1)
    at = f"/invoice/line?{urlencode({'number': FIRST, 'line_no': 1})}"

    def pagers(offset: int) -> list[list[tuple[str, str]]]:
        page = read(client_of, BUYER, "/invoice/line", number=FIRST, line_no=1, offset=offset)
        found = re.findall(r'<nav class="pager" aria-label="Pages of events[^"]*">(.*?)</nav>', unescape(page), re.S)
        return [re.findall(r'href="([^"]+)">([^<]+)</a>', one) for one in found]

    assert pagers(0) == [[(f"{at}&offset=1", "Next page")]] * 2
    assert pagers(1) == [[(at, "First page"), (at, "Previous page")]] * 2


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/teams", "Teams"),
        ("/team?team_id=t1", "Team Team One"),
        (f"/invoice?number={FIRST}", f"Invoice {FIRST}"),
        (f"/invoice/line?number={FIRST}&line_no=1", f"Line 1 of {FIRST}"),
        ("/finance?month=2026-08", "Finance, August 2026"),
        ("/runs/cycle_close/r1", "Checks of cycle_close/r1"),
    ],
)
def test_a_page_s_title_says_what_it_shows(client_of: Clients, path: str, title: str) -> None:
    with client_of(OPERATOR) as client:
        app.dependency_overrides[_reader] = lambda: _SeesRuns(user="root")
        page = client.get(path).text
    assert f"<title>{title} · Carryover</title>" in page


class _SeesRuns(Reader):
    def may_see(self, run: str) -> bool:
        """Airflow would be asked here."""
        return True


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (f"/invoice/line?number={FIRST}&line_no=x", "“line_no” has"),
        (f"/invoice/line?number={FIRST}", "“line_no” has"),
        (f"/invoice/line?number={FIRST}&line_no=0&offset=-1", "“line_no” and “offset” have"),
        ("/teams?sort=x", "“sort” has"),
    ],
)
def test_a_wrong_address_is_told_in_a_sentence(client_of: Clients, path: str, names: str) -> None:
    with client_of(OPERATOR) as client:
        answer = client.get(path)
    assert answer.status_code == 400
    said = text_of(answer.text)
    assert f"The address of this page is not right: {names} no value, or none that is possible. Teams" in said


def test_finance_shows_states_and_the_month_around(client_of: Clients) -> None:
    page = read(client_of, OPERATOR, "/finance", month="2026-08")
    said = text_of(page)
    assert "Finance, August 2026" in said and "Issued, 2 invoices" in said and NOTE in said
    assert "month=2026-07" in page and "month=2026-09" in page
    only = text_of(read(client_of, OPERATOR, "/finance", month="2026-08", state="declined"))
    assert FIRST in only and SECOND not in only.split("Credit notes")[0]
    assert "Nothing was issued" in text_of(read(client_of, OPERATOR, "/finance", month="2025-01"))
    assert "July 2026" in said and "September 2026" in said and "2026-07" not in said
    assert f"{FIRST} Team One Buyer One" in said and "Team Two" in said
    assert "no unit size An API was used while it had no unit size." in said and "–" not in said


def test_a_chip_of_finance_chooses_its_currency(client_of: Clients) -> None:
    """And only the one that was chosen is current; the page stays at its invoices."""
    asked = {"month": "2026-08", "state": "declined"}
    chips = re.compile(r'<a href="([^"]*)"([^>]*)><span class="state')
    page = read(client_of, OPERATOR, "/finance", **asked, currency="EUR")
    assert [(unescape(href), "aria-current" in more) for href, more in chips.findall(page)] == [
        ("/finance?month=2026-08&state=declined&currency=EUR#invoices", True),
        ("/finance?month=2026-08&state=credited&currency=EUR#invoices", False),
    ]
    assert "Invoices: declined, EUR" in text_of(page) and 'href="/finance?month=2026-08#invoices">All' in page
    other = read(client_of, OPERATOR, "/finance", **asked, currency="USD")
    assert 'aria-current="true"' not in other and f"number={FIRST}" not in other.split("Credit notes")[0]
    for wrong in ("eur", "EURO", "E", "E\x00R"):
        with client_of(OPERATOR) as client:
            assert client.get("/finance", params={"currency": wrong}).status_code == 400
            assert client.get("/api/v1/month", params={"month": "2026-08", "currency": wrong}).status_code == 422


def test_operations_links_runs_in_airflow(client_of: Clients) -> None:
    said = text_of(read(client_of, OPERATOR, "/operations"))
    assert "unknown api 1" in said and "unattributed app 1" in said
    assert "7 5 0 2" in said, "records, accepted, duplicates, quarantined of the batch"
    assert "Parked teams: 1" in said


def test_operations_leads_to_what_it_counts(client_of: Clients) -> None:
    page = read(client_of, OPERATOR, "/operations")
    assert "Last close No. 1, issued as of 2 Aug 2026, 00:00 UTC" in text_of(page)
    by_reason = page[page.index("In quarantine, by reason") : page.index("Alerts that hold")]
    assert by_reason.count('href="#batches"') == 2 and 'id="batches"' in page
    assert re.search(r'<a href="/teams\?sort=alerts">.*?</a>', page), "teams with most alerts first"
    assert 'href="#parked"' in page and 'id="parked"' in page


def test_usage_by_app_by_unit_and_as_a_file(books: Books, client_of: Clients) -> None:
    """Rule 8.2; the file has the days that the read model has."""
    page = read(client_of, BUYER, "/usage", team_id="t1", days="30")
    assert "Rendering" in page and "App before" in page and page.count('<svg class="bars"') == 2
    stacked = text_of(read(client_of, BUYER, "/usage", team_id="t1", days="30", stack="api"))
    assert "Everything counted in minutes" in stacked
    chosen = read(client_of, BUYER, "/usage", team_id="t1", days="30", api="render", app="a0")
    sums = text_of(chosen[chosen.index("Sums of these days") :])
    assert "Rendering App before 10 minutes" in sums and "App One" not in sums and "seats" not in sums
    some = read(client_of, BUYER, "/usage.csv", team_id="t1", days="2026-08", app="a0")
    assert some.splitlines()[1:] == ["2026-08-02,render,a0,10,minute"]
    text = read(client_of, BUYER, "/usage.csv", team_id="t1", days="2026-08")
    rows = list(csv.DictReader(StringIO(text)))
    with books.home.database.read() as connection:
        model = usage(
            connection, BUYER, "t1", at=NOW, first_day=date(2026, 8, 1), until_day=date(2026, 9, 1), by_app=True
        )
    assert sum(D(row["quantity"]) for row in rows) == sum(one.total for one in model.totals)
    assert rows[0] == {"day": "2026-08-01", "api": "render", "app_id": "a1", "quantity": "1", "usage_unit": "minute"}


def test_no_id_in_the_file_becomes_a_formula(books: Books) -> None:
    """As in every other file for spreadsheets: what could be one begins with an apostrophe; numbers stay as they are.
    The order is that of the ids.
    """
    with books.home.database.read() as connection:
        page = usage(connection, BUYER, "t1", at=NOW, by_app=True)
    one = replace(page.series[0], quantities=(D(-3),))
    ids = [("=1+1", "@SUM(A1)"), ("render", " ＝1"), ("render", "a-1"), ("-1", "+1")]
    found = replace(page, series=tuple(replace(one, api=api, app_id=app, usage_unit="\tunit") for api, app in ids))
    _, *rows = csv.reader(StringIO(daily.csv_text([found]), newline=""))
    assert rows == [
        [str(page.first_day), *ids, "-3", "'\tunit"]
        for ids in (("'-1", "'+1"), ("'=1+1", "'@SUM(A1)"), ("render", "' ＝1"), ("render", "a-1"))
    ]


def test_charts_that_are_not_drawn_are_told(client_of: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing.web.pages.routes.PANELS", 1)
    for path in ("/team", "/usage"):
        assert "1 more chart is not drawn here" in text_of(read(client_of, BUYER, path, team_id="t1"))


def test_what_a_viewer_may_not_see_is_not_linked(client_of: Clients) -> None:
    for viewer in (BUYER, DEVELOPER):
        page = read(client_of, viewer, "/teams")
        assert not re.search(r'href="/(finance|operations|checks)', page)
    page = read(client_of, DEVELOPER, "/teams")
    assert 'href="/team?' not in page and 'href="/usage?team_id=t1"' in page
    assert "EUR" not in page
    page = read(client_of, DEVELOPER, "/usage", team_id="t1")
    assert 'href="/team?' not in page and "App before" not in page


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/team?team_id=t9", 404),
        ("/team", 400),
        ("/teams?key=x", 400),
        ("/teams?sort=x", 400),
        ("/teams?search=%00", 400),
        ("/usage?team_id=t1&days=2026-13", 400),
        ("/usage?team_id=t1&days=2020-01", 400),
        ("/finance?month=1969-12", 400),
        ("/invoice?number=INV-9", 404),
        ("/static/../app.py", 404),
        ("/static/billing.py", 404),
    ],
)
def test_refusals_are_pages(client_of: Clients, path: str, status: int) -> None:
    with client_of(OPERATOR) as client:
        answer = client.get(path)
    assert answer.status_code == status
    if not path.startswith("/static"):
        assert "<h1>Not shown</h1>" in answer.text and "style-src 'self'" in answer.headers["content-security-policy"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home in which every name that others write is an attack."""
    folder = tmp_path_factory.mktemp("hostile")
    home = Home.at(folder / "home", None)
    home.create()
    shop = Shop(home=home, folder=folder / "files")
    name = '"' + HOSTILE.replace('"', '""') + '"'
    shop.load(
        teams=[f"t1,c1,{name}", "t2,c2,Team Two"],
        customers=[REFERENCE["customers"][0].replace("Buyer One", name), REFERENCE["customers"][1]],
        apps=[f"a1,{name}", "a2,App Two"],
        hubs=[f"h1,{name}", "h2,Hub Two"],
        apis=[f"render,{name},minute,rated", *REFERENCE["apis"][1:]],
        team_members=[f"{name},t1,buyer"],
        subscriptions=[f"{row}pm1" if row.startswith("payg1") else row for row in REFERENCE["subscriptions"]],
        payment_methods=["pm1,c1,stripe,tok_1,<b>visa</b>,4242,2028-11"],
    )
    shop.ingest(f"{name},2026-07-05T00:00:00Z,a1,render,65.5,,", now="08-02", name="july.csv")
    shop.close("08-02")
    yield home
    home.close()


def test_names_are_text_and_nothing_else(hostile: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLING_HOME", str(hostile.folder))
    monkeypatch.delenv("BILLING_DATABASE_URL", raising=False)
    paths = (
        "/teams",
        f"/teams?{urlencode({'search': HOSTILE})}",
        "/team?team_id=t1",
        f"/usage?{urlencode({'team_id': 't1', 'app': HOSTILE})}",
        f"/invoice?number={FIRST}",
        f"/invoice/line?number={FIRST}&line_no=1",
        "/finance?month=2026-08",
        "/operations",
    )
    with looking(OPERATOR) as client:
        for path in paths:
            answer = client.get(path)
            assert answer.status_code == 200, (path, answer.text)
            assert not re.search(r"<script(?! src=./static)|<img|onerror=alert\(1\)>[^&]*<", answer.text), path
            assert "<b>visa" not in answer.text, path
            assert ("To be charged to <b>visa</b> ending 4242." in unescape(answer.text)) == (path == paths[4]), path
            assert "{{7*7}}" in answer.text.replace("<wbr>", "") or path in paths[-2:], path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("files /srv/carryover/in", "files /<wbr>srv/<wbr>carryover/<wbr>in"),
        ("usage_2026-02.csv", "usage_<wbr>2026-<wbr>02.<wbr>csv"),
        ("interdepartmental", "interdepartmental"),
        ("0123456789abcdef" * 2, "0123456789abcdef<wbr>0123456789abcdef"),
        ("a<b>/", "a&lt;b&gt;/"),
        ("", ""),
    ],
)
def test_identifiers_break_between_their_words(text: str, shown: str) -> None:
    assert rendering.templates.filters["broken"](text) == shown


NOON = datetime(2026, 8, 11, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (0, "today"),
        (11, "today"),
        (-12, "today"),
        (12, "tomorrow"),
        (35, "tomorrow"),
        (36, "in 1 day"),
        (47, "in 1 day"),
        (48, "in 2 days"),
        (12 * 24, "in 12 days"),
        (12 * 24 - 1, "in 11 days"),
        (1500 * 24, "in 1,500 days"),
        (-13, "yesterday"),
        (-72, "3 days ago"),
    ],
)
def test_relative_days_are_whole_ones_that_there_are(hours: int, words: str) -> None:
    assert wording.relative(NOON + timedelta(hours=hours), NOON) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [("0", "0"), ("1234567.500000", "1,234,567.5"), ("-0.000001", "−0.000001"), ("100", "100"), ("1E+3", "1,000")],
)
def test_figures_are_grouped_and_exact(value: str, words: str) -> None:
    assert wording.number(D(value)) == words


@pytest.mark.parametrize(
    ("share", "words"),
    [("0", "0 %"), ("0.0099", "under 1 %"), ("0.999999", "99 %"), ("1", "100 %"), ("0.5", "50 %")],
)
def test_what_is_not_all_is_never_all(share: str, words: str) -> None:
    assert wording.percent(D(share)) == words


@pytest.mark.parametrize(
    ("forecast", "words"),
    [
        ('{"why":"used_up","days":56}', "It is used up."),
        ('{"why":"no_usage","days":56}', "Nothing was used in the last 56 days."),
        ('{"why":"not_enough_usage","days":0}', "There is not enough usage yet to say how long it lasts."),
        (
            '{"why":"not_before_refresh_or_end","days":56}',
            "At the pace of the last 8 weeks (1.23 units a day) it lasts until it ends.",
        ),
        (
            '{"why":"pace","days":56}',
            "At the pace of the last 8 weeks (1.23 units a day) it lasts until about 20 Aug 2026 "
            "(in 8 of 10 cases between 15 Aug 2026 and later than it ends).",
        ),
        ("in other words", "In other words."),
        ("", ""),
    ],
)
def test_a_forecast_in_words(forecast: str, words: str) -> None:
    balance = BalanceRow(
        subscription_id="s",
        grant_id="g",
        granted=D(9),
        used=D(1),
        available=D(8),
        share_left=D("0.888889"),
        ends_at=NOON + timedelta(days=99),
        ends_in_days=99,
        refreshes_at=None,
        refreshes_in_days=None,
        per_day=D("1.2345"),
        runs_out_earliest=datetime(2026, 8, 15, tzinfo=UTC),
        runs_out=datetime(2026, 8, 20, tzinfo=UTC),
        runs_out_latest=None,
        forecast=forecast,
    )
    assert wording.outlook(balance, "units") == words


FLEX = {"source": "token_flex", "api": "", "granted": "1234.5", "available": "0.2", "percent": 5}
SEATS = {"source": "capacity", "api": "seats", "granted": "5", "available": "1", "percent": 20}
FREE = {"source": "free", "api": "render", "granted": "30", "available": "0", "percent": 5}
SOON = {"runs_out_at": "2026-08-12T23:00:00Z", "ends_at": "2026-08-31T22:00:00Z"}


@pytest.mark.parametrize(
    ("kind", "detail", "words"),
    [
        ("unfunded", {"units": 1, "apis": ["render"]}, "1 unit of Rendering was used that nothing paid for."),
        (
            "unfunded",
            {"units": 1200, "apis": ["render", "seats", "gone"]},
            "1,200 units of Rendering, Seats and gone were used that nothing paid for.",
        ),
        ("low", FLEX, "0.2 of 1,234.5 Token Flex tokens are left (5 % or less)."),
        ("low", SEATS, "1 of 5 seats of Seats is left (20 % or less)."),
        ("low", FREE, "0 of 30 free units of Rendering are left (5 % or less)."),
        ("runs_out", FLEX | SOON, "At the pace of the last weeks Token Flex tokens run out about 12 Aug 2026."),
        ("ends", FLEX | SOON, "0.2 of 1,234.5 Token Flex tokens end unused on 31 Aug 2026."),
        (
            "payment_expires",
            {"brand": "visa", "last4": "4242", "expires": "2026-08"},
            "The stored payment method (visa 4242) expires at the end of August 2026.",
        ),
        (
            "payment_missing",
            {"subscription_id": "s1"},
            "There is no stored payment method for pay as you go (s1).",
        ),
        ("of tomorrow", {"subject": "In other words"}, "In other words."),
        ("of tomorrow", {"left": "5", "of": "150"}, "left: 5, of: 150."),
        ("low", {"subject": "As it was told before."}, "As it was told before."),
    ],
)
def test_an_alert_is_told_in_the_words_of_the_cards(kind: str, detail: dict[str, object], words: str) -> None:
    apis = {
        "render": Api(api="render", name="Rendering", usage_unit="minute", billing="rated"),
        "seats": Api(api="seats", name="Seats", usage_unit="seat", billing="resource"),
        "gone": Api(api="gone", name="", usage_unit="", billing=""),
    }
    alert = AlertRow(alert_key="k", kind=kind, subject_id="s", raised_at=NOON, ended_at=None, detail=detail, apis=apis)
    assert wording.alert_says(alert) == words


def test_days_that_are_one_are_told_once() -> None:
    """Where the forecast's range is within a day, there is nothing between."""
    one = BalanceRow(
        subscription_id="s",
        grant_id="g",
        granted=D(9),
        used=D(1),
        available=D(8),
        share_left=D("0.888889"),
        ends_at=None,
        ends_in_days=None,
        refreshes_at=None,
        refreshes_in_days=None,
        per_day=D(8),
        runs_out_earliest=NOON,
        runs_out=NOON + timedelta(hours=1),
        runs_out_latest=NOON + timedelta(hours=2),
        forecast='{"why":"pace","days":56}',
    )
    assert wording.outlook(one, "units").endswith("(8 units a day) it lasts until 11 Aug 2026.")


@pytest.mark.parametrize(
    ("balances", "words"),
    [
        ([(30, 2), (20, 13)], "30 units refresh on 13 Aug 2026 (in 2 days), 20 on 24 Aug 2026 (in 13 days)"),
        ([(1, 13), (30, 2)], "30 units refresh on 13 Aug 2026 (in 2 days), 1 on 24 Aug 2026 (in 13 days)"),
        ([(20, 2), (30, 2), (9, None)], "50 units refresh on 13 Aug 2026 (in 2 days)"),
        ([(1, 2), (9, None)], "1 unit refreshes on 13 Aug 2026 (in 2 days)"),
    ],
)
def test_each_refresh_says_how_much_comes_again(balances: list[tuple[int, int | None]], words: str) -> None:
    rows = [
        {"granted": D(granted), "refreshes_at": None if days is None else NOON + timedelta(days=days)}
        for granted, days in balances
    ]
    parts = rendering.templates.get_template("parts.html").make_module({"at": NOON, "root": ""})
    said = re.sub(r"<[^>]*>", "", parts.refreshes(rows))  # type: ignore[attr-defined]
    assert said.strip().replace("\N{NO-BREAK SPACE}", " ") == words


def test_bars_add_up_and_long_spans_are_months() -> None:
    """Nothing is lost where series share a colour, or days a bar; a correction draws nothing below the axis."""
    series = [Series(name=f"app {n}", quantities=[D(n)] * 93 + [D(-1)]) for n in range(1, 9)]
    drawn = bars.panel("x", "minute", date(2026, 1, 1), series)
    assert drawn.by_month and [bar.label for bar in drawn.bars] == ["Jan 2026", "Feb 2026", "Mar 2026", "Apr 2026"]
    assert drawn.total == sum(sum(one.quantities) for one in series)
    assert [name for name, _ in drawn.series] == ["app 8", "app 7", "app 6", "app 5", "app 4", "others"]
    daily_ones = bars.panel("x", "minute", date(2026, 1, 1), [Series(name="a", quantities=[D(3), D(-2), D(0)])])
    assert [len(bar.blocks) for bar in daily_ones.bars] == [1, 0, 0]
    assert not bars.panel("x", "minute", date(2026, 1, 1), []).bars


def test_days_that_can_be_asked_for() -> None:
    assert daily.interval("30", NOON) == (date(2026, 7, 13), date(2026, 8, 12))
    assert daily.interval("2026-02", NOON) == (date(2026, 2, 1), date(2026, 3, 1))
    assert daily.interval("all", NOON)[0] == date(2024, 8, 11)
    assert len(daily.periods(NOON)) == 3 + 1 + 24


def test_pages_of_the_past_say_so(monkeypatch: pytest.MonkeyPatch, books: Books, client_of: Clients) -> None:
    today = text_of(read(client_of, OPERATOR, "/teams"))
    assert "Data of the past" not in today and "Figures just now , with" in today
    monkeypatch.setenv("BILLING_PAGES_AT", "2026-08-01T00:00:00Z")
    assert Settings.read().pages_at == datetime(2026, 8, 1, tzinfo=UTC)
    past = text_of(read(client_of, OPERATOR, "/teams"))
    assert "Data of the past: all is shown as of 11 Aug 2026, 12:00 UTC , not of today." in past
    assert "Figures as of 11 Aug 2026, 12:00 UTC , with" in past and "BILLING_PAGES_AT" not in past
    assert all("just now" not in read(client_of, OPERATOR, path) for path in ("/operations", "/teams"))
    monkeypatch.setenv("BILLING_PAGES_AT", "yesterday")
    with pytest.raises(UsageError, match="BILLING_PAGES_AT"):
        Settings.read(Path("/nowhere"))


def test_an_empty_home_says_how_to_fill_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BILLING_DATABASE_URL", raising=False)
    monkeypatch.setenv("BILLING_HOME", str(tmp_path / "home"))
    with looking(OPERATOR) as client:
        assert client.get("/teams").status_code == 503, "there is no home"
        home = Home.at(tmp_path / "home", None)
        home.create()
        home.close()
        assert "make demo" in text_of(client.get("/teams").text)
        assert all(client.get(path).status_code == 200 for path in ("/finance", "/operations"))
