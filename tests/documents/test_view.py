"""What stands on page 1 (rule 6, EN 16931)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from billing.core.model import Invoice, InvoiceReference, InvoiceType
from billing.documents.bundle import read_bundle
from billing.documents.tables import columns
from billing.documents.texts import Catalogues
from billing.documents.theme import read_theme
from billing.documents.view import InvoiceView, invoice_view

from .invoices import CARD, OUT_OF_SCOPE, REVERSE, SELLER, TEMPLATES, invoice, line

BUNDLE = read_bundle(TEMPLATES)
CATALOGUES = Catalogues(BUNDLE)
THEME = read_theme(BUNDLE, "default")
BEFORE = InvoiceReference(number="INV-2025-000001", issue_date=date(2025, 7, 15))
MANDATE = replace(CARD, brand="sepa_debit", last4="0189", mandate="MD-77")


def show(given: Invoice) -> InvoiceView:
    return invoice_view(given, CATALOGUES.texts(given.customer.locale), THEME)


def plain(text: str) -> str:
    """With plain spaces for the eye."""
    return text.replace("\xa0", " ").replace("\u202f", " ")


def all_plain(texts: object) -> list[str]:
    return [plain(text) for text in texts]  # type: ignore[attr-defined]


def credit_note(**changes: object) -> Invoice:
    values = {"type": InvoiceType.CREDIT_NOTE, "number": "CN-2025-000001", "preceding": BEFORE, "reason": "Twice."}
    return invoice(1, **(values | changes))


def test_an_invoice_in_english() -> None:
    shown = show(invoice(1, due_date=date(2025, 8, 15)))
    assert (shown.lang, shown.title, shown.kind) == ("en", "Invoice INV-2025-000001", "Invoice")
    assert shown.seller.lines == ("1 rue Exemple", "75002 Paris", "France", "VAT ID FR40303265045")
    assert shown.buyer.lines == ("12 rue des Forges", "69002 Lyon", "France", "VAT ID FR83404833048")
    assert [(label, plain(value)) for label, value in shown.facts] == [
        ("Issue date", "August 15, 2025"),
        ("Due date", "August 15, 2025"),
        ("Period", "July 15, 2025 – August 14, 2025"),
    ]
    assert shown.period_zone == "Local days, Europe/Paris"
    assert shown.references == "Team: Bridge team (t1) · Subscription: s1"
    row = shown.lines[0]
    assert all_plain((row.api, row.unit, row.units, row.price, row.net)) == [
        "Automation",
        "20 × processing minute",
        "1,284",
        "2.40",
        "3,081.60",
    ]
    assert all_plain(shown.heads) == ["API", "1 unit =", "Charged units", "Unit price\nEUR", "Net EUR\nVAT S 20%"]
    assert [(label, plain(value)) for label, value in [(plain(one), two) for one, two in shown.totals]] == [
        ("Total before tax", "EUR 3,081.60"),
        ("VAT 20% on EUR 3,081.60 (category S)", "EUR 616.32"),
        ("Total", "EUR 3,697.92"),
    ]
    assert all_plain(shown.collection) == ["To be charged to Visa •••• 4242"]
    assert shown.small_print == ("Questions: billing@example.com",)
    page = shown.page
    assert (page.before, page.first, page.between, page.second, page.after) == ("Page ", "page", " of ", "pages", "")


def test_an_invoice_in_french_by_reverse_charge() -> None:
    shown = show(invoice(2, customer={"locale": "fr-FR"}, tax_treatment=REVERSE))
    assert (shown.title, shown.facts[0]) == ("Facture INV-2025-000001", ("Date d’émission", "15 août 2025"))
    assert plain(shown.total) == "19 151,58 EUR"
    assert plain(shown.heads[-1]) == "Montant HT EUR\nTVA AE 0 %"
    assert plain(shown.totals[1][0]) == "TVA 0 % sur 19 151,58 EUR (catégorie AE)"
    assert plain(shown.notes[0]).startswith("Autoliquidation :") and "article 196" in shown.notes[0]
    assert plain(shown.buyer.lines[-1]) == "N° TVA FR83404833048"


def test_rule_6_2_reverse_charge_has_its_wording() -> None:
    assert show(invoice(1, tax_treatment=REVERSE)).notes == (
        "Reverse charge: the customer owes the VAT, Article 196 of Directive 2006/112/EC.",
    )
    assert show(invoice(1)).notes == ()


def test_rule_6_2_out_of_scope_names_no_rate() -> None:
    shown = show(invoice((line(1, "JPY"),), currency="JPY", tax_treatment=OUT_OF_SCOPE))
    assert all_plain(shown.totals[1]) == ["Not subject to VAT: JPY 3,082 (category O)", "JPY 0"]
    assert plain(shown.heads[-1]) == "Net JPY\nVAT O"


@pytest.mark.parametrize(
    ("currency", "total"), [("JPY", "JPY 3,698"), ("KWD", "KWD 3,697.920"), ("EUR", "EUR 3,697.92")]
)
def test_rule_6_1_minor_digits(currency: str, total: str) -> None:
    assert plain(show(invoice(1, currency=currency)).total) == total


@pytest.mark.parametrize(
    ("changes", "collection"),
    [
        ({"payment_method": replace(CARD, brand="", last4="")}, ["To be charged via stripe"]),
        ({"payment_method": replace(CARD, brand="amex")}, ["To be charged to American Express •••• 4242"]),
        ({"payment_method": replace(CARD, brand="")}, ["To be charged to •••• 4242"]),
        (
            {"payment_method": MANDATE, "seller": replace(SELLER, creditor_id="FR12ZZZ1")},
            ["To be collected by SEPA direct debit", "IBAN •••• 0189", "Mandate MD-77", "Creditor ID FR12ZZZ1"],
        ),
        (
            {"payment_method": None, "due_date": date(2025, 9, 14), "seller": replace(SELLER, bic="EXMPFRPP")},
            [
                "To be paid by bank transfer by September 14, 2025",
                "IBAN FR76 3000 6000 0112 3456 7890 189",
                "BIC EXMPFRPP",
                "Payment reference: INV-2025-000001",
            ],
        ),
        ({"payment_method": None, "seller": replace(SELLER, iban="")}, ["No payment method on file"]),
        (
            {"payment_method": None, "seller": replace(SELLER, iban=""), "due_date": date(2025, 9, 14)},
            ["To be paid by September 14, 2025"],
        ),
    ],
)
def test_rule_6_5_how_the_total_is_collected(changes: dict[str, object], collection: list[str]) -> None:
    assert all_plain(show(invoice(1, **changes)).collection) == collection


def test_rule_6_5_a_total_of_zero_is_not_charged() -> None:
    shown = show(invoice((line(1, unit_price=Decimal(0)),)))
    assert (plain(shown.total), shown.collection) == ("EUR 0.00", ("Nothing to pay",))


def test_rule_6_4_a_credit_note_names_the_invoice_and_gives_back() -> None:
    shown = show(credit_note())
    assert (shown.kind, shown.title, shown.total_label) == (
        "Credit note",
        "Credit note CN-2025-000001",
        "Total credited",
    )
    assert shown.about == ("Corrects invoice INV-2025-000001 of July 15, 2025.", "Reason: Twice.")
    assert shown.heads[2] == "Credited units"
    assert [label for label, _ in shown.totals][::2] == ["Credited before tax", "Total credited"]
    assert all_plain(shown.collection) == ["To be refunded to Visa •••• 4242"]


@pytest.mark.parametrize(
    ("changes", "refund"),
    [
        ({"payment_method": None}, "To be refunded by bank transfer, or set off against open invoices"),
        ({"payment_method": MANDATE}, "To be refunded to the account that was debited"),
        ({"payment_method": replace(CARD, brand="", last4="")}, "To be refunded via stripe"),
        ({"total": Decimal("0.00")}, "Nothing to refund"),
    ],
)
def test_how_a_credit_note_is_refunded(changes: dict[str, object], refund: str) -> None:
    assert plain(show(credit_note(**changes)).collection[0]) == refund


def test_a_credit_of_an_amount_says_so() -> None:
    part = line(1, by_amount=True, charged_units=1, unit_price=Decimal("12.5"))
    row = show(invoice((part,), type=InvoiceType.CREDIT_NOTE)).lines[0]
    assert (row.unit, row.units, row.price, row.net) == ("credited by amount", "1", "12.50", "12.50")


def test_rule_6_4_a_corrected_invoice_names_the_one_it_takes_the_place_of() -> None:
    assert show(invoice(1, preceding=BEFORE)).about == ("Takes the place of invoice INV-2025-000001 of July 15, 2025.",)
    assert show(invoice(1)).about == ()


def test_vat_in_the_sellers_currency_is_shown_where_it_is_given() -> None:
    seller = replace(SELLER, vat_currency="SEK")
    shown = show(invoice(1, seller=seller, vat_total=Decimal("6932.11")))
    assert [all_plain(row) for row in shown.tax_in_vat_currency] == [["VAT in SEK", "SEK 6,932.11"]]
    assert show(invoice(1, seller=seller)).tax_in_vat_currency == ()


def test_what_the_buyer_files_it_under() -> None:
    shown = show(invoice(1, purchase_order="PO-1", customer={"buyer_reference": "KST 4711"}))
    assert shown.references.startswith("Your reference: KST 4711 · Purchase order: PO-1 · Team: ")


def test_registers_are_named() -> None:
    seller = replace(SELLER, registration_id="303265045", registration_scheme="0002", legal_information="RCS Paris")
    shown = show(invoice(1, seller=seller, customer={"registration_id": "B 123", "registration_scheme": "9999"}))
    assert (shown.seller.lines[-1], shown.buyer.lines[-1]) == ("SIREN 303265045", "Reg. no. B 123")
    assert shown.small_print[0] == "RCS Paris"


@pytest.mark.parametrize(
    ("customer", "name", "lines", "lang"),
    [
        (
            {
                "country": "JP",
                "region": "東京都",
                "city": "千代田区",
                "address_line1": "丸の内1-2-3",
                "postal_code": "100-0005",
                "locale": "ja-JP",
                "legal_name": "構造株式会社",
            },
            "構造株式会社 御中",
            ("〒100-0005", "東京都千代田区丸の内1-2-3", "日本"),
            "ja",
        ),
        (
            {"country": "US", "region": "TX", "city": "Austin", "postal_code": "78701", "legal_name": "Meridian LLC"},
            "Meridian LLC",
            ("12 rue des Forges", "Austin, TX 78701", "United States"),
            "",
        ),
        (
            {"country": "CN", "city": "上海", "postal_code": "200000"},
            "Meridian Structures SARL",
            ("12 rue des Forges", "200000 上海", "China"),
            "zh-Hans",
        ),
    ],
)
def test_addresses_are_in_the_order_of_their_country(
    customer: dict[str, str], name: str, lines: tuple[str, ...], lang: str
) -> None:
    buyer = show(invoice(1, customer=customer | {"vat_id": ""})).buyer
    assert (buyer.name, buyer.lines, buyer.lang) == (name, lines, lang)


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
        1,
        seller=replace(SELLER, iban="", email=""),
        team_name="",
        customer={"postal_code": "", "city": "", "country": "", "vat_id": ""},
    )
    shown = show(given)
    assert (shown.small_print, shown.buyer.lines) == ((), ("12 rue des Forges",))
    assert shown.references == "Team: t1 · Subscription: s1"


@pytest.mark.parametrize("net", ["1.00", "123456789012345.00"])
def test_a_column_is_as_wide_as_its_longest_number(net: str) -> None:
    """At 9.5 pt a figure is 1.67 mm wide."""
    shown = show(invoice((line(1, net=Decimal(net), charged_units=1, unit_price=Decimal(net)),)))
    assert shown.columns.widths_mm[-1] >= len(shown.lines[0].net) * shown.columns.size_pt * 0.497 * 25.4 / 72
    assert sum(shown.columns.widths_mm) <= 174.3


def test_columns_are_in_whole_steps_where_no_text_is_broken_for_it() -> None:
    """Tables of different invoices stand alike; a table that is tight keeps the widths that its texts need."""
    heads, row = ["API", "1 unit =", "Units", "Net"], ("Automation", "20 × processing minute", "1,284", "3,081.60")
    fitted = columns(heads, [row], texts=2, page_mm=174, text_min_mm=48)
    assert [width % 3 for width in fitted.widths_mm] == [0] * 4 and sum(fitted.widths_mm) == 174
    assert all(width >= len(text) * 0.497 * 9.5 * 25.4 / 72 for width, text in zip(fitted.widths_mm, row, strict=True))
    tight = columns([*heads, *["Usage"] * 4], [(*row, *["123,456.78"] * 4)], texts=2, page_mm=174, text_min_mm=48)
    assert any(width % 3 for width in tight.widths_mm) and sum(tight.widths_mm) <= 174.6


def test_a_table_too_wide_is_made_smaller_and_stays_on_the_page() -> None:
    heads, row = (
        ["API", "1 unit =", *["Usage"] * 10],
        ("Automation", "20 × processing minute", *["123,456.789012"] * 10),
    )
    fitted = columns(heads, [row], texts=2, page_mm=174, text_min_mm=48)
    assert fitted.size_pt == 6.0 and sum(fitted.widths_mm) <= 174.6
    assert columns(heads[:4], [row[:4]], texts=2, page_mm=174, text_min_mm=48).size_pt == 9.5
