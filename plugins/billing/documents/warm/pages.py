"""Pages read by expat, and laid out without rules for what they have not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from xml.etree import ElementTree

# Rules for every element of a page, for lists and notes that no document of ours has.
_FOR_LISTS_AND_NOTES = re.compile(r"^::(?:marker|footnote-|note-)[^}]*\}\n", re.MULTILINE)
_HAS_LISTS_OR_NOTES = re.compile(r"<(?:li|summary|ol|ul)\b|footnote|::marker", re.IGNORECASE)


def has_lists_or_notes(text: str) -> bool:
    """Whether a page or a stylesheet may want the rules that ``lean_html`` leaves out."""
    return _HAS_LISTS_OR_NOTES.search(text) is not None


@cache
def lean_html() -> Any:
    """WeasyPrint's ``HTML`` without six rules that would give every element of a page six styles of no use.

    A page that is well-formed XML with no elements left out (``tbody``) is the same tree to expat as to the parser of
    HTML, which is written in Python; any other page goes to that one.
    """
    from cssselect2 import ElementWrapper  # type: ignore[import-untyped]
    from weasyprint import CSS, HTML
    from weasyprint.html import UA, UA_COUNTER_STYLE

    rules = CSS(string=_FOR_LISTS_AND_NOTES.sub("", UA), counter_style=UA_COUNTER_STYLE)

    class Root(ElementWrapper):  # type: ignore[misc]
        """The root of a tree, that finds elements by their names without wrapping all others."""

        def query_all(self, *names: str) -> Iterator[Any]:
            return (_Found(element) for element in self.etree_element.iter() if element.tag in names)

    class LeanHTML(HTML):  # type: ignore[misc]
        def __init__(self, *, string: str, url_fetcher: Any, base_url: str) -> None:
            tree = _tree(string)
            if tree is None:
                super().__init__(string=string, url_fetcher=url_fetcher, base_url=base_url)
                return
            self.base_url, self.url_fetcher, self.media_type = base_url, url_fetcher, "print"
            self.wrapper_element = Root.from_html_root(tree, content_language=None)
            self.etree_element = self.wrapper_element.etree_element

        def _ua_stylesheets(self, forms: bool = False) -> list[Any]:
            return [rules]

    return LeanHTML


@dataclass(frozen=True, slots=True)
class _Found:
    """What WeasyPrint looks at of an element that it asked for by name: ``style``, ``link``, ``title``, ``meta``."""

    etree_element: ElementTree.Element


def _tree(page: str) -> ElementTree.Element | None:
    """The tree of a page as the parser of HTML would give it; None where expat's might be another."""
    if "<base" in page or "<!ENTITY" in page:
        return None
    try:
        tree = ElementTree.fromstring(page)
    except ElementTree.ParseError:
        return None
    is_whole = tree.tag == "html" and [child.tag for child in tree] == ["head", "body"]
    rows_stand_alone = any(child.tag == "tr" for table in tree.iter("table") for child in table)
    return tree if is_whole and not rows_stand_alone else None
