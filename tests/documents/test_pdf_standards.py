"""Issued documents are PDF/A-3a, PDF/UA-1 and, with their XML, Factur-X: read back from the file, and by veraPDF."""

from __future__ import annotations

import re
import subprocess
import zlib
from datetime import UTC, datetime
from hashlib import md5
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from billing.documents.engine import Attached, Engine
from billing.documents.xmp import xmp_packet

from .test_engine import PAGES, ROOT, XML, chart, engine, issue, new_engine, page, table

__all__ = ["engine"]
VERAPDF = ROOT.parent / "shared" / "tools" / "verapdf" / "verapdf"
CSV = Attached(name="usage.csv", content=b"day,units\r\n2025-08-01,7\r\n", relationship="Data")
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
FACTUR_X = "{urn:factur-x:pdfa:CrossIndustryDocument:invoice:1p0#}"
HEBREW = "שלום"


def objects_of(pdf: bytes) -> dict[int, bytes]:
    """The objects of a PDF by number, inflated; those inside object streams too."""
    found: dict[int, bytes] = {}
    for match in re.finditer(rb"^(\d+) 0 obj\n(.*?)\nendobj$", pdf, re.DOTALL | re.MULTILINE):
        number, (head, _, rest) = int(match[1]), match[2].partition(b"\nstream\n")
        content = rest.removesuffix(b"\nendstream")
        content = zlib.decompress(content) if b"/FlateDecode" in head else content
        found[number] = head + content
        if b"/ObjStm" in head:
            first = int(re.search(rb"/First (\d+)", head)[1])  # type: ignore[index]
            places = list(map(int, content[:first].split()))
            ends = [*places[3::2], len(content) - first]
            for inner, start, end in zip(places[::2], places[1::2], ends, strict=True):
                found[inner] = content[first + start : first + end].strip()
    return found


def of_type(objects: dict[int, bytes], kind: str) -> list[bytes]:
    return [content for content in objects.values() if content.startswith(f"<</Type /{kind}/".encode())]


def packet_of(pdf: bytes) -> ElementTree.Element:
    """The XMP packet, found as a tool finds it that cannot read PDF."""
    [packet] = re.findall(rb"<x:xmpmeta.*?</x:xmpmeta>", pdf, re.DOTALL)
    return ElementTree.fromstring(packet)


def said(packet: ElementTree.Element) -> dict[str, str]:
    """The properties of a packet that are plain text, by name without namespace."""
    elements = packet.findall(f"{RDF}RDF/{RDF}Description/*")
    return {element.tag.split("}")[1]: element.text for element in elements if element.text}


def test_the_packet_says_what_the_document_is(engine: Engine) -> None:
    packet = packet_of(issue(engine, PAGES["short"]).pdf)
    assert len(packet.findall(f".//{RDF}RDF")) == 1
    texts = said(packet)
    assert texts.pop("Producer").startswith("WeasyPrint ")
    instant = "2025-08-15T06:00:01Z"
    assert texts == {"part": "1", "conformance": "A", "CreateDate": instant, "ModifyDate": instant}
    assert [element.text for element in packet.iter(f"{RDF}li") if element.text] == ["Invoice INV-1", "Example & Sons"]


def test_an_attached_e_invoice_is_named_in_the_packet_and_no_other_file_is(engine: Engine) -> None:
    texts = said(packet_of(issue(engine, PAGES["short"], CSV, XML).pdf))
    assert {"DocumentType", "DocumentFileName", "Version", "ConformanceLevel"} <= set(texts)
    assert (texts["DocumentFileName"], texts["ConformanceLevel"]) == ("factur-x.xml", "EN 16931")
    for attachments in ((), (CSV,)):
        assert FACTUR_X not in ElementTree.tostring(
            packet_of(issue(engine, PAGES["short"], *attachments).pdf), "unicode"
        )


def test_every_property_that_pdf_a_does_not_define_is_described(engine: Engine) -> None:
    packet = packet_of(issue(engine, PAGES["short"], XML).pdf)
    described = {element.text for element in packet.iter() if element.tag.endswith("}name")}
    foreign = (
        element for element in packet.iter() if element.tag.startswith((FACTUR_X, "{http://www.aiim.org/pdfua/"))
    )
    assert {element.tag.split("}")[1] for element in foreign} == described


def test_markup_in_names_stays_text_in_the_packet() -> None:
    packet = xmp_packet(
        title="</rdf:li> & <b>",
        authors=["A & B", "<C>"],
        producer="x",
        stamped_at="2025-08-15T06:00:01Z",
        factur_x=True,
    )
    tree = ElementTree.fromstring(packet)
    assert [element.text for element in tree.iter(f"{RDF}li") if element.text] == ["</rdf:li> & <b>", "A & B", "<C>"]


def test_language_title_and_tags_are_declared(engine: Engine) -> None:
    [catalog] = of_type(objects_of(issue(engine, PAGES["french"]).pdf), "Catalog")
    for entry in (
        b"/Lang (fr)",
        b"/DisplayDocTitle true",
        b"/MarkInfo <</Marked true>>",
        b"/StructTreeRoot",
        b"/Metadata",
    ):
        assert entry in catalog


