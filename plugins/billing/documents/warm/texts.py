"""Texts laid out once a document and set up once a style.

WeasyPrint makes a Pango context, a font description and a layout for every text, drops the layout when the text has its
place, and makes all three again to draw it. Here the context and the description stay with the style, which
``styles.py`` keeps between documents, and a layout lives from its place to its drawing.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

_LAYOUTS_MAX = 10_000
"""Texts of one document whose layouts wait to be drawn, a few KB each; later ones are laid out again, as WeasyPrint
does it."""

_PLAIN = {
    "text_decoration_line": "none",
    "font_language_override": "normal",
    "font_kerning": "auto",
    "font_variant_ligatures": "normal",
    "font_variant_position": "normal",
    "font_variant_caps": "normal",
    "font_variant_numeric": "normal",
    "font_variant_alternates": "normal",
    "font_variant_east_asian": "normal",
    "font_feature_settings": "normal",
}

_document = threading.local()


def begin_document() -> None:
    """A new document of this thread begins, with no layouts waiting."""
    _document.waiting = 0


@cache
def install() -> None:
    """Make WeasyPrint keep Pango's context and font with a style, and a text's layout until it is drawn."""
    from weasyprint.text import line_break
    from weasyprint.text.constants import PANGO_DIRECTION
    from weasyprint.text.ffi import ffi, gobject, pango
    from weasyprint.text.fonts import get_font_description

    stock_key = line_break._font_style_cache_key

    class KeptLayout(line_break.Layout):  # type: ignore[misc]
        """A text's layout, which waits to be drawn."""

        is_waiting = False
        language: Any

        def setup(self, style: Any) -> None:
            kept = style.__dict__.get("_pango")
            if kept is None:
                super().setup(style)
                if _is_plain(style):
                    style._pango = self._context_of(style), get_font_description(style), self.language
                return
            context, description, self.language = kept
            self.style, self.first_line_direction = style, 0
            self.ascent = self.underline_position = self.strikethrough_position = None
            self.layout = ffi.gc(pango.pango_layout_new(context), gobject.g_object_unref)
            pango.pango_layout_set_auto_dir(self.layout, False)
            pango.pango_layout_set_font_description(self.layout, description)

        def _context_of(self, style: Any) -> Any:
            context = ffi.gc(pango.pango_font_map_create_context(style.font_config.font_map), gobject.g_object_unref)
            pango.pango_context_set_round_glyph_positions(context, False)
            pango.pango_context_set_base_dir(context, PANGO_DIRECTION[style["direction"]])
            if style["lang"]:
                pango.pango_context_set_language(context, self.language)
            return context

        def deactivate(self) -> None:
            waiting = getattr(_document, "waiting", _LAYOUTS_MAX)
            if self.is_waiting or self.justification_spacing or waiting >= _LAYOUTS_MAX:
                self.is_waiting = False
                super().deactivate()
                return
            _document.waiting, self.is_waiting = waiting + 1, True

        def reactivate(self, style: Any) -> None:
            if not self.is_waiting:
                super().reactivate(style)

    def font_style_cache_key(style: Any, include_size: bool = False) -> str:
        keys: dict[bool, str] = style.__dict__.setdefault("_font_keys", {})
        if include_size not in keys:
            keys[include_size] = stock_key(style, include_size)
        return keys[include_size]

    line_break.Layout = KeptLayout
    line_break._font_style_cache_key = font_style_cache_key


def _is_plain(style: Any) -> bool:
    """Whether a style wants nothing of a layout but its font, language and direction."""
    return all(style[name] == value for name, value in _PLAIN.items())
