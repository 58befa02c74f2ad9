"""What a chart is drawn with. It is drawn in stand-ins first: one drawing serves paper, and a page, light and dark."""

from __future__ import annotations

import re
from collections.abc import Mapping

SERIES = 5
"""How many series have a colour of their own; ``other`` is for all that are left."""

NAMES = ("ink", "muted", "rule", *(f"series-{number}" for number in range(1, SERIES + 1)), "other")
_STAND_INS = {name: f"#0a{number:02x}f7" for number, name in enumerate(NAMES)}
_STAND_IN = re.compile("|".join(_STAND_INS.values()))
_NAME_OF = {colour: name for name, colour in _STAND_INS.items()}

# With the theme's own colour for bars as the first: told apart also by who does not see red and green alike.
_LIGHT = ("#d98a3d", "#6f5fa8", "#5b9a6b", "#b8506f")
_DARK = ("#e6a869", "#a99be0", "#8ccb9a", "#e58aa6")
_OTHER = ("#9aa3ad", "#7c8794")


def stand_in(name: str) -> str:
    """The colour to draw with in the place of a name."""
    return _STAND_INS[name]


def fixed(theme: Mapping[str, str]) -> dict[str, str]:
    """Colours for paper: ``theme`` has ink, muted, rule and chart."""
    series = (theme["chart"], *_LIGHT)
    return {
        "ink": theme["ink"],
        "muted": theme["muted"],
        "rule": theme["rule"],
        **{f"series-{number}": colour for number, colour in enumerate(series, start=1)},
        "other": _OTHER[0],
    }


def dark(theme: Mapping[str, str]) -> dict[str, str]:
    """Colours on a dark ground."""
    light = fixed(theme)
    series = (f"color-mix(in oklab, {light['series-1']}, white 35%)", *_DARK)
    return {
        "ink": "#e8ebee",
        "muted": "#a3adb8",
        "rule": "#333c46",
        **{f"series-{number}": colour for number, colour in enumerate(series, start=1)},
        "other": _OTHER[1],
    }


def variables() -> dict[str, str]:
    """CSS variables by name, as a page defines them: ``--chart-ink``, ``--chart-series-1`` ..."""
    return {name: f"var(--chart-{name})" for name in NAMES}


def coloured(svg: str, colours: Mapping[str, str]) -> str:
    """A drawing with its stand-ins replaced."""
    return _STAND_IN.sub(lambda found: colours[_NAME_OF[found[0]]], svg)
