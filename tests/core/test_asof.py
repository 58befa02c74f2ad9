"""Which row is in force at an instant, against a loop over all rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.core.asof import AsOf, values_during

KEYS = 4


def in_force(rows: list[tuple[int, int]], key: int, at: int) -> int:
    """The row of the key with the latest start that has come; -1 where there is none."""
    come = [(start, row) for row, (of_key, start) in enumerate(rows) if of_key == key and start <= at]
    return max(come)[1] if come else -1


@given(
    st.lists(st.tuples(st.integers(0, KEYS - 1), st.integers(-20, 20)), unique=True, max_size=40),
    st.lists(st.tuples(st.integers(-1, KEYS - 1), st.integers(-25, 25)), max_size=40),
)
def test_the_row_in_force(rows: list[tuple[int, int]], asked: list[tuple[int, int]]) -> None:
    """Rules 1.2, 4.1, 5.4: the latest ``valid_from`` at or before the instant; half-open, so its own instant counts."""
    keys, starts = np.array(rows, dtype=np.int64).reshape(-1, 2).T
    found = AsOf(keys, starts, KEYS).row_at(*np.array(asked, dtype=np.int64).reshape(-1, 2).T)
    assert found.tolist() == [in_force(rows, key, at) for key, at in asked]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 9, 255, 256, 257])
def test_every_place_of_a_history_is_found(count: int) -> None:
    """The search takes as many steps as the longest history needs, at every length about a power of two."""
    starts = np.arange(count, dtype=np.int64) * 10
    key = np.zeros(count, dtype=np.int64)
    history = AsOf(key, starts, 1)
    assert history.row_at(key, starts).tolist() == list(range(count))
    assert history.row_at(key, starts - 1).tolist() == list(range(-1, count - 1))
    assert history.row_at(key, starts + 9).tolist() == list(range(count))


def test_the_values_during_a_cycle() -> None:
    """Rule 4.1: the one in force at the start has no instant; what changes nothing, and what begins at the end or
    later, is not among them.
    """
    rows = [(0, 20), (5, 16), (7, 16), (9, 20), (12, 30)]
    assert values_during(rows, 4, 12) == [(None, 20), (5, 16), (9, 20)]
    assert values_during(rows, 5, 9) == [(None, 16)]
    assert values_during(rows, -3, 1) == [(0, 20)]
