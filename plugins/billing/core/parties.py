"""Who sells, who buys and how they pay, as it was known at one load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from billing.core.frames import ByKey
from billing.core.instants import from_us
from billing.core.model import Customer, PaymentMethod, Seller
from billing.core.reference import BLANK, FOREVER_US, Reference


@dataclass(frozen=True, kw_only=True, slots=True)
class Parties:
    """The seller, and what is needed to find a team's customer and a subscription's payment method. Keys are ids;
    ``rows`` are by column name.
    """

    seller: Seller
    customer_by_team: Mapping[str, str]
    team_name: Mapping[str, str]
    _customers: Mapping[str, dict[str, Any]]
    _subscriptions: Mapping[str, dict[str, Any]]
    _payment_methods: Mapping[str, dict[str, Any]]

    @classmethod
    def from_reference(cls, reference: Reference) -> Parties:
        """Arrange ``seller``, ``customers``, ``teams``, ``subscriptions`` and ``payment_methods``."""
        seller: dict[str, Any] = reference["seller"].to_dict("records")[0]  # type: ignore[assignment]
        teams = reference["teams"]
        days = int(seller["payment_days"])
        return cls(
            seller=Seller(**_texts(seller, Seller, "payment_days"), payment_days=None if days == BLANK else days),
            customer_by_team=dict(zip(teams["team_id"], teams["customer_id"], strict=True)),
            team_name=dict(zip(teams["team_id"], teams["name"], strict=True)),
            _customers=ByKey(reference["customers"], "customer_id"),
            _subscriptions=ByKey(reference["subscriptions"], "subscription_id"),
            _payment_methods=ByKey(reference["payment_methods"], "payment_method_id"),
        )

    def customer(self, customer_id: str) -> Customer:
        """A buyer."""
        row = self._customers[customer_id]
        checked = int(row["vat_id_checked_at"])
        checked_at = None if checked == FOREVER_US else from_us(checked)
        return Customer(**_texts(row, Customer, "vat_id_checked_at"), vat_id_checked_at=checked_at)

    def country(self, customer_id: str) -> str:
        """A buyer's country."""
        return str(self._customers[customer_id]["country"])

    def country_of(self, customer_id: str) -> str | None:
        """The same; None for one that is not known."""
        return self.country(customer_id) if customer_id in self._customers else None

    def vat_id(self, customer_id: str) -> str:
        """A buyer's VAT id, as it came."""
        return str(self._customers[customer_id]["vat_id"])

    def payment_method(self, subscription_id: str) -> PaymentMethod | None:
        """The stored payment method of a subscription; None where it has none that is known."""
        subscription = self._subscriptions.get(subscription_id, {})
        method = self._payment_methods.get(str(subscription.get("payment_method_id", "")))
        return None if method is None else PaymentMethod(**_texts(method, PaymentMethod))

    def purchase_order(self, subscription_id: str) -> str:
        """The buyer's order number for a subscription; blank where it gave none (BT-13)."""
        return str(self._subscriptions[subscription_id]["purchase_order"])


def _texts(row: Mapping[str, Any], noun: type, *others: str) -> dict[str, Any]:
    """The fields of a noun that are texts."""
    return {field.name: str(row[field.name]) for field in fields(noun) if field.name not in others}
