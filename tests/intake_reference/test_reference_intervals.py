"""Rules 1.1 and 1.3: one hub a team, one team a hub, one hub an app, one active payg, at any instant (half-open)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import example, given
from hypothesis import strategies as st

from billing.intake.reference_intervals import overlapped_rows

ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 12), st.integers(1, 6), st.booleans()),
    max_size=14,
)


def _found(rows) -> list[int]:
    owner = pd.Series([row[0] for row in rows], dtype=object)
    begin = pd.Series([row[1] for row in rows], dtype="int64")
    end = pd.Series([row[1] + row[2] for row in rows], dtype="int64")
    return overlapped_rows(owner, begin, end, np.array([row[3] for row in rows], dtype=bool)).tolist()


def _shared(left, right) -> set[int]:
    """The instants at which both hold for one owner, counted out."""
    if left[0] != right[0] or not (left[3] and right[3]):
        return set()
    return set(range(left[1], left[1] + left[2])) & set(range(right[1], right[1] + right[2]))


@given(ROWS)
@example([("a", 0, 5, True), ("a", 1, 1, True), ("a", 3, 1, True)])  # the long one covers the third, not its neighbour
@example([("a", 0, 5, True), ("a", 5, 5, True)])  # half-open: they only touch
def test_the_sweep_finds_what_counting_instants_finds(rows):
    found = _found(rows)
    for place, other in enumerate(found):
        earlier = [
            number
            for number, row in enumerate(rows)
            if (row[1], number) < (rows[place][1], place) and _shared(row, rows[place])
        ]
        assert (other >= 0) == bool(earlier)
        assert other < 0 or other in earlier


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_decide_whether_there_is_an_overlap(rows, random):
    shuffled = random.sample(rows, len(rows))
    assert any(other >= 0 for other in _found(rows)) == any(other >= 0 for other in _found(shuffled))


def test_many_rows_of_one_owner_take_one_sweep():
    count = 200_000
    owner = pd.Series(["a"] * count, dtype=object)
    begin = pd.Series(np.arange(count))
    other = overlapped_rows(owner, begin, begin + 2, np.ones(count, dtype=bool))
    assert other[0] == -1
    assert (other[1:] >= 0).all()
