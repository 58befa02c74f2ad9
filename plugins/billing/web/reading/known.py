"""Reference data as known now, or at a load, read by key: names of teams, APIs, apps; who is a member of what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select

from billing.core.instants import from_us
from billing.core.model import Role
from billing.core.quantity import decimal_of_micro
from billing.core.reference import FOREVER_US
from billing.store.database import in_parts
from billing.store.invoices import from_minor
from billing.store.tables import STILL_KNOWN, reference_history


@dataclass(frozen=True, kw_only=True, slots=True)
class Api:
    """An API, or a resource of ``capacity`` subscriptions. One that is not known any more has blanks."""

    api: str
    name: str
    usage_unit: str
    billing: str


def is_known(table: str, load_no: int | None = None) -> ColumnElement[bool]:
    """Rows of a reference table that are known now, or were at a load."""
    rows = reference_history[table].c
    if load_no is None:
        return rows.known_to == STILL_KNOWN
    return (rows.known_from <= load_no) & (rows.known_to > load_no)


def rows_of(table: str, load_no: int | None = None) -> Select[Any]:
    """Select rows of a reference table as known now, or at a load; the caller says of what."""
    return select(reference_history[table]).where(is_known(table, load_no))


def by_key(
    connection: Connection, table: str, column: str, values: Iterable[str], load_no: int | None = None
) -> list[Row[Any]]:
    """The rows whose column has one of these values, in no order."""
    found: list[Row[Any]] = []
    for some in in_parts(sorted(set(values))):
        found += connection.execute(rows_of(table, load_no).where(reference_history[table].c[column].in_(some))).all()
    return found


def apis(connection: Connection, wanted: Iterable[str], load_no: int | None = None) -> dict[str, Api]:
    """These APIs by their id; every one that is asked for is there."""
    names = set(wanted)
    found = {api: Api(api=api, name="", usage_unit="", billing="") for api in names}
    for row in by_key(connection, "apis", "api", names, load_no):
        found[row.api] = Api(api=row.api, name=row.name, usage_unit=row.usage_unit, billing=row.billing)
    return found


def names(connection: Connection, table: str, ids: Iterable[str]) -> dict[str, str]:
    """Names by id of ``teams``, ``customers``, ``hubs`` or ``apps``; what is not known any more is not in it."""
    key = {"teams": "team_id", "customers": "customer_id", "hubs": "hub_id", "apps": "app_id"}[table]
    name = "legal_name" if table == "customers" else "name"
    return {row._mapping[key]: row._mapping[name] for row in by_key(connection, table, key, ids)}


def roles_of(connection: Connection, user: str) -> dict[str, frozenset[Role]]:
    """By team what a user is to it, as known now. Names are compared code point by code point."""
    found: dict[str, set[Role]] = {}
    for row in connection.execute(rows_of("team_members").where(reference_history["team_members"].c.user == user)):
        found.setdefault(row.team_id, set()).add(Role(row.role))
    return {team_id: frozenset(roles) for team_id, roles in found.items()}


def hubs_of(connection: Connection, team_id: str, at_us: int) -> list[str]:
    """The hub that a team has at an instant: one, or none (rule 1.1)."""
    assigned = reference_history["hub_teams"].c
    valid = (assigned.team_id == team_id) & (assigned.valid_from <= at_us) & (assigned.valid_to > at_us)
    query = select(assigned.hub_id).where(is_known("hub_teams"), valid)
    return sorted(connection.execute(query).scalars())


def seller_time_zone(connection: Connection) -> str:
    """The zone of the seller's calendar; UTC before the first load."""
    zone = connection.execute(select(reference_history["seller"].c.time_zone).where(is_known("seller"))).scalar()
    return zone or "UTC"


def count(connection: Connection, query: Select[Any]) -> int:
    """How many rows a query has."""
    return int(connection.execute(select(func.count()).select_from(query.subquery())).scalar_one())


def instant(us: int | None) -> datetime | None:
    """Microseconds to an aware instant; None for an open end."""
    return None if us is None or us >= FOREVER_US else from_us(us)


def quantity(micro: int | None) -> Decimal | None:
    """10^-6 to an exact decimal; None stays None."""
    return None if micro is None else decimal_of_micro(micro)


def money(minor: int | None, currency: str) -> Decimal | None:
    """Minor units to an amount with the currency's digits; None stays None, and so does what has no currency."""
    return None if minor is None or not currency else from_minor(minor, currency)


def grouped(rows: Iterable[Row[Any]], key: str) -> Mapping[str, list[Row[Any]]]:
    """Rows by one of their columns, each group in the order given."""
    found: dict[str, list[Row[Any]]] = {}
    for row in rows:
        found.setdefault(row._mapping[key], []).append(row)
    return found
