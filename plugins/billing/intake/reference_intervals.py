"""Intervals of reference rows, all half-open: an end after its beginning, and no two at once (rules 1.1 to 1.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from billing.core.model import Kind
from billing.intake.reference_findings import FindingList
from billing.intake.reference_tables import TableInForce, Tables

_ENDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "hub_teams": ("valid_from", "valid_to"),
        "app_hubs": ("valid_from", "valid_to"),
        "subscriptions": ("purchased_at", "ends_at"),
        "token_grants": ("valid_from", "expires_at"),
        "capacity_grants": ("valid_from", "expires_at"),
    }
)
"""Tables whose rows hold in ``[begin, end)``, and the two columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _OneAtATime:
    """In ``table`` an ``owner`` may have one row at any instant; ``message`` ends in the place of the other row."""

    table: str
    owner: str
    message: str
    kind: Kind | None = None


_ONE_AT_A_TIME = (
    _OneAtATime(table="hub_teams", owner="hub_id", message="the hub has a team at that time already, by"),
    _OneAtATime(table="hub_teams", owner="team_id", message="the team has a hub at that time already, by"),
    _OneAtATime(table="app_hubs", owner="app_id", message="the app has a hub at that time already, by"),
    _OneAtATime(
        table="subscriptions",
        owner="team_id",
        message="the team has an active payg subscription at that time already, by",
        kind=Kind.PAYG,
    ),
)


def check_ends(tables: Tables, found: FindingList) -> None:
    """Refused: "an end not after its beginning"."""
    for name, (begin, end) in _ENDS.items():
        own = tables[name]
        bad = (own.frame[end] <= own.frame[begin]).to_numpy() & own.readable(begin, end)
        own.report(
            found, bad, end, f"is not after {begin}; intervals are half-open, so an end is later, or blank if open"
        )


def check_overlaps(tables: Tables, found: FindingList) -> None:
    """Refused: "overlapping validities of one hub, team or app; two active `payg` subscriptions of a team"."""
    for rule in _ONE_AT_A_TIME:
        own = tables[rule.table]
        begin, end = _ENDS[rule.table]
        rows = own.readable(rule.owner, begin, end) & (own.frame[begin] < own.frame[end]).to_numpy()
        rows &= ~own.frame.duplicated(list(own.table.key)).to_numpy()
        if rule.kind is not None:
            rows &= (own.frame["kind"] == rule.kind).to_numpy()
        other = overlapped_rows(own.frame[rule.owner], own.frame[begin], own.frame[end], rows)
        _report(own, rule, other, begin, found)


def _report(own: TableInForce, rule: _OneAtATime, other: NDArray[np.int64], begin: str, found: FindingList) -> None:
    own.report(found, other >= 0, begin, lambda row: f"{rule.message} {own.line(int(other[row]))}; end that one first")


def overlapped_rows(owner: pd.Series, begin: pd.Series, end: pd.Series, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each row one that begins no later, holds at its beginning and has its owner; -1 where there is none.

    Only rows where ``rows`` is true take part. Of rows that begin together the first in the file counts as earlier.
    The one named is the one that ends last of those before it, so that one sweep over the sorted rows finds all.
    """
    result = np.full(len(owner), -1, dtype=np.int64)
    places = np.flatnonzero(rows)
    codes = pd.factorize(owner.to_numpy()[places])[0]
    begins, ends = begin.to_numpy()[places], end.to_numpy()[places]
    order = np.lexsort((places, begins, codes))
    last_owner, last_end, last_row = -1, 0, -1
    for code, start, stop, row in zip(
        codes[order].tolist(), begins[order].tolist(), ends[order].tolist(), places[order].tolist(), strict=True
    ):
        if code == last_owner and start < last_end:
            result[row] = last_row
        if code != last_owner or stop > last_end:
            last_owner, last_end, last_row = code, stop, row
    return result
