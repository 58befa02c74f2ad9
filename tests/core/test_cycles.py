"""Section 3 of the rules: cycles tile the time line, in every zone, against a brute force over changes of the clock."""

from __future__ import annotations

import struct
from bisect import bisect_right
from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
import tzdata
from hypothesis import given
from hypothesis import strategies as st

from billing.core.cycles import (
    active_payg,
    anchor_at,
    anniversaries_between,
    anniversary,
    cycle_from,
    cycles_from,
    first_start_us,
    local_date,
    next_anniversary_us,
    period_start_us,
    start_of_local_day_us,
)
from billing.core.model import Kind, Subscription
from billing.core.reference import FOREVER_US
from billing.core.zones import zone_names

from .small_reference import EPOCH, us

SECOND_US = 1_000_000
FIRST, LAST = date(2000, 1, 1), date(2040, 12, 31)
ANCHORS = tuple(date(2000, 1, day) for day in (28, 29, 30, 31)) + (date(2000, 2, 29),)
NOON = timedelta(hours=12)


def subscription(
    subscription_id: str, kind: str, at_us: int, *, ends_us: int = FOREVER_US, zone: str = "UTC"
) -> Subscription:
    """One of a team's subscriptions."""
    return Subscription(
        subscription_id=subscription_id,
        team_id="t",
        kind=Kind(kind),
        purchased_at_us=at_us,
        time_zone=zone,
        ends_at_us=ends_us,
        currency="EUR",
        payment_method_id=None,
    )


# The brute force: what a clock in the zone shows is piecewise the instant plus an offset.


def zone_bytes(name: str) -> bytes:
    """The zone's data."""
    return files(tzdata).joinpath("zoneinfo", *name.split("/")).read_bytes()


def distinct_zones() -> list[str]:
    """One name for each distinct data; the others are links to it."""
    by_data: dict[bytes, str] = {}
    for name in sorted(zone_names()):
        by_data.setdefault(zone_bytes(name), name)
    return sorted(by_data.values())


def written_changes(data: bytes) -> list[int]:
    """The instants (seconds) at which the file says that something changes: its 64-bit block (RFC 9636)."""
    header = struct.Struct(">4s c 15x 6l")
    _, _, utc, standard, leaps, times, types, chars = header.unpack_from(data)
    second = header.size + times * 5 + types * 6 + chars + leaps * 8 + standard + utc
    times = header.unpack_from(data, second)[5]
    return list(struct.unpack_from(f">{times}q", data, second + header.size))


@cache
def offsets(name: str) -> tuple[list[int], list[int]]:
    """Instants from which an offset holds, and the offsets (both seconds), from 1999 to 2041."""
    tz = ZoneInfo.from_file(files(tzdata).joinpath("zoneinfo", *name.split("/")).open("rb"))

    def offset(second: int) -> int:
        found = datetime.fromtimestamp(second, UTC).astimezone(tz).utcoffset()
        assert found is not None
        return found // timedelta(seconds=1)

    begin, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (1999, 2041))
    written = {second for second in written_changes(zone_bytes(name)) if begin < second < end}
    # The file's footer goes on for ever after the last change that is written; no offset of one lasts but a week.
    repeats = b"," in zone_bytes(name).rstrip(b"\n").rpartition(b"\n")[2]
    weeks = range(max(written | {begin}), end, 7 * 86_400) if repeats else ()
    for low, high in pairwise(weeks):
        while offset(low) != offset(high) and high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
        written |= {high} if offset(low) != offset(high) else set()
    starts = [begin, *sorted(written)]
    return starts, [offset(second) for second in starts]


@lru_cache(maxsize=4096)
def first_instant_us(name: str, day: date) -> int:
    """Rule 3.2: the earliest instant whose local date is ``day`` or later."""
    starts, values = offsets(name)
    midnight = (day - EPOCH.date()).days * 86_400
    # No clock is farther from UTC than this: before, every local date is an earlier one.
    segment = bisect_right(starts, midnight - 100_000) - 1
    while True:
        earliest = max(starts[segment], midnight - values[segment])
        if segment + 1 == len(starts) or earliest < starts[segment + 1]:
            return earliest * SECOND_US
        segment += 1


def months_after(day: date, months: int) -> date:
    """Rule 3.1: the same day of a later month, clamped to its length."""
    year, month = day.year + (day.month - 1 + months) // 12, (day.month - 1 + months) % 12 + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))


