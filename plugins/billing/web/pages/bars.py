"""Usage by day as SVG: a row of bars a panel, stacked by app or by API.

Sizes across are per cent, so that a drawing is as wide as its page while its text keeps its size; colours are classes
of the stylesheet, so that it needs no style of its own. Exact sums; only places on the page are rounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_CEILING, Decimal

from billing.web.pages.wording import day, number, units

OWN_COLOURS = 5
"""So many series of a panel have a colour of their own; all others are one."""
DAYS_MAX = 93
"""Longer spans are drawn by month."""
HEIGHT_PX, _TOP_PX, _BOTTOM_PX = 150, 14, 18
_TICKS = 8
_OTHERS = "others"


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Quantities by day of what is stacked."""

    name: str
    quantities: Sequence[Decimal]


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A piece of a bar: ``y_px`` down from the top."""

    colour: str
    y_px: str
    height_px: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """All of a day, or a month. ``says``: what is in it, for who points at it."""

    label: str
    x: str
    width: str
    says: str
    total: Decimal
    quantities: tuple[Decimal, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A text on an axis: across in per cent, or down in pixels."""

    text: str
    place: str
    anchor: str = "middle"


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """A chart of one unit. ``series`` are the names with their colours, in the order of the stack."""

    title: str
    unit: str
    total: Decimal
    series: tuple[tuple[str, str], ...]
    bars: tuple[Bar, ...]
    levels: tuple[Mark, ...]
    marks: tuple[Mark, ...]
    by_month: bool
    base_px: int = HEIGHT_PX - _BOTTOM_PX
    height_px: int = HEIGHT_PX


def panel(title: str, unit: str, first: date, series: Iterable[Series]) -> Panel:
    """Draw one. Every series has a quantity for each day from ``first`` on."""
    kept = _largest(list(series))
    days = len(kept[0].quantities) if kept else 0
    by_month = days > DAYS_MAX
    spans = _months(first, days) if by_month else [(first + timedelta(n), n, n + 1) for n in range(days)]
    sums = [tuple(sum(one.quantities[low:high], Decimal(0)) for one in kept) for _, low, high in spans]
    top = _nice(max((sum((q for q in each if q > 0), Decimal(0)) for each in sums), default=Decimal(0)))
    colours = [f"s{place}" if one.name != _OTHERS else "so" for place, one in enumerate(kept, start=1)]
    names = [one.name for one in kept]
    bars = tuple(
        _bar(start, place, len(spans), each, names, colours, unit, top, by_month)
        for place, ((start, _, _), each) in enumerate(zip(spans, sums, strict=True))
    )
    return Panel(
        title=title,
        unit=units(unit),
        total=sum((bar.total for bar in bars), Decimal(0)),
        series=tuple(zip(names, colours, strict=True)),
        bars=bars,
        levels=tuple(Mark(text=number(top * n / 2), place=_px(_TOP_PX + _plot() * (2 - n) / 2)) for n in (1, 2)),
        marks=_marks(bars),
        by_month=by_month,
    )


def _largest(series: list[Series]) -> list[Series]:
    """Those with a colour of their own, by name of the largest sums; the others together."""
    ordered = sorted(series, key=lambda one: (-sum(one.quantities, Decimal(0)), one.name))
    own, rest = ordered[:OWN_COLOURS], ordered[OWN_COLOURS:]
    if not rest:
        return own
    together = [sum(each, Decimal(0)) for each in zip(*(one.quantities for one in rest), strict=True)]
    return [*own, Series(name=_OTHERS, quantities=together)]


def _months(first: date, days: int) -> list[tuple[date, int, int]]:
    """The first day of each month's part, and which days are in it."""
    starts = [n for n in range(days) if n == 0 or (first + timedelta(n)).day == 1]
    return [(first + timedelta(low), low, high) for low, high in zip(starts, [*starts[1:], days], strict=True)]


def _bar(
    start: date,
    place: int,
    count: int,
    sums: tuple[Decimal, ...],
    names: Sequence[str],
    colours: Sequence[str],
    unit: str,
    top: Decimal,
    by_month: bool,
) -> Bar:
    label = f"{start:%b %Y}" if by_month else day(start)
    said = [f"{name}: {number(q)}" for name, q in zip(names, sums, strict=True) if q]
    total = sum(sums, Decimal(0))
    blocks, reached = [], Decimal(0)
    for colour, quantity in zip(colours, sums, strict=True):
        if quantity > 0 and top:
            reached += quantity
            y, height = _plot() * (1 - reached / top), _plot() * quantity / top
            blocks.append(Block(colour=colour, y_px=_px(_TOP_PX + y), height_px=_px(max(height, Decimal("0.5")))))
    width = Decimal(100) / count
    return Bar(
        label=label,
        x=_percent(width * place + width / 8),
        width=_percent(width * 3 / 4),
        says=f"{label}: {number(total)} {units(unit, total)}" + (f" ({'; '.join(said)})" if len(said) > 1 else ""),
        total=total,
        quantities=sums,
        blocks=tuple(blocks),
    )


def _marks(bars: Sequence[Bar]) -> tuple[Mark, ...]:
    """A few labels below: the first and the last stay inside the drawing."""
    step = max(1, -(-len(bars) // _TICKS))
    width = Decimal(100) / max(len(bars), 1)
    found = []
    for place in range(0, len(bars), step):
        anchor, x = ("start", width * place) if place == 0 else ("middle", width * place + width / 2)
        if x <= 95:
            found.append(Mark(text=bars[place].label.rsplit(" ", 1)[0], place=_percent(x), anchor=anchor))
    return tuple(found)


def _nice(most: Decimal) -> Decimal:
    """The least of 1, 2, 4, 5, 10 times a power of ten that is not below."""
    if most <= 0:
        return Decimal(0)
    power = Decimal(1).scaleb(most.adjusted())
    factor = next(n for n in (1, 2, 4, 5, 10) if n * power >= most)
    return factor * power


def _plot() -> Decimal:
    return Decimal(HEIGHT_PX - _TOP_PX - _BOTTOM_PX)


def _px(value: Decimal) -> str:
    return f"{value.quantize(Decimal('0.1'), ROUND_CEILING):f}"


def _percent(value: Decimal) -> str:
    return f"{value.quantize(Decimal('0.001')):f}%"
