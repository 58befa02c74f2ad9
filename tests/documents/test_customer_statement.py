"""The customer's statement on paper and as a page: the same bytes, nothing fetched, every language, hostile names."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from pypdf import PdfReader

from billing.core.customer_statement import ApiUsage, AppUsage, CustomerStatement, IssuedDocument, PeriodUnits
from billing.core.model import ApiBilling, Balance, InvoiceType, Kind, ParkedReason, StatementLine
from billing.core.months import Month
from billing.documents.charts.colours import NAMES, coloured, dark, fixed, stand_in, variables
from billing.documents.charts.usage import Bars, Panel, named
from billing.documents.customer_statement_view import APPS_MAX, customer_statement_view, usage_chart
from billing.documents.renderer import Renderer
from billing.documents.texts import Catalogues
from billing.documents.theme import read_theme

from .invoices import TEMPLATES, invoice
from .test_pdf_standards import VERAPDF

HOSTILE = '"/><script>alert(1)</script></svg>&amp;\N{RIGHT-TO-LEFT OVERRIDE}=cmd|{{ 7*7 }}'
LANGUAGES = ("en-GB", "de-DE", "fr-FR", "fi-FI", "es-ES", "ja-JP")
THEME = {"ink": "#111111", "muted": "#222222", "rule": "#333333", "chart": "#444444"}
DAYS = 31


def app(app_id: str, *quantities: str, name: str = "") -> AppUsage:
    """Usage by an app on the first days of the month."""
    days = [*map(Decimal, quantities), *[Decimal(0)] * (DAYS - len(quantities))]
    return AppUsage(app_id=app_id, app_name=name, quantities=tuple(days))


def api(api_id: str, *apps: AppUsage, unit: str = "processing_minute", name: str = "") -> ApiUsage:
    return ApiUsage(api=api_id, api_name=name or api_id.title(), usage_unit=unit, apps=apps)


def statement(
    locale: str = "en-GB", usage: Sequence[ApiUsage] | None = None, team_name: str = "Team One"
) -> CustomerStatement:
    """A month with something of everything."""
    one = invoice(1)
    line = StatementLine(
        api="render",
        api_name="Rendering",
        usage_unit="processing_minute",
        billing=ApiBilling.RATED,
        unit_sizes=(Decimal(20),),
        opening=Decimal(5),
        usage=Decimal("1234.5"),
        late_usage=Decimal(3),
        units=((Kind.FREE.value, 10), (Kind.PAYG.value, 51)),
        invoiced_units=51,
        closing=Decimal("19.5"),
    )
    free = Balance(
        source=Kind.FREE,
        subscription_id="s1",
        grant_id="",
        api="render",
        api_name="Rendering",
        granted=Decimal(150),
        available=Decimal(140),
        ends_at=None,
        refreshes_at=datetime(2026, 8, 12, tzinfo=UTC),
    )
    issued = IssuedDocument(
        number="INV-2026-000001",
        type=InvoiceType.INVOICE,
        issue_date=date(2026, 7, 15),
        cycle=one.cycle,
        currency="EUR",
        net=Decimal("10.00"),
        tax=Decimal("2.00"),
        total=Decimal("12.00"),
    )
    credit = replace(issued, number="CN-1", type=InvoiceType.CREDIT_NOTE, total=Decimal("-12.00"))
    return CustomerStatement(
        month=Month(2026, 7),
        until=datetime(2026, 8, 1, tzinfo=UTC),
        seller=one.seller,
        customer=replace(one.customer, locale=locale),
        team_id="t1",
        team_name=team_name,
        time_zone="Europe/Berlin",
        complete_through=datetime(2026, 8, 2, tzinfo=UTC),
        balances=(free,),
        usage=tuple(usage) if usage is not None else (api("render", app("a1", "1234.5", name="Farm"), app("", "2")),),
        periods=(
            PeriodUnits(cycle=one.cycle, is_closed=True, lines=(line,)),
            PeriodUnits(cycle=one.cycle, is_closed=False, lines=(), trouble=ParkedReason.NO_UNIT_SIZE),
        ),
        issued=(issued, credit),
    )


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer.open(TEMPLATES)


class Elements(HTMLParser):
    """What a page consists of: tags, what could refer elsewhere, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
                self.references.append(value or "")
            if name.startswith("on"):
                self.references.append(f"{name}={value}")
            if name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def pdf_text(pdf: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(BytesIO(pdf)).pages)


