"""Computed styles kept from one document to the next: a quarter of the time, and not one byte, of a warm engine.

WeasyPrint computes the style of every element of every document anew, though one stylesheet gives the same few hundred
styles to all of them. Here a style is looked up by what it is computed from: its parent's style and the declarations
that apply. Within a document WeasyPrint shares equal styles itself, so sharing them further changes nothing.

It rests on two methods of WeasyPrint that are not public (``HTML._ua_stylesheets``, ``StyleFor.set_computed_styles``),
of the version that is pinned; with any other version nothing here is used, and only speed is lost.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

WEASYPRINT = "70.0"
"""The version whose methods these are."""

_STYLES_MAX = 20_000
"""More than any stylesheet gives; then all are forgotten."""
# Rules for every element of a page, for lists and notes that no document of ours has.
_FOR_LISTS_AND_NOTES = re.compile(r"^::(?:marker|footnote-|note-)[^}]*\}\n", re.MULTILINE)
_HAS_LISTS_OR_NOTES = re.compile(r"<(?:li|summary|ol|ul)\b|footnote|::marker", re.IGNORECASE)
_OF_ATTRIBUTES = frozenset({"lang", "anchor"})

_active = threading.local()


class KeptStyles:
    """The styles of one engine: of one stylesheet, set of fonts and size of page."""

    def __init__(self) -> None:
        self.styles: dict[tuple[object, ...], Any] = {}
        self.kept_ids: set[int] = set()
        self.page_sizes: dict[str, Any] = {"box": None, "area": None}

    @contextmanager
    def used(self) -> Iterator[None]:
        """Documents that this thread lays out in the block take their styles from here."""
        _install()
        if len(self.styles) > _STYLES_MAX:
            self.styles.clear()
            self.kept_ids.clear()
        _active.styles = self
        try:
            yield
        finally:
            _active.styles = None


def has_lists_or_notes(text: str) -> bool:
    """Whether a page or a stylesheet may want the rules that ``lean_html`` leaves out."""
    return _HAS_LISTS_OR_NOTES.search(text) is not None


@cache
def lean_html() -> Any:
    """WeasyPrint's ``HTML`` without six rules that would give every element of a page six styles of no use."""
    from weasyprint import CSS, HTML
    from weasyprint.html import UA, UA_COUNTER_STYLE

    rules = CSS(string=_FOR_LISTS_AND_NOTES.sub("", UA), counter_style=UA_COUNTER_STYLE)

    class LeanHTML(HTML):  # type: ignore[misc]
        def _ua_stylesheets(self, forms: bool = False) -> list[Any]:
            return [rules]

    return LeanHTML


@cache
def _install() -> None:
    """Make WeasyPrint ask for kept styles, in threads where there are some."""
    from weasyprint import css

    class KeptStyleFor(css.StyleFor):  # type: ignore[misc]
        """Styles of one document, each taken from the kept ones where it is there."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            self._kept: KeptStyles | None = getattr(_active, "styles", None)
            super().__init__(*arguments, **named)
            if self._kept is not None:
                self.initial_page_sizes = self._kept.page_sizes

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


def _has_own_declarations(element: Any) -> bool:
    """Whether an element's attributes are declarations, which are read anew for each document."""
    return hasattr(element, "get") and any(element.get(name) for name in ("style", "width", "height"))


def _identity(name: str, value: Any) -> tuple[str, object]:
    """What tells a declared value from others: itself where it comes from an attribute, else which object of the
    stylesheet it is. A kept style holds on to its values, so that no other takes the place of one.
    """
    return (name, value if isinstance(value, str) or name in _OF_ATTRIBUTES else id(value))
