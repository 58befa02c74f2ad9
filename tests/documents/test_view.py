"""What stands on the page: rule 6 apart from the statement."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from billing.core.model import Invoice
from billing.documents.bundle import read_bundle
from billing.documents.texts import Catalogues
from billing.documents.view import InvoiceView, invoice_view

from .invoices import CARD, OUT_OF_SCOPE, REVERSE, SELLER, TEMPLATES, invoice, line

CATALOGUES = Catalogues(read_bundle(TEMPLATES))


def show(given: Invoice) -> InvoiceView:
    """The view, with plain spaces for the eye."""
    return invoice_view(given, CATALOGUES.texts(given.customer.locale))


def plain(text: str) -> str:
    return text.replace("\xa0", " ").replace("\u202f", " ")


def test_an_invoice_in_english() -> None:
    shown = show(invoice(1))
    assert (shown.lang, shown.title, shown.issued_at) == ("en", "Invoice INV-2025-000001", "2025-08-15T06:00:01Z")
    assert shown.seller.address == ("1 rue Exemple", "75002 Paris", "France")
    assert shown.buyer.address == ("12 rue des Forges", "69002 Lyon", "France")
    assert (shown.seller.vat_id, shown.buyer.vat_id) == ("FR40303265045", "FR83404833048")
    assert (shown.issue_date, shown.period) == ("August 15, 2025", "July 15, 2025 – August 14, 2025")
    assert (shown.period_zone, shown.team_name, shown.subscription_id) == (
        "Local days, Europe/Paris",
        "Bridge team",
        "s1",
    )
    row = shown.lines[0]
    assert [plain(cell) for cell in (row.api, row.unit, row.units, row.price, row.tax, row.net)] == [
        "Automation", "20 × processing minute", "1,284", "2.40", "S 20%", "3,081.60",
    ]  # fmt: skip
    assert [plain(text) for text in (shown.net, shown.tax_label, shown.tax, shown.total)] == [
        "EUR 3,081.60", "VAT 20% on EUR 3,081.60 (category S)", "EUR 616.32", "EUR 3,697.92",
    ]  # fmt: skip
    assert plain(shown.collection) == "To be charged to Visa •••• 4242 via stripe"
    assert [plain(text) for text in shown.contact] == [
        "Questions about this invoice: billing@example.com", "IBAN FR76 3000 6000 0112 3456 7890 189",
    ]  # fmt: skip
    page = shown.page
    assert (page.before, page.first, page.between, page.second, page.after) == ("Page ", "page", " of ", "pages", "")


def test_an_invoice_in_french_by_reverse_charge() -> None:
    shown = show(invoice(2, customer={"locale": "fr-FR"}, tax_treatment=REVERSE))
    assert (shown.title, shown.issue_date) == ("Facture INV-2025-000001", "15 août 2025")
    assert plain(shown.total) == "19 151,58 EUR"
    assert [plain(cell.tax) for cell in shown.lines] == ["AE 0 %", "AE 0 %"]
    assert plain(shown.tax_label) == "TVA 0 % sur 19 151,58 EUR (catégorie AE)"
    assert plain(shown.notes[0]).startswith("Autoliquidation :") and "article 196" in shown.notes[0]
    assert shown.buyer.vat_id == "FR83404833048"


def test_rule_6_2_reverse_charge_has_its_wording() -> None:
    assert show(invoice(1, tax_treatment=REVERSE)).notes == (
        "Reverse charge: the customer owes the VAT, Article 196 of Directive 2006/112/EC.",
    )
    assert show(invoice(1)).notes == ()


def test_rule_6_2_out_of_scope_names_no_rate() -> None:
    shown = show(invoice((line(1, "JPY"),), currency="JPY", tax_treatment=OUT_OF_SCOPE))
    assert plain(shown.tax_label) == "Not subject to VAT: JPY 3,082 (category O)"
    assert (shown.lines[0].tax, plain(shown.tax)) == ("O", "JPY 0")


@pytest.mark.parametrize(
    ("currency", "total"), [("JPY", "JPY 3,698"), ("KWD", "KWD 3,697.920"), ("EUR", "EUR 3,697.92")]
)
def test_rule_6_1_minor_digits(currency: str, total: str) -> None:
    assert plain(show(invoice(1, currency=currency)).total) == total


@pytest.mark.parametrize(
    ("changes", "collection"),
    [
        ({"payment_method": None}, "No payment method on file"),
        ({"payment_method": replace(CARD, brand="", last4="")}, "To be charged via stripe"),
        ({"payment_method": replace(CARD, brand="SEPA", last4="")}, "To be charged to SEPA via stripe"),
        ({"payment_method": replace(CARD, brand="")}, "To be charged to •••• 4242 via stripe"),
    ],
)
def test_rule_6_5_how_the_total_is_collected(changes: dict[str, object], collection: str) -> None:
    assert plain(show(invoice(1, **changes)).collection) == collection


def test_rule_6_5_a_total_of_zero_is_not_charged() -> None:
    shown = show(invoice((line(1, unit_price=Decimal(0)),)))
    assert (plain(shown.total), shown.collection) == ("EUR 0.00", "Nothing to pay")


@pytest.mark.parametrize(
    ("sizes", "unit"),
    [
        ((Decimal(20),), "20 × processing minute"),
        ((Decimal("0.5"), Decimal(15)), "0.5 × processing minute, then 15 × processing minute"),
        (
            (Decimal(1), Decimal(2), Decimal(3)),
            "1 × processing minute, then 2 × processing minute, then 3 × processing minute",
        ),
        ((), "processing minute"),
    ],
)
def test_rule_4_1_every_unit_size_of_the_cycle_is_named(sizes: tuple[Decimal, ...], unit: str) -> None:
    assert plain(show(invoice((line(1, unit_sizes=sizes),))).lines[0].unit) == unit


def test_what_is_blank_leaves_no_line_behind() -> None:
    given = invoice(
        1, seller=replace(SELLER, iban="", email=""), customer={"postal_code": "", "city": "", "country": ""}
    )
    shown = show(given)
    assert (shown.contact, shown.buyer.address) == ((), ("12 rue des Forges",))
