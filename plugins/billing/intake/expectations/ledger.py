"""What is expected of the books after a close: the laws in ``sql/checks`` find nothing, and totals agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from billing.intake.expectations.suite import Expected, Frames, Suite, between, same

LAWS, TOTALS = "laws", "totals"
_ADVICE = (
    "Either a bug or somebody wrote into the database. It cannot be accepted: every close says it again until the "
    "books are right. Send nothing that this close issued, restore or correct, and run the close's check again."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Law:
    """A query of ``sql/checks``: its name, what it says, how many rows break it, and the first of them in words."""

    name: str
    says: str
    violations: int
    rows: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Total:
    """Two sums over the books that must be equal, however they are cut. Exact integers of any size."""

    name: str
    says: str
    left: int
    right: int


def ledger_suite(subject: str, laws: Sequence[Law], totals: Sequence[Total]) -> tuple[Suite, Frames]:
    """The suite: an expectation a law, and one a total. ``subject`` says which close."""
    frames = {
        LAWS: pd.DataFrame({law.name: [law.violations] for law in laws}, index=["rows that break it"]),
        TOTALS: pd.DataFrame(_sums(totals), index=["the whole ledger"], dtype=object),
    }
    expectations = [
        *(_expected(law.name, LAWS, between(law.name, 0, 0), _of(law)) for law in laws),
        *(_expected(t.name, TOTALS, same(f"{t.name}_left", f"{t.name}_right"), t.says) for t in totals),
    ]
    return Suite(name="ledger", subject=subject, expectations=tuple(expectations)), frames


def _sums(totals: Sequence[Total]) -> Mapping[str, list[int]]:
    return {f"{t.name}_{side}": [getattr(t, side)] for t in totals for side in ("left", "right")}


def _of(law: Law) -> str:
    return law.says if not law.rows else f"{law.says} Broken by: {'; '.join(law.rows)}"


def _expected(name: str, frame: str, what: tuple[str, dict[str, object]], says: str) -> Expected:
    return Expected(name=name, frame=frame, kind=what[0], arguments=what[1], says=says.rstrip("."), advice=_ADVICE)
