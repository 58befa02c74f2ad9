"""The reference tables: their columns, types and keys, in one place (data contract, "Reference data").

A **reference frame** is a pandas frame of one table with these columns and dtypes:

======== ============================ =====================================================
kind     dtype                        meaning
======== ============================ =====================================================
text     str (object)                 as it came; blank is ``""``
instant  int64                        microseconds since 1970-01-01T00:00Z; a blank end is ``FOREVER_US``
day      int64                        days since 1970-01-01 (a local date)
micro    int64                        10^-6 of the column's unit; blank ``tokens_per_unit`` is ``NO_TOKENS``
whole    int64                        a whole number; a blank one, or a blank optional ``micro``, is ``BLANK``
======== ============================ =====================================================

A **reference** is a mapping from table name to such a frame: what was known at one load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import pandas as pd

FOREVER_US = 2**63 - 1
"""An end that is open: later than every instant that can be written."""

NO_TOKENS = -1
"""``tokens_per_unit`` of an API that cannot be paid in tokens (rule 5.3)."""

BLANK = NO_TOKENS
"""A blank cell of an optional column of numbers: none of them can be below 0."""

Reference: TypeAlias = Mapping[str, pd.DataFrame]


class ColumnKind(StrEnum):
    """How a column is written and kept."""

    TEXT = "text"
    INSTANT = "instant"
    DAY = "day"
    MICRO = "micro"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``blank`` says whether a blank cell is allowed; ``refers`` names the ``table.column`` it must exist
    in. A file without an ``optional`` column is one whose cells are all blank.
    """

    name: str
    kind: ColumnKind = ColumnKind.TEXT
    blank: bool = False
    refers: str | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One reference table. ``key`` columns are unique together; ``optional`` tables may have no file."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    optional: bool = False


def _text(name: str, *, blank: bool = False, refers: str | None = None) -> Column:
    return Column(name, ColumnKind.TEXT, blank, refers)


def _further(*names: str) -> tuple[Column, ...]:
    """Optional columns of text, after the contract's own."""
    return tuple(Column(name, blank=True, optional=True) for name in names)


def _instant(name: str, *, blank: bool = False) -> Column:
    return Column(name, ColumnKind.INSTANT, blank)


def _micro(name: str, *, blank: bool = False) -> Column:
    return Column(name, ColumnKind.MICRO, blank)


