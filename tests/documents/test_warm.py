"""What is kept between documents saves time and changes no byte."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from billing.core.model import Invoice
from billing.documents.bundle import fonts_of, read_bundle
from billing.documents.engine import Engine
from billing.documents.renderer import Renderer
from billing.documents.sample import sample_invoice
from billing.documents.warm import texts
from billing.documents.warm.styles import are_of_places

from .invoices import REVERSE, TEMPLATES, invoice

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])}

AT = datetime(2026, 8, 1, tzinfo=UTC)
KINDS: dict[str, Callable[[], Invoice]] = {
    "english": lambda: invoice(3),
    "french": lambda: invoice(2, customer={"locale": "fr_FR"}, tax_treatment=REVERSE),
    "two pages": lambda: invoice(40),
    "sample": lambda: sample_invoice("de"),
    "japanese": lambda: sample_invoice("ja"),
    "long": lambda: invoice(120),
    "arabic": lambda: invoice(2, customer={"legal_name": "شركة المثال ذ.م.م"}),
    "credit note": lambda: sample_invoice("es", credit_note=True),
}
PAGES = {
    "list": "<html lang=en><title>x</title><ol><li>one</li><li>two</li></ol>",
    "anchors": '<html lang=en><title>x</title><p id="a">a</p><p><a href="#a">to a</a></p>',
    "other anchors": '<html lang=en><title>x</title><p id="b">a</p><p><a href="#b">to b</a></p>',
    "own style": '<html lang=en><title>x</title><div style="color: red"><p>a</p></div><div style="color: blue">b</div>',
    "other style": '<html lang=en><title>x</title><div style="color: lime"><p>a</p></div><p style="width: 9mm">b</p>',
    "not XML": "<!doctype html><html lang=en><title>x</title><table><tr><td>a<td>b</table><p>c<p>d<br>e &nbsp; f",
    "XML": "<!DOCTYPE html><html lang='en'><head><title>x</title></head><body><p>a</p>\n<pre>b\nc</pre></body></html>",
    "no tbody": "<html lang='en'><head><title>x</title></head><body><table><tr><td>a</td></tr></table></body></html>",
    "underlined": '<html lang=en><title>x</title><p style="text-decoration: underline">a</p><u>b</u> <s>c</s><p>d</p>',
    "justified": f'<html lang=en><title>x</title><p style="text-align: justify">{"some words " * 40}</p>',
    "features": '<html lang=en><title>x</title><p style="font-variant: small-caps; letter-spacing: 2px">caps</p>',
    "cut": '<html lang=en><title>x</title><p style="width: 20mm; overflow: hidden; text-overflow: ellipsis; '
    'white-space: nowrap">a text that is cut</p><p style="width: 12mm; overflow-wrap: anywhere">averyverylongword</p>',
    "percent": "<html lang=en><title>x</title><style>.f { float: left } .m { padding-left: 50% }</style>"
    "<div class=f><p class=m>a</div><div class=f><p class=m>a longer text</div>",
    "collapsed": "<html lang=en><title>x</title><style>table { border-collapse: collapse } td { box-sizing: border-box;"
    "width: 20mm; border: 1mm solid } .k { border: 6mm solid }</style>"
    "<table><tr><td>a<td class=k>b<tr><td>c<td>d<tr><td>e<td>f</table>",
    "painted": "<html lang=en><title>x</title>"
    "<style>.b { background: red } .r { border: 1mm solid; border-radius: 2mm }"
    "</style><p class=b>a<p class=b>b<p class=r>c<p class=r>d<p>e",
    "right to left": '<html lang=en><title>x</title><p dir="rtl">a (b) c</p><p lang="ar">ab</p>',
    "own rules": "<html lang=en><title>x</title><style>p { color: red }</style><div><p>a</div>",
    "other rules": "<html lang=en><title>x</title><style>p { color: blue }</style><div><p>a</div>",
    "footnote": '<html lang=en><title>x</title><p>a<span style="float: footnote">b</span></p>',
}


def rendered(names: list[str]) -> dict[str, bytes]:
    """The kinds and pages of these names, by one renderer, in this order."""
    renderer = Renderer.open(TEMPLATES)
    return {
        name: renderer.render(KINDS[name]()) if name in KINDS else renderer._engine.paint(PAGES[name], issued_at=AT).pdf
        for name in names
    }


@pytest.fixture(scope="module")
def cold() -> dict[str, bytes]:
    """All of them by WeasyPrint as it is: in a process of its own, to which this version is unknown."""
    code = (
        "import pickle, sys; from billing.documents import warm; warm.WEASYPRINT = 'another'; "
        "from tests.documents.test_warm import KINDS, PAGES, rendered; "
        "found = rendered([*KINDS, *PAGES]); "
        "sys.stdout.buffer.write(pickle.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, cwd=ROOT, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr.decode()
    return pickle.loads(done.stdout)  # type: ignore[no-any-return]  # of the process above


@pytest.mark.parametrize("order", ["forwards", "backwards", "twice"])
def test_the_same_bytes_warm_and_cold_in_any_order(cold: dict[str, bytes], order: str) -> None:
    """Rule 7.1: what is kept between documents changes none."""
    names = [*KINDS, *PAGES]
    found = rendered({"forwards": names, "backwards": names[::-1], "twice": names + names}[order])
    assert [name for name in names if found[name] != cold[name]] == []


def test_other_stylesheets_keep_their_own_styles() -> None:
    """Rules that see more of an element than its place are matched anew with every document."""
    fonts = fonts_of(read_bundle(TEMPLATES))
    page = "<html lang='en'><head><title>x</title></head><body>{}</body></html>"
    bodies = [
        "<p>a</p><p>b</p><i>c</i>",
        "<p>a</p><i>c</i><p>b</p>",
        "<p/><p>b</p><i class='k'>c</i>",
        "<p>a</p><b>b</b><i>c</i>",
        "<p>a</p>",
    ]
    sheets = [
        "p:nth-child(2) { color: red }",
        "p:nth-child(3) { color: red }",
        "p ~ i { color: red }",
        "p + p + i { color: red }",
        "p:empty { border: 1mm solid }",
        "body:has(.k) { color: red }",
        "p:last-child { color: red }",
        "p:last-of-type { color: red }",
        "[class] { color: red }",
    ]
    assert [are_of_places(sheet) for sheet in sheets] == [True, False, False, True, False, False, True, False, False]
    for sheet in sheets:
        engine = Engine(sheet, fonts)
        first = [engine.paint(page.format(body)).pdf for body in bodies]
        assert [engine.paint(page.format(body)).pdf for body in bodies] == first
        assert [Engine(sheet, fonts).paint(page.format(body)).pdf for body in bodies] == first


def test_what_is_kept_does_not_grow_with_the_documents() -> None:
    renderer = Renderer.open(TEMPLATES)
    warm = renderer._engine._warm
    assert warm is not None
    sizes = []
    for _ in range(4):
        for make in KINDS.values():
            renderer.render(make())
        kept = warm.styles
        sizes.append((len(kept.styles), len(kept.places), len(kept.of_places)))
    assert sizes[1:] == sizes[:1] * 3


def test_the_layouts_of_a_document_that_was_not_drawn_are_not_counted_for_the_next() -> None:
    engine = Engine("", fonts_of(read_bundle(TEMPLATES)))
    page = "<html lang='en'><head><title>x</title></head><body><p>a</p></body></html>"
    before = engine.paint(page).pdf
    texts._document.waiting = texts._LAYOUTS_MAX
    assert engine.paint(page).pdf == before
    assert texts._document.waiting < texts._LAYOUTS_MAX


def test_texts_beyond_the_bound_are_laid_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine("", fonts_of(read_bundle(TEMPLATES)))
    page = f"<html lang='en'><head><title>x</title></head><body>{'<p>some text</p>' * 30}</body></html>"
    before = engine.paint(page).pdf
    monkeypatch.setattr(texts, "_LAYOUTS_MAX", 7)
    assert engine.paint(page).pdf == before
