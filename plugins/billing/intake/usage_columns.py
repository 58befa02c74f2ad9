"""Columns of text, timestamps, integers and decimals to int64 microseconds and 10^-6, by whole-array operations.

The text functions accept exactly what ``core.instants.parse_instant_us`` and ``core.quantity.parse_micro``
accept; the property tests hold them to that. Every function returns ``(value, ok)``: int64[n], 0 where not ok,
and bool[n]. Null is not ok.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from billing.core.instants import MAX_US, MIN_US
from billing.core.quantity import MICRO

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

MAX_QUANTITY = 10**12
MAX_QUANTITY_MICRO = MAX_QUANTITY * MICRO
WHOLE_DIGITS_MAX = len(str(MAX_QUANTITY))

# In RE2 without flags, ^ and $ are the ends of the text, not of a line.
_INSTANT = (
    r"^[0-9]{4}-(?:0[1-9]|1[0-2])-[0-3][0-9]T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    r"(?:\.[0-9]{1,6}0*)?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$"
)
# More digits before the point, after leading zeros, would be over MAX_QUANTITY.
_QUANTITY = rf"^-?0*[0-9]{{1,{WHOLE_DIGITS_MAX}}}(?:\.[0-9]{{1,6}})?$"

_UNIT_US = {"s": 1_000_000, "ms": 1_000, "us": 1}


def picked(values: pa.Array, places: Ints) -> pa.Array:
    """The values at places that ascend. Nothing is copied where these are all of a stretch, as they mostly are."""
    if len(places) and int(places[-1]) - int(places[0]) == len(places) - 1:
        return values.slice(int(places[0]), len(places))
    return values.take(pa.array(places))


def instants_from_text(column: pa.Array) -> tuple[Ints, Bools]:
    """RFC 3339 text (string or large_string) to microseconds since the epoch."""
    us, ok = np.zeros(len(column), np.int64), _matches(column, _INSTANT)
    row = np.flatnonzero(ok)
    if not len(row):
        return us, ok
    data, start, end = _text(column, row)
    days, is_date = _days(_number(data, start, 4), _number(data, start + 5, 2), _number(data, start + 8, 2))
    seconds = (_number(data, start + 11, 2) * 60 + _number(data, start + 14, 2)) * 60 + _number(data, start + 17, 2)
    zone_minutes, zone = _zone(data, end)
    value = (days * 86_400 + seconds - zone_minutes * 60) * 1_000_000 + _fraction(data, start + 20, zone)
    is_date &= (value >= MIN_US) & (value <= MAX_US)
    us[row], ok[row] = np.where(is_date, value, 0), is_date
    return us, ok


def instants_from_timestamps(column: pa.Array) -> tuple[Ints, Bools]:
    """Timestamps (s, ms, us or ns, adjusted to UTC) to microseconds; finer than a microsecond is not ok."""
    value = column.cast(pa.timestamp(column.type.unit)).cast(pa.int64())
    ok = pc.is_valid(value).to_numpy(zero_copy_only=False).copy()
    ticks = pc.fill_null(value, 0).to_numpy(zero_copy_only=False)
    if column.type.unit == "ns":
        us = ticks // 1_000
        ok &= us * 1_000 == ticks
    else:
        scale = _UNIT_US[column.type.unit]
        # Bounds before the multiplication: a second of the year 300000 would wrap around.
        ok &= (ticks >= -(-MIN_US // scale)) & (ticks <= MAX_US // scale)
        us = np.where(ok, ticks, 0) * scale
    ok &= (us >= MIN_US) & (us <= MAX_US)
    return np.where(ok, us, 0), ok


def quantities_from_text(column: pa.Array) -> tuple[Ints, Bools]:
    """Decimals as text (string or large_string) to 10^-6; ok: at most six decimals, not zero, at most 10^12."""
    micro, ok = np.zeros(len(column), np.int64), _matches(column, _QUANTITY)
    row = np.flatnonzero(ok)
    if not len(row):
        return micro, ok
    data, start, end = _text(column, row)
    negative = data[start] == ord("-")
    start = start + negative
    point = pc.find_substring(column, pattern=".").to_numpy(zero_copy_only=False)[row] + start - negative
    point = np.where(point < start, end, point)
    whole, digits = np.zeros(len(row), np.int64), point - start
    for place in range(min(int(digits.max()), WHOLE_DIGITS_MAX)):
        whole += np.where(place < digits, data[np.maximum(point - 1 - place, start)] - np.int64(48), 0) * 10**place
    in_bounds = whole <= MAX_QUANTITY
    value = np.where(in_bounds, whole, 0) * MICRO + _fraction(data, point + 1, end)
    in_bounds &= (value != 0) & (value <= MAX_QUANTITY_MICRO)
    micro[row], ok[row] = np.where(in_bounds, np.where(negative, -value, value), 0), in_bounds
    return micro, ok


def quantities_from_integers(column: pa.Array) -> tuple[Ints, Bools]:
    """Integers of any width, with or without a sign, to 10^-6; ok: not zero, at most 10^12."""
    value = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    value = value if value.dtype == np.uint64 else value.astype(np.int64)
    ok = (value != 0) & (value <= MAX_QUANTITY)
    if value.dtype == np.int64:
        ok &= value >= -MAX_QUANTITY
    return np.where(ok, value, 0).astype(np.int64) * MICRO, ok


def quantities_from_decimals(column: pa.Array) -> tuple[Ints, Bools]:
    """Decimals of any width, precision and scale, by value, to 10^-6; ok as in ``quantities_from_text``."""
    wide = column.type.bit_width == 256
    kind = (pa.decimal256 if wide else pa.decimal128)(76 if wide else 38, column.type.scale)
    value = pc.fill_null(column.cast(kind), pa.scalar(Decimal(0), kind))
    ok = np.ones(len(column), np.bool_)
    if kind.precision - kind.scale > WHOLE_DIGITS_MAX - 1:
        limit = pa.scalar(Decimal(MAX_QUANTITY), kind)
        below = pc.and_(pc.less_equal(value, limit), pc.greater_equal(value, pa.scalar(Decimal(-MAX_QUANTITY), kind)))
        ok = below.to_numpy(zero_copy_only=False).copy()
        value = value if ok.all() else pc.if_else(below, value, pa.scalar(Decimal(0), kind))
    six = value.cast((pa.decimal256 if wide else pa.decimal128)(kind.precision, 6), safe=False)
    if kind.scale > 6:
        ok &= pc.equal(six.cast(kind), value).to_numpy(zero_copy_only=False)
    words = np.frombuffer(six.buffers()[1], np.int64).reshape(-1, 4 if wide else 2)
    micro = words[six.offset : six.offset + len(six), 0]
    ok &= micro != 0
    return np.where(ok, micro, 0), ok


def _matches(column: pa.Array, pattern: str) -> Bools:
    matches = pc.fill_null(pc.match_substring_regex(column, pattern), False)
    found: Bools = matches.to_numpy(zero_copy_only=False)
    return found.copy()


def _text(column: pa.Array, row: Ints) -> tuple[Bytes, Ints, Ints]:
    """The column's bytes, and the half-open places of the texts of ``row`` in them."""
    _, offsets, data = column.buffers()
    kind = np.int64 if pa.types.is_large_string(column.type) else np.int32
    place = np.frombuffer(offsets, kind)[column.offset : column.offset + len(column) + 1]
    start, end = place[row].astype(np.int64), place[row + 1].astype(np.int64)
    return np.frombuffer(data, np.uint8), start, end


