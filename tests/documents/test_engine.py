"""What the engine promises of every document, whatever the template: its bytes, its complaints, its dates."""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64encode
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from billing.documents.bundle import FONT_SUFFIXES
from billing.documents.engine import Attached, Engine, Painted

from .invoices import TEMPLATES

ROOT = Path(__file__).parents[2]
ISSUED_AT = datetime(2025, 8, 15, 6, 0, 1, 250_000, tzinfo=UTC)
STYLESHEET = """
@page { size: A4; margin: 20mm; @bottom-left { content: element(footer); width: 100% } }
html { font: 9pt "Source Sans 3" }
footer { position: running(footer) }
.page::after { content: counter(page) }
table { width: 100%; table-layout: fixed; border-collapse: collapse }
td { border-bottom: .5pt solid #ccc }
"""
XML = Attached(name="factur-x.xml", content="<invoice>é</invoice>".encode(), description="EN 16931")
HASHES = """
import sys
from hashlib import sha256
from documents.test_engine import ISSUED_AT, PAGES, XML, new_engine
engine = new_engine()
names = sorted(PAGES, reverse=sys.argv[1] == "backwards")
painted = {name: engine.paint(PAGES[name], issued_at=ISSUED_AT, attachments=[XML]) for name in names}
print(*sorted(name + " " + sha256(one.pdf).hexdigest() for name, one in painted.items()), sep="\\n")
"""


def page(body: str, *, lang: str = "en", title: str = "Invoice INV-1") -> str:
    """A page with a running footer and headings, as a document has them."""
    return (
        f'<!doctype html><html lang="{lang}"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="author" content="Example &amp; Sons"></head>'
        f'<body><footer><p>Page <i class="page"></i></p></footer><h1>Invoice</h1>{body}</body></html>'
    )


def table(lines: int) -> str:
    """A table with a head and a column of row heads; 40 lines and more go over pages."""
    rows = "".join(f'<tr><th scope="row">API {line}</th><td>{line * 7}</td></tr>' for line in range(lines))
    return f"<h2>Lines</h2><table><thead><tr><th>API</th><th>Units</th></tr></thead><tbody>{rows}</tbody></table>"


def chart(height: int) -> str:
    """A bar as an SVG image."""
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="90" height="90"><path d="M9 90V{height}H30V90z"/></svg>'
    return f'<p><img alt="Usage by day" src="data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"></p>'


PAGES = {
    "short": page("<p>one line</p>"),
    "long": page(table(120)),
    "chart": page(chart(40) + table(3)),
    "french": page("<p>1\u202f234,50 €</p>", lang="fr", title="Facture « é »"),
    "untagged": page("<p>直角漢骨 شركة</p>"),
}


def new_engine(**fonts: bytes) -> Engine:
    """An engine with the fonts of the templates, and ``fonts`` beside."""
    paths = sorted(path for path in TEMPLATES.rglob("*") if path.suffix in FONT_SUFFIXES)
    return Engine(STYLESHEET, {path.name: path.read_bytes() for path in paths} | fonts)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return new_engine()


def issue(engine: Engine, html: str, *attachments: Attached, at: datetime = ISSUED_AT) -> Painted:
    return engine.paint(html, issued_at=at, attachments=attachments)


def hashes(order: str, **environment: str) -> str:
    """What a process of its own makes of all pages."""
    path = os.pathsep.join(map(str, (ROOT / "plugins", ROOT / "tests")))
    command = [sys.executable, "-c", HASHES, order]
    run = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path} | environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_rule_7_1_issued_documents_are_the_same_bytes_in_every_process_zone_and_order() -> None:
    first = hashes("forwards", PYTHONHASHSEED="1", TZ="Pacific/Kiritimati", LC_ALL="C")
    assert first == hashes(
        "backwards", PYTHONHASHSEED="4242", TZ="America/Havana", LANG="fr_FR.UTF-8", LANGUAGE="zh_CN:ur"
    )
    assert len(set(first.split()[1::2])) == len(PAGES)


def test_rule_7_1_what_was_painted_before_does_not_matter(engine: Engine) -> None:
    first = issue(engine, PAGES["chart"], XML)
    for height in range(12):
        issue(engine, page(chart(height)))
    engine.paint(PAGES["long"])
    assert issue(engine, PAGES["chart"], XML) == first


def test_the_instant_is_the_same_in_every_zone_and_nothing_else_is_a_date(engine: Engine) -> None:
    elsewhere = ISSUED_AT.astimezone(timezone(timedelta(hours=14)))
    assert issue(engine, PAGES["short"], XML, at=elsewhere) == issue(engine, PAGES["short"], XML)
    dated = PAGES["short"].replace("<title>", '<meta name="dcterms.created" content="1999-01-01T00:00:00Z"><title>')
    assert issue(engine, dated, XML) == issue(engine, PAGES["short"], XML)


def test_a_document_without_a_date_is_plain_and_has_no_files(engine: Engine) -> None:
    plain = engine.paint(PAGES["short"])
    assert plain.complaints == () and b"pdfaid" not in plain.pdf
    with pytest.raises(ValueError, match="give issued_at"):
        engine.paint(PAGES["short"], attachments=[XML])
    with pytest.raises(ValueError, match="has no time zone"):
        engine.paint(PAGES["short"], issued_at=ISSUED_AT.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("html", "complaint"),
    [
        (PAGES["short"].replace(' lang="en"', ""), 'Missing required "lang" attribute'),
        (page("<p>x</p>", title=""), "the page has no title"),
        (PAGES["chart"].replace("Usage by day", ""), "has no required alt description"),
    ],
)
def test_what_a_standard_needs_of_the_page_is_complained_of(engine: Engine, html: str, complaint: str) -> None:
    assert [complaint in said for said in issue(engine, html).complaints] == [True]
    assert engine.paint(html).complaints == ()


def test_an_image_that_cannot_be_had_is_complained_of_in_every_document(engine: Engine) -> None:
    broken = page('<p><img alt="x" src="data:image/svg+xml,nothing"></p>')
    remote = page('<p><img alt="x" src="http://127.0.0.1:9/x.png"></p>')
    for _ in range(3):
        assert len(engine.paint(broken).complaints) == 1
        assert engine.paint(remote).refused == ("http://127.0.0.1:9/x.png",)
    assert engine.paint(PAGES["chart"]).complaints == ()


def test_missing_glyphs_are_found_in_issued_documents(engine: Engine) -> None:
    painted = issue(engine, page("<p>თბ and more</p>"))
    assert painted.missing == frozenset("თბ")
    assert issue(engine, PAGES["french"]).missing == frozenset()
