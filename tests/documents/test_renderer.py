"""From invoices to pages: the same bytes every time, nothing fetched, nothing from the host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from html import escape
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from billing.core.errors import BillingError
from billing.documents import bundle
from billing.documents.bundle import bundle_sha256, fonts_of
from billing.documents.engine import DEBIAN_PACKAGES, Engine
from billing.documents.errors import FetchRefused, MissingGlyphs, TemplateBroken
from billing.documents.renderer import Renderer
from billing.documents.sample import sample_invoice, sample_statement

from .invoices import OUT_OF_SCOPE, REVERSE, TEMPLATES, invoice, line

ROOT = Path(__file__).parents[2]
KINDS = {
    "english": lambda: invoice(3),
    "french reverse charge": lambda: invoice(2, customer={"locale": "fr_FR"}, tax_treatment=REVERSE),
    "yen": lambda: invoice(1, currency="JPY", tax_treatment=OUT_OF_SCOPE, payment_method=None),
    "dinar": lambda: invoice(1, currency="KWD"),
    "nothing to pay": lambda: invoice((line(1, unit_price=Decimal(0)),)),
    "two pages": lambda: invoice(40),
    "statement": lambda: invoice(3, statement=sample_statement()),
    "japanese": lambda: sample_invoice("ja-JP"),
    "credit note": lambda: sample_invoice("de-DE", credit_note=True),
    "awkward names": lambda: invoice(1, customer={"legal_name": "Customer 0 & Söhne <b>"}, team_name="x" * 300),
}
HASHES = """
import sys
from hashlib import sha256
from documents.invoices import TEMPLATES
from documents.test_renderer import KINDS
from billing.documents.renderer import Renderer
renderer = Renderer.open(TEMPLATES)
names = sorted(KINDS, reverse=sys.argv[1] == "backwards")
print(*sorted(name + " " + sha256(renderer.render(KINDS[name]())).hexdigest() for name in names), sep="\\n")
"""


def python(
    code: str, *arguments: str, path: tuple[Path, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a process of its own."""
    places = [*path, ROOT / "plugins", ROOT / "tests"]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places))} | environment
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def engine(renderer: Renderer) -> Engine:
    return Engine(renderer.stylesheet(), fonts_of(renderer.bundle_files()))


def test_rule_7_1_the_same_bytes_in_every_process_zone_and_order() -> None:
    runs = [
        python(HASHES, "forwards", PYTHONHASHSEED="1", TZ="Pacific/Kiritimati", LC_ALL="C"),
        python(HASHES, "backwards", PYTHONHASHSEED="4242", TZ="America/Havana", LANG="fr_FR.UTF-8"),
    ]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr + runs[1].stderr
    assert runs[0].stdout == runs[1].stdout
    assert len(set(re.findall("[0-9a-f]{64}", runs[0].stdout))) == len(KINDS)


def test_rule_7_1_a_warm_renderer_and_a_fresh_one_agree(renderer: Renderer) -> None:
    first = renderer.render(KINDS["english"]())
    renderer.render(KINDS["two pages"]())
    assert renderer.render(KINDS["english"]()) == first == Renderer.open(TEMPLATES).render(KINDS["english"]())


def test_rule_7_1_an_archived_bundle_gives_the_same_bytes(renderer: Renderer) -> None:
    archived = Renderer.from_bundle(renderer.bundle_files())
    assert archived.render(KINDS["english"]()) == renderer.render(KINDS["english"]())
    assert archived.recorded_versions() == renderer.recorded_versions()


def test_rule_7_1_restyling_changes_no_old_document(tmp_path: Path) -> None:
    templates = tmp_path / "invoices"
    shutil.copytree(TEMPLATES, templates)
    before = Renderer.open(templates)
    archived, old = before.bundle_files(), before.render(KINDS["statement"]())
    theme = templates / "themes" / "default" / "theme.toml"
    theme.write_text(theme.read_text().replace("#17404d", "#aa0000"))
    (templates / "statement.html.j2").unlink()
    (templates / "locales" / "fr" / "messages.po").unlink()
    assert Renderer.from_bundle(archived).render(KINDS["statement"]()) == old
    assert Renderer.open(templates).recorded_versions()["bundle"] != before.recorded_versions()["bundle"]