def test_paper_and_page_tell_the_same(renderer: Renderer) -> None:
    """140 of 150; per day, app and source; what is open and cannot be charged; what was issued and given back."""
    one = statement()
    page, paper = (
        Elements(renderer.customer_statement_html(one)).text,
        pdf_text(renderer.render_customer_statement(one)),
    )
    for text in (
        "140 of 150",
        "refreshes 12 August 2026",
        "Usage of this month is complete.",
        "1,236.5",
        "Farm (a1)",
        "without an app",
        "Wed 1 Jul",
        "Not closed yet: these are its figures up to",
        "It cannot be charged yet: no unit size.",
        "INV-2026-000001",
        "Credit note CN-1",
        "19.5",
    ):
        flat = re.sub(r"\s+", " ", paper).replace("\u2011", "-")  # which breaks no number at its hyphens
        assert text in re.sub(r"\s+", " ", page), text
        assert text in flat, text
    assert "140 of 150 available" in page


def test_a_page_needs_no_other_file_and_runs_nothing(renderer: Renderer) -> None:
    page = renderer.customer_statement_html(statement())
    found = Elements(page)
    assert found.references and all(reference.startswith("data:") for reference in found.references)
    assert not {"script", "link", "iframe", "object", "form"} & set(found.tags)
    assert "url(" not in page and "@import" not in page
    assert len(found.ids) == len(set(found.ids)), "two charts, and no id twice"
    assert found.tags.count("svg") == 2 and 'role="img"' in page


@pytest.mark.parametrize("place", ["team", "app", "api"])
def test_hostile_names_are_text(renderer: Renderer, place: str) -> None:
    names = {"team": "T", "app": "App", "api": "Api"} | {place: HOSTILE}
    one = statement(
        usage=[api("render", app("a1", "1", name=names["app"]), app("a2", "1"), name=names["api"])],
        team_name=names["team"],
    )
    found = Elements(renderer.customer_statement_html(one))
    assert not {"script", "svg"} & set(found.tags[found.tags.index("body") :]) - {"svg"}
    assert found.tags.count("svg") == 2
    assert "alert(1)" in found.text and "49" not in found.text
    assert not any(reference.startswith("on") for reference in found.references)
    assert "alert(1)" in pdf_text(renderer.render_customer_statement(one))


@pytest.mark.parametrize("locale", LANGUAGES)
def test_every_language_is_whole(renderer: Renderer, locale: str) -> None:
    """Nothing of the page stays English but names: every message of the views and templates has its translation."""
    catalogues = Catalogues(renderer.bundle_files())
    texts, theme = catalogues.texts(locale), read_theme(renderer.bundle_files(), "default")
    asked: set[str] = set()

    class Listening:
        """The same texts, remembering what was asked for."""

        language, locale, messages = texts.language, texts.locale, texts.messages

        def __call__(self, message: str, **values: str) -> str:
            asked.add(message)
            return texts(message, **values)

        def __getattr__(self, name: str) -> object:
            return getattr(type(texts), name).__get__(self)

    one = statement(locale)
    for told in (one, replace(one, until=datetime(2026, 7, 20, tzinfo=UTC)), replace(one, complete_through=None)):
        customer_statement_view(told, Listening(), theme)  # type: ignore[arg-type]
        usage_chart(told, Listening())  # type: ignore[arg-type]
    assert len(asked) > 40
    if texts.language != "en":
        assert sorted(asked - set(texts.messages)) == []
    assert f'<html lang="{texts.language}"' in renderer.customer_statement_html(one)


def test_figures_are_written_as_the_reader_writes_them(renderer: Renderer) -> None:
    """Axes too: 40.000 in German."""
    page = renderer.customer_statement_html(statement("de-DE", [api("render", app("a1", "40000.5"))]))
    assert "40.000,5" in page and ">40.000</text>" in page and "40,000" not in page


