"""Makes InvoiceCJK-Regular.ttf out of Noto Sans CJK: run it to check that file, or to put more characters in.

    python invoice_cjk.py NotoSansCJK-Regular.ttc

The whole of Noto Sans CJK is 19 MB and has cubic curves, with which a document becomes three to seven times as large.
Kept are the characters that names and addresses are written with, in the shapes of Japan, and where they differ in
those of the mainland and of Taiwan. The same fontTools makes the same bytes of the same file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fontTools.pens.cu2quPen import Cu2QuPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTCollection, TTFont, newTable

FAMILY = "Invoice CJK"
TARGET = Path(__file__).with_name("InvoiceCJK-Regular.ttf")
# The faces of the collection.
JAPANESE, SIMPLIFIED, TRADITIONAL = 0, 2, 3
# In units of which 1,000 are the height of a line of text: invisible at the sizes of an invoice.
TOLERANCE = 2
# Copyright, trademark, vendor, designers, licence and where to read it: they stay as they are.
KEPT_NAMES = {0, 7, 8, 9, 11, 13, 14}


def encodable(codec: str) -> set[int]:
    """The characters of two bytes of a national character set."""
    found = set()
    for first in range(0x81, 0xFF):
        for second in range(0x40, 0xFF):
            text = bytes((first, second)).decode(codec, "ignore")
            # A byte of its own that a codec skips the other for is not a character of two bytes.
            if len(text) == 1 and len(text.encode(codec)) == 2:
                found.add(ord(text))
    return found


def characters() -> set[int]:
    """What the file can write. A character that a name has and this has not stops an invoice, so rather too many."""
    spans = (
        (0x1100, 0x1112), (0x1161, 0x1175), (0x11A8, 0x11C2),  # letters of Hangul, as macOS takes syllables apart
        (0x3000, 0x30FF),  # punctuation and kana
        (0x3131, 0x318E),
        (0x3200, 0x33FF),  # ㈱, ㈜ and other words in one character
        (0x4E00, 0x9FA5),  # every ideograph of Unicode 1.1
        (0xAC00, 0xD7A3),  # every syllable of Hangul
        (0xFF01, 0xFFEE),  # full and half width
    )  # fmt: skip
    wanted = {point for first, last in spans for point in range(first, last + 1)}
    # Without its own space a run of CJK text has no space at all. 𠮷 is in the names of companies, beyond the spans.
    wanted |= {ord(character) for character in " \u00a0𠮷"}
    return wanted.union(*map(encodable, ("gb2312", "big5", "cp932", "euc_kr")))


def level_one_of_big5() -> set[int]:
    """The 5,401 ideographs of daily use in Taiwan and Hong Kong."""
    return {point for point in encodable("big5") if b"\xa4\x40" <= chr(point).encode("big5") <= b"\xc6\x7e"}


def subset(collection: Path) -> TTFont:
    """The Japanese face with the characters above, and the Chinese shapes that ``locl`` puts in their place.

    Korean ideographs are as good as the same, and Pango never asks for them: there are none.
    """
    faces = TTCollection(collection).fonts
    simplified, traditional = faces[SIMPLIFIED].getBestCmap(), faces[TRADITIONAL].getBestCmap()
    marks = {*range(0x3000, 0x3400), *range(0xFF01, 0xFFEF)}
    shapes = {simplified[point] for point in encodable("gb2312") | marks if point in simplified}
    shapes |= {traditional[point] for point in level_one_of_big5() | marks if point in traditional}
    options = Options(
        layout_features=["locl"], layout_closure=False, hinting=False, notdef_outline=True, name_IDs=["*"]
    )
    options.drop_tables += ["BASE", "GPOS", "VORG", "vhea", "vmtx"]
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=sorted(characters()), glyphs=sorted(shapes))
    font = TTFont(collection, fontNumber=JAPANESE, recalcTimestamp=False)
    subsetter.subset(font)
    return font


def make_quadratic(font: TTFont) -> None:
    """Put outlines of TrueType in the place of those of PostScript."""
    order = font.getGlyphOrder()
    outlines = font.getGlyphSet()
    glyphs = {}
    for name in order:
        pen = TTGlyphPen(None)
        outlines[name].draw(Cu2QuPen(pen, TOLERANCE, reverse_direction=True))
        glyphs[name] = pen.glyph()
    del font["CFF "]
    font["loca"] = newTable("loca")
    font["glyf"] = table = newTable("glyf")
    table.glyphOrder, table.glyphs = order, glyphs
    for name, glyph in glyphs.items():
        glyph.recalcBounds(table)
        font["hmtx"][name] = (font["hmtx"][name][0], getattr(glyph, "xMin", 0))
    limits = font["maxp"]
    limits.tableVersion = 0x00010000
    limits.maxZones = 1
    for limit in ("TwilightPoints", "Storage", "FunctionDefs", "InstructionDefs", "StackElements", "ComponentElements"):
        setattr(limits, f"max{limit}", 0)
    limits.maxSizeOfInstructions = 0
    font["post"].formatType = 3.0
    font.sfntVersion = "\0\1\0\0"


def rename(font: TTFont) -> None:
    """Give a modified font a name of its own: "Noto" is a trademark, and "Source" reserved."""
    names = font["name"]
    version = names.getDebugName(5).split(";")[0]
    names.names = [record for record in names.names if record.nameID in KEPT_NAMES and record.langID == 0x409]
    for name_id, text in (
        (1, FAMILY),
        (2, "Regular"),
        (3, f"{version};{FAMILY}"),
        (4, FAMILY),
        (5, f"{version}; a part of Noto Sans CJK JP, with quadratic outlines"),
        (6, "InvoiceCJK-Regular"),
        (10, "A part of Noto Sans CJK JP, with quadratic outlines. Not made by the authors of Noto Sans CJK."),
    ):
        names.setName(text, name_id, 3, 1, 0x409)


def main() -> None:
    font = subset(Path(sys.argv[1]))
    make_quadratic(font)
    rename(font)
    font.save(TARGET)


if __name__ == "__main__":
    main()
