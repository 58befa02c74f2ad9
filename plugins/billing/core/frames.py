"""Frames row by row, where there are few rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd


def rows(frame: pd.DataFrame) -> Iterator[Any]:
    """Each row as a tuple with the columns as names, in order."""
    return iter(frame.itertuples(index=False))
