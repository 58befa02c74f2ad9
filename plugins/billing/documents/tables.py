"""Tables of texts and numbers. Columns are as wide as their longest number: none is broken over two lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

# Advances of Source Sans 3 in em, on the safe side: tabular figures 0.497, letters 0.5 in a row, ideographs 1.
# Heads and texts are broken between words and at soft hyphens, and ideographs anywhere.
_FIGURE_EM = 0.5
_LETTER_EM = 0.52
_IDEOGRAPHS_AT_LEAST = 6
# Not where a no-break space is.
_BREAKS = re.compile("[ \n\N{SOFT HYPHEN}]")
_MM_PER_PT = 25.4 / 72
_HEAD_PT = 7.5
_GAP_MAX_MM = 9.0
_STEP_MM = 3.0
# Sizes of text with the least gap at each, as the stylesheet has it: below 7 pt a table is "dense".
_SIZES = ((9.5, 3.0), (8.5, 3.0), (7.5, 3.0), (6.5, 2.0), (6.0, 2.0))


PAGE_MM = 174.0
"""The width between the margins, as the stylesheet has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Widths in mm of all columns, and the size of the figures in pt at which they fit."""

    widths_mm: tuple[float, ...]
    size_pt: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TableView:
    """A table: ``heads``, as many cells in every row, and the widths."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    columns: Columns


def columns(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int, page_mm: float, text_min_mm: float
) -> Columns:
    """Fit a table into ``page_mm``. Its first ``texts`` columns are texts, which share what the numbers leave in
    proportion to their longest; what these do not need goes between the numbers.

    Where less is left for texts than ``text_min_mm`` or their longest words, all is made smaller as far as that is
    legible.
    """
    longest = [max((len(row[place]) for row in rows), default=0) for place in range(len(heads))]
    words = [max((_longest_word(row[place]) for row in rows), default=0) for place in range(texts)]
    for size_pt, gap_mm in _SIZES:
        figure_mm, em_mm = _FIGURE_EM * size_pt * _MM_PER_PT, min(size_pt, _HEAD_PT) * _MM_PER_PT
        numbers = [
            max(length * figure_mm, _head_em(head) * em_mm)
            for length, head in zip(longest[texts:], heads[texts:], strict=True)
        ]
        least = [
            max(length * figure_mm, _head_em(head) * em_mm) + gap_mm
            for length, head in zip(words, heads[:texts], strict=True)
        ]
        left_mm = page_mm - sum(numbers) - gap_mm * len(numbers)
        if left_mm >= max(text_min_mm, sum(least)):
            break
    wanted = [max(length * figure_mm, least_mm) for length, least_mm in zip(longest[:texts], least, strict=True)]
    gap_mm += min(max(left_mm - sum(wanted), 0) / max(len(numbers), 1), _GAP_MAX_MM - gap_mm)
    left_mm = page_mm - sum(numbers) - gap_mm * len(numbers)
    widths = [*_shared(left_mm, least, wanted), *(width + gap_mm for width in numbers)]
    stepped = _stepped(widths, wanted, page_mm)
    # Rows that cannot fit at any size keep to the page; their figures then run into the gaps.
    fit = min(page_mm / sum(widths), 1)
    return Columns(widths_mm=stepped or tuple(round(width * fit, 1) for width in widths), size_pt=size_pt)


def _shared(left_mm: float, least: Sequence[float], wanted: Sequence[float]) -> list[float]:
    """The parts of a width: to each its least, and of what is over in proportion to what it wants."""
    over_mm = max(left_mm - sum(least), 0)
    return [least_mm + over_mm * wanted_mm / sum(wanted) for least_mm, wanted_mm in zip(least, wanted, strict=True)]


def _stepped(widths: Sequence[float], wanted: Sequence[float], page_mm: float) -> tuple[float, ...]:
    """The same columns in whole steps, none narrower than its numbers; none where a text would be broken for it.

    Tables of different invoices then stand alike, and share their styles (``warm/styles.py``).
    """
    numbers = [ceil(width / _STEP_MM) * _STEP_MM for width in widths[len(wanted) :]]
    pairs = list(zip(widths, wanted, strict=False))[1:]
    texts = [max(round(width / _STEP_MM), ceil(longest / _STEP_MM)) * _STEP_MM for width, longest in pairs]
    first = page_mm - sum(texts) - sum(numbers)
    return (first, *texts, *numbers) if first >= wanted[0] else ()


def table_view(title: str, heads: Sequence[str], rows: Sequence[tuple[str, ...]], text_min_mm: float = 60) -> TableView:
    """A table over the whole page, whose first two columns are texts."""
    fitted = columns(heads, rows, texts=2, page_mm=PAGE_MM, text_min_mm=text_min_mm)
    return TableView(title=title, heads=tuple(heads), rows=tuple(rows), columns=fitted)


def _longest_word(text: str) -> int:
    return max(map(len, text.split(" ")))


def _head_em(head: str) -> float:
    """The width of the longest word of a head."""
    return max(map(_word_em, _BREAKS.split(head)))


def _word_em(word: str) -> float:
    wide = sum(character >= "\N{CJK RADICAL REPEAT}" for character in word)
    return min(wide, _IDEOGRAPHS_AT_LEAST) + (len(word) - wide) * _LETTER_EM
