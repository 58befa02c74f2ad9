"""Themes: what finance may change, and what it is told where that is wrong."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import pytest
from pypdf import PdfReader

from billing.documents.bundle import read_bundle
from billing.documents.errors import TemplateBroken
from billing.documents.renderer import Renderer
from billing.documents.sample import sample_invoice
from billing.documents.theme import COLOURS, PARTS, read_theme

from .invoices import TEMPLATES, invoice

TOML = "themes/default/theme.toml"
FILES = read_bundle(TEMPLATES)
THEMES = sorted(path.parent.name for path in TEMPLATES.glob("themes/*/theme.toml"))


def with_toml(old: str, new: str) -> dict[str, bytes]:
    text = FILES[TOML].decode()
    assert old in text
    return FILES | {TOML: text.replace(old, new).encode()}


@pytest.fixture(scope="module", params=[name for name in THEMES if name != "default"])
def other(request: pytest.FixtureRequest) -> Renderer:
    return Renderer.open(TEMPLATES, request.param)


def test_there_are_two_themes_to_begin_with() -> None:
    assert {"default", "ledger"} <= set(THEMES)


def test_only_the_chosen_theme_is_in_the_bundle() -> None:
    for name in THEMES:
        files = read_bundle(TEMPLATES, name)
        assert {path.split("/")[1] for path in files if path.startswith("themes/")} == {name}


def test_another_theme_looks_different_and_says_the_same(other: Renderer, renderer: Renderer) -> None:
    one = sample_invoice("en")
    assert other.render(one) != renderer.render(one)
    cells = [re.findall(r"<td>([^<]*)</td>", some.html(one)) for some in (other, renderer)]
    assert cells[0] == cells[1] and len(cells[0]) > 50


@pytest.mark.parametrize("locale", ["en-US", "fr-FR", "de-DE", "fi-FI", "es-ES", "ja-JP"])
@pytest.mark.parametrize("credit_note", [False, True])
def test_every_theme_shows_every_language(other: Renderer, renderer: Renderer, locale: str, credit_note: bool) -> None:
    one = sample_invoice(locale, credit_note=credit_note, with_card=False)
    for some in (other, renderer):
        assert len(PdfReader(BytesIO(some.render(one))).pages) == (1 if credit_note else 2)


@pytest.mark.parametrize("height", ["4", "40"])
def test_a_logo_of_any_height_leaves_room_for_the_page(height: str) -> None:
    renderer = Renderer.from_bundle(with_toml("height_mm = 11", f"height_mm = {height}"))
    assert len(PdfReader(BytesIO(renderer.render(sample_invoice("en")))).pages) == 2


def test_a_theme_that_is_not_there_is_named() -> None:
    with pytest.raises(TemplateBroken, match=r"no themes/nowhere/theme\.toml"):
        Renderer.open(TEMPLATES, "nowhere")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('ink = "#1b2430"', 'ink = "black"', r"theme\.toml: colours\.ink is 'black'; a colour is written \"#17404d\""),
        ('ink = "#1b2430"', 'ink = "#1b2430; } body { color: red"', r"colours\.ink is '#1b2430; "),
        ('muted = "#5b6673"', "", r"colours\.muted is missing"),
        ("[colours]", "[colours]\nsky = 1", r"colours\.sky is not known; there are ink, "),
        ("[logo]", "[log]", r"theme\.toml: log is not known; there are colours, logo, show, texts"),
        ("height_mm = 11", "height_mm = 300", r"logo\.height_mm is 300; it is a number from 4 to 40"),
        ("team = true", 'team = "yes"', r"show\.team is 'yes'; it is true or false"),
        ("team = true", "teams = true", r"show\.teams is not known"),
        ("[texts.en]", "[texts.English]", r"texts\.English is not a language"),
        ('legal = ""', "legal = 1", r"texts\.en\.legal is 1; it is a text"),
        ('legal = ""', 'ending = ""', r"texts\.en\.ending is not known; there are terms, legal, footer"),
        ("[texts.en]", "[texts]\nen = 1\n[other]", r"theme\.toml"),
        ("[colours]", "[colours", r"theme\.toml is not TOML"),
    ],
)
def test_a_wrong_key_is_named_with_its_file(old: str, new: str, message: str) -> None:
    with pytest.raises(TemplateBroken, match=message):
        read_theme(with_toml(old, new), "default")


def test_a_theme_without_a_logo_is_refused() -> None:
    files = {path: content for path, content in FILES.items() if not path.endswith("logo.svg")}
    with pytest.raises(TemplateBroken, match=r"themes/default: no logo\.svg"):
        Renderer.from_bundle(files)


def test_a_bundle_with_two_themes_is_refused() -> None:
    with pytest.raises(TemplateBroken, match=r"no themes/NAME/theme\.toml"):
        Renderer.from_bundle(FILES | read_bundle(TEMPLATES, "ledger"))


def test_colours_reach_the_stylesheet_and_the_chart() -> None:
    files = with_toml('accent = "#17404d"', 'accent = "#123456"')
    files[TOML] = files[TOML].replace(b'chart = "#3d8196"', b'chart = "#654321"')
    renderer = Renderer.from_bundle(files)
    assert "#123456" in renderer.stylesheet() and "#17404d" not in renderer.stylesheet()
    assert 'stroke="#654321"' in renderer.html(sample_invoice("en"))


def test_words_are_in_the_customers_language_and_english_where_there_are_none() -> None:
    files = with_toml(
        '[texts.en]\nterms = ""', '[texts.fr]\nterms = "À 30 jours <net>."\n[texts.en]\nterms = "30 days."'
    )
    files[TOML] = files[TOML].replace(b'footer = ""', b'footer = "Registered office: Paris"')
    renderer = Renderer.from_bundle(files)
    pages = {locale: renderer.html(invoice(1, customer={"locale": locale})) for locale in ("fr", "de", "en")}
    assert "À 30 jours &lt;net&gt;." in pages["fr"] and "30 days." not in pages["fr"]
    assert all("30 days." in pages[locale] for locale in ("de", "en"))
    assert all("Registered office: Paris</p></footer>" in page for page in pages.values())


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_not_wanted_is_not_shown(part: str, renderer: Renderer) -> None:
    marks = {
        "seller_name": 'class="name"',
        "team": "Team: ",
        "subscription": "Subscription: ",
        "legal_information": "RCS Paris",
        "statement": "Usage statement",
        "equation": "To check a row",
        "chart": "<svg",
        "balances": "Balances at the end",
    }
    one = sample_invoice("en")
    assert marks[part] in renderer.html(one)
    without = Renderer.from_bundle(with_toml(f"{part} = true", f"{part} = false"))
    assert marks[part] not in without.html(one)
    assert without.render(one).startswith(b"%PDF")


def test_the_manual_names_every_key() -> None:
    manual = (Path(TEMPLATES) / "README.md").read_text(encoding="utf-8")
    assert [
        name for name in (*COLOURS, *PARTS, "terms", "legal", "footer", "height_mm") if f"`{name}`" not in manual
    ] == []
