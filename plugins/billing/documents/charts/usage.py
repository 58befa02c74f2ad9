"""Usage by UTC day: a row of bars an API, as their units differ, stacked by app."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from billing.documents.charts.colours import SERIES, stand_in
from billing.documents.charts.fonts import FAMILIES

CHARTED_MAX = 6
"""How many APIs are drawn at most."""

_ROW_PX, _GAP_PX, _SMALL_PX = 84, 16, 480
_ROOT = re.compile(r"<svg [^>]*>")
_TAG = re.compile(r"<[^>]*>")
_NOISE = re.compile(r' (?:aria-[a-z]+|role|pointer-events|class)="[^"]*"')
_EMPTY = re.compile(r'<path(?: d="(?:M0,0h[0-9.]+v[0-9.]+h-?[0-9.]+Z)?")?(?: display="none")?/>')


@dataclass(frozen=True, kw_only=True, slots=True)
class Bars:
    """Usage of one series (an app, as a rule), a number a day."""

    name: str
    quantities: Sequence[float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """A row of the chart: what it is of and in which unit, and what is stacked in it."""

    title: str
    bars: Sequence[Bars]


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageChart:
    """A chart before it is drawn. ``days`` name the places on the axis, ``other`` all series without a colour of their
    own; ``title`` and ``description`` are for those who cannot see it. ``decimal`` and ``thousands`` separate figures.
    """

    title: str
    description: str
    panels: Sequence[Panel]
    days: Sequence[str]
    other: str
    decimal: str = "."
    thousands: str = ","


def draw(chart: UsageChart, *, width_px: int, element_id: str) -> str:
    """The chart as an SVG element in stand-ins of its colours, to be ``coloured``: the same for the same chart and
    versions.
    """
    import vl_convert

    figures = {"decimal": chart.decimal, "thousands": chart.thousands, "grouping": [3], "currency": ["", ""]}
    compiled = vl_convert.vegalite_to_vega(_specification(chart, width_px))
    svg = vl_convert.vega_to_svg(compiled, format_locale=figures)
    return _accessible(svg, chart, element_id)


def named(panels: Sequence[Panel]) -> list[str]:
    """The series that have a colour of their own: those with the largest share of any panel, in the order of names."""
    share: dict[str, float] = {}
    for panel in panels:
        whole = sum(sum(bars.quantities) for bars in panel.bars) or 1
        for bars in panel.bars:
            share[bars.name] = max(share.get(bars.name, 0), sum(bars.quantities) / whole)
    largest = sorted(share, key=lambda name: (-share[name], name))
    # Where one more would fill the place of "other", it has a colour too many.
    return sorted(largest[:SERIES])


def _specification(chart: UsageChart, width_px: int) -> dict[str, Any]:
    import altair as alt

    own = named(chart.panels)
    scale = alt.Scale(
        domain=[*own, chart.other],
        range=[*(stand_in(f"series-{number}") for number in range(1, len(own) + 1)), stand_in("other")],
    )
    shown = {bars.name for panel in chart.panels for bars in panel.bars}
    legend = alt.Legend(
        title=None, orient="top", values=[*own, *([chart.other] if shown - set(own) else [])], symbolType="square"
    )
    colour = alt.Color("s:N", scale=scale, legend=legend if len(shown) > 1 else None)
    rows = [_row(f"panel-{place}", chart, panel.title, colour, width_px) for place, panel in enumerate(chart.panels)]
    whole = alt.vconcat(*rows, spacing=_GAP_PX).resolve_scale(y="independent", color="shared")
    values = {f"panel-{place}": _values(panel, chart, own) for place, panel in enumerate(chart.panels)}
    return {**whole.to_dict(validate=False), "datasets": values, "config": _style(width_px)}


def _values(panel: Panel, chart: UsageChart, own: Sequence[str]) -> list[dict[str, object]]:
    """A row a day and series; all series without a colour of their own are one."""
    sums: dict[tuple[str, str], float] = {}
    for bars in panel.bars:
        name = bars.name if bars.name in own else chart.other
        for day, quantity in zip(chart.days, bars.quantities, strict=True):
            sums[day, name] = sums.get((day, name), 0) + quantity
    return [{"d": day, "s": name, "q": quantity} for (day, name), quantity in sums.items() if quantity]


def _row(data: str, chart: UsageChart, title: str, colour: Any, width_px: int) -> Any:
    import altair as alt

    ticks = list(chart.days)[:: 7 if width_px > _SMALL_PX else 10]
    return (
        alt.Chart(alt.NamedData(name=data), title=alt.TitleParams(title))
        .mark_bar()
        .encode(
            x=alt.X(
                "d:O",
                title=None,
                scale=alt.Scale(domain=list(chart.days), paddingInner=0.25),
                axis=alt.Axis(values=ticks, labelAngle=0),
            ),
            y=alt.Y("q:Q", title=None, stack="zero", axis=alt.Axis(tickCount=3, format=",~f")),
            color=colour,
            order=alt.Order("s:N"),
        )
        .properties(width=width_px - 70, height=_ROW_PX)
    )


def _style(width_px: int) -> dict[str, Any]:
    ink, muted, rule = stand_in("ink"), stand_in("muted"), stand_in("rule")
    is_wide = width_px > _SMALL_PX
    axis = {"labelColor": muted, "labelFontSize": 11, "labelPadding": 4, "ticks": False}
    return {
        "font": FAMILIES,
        "background": "transparent",
        "aria": False,
        "view": {"stroke": None},
        "axis": {**axis, "domainColor": rule, "gridColor": rule},
        "axisX": {"grid": False},
        "axisY": {"domain": False, "minExtent": 50, "maxExtent": 50},
        "title": {"anchor": "start", "color": ink, "fontSize": 12, "fontWeight": 600, "limit": width_px - 20},
        "legend": {
            "labelColor": ink,
            "labelFontSize": 11,
            "labelLimit": 160 if is_wide else 110,
            "columns": 3 if is_wide else 2,
        },
    }


def _accessible(svg: str, chart: UsageChart, element_id: str) -> str:
    """With a name and a description, and a size that follows the page; without what is drawn by nobody."""
    found = _ROOT.match(svg)
    size = re.search(r'viewBox="[^"]*"', found[0]) if found else None
    if found is None or size is None:
        raise ValueError("vl-convert drew no SVG")
    title, described = f"{element_id}-title", f"{element_id}-desc"
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size[0]} role="img" aria-labelledby="{title} {described}">'
        f'<title id="{title}">{escape(chart.title)}</title><desc id="{described}">{escape(chart.description)}</desc>'
    )
    # The chart is one image to a screen reader; what a table beside it tells is not told mark by mark again.
    bare = _TAG.sub(lambda tag: _NOISE.sub("", tag[0]), svg[found.end() :])
    return root + _EMPTY.sub("", bare)