def test_the_hash_can_be_made_by_hand(renderer: Renderer) -> None:
    """As bundle.py says: with what every Linux has, and only the chosen theme's files."""
    [command] = re.findall(r"^ {4}(find .*?sha256sum)\n\"", Path(bundle.__file__).read_text(), re.DOTALL | re.MULTILINE)
    run = subprocess.run(["bash", "-c", command], cwd=TEMPLATES, capture_output=True, text=True, check=True)
    assert run.stdout.split()[0] == renderer.recorded_versions()["bundle"]


def test_the_xml_is_attached_and_read_back(renderer: Renderer) -> None:
    xml = b"<invoice>1</invoice>"
    pdf = renderer.render(invoice(1), xml)
    reader = PdfReader(BytesIO(pdf))
    assert {name: content[0] for name, content in reader.attachments.items()} == {"factur-x.xml": xml}
    assert renderer.render(invoice(1), xml) == pdf != renderer.render(invoice(1))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_invoice_becomes_a_pdf(renderer: Renderer, kind: str) -> None:
    assert renderer.render(KINDS[kind]()).startswith(b"%PDF-1.7")


@pytest.mark.parametrize(("lines", "pages"), [(1, 1), (10, 1), (40, 2), (1000, 30)])
def test_from_one_line_to_very_many(renderer: Renderer, lines: int, pages: int) -> None:
    painted = engine(renderer).paint(renderer.html(invoice(lines)))
    assert (painted.pages, painted.missing, painted.refused, painted.complaints) == (pages, frozenset(), (), ())


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext is in poppler-utils")
def test_every_page_says_its_number_and_repeats_the_heads(renderer: Renderer, tmp_path: Path) -> None:
    (tmp_path / "invoice.pdf").write_bytes(renderer.render(invoice(70, customer={"locale": "fr"})))
    command = ["pdftotext", "-layout", str(tmp_path / "invoice.pdf"), "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pages = text.rstrip("\f\n").split("\f")
    for number, page in enumerate(pages, start=1):
        assert f"Page {number} sur {len(pages)}" in page
        assert "INV-2025-000001" in page and "Unités facturées" in page
    assert "Total HT" in pages[-1] and "Total HT" not in pages[0]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_page_can_be_heard(renderer: Renderer, kind: str) -> None:
    """PDF/UA: headings skip no level, every table has a head for each cell, every picture has a text."""
    page = renderer.html(KINDS[kind]())
    levels = [int(level) for level in re.findall(r"<h(\d)", page)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels))
    for table in re.findall(r"<table.*?</table>", page, re.DOTALL):
        widths = [len(re.findall("<t[hd]", row)) for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL)]
        assert len(set(widths)) == 1
        assert table.count("<th ") == table.count('scope="col"')
    assert all(re.search('alt="[^"]+"', image) for image in re.findall("<img[^>]*>", page))
    assert all(re.search("<title>[^<]+</title>", chart) for chart in re.findall(r"<svg.*?</svg>", page, re.DOTALL))


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
@settings(max_examples=50)
def test_names_are_text_whatever_they_hold(renderer: Renderer, name: str) -> None:
    page = renderer.html(invoice((line(1, api_name=name),), customer={"legal_name": name}, team_name=name))
    assert page.count(escape(name.strip()).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")) >= 3


def test_markup_in_names_stays_text_and_fetches_nothing(renderer: Renderer) -> None:
    name = '<img src="http://127.0.0.1:9/x.png"><link rel="attachment" href="file:///etc/passwd">{{ 7 * 7 }}'
    hostile = invoice((line(1, api_name=name),), customer={"legal_name": name}, team_name=name)
    assert '<img src="http' not in renderer.html(hostile) and "{{ 7 * 7 }}" in renderer.html(hostile)
    assert renderer.render(hostile).startswith(b"%PDF")


@pytest.mark.parametrize(
    "reference",
    [
        '<img src="http://127.0.0.1:9/x.png">',
        '<img src="https://127.0.0.1:9/x.png">',
        '<img src="file:///etc/hostname">',
        '<img src="logo.png">',
        '<link rel="stylesheet" href="file:///etc/hostname">',
        '<link rel="attachment" href="file:///etc/hostname">',
        '<p style="background: url(ftp://127.0.0.1/x)">',
        '<style>@import "http://127.0.0.1:9/x.css";</style>',
        '<style>@font-face { font-family: x; src: url("file:///x.ttf") }</style><p style="font-family: x">x',
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///x.png"/></svg>',
    ],
)
def test_a_template_that_refers_to_anything_else_is_refused(renderer: Renderer, reference: str) -> None:
    files = renderer.bundle_files()
    files["base.html.j2"] = files["base.html.j2"].replace(b"</body>", reference.encode() + b"</body>")
    with pytest.raises(FetchRefused, match="INV-2025-000001: the document may fetch nothing, but refers to"):
        Renderer.from_bundle(files).render(invoice(1))


def test_a_stylesheet_that_cannot_be_used_is_refused_at_once(renderer: Renderer) -> None:
    for rule, reason in ((b'@import "x.css";', "x.css"), (b"p { colour: red }", "colour")):
        files = renderer.bundle_files()
        files["invoice.css.j2"] = rule + files["invoice.css.j2"]
        with pytest.raises(TemplateBroken, match=reason):
            Renderer.from_bundle(files)


def test_a_broken_template_is_named(renderer: Renderer) -> None:
    for source in (b"{% if %}", b"{{ view.no_such_thing }}"):
        with pytest.raises(TemplateBroken, match=r"invoice\.html\.j2"):
            Renderer.from_bundle(renderer.bundle_files() | {"invoice.html.j2": source}).render(invoice(1))


def test_a_broken_logo_fails_the_document(renderer: Renderer) -> None:
    with pytest.raises(BillingError, match="INV-2025-000001: Failed to load image"):
        Renderer.from_bundle(renderer.bundle_files() | {"themes/default/logo.svg": b"no picture"}).render(invoice(1))


def test_a_missing_glyph_fails_that_document_and_no_other(renderer: Renderer) -> None:
    georgian = invoice(1, number="INV-2025-000002", customer={"legal_name": "თბ KK"})
    with pytest.raises(MissingGlyphs) as failure:
        renderer.render(georgian)
    assert str(failure.value).startswith("INV-2025-000002: no font has 'ბ' (U+10D1), 'თ' (U+10D7) in 'თბ KK'")
    assert renderer.render(invoice(2, number="INV-2025-000003")).startswith(b"%PDF-1.7")


def test_a_font_put_into_the_folder_is_used_for_what_the_others_lack(renderer: Renderer) -> None:
    with_font = Renderer.from_bundle(renderer.bundle_files() | {"fonts/tbilisi.ttf": _font_of(" თბ")})
    georgian = invoice(1, customer={"legal_name": "თბ KK"})
    assert b"%PDF" in with_font.render(georgian)
    assert with_font.recorded_versions()["bundle"] != renderer.recorded_versions()["bundle"]


def test_the_fonts_of_the_host_are_not_seen(tmp_path: Path) -> None:
    (tmp_path / "host.ttf").write_bytes(_font_of(" თბ"))
    conf = tmp_path / "host.conf"
    conf.write_text(f"<fontconfig><dir>{tmp_path}</dir><cachedir>{tmp_path}/cache</cachedir></fontconfig>")
    code = """
import os, sys
if sys.argv[1] == "loaded before": import weasyprint
from documents.invoices import TEMPLATES, invoice
from billing.documents.renderer import Renderer
renderer = Renderer.open(TEMPLATES)
print(os.environ["FONTCONFIG_FILE"])
try:
    renderer.render(invoice(1, customer={"legal_name": "თბ"}))
except Exception as problem:
    print(type(problem).__name__)
"""
    for before in ("loaded before", "not loaded"):
        run = python(code, before, FONTCONFIG_FILE=str(conf))
        assert run.stdout.split() == [str(conf), "MissingGlyphs"], run.stderr


def test_the_dates_in_the_pdf_are_those_of_the_issue(renderer: Renderer) -> None:
    issued = replace(KINDS["english"](), issued_at=datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC))
    dates = re.findall(rb"/(CreationDate|ModDate) \((D:\d+Z)", _unpacked(renderer.render(issued)))
    assert sorted(dates) == [(b"CreationDate", b"D:20310203040506Z"), (b"ModDate", b"D:20310203040506Z")]


