"""What an invoice must carry (rules 3.8, 6.2; EN 16931), when it is due, and its tax in the seller's currency."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from billing.core.model import Customer, PaymentMethod, Seller, TaxCategory, TaxTreatment
from billing.core.particulars import ExchangeRates, due_date, missing_particulars, vat_total
from billing.core.quantity import divide_half_up

SELLER = Seller(
    legal_name="S",
    address_line1="1",
    postal_code="2",
    city="C",
    country="FR",
    vat_id="FR40303265045",
    invoice_prefix="INV",
    time_zone="UTC",
    iban="",
    email="",
)
CUSTOMER = Customer(
    customer_id="c",
    legal_name="B",
    address_line1="1",
    address_line2="",
    postal_code="",
    city="C",
    region="",
    country="DE",
    vat_id="DE136695976",
    email="",
    locale="",
    vat_id_checked_at=datetime(2026, 1, 1, tzinfo=UTC),
    vat_id_check_ref="WAPI",
)
CARD = PaymentMethod(payment_method_id="p", gateway="g", brand="visa", last4="4242", expires="")
S, AE, OUT = (TaxTreatment(category=c, percent=Decimal(20 if c == "S" else 0)) for c in TaxCategory)
DAY = date(2026, 7, 31)
RATES = ExchangeRates(
    by_currency={"USD": ([20_000], [1_084_200]), "JPY": ([20_000, 20_600], [162_500_000, 160_000_000])}
)


def missing(treatment: TaxTreatment = S, *, production: bool = False, currency: str = "EUR", **changes) -> list[str]:
    """What lacks, where some things of the parties are others."""
    seller = replace(SELLER, **{k: v for k, v in changes.items() if k in Seller.__slots__ and k not in ("city",)})
    customer = replace(CUSTOMER, **{k[2:]: v for k, v in changes.items() if k.startswith("c_")})
    return list(
        missing_particulars(
            seller=seller,
            customer=customer,
            method=changes.get("method"),
            treatment=treatment,
            tax=Decimal("2.00") if treatment is S else Decimal("0.00"),
            currency=currency,
            last_day=DAY,
            rates=RATES,
            production=production,
        )
    )


@pytest.mark.parametrize("treatment", [S, AE])
def test_rule_6_2_an_invoice_with_all_particulars_may_be_issued(treatment: TaxTreatment) -> None:
    assert missing(treatment) == [] == missing(treatment, production=True)


@pytest.mark.parametrize(
    ("treatment", "changes", "expected"),
    [
        pytest.param(S, {"vat_id": ""}, ["seller.vat_id (BT-31)"], id="BR-S-02"),
        pytest.param(S, {"vat_id": "", "registration_id": "7"}, [], id="BR-S-02 by BT-32"),
        pytest.param(AE, {"vat_id": "", "registration_id": "7"}, ["seller.vat_id (BT-31)"], id="BR-AE-02"),
        pytest.param(OUT, {"vat_id": ""}, ["seller.registration_id (BT-30)"], id="BR-CO-26"),
        pytest.param(OUT, {}, [], id="BR-CO-26 by BT-29"),
        pytest.param(S, {"method": replace(CARD, mandate="M")}, ["seller.creditor_id (BT-90)"], id="direct debit"),
        pytest.param(S, {"method": replace(CARD, mandate="M"), "creditor_id": "X"}, [], id="creditor known"),
        pytest.param(
            S,
            {"vat_currency": "USD", "currency": "GBP"},
            ["exchange_rates: GBP on 2026-07-31 (BT-111)"],
            id="no rate",
        ),
        pytest.param(S, {"vat_currency": "EUR", "currency": "USD"}, [], id="rate known"),
        pytest.param(OUT, {"vat_currency": "EUR", "currency": "GBP"}, [], id="no tax, no rate needed"),
        pytest.param(S, {"c_city": "", "c_address_line1": ""}, [], id="address, outside production"),
    ],
)  # fmt: skip
def test_rule_3_8_what_is_missing_is_named(treatment: TaxTreatment, changes: dict, expected: list[str]) -> None:
    assert missing(treatment, **changes) == expected


@pytest.mark.parametrize(
    ("treatment", "changes", "expected"),
    [
        (AE, {"c_vat_id_checked_at": None}, ["customers.vat_id_checked_at"]),
        (AE, {"c_vat_id_check_ref": ""}, ["customers.vat_id_check_ref"]),
        (S, {"c_vat_id_checked_at": None, "c_vat_id_check_ref": ""}, []),
        (OUT, {}, ["seller.registration_id (BT-30)"]),
        (S, {"c_city": "", "c_address_line1": ""}, ["customers.address_line1 (BT-50)", "customers.city (BT-52)"]),
    ],
)
def test_production_asks_for_more(treatment: TaxTreatment, changes: dict, expected: list[str]) -> None:
    assert missing(treatment, production=True, **changes) == expected
    assert missing(treatment, production=False, **changes) == []


def test_bt_9_a_stored_method_is_charged_at_once_and_a_transfer_is_due_later() -> None:
    assert due_date(DAY, SELLER, CARD) == DAY
    assert due_date(DAY, SELLER, None) == date(2026, 8, 30)
    assert due_date(DAY, replace(SELLER, payment_days=0), None) == DAY
    assert due_date(DAY, replace(SELLER, payment_days=14), None) == date(2026, 8, 14)


@pytest.mark.parametrize(
    ("tax", "currency", "day", "expected"),
    [
        ("20.00", "USD", DAY, "18.45"),  # 20 / 1.0842 = 18.4468...
        ("160", "JPY", DAY, "1.00"),
        ("325", "JPY", date(2024, 10, 5), "2.00"),  # the older rate, 162.5
        ("20.00", "EUR", DAY, None),
        ("0.00", "USD", DAY, None),
        ("20.00", "USD", date(2024, 10, 3), None),  # before the first rate
    ],
)
def test_bt_111_the_tax_at_the_rate_of_the_last_day(tax: str, currency: str, day: date, expected: str | None) -> None:
    found = vat_total(Decimal(tax), currency, replace(SELLER, vat_currency="EUR"), day, RATES)
    assert (None if found is None else str(found)) == expected


@pytest.mark.parametrize(
    ("amount", "divisor", "digits", "expected"),
    [("1", "3", 2, "0.33"), ("1", "8", 2, "0.13"), ("-1", "8", 2, "-0.13"), ("1", "2", 0, "1"), ("0", "7", 3, "0.000")],
)
def test_division_rounds_half_away_from_zero(amount: str, divisor: str, digits: int, expected: str) -> None:
    assert str(divide_half_up(Decimal(amount), Decimal(divisor), digits)) == expected
