"""Frames row by row, where few rows are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd


def rows(frame: pd.DataFrame) -> Iterator[Any]:
    """Each row as a tuple with the columns as names, in order."""
    return iter(frame.itertuples(index=False))


class ByKey(Mapping[str, dict[str, Any]]):
    """A frame's rows by a column that is unique, each by column name. A row is put together when it is asked for."""

    def __init__(self, frame: pd.DataFrame, key: str) -> None:
        self._columns = {str(name): frame[name].tolist() for name in frame}
        self._place = {str(value): place for place, value in enumerate(self._columns[key])}

    def __getitem__(self, key: str) -> dict[str, Any]:
        place = self._place[key]
        return {name: values[place] for name, values in self._columns.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._place)

    def __len__(self) -> int:
        return len(self._place)
