"""``[access]`` of ``billing.toml``: who operates.

In the file::

    [access]                             # who sees all of the pages; others see the teams that they are members of
    operators = ["runs:cycle_close"]     # whoever may run this DAG (the default); also "user:NAME", "role:NAME"
"""

from __future__ import annotations

from dataclasses import dataclass

from billing.settings.table import Table

_OPERATORS = ("runs:cycle_close",)


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessSettings:
    """Who sees all of the pages: users and roles of Airflow by name, and whoever may run one of some DAGs."""

    users: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    runs: tuple[str, ...] = ()


def read_access(table: Table) -> AccessSettings:
    """Whoever may run ``cycle_close`` where it names no operators."""
    table.only(("operators",))
    by: dict[str, list[str]] = {"user": [], "role": [], "runs": []}
    for one in table.texts("operators", _OPERATORS):
        kind, colon, name = one.partition(":")
        if kind not in by or not colon or not name:
            says = f'has {one!r}; write "runs:DAG" (whoever may run that DAG), "user:NAME" or "role:NAME"'
            raise table.wrong("operators", says)
        by[kind].append(name)
    return AccessSettings(users=frozenset(by["user"]), roles=frozenset(by["role"]), runs=tuple(by["runs"]))