def test_title_language_and_author_are_in_the_pdf(renderer: Renderer) -> None:
    pdf = _unpacked(renderer.render(KINDS["french reverse charge"]()))
    assert b"/Lang (fr)" in pdf and b"(Facture INV-2025-000001)" in pdf and b"(Example Platform SAS)" in pdf
    fonts = set(re.findall(rb"/FontFamily \(([^)]+)\)", pdf))
    assert fonts == {b"Source Sans 3"}


def test_recorded_versions_name_all_that_decides_the_bytes(renderer: Renderer) -> None:
    versions = renderer.recorded_versions()
    assert versions["weasyprint"] == "70.0"
    named = {"babel", "cldr", "fontconfig", "harfbuzz", "jinja2", "pango", "pydyf", "python", "tzdata", "zlib"}
    assert named <= set(versions)
    assert all(
        re.fullmatch(r"\d+(\.\d+)*\S*", text) for name, text in versions.items() if name not in ("bundle", "code")
    )
    assert versions["bundle"] == bundle_sha256(renderer.bundle_files())


def test_a_japanese_buyer_gets_a_document(renderer: Renderer) -> None:
    assert renderer.render(
        invoice(1, customer={"legal_name": "\u6771\u4eac\u89e3\u6790\u682a\u5f0f\u4f1a\u793e"})
    ).startswith(b"%PDF")


