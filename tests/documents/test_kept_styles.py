"""Styles kept between documents save time and change no byte."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from billing.core.model import Invoice
from billing.documents.renderer import Renderer
from billing.documents.sample import sample_invoice

from .invoices import REVERSE, TEMPLATES, invoice

KINDS: dict[str, Callable[[], Invoice]] = {
    "english": lambda: invoice(3),
    "french": lambda: invoice(2, customer={"locale": "fr_FR"}, tax_treatment=REVERSE),
    "two pages": lambda: invoice(40),
    "sample": lambda: sample_invoice("de"),
    "japanese": lambda: sample_invoice("ja"),
    "credit note": lambda: sample_invoice("es", credit_note=True),
}
PAGES = {
    "list": "<html lang=en><title>x</title><ol><li>one</li><li>two</li></ol>",
    "anchors": '<html lang=en><title>x</title><p id="a">a</p><p><a href="#a">to a</a></p>',
    "other anchors": '<html lang=en><title>x</title><p id="b">a</p><p><a href="#b">to b</a></p>',
    "own style": '<html lang=en><title>x</title><div style="color: red"><p>a</p></div><div style="color: blue">b</div>',
    "other style": '<html lang=en><title>x</title><div style="color: lime"><p>a</p></div><p style="width: 9mm">b</p>',
    "footnote": '<html lang=en><title>x</title><p>a<span style="float: footnote">b</span></p>',
}


@pytest.fixture(scope="module")
def plain() -> Renderer:
    """A renderer that computes every style of every document."""
    renderer = Renderer.open(TEMPLATES)
    renderer._engine._styles = None
    return renderer


def test_the_same_bytes_with_kept_styles_in_any_order(plain: Renderer) -> None:
    keeping = Renderer.open(TEMPLATES)
    expected = {name: plain.render(make()) for name, make in KINDS.items()}
    for names in (list(KINDS), list(reversed(KINDS)), list(KINDS)):
        for name in names:
            assert keeping.render(KINDS[name]()) == expected[name], name


def test_pages_of_any_other_template_too(plain: Renderer) -> None:
    keeping = Renderer.open(TEMPLATES)
    expected = {name: plain._engine.paint(page).pdf for name, page in PAGES.items()}
    for names in (list(PAGES), list(reversed(PAGES))):
        for name in names:
            assert keeping._engine.paint(PAGES[name]).pdf == expected[name], name


def test_what_is_kept_does_not_grow_with_the_documents() -> None:
    keeping = Renderer.open(TEMPLATES)
    styles = keeping._engine._styles
    assert styles is not None
    sizes = []
    for number in range(4):
        for make in KINDS.values():
            keeping.render(make())
        sizes.append(len(styles.styles))
        assert number == 0 or sizes[-1] == sizes[0]
