"""An expectation, a suite and what came of it, as values: nothing here knows how an expectation is evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

CRITICAL, WARNING = "critical", "warning"
"""A critical expectation that fails stops what is going on; a warning is only shown."""

Frames = Mapping[str, pd.DataFrame]
"""Frames by name. A frame's index says what a row is (a file, a group, a law), in words for a person."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """One expectation of one frame.

    name       what it is called wherever it is spoken of
    kind       the class in ``great_expectations.expectations``
    arguments  what that class takes: columns and limits
    says       what is expected, with its limit and where that comes from: a clause that fits after "expected: "
    advice     what to do where it fails
    """

    name: str
    frame: str
    kind: str
    arguments: Mapping[str, Any]
    says: str
    advice: str
    severity: str = CRITICAL


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """Expectations that are looked at together. ``subject`` says of what, in words."""

    name: str
    subject: str
    expectations: tuple[Expected, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """An expectation that does not hold, as it is kept and shown: ``observed`` names the rows and what is there."""

    name: str
    severity: str
    expected: str
    observed: str
    advice: str

    def __str__(self) -> str:
        return f"{self.name}: observed: {self.observed}; expected: {self.expected}. {self.advice}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspected:
    """What came of a suite: how many expectations were looked at, those that failed, and the page (HTML)."""

    suite: str
    subject: str
    expectations: int
    failures: tuple[Failure, ...]
    page: bytes

    @property
    def critical(self) -> tuple[Failure, ...]:
        """The failures that stop what is going on."""
        return tuple(failure for failure in self.failures if failure.severity == CRITICAL)


def limited(column: str, limit: str) -> tuple[str, dict[str, Any]]:
    """Kind and arguments of "``column`` is at most ``limit``", row by row, both int64 and compared exactly."""
    return "ExpectColumnPairValuesAToBeGreaterThanB", {"column_A": limit, "column_B": column, "or_equal": True}


def between(column: str, low: float | None, high: float | None) -> tuple[str, dict[str, Any]]:
    """Kind and arguments of "``column`` lies in ``[low, high]``"; exact for whole numbers below 2^53."""
    return "ExpectColumnValuesToBeBetween", {"column": column, "min_value": low, "max_value": high}


def one_of(column: str, values: Sequence[object]) -> tuple[str, dict[str, Any]]:
    """Kind and arguments of "``column`` is one of ``values``"."""
    return "ExpectColumnValuesToBeInSet", {"column": column, "value_set": list(values)}


def same(left: str, right: str) -> tuple[str, dict[str, Any]]:
    """Kind and arguments of "both columns are equal", row by row; exact."""
    return "ExpectColumnPairValuesToBeEqual", {"column_A": left, "column_B": right}