def purchase_us(name: str, day: date, clock: timedelta = NOON) -> int:
    """An instant of that local day; no clock was changed on it."""
    return first_instant_us(name, day) + clock // timedelta(microseconds=1)


ZONES = distinct_zones()


# Rule 3.1


@pytest.mark.parametrize(
    ("bought", "months", "expected"),
    [
        ("2024-01-31", 1, "2024-02-29"),
        ("2025-01-31", 1, "2025-02-28"),
        ("2025-01-31", 2, "2025-03-31"),
        ("2025-01-31", 3, "2025-04-30"),
        ("2024-02-29", 12, "2025-02-28"),
        ("2024-02-29", 48, "2028-02-29"),
        ("2024-02-29", 1, "2024-03-29"),
        ("2025-12-31", 2, "2026-02-28"),
        ("2025-11-30", 1, "2025-12-30"),
        ("2025-11-30", 13, "2026-12-30"),
        ("2026-07-15", 0, "2026-07-15"),
        ("2096-02-29", 48, "2100-02-28"),
    ],
)
def test_anniversaries_are_clamped(bought: str, months: int, expected: str) -> None:
    """Rule 3.1: the day clamped to the length of the month."""
    assert anniversary(date.fromisoformat(bought), months) == date.fromisoformat(expected)


@given(st.dates(date(1990, 1, 1), date(2040, 1, 1)), st.integers(0, 600))
def test_anniversaries_never_drift(bought: date, months: int) -> None:
    """Rule 3.1: counted from the purchase date itself, one in each calendar month, never after its day."""
    found = anniversary(bought, months)
    assert (found.year - bought.year) * 12 + found.month - bought.month == months
    assert found.day == bought.day or (found.day < bought.day and (found + timedelta(days=1)).day == 1)


# Rule 3.2


@pytest.mark.parametrize(
    ("name", "day", "start"),
    [
        ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00Z"),  # midnight is missing
        ("Asia/Beirut", "2026-03-29", "2026-03-28T22:00Z"),  # midnight is missing
        ("America/Havana", "2026-03-08", "2026-03-08T05:00Z"),  # midnight is missing; fold=1 is an hour early
        ("America/Havana", "2026-11-01", "2026-11-01T04:00Z"),  # midnight comes twice
        ("Atlantic/Azores", "2026-10-25", "2026-10-25T00:00Z"),  # midnight comes twice
        ("Pacific/Apia", "2011-12-29", "2011-12-29T10:00Z"),
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00Z"),  # the whole day is missing
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00Z"),
        ("Pacific/Apia", "2012-01-01", "2011-12-31T10:00Z"),
        ("America/St_Johns", "2010-03-14", "2010-03-14T03:30Z"),  # 00:01 becomes 01:01
        ("America/St_Johns", "2010-11-07", "2010-11-07T02:30Z"),  # 00:01 becomes 23:01 of the day before
        ("Pacific/Kiritimati", "2026-01-31", "2026-01-30T10:00Z"),  # UTC+14
        ("Etc/GMT-14", "2026-01-31", "2026-01-30T10:00Z"),
        ("Etc/GMT+12", "2026-01-31", "2026-01-31T12:00Z"),  # UTC-12
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00Z"),  # midnight is missing
        ("America/Sao_Paulo", "2018-02-18", "2018-02-18T03:00Z"),  # 24:00 becomes 23:00
        ("Asia/Gaza", "2012-03-30", "2012-03-29T22:00Z"),  # midnight is missing
        ("Asia/Gaza", "2015-03-28", "2015-03-27T22:00Z"),
        ("Asia/Tehran", "2022-03-22", "2022-03-21T20:30Z"),  # midnight is missing
        ("Asia/Tehran", "2022-09-22", "2022-09-21T20:30Z"),  # 24:00 becomes 23:00
        ("UTC", "2026-01-31", "2026-01-31T00:00Z"),
        ("Asia/Kathmandu", "2026-01-31", "2026-01-30T18:15Z"),
    ],
)
def test_a_day_starts_at_the_earliest_instant(name: str, day: str, start: str) -> None:
    """Rule 3.2: where clocks change at midnight, and where a whole day does not exist."""
    assert start_of_local_day_us(name, date.fromisoformat(day)) == us(start)
    assert first_instant_us(name, date.fromisoformat(day)) == us(start), "the brute force agrees with the table"


