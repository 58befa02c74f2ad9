"""``[expectations]`` of ``billing.toml``: numbers for what is expected of usage and reference data.

In the file::

    [expectations]
    volume_up_times = 8                  # a bound of intake/expectations/bounds.py
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from billing.settings.table import Table


def read_expectations(table: Table | None) -> Mapping[str, float]:
    """By name, as they were given."""
    if table is None:
        return MappingProxyType({})
    return MappingProxyType({name: table.number(name, 0) for name in table.content})
