"""When cycles and free periods begin and end (rules 3.1-3.3, 3.6, 5.2).

Days are looked up in the time zones of the tzdata package, never in those of the machine (rule 7.1).
"""

import calendar
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache

from .intake import Subscription

zoneinfo.reset_tzpath(())

MICROSECOND = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
FARTHEST_OFFSET = timedelta(hours=16)  # no zone was ever farther from UTC


@dataclass(frozen=True, kw_only=True, slots=True)
class Cycle:
    """One billing cycle, [start, end); its days are those of its anchor's zone (rule 3.2)."""

    team_id: str
    start: datetime
    end: datetime
    anchor: Subscription

    def first_day(self):
        """The local date of its first instant."""
        return local_date(self.start, self.anchor.time_zone)

    def last_day(self):
        """The local date of its last instant."""
        return local_date(self.end - MICROSECOND, self.anchor.time_zone)


@cache
def zone_of(name):
    """A zone read after the path was reset; the cache of zoneinfo may hold older ones."""
    return zoneinfo.ZoneInfo.no_cache(name)


def local_date(instant, time_zone):
    """The date that clocks of the zone show at the instant."""
    return instant.astimezone(zone_of(time_zone)).date()


@lru_cache(maxsize=65536)
def start_of_day(day, time_zone):
    """Rule 3.2: the earliest instant whose local date is `day` or later: try every minute, then every second."""
    instant = datetime.combine(day, time(), tzinfo=UTC) - FARTHEST_OFFSET
    while local_date(instant, time_zone) < day:
        instant += MINUTE
    while local_date(instant - SECOND, time_zone) >= day:
        instant -= SECOND
    return instant


def plus_months(day, months):
    """Rule 3.1: the same day of a later month, clamped to its length."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


@lru_cache(maxsize=65536)
def anniversary(subscription, k):
    """Rules 3.1, 3.2: the purchase for k = 0, else the start of the local day k months after its local date."""
    if k == 0:
        return subscription.purchased_at
    bought_on = local_date(subscription.purchased_at, subscription.time_zone)
    return start_of_day(plus_months(bought_on, k), subscription.time_zone)


def period_at(subscription, instant):
    """Rule 5.2: the [start, end) between two anniversaries that holds the instant (not before the purchase)."""
    k = 1
    while anniversary(subscription, k) <= instant:
        k += 1
    return anniversary(subscription, k - 1), anniversary(subscription, k)


def anchor_at(subscriptions, start):
    """Rule 3.3: whose anniversaries a cycle that begins at `start` follows."""
    bought = [one for one in subscriptions if one.kind == "payg" and one.purchased_at <= start]
    if bought:
        return max(bought, key=lambda one: one.purchased_at)
    return min(subscriptions, key=lambda one: (one.purchased_at, one.kind != "payg", one.subscription_id))


def next_cycle(team_id, subscriptions, closed_until):
    """Rules 3.3, 3.6: the team's earliest open cycle by what is known now; None before any subscription.

    `closed_until` is the end of its last closed cycle, None where there is none.
    """
    if not subscriptions:
        return None
    start = closed_until or min(one.purchased_at for one in subscriptions)
    anchor = anchor_at(subscriptions, start)
    ends = [period_at(anchor, start)[1]]
    for one in subscriptions:
        if one.kind == "payg":
            ends += [cut for cut in (one.purchased_at, one.ends_at) if cut > start]
    return Cycle(team_id=team_id, start=start, end=min(ends), anchor=anchor)


def payg_at(subscriptions, instant):
    """Rule 1.3: the one `payg` subscription active at the instant, or None."""
    active = [one for one in subscriptions if one.kind == "payg" and one.is_active(instant)]
    return active[0] if active else None
