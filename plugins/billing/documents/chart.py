"""Daily usage as small multiples: one row of bars an API, all over one axis of UTC days, as paths of one SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from billing.core.model import Cycle, DailyUsage
from billing.core.zones import zone
from billing.documents.texts import Texts, isolated

CHARTED_MAX = 6
"""How many APIs are charted at most: what fits beside a statement on its page."""

WIDTH, ROW = 1300, 90
"""The size of the drawing in tenths of a millimetre: of all rows, and from one row to the next."""

_BARS_HIGH = 70
_GAP = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ChartView:
    """The drawing and its words. ``bars``, ``floors`` and ``edges`` are SVG paths to be stroked, in a box ``WIDTH`` x
    ``height``: the usage, in strokes of ``bar_width``, the zero lines, and the cycle's two boundaries. ``labels`` are
    two lines a row: a name and its highest day.
    """

    title: str
    height: int
    labels: tuple[str, ...]
    bars: str
    bar_width: int
    floors: str
    edges: str
    starts: str
    ends: str
    alternative: str
    more: str


def chart_view(daily: Sequence[DailyUsage], cycle: Cycle, texts: Texts) -> ChartView | None:
    """The chart of the first APIs with usage; None where there is none. Days are those of ``daily``, in UTC."""
    used = [one for one in daily if any(quantity > 0 for quantity in one.quantities)]
    if not used:
        return None
    shown = used[:CHARTED_MAX]
    first = min(one.first_day for one in shown)
    days = max((one.first_day - first).days + len(one.quantities) for one in shown)
    last = first + timedelta(days=days - 1)
    names = ", ".join(isolated(one.api_name) for one in shown)
    span = {"first": texts.day(first), "last": texts.day(last)}
    more = {"shown": texts.decimal(len(shown)), "all": texts.decimal(len(used))}
    return ChartView(
        title=texts("Usage by UTC day, %(first)s – %(last)s", **span),
        height=ROW * len(shown),
        labels=tuple(line for one in shown for line in _label(one, texts)),
        bars="".join(_bars(one, row, (one.first_day - first).days, days) for row, one in enumerate(shown)),
        bar_width=round(max(WIDTH / days - _GAP, WIDTH / days / 2)),
        floors="".join(f"M0 {_floor(row)}h{WIDTH}" for row in range(len(shown))),
        edges="".join(_edge(instant, first, days, len(shown)) for instant in (cycle.start, cycle.end)),
        starts=texts("Period starts %(instant)s", instant=_local(cycle.start, cycle, texts)),
        ends=texts("Period ends %(instant)s", instant=_local(cycle.end, cycle, texts)),
        alternative=texts("Bars of the usage of each UTC day: %(apis)s", apis=names),
        more=texts("The first %(shown)s of %(all)s APIs are drawn.", **more) if len(used) > len(shown) else "",
    )


def _label(one: DailyUsage, texts: Texts) -> tuple[str, str]:
    return isolated(one.api_name), texts("highest day: %(quantity)s", quantity=texts.decimal(max(one.quantities)))


def _floor(row: int) -> int:
    return ROW * row + _BARS_HIGH + 6


def _bars(one: DailyUsage, row: int, offset: int, days: int) -> str:
    """One bar a day, scaled to the API's highest day: two commands each, as commands are what a path costs."""
    pitch, highest, floor = WIDTH / days, max(one.quantities), _floor(row)
    return "".join(
        f"M{(place + offset + 0.5) * pitch:.0f} {floor}v-{_height(quantity, highest):.0f}"
        for place, quantity in enumerate(one.quantities)
        if quantity > 0
    )


def _height(quantity: Decimal, highest: Decimal) -> float:
    # Usage that is not nothing is seen, however small beside the highest day.
    return max(float(quantity / highest) * _BARS_HIGH, 2)


def _edge(instant: datetime, first: date, days: int, rows: int) -> str:
    """An upright line at an instant, over all rows."""
    origin = datetime.combine(first, time(), UTC)
    part = (instant - origin) / timedelta(days=days)
    return f"M{min(max(part, 0), 1) * (WIDTH - 4) + 2:.0f} 0v{ROW * rows}"


def _local(instant: datetime, cycle: Cycle, texts: Texts) -> str:
    return f"{texts.minute(instant.astimezone(zone(cycle.time_zone)))} ({cycle.time_zone})"
