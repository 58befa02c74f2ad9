"""How subscriptions pay, as is known now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from billing.core.collecting import parse_expiry
from billing.core.frames import ByKey, rows
from billing.core.instants import to_us
from billing.core.invoicing import issue_date
from billing.core.model import Kind
from billing.core.payments import MANUAL
from billing.core.reference import FOREVER_US, Reference
from billing.store.home import Home
from billing.store.reference_history import last_load


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """A stored payment method. ``token`` is the gateway's name of it."""

    payment_method_id: str
    customer_id: str
    gateway: str
    token: str = field(repr=False)
    brand: str
    last4: str
    expires: str

    @property
    def shown(self) -> str:
        """Brand and last four digits: all that anybody is told of it."""
        return f"{self.brand} {self.last4}".strip() or self.payment_method_id

    @property
    def last_month(self) -> tuple[int, int] | None:
        """The last (year, month) in which it can be used; None where it does not expire."""
        return parse_expiry(self.expires)


@dataclass(frozen=True, kw_only=True, slots=True)
class Methods:
    """What one load says of payment; None before the first one."""

    load_no: int
    reference: Reference | None
    _subscriptions: Mapping[str, dict[str, Any]]
    _methods: Mapping[str, dict[str, Any]]

    @classmethod
    def read(cls, home: Home) -> Methods:
        """What is known now."""
        with home.database.read() as connection:
            load_no = last_load(connection)
        if not load_no:
            return cls(load_no=0, reference=None, _subscriptions={}, _methods={})
        reference = home.reference(load_no)
        return cls(
            load_no=load_no,
            reference=reference,
            _subscriptions=ByKey(reference["subscriptions"], "subscription_id"),
            _methods=ByKey(reference["payment_methods"], "payment_method_id"),
        )

    def of(self, subscription_id: str) -> Method | None:
        """The stored payment method of a subscription; None where it pays by bank transfer."""
        subscription = self._subscriptions.get(subscription_id, {})
        return self.named(str(subscription.get("payment_method_id", "")))

    def named(self, payment_method_id: str) -> Method | None:
        """A stored payment method by its id."""
        row = self._methods.get(payment_method_id)
        if row is None or row["gateway"] == MANUAL:
            return None
        return Method(**{name: str(row[name]) for name in Method.__dataclass_fields__})

    def day(self, instant: datetime) -> date:
        """The seller's local date."""
        if self.reference is None:
            return instant.date()
        return issue_date(instant, str(self.reference["seller"].iloc[0]["time_zone"]))

    def in_use(self, at: datetime) -> dict[str, list[str]]:
        """By payment method the subscriptions that pay as they go by it at an instant, in order."""
        found: dict[str, list[str]] = {}
        if self.reference is None:
            return found
        for row in rows(self.reference["subscriptions"].sort_values("subscription_id")):
            is_active = row.purchased_at <= to_us(at) < min(row.ends_at, FOREVER_US)
            if row.kind == Kind.PAYG.value and row.payment_method_id and is_active:
                found.setdefault(row.payment_method_id, []).append(row.subscription_id)
        return found
