"""Usage as the pages ask for it: which days, which panels of which series, and all of it as CSV."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from io import StringIO

from sqlalchemy import Connection

from billing.core.errors import UsageError
from billing.core.formulas import harmless
from billing.core.months import Month
from billing.core.usage_views import MONTHS_BACK, oldest_day
from billing.web.pages.bars import Panel, Series, panel
from billing.web.pages.wording import units
from billing.web.reading.usage import UsagePage, UsageSeries, UsageTotal, usage
from billing.web.viewer import Viewer

NO_APP = "no app"
_LAST = (7, 30, 90)


class Stack(StrEnum):
    """What bars are stacked of: an API's apps; or, a chart a usage unit, the APIs that share it."""

    APP = "app"
    API = "api"


def interval(days: str, at: datetime) -> tuple[date, date]:
    """The days ``[first, until)`` that ``days`` names: a number of last ones, a month, or ``all`` that are kept."""
    today = at.astimezone(UTC).date()
    until = today + timedelta(days=1)
    if days == "all":
        return oldest_day(today), until
    if "-" not in days:
        return until - timedelta(days=max(int(days), 1)), until
    try:
        month = Month.parse(days)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return month.first_day, month.next.first_day


def periods(at: datetime) -> tuple[tuple[str, str], ...]:
    """What can be chosen, with its words: last days, all, and each month of the last 24."""
    month = Month.of(at.astimezone(UTC).date())
    found = [(str(count), f"Last {count} days") for count in _LAST]
    found.append(("all", f"Last {MONTHS_BACK} months, by month"))
    for _ in range(MONTHS_BACK):
        found.append((str(month), f"{month.first_day:%B %Y}"))
        month = month.before
    return tuple(found)


def panels(page: UsagePage, stack: Stack, *, api: str = "", app: str = "") -> list[Panel]:
    """Charts of a page that is by app, the largest APIs (or units) in the order of their names."""
    chosen = [one for one in page.series if _is_chosen(one, api, app)]
    keys = sorted({_panel_key(one, stack) for one in chosen})
    found = []
    for key in keys:
        mine = [one for one in chosen if _panel_key(one, stack) == key]
        by_id: dict[tuple[str, str], list[Sequence[Decimal]]] = {}
        for one in mine:
            by_id.setdefault(_named(one, stack), []).append(one.quantities)
        twins = Counter(name for name, _ in by_id)
        series = [
            Series(name=name if twins[name] == 1 else f"{name} ({one})", quantities=_added(each))
            for (name, one), each in by_id.items()
        ]
        title = key[0] if stack is Stack.APP else f"Everything counted in {units(key[0])}"
        found.append(panel(title, mine[0].usage_unit, page.first_day, series))
    return found


def totals(page: UsagePage, *, api: str = "", app: str = "") -> list[UsageTotal]:
    """The sums of what is chosen."""
    return [one for one in page.totals if _is_chosen(one, api, app)]


def apis(page: UsagePage) -> list[tuple[str, str]]:
    """The APIs that were used, with their names."""
    return sorted({(one.api, one.api_name or one.api) for one in page.totals})


def apps(page: UsagePage) -> list[tuple[str, str]]:
    """The apps that used anything, with their names."""
    return sorted({(one.app_id, one.app_name or one.app_id) for one in page.totals if one.app_id})


def every_series(
    connection: Connection, viewer: Viewer, team_id: str, at: datetime, first: date, until: date, api: str
) -> list[UsagePage]:
    """Pages that together have every series: one, or one an API where there are more series than one has."""

    def read(one: str) -> UsagePage:
        return usage(connection, viewer, team_id, at=at, first_day=first, until_day=until, api=one, by_app=True)

    whole = read(api)
    if not whole.series_left_out:
        return [whole]
    found = [read(one) for one, _ in apis(whole)]
    if any(page.series_left_out for page in found):
        raise UsageError("These are more apps than one file has; choose one API and fewer days.")
    return found


def csv_text(found: Sequence[UsagePage], *, api: str = "", app: str = "") -> str:
    """A line a UTC day, API and app that used anything, in this order. What a spreadsheet could take for a formula
    begins with an apostrophe.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(("day", "api", "app_id", "quantity", "usage_unit"))
    for day, one, app_id, quantity, unit in sorted(_rows(found, api, app)):
        writer.writerow((day, harmless(one), harmless(app_id), quantity, harmless(unit)))
    return text.getvalue()


def _rows(found: Iterable[UsagePage], api: str, app: str) -> Iterator[tuple[str, str, str, str, str]]:
    for page in found:
        for one in page.series:
            if _is_chosen(one, api, app):
                for place, quantity in enumerate(one.quantities):
                    if quantity:
                        day = page.first_day + timedelta(place)
                        yield str(day), one.api, one.app_id or "", f"{quantity.normalize():f}", one.usage_unit


def _is_chosen(one: UsageSeries | UsageTotal, api: str, app: str) -> bool:
    return (not api or one.api == api) and (not app or one.app_id == app)


def _panel_key(one: UsageSeries, stack: Stack) -> tuple[str, str]:
    return (one.api_name or one.api, one.api) if stack is Stack.APP else (one.usage_unit, "")


def _named(one: UsageSeries, stack: Stack) -> tuple[str, str]:
    if stack is Stack.API:
        return one.api_name or one.api, one.api
    return one.app_name or one.app_id or NO_APP, one.app_id or ""


def _added(each: Sequence[Sequence[Decimal]]) -> list[Decimal]:
    return [sum(day, Decimal(0)) for day in zip(*each, strict=True)]
