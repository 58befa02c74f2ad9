"""What is used of a style kept with it, where the box has no say in it.

For every box WeasyPrint resolves eighteen lengths against the box around it, though hardly any is a percentage, and
looks for images, shadows and round corners, of which hardly any box has one.
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
_RADII = tuple(f"border_{corner}_radius" for corner in ("top_left", "top_right", "bottom_right", "bottom_left"))
_SQUARE = dict.fromkeys(_RADII, (0, 0))
_IN_FLOW = frozenset({"static", "relative"})
_BORDERS = tuple(f"border_{side}_width" for side in _SIDES)


@cache
def install() -> None:
    """Make WeasyPrint keep with a style its lengths without percentages, and whether there is nothing to paint."""
    from weasyprint.formatting_structure import boxes as layout_boxes
    from weasyprint.layout import background, percent

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

    stock_backgrounds = background.layout_box_backgrounds

    def layout_box_backgrounds(
        page: Any, box: Any, get_image: Any, layout_children: bool = True, style: Any = None
    ) -> None:
        own = box.style.__dict__
        if style is not None or box is page or not own.get("_is_bare"):
            stock_backgrounds(page, box, get_image, layout_children, style)
            own["_is_bare"] = _is_bare(box.style)
            return
        box.__dict__.update(_SQUARE)
        box.background = None
        if layout_children:
            for child in box.all_children():
                layout_box_backgrounds(page, child, get_image)

    layout_boxes.Box.is_in_normal_flow = is_in_normal_flow
    background.layout_box_backgrounds = layout_box_backgrounds
    for name, module in list(sys.modules.items()):
        if name.startswith("weasyprint.") and getattr(module, "resolve_percentages", None) is stock:
            module.resolve_percentages = resolve_percentages  # type: ignore[attr-defined]


def _is_its_own(style: Any) -> bool:
    """Whether lengths are lengths whatever is around, and nothing is taken from them."""
    if style["box_sizing"] != "content-box":
        return False
    values = (style[name] for name in _LENGTHS)
    return all(value is None or value == "auto" or getattr(value, "unit", "%") != "%" for value in values)


def _is_bare(style: Any) -> bool:
    """Whether there is nothing to paint behind a box, and its corners are square."""
    from weasyprint.draw.color import get_color

    return (
        all((0, "px") in style[name] for name in _RADII)
        and style["border_image_source"][0] == style["mask_border_source"][0] == "none"
        and not style["box_shadow"]
        and not any(value for _, value in style["background_image"])
        and get_color(style, "background_color").alpha == 0
    )
