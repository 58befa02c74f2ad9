"""Whole columns are parsed exactly as the scalar functions of ``billing.core`` parse one value."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.core.instants import MAX_US, MIN_US, parse_instant_us, to_us
from billing.core.quantity import parse_micro
from billing.intake import usage_columns

BOUND_MICRO = 10**18


def instant_by_scalar(text: str) -> tuple[int, bool]:
    try:
        return parse_instant_us(text), True
    except ValueError:
        return 0, False


def quantity_by_scalar(text: str) -> tuple[int, bool]:
    try:
        micro = parse_micro(text)
    except ValueError:
        return 0, False
    return (micro, True) if 0 < abs(micro) <= BOUND_MICRO else (0, False)


def pairs(parsed: tuple[np.ndarray, np.ndarray]) -> list[tuple[int, bool]]:
    value, ok = parsed
    assert value.dtype == np.int64
    assert ok.dtype == np.bool_
    return list(zip(value.tolist(), ok.tolist(), strict=True))


INSTANTS = [
    "2025-07-20T10:00:00Z", "2025-07-20T12:00:00+02:00", "2025-07-20T10:00:00.1234560Z", "2025-07-20T10:00:00.1234567Z",
    "2025-07-20T10:00:00-00:00", "2024-02-29T23:59:59.999999-23:59", "2025-02-29T10:00:00Z", "1900-02-29T00:00:00Z",
    "2000-02-29T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59-00:01", "0000-01-01T00:00:00Z", "2025-07-20T24:00:00Z", "2025-07-20T10:00:60Z",
    "2025-07-20t10:00:00z", "2025-07-20 10:00:00", "2025-07-20T10:00:00", "2025-07-20T10:00:00.Z",
    "2025-00-10T00:00:00Z",
    "2025-13-10T00:00:00Z", "2025-04-31T00:00:00Z", "2025-04-00T00:00:00Z", "2025-07-20T10:00:00+24:00", "",
    "2025-07-20T10:00:00Z\n", "\n2025-07-20T10:00:00Z", "2025-07-20T10:00:00.000000000000000000000Z",
    "٢025-07-20T10:00:00Z",
    "2025-07-20T10:00:00.5+0200", "1969-12-31T23:59:59.999999Z", "2025-07-20T10:00:00Z\x00",
]  # fmt: skip

QUANTITIES = [
    "0.70", "007", "+5", ".5", "5.", " 5", "5 ", "1e3", "٣", "1.0000000", "1,5", "-0", "0", "-0.000000", "0.000001",
    "-0.000001", "1000000000000", "-1000000000000", "1000000000000.000000", "1000000000000.000001", "1000000000001",
    "9999999999999.999999", "10000000000000", "99999999999999999999999999", "0" * 400 + "1.5", "-" + "0" * 60, "--1",
    "-", "", "1.", "1\n", "\n1", "1\x00", "1.5.5", "NaN", "1_000", "0x10", "9223372036854.775808", "-.5",
]  # fmt: skip


def mutated(texts: list[str]) -> st.SearchStrategy[str]:
    """A good or bad text with a few characters replaced, inserted or taken out."""
    edit = st.tuples(st.integers(0, 40), st.integers(0, 2), st.text("0123456789-+.:TZtz e\n٣\x00é", max_size=2))

    def apply(text: str, edits: list[tuple[int, int, str]]) -> str:
        for place, cut, new in edits:
            text = text[:place] + new + text[place + cut :]
        return text

    return st.builds(apply, st.sampled_from(texts), st.lists(edit, max_size=2))


REAL_INSTANTS = st.builds(
    lambda moment, zone, fraction: moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0") + fraction + zone,
    st.datetimes(),
    st.sampled_from(["Z", "+00:00", "-00:00", "+23:59", "-23:59", "+05:30", "-08:00"]),
    st.from_regex(r"(\.[0-9]{1,8})?", fullmatch=True),
)


@pytest.mark.parametrize("text", INSTANTS)
def test_instants_of_the_contract(text: str) -> None:
    """Conventions, "Instants"; between two others, so that places in the buffer matter."""
    column = pa.array(["x", text, "2025-07-20T10:00:00Z"])
    assert pairs(usage_columns.instants_from_text(column))[1] == instant_by_scalar(text)


@given(st.lists(st.one_of(mutated(INSTANTS), REAL_INSTANTS), max_size=20), st.booleans(), st.integers(0, 3))
@settings(max_examples=500, deadline=None)
def test_instants_as_the_scalar_function(texts: list[str], large: bool, skipped: int) -> None:
    column = pa.array(texts, pa.large_string() if large else pa.string())[skipped:]
    assert pairs(usage_columns.instants_from_text(column)) == [instant_by_scalar(text) for text in texts[skipped:]]


@pytest.mark.parametrize("text", QUANTITIES)
def test_quantities_of_the_contract(text: str) -> None:
    """Conventions, "Decimals"; Usage events, "bad_quantity"."""
    column = pa.array(["12.5", text, "1"])
    assert pairs(usage_columns.quantities_from_text(column))[1] == quantity_by_scalar(text)


DECIMAL_TEXTS = st.from_regex(r"-?0{0,3}[0-9]{1,14}(\.[0-9]{1,7})?", fullmatch=True)


@given(st.lists(st.one_of(mutated(QUANTITIES), DECIMAL_TEXTS), max_size=20), st.booleans(), st.integers(0, 3))
@settings(max_examples=500, deadline=None)
def test_quantities_as_the_scalar_function(texts: list[str], large: bool, skipped: int) -> None:
    column = pa.array(texts, pa.large_string() if large else pa.string())[skipped:]
    assert pairs(usage_columns.quantities_from_text(column)) == [quantity_by_scalar(text) for text in texts[skipped:]]


def test_nulls_and_empty_columns_are_not_ok() -> None:
    assert pairs(usage_columns.instants_from_text(pa.array([None, ""], pa.string()))) == [(0, False)] * 2
    assert pairs(usage_columns.quantities_from_text(pa.array([], pa.string()))) == []


WIDTHS = {
    "decimal32": (pa.decimal32, 9),
    "decimal64": (pa.decimal64, 18),
    "decimal128": (pa.decimal128, 38),
    "decimal256": (pa.decimal256, 76),
}


@pytest.mark.parametrize("width", WIDTHS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_decimals_of_any_width_are_read_by_value(width: str, data: st.DataObject) -> None:
    """Conventions, "In Parquet quantities are ... decimals": exact, more than six decimals are not ok."""
    make, precision_max = WIDTHS[width]
    precision = data.draw(st.integers(1, precision_max))
    scale = data.draw(st.integers(0, precision))
    largest = 10**precision - 1
    near = st.sampled_from([10**12 * 10**scale, 10**scale, 10 ** max(scale - 6, 0), 0]).flatmap(
        lambda middle: st.integers(-2, 2).map(lambda step: max(-largest, min(largest, middle + step)))
    )
    unscaled = data.draw(st.lists(st.one_of(st.none(), near, st.integers(-largest, largest)), max_size=8))
    exact = [None if n is None else Decimal((n < 0, tuple(map(int, str(abs(n)))), -scale)) for n in unscaled]
    column = pa.array([None, *exact], make(precision, scale))[1:]
    assert pairs(usage_columns.quantities_from_decimals(column)) == [quantity_by_value(n, scale) for n in unscaled]


def quantity_by_value(unscaled: int | None, scale: int) -> tuple[int, bool]:
    micro, rest = divmod((unscaled or 0) * 10**6, 10**scale)
    return (micro, True) if not rest and 0 < abs(micro) <= BOUND_MICRO else (0, False)


@pytest.mark.parametrize("kind", [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32(), pa.uint64()])
def test_integers_of_any_width(kind: pa.DataType) -> None:
    limits = np.iinfo(kind.to_pandas_dtype())
    values = [
        limits.min,
        limits.max,
        0,
        1,
        100,
        *(n for n in (-1, 10**12, 10**12 + 1) if limits.min <= n <= limits.max),
    ]
    column = pa.array([*values, None], kind)
    assert pairs(usage_columns.quantities_from_integers(column)) == [quantity_by_value(n, 0) for n in [*values, None]]


TICKS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


@pytest.mark.parametrize("unit", TICKS)
@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(-(10**10), 10**10)), max_size=8))
def test_timestamps_of_any_unit(unit: str, ticks: list[int | None]) -> None:
    """Conventions, "nothing finer than a microsecond", and the years 0001 to 9999."""

    def by_value(tick: int | None) -> tuple[int, bool]:
        us, rest = divmod((tick or 0) * TICKS[unit], 1_000)
        return (us, True) if tick is not None and not rest and MIN_US <= us <= MAX_US else (0, False)

    column = pa.array(ticks, pa.int64()).cast(pa.timestamp(unit, "Europe/Paris"))
    assert pairs(usage_columns.instants_from_timestamps(column)) == [by_value(tick) for tick in ticks]


def test_a_timestamp_of_another_zone_is_the_same_instant() -> None:
    moment = datetime(2025, 7, 20, 10, tzinfo=UTC)
    column = pa.array([moment], pa.timestamp("us", "Asia/Tokyo"))
    assert pairs(usage_columns.instants_from_timestamps(column)) == [(to_us(moment), True)]
