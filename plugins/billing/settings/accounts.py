"""``[accounts]`` of ``billing.toml``: the accounts of the journal.

In the file::

    [accounts]                           # where the journal books what; patterns, see core/accounts.py for all of them
    receivable = "Assets:Receivable:{customer}"
    [accounts.usage]                     # a whole name by API (vat: by country; gateway: by gateway; tokens,
    render = "Income:Rendering"          # tokens_sold, deferred_tokens, breakage: by kind of subscription)
"""

from __future__ import annotations

from types import MappingProxyType

from billing.core.accounts import DEFAULTS, OVERRIDDEN_BY, Accounts, demand_distinct, demand_pattern
from billing.settings.table import Table


def read_accounts(table: Table | None) -> Accounts:
    """Patterns, and whole names by API, country, gateway or kind."""
    if table is None:
        return Accounts()
    table.only(tuple(DEFAULTS))
    patterns, overrides = dict(DEFAULTS), {}
    for role, given in table.content.items():
        if not isinstance(given, dict):
            patterns[role] = _account(table, role, role, table.text(role))
            continue
        if role not in OVERRIDDEN_BY:
            raise table.wrong(role, "is one account; write it in quotes")
        inner = table.inner(role)
        for key in inner.content:
            overrides[role, key] = _account(inner, key, role, inner.text(key))
    found = Accounts(patterns=MappingProxyType(patterns), overrides=MappingProxyType(overrides))
    demand_distinct(found)
    return found


def _account(table: Table, key: str, role: str, pattern: str) -> str:
    try:
        demand_pattern(role, pattern)
        if key != role and "{" in pattern:
            raise ValueError("is a whole name here, without {}")
    except ValueError as error:
        raise table.wrong(key, str(error)) from None
    return pattern
