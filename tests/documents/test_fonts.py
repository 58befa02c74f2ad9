"""The fonts of the invoices: known where from, allowed to be here, and able to write the names of customers."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from functools import cache

import pytest
from fontTools.ttLib import TTFont

from billing.documents.bundle import FONT_SUFFIXES, fonts_of, read_bundle
from billing.documents.engine import Engine
from billing.documents.renderer import Renderer
from tests.documents.invoices import TEMPLATES

FOLDER = TEMPLATES / "fonts"
FONTS = sorted(path.name for path in FOLDER.iterdir() if path.suffix in FONT_SUFFIXES)
SOURCE_SANS = ("SourceSans3-Regular.ttf", "SourceSans3-Semibold.ttf")
CJK = "InvoiceCJK-Regular.ttf"
# Signs of mathematics and of decoration, which no font here has and no name.
WITHOUT = set("ˍ∼≒◈")


@cache
def font(name: str) -> TTFont:
    return TTFont(FOLDER / name, lazy=True)


@cache
def writes(*names: str) -> frozenset[str]:
    """The characters that these fonts write. One whose glyph is blank, though it should not be, is not among them."""
    return frozenset(chr(point) for name in names for point in _inked(font(name)))


def _inked(opened: TTFont) -> Iterator[int]:
    if "loca" not in opened:
        yield from opened.getBestCmap()
        return
    places = opened["loca"]
    for point, glyph in opened.getBestCmap().items():
        number = opened.getGlyphID(glyph)
        if places[number] < places[number + 1] or _is_blank(chr(point)):
            yield point


def _is_blank(character: str) -> bool:
    return unicodedata.category(character)[0] in "ZC" or "FILLER" in unicodedata.name(character, "")


@cache
def encodable(codec: str) -> frozenset[str]:
    """The characters of a character set, without controls, those for private use, and ASCII."""
    characters = map(chr, range(0x80, 0x10000))
    return frozenset(one for one in characters if one.encode(codec, "ignore") and unicodedata.category(one)[0] != "C")


def between(first: str, last: str) -> set[str]:
    return {one for one in map(chr, range(ord(first), ord(last) + 1)) if unicodedata.name(one, "")}


def listed(characters: Iterable[str]) -> str:
    return " ".join(f"{one} U+{ord(one):04X}" for one in sorted(characters)[:20])


def table() -> dict[str, list[str]]:
    """The cells of the table in README.md by name of file."""
    rows = [
        line.strip("|").split("|") for line in (FOLDER / "README.md").read_text("utf-8").splitlines() if "|" in line
    ]
    return {name: cells for cells in rows[2:] for name in re.findall(r"`([^`]+)`", cells[0])}


def test_every_font_has_a_line_and_every_line_a_font() -> None:
    assert sorted(table()) == FONTS


@pytest.mark.parametrize("name", FONTS)
def test_a_line_says_what_the_font_is_where_from_and_what_for(name: str) -> None:
    _, what, taken_from, _, used_for = table()[name]
    names = font(name)["name"]
    version = re.search(r"\d+\.\d+", str(names.getDebugName(5)))
    assert version and version[0] in what
    assert str(names.getDebugName(1)).removesuffix(" Semibold") in what
    assert re.search(r"(npm|PyPI|Debian) `[^`]+` \S*\d", taken_from) and used_for.strip()


@pytest.mark.parametrize("name", FONTS)
def test_the_licence_of_a_font_lies_beside_it(name: str) -> None:
    """OFL 2: each copy contains the copyright notice and the licence. 3: a reserved name is for unchanged files."""
    (licence,) = re.findall(r"`([^`]+)`", table()[name][3])
    text = (FOLDER / licence).read_text("utf-8")
    notice, rights = (str(font(name)["name"].getDebugName(number)) for number in (0, 13))
    assert "SIL OPEN FONT LICENSE Version 1.1 - 26 February 2007" in text and "PERMISSION & CONDITIONS" in text
    assert "SIL Open Font License, Version 1.1" in rights
    holder = re.search(r"Adobe|Google", notice)
    assert holder and holder[0] in text.splitlines()[0]
    if "unchanged" not in table()[name][2]:
        assert not re.search("Noto|Source", str(font(name)["name"].getDebugName(1)))


def test_no_licence_is_left_of_a_font_that_is_gone() -> None:
    assert {path.name for path in FOLDER.glob("OFL*")} == {
        re.findall(r"`([^`]+)`", row[3])[0] for row in table().values()
    }


@pytest.mark.parametrize("name", FONTS)
def test_a_font_may_be_embedded(name: str) -> None:
    """A PDF must not hold a font whose maker forbids it (OS/2 fsType, bit 1 alone), or forbids to subset it (bit 8)."""
    assert font(name)["OS/2"].fsType & 0x0102 == 0


@pytest.mark.parametrize("name", SOURCE_SANS)
def test_source_sans_writes_what_an_invoice_says_itself(name: str) -> None:
    wanted = {chr(point) for point in range(0x20, 0x7F)}
    wanted |= set("\u00a0\u202f\u2009\u2011\u2212\u2013\u2014\u2022·×…’“”«»€$£¥₩₹₺₴₽₫₱")
    for codec in (*(f"iso8859_{part}" for part in (1, 2, 3, 4, 5, 9, 10, 13, 14, 15, 16)), "cp1253", "kz1048"):
        wanted |= set(bytes(range(0xA0, 0x100)).decode(codec, "ignore"))
    wanted |= between("Ạ", "ỹ")
    assert not listed(wanted - writes(name))


SETS = {
    "GB 2312": lambda: encodable("gb2312"),
    "Big5": lambda: encodable("big5"),
    "JIS X 0208 with kana": lambda: encodable("shift_jis"),
    "the names that Windows added to JIS, as 髙 and 﨑": lambda: encodable("cp932"),
    "KS X 1001": lambda: encodable("euc_kr"),
    "all 11,172 syllables": lambda: between("가", "힣"),
    "all ideographs of Unicode 1.1": lambda: between("一", "\u9fa5"),
    "Korean and kana as macOS takes them apart": lambda: set(
        unicodedata.normalize("NFD", "".join(between("가", "힣") | between("ぁ", "ヺ")))
    ),
    "Hebrew": lambda: between("א", "ת") | between("\u05b0", "\u05bc") | set("׳״־₪"),
    "Arabic, Persian and Urdu": lambda: (
        encodable("iso8859_6") | encodable("cp1256") | between("٠", "٩") | between("۰", "۹") | set("پچژگکیٹڈڑںھہے")
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_the_fonts_together_write(name: str) -> None:
    assert not listed(SETS[name]() - WITHOUT - writes(*FONTS))


def test_both_weights_of_a_family_write_the_same() -> None:
    for family in ("SourceSans3", "NotoSansArabic", "NotoSansHebrew"):
        regular, bold = [name for name in FONTS if name.startswith(family)]
        assert writes(regular) == writes(bold)


def test_only_the_font_meant_for_a_script_has_it() -> None:
    """The order of fallback decides nothing but spaces and marks without ink."""
    families = [["SourceSans3-Regular.ttf"], ["NotoSansArabic-Regular.ttf"], ["NotoSansHebrew-Regular.ttf"], [CJK]]
    seen = writes(*families[0])
    for family in families[1:]:
        own = writes(*family) - writes(*families[0])
        assert not listed(one for one in own & seen if not _is_blank(one))
        seen |= own


def shape(character: str, language: str) -> str:
    """The glyph that ``locl`` gives a character in a language of OpenType."""
    layout = font(CJK)["GSUB"].table
    (script,) = [record.Script for record in layout.ScriptList.ScriptRecord if record.ScriptTag == "hani"]
    (system,) = [record.LangSys for record in script.LangSysRecord if record.LangSysTag == language]
    glyph = str(font(CJK).getBestCmap()[ord(character)])
    for number in system.FeatureIndex:
        for lookup in layout.FeatureList.FeatureRecord[number].Feature.LookupListIndex:
            for rules in layout.LookupList.Lookup[lookup].SubTable:
                glyph = str(getattr(rules, "ExtSubTable", rules).mapping.get(glyph, glyph))
    return glyph


@pytest.mark.parametrize(("characters", "language"), [("骨角令直", "ZHS "), ("骨令直", "ZHT ")])
def test_an_ideograph_has_the_shape_of_the_country(characters: str, language: str) -> None:
    for character in characters:
        unsaid = font(CJK).getBestCmap()[ord(character)]
        assert shape(character, "JAN ") == unsaid
        assert shape(character, language) != unsaid, character


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(Renderer.open(TEMPLATES).stylesheet(), fonts_of(read_bundle(TEMPLATES)))


NAMES = {
    "株式会社メリディアン": "Invoice CJK",
    "深圳市示例科技有限公司": "Invoice CJK",
    "臺灣範例股份有限公司": "Invoice CJK",
    "주식회사 메리디안": "Invoice CJK",
    "شركة ميريديان للتقنية": "Noto Sans Arabic",
    "מרידיאן טכנולוגיות בע״מ": "Noto Sans Hebrew",
    "Ελληνική Εταιρεία": "Source Sans 3",
    "ООО «Меридиан»": "Source Sans 3",
    "Łódź Świętokrzyska": "Source Sans 3",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weight", [400, 600])
def test_a_name_is_all_in_one_font(engine: Engine, name: str, weight: int) -> None:
    """Also its spaces: a font that has no space of its own makes them missing glyphs."""
    painted = engine.paint(f'<title>T</title><p style="font-weight: {weight}">{name}</p>')
    streams = re.findall(rb"stream\n(.*?)\nendstream", painted.pdf, re.DOTALL)
    objects = painted.pdf + b"".join(zlib.decompress(stream) for stream in streams if stream.startswith(b"x"))
    families = re.findall(rb"/FontFamily \(([^)]+)\)", objects)
    assert (painted.missing, set(families)) == (frozenset(), {NAMES[name].encode()})
