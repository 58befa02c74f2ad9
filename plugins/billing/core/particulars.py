"""What an invoice must carry so that it may be issued (VAT Directive 2006/112/EC, Article 226; EN 16931).

Rules 3.8 and 6.2: a team whose invoice could not be issued legally is parked, with what is missing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from billing.core.frames import rows
from billing.core.instants import day_number
from billing.core.model import Customer, PaymentMethod, Seller, TaxCategory, TaxTreatment
from billing.core.quantity import decimal_of_micro, divide_half_up, minor_digits
from billing.core.reference import Reference

TRANSFER_DAYS = 30
"""When a bank transfer is due after the issue date, where the seller says nothing (Directive 2011/7/EU, Article 3)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExchangeRates:
    """How much of a currency one unit of the seller's VAT currency is worth: days (since 1970-01-01) and rates in
    10^-6, in order of time, as central banks publish them (EUR 1 = USD 1.0842).
    """

    by_currency: Mapping[str, tuple[Sequence[int], Sequence[int]]]

    @classmethod
    def from_reference(cls, reference: Reference) -> ExchangeRates:
        """Arrange the table ``exchange_rates``."""
        found: dict[str, tuple[list[int], list[int]]] = {}
        for row in rows(reference["exchange_rates"].sort_values("valid_from")):
            days, rates = found.setdefault(row.currency, ([], []))
            days.append(int(row.valid_from))
            rates.append(int(row.rate))
        return cls(by_currency=found)

    def on(self, currency: str, day: date) -> Decimal | None:
        """The rate in force on a day; None where there is none."""
        days, rates = self.by_currency.get(currency, ((), ()))
        place = bisect_right(days, day_number(day))
        return decimal_of_micro(rates[place - 1]) if place else None


def vat_total(tax: Decimal, currency: str, seller: Seller, last_day: date, rates: ExchangeRates) -> Decimal | None:
    """The tax in the seller's VAT currency (BT-111), at the rate of the period's last day, rounded half up.

    None where it is not asked for: the same currency, none named, no tax, or no rate (``missing_particulars`` says so).
    """
    if not _in_other_currency(tax, currency, seller):
        return None
    rate = rates.on(currency, last_day)
    return None if rate is None else divide_half_up(tax, rate, minor_digits(seller.vat_currency))


def due_date(issued_on: date, seller: Seller, method: PaymentMethod | None) -> date:
    """When the total is due (BT-9): at once where it is charged to a stored payment method (rule 6.5)."""
    if method is not None:
        return issued_on
    return issued_on + timedelta(days=TRANSFER_DAYS if seller.payment_days is None else seller.payment_days)


def missing_particulars(
    *,
    seller: Seller,
    customer: Customer,
    method: PaymentMethod | None,
    treatment: TaxTreatment,
    tax: Decimal,
    currency: str,
    last_day: date,
    rates: ExchangeRates,
    production: bool,
) -> tuple[str, ...]:
    """What an invoice lacks, as ``table.column (BT number)``; empty where it may be issued.

    ``production`` asks for what the law wants of a real invoice beyond what makes a valid document: the buyer's
    address, the seller's registration where no VAT id may be shown, the evidence on which a reverse charge rests.
    """
    found = [*_seller_ids(seller, treatment.category, production)]
    if method is not None and method.mandate and not seller.creditor_id:
        found.append("seller.creditor_id (BT-90)")
    if _in_other_currency(tax, currency, seller) and rates.on(currency, last_day) is None:
        found.append(f"exchange_rates: {currency} on {last_day} (BT-111)")
    if production:
        found += _of_production(customer, treatment.category)
    return tuple(found)


def _seller_ids(seller: Seller, category: TaxCategory, production: bool) -> Iterator[str]:
    """BR-S-02, BR-AE-02, BR-CO-26. Category O may not show the VAT id (BR-O-02)."""
    if category is TaxCategory.REVERSE_CHARGE:
        if not seller.vat_id:
            yield "seller.vat_id (BT-31)"
    elif category is TaxCategory.STANDARD:
        if not (seller.vat_id or seller.registration_id):
            yield "seller.vat_id (BT-31)"
    elif not seller.registration_id and (production or not seller.vat_id):
        yield "seller.registration_id (BT-30)"


def _of_production(customer: Customer, category: TaxCategory) -> Iterator[str]:
    for name, number in (("address_line1", "BT-50"), ("city", "BT-52")):
        if not getattr(customer, name):
            yield f"customers.{name} ({number})"
    if category is TaxCategory.REVERSE_CHARGE:
        if customer.vat_id_checked_at is None:
            yield "customers.vat_id_checked_at"
        if not customer.vat_id_check_ref:
            yield "customers.vat_id_check_ref"


def _in_other_currency(tax: Decimal, currency: str, seller: Seller) -> bool:
    return bool(tax) and seller.vat_currency not in ("", currency)
