"""Figures, instants and states in words: exact, grouped, never through a float. Pure functions; ``at`` is the instant
of the request.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import ROUND_DOWN, Decimal
from zoneinfo import ZoneInfo

from billing.core.forecast import HISTORY_DAYS, SHARE_PERCENT
from billing.core.model import UNFUNDED, Kind, ParkedReason
from billing.core.months import Month
from billing.core.outlook import HORIZON_DAYS, Why
from billing.core.quantity import minor_digits, three_digits
from billing.web.reading.alerts import AlertRow
from billing.web.reading.invoice import InvoicePage
from billing.web.reading.known import Api
from billing.web.reading.team import BalanceRow

MINUS = "−"
SOURCES: Mapping[str, str] = {
    Kind.FREE.value: "Free",
    Kind.TOKEN_FLEX.value: "Token Flex",
    Kind.FLEX.value: "Flex",
    Kind.PAYG.value: "Pay as you go",
    Kind.CAPACITY.value: "Capacity",
    UNFUNDED: "Unfunded",
}
_ALERTS: Mapping[str, str] = {
    "unfunded": "Usage that nothing pays for",
    "payment_missing": "No payment method",
    "payment_expires": "Payment method expires",
    "low": "Balance is low",
    "runs_out": "Balance runs out",
    "ends": "Balance ends unused",
    "unassigned": "Subscription without a team",
}
OFTEN = f"in {SHARE_PERCENT // 10} of 10 cases"
"""How often what comes is within the range of a forecast."""
_MENDS: Mapping[str, str] = {
    ParkedReason.NO_UNIT_SIZE: "An API was used while it had no unit size. Add one to unit_rates, from its first use.",
    ParkedReason.NO_TAX_RATE: "The customer’s country has no tax rate on the period’s last day. Add one to tax_rates.",
    ParkedReason.BOUND_EXCEEDED: (
        "There are more units than a cycle may have. Look for wrong usage; if it is right, raise max_units_per_cycle."
    ),
    ParkedReason.MISSING_PARTICULARS: "The invoice could not be issued legally: fill in what is missing.",
    ParkedReason.INVALID_INVOICE: "Mend the code or the name that this rule of EN 16931 speaks of.",
    ParkedReason.REJECTED: "A person left it out at approval; the next close rates it again, and asks.",
}
"""What lets a parked team be billed, by reason (rule 3.8)."""
_BAD_STATES = frozenset({"declined", "blocked", "uncollected", "disputed", "charged_back", "overdue", "failed"})
_WARNING_STATES = frozenset({"authentication_required", "partly_paid", "overpaid", "processing", "stopped", "open"})
_GOOD_STATES = frozenset({"paid", "nothing_due", "committed", "success", "passed", "issued_all", "sent"})


def number(value: Decimal | int) -> str:
    """A quantity, exact, in groups of three: ``1,234.5``."""
    text = f"{Decimal(value):,f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", MINUS)


def money(value: Decimal, currency: str) -> str:
    """An amount with the digits that it has: ``1,234.50 EUR``."""
    return f"{value:,f}".replace("-", MINUS) + f" {currency}"


def price(value: Decimal, currency: str) -> str:
    """A unit price, exact, with at least the currency's digits: ``2.60 EUR``, ``0.3125 EUR``."""
    digits = max(minor_digits(currency), -int(value.normalize().as_tuple().exponent))
    return f"{value:,.{digits}f} {currency}"


def percent(share: Decimal) -> str:
    """A share in whole per cent, rounded towards none left: what is not all is never shown as 100 %."""
    whole = (share * 100).to_integral_value(ROUND_DOWN)
    return "under 1 %" if share > 0 and whole == 0 else f"{whole} %".replace("-", MINUS)


def permille(share: Decimal | None) -> int:
    """A share as a whole number of 0 to 1000, for a bar."""
    return int(min(max(share or Decimal(0), Decimal(0)), Decimal(1)) * 1000)


def size(count: int) -> str:
    """Bytes in a unit that reads well."""
    return f"{count:,} bytes" if count < 10_000 else f"{count // 1000:,} kB"


def day(value: date) -> str:
    """``15 Jul 2026``."""
    return f"{value.day} {value:%b %Y}"


def absolute(value: datetime) -> str:
    """``15 Jul 2026, 09:30 UTC``."""
    instant = value.astimezone(UTC)
    return f"{day(instant.date())}, {instant:%H:%M} UTC"


