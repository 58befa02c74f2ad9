"""Anchors, anniversaries and billing cycles (section 3 of the rules).

Everything here is in microseconds since the epoch (``*_us``) and in days since 1970-01-01; intervals are half-open.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

from billing.core.instants import EPOCH_DAY, from_day, from_us, to_us
from billing.core.model import Cycle, Kind, Subscription
from billing.core.reference import FOREVER_US
from billing.core.zones import zone

# No zone's clock has ever been moved by more than a day at once (Pacific/Apia 2011, Manila 1844).
_LONGEST_JUMP = timedelta(hours=26)
# The calendar ends with the year 9999; no cycle ends in its last month.
_LAST_MONTH = 9999 * 12 + 11


@dataclass(frozen=True, slots=True)
class CycleSpan:
    """A cycle in microseconds, with the zone of its anchor and the ``payg`` active at its start."""

    start_us: int
    end_us: int
    time_zone: str
    payg_subscription_id: str | None

    def describe(self) -> Cycle:
        """The cycle with aware instants and the local dates of its first and last instants (rule 3.2)."""
        return Cycle(
            start=from_us(self.start_us),
            end=from_us(self.end_us),
            time_zone=self.time_zone,
            period_first_day=local_date(self.time_zone, self.start_us),
            period_last_day=local_date(self.time_zone, self.end_us - 1),
            payg_subscription_id=self.payg_subscription_id,
        )


@lru_cache(maxsize=65536)
def local_date(zone_name: str, instant_us: int) -> date:
    """The date on a clock in the zone at that instant."""
    return from_us(instant_us).astimezone(zone(zone_name)).date()


@lru_cache(maxsize=65536)
def start_of_local_day_us(zone_name: str, day: date) -> int:
    """The earliest instant whose local date is ``day`` or later (rule 3.2).

    Holds where midnight is skipped, comes twice, or the whole day does not exist.
    """
    tz = zone(zone_name)
    # fold=0 is the first of two midnights; in a gap it lies at or after the jump, never before it.
    high = datetime(day.year, day.month, day.day, tzinfo=tz).astimezone(from_us(0).tzinfo)
    low = high - _LONGEST_JUMP
    before = high - timedelta(microseconds=1)
    if before.astimezone(tz).date() < day:
        return to_us(high)
    low_us, high_us = to_us(low), to_us(high)
    while high_us - low_us > 1:
        middle = (low_us + high_us) // 2
        if from_us(middle).astimezone(tz).date() >= day:
            high_us = middle
        else:
            low_us = middle
    return high_us


def anniversary(purchase_date: date, months: int) -> date:
    """The purchase's local date plus ``months``, clamped to the month's length, never drifting (rule 3.1)."""
    year, month = divmod(purchase_date.year * 12 + purchase_date.month - 1 + months, 12)
    return date(year, month + 1, min(purchase_date.day, _days_in(year, month + 1)))


@lru_cache(maxsize=4096)
def _days_in(year: int, month: int) -> int:
    return monthrange(year, month)[1]


def next_anniversary_us(zone_name: str, purchased_at_us: int, after_us: int) -> int:
    """The first anniversary boundary (k >= 1) of a purchase that lies later than ``after_us``."""
    bought = local_date(zone_name, purchased_at_us)
    reached = local_date(zone_name, after_us)
    months = max(1, (reached.year - bought.year) * 12 + reached.month - bought.month)
    while bought.year * 12 + bought.month + months <= _LAST_MONTH:
        day = anniversary(bought, months)
        # A date that is reached began before; one that is not may have, where the clock went back over midnight.
        if day > reached and (boundary := start_of_local_day_us(zone_name, day)) > after_us:
            return boundary
        months += 1
    return FOREVER_US


def period_start_us(zone_name: str, purchased_at_us: int, at_us: int) -> int:
    """The start of the monthly period of a purchase that contains ``at_us`` (rule 5.2); the first begins at the
    purchase.
    """
    bought = local_date(zone_name, purchased_at_us)
    reached = local_date(zone_name, at_us)
    months = (reached.year - bought.year) * 12 + reached.month - bought.month + 1
    while months >= 1:
        boundary = start_of_local_day_us(zone_name, anniversary(bought, months))
        if boundary <= at_us:
            return max(boundary, purchased_at_us)
        months -= 1
    return purchased_at_us


def anniversaries_between(zone_name: str, purchased_at_us: int, start_us: int, end_us: int) -> list[int]:
    """The anniversary boundaries of a purchase in ``(start_us, end_us)``, in order."""
    boundaries = []
    boundary = next_anniversary_us(zone_name, purchased_at_us, max(start_us, purchased_at_us))
    while boundary < end_us:
        boundaries.append(boundary)
        boundary = next_anniversary_us(zone_name, purchased_at_us, boundary)
    return boundaries


def first_start_us(subscriptions: Sequence[Subscription]) -> int:
    """Where a team's first cycle begins: the instant of its earliest purchase (rules 3.2, 3.3)."""
    return min(s.purchased_at_us for s in subscriptions)


def anchor_at(subscriptions: Sequence[Subscription], at_us: int) -> Subscription:
    """The subscription whose anniversaries bound the team's cycle that begins at ``at_us`` (rule 3.3)."""
    bought = [s for s in subscriptions if s.kind is Kind.PAYG and s.purchased_at_us <= at_us]
    if bought:
        return max(bought, key=lambda s: (s.purchased_at_us, s.subscription_id))
    return min(subscriptions, key=lambda s: (s.purchased_at_us, s.subscription_id))


def active_payg(subscriptions: Sequence[Subscription], at_us: int) -> Subscription | None:
    """The pay-as-you-go subscription active at an instant; there is at most one (rule 1.3)."""
    for s in subscriptions:
        if s.kind is Kind.PAYG and s.purchased_at_us <= at_us < s.ends_at_us:
            return s
    return None


def cycle_from(subscriptions: Sequence[Subscription], start_us: int) -> CycleSpan:
    """The team's cycle that begins at ``start_us``: it ends at the anchor's next anniversary, or where a
    ``payg`` is bought or ends before that (rule 3.3)."""
    anchor = anchor_at(subscriptions, start_us)
    ends = [next_anniversary_us(anchor.time_zone, anchor.purchased_at_us, start_us)]
    for s in subscriptions:
        if s.kind is Kind.PAYG:
            ends += [edge for edge in (s.purchased_at_us, s.ends_at_us) if start_us < edge < FOREVER_US]
    payg = active_payg(subscriptions, start_us)
    return CycleSpan(start_us, min(ends), anchor.time_zone, payg.subscription_id if payg else None)


def cycles_from(subscriptions: Sequence[Subscription], start_us: int, through_us: int) -> Iterator[CycleSpan]:
    """The team's cycles from ``start_us`` on that end at ``through_us`` or before, in order."""
    while True:
        cycle = cycle_from(subscriptions, start_us)
        if cycle.end_us > through_us:
            return
        yield cycle
        start_us = cycle.end_us


def day_of(zone_name: str, instant_us: int) -> int:
    """The local date at an instant as days since 1970-01-01."""
    return (local_date(zone_name, instant_us) - EPOCH_DAY).days


def date_of(day: int) -> date:
    """The date of a number of days since 1970-01-01."""
    return from_day(day)
