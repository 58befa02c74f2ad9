"""A team's standing in words, and as plain values for JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal

from billing.core.forecast import HISTORY_DAYS, SHARE_PERCENT
from billing.core.instants import DAY_US, format_us, from_us
from billing.core.model import Kind
from billing.core.outlook import HORIZON_DAYS, Outlook, Projection, Why
from billing.core.quantity import decimal_of_micro, format_micro, minor_digits, three_digits
from billing.core.reference import FOREVER_US
from billing.core.standing import BalanceState, Standing, StandingApi, StandingBalance, instant_text
from billing.core.terms import TeamTerms
from billing.core.zones import zone

_NAMES = {
    Kind.FREE.value: "free",
    Kind.TOKEN_FLEX.value: "Token Flex",
    Kind.FLEX.value: "Flex",
    Kind.PAYG.value: "pay as you go",
    Kind.CAPACITY.value: "capacity",
    "unfunded": "nothing",
}


def in_words(
    standing: Standing,
    team: TeamTerms,
    outlook: Callable[[StandingBalance], Outlook],
    projection: Projection | None,
) -> Iterator[str]:
    """A few lines of plain English."""
    zones = {s.subscription_id: s.time_zone for s in team.subscriptions}
    cycle_zone = standing.cycle.time_zone if standing.cycle else "UTC"
    yield f"Team {standing.team_id} as of {format_us(standing.as_of_us)}"
    if standing.cycle is None:
        yield "No cycle has begun yet."
    else:
        begin, end = (_local(us, cycle_zone) for us in (standing.cycle.start_us, standing.cycle.end_us))
        yield f"Running cycle: {begin} to {end} {cycle_zone}"
    for state in BalanceState:
        mine = [balance for balance in standing.balances if balance.state is state]
        if mine:
            yield ""
            yield {"valid": "Balances", "coming": "Begin later", "expired": "Ended, with what was never used"}[state]
        for balance in mine:
            words = _balance(standing.as_of_us, balance, outlook(balance), zones[balance.subscription_id])
            yield f"  {_name(balance)}: {words}"
    if standing.apis:
        yield ""
        yield "Running cycle so far"
    for api in standing.apis:
        yield f"  {api.api}: {_api(api)}"
    yield from _money(standing, projection)


def as_values(
    standing: Standing, outlook: Callable[[StandingBalance], Outlook], projection: Projection | None
) -> dict[str, object]:
    """What JSON holds: quantities are decimals as text, instants RFC 3339, None what does not apply."""
    cycle = standing.cycle
    return {
        "team_id": standing.team_id,
        "as_of": format_us(standing.as_of_us),
        "cycle": cycle
        and {"start": format_us(cycle.start_us), "end": format_us(cycle.end_us), "time_zone": cycle.time_zone},
        "subscription_id": standing.subscription_id or None,
        "currency": standing.currency or None,
        "spend": _amount(standing.spend_minor, standing.currency) if standing.currency else None,
        "projected_spend": projection
        and {
            "low": _amount(projection.low_minor, standing.currency),
            "expected": _amount(projection.minor, standing.currency),
            "high": _amount(projection.high_minor, standing.currency),
        },
        "unfunded_units": standing.unfunded_units,
        "balances": [_balance_values(balance, outlook(balance)) for balance in standing.balances],
        "apis": [_api_values(api, standing.currency) for api in standing.apis],
        "forecast": {"history_days": HISTORY_DAYS, "range_percent": SHARE_PERCENT, "horizon_days": HORIZON_DAYS},
    }


def _balance_values(balance: StandingBalance, outlook: Outlook) -> dict[str, object]:
    return {
        "source": balance.source,
        "subscription_id": balance.subscription_id,
        "grant_id": balance.grant_id or None,
        "api": balance.api or None,
        "state": balance.state.value,
        "begins_at": instant_text(balance.begins_at_us),
        "granted": format_micro(balance.granted_micro),
        "used": format_micro(balance.used_micro),
        "available": format_micro(balance.available_micro),
        "ends_at": instant_text(balance.ends_at_us),
        "refreshes_at": instant_text(balance.refreshes_at_us),
        "forecast": {
            "why": outlook.why.value,
            "days": outlook.days,
            "per_day": None if outlook.per_day_micro is None else format_micro(outlook.per_day_micro),
            "runs_out_at": instant_text(outlook.at_us),
            "earliest": instant_text(outlook.low_us),
            "latest": instant_text(outlook.high_us),
        },
    }


def _api_values(api: StandingApi, currency: str) -> dict[str, object]:
    return {
        "api": api.api,
        "unit_size": None if api.unit_size_micro is None else format_micro(api.unit_size_micro),
        "opening": format_micro(api.opening_micro),
        "usage": format_micro(api.usage_micro),
        "carry": format_micro(api.carry_micro),
        "units": dict(api.units),
        "spend": _amount(api.spend_minor, currency) if currency else None,
    }


def _name(balance: StandingBalance) -> str:
    which = balance.grant_id or balance.subscription_id
    about = f" {balance.api}" if balance.api else " tokens"
    return f"{_NAMES[balance.source]}{about} ({which})"


def _balance(as_of_us: int, balance: StandingBalance, outlook: Outlook, zone_name: str) -> str:
    granted, available = format_micro(balance.granted_micro), format_micro(balance.available_micro)
    if balance.state is BalanceState.EXPIRED:
        return f"{available} of {granted} were not used, ended {_local(balance.ends_at_us, zone_name)} {zone_name}"
    if balance.state is BalanceState.COMING:
        return f"{granted}, begins {_until(as_of_us, balance.begins_at_us, zone_name)}"
    parts = [f"{available} of {granted} available"]
    if balance.refreshes_at_us != FOREVER_US:
        parts.append(f"refreshes {_until(as_of_us, balance.refreshes_at_us, zone_name)}")
    elif balance.ends_at_us != FOREVER_US:
        parts.append(f"ends {_until(as_of_us, balance.ends_at_us, zone_name)}")
    return f"{', '.join(parts)}; {_outlook(balance, outlook)}"


def _until(as_of_us: int, at_us: int, zone_name: str) -> str:
    days = (at_us - as_of_us) // DAY_US
    when = "today" if days < 1 else "in 1 day" if days == 1 else f"in {days} days"
    return f"{when} ({_local(at_us, zone_name)} {zone_name})"


def _outlook(balance: StandingBalance, outlook: Outlook) -> str:
    match outlook.why:
        case Why.USED_UP:
            return "it is used up"
        case Why.UNUSED:
            return f"nothing was used in the last {HISTORY_DAYS} days"
        case Why.TOO_LITTLE:
            return "not enough usage to say how long it lasts"
        case Why.BEYOND:
            return f"it lasts for {HORIZON_DAYS} days and more"
        case Why.UNTIL_THEN:
            return f"at {_pace(outlook)} it lasts until it {_ends(balance)}"
    early, late = _day(outlook.low_us or 0), _or_end(balance, outlook.high_us)
    about = f"until about {_day(outlook.at_us)}" if outlook.at_us else f"until it {_ends(balance)}"
    return f"at {_pace(outlook)} it lasts {about}, between {early} and {late} ({SHARE_PERCENT} in 100)"


def _pace(outlook: Outlook) -> str:
    weeks, per_day = outlook.days // 7, three_digits(decimal_of_micro(outlook.per_day_micro or 0))
    return f"the pace of the last {weeks} weeks ({per_day.normalize():f} a day)"


def _or_end(balance: StandingBalance, us: int | None) -> str:
    return f"later than it {_ends(balance)}" if us is None else _day(us)


def _ends(balance: StandingBalance) -> str:
    return "refreshes" if balance.refreshes_at_us < balance.ends_at_us else "ends"


def _api(api: StandingApi) -> str:
    parts = [f"{format_micro(api.usage_micro)} used"]
    parts += [f"{count} units by {_NAMES[source]}" for source, count in api.units.items()]
    if api.unit_size_micro is not None:
        parts.append(f"{format_micro(api.carry_micro)} of {format_micro(api.unit_size_micro)} towards the next unit")
    return ", ".join(parts)


def _money(standing: Standing, projection: Projection | None) -> Iterator[str]:
    if standing.currency:
        yield ""
        so_far = f"Pay as you go so far: {_amount(standing.spend_minor, standing.currency)} {standing.currency} net"
        if projection is None:
            yield f"{so_far}; not enough usage to say what it will be at the cycle's end"
        else:
            low, middle, high = (
                _amount(minor, standing.currency)
                for minor in (projection.low_minor, projection.minor, projection.high_minor)
            )
            yield f"{so_far}; about {middle} at the cycle's end, between {low} and {high} ({SHARE_PERCENT} in 100)"
    if standing.unfunded_units:
        yield f"{standing.unfunded_units} units were used that nothing paid for"


def _amount(minor: int, currency: str) -> str:
    digits = minor_digits(currency)
    return f"{Decimal(minor).scaleb(-digits):.{digits}f}"


def _local(us: int, zone_name: str) -> str:
    return f"{from_us(us).astimezone(zone(zone_name)):%Y-%m-%d %H:%M}"


def _day(us: int) -> str:
    at: datetime = from_us(us)
    return f"{at.day} {at:%B %Y}"