def local(value: datetime, zone: str) -> str:
    """``15 Jul 2026, 11:30 Europe/Paris``."""
    there = value.astimezone(ZoneInfo(zone))
    return f"{day(there.date())}, {there:%H:%M} {zone}"


def edge(day_of_period: date, value: datetime, zone: str) -> str:
    """The first or last day of a period; with the local time where the period's edge is no midnight."""
    there = value.astimezone(ZoneInfo(zone))
    return day(day_of_period) if there.time() == time() else f"{day(day_of_period)}, {there:%H:%M}"


def relative(value: datetime, at: datetime) -> str:
    """Whole days that lie between, never more than there are; ``today`` and ``tomorrow`` are UTC days."""
    nights = (value.astimezone(UTC).date() - at.astimezone(UTC).date()).days
    if nights == 0:
        return "today"
    if abs(nights) == 1:
        return "tomorrow" if nights > 0 else "yesterday"
    whole = abs(value - at).days
    days = "1 day" if whole == 1 else f"{whole:,} days"
    return f"in {days}" if value > at else f"{days} ago"


def dated(value: datetime, at: datetime) -> str:
    """``23 Aug 2026 (in 12 days)``: the UTC day, also for who prints the page or has no pointer to rest on it."""
    return f"{day(value.astimezone(UTC).date())} ({relative(value, at)})"


def since(value: datetime, at: datetime) -> str:
    """How long ago, in the largest whole unit of minutes, hours or days; the instant where it is yet to come."""
    minutes = int((at - value).total_seconds()) // 60
    if minutes < 0:
        return absolute(value)
    for unit, of in (("day", 1440), ("hour", 60), ("minute", 1)):
        if minutes >= of:
            whole = minutes // of
            return f"{whole:,} {unit}{'' if whole == 1 else 's'} ago"
    return "just now"


def word(value: str) -> str:
    """An identifier of a state or reason as words."""
    return SOURCES.get(value) or value.replace("_", " ")


def mend(reason: str) -> str:
    """What is to be done about a parked team."""
    return _MENDS.get(reason, "")


def month(text: str) -> str:
    """``March 2024`` for ``2024-03``."""
    return f"{Month.parse(text).first_day:%B %Y}"