def _number(data: Bytes, place: Ints, digits: int) -> Ints:
    value = np.zeros(len(place), np.int64)
    for k in range(digits):
        value *= 10
        value += data[place + k]
    return value - ord("0") * int("1" * digits)


def _fraction(data: Bytes, place: Ints, end: Ints) -> Ints:
    """Millionths in the digits from ``place``, at most six of them and none from ``end`` on."""
    value, digits = np.zeros(len(place), np.int64), end - place
    longest = min(int(digits.max()), 6)
    for k in range(longest):
        value += np.where(k < digits, data[np.minimum(place + k, end - 1)] - np.int64(48), 0) * 10 ** (5 - k)
    return value


def _days(year: Ints, month: Ints, day: Ints) -> tuple[Ints, Bools]:
    """Days since 1970-01-01 and whether the date exists; months are 1 to 12."""
    months = (year - 1970) * 12 + month - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    after = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return first + day - 1, (year >= 1) & (day >= 1) & (day <= after - first)


def _zone(data: Bytes, end: Ints) -> tuple[Ints, Ints]:
    """Minutes east of UTC, and where the zone begins: one byte before the end (Z) or six (+HH:MM)."""
    is_utc = data[end - 1] == ord("Z")
    if is_utc.all():
        return np.zeros(len(end), np.int64), end - 1
    zone = np.where(is_utc, end - 1, end - 6)
    place = np.where(is_utc, end - 6, zone)  # of a Z, six bytes that are there; their number is not used
    minutes = _number(data, place + 1, 2) * 60 + _number(data, place + 4, 2)
    minutes = np.where(data[place] == ord("-"), -minutes, minutes)
    return np.where(is_utc, 0, minutes), zone