def test_a_clock_that_jumps_over_midnight() -> None:
    """Rule 3.2: Toronto's clocks went from 23:30 to 00:30: the day starts at the jump, not where midnight would have
    been. No zone has done so since 2000, but any may."""
    assert start_of_local_day_us("America/Toronto", date(1919, 3, 31)) == us("1919-03-31T04:30Z")


def near_midnight(name: str) -> list[date]:
    """The local days about which a clock of the zone is changed within 26 hours of midnight, that is: all changes."""
    starts, values = offsets(name)
    found = set()
    for second, value in zip(starts[1:], values[1:], strict=True):
        local = (EPOCH + timedelta(seconds=second + value)).date()
        found |= {local + timedelta(days=k) for k in (-1, 0, 1, 2)}
    return sorted(day for day in found if FIRST < day < LAST)


def test_days_about_every_change_of_a_clock() -> None:
    """Rule 3.2: the days before, of and after each change of any zone's clock, anniversaries or not."""
    cases = [(name, day) for name in ZONES for day in near_midnight(name)]
    assert len(cases) > 10_000
    assert [c for c in cases if start_of_local_day_us.__wrapped__(*c) != first_instant_us(*c)] == []


def expected_boundaries(name: str, bought: date) -> list[int]:
    """Rules 3.1, 3.2 by brute force: the boundaries of a purchase up to 2040."""
    days = [day for k in range(1, 42 * 12) if (day := months_after(bought, k)) <= LAST]
    return [first_instant_us(name, day) for day in days]


@pytest.mark.parametrize("area", sorted({name.partition("/")[0] for name in ZONES}))
def test_cycles_tile_the_time_line_in_all_zones(area: str) -> None:
    """Rules 3.1, 3.2: no gap, no overlap, no drift, 2000 to 2040, in every zone and for every anchor: each boundary is
    the earliest instant whose local date is the anniversary or later, and each cycle begins where the last ended."""
    for name in (name for name in ZONES if name.partition("/")[0] == area):
        for anchor in ANCHORS:
            bought_us = purchase_us(name, anchor)
            expected = expected_boundaries(name, anchor)
            cycles = list(cycles_from([subscription("s", "free", bought_us, zone=name)], bought_us, expected[-1]))
            assert [c.start_us for c in cycles] == [bought_us, *expected[:-1]], (name, anchor)
            assert [c.end_us for c in cycles] == expected, (name, anchor)


def test_all_zones_are_tested() -> None:
    """Rule 3.1: every IANA name is one of the zones above or has the very same data."""
    tested = {zone_bytes(name) for name in ZONES}
    assert {zone_bytes(name) for name in zone_names()} == tested
    assert len(ZONES) > 300
    assert [len(expected_boundaries("UTC", anchor)) for anchor in ANCHORS] == [491, 491, 491, 491, 490]


