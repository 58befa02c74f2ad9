"""Tables of texts and numbers. Columns are as wide as their longest number: none is broken over two lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Advances of Source Sans 3 in em, on the safe side: tabular figures 0.497, the letters of heads and
# texts 0.5, ideographs 1. Heads and texts are broken between words and at soft hyphens, and ideographs anywhere.
_FIGURE_EM = 0.5
_LETTER_EM = 0.52
_TEXT_EM = 0.5
_IDEOGRAPHS_AT_LEAST = 6
# Not where a no-break space is.
_BREAKS = re.compile("[ \n\N{SOFT HYPHEN}]")
_MM_PER_PT = 25.4 / 72
_HEAD_PT = 7.5
_GAP_MM = (3.0, 9.0)
_SIZES_PT = (9.5, 8.5, 7.5, 6.5)


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

    Where less than ``text_min_mm`` is left for texts, the figures are made smaller as far as that is legible.
    """
    longest = [max((len(row[place]) for row in rows), default=0) for place in range(len(heads))]
    for size_pt in _SIZES_PT:
        numbers = [
            max(length * _FIGURE_EM * size_pt * _MM_PER_PT, _head_mm(head))
            for length, head in zip(longest[texts:], heads[texts:], strict=True)
        ]
        left_mm = page_mm - sum(numbers) - _GAP_MM[0] * len(numbers)
        if left_mm >= text_min_mm:
            break
    wanted = [max(longest[place], len(heads[place]), 8) * _TEXT_EM * size_pt * _MM_PER_PT for place in range(texts)]
    spare_mm = max(left_mm - sum(wanted), 0)
    gap_mm = _GAP_MM[0] + min(spare_mm / max(len(numbers), 1), _GAP_MM[1] - _GAP_MM[0])
    left_mm = max(page_mm - sum(numbers) - gap_mm * len(numbers), text_min_mm / 2)
    widths = [*_shared(wanted, left_mm), *(width + gap_mm for width in numbers)]
    # Rows that cannot fit at any size keep to the page; their figures then run into the gaps.
    fit = min(page_mm / sum(widths), 1)
    return Columns(widths_mm=tuple(round(width * fit, 1) for width in widths), size_pt=size_pt)


def table_view(title: str, heads: Sequence[str], rows: Sequence[tuple[str, ...]], text_min_mm: float = 60) -> TableView:
    """A table over the whole page, whose first two columns are texts."""
    fitted = columns(heads, rows, texts=2, page_mm=PAGE_MM, text_min_mm=text_min_mm)
    return TableView(title=title, heads=tuple(heads), rows=tuple(rows), columns=fitted)


def _shared(wanted: Sequence[float], left_mm: float) -> list[float]:
    """The text columns' parts of a width: in proportion to what they want, none less than a quarter of it."""
    shares = [max(one / sum(wanted), 0.25) for one in wanted]
    return [left_mm * share / sum(shares) for share in shares]


def _head_mm(head: str) -> float:
    """The width of the longest word of a head."""
    em_mm = _HEAD_PT * _MM_PER_PT
    return max(_word_em(word) for word in _BREAKS.split(head)) * em_mm


def _word_em(word: str) -> float:
    wide = sum(character >= "\N{CJK RADICAL REPEAT}" for character in word)
    return min(wide, _IDEOGRAPHS_AT_LEAST) + (len(word) - wide) * _LETTER_EM