def counted(count: int, one: str, many: str = "") -> str:
    """``1 invoice``, ``2 invoices``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def units(unit: str, count: Decimal | int = 2) -> str:
    """A usage unit in the plural where it is a plain English word: ``minutes``, and still ``MB``."""
    is_plain = unit[-1:].isascii() and unit[-1:].islower() and not unit.endswith("s")
    return unit if not is_plain or count == 1 else f"{unit}s"


def tone(state: str) -> str:
    """How a state is coloured: ``good``, ``warning``, ``bad`` or ``plain``. Its word always stands beside."""
    for name, states in (("bad", _BAD_STATES), ("warning", _WARNING_STATES), ("good", _GOOD_STATES)):
        if state in states:
            return name
    return "plain"


def alert(kind: str) -> str:
    """What a kind of alert is called."""
    return _ALERTS.get(kind) or word(kind).capitalize()


def alert_says(one: AlertRow) -> str:
    """What an alert says, in the words of the cards; of a kind that is not known, the line that it was raised with, or
    what it says by name.
    """
    try:
        return _SENTENCES[one.kind](one)
    except KeyError:
        subject = one.detail.get("subject")
        named = (f"{word(str(name))}: {value}" for name, value in one.detail.items() if not isinstance(value, dict))
        said = subject if isinstance(subject, str) and subject else ", ".join(named)
        return said and f"{said.rstrip('.')}."


def _unfunded(one: AlertRow) -> str:
    count, apis = int(one.detail["units"]), [_api(one, api) for api in one.detail["apis"]]
    return f"{counted(count, 'unit')} of {_listed(apis)} {'was' if count == 1 else 'were'} used that nothing paid for."


def _payment_missing(one: AlertRow) -> str:
    return f"There is no stored payment method for pay as you go ({one.detail['subscription_id']})."


def _payment_expires(one: AlertRow) -> str:
    which = " ".join(part for part in (one.detail["brand"], one.detail["last4"]) if part)
    month = date.fromisoformat(f"{one.detail['expires']}-01")
    return f"The stored payment method{which and f' ({which})'} expires at the end of {month:%B %Y}."


def _low(one: AlertRow) -> str:
    available, percents = Decimal(one.detail["available"]), one.detail["percent"]
    return f"{_left(one)} {'is' if available == 1 else 'are'} left ({percents} % or less)."


def _runs_out(one: AlertRow) -> str:
    about = datetime.fromisoformat(one.detail["runs_out_at"]).astimezone(UTC)
    return f"At the pace of the last weeks {_pool(one)} run out about {day(about.date())}."


def _ends_unused(one: AlertRow) -> str:
    available, at = Decimal(one.detail["available"]), datetime.fromisoformat(one.detail["ends_at"]).astimezone(UTC)
    return f"{_left(one)} {'ends' if available == 1 else 'end'} unused on {day(at.date())}."


_SENTENCES: Mapping[str, Callable[[AlertRow], str]] = {
    "unfunded": _unfunded,
    "payment_missing": _payment_missing,
    "payment_expires": _payment_expires,
    "low": _low,
    "runs_out": _runs_out,
    "ends": _ends_unused,
}


def _left(one: AlertRow) -> str:
    available, granted = Decimal(one.detail["available"]), Decimal(one.detail["granted"])
    return f"{number(available)} of {number(granted)} {_pool(one, granted)}"


def _pool(one: AlertRow, count: Decimal | int = 2) -> str:
    """What is low, runs out or ends, as its card calls it."""
    source, api = one.detail["source"], one.detail["api"]
    if not api:
        return f"{word(source)} {units('token', count)}"
    if source == Kind.FREE.value:
        return f"free {units('unit', count)} of {_api(one, api)}"
    unit = one.apis[api].usage_unit if api in one.apis else ""
    return f"{units(unit, count) if unit else 'units'} of {_api(one, api)}"


def _api(one: AlertRow, api: str) -> str:
    known = one.apis.get(api, Api(api=api, name="", usage_unit="", billing=""))
    return known.name or api


def _listed(names: list[str]) -> str:
    """``A, B and C``."""
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else "".join(names)


def paid_how(page: InvoicePage) -> str:
    """How an invoice is to be paid, as the invoice itself says it (rule 6.5)."""
    method = page.payment_method
    if page.head.total == 0:
        return "Nothing to pay."
    if method is None:
        return "To be paid by bank transfer."
    if method.is_direct_debit:
        return "To be collected by SEPA direct debit."
    if not method.brand and not method.last4:
        return f"To be charged via {method.gateway}."
    return f"To be charged to {method.brand or 'the card'}{method.last4 and f' ending {method.last4}'}."


def outlook(balance: BalanceRow, unit: str) -> str:
    """When a balance runs out at the pace of the last weeks, with its range; or why nothing is said."""
    why, days = _why(balance.forecast)
    ends = _ends(balance)
    match why:
        case Why.USED_UP:
            return "It is used up."
        case Why.UNUSED:
            return f"Nothing was used in the last {HISTORY_DAYS} days."
        case Why.TOO_LITTLE:
            return "There is not enough usage yet to say how long it lasts."
        case Why.BEYOND:
            return f"It lasts for {HORIZON_DAYS} days and more."
        case Why.UNTIL_THEN:
            return f"At {_pace(balance, days, unit)} it lasts until it {ends}."
        case Why.PACE:
            return f"At {_pace(balance, days, unit)} it lasts until {_until(balance, ends)}."
    return balance.forecast.rstrip(".").capitalize() + "." if balance.forecast else ""


def _why(forecast: str) -> tuple[Why | None, int]:
    """As kept; a forecast in other words is shown as it is."""
    try:
        found = json.loads(forecast)
        return Why(found["why"]), int(found["days"])
    except (ValueError, TypeError, KeyError):
        return None, 0


def _until(balance: BalanceRow, ends: str) -> str:
    """A day, and the days between which it is in most cases; where all are one day, that one."""
    about = f"it {ends}" if balance.runs_out is None else f"about {day(balance.runs_out.date())}"
    if balance.runs_out_earliest is None:
        return about
    early, late = day(balance.runs_out_earliest.date()), balance.runs_out_latest
    if late is not None and day(late.date()) == early:
        return early
    latest = f"later than it {ends}" if late is None else day(late.date())
    return f"{about} ({OFTEN} between {early} and {latest})"


def _pace(balance: BalanceRow, days: int, unit: str) -> str:
    weeks = f"the pace of the last {days // 7} weeks" if days >= 14 else "the pace of the last days"
    if balance.per_day is None:
        return weeks
    return f"{weeks} ({number(three_digits(balance.per_day))} {unit} a day)"


def _ends(balance: BalanceRow) -> str:
    return "refreshes" if balance.refreshes_at is not None else "ends"
