"""What a home's owner has set: kept in its database, so that every process of the home sees the same."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from billing.core.errors import UsageError
from billing.store.tables import configuration

CLOSE_LAG_SECONDS = "close_lag_seconds"
MAX_UNITS_PER_CYCLE = "max_units_per_cycle"
PRODUCTION = "production"
DEFAULTS = {CLOSE_LAG_SECONDS: "3600", MAX_UNITS_PER_CYCLE: str(2**62), PRODUCTION: "0"}
"""Rule 3.4: one hour, twice the half hour by which usage may lag. Rule 3.8: the bound on one API's charged units in a
cycle. ``production`` is 1 where invoices are real: what the law wants of them must be there (``core.particulars``).
"""


def configured(connection: Connection, name: str) -> int:
    """A setting, or its default."""
    value = connection.execute(select(configuration.c.value).where(configuration.c.name == name)).scalar()
    return int(DEFAULTS[name] if value is None else value)


def configure(connection: Connection, name: str, value: int) -> None:
    """Set it from now on."""
    if name not in DEFAULTS:
        raise UsageError(f"There is no setting {name!r}; there are: {', '.join(DEFAULTS)}.")
    if value < 0:
        raise UsageError(f"{name} is {value}; it cannot be below 0.")
    connection.execute(delete(configuration).where(configuration.c.name == name))
    connection.execute(insert(configuration).values(name=name, value=str(value)))
