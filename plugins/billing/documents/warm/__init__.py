"""What a warm engine keeps from one document to the next, and the same bytes.

====================  =================================================================================================
``pages``             a page that is well-formed XML is read by expat, without rules that no invoice has a use for
``styles``            an element takes the styles of the one that stood in the same place of an earlier document
``boxes``             lengths that are no percentages are resolved once a style; nothing is looked for behind bare boxes
``texts``             Pango's context and font stay with the style, a text's layout waits to be drawn
``files``             the objects of a file are deflated once
====================  =================================================================================================

All of it rests on parts of WeasyPrint that are not public, of the version that is pinned; with any other version
nothing here is used, and only speed is lost. ``tests/documents/test_warm.py`` compares bytes with and without.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from billing.documents.warm import boxes, files, pages, styles, texts

WEASYPRINT = "70.0"
"""The version whose parts these are."""


class Warm:
    """What one engine keeps: of one stylesheet, set of fonts and size of page. For one thread at a time."""

    def __init__(self, stylesheet: str) -> None:
        for module in (styles, boxes, texts, files):
            module.install()
        self.styles = styles.KeptStyles(by_place=styles.are_of_places(stylesheet))
        self._is_plain = not pages.has_lists_or_notes(stylesheet)

    @classmethod
    def of(cls, stylesheet: str) -> Warm | None:
        """None where another version of WeasyPrint is installed."""
        return cls(stylesheet) if version("weasyprint") == WEASYPRINT else None

    def page(self, string: str, **options: Any) -> Any:
        """WeasyPrint's ``HTML`` of a page; ``options`` are those of its constructor."""
        from weasyprint import HTML

        lean = self._is_plain and not pages.has_lists_or_notes(string)
        return (pages.lean_html() if lean else HTML)(string=string, **options)

    @contextmanager
    def used(self) -> Iterator[None]:
        """A document that this thread lays out in the block takes what is kept here."""
        texts.begin_document()
        with self.styles.used():
            yield
