"""Computed styles kept from one document to the next.

WeasyPrint matches every rule with every element of every document, and computes the style of each anew, though one
stylesheet gives the same few hundred styles to all of them. Here a style is looked up twice: by the place of its
element (what rules can see of it: tag, attributes, ancestors, the siblings before it), and where that place is new, by
what it is computed from: its parent's style and the declarations that apply. Within a document WeasyPrint shares equal
styles itself, so sharing them further changes nothing.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_STYLES_MAX = 20_000
"""More than any stylesheet gives, and as many places; then all are forgotten."""
_OF_ATTRIBUTES = frozenset({"lang", "anchor"})
_STYLING = ("style", "width", "height")

# Attributes that differ from document to document and that no rule asks for.
_UNSEEN = frozenset({"alt", "content", "d", "src"})
_INDEX_MAX = 3
"""Rules can tell the first two children of an element from each other and from all others."""
# What a place does not know: later siblings but whether there are any, earlier ones but the last two.
_BEYOND_PLACES = re.compile(
    r"~|\[|:has|:empty|:not|:is|:where|-of-type|:only|:nth-(?!child\((?:1|2)\))|:last-(?!child)|[+][^,{}]*[+][^,{}]*[+]"
)
# Whose styles depend on more than their place: they are told to the document.
_TOLD = frozenset({"id", "name", "href"})
_RULES = frozenset({"style", "link"})
"""Elements that bring rules of their document alone."""

_active = threading.local()


def are_of_places(stylesheet: str) -> bool:
    """Whether the rules of a stylesheet see no more of an element than its place."""
    return _BEYOND_PLACES.search(re.sub(r"/\*.*?\*/", "", stylesheet, flags=re.DOTALL)) is None


class KeptStyles:
    """The styles of one engine: of one stylesheet, set of fonts and size of page."""

    def __init__(self, *, by_place: bool) -> None:
        self.by_place = by_place
        self.styles: dict[tuple[object, ...], Any] = {}
        self.kept_ids: set[int] = set()
        self.places: dict[tuple[object, ...], int] = {}
        self.of_places: dict[int, dict[str | None, Any]] = {}
        self.page_sizes: dict[str, Any] = {"box": None, "area": None}

    @contextmanager
    def used(self) -> Iterator[None]:
        """Documents that this thread lays out in the block take their styles from here."""
        if len(self.styles) > _STYLES_MAX or len(self.places) > _STYLES_MAX:
            self.styles.clear()
            self.kept_ids.clear()
            self.places.clear()
            self.of_places.clear()
        _active.styles = self
        try:
            yield
        finally:
            _active.styles = None

    def places_of(self, root: Any) -> list[tuple[Any, int]] | None:
        """The elements of a document in its order, each with the number of its place; None where a place says too
        little of one of them.
        """
        found = [(root, self._place(0, root, 0, None, None, True))]
        for element, place in found:  # grows while it is read: parents before their children
            before, before_that, last = None, None, len(element) - 1
            for index, child in enumerate(element):
                if _is_more_than_its_place(child):
                    return None
                seen = (child.tag, child.get("class"))
                number = self._place(place, child, min(index, _INDEX_MAX), before, before_that, index == last)
                found.append((child, number))
                before, before_that = seen, before
        return found

    def _place(self, parent: int, element: Any, *among: object) -> int:
        attributes = tuple((name, value) for name, value in element.attrib.items() if name not in _UNSEEN)
        return self.places.setdefault((parent, element.tag, attributes, *among), len(self.places) + 1)


@cache
def install() -> None:
    """Make WeasyPrint ask for kept styles, in threads where there are some."""
    from weasyprint import css

    class KeptStyleFor(css.StyleFor):  # type: ignore[misc]
        """Styles of one document, each taken from the kept ones where it is there."""

        def __init__(
            self, html: Any, sheets: Any, presentational_hints: bool, font_config: Any, target_collector: Any
        ) -> None:
            kept: KeptStyles | None = getattr(_active, "styles", None)
            self._kept = kept
            places = None if kept is None or not kept.by_place else kept.places_of(html.etree_element)
            if kept is not None and places is not None and all(place in kept.of_places for _, place in places):
                self._cascaded_styles: dict[Any, Any] = {}
                self._sheets, self.font_config = sheets, font_config
                self._computed_styles = {
                    (element, pseudo): style
                    for element, place in places
                    for pseudo, style in kept.of_places[place].items()
                }
            else:
                super().__init__(html, sheets, presentational_hints, font_config, target_collector)
                if kept is not None and places is not None:
                    self._learn(kept, places)
            if kept is not None:
                self.initial_page_sizes = kept.page_sizes

        def _learn(self, kept: KeptStyles, places: list[tuple[Any, int]]) -> None:
            of_elements: dict[Any, dict[str | None, Any]] = {}
            for (element, pseudo), style in self._computed_styles.items():
                of_elements.setdefault(element, {})[pseudo] = style
                style.initial_page_sizes = kept.page_sizes
            for element, place in places:
                kept.of_places.setdefault(place, of_elements[element])

        def set_computed_styles(
            self,
            element: Any,
            parent: Any,
            root: Any = None,
            pseudo_type: str | None = None,
            base_url: str | None = None,
            target_collector: Any = None,
        ) -> None:
            kept = self._kept
            parent_style = None if parent is None else self._computed_styles[parent, None]
            inherits_own = kept is not None and parent_style is not None and id(parent_style) not in kept.kept_ids
            if kept is None or inherits_own or _has_own_declarations(element):
                super().set_computed_styles(element, parent, root, pseudo_type, base_url, target_collector)
                return
            cascaded = self._cascaded_styles.get((element, pseudo_type), {})
            key = (id(parent_style), pseudo_type, *(_identity(name, value[0]) for name, value in cascaded.items()))
            found = kept.styles.get(key)
            if found is None:
                super().set_computed_styles(element, parent, root, pseudo_type, base_url, target_collector)
                found = kept.styles[key] = self._computed_styles[element, pseudo_type]
                kept.kept_ids.add(id(found))
                found.initial_page_sizes = kept.page_sizes
                return
            self._computed_styles[element, pseudo_type] = found
            if target_collector and found["anchor"]:
                target_collector.collect_anchor(found["anchor"])

    css.StyleFor = KeptStyleFor


def _is_more_than_its_place(element: Any) -> bool:
    """Whether an element brings rules, is told to its document, or is none (a comment)."""
    if not isinstance(element.tag, str) or element.tag in _RULES:
        return True
    return element.tag != "meta" and not _TOLD.isdisjoint(element.attrib)


def _has_own_declarations(element: Any) -> bool:
    """Whether an element's attributes are declarations, which are read anew for each document."""
    return hasattr(element, "get") and any(element.get(name) for name in _STYLING)


def _identity(name: str, value: Any) -> tuple[str, object]:
    """What tells a declared value from others: itself where it comes from an attribute, else which object of the
    stylesheet it is. A kept style holds on to its values, so that no other takes the place of one.
    """
    return (name, value if isinstance(value, str) or name in _OF_ATTRIBUTES else id(value))