_SELLER = Table(
    "seller",
    (),
    (
        _text("legal_name"),
        _text("address_line1"),
        _text("postal_code", blank=True),
        _text("city"),
        _text("country"),
        _text("vat_id", blank=True),
        _text("invoice_prefix"),
        _text("time_zone"),
        _text("iban", blank=True),
        _text("email", blank=True),
        *_further("address_line2", "region", "registration_id", "registration_scheme"),
        *_further("electronic_address", "electronic_address_scheme", "contact_name", "phone"),
        *_further("bic", "creditor_id", "legal_information"),
        Column("payment_days", ColumnKind.WHOLE, blank=True, optional=True),
        *_further("vat_currency", "credit_note_prefix"),
    ),
)
_CUSTOMERS = Table(
    "customers",
    ("customer_id",),
    (
        _text("customer_id"),
        _text("legal_name"),
        _text("address_line1", blank=True),
        _text("address_line2", blank=True),
        _text("postal_code", blank=True),
        _text("city", blank=True),
        _text("region", blank=True),
        _text("country"),
        _text("vat_id", blank=True),
        _text("email", blank=True),
        _text("locale", blank=True),
        *_further("registration_id", "registration_scheme", "electronic_address", "electronic_address_scheme"),
        *_further("buyer_reference"),
        Column("vat_id_checked_at", ColumnKind.INSTANT, blank=True, optional=True),
        *_further("vat_id_check_ref"),
    ),
)
_TEAMS = Table(
    "teams",
    ("team_id",),
    (_text("team_id"), _text("customer_id", refers="customers.customer_id"), _text("name", blank=True)),
)
_HUBS = Table("hubs", ("hub_id",), (_text("hub_id"), _text("name", blank=True)))
_HUB_TEAMS = Table(
    "hub_teams",
    ("hub_id", "team_id", "valid_from"),
    (
        _text("hub_id", refers="hubs.hub_id"),
        _text("team_id", refers="teams.team_id"),
        _instant("valid_from"),
        _instant("valid_to", blank=True),
    ),
)
_APPS = Table("apps", ("app_id",), (_text("app_id"), _text("name", blank=True)))
_APP_HUBS = Table(
    "app_hubs",
    ("app_id", "hub_id", "valid_from"),
    (
        _text("app_id", refers="apps.app_id"),
        _text("hub_id", refers="hubs.hub_id"),
        _instant("valid_from"),
        _instant("valid_to", blank=True),
    ),
)
_APIS = Table("apis", ("api",), (_text("api"), _text("name", blank=True), _text("usage_unit"), _text("billing")))
_UNIT_RATES = Table(
    "unit_rates",
    ("api", "valid_from"),
    (
        _text("api", refers="apis.api"),
        _instant("valid_from"),
        _micro("unit_size"),
        _micro("tokens_per_unit", blank=True),
    ),
)
_UNIT_PRICES = Table(
    "unit_prices",
    ("api", "currency", "valid_from"),
    (_text("api", refers="apis.api"), _text("currency"), _instant("valid_from"), _micro("unit_price")),
)
_SUBSCRIPTIONS = Table(
    "subscriptions",
    ("subscription_id",),
    (
        _text("subscription_id"),
        _text("team_id", blank=True, refers="teams.team_id"),
        _text("kind"),
        _instant("purchased_at"),
        _text("time_zone"),
        _instant("ends_at", blank=True),
        _text("currency", blank=True),
        _text("payment_method_id", blank=True),
        *_further("purchase_order"),
    ),
)
_FREE_ALLOWANCES = Table(
    "free_allowances",
    ("subscription_id", "api"),
    (
        _text("subscription_id", refers="subscriptions.subscription_id"),
        _text("api", refers="apis.api"),
        Column("units_per_period", ColumnKind.WHOLE),
    ),
)
_TOKEN_GRANTS = Table(
    "token_grants",
    ("grant_id",),
    (
        _text("grant_id"),
        _text("subscription_id", refers="subscriptions.subscription_id"),
        _micro("tokens"),
        _instant("valid_from"),
        _instant("expires_at"),
        Column("amount", ColumnKind.MICRO, blank=True, optional=True),
        *_further("currency"),
    ),
)
_CAPACITY_GRANTS = Table(
    "capacity_grants",
    ("grant_id",),
    (
        _text("grant_id"),
        _text("subscription_id", refers="subscriptions.subscription_id"),
        _text("api", refers="apis.api"),
        _micro("quantity"),
        _instant("valid_from"),
        _instant("expires_at"),
    ),
    optional=True,
)
_PAYMENT_METHODS = Table(
    "payment_methods",
    ("payment_method_id",),
    (
        _text("payment_method_id"),
        _text("customer_id", refers="customers.customer_id"),
        _text("gateway"),
        _text("token"),
        _text("brand", blank=True),
        _text("last4", blank=True),
        _text("expires", blank=True),
        *_further("mandate"),
    ),
    optional=True,
)
_TAX_RATES = Table(
    "tax_rates", ("country", "valid_from"), (_text("country"), Column("valid_from", ColumnKind.DAY), _micro("percent"))
)
_EXCHANGE_RATES = Table(
    "exchange_rates",
    ("currency", "valid_from"),
    (_text("currency"), Column("valid_from", ColumnKind.DAY), _micro("rate")),
    optional=True,
)

_TEAM_MEMBERS = Table(
    "team_members",
    ("user", "team_id", "role"),
    (_text("user"), _text("team_id", refers="teams.team_id"), _text("role")),
    optional=True,
)

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        _SELLER,
        _CUSTOMERS,
        _TEAMS,
        _HUBS,
        _HUB_TEAMS,
        _APPS,
        _APP_HUBS,
        _APIS,
        _UNIT_RATES,
        _UNIT_PRICES,
        _SUBSCRIPTIONS,
        _FREE_ALLOWANCES,
        _TOKEN_GRANTS,
        _CAPACITY_GRANTS,
        _PAYMENT_METHODS,
        _TAX_RATES,
        _EXCHANGE_RATES,
        _TEAM_MEMBERS,
    )
}
"""Every reference table by name, in an order in which what is referred to comes first."""


def empty_frame(table: Table) -> pd.DataFrame:
    """A frame of ``table`` with no rows and the documented dtypes."""
    return pd.DataFrame(
        {c.name: pd.Series([], dtype=object if c.kind is ColumnKind.TEXT else "int64") for c in table.columns}
    )