def test_colours_follow_the_reader_on_a_page_and_the_theme_on_paper(renderer: Renderer) -> None:
    page = renderer.customer_statement_html(statement())
    assert 'fill="var(--chart-series-1)"' in page and "prefers-color-scheme: dark" in page
    assert not [name for name in NAMES if stand_in(name) in page]
    for name in NAMES:
        assert len(re.findall(rf"--chart-{name}: ", page)) == 2, "light and dark"
    drawn = " ".join(stand_in(name) for name in NAMES)
    assert coloured(drawn, fixed(THEME)).split()[:3] == ["#111111", "#222222", "#333333"]
    assert coloured(drawn, variables()).split()[0] == "var(--chart-ink)"
    assert fixed(THEME).keys() == dark(THEME).keys() == set(NAMES)


def test_apps_with_the_largest_share_of_any_api_have_a_colour(renderer: Renderer) -> None:
    """A small API's largest app is seen as well as a large one's; all others are one."""
    large = Panel(title="large", bars=[Bars(name=f"l{n}", quantities=[1000 - n]) for n in range(9)])
    small = Panel(title="small", bars=[Bars(name="s", quantities=[0.001])])
    assert named([large, small]) == ["l0", "l1", "l2", "l3", "s"]
    many = api("render", *(app(f"a{n:03d}", str(n + 1)) for n in range(APPS_MAX + 3)))
    view = customer_statement_view(
        statement(usage=[many]), Catalogues({}).texts("en"), read_theme(renderer.bundle_files(), "default")
    )
    assert view.apps is not None and len(view.apps.rows) == APPS_MAX + 1
    assert view.apps.rows[-1][::2] == ("Other apps: 3", "6"), "what has no row of its own is added up"


def test_a_month_without_anything_says_so(renderer: Renderer) -> None:
    empty = replace(statement(usage=[]), balances=(), periods=(), issued=())
    page, paper = renderer.customer_statement_html(empty), pdf_text(renderer.render_customer_statement(empty))
    for text in ("No balance was valid then.", "Nothing was used.", "Nothing was issued."):
        assert text in page and text in paper
    assert "<svg" not in page


def test_many_apis_are_drawn_in_part_and_told_in_full(renderer: Renderer) -> None:
    one = statement(usage=[api(f"api{n}", app("a1", str(n + 1))) for n in range(8)])
    page = renderer.customer_statement_html(one)
    assert "The first 6 of 8 APIs are drawn." in page
    assert all(f"Api{n} (processing minute)" in page for n in range(8))


MADE = """
import sys
from hashlib import sha256
from documents.test_customer_statement import statement, TEMPLATES
from billing.documents.renderer import Renderer
renderer = Renderer.open(TEMPLATES)
locales = ["de-DE", "ja-JP"]
for locale in locales[::-1] if sys.argv[1] == "backwards" else locales:
    one = statement(locale)
    digest = sha256(renderer.render_customer_statement(one) + renderer.customer_statement_html(one).encode())
    print(locale, digest.hexdigest())
"""


def test_rule_7_1_the_same_bytes_in_any_process_and_order(renderer: Renderer) -> None:
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", MADE, "backwards"],
        capture_output=True,
        text=True,
        check=True,
        cwd=root / "tests",
        env={"PYTHONPATH": f"{root / 'plugins'}:{root / 'tests'}:{root}", "PATH": "/usr/bin", "PYTHONHASHSEED": "7"},
    )
    for line in run.stdout.splitlines():
        locale, digest = line.split()
        one = statement(locale)
        made = renderer.render_customer_statement(one) + renderer.customer_statement_html(one).encode()
        assert sha256(made).hexdigest() == digest, locale


@pytest.mark.skipif(not VERAPDF.is_file(), reason="veraPDF is not beside the repository")
def test_paper_is_pdf_a_3a_and_pdf_ua(renderer: Renderer, tmp_path: Path) -> None:
    for locale in ("en-GB", "ja-JP"):
        (tmp_path / f"{locale}.pdf").write_bytes(renderer.render_customer_statement(statement(locale)))
    for flavour in ("3a", "ua1"):
        command = [str(VERAPDF), flavour, *map(str, sorted(tmp_path.glob("*.pdf")))]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.stdout.count("PASS") == 2, run.stdout + run.stderr
