"""Section 4 of the rules: usage to charged units and carry-over, against a loop of six lines."""

from __future__ import annotations

from decimal import Decimal
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.core.metering import NO_SIZE, Metered, meter, overflowing, units_by_size

Row = tuple[int, int, int]
"""Accumulator, quantity, unit size."""


def looped(rows: list[Row], opening: list[int]) -> tuple[list[int], list[int]]:
    """Rule 4.2 as it is written, one event at a time."""
    carry, charged, after = list(opening), [], []
    for accumulator, quantity, size in rows:
        carry[accumulator] += quantity
        units = 0 if size == NO_SIZE else max(0, carry[accumulator] // size)
        carry[accumulator] -= units * size
        charged.append(units)
        after.append(carry[accumulator])
    return charged, after


def arrays(rows: list[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    accumulator, quantity, size = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return accumulator, quantity, size


def metered(rows: list[Row], opening: list[int]) -> Metered:
    return meter(*arrays(rows), np.array(opening, dtype=np.int64))


def as_lists(result: Metered) -> tuple[list[int], list[int]]:
    return result.charged_units.tolist(), result.carry_micro.tolist()


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Row], list[int]]:
    """Events of up to four accumulators with corrections, sizes that change or are missing, openings of either sign."""
    count = draw(st.integers(1, 4))
    quantities = st.integers(-30, 60)
    sizes = st.sampled_from([NO_SIZE, 1, 3, 7, 7, 20])
    opening = draw(st.lists(st.integers(-50, 50), min_size=count, max_size=count))
    rows: list[Row] = []
    for accumulator in range(count):
        for size in draw(st.lists(sizes, max_size=4)):
            rows += [(accumulator, quantity, size) for quantity in draw(st.lists(quantities, max_size=6))]
    return rows, opening


@given(streams())
def test_vectors_say_what_the_loop_says(stream: tuple[list[Row], list[int]]) -> None:
    """Rules 4.2, 4.3: units and carry-over after each event."""
    assert as_lists(metered(*stream)) == looped(*stream)


@given(streams(), st.data())
def test_two_runs_are_one(stream: tuple[list[Row], list[int]], data: st.DataObject) -> None:
    """Rule 4.2: any split into two runs, the carry-over passed on, gives what one run gives."""
    rows, opening = stream
    cuts = [data.draw(st.integers(0, sum(row[0] == a for row in rows))) for a in range(len(opening))]
    seen = [sum(earlier[0] == row[0] for earlier in rows[:place]) for place, row in enumerate(rows)]
    early = [seen[place] < cuts[row[0]] for place, row in enumerate(rows)]
    first = [row for row, is_early in zip(rows, early, strict=True) if is_early]
    then = [row for row, is_early in zip(rows, early, strict=True) if not is_early]
    one = metered(first, opening)
    passed_on = list(opening)
    for (accumulator, *_), carry in zip(first, one.carry_micro.tolist(), strict=True):
        passed_on[accumulator] = carry
    two = metered(then, passed_on)
    together = metered(rows, opening)
    mask = np.array(early, dtype=bool)
    assert together.charged_units[mask].tolist() == one.charged_units.tolist()
    assert together.charged_units[~mask].tolist() == two.charged_units.tolist()
    assert together.carry_micro[~mask].tolist() == two.carry_micro.tolist()


@given(streams())
def test_usage_is_conserved(stream: tuple[list[Row], list[int]]) -> None:
    """Rule 4.4: opening + usage = charged units x unit size + closing, per accumulator, whatever the sizes."""
    rows, opening = stream
    result = metered(rows, opening)
    for accumulator, opened in enumerate(opening):
        mine = [place for place, row in enumerate(rows) if row[0] == accumulator]
        if mine:
            used = sum(rows[place][1] for place in mine)
            charged = sum(int(result.charged_units[place]) * max(rows[place][2], 0) for place in mine)
            assert opened + used == charged + int(result.carry_micro[mine[-1]])


@given(streams())
def test_units_are_never_taken_back(stream: tuple[list[Row], list[int]]) -> None:
    """Rule 4.3: a correction charges less later, never a negative number of units; what is left is less than a unit."""
    result = metered(*stream)
    assert all(units >= 0 for units in result.charged_units)
    assert all(carry < size for (_, _, size), carry in zip(stream[0], result.carry_micro, strict=True) if size > 0)


@pytest.mark.parametrize(
    ("opening", "rows", "charged", "carry"),
    [
        pytest.param(0, [(19, 20), (1, 20)], [0, 1], [19, 0], id="rule 4.1: only whole units"),
        pytest.param(5, [(55, 20)], [3], [0], id="rule 4.2: what was left counts first"),
        pytest.param(0, [(25, 20), (-25, 20), (30, 20)], [1, 0, 0], [5, -20, 10], id="rule 4.3: a credit fills first"),
        pytest.param(-15, [(10, 20), (24, 20), (1, 20)], [0, 0, 1], [-5, 19, 0], id="rule 4.3: a negative opening"),
        pytest.param(0, [(20, 20), (-1, 20), (1, 20)], [1, 0, 0], [0, -1, 0], id="rule 4.3: not charged twice"),
        pytest.param(19, [(1, 10)], [2], [0], id="rule 4.2: what waits completes at the next event"),
        pytest.param(19, [(-4, 10)], [1], [5], id="rule 4.2: also where the next event is a correction"),
        pytest.param(0, [(19, 20), (10, 30), (1, 30)], [0, 0, 1], [19, 29, 0], id="rule 4.1: a size that grows"),
        pytest.param(0, [(19, 20), (0, 10), (5, 20), (0, 3)], [0, 1, 0, 4], [19, 9, 14, 2], id="rule 4.1: to and fro"),
        pytest.param(7, [(50, NO_SIZE), (3, 20)], [0, 3], [57, 0], id="rule 8.1: without a size usage waits"),
        pytest.param(
            0, [(50, 20), (4, NO_SIZE), (6, 20)], [2, 0, 1], [10, 14, 0], id="rule 8.1: a size that is missing"
        ),
    ],
)
def test_worked_examples(opening: int, rows: list[tuple[int, int]], charged: list[int], carry: list[int]) -> None:
    """Section 4, each line by hand."""
    assert as_lists(metered([(0, *row) for row in rows], [opening])) == (charged, carry)


def test_nothing_happens_to_nothing() -> None:
    """Rule 4.2: no events, no accumulators."""
    assert as_lists(metered([], [])) == ([], [])
    assert as_lists(metered([], [5, -5])) == ([], [])
    assert overflowing(*arrays([])[:2], np.array([], dtype=np.int64)).tolist() == []


# Size


@pytest.mark.parametrize("opening", [0, 1, -1, 6_999_999, 123_456, -(10**9)])
def test_a_million_tiny_events_are_one_large_one(opening: int) -> None:
    """Rule 2.1: a million events of a millionth, from any opening, leave what one event of 1 leaves."""
    million = 10**6
    zeros, ones = np.zeros(million, dtype=np.int64), np.ones(million, dtype=np.int64)
    tiny = meter(zeros, ones, ones * 7, np.array([opening], dtype=np.int64))
    units, carry = as_lists(metered([(0, million, 7)], [opening]))
    assert [int(tiny.charged_units.sum()), int(tiny.carry_micro[-1])] == [units[0], carry[0]]


def test_a_thousand_millions_are_one_event_of_10_to_the_9() -> None:
    """Rule 2.1: with the test before, 10^9 tiny events equal one large one exactly, run after run."""
    carry, charged = 0, 0
    for _ in range(1_000):
        result = metered([(0, 10**6, 7)], [carry])
        charged, carry = charged + int(result.charged_units[0]), int(result.carry_micro[0])
    units, left = as_lists(metered([(0, 10**9, 7)], [0]))
    assert (charged, carry) == (units[0], left[0])


HUGE = st.integers(-(10**18), 10**18)


@st.composite
def huge_streams(draw: st.DrawFn) -> tuple[list[Row], list[int]]:
    """Quantities up to the largest that an event may have (10^12 units), in several accumulators."""
    count = draw(st.integers(1, 3))
    opening = draw(st.lists(st.integers(-(2**61), 2**61), min_size=count, max_size=count))
    rows: list[Row] = []
    for accumulator in range(count):
        size = draw(st.sampled_from([1, 3, 10**6, 2 * 10**7, 10**18, NO_SIZE]))
        rows += [(accumulator, quantity, size) for quantity in draw(st.lists(HUGE, max_size=12))]
    return rows, opening


def reach(rows: list[Row], opening: list[int]) -> list[int]:
    """The largest magnitude that each event's accumulator could have had by then, in exact integers."""
    moved = [abs(one) for one in opening]
    result = []
    for accumulator, quantity, _ in rows:
        moved[accumulator] += abs(quantity)
        result.append(moved[accumulator])
    return result


@given(huge_streams())
def test_overflow_is_flagged_and_never_wraps(stream: tuple[list[Row], list[int]]) -> None:
    """Rules 2.1, 3.8: all that could leave 64 bits is flagged, nothing within half of them is, and what is not flagged
    is metered exactly, whatever other accumulators hold."""
    rows, opening = stream
    flagged = overflowing(*arrays(rows)[:2], np.array(opening, dtype=np.int64)).tolist()
    for flag, most in zip(flagged, reach(rows, opening), strict=True):
        assert flag or most < 2**62 + 2**13
        assert not flag or most > 2**62 - 2**13
    left = [(a, 0 if flag else q, size) for (a, q, size), flag in zip(rows, flagged, strict=True)]
    assert as_lists(metered(left, opening)) == looped(left, opening)


@given(huge_streams())
def test_from_the_first_overflow_on_all_is_flagged(stream: tuple[list[Row], list[int]]) -> None:
    """Rule 3.8: from there on the accumulator cannot be billed honestly."""
    rows, opening = stream
    flagged = overflowing(*arrays(rows)[:2], np.array(opening, dtype=np.int64)).tolist()
    for (before, later), (one, other) in zip(pairwise(flagged), pairwise(rows), strict=True):
        assert not before or later or one[0] != other[0]


def test_one_overflow_does_not_spread() -> None:
    """Rule 3.8: a team in trouble stops nobody else."""
    rows = [(0, 10**18, 7)] * 30 + [(1, 5, 7), (1, 9, 7)]
    flagged = overflowing(*arrays(rows)[:2], np.zeros(2, dtype=np.int64)).tolist()
    sums = list(accumulate([10**18] * 30))
    assert flagged == [total >= 2**62 for total in sums] + [False, False]


def test_sums_over_all_accumulators_may_be_beyond_64_bits() -> None:
    """Rule 2.1: a hundred teams near the bound are each exact."""
    rows = [(team, 2 * 10**18, 3) for team in range(100) for _ in range(2)]
    assert as_lists(metered(rows, list(range(100)))) == looped(rows, list(range(100)))


@pytest.mark.parametrize(
    ("sizes", "used_up", "units", "expected"),
    [
        (["20", "16"], "1392", 70, (68, 2)),
        (["20", "16"], "20", 1, (1, 0)),
        (["0.5", "0.3"], "1.1", 3, (1, 2)),
        (["20"], "60", 3, (3,)),
        (["20"], "61", 3, None),
        (["20", "16"], "1393", 70, None),
        (["20", "16"], "100", 4, None),
        (["20", "16", "10"], "46", 3, None),
        ([], "0", 0, None),
    ],
)
def test_units_by_size_of_the_sums(
    sizes: list[str], used_up: str, units: int, expected: tuple[int, ...] | None
) -> None:
    """Rule 4.4: with two sizes the sums leave one answer; in other cases none is given."""
    assert units_by_size([Decimal(size) for size in sizes], Decimal(used_up), units) == expected