@pytest.mark.parametrize("name", ["Pacific/Apia", "America/Havana", "America/St_Johns", "Europe/Paris", "Etc/GMT-14"])
def test_each_instant_belongs_to_the_period_that_holds_it(name: str) -> None:
    """Rules 3.2, 5.2: half-open; an event at the boundary belongs to the next period, a microsecond before to this."""
    bought_us = purchase_us(name, date(2009, 12, 31))
    boundaries = [bought_us, *expected_boundaries(name, date(2009, 12, 31))[:60]]
    for start, end in pairwise(boundaries):
        for at in (start, start + 1, (start + end) // 2, end - 1):
            assert period_start_us(name, bought_us, at) == start
            assert next_anniversary_us(name, bought_us, at) == end
    assert anniversaries_between(name, bought_us, bought_us, boundaries[-1]) == boundaries[1:-1]
    assert anniversaries_between(name, bought_us, boundaries[3], boundaries[5] + 1) == boundaries[4:6]
    assert anniversaries_between(name, bought_us, 0, boundaries[1]) == []


@pytest.mark.parametrize("clock", [timedelta(0), timedelta(hours=23, minutes=59, seconds=59, microseconds=999_999)])
@pytest.mark.parametrize("name", ["Pacific/Kiritimati", "Etc/GMT+12", "Europe/Paris"])
def test_the_zone_of_the_purchase_decides_its_date(name: str, clock: timedelta) -> None:
    """Rule 3.1: the local date of the purchase, not its UTC day, at the first and the last instant of the day."""
    bought_us = purchase_us(name, date(2026, 1, 31), clock)
    cycle = cycle_from([subscription("s", "free", bought_us, zone=name)], bought_us)
    assert cycle.end_us == first_instant_us(name, date(2026, 2, 28))
    shown = cycle.describe()
    assert (shown.period_first_day, shown.period_last_day) == (date(2026, 1, 31), date(2026, 2, 27))


def test_the_period_shown() -> None:
    """Rule 3.2: bought on 15 July, the first cycle runs 15 July to 14 August."""
    bought_us = us("2026-07-14T22:30:00Z")
    cycle = cycle_from([subscription("s", "free", bought_us, zone="Europe/Paris")], bought_us).describe()
    assert (cycle.period_first_day, cycle.period_last_day) == (date(2026, 7, 15), date(2026, 8, 14))
    assert cycle.start == datetime.fromisoformat("2026-07-14T22:30:00Z")
    assert cycle.end == datetime.fromisoformat("2026-08-14T22:00:00Z")
    assert local_date("Europe/Paris", bought_us - 30 * 60 * SECOND_US - 1) == date(2026, 7, 14)


# Rule 3.3


def walk(team: Sequence[Subscription], count: int) -> list[tuple[str, str, str | None]]:
    """The team's first cycles as text: start, end, payg."""

    def text(at_us: int) -> str:
        return (EPOCH + timedelta(microseconds=at_us)).strftime("%m-%dT%H:%M")

    found = islice(cycles_from(team, first_start_us(team), FOREVER_US), count)
    return [(text(c.start_us), text(c.end_us), c.payg_subscription_id) for c in found]


FREE = subscription("f", "free", us("2026-01-10T09:00Z"))


def test_the_earliest_subscription_is_the_anchor() -> None:
    """Rule 3.3: of any kind, ended or not."""
    flex = subscription("a", "flex", us("2026-01-20T00:00Z"))
    ended = subscription("z", "capacity", us("2026-01-05T00:00Z"), ends_us=us("2026-01-06T00:00Z"))
    assert walk([FREE, flex], 2) == [("01-10T09:00", "02-10T00:00", None), ("02-10T00:00", "03-10T00:00", None)]
    assert walk([FREE, flex, ended], 2) == [("01-05T00:00", "02-05T00:00", None), ("02-05T00:00", "03-05T00:00", None)]


@pytest.mark.parametrize("kinds", [("free", "payg"), ("payg", "free"), ("capacity", "payg")])
def test_at_one_instant_payg_is_the_anchor(kinds: tuple[str, str]) -> None:
    """Rule 3.3: at one instant ``payg`` first, whatever its id and zone."""
    at = us("2026-01-31T12:00Z")
    zones = {"payg": "Pacific/Kiritimati"}
    team = [subscription(f"s{n}", kind, at, zone=zones.get(kind, "UTC")) for n, kind in enumerate(kinds)]
    assert anchor_at(team, at).kind is Kind.PAYG
    assert cycle_from(team, at).end_us == us("2026-02-28T10:00Z")  # 1 March on that clock: bought on 1 February


def test_at_one_instant_the_smaller_id_is_the_anchor() -> None:
    """Rule 3.3: then the smaller id, code point by code point; the two zones tell them apart."""
    at = us("2026-01-31T12:00Z")
    first = subscription("\uff5e", "free", at, zone="Etc/GMT+12")
    second = subscription("\U0001f600", "flex", at, zone="Etc/GMT-14")
    for team in ([first, second], [second, first]):
        assert anchor_at(team, at) is first
        assert cycle_from(team, at).time_zone == "Etc/GMT+12"


def test_a_purchase_of_payg_cuts_and_anchors() -> None:
    """Rule 3.3: each purchase of ``payg`` ends the running cycle and starts cycles of its own anchor."""
    payg = subscription("p", "payg", us("2026-02-20T15:00Z"))
    assert walk([FREE, payg], 4) == [
        ("01-10T09:00", "02-10T00:00", None),
        ("02-10T00:00", "02-20T15:00", None),
        ("02-20T15:00", "03-20T00:00", "p"),
        ("03-20T00:00", "04-20T00:00", "p"),
    ]


def test_the_end_of_payg_cuts_and_the_anchor_stays() -> None:
    """Rule 3.3: the final invoice; the next cycle runs to the next anniversary of the same anchor."""
    payg = subscription("p", "payg", us("2026-02-20T15:00Z"), ends_us=us("2026-03-25T12:00Z"))
    assert walk([FREE, payg], 6)[2:] == [
        ("02-20T15:00", "03-20T00:00", "p"),
        ("03-20T00:00", "03-25T12:00", "p"),
        ("03-25T12:00", "04-20T00:00", None),
        ("04-20T00:00", "05-20T00:00", None),
    ]


def test_payg_that_ends_at_an_anniversary_cuts_once() -> None:
    """Rule 3.3: no cycle has zero length where the end is the boundary itself."""
    payg = subscription("p", "payg", us("2026-02-20T15:00Z"), ends_us=us("2026-03-20T00:00Z"))
    assert walk([payg], 3) == [
        ("02-20T15:00", "03-20T00:00", "p"),
        ("03-20T00:00", "04-20T00:00", None),
        ("04-20T00:00", "05-20T00:00", None),
    ]


def test_payg_bought_when_another_ends_cuts_once() -> None:
    """Rule 3.3: the end of one and the purchase of the next at one instant; the next one's anchor from then on."""
    one = subscription("z", "payg", us("2026-01-15T00:00Z"), ends_us=us("2026-02-01T08:00Z"))
    two = subscription("a", "payg", us("2026-02-01T08:00Z"), zone="Etc/GMT+12")
    for team in ([one, two], [two, one]):
        assert walk(team, 3) == [
            ("01-15T00:00", "02-01T08:00", "z"),
            ("02-01T08:00", "02-28T12:00", "a"),  # bought on 31 January on its clock
            ("02-28T12:00", "03-31T12:00", "a"),
        ]


def test_payg_bought_at_an_anniversary_of_the_anchor() -> None:
    """Rule 3.3: no cycle has zero length where a purchase falls on the running anchor's boundary."""
    payg = subscription("p", "payg", us("2026-02-10T00:00Z"), zone="Europe/Paris")
    assert walk([FREE, payg], 3) == [
        ("01-10T09:00", "02-10T00:00", None),
        ("02-10T00:00", "03-09T23:00", "p"),
        ("03-09T23:00", "04-09T22:00", "p"),
    ]


def test_other_purchases_and_ends_cut_nothing() -> None:
    """Rule 3.3: only ``payg`` cuts."""
    flex = subscription("x", "flex", us("2026-01-20T00:00Z"), ends_us=us("2026-01-25T00:00Z"))
    assert walk([FREE, flex], 1) == walk([FREE], 1)


def test_payg_is_active_from_its_purchase_until_its_end() -> None:
    """Rule 5.1: ``[purchased_at, ends_at)``."""
    payg = subscription("p", "payg", 100, ends_us=200)
    assert [active_payg([payg], at) is not None for at in (99, 100, 199, 200)] == [False, True, True, False]


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 90), st.sampled_from(ZONES), st.booleans()), max_size=4),
    st.integers(0, 400),
)
def test_cycles_of_any_team_tile(bought: list[tuple[int, int, str, bool]], first_day: int) -> None:
    """Rules 3.2, 3.3: whatever is bought, each cycle begins where the one before ended and none is empty; every
    purchase and end of ``payg`` is a boundary; from the last one on boundaries are anniversaries of its anchor."""
    day = 86_400 * SECOND_US
    start = us("2024-01-01T00:00Z") + first_day * day
    team = [subscription("f", "free", start, zone="Asia/Tokyo")]
    edges = set()
    for number, (gap, length, zone, hourly) in enumerate(sorted(bought)):
        begin = start + gap * day + (3_600 * SECOND_US if hourly else 0)
        team.append(subscription(f"p{number}", "payg", begin, ends_us=begin + length * day, zone=zone))
        edges |= {begin, begin + length * day}
        start = max(start, begin + length * day)
    cycles = list(cycles_from(team, first_start_us(team), start + 100 * day))
    assert all(c.start_us < c.end_us for c in cycles)
    assert all(a.end_us == b.start_us for a, b in pairwise(cycles))
    boundaries = {c.end_us for c in cycles} | {first_start_us(team)}
    assert {edge for edge in edges if edge < start} <= boundaries
    assert all(c.end_us - c.start_us <= 33 * day for c in cycles)


def test_a_cycle_that_ends_at_the_limit_is_taken() -> None:
    """Rule 3.4: a cycle whose end has come, to the microsecond; the next is not begun."""
    end = us("2026-02-10T00:00Z")
    assert [len(list(cycles_from([FREE], FREE.purchased_at_us, limit))) for limit in (end - 1, end)] == [0, 1]
