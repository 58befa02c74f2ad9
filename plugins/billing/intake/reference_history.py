"""A load beside what is known and used: what may not change, what may not go (data contract, "Reference data")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd

from billing.core.quantity import format_micro
from billing.core.reference import Reference, Table
from billing.intake.reference_cells import written
from billing.intake.reference_findings import FINDINGS_MAX, FindingList, shown
from billing.intake.reference_tables import TableInForce, Tables


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What the books need of reference data.

    ``billing_by_used_api``: the billing under which usage of an API was accepted. ``used_*_micro``: what is used of
    a grant, by its id. ``needed_keys``: per table the keys that an open event or a carry-over needs, as texts in the
    order of the table's key (instants by ``format_us``, days ``YYYY-MM-DD``): these stay, whatever is allowed.
    """

    billing_by_used_api: Mapping[str, str]
    used_tokens_micro: Mapping[str, int]
    used_capacity_micro: Mapping[str, int]
    allow_removals: bool
    needed_keys: Mapping[str, frozenset[tuple[str, ...]]]


NO_NEEDS = Needs(
    billing_by_used_api=MappingProxyType({}),
    used_tokens_micro=MappingProxyType({}),
    used_capacity_micro=MappingProxyType({}),
    allow_removals=False,
    needed_keys=MappingProxyType({}),
)
"""Of a home that has neither usage nor carry-over."""


def check_against_known(tables: Tables, known: Reference | None, needs: Needs, found: FindingList) -> None:
    """Changes and removals that the contract refuses."""
    _check_billing(tables["apis"], needs, found)
    _check_grants(tables["token_grants"], "tokens", needs.used_tokens_micro, found)
    _check_grants(tables["capacity_grants"], "quantity", needs.used_capacity_micro, found)
    for own in tables:
        if known is not None and own.loaded and own.whole and own.table.key and own.table.name in known:
            _check_removals(own, known[own.table.name], needs, found)


def _check_billing(apis: TableInForce, needs: Needs, found: FindingList) -> None:
    """Refused: "`billing` changed for an API that has usage"."""
    before = apis.frame["api"].map(needs.billing_by_used_api)
    changed = (before.notna() & (before != apis.frame["billing"]) & (apis.frame["billing"] != "")).to_numpy()
    apis.report(
        found,
        changed,
        "billing",
        lambda row: (
            f"was {before[row]} when usage of this API was accepted and must stay so; add an API of another name"
        ),
    )


def _check_grants(grants: TableInForce, column: str, used_micro: Mapping[str, int], found: FindingList) -> None:
    """Refused: "a grant made smaller than what is used of it"."""
    grant_ids, granted_micro = grants.texts("grant_id"), grants.frame[column].tolist()
    rows = [micro < used_micro.get(grant, micro) for grant, micro in zip(grant_ids, granted_micro, strict=True)]
    grants.report(
        found,
        np.array(rows, dtype=bool) & grants.readable(column),
        column,
        lambda row: (
            f"{format_micro(granted_micro[row])} is less than the {format_micro(used_micro[grant_ids[row]])}"
            " that is used of this grant; grant at least that"
        ),
    )


def _check_removals(own: TableInForce, before: pd.DataFrame, needs: Needs, found: FindingList) -> None:
    """Removals are "refused unless `--allow-removals` is given (never what an open event or a carry-over needs)"."""
    name = own.table.name
    kept = set(_keys(own.table, own.frame))
    gone = [_written(own.table, key) for key in _keys(own.table, before) if key not in kept]
    needed = needs.needed_keys.get(name, frozenset())
    refused = [(key, _NEEDED) for key in gone if key in needed]
    if not needs.allow_removals:
        refused += [(key, _REMOVED) for key in gone if key not in needed]
    for key, message in refused[:FINDINGS_MAX]:
        found.add(name, own.file, f"the row {', '.join(map(shown, key))} {message}")
    found.total += max(0, len(refused) - FINDINGS_MAX)


_NEEDED = "is missing, and an open event or a carry-over needs it; put it back (its removal cannot be allowed)"
_REMOVED = "is missing, and was known before; put it back, or allow removals (--allow-removals)"


def _keys(table: Table, frame: pd.DataFrame) -> list[tuple[object, ...]]:
    return list(zip(*(frame[column].tolist() for column in table.key), strict=True))


def _written(table: Table, key: tuple[object, ...]) -> tuple[str, ...]:
    """A key as texts, as ``Needs.needed_keys`` has it."""
    kinds = {column.name: column.kind for column in table.columns}
    return tuple(written(kinds[name], value) for name, value in zip(table.key, key, strict=True))
