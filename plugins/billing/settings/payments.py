"""``[payments]`` of ``billing.toml``: how money is collected, and by which gateways.

In the file::

    [payments]                           # how money is collected (docs/payments.md); all of it may be left out
    since = 2026-08-01                   # invoices issued before this day are collected by other means
    retry_after_days = [1, 3, 5, 7]      # when a declined charge is tried again: days after the first attempt
    overdue_mail_days = [3, 14, 30]      # when a bank transfer is asked for: days after it was due
    warn_expiry_days = 30                # how long before a card expires its owner is told
    at_once = 4                          # charges that are worked on at the same time: at most 10
    stuck_after_hours = 168              # how long a payment may be on its way before a person should look
    answer_disputes_days = 7             # how long before a dispute must be answered it is said
    ignore_foreign_charges = false       # true where the gateway's account takes money for others too

    [payments.gateways.stripe]           # under the name that payment_methods.gateway has
    kind = "stripe"
    connection = "stripe_key"            # an Airflow connection; its password is the secret key
    label = "acme"                       # tells its charges from others in the account (default: the gateway's name)
    minimum = { EUR = "1.00" }           # the smallest charge, where it is not the gateway's own
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal

from billing.core.collecting import CollectingRules
from billing.core.payments import MANUAL
from billing.settings.table import NAME, Table

_SECRET_KEY = re.compile(r"\b(sk|rk|whsec)_")
# A process has the connections of SQLAlchemy's own pool; some are left to the lock that is held meanwhile and the rest.
_CONNECTIONS, _AT_ONCE_MAX = 15, 10


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewaySettings:
    """A payment gateway. ``connection``: the id of an Airflow connection. ``label`` is kept with its charges.
    ``minimum``: the smallest charge by currency, where it is not the gateway's own.
    """

    name: str
    kind: Literal["stripe"]
    connection: str
    label: str
    minimum: Mapping[str, Decimal] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, kw_only=True, slots=True)
class PaymentSettings:
    """How money is collected. ``gateways`` are in the order of their names; without one nothing is charged.
    ``is_set_up``: the file says something of payments; until it does, no DAG collects.
    """

    is_set_up: bool = False
    gateways: tuple[GatewaySettings, ...] = ()
    rules: CollectingRules = field(default_factory=CollectingRules)


def read_payments(table: Table | None) -> PaymentSettings:
    """Without the table nothing is set up."""
    if table is None:
        return PaymentSettings()
    gateways = _gateways(table.table("gateways"))
    return PaymentSettings(is_set_up=True, gateways=gateways, rules=_collecting_rules(table))


def _gateways(table: Table | None) -> tuple[GatewaySettings, ...]:
    if table is None:
        return ()
    for name in table.content:
        if not NAME.fullmatch(name):
            raise table.wrong(name, "is no name of a gateway; use letters, digits, and _ . - after the first")
        if name == MANUAL:
            raise table.wrong(name, "is the name of bank transfers, which no gateway takes; use another")
    return tuple(_gateway(name, table.inner(name)) for name in sorted(table.content))


def _gateway(name: str, table: Table) -> GatewaySettings:
    for key, value in table.content.items():
        if _SECRET_KEY.search(str(value)) or any(word in key.lower() for word in ("key", "secret", "pass", "token")):
            raise table.wrong(key, "holds a secret; define an Airflow connection with it as password, and name that")
    table.only(("kind", "connection", "label", "minimum"))
    table.choice("kind", ("stripe",), "")
    if not table.text("connection"):
        raise table.wrong("connection", "is missing; name an Airflow connection, whose password is the secret key")
    label = table.text("label") or name
    if not NAME.fullmatch(label):
        raise table.wrong("label", "is no label; use at most 64 letters, digits, and _ . - after the first")
    return GatewaySettings(
        name=name,
        kind="stripe",
        connection=table.text("connection"),
        label=label,
        minimum=table.amounts("minimum", least=0),
    )


def _collecting_rules(table: Table) -> CollectingRules:
    days, wholes = ("retry_after_days", "overdue_mail_days"), {"at_once": 1, "stuck_after_hours": 1}
    wholes |= {"warn_expiry_days": 0, "answer_disputes_days": 0}
    table.only(("gateways", *days, *wholes, "ignore_foreign_charges", "since"))
    given: dict[str, Any] = {key: table.days(key) for key in days if key in table.content}
    given |= {key: table.whole(key, least, least=least) for key, least in wholes.items() if key in table.content}
    if given.get("at_once", 1) > _AT_ONCE_MAX:
        raise table.wrong(
            "at_once",
            f"is at most {_AT_ONCE_MAX}, not {given['at_once']}: each charge that is worked on takes one of the"
            f" {_CONNECTIONS} connections that a process has to the database; write a smaller number",
        )
    return CollectingRules(
        **given,
        ignore_foreign_charges=table.flag("ignore_foreign_charges", False),
        since=table.day("since"),
    )
