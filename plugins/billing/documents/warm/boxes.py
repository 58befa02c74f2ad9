"""Used values kept with the style, where the box around it has no say in them.

For every box WeasyPrint resolves eighteen lengths against the box around it, though hardly any is a percentage.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

_SIDES = ("top", "right", "bottom", "left")
_LENGTHS = (
    *(f"{what}_{side}" for what in ("margin", "padding") for side in _SIDES),
    *(f"{bound}{axis}" for axis in ("width", "height") for bound in ("", "min_", "max_")),
)
_IN_FLOW = frozenset({"static", "relative"})
_BORDERS = tuple(f"border_{side}_width" for side in _SIDES)


@cache
def install() -> None:
    """Make WeasyPrint keep the used values of styles that have no percentages."""
    from weasyprint.formatting_structure import boxes as layout_boxes
    from weasyprint.layout import percent

    stock = percent.resolve_percentages

    def resolve_percentages(box: Any, containing_block: Any) -> None:
        style, used = box.style, box.__dict__
        kept = style.__dict__.get("_used")
        if kept is None:
            stock(box, containing_block)
            style._used = {name: used[name] for name in _LENGTHS} if _is_its_own(style) else {}
        elif not kept:
            stock(box, containing_block)
        else:
            used.update(kept)
            is_collapsed = style["border_collapse"] == "collapse"
            for name in _BORDERS:
                if not (is_collapsed and name in used):
                    used[name] = style[name]

    def is_in_normal_flow(box: Any) -> bool:
        """The six questions of WeasyPrint, with their one answer: all other values of the two take a box out."""
        return box.style["float"] == "none" and box.style["position"] in _IN_FLOW

    layout_boxes.Box.is_in_normal_flow = is_in_normal_flow
    for name, module in list(sys.modules.items()):
        if name.startswith("weasyprint.") and getattr(module, "resolve_percentages", None) is stock:
            module.resolve_percentages = resolve_percentages  # type: ignore[attr-defined]


def _is_its_own(style: Any) -> bool:
    """Whether lengths are lengths whatever is around, and nothing is taken from them."""
    if style["box_sizing"] != "content-box":
        return False
    values = (style[name] for name in _LENGTHS)
    return all(value is None or value == "auto" or getattr(value, "unit", "%") != "%" for value in values)