def test_the_bundle_hash_covers_paths_and_contents(renderer: Renderer) -> None:
    files = renderer.bundle_files()
    assert list(files) == sorted(files) and {"invoice.css.j2", "invoice.html.j2", "themes/default/logo.svg"} <= set(
        files
    )
    listing = "".join(f"{sha256(content).hexdigest()}  {path}\n" for path, content in files.items())
    assert bundle_sha256(files) == sha256(listing.encode()).hexdigest()
    assert bundle_sha256(dict(reversed(files.items()))) == bundle_sha256(files)
    assert bundle_sha256(files | {"invoice.css.j2": b""}) != bundle_sha256(files)


def test_a_folder_without_the_bundle_is_refused(tmp_path: Path) -> None:
    names = r"no invoice\.html\.j2, run_summary\.html\.j2, invoice\.css\.j2, themes/default/theme\.toml, fonts/\*\.ttf"
    with pytest.raises(TemplateBroken, match=names):
        Renderer.open(tmp_path)


def test_importing_the_renderer_loads_no_weasyprint() -> None:
    run = python("import sys, billing.documents.renderer; print('weasyprint' in sys.modules)")
    assert run.stdout.strip() == "False", run.stderr


@pytest.mark.parametrize("broken", ["raise OSError('cannot load library libpango-1.0-0')", "harfbuzz_subset = None"])
def test_missing_libraries_name_their_packages(tmp_path: Path, broken: str) -> None:
    text = tmp_path / "weasyprint" / "text"
    text.mkdir(parents=True)
    for file in ("__init__.py", "text/__init__.py", "text/fonts.py"):
        (tmp_path / "weasyprint" / file).touch()
    (text / "ffi.py").write_text(broken)
    code = """
from documents.invoices import TEMPLATES
from billing.documents.errors import RendererUnavailable
from billing.documents.renderer import Renderer
try: Renderer.open(TEMPLATES)
except RendererUnavailable as error: print(error)
"""
    run = python(code, path=(tmp_path,))
    assert DEBIAN_PACKAGES in run.stdout, run.stderr


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path) -> None:
    code = """
from documents.invoices import TEMPLATES, invoice
from billing.documents.renderer import Renderer
Renderer.open(TEMPLATES).render(invoice(1))
"""
    run = python(code, TMPDIR=str(tmp_path))
    assert (run.returncode, run.stderr, list(tmp_path.iterdir())) == (0, "", [])


def _unpacked(pdf: bytes) -> bytes:
    """The objects of a PDF as they are before compression."""
    streams = re.findall(rb"stream\n(.*?)\nendstream", pdf, re.DOTALL)
    return pdf + b"".join(zlib.decompress(stream) for stream in streams if stream.startswith(b"x"))


def _font_of(characters: str) -> bytes:
    """A font that has these characters, as boxes."""
    pen = TTGlyphPen(None)
    for point in ((0, 0), (0, 700), (700, 700), (700, 0)):
        (pen.moveTo if point == (0, 0) else pen.lineTo)(point)
    pen.closePath()
    box = pen.glyph()
    names = [".notdef", *(f"u{ord(character):04X}" for character in characters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(character): f"u{ord(character):04X}" for character in characters})
    builder.setupGlyf(dict.fromkeys(names, box))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Boxes", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    out = BytesIO()
    builder.save(out)
    return out.getvalue()