def test_attached_files_are_read_back_and_named_once(engine: Engine) -> None:
    objects = objects_of(issue(engine, PAGES["short"], XML, CSV).pdf)
    [catalog] = of_type(objects, "Catalog")
    listed = re.search(rb"/AF \[([^]]*)\]", catalog)[1].split(b" 0 R")  # type: ignore[index]
    specifications = [objects[int(number)] for number in listed if number.strip()]
    assert len(specifications) == len(of_type(objects, "Filespec")) == 2
    for attached, specification in zip((XML, CSV), specifications, strict=True):
        assert f"/UF ({attached.name})".encode() in specification
        assert f"/AFRelationship /{attached.relationship}".encode() in specification
        file = objects[int(re.search(rb"/EF <</F (\d+)", specification)[1])]  # type: ignore[index]
        assert file.endswith(b">>" + attached.content)
        assert md5(attached.content, usedforsecurity=False).hexdigest().encode() in file
        assert set(re.findall(rb"\(D:(\d+)Z\)", file)) == {b"20250815060001"}
    assert b"/Subtype /text#2fxml" in b"".join(objects.values())


def test_a_table_over_pages_has_heads_for_its_cells_on_each(engine: Engine) -> None:
    painted = issue(engine, PAGES["long"])
    elements = of_type(objects_of(painted.pdf), "StructElem")
    kinds = [re.search(rb"/S /(\w+)", element)[1] for element in elements]  # type: ignore[index]
    assert painted.pages == kinds.count(b"Table") == kinds.count(b"THead") > 1
    assert (kinds.count(b"H1"), kinds.count(b"H2"), kinds.count(b"TD")) == (1, 1, 120)
    cells = [element for element in elements if b"/S /TD" in element]
    assert all(len(re.findall(rb"\(\d+-\d+-\d+\)", cell)) == 2 for cell in cells)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_all_marked_content_is_read_out_or_belongs_to_the_margin(engine: Engine, name: str) -> None:
    objects = objects_of(issue(engine, PAGES[name]).pdf)
    [tree] = [content for content in objects.values() if content.startswith(b"<</Nums ")]
    spoken = [refs.replace(b" 0 R", b"").split() for refs in re.findall(rb"\d+ \[([^]]*)\]", tree)]
    contents = [objects[int(number)] for number in _contents_of(objects)]
    for read, content in zip(spoken, contents, strict=True):
        marks = [int(mark) for mark in re.findall(rb"/MCID (\d+)", content)]
        assert marks == [mark for mark, number in enumerate(read) if number != b"null"]
        assert content.count(b"/Artifact\n<</Type /Pagination>>\nBDC") == read.count(b"null") >= 2
        assert all(objects[int(number)].startswith(b"<</Type /StructElem") for number in read if number != b"null")


def _contents_of(objects: dict[int, bytes]) -> list[bytes]:
    [tree] = of_type(objects, "Pages")
    kids = re.search(rb"/Kids \[([^]]*)\]", tree)[1].replace(b" 0 R", b"").split()  # type: ignore[index]
    return [re.search(rb"/Contents (\d+)", objects[int(kid)])[1] for kid in kids]  # type: ignore[index]


@pytest.mark.skipif(not VERAPDF.is_file(), reason="veraPDF is not beside the repository")
def test_verapdf_accepts_every_kind_of_document(engine: Engine, tmp_path: Path) -> None:
    with_hebrew = new_engine(**{"hebrew.ttf": _font_of(f" {HEBREW}")})
    documents = {f"{lines}-lines": issue(engine, page(table(lines)), XML) for lines in (1, 10, 40, 300)}
    documents |= {name: issue(engine, html, XML) for name, html in PAGES.items()}
    documents["credit-note"] = issue(engine, page(table(2), title="Credit note CN-1"))
    documents["two-files"] = issue(engine, page(chart(9)), CSV, XML, at=datetime(1999, 12, 31, tzinfo=UTC))
    documents["right-to-left"] = issue(with_hebrew, page(f'<p dir="rtl" lang="he">{HEBREW} 12</p>'), XML)
    for name, painted in documents.items():
        assert (painted.complaints, painted.missing) == ((), frozenset()), name
        (tmp_path / f"{name}.pdf").write_bytes(painted.pdf)
    for flavour in ("3a", "ua1"):
        command = [str(VERAPDF), flavour, *map(str, sorted(tmp_path.glob("*.pdf")))]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.stdout.count("PASS") == len(documents), run.stdout + run.stderr


def _font_of(characters: str) -> bytes:
    """A font that has these characters, as boxes."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(point)
    pen.closePath()
    names = [".notdef", *(f"u{ord(character):04X}" for character in characters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(dict(zip(map(ord, characters), names[1:], strict=True)))
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Boxes", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    out = BytesIO()
    builder.save(out)
    return out.getvalue()
