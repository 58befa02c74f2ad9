"""An invoice explained in words and as JSON: every number of it can be checked by hand (rules 4.4, 6.1 to 6.6)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from billing.core.crediting import Wanted
from billing.core.errors import NotFound
from billing.steps.credit import credit
from billing.steps.explain import explain, in_words
from billing.steps.reissue import reissue

from .small_world import REFERENCE, Shop

AUGUST_3 = datetime(2026, 8, 3, tzinfo=UTC)
ODD = [line.replace("1.15", "0.335") for line in REFERENCE["unit_prices"]]


def closed(shop: Shop, **changed: list[str]) -> None:
    """t1 in July: 65 of render, 1 unit of it free; t2: 65 of it in tokens, and 3 of translate."""
    shop.load(**changed)
    shop.ingest(
        "e1,2026-07-05T00:00:00Z,a1,render,65,,",
        "e2,2026-07-06T00:00:00Z,a2,translate,3,,",
        "e3,2026-07-06T00:00:00Z,a2,render,65,,",
        "e4,2026-07-06T00:00:00Z,a1,browse,7,,",
        now="08-02",
    )
    shop.close("08-02")


def words(shop: Shop, number: str) -> list[str]:
    return in_words(explain(shop.home, number))


def test_an_invoice_from_its_usage_to_its_total(shop: Shop) -> None:
    closed(shop)
    shop.ingest(
        "late,2026-07-20T00:00:00Z,a1,render,20,,",
        "e5,2026-08-05T00:00:00Z,a1,render,1228.5,,",
        now="2026-09-02T00:00:00Z",
    )
    shop.close("2026-09-02T00:00:00Z")
    assert words(shop, "INV-2026-000003") == [
        "Invoice INV-2026-000003",
        "  issued   2026-09-02, the seller's date at 2026-09-02T00:00:00Z",
        "  seller   Example SAS, FR, VAT id FR40303265045",
        "  buyer    Buyer One (c1), FR, VAT id FR83404833048",
        "  for      team t1 Team One, subscription payg1",
        "  period   2026-08-01 to 2026-08-31, days in UTC",
        "           from 2026-08-01 00:00:00 +0000 = 2026-08-01T00:00:00Z",
        "           until 2026-09-01 00:00:00 +0000 = 2026-09-01T00:00:00Z, which is the next cycle's",
        "",
        "Tax S 20 % (rule 6.2): seller and buyer are in FR",
        "  FR: 20 % since 2000-01-01, in force on 2026-08-31, the period's last day",
        "",
        "Line 1: Rendering (render)",
        "  opening carry-over 5 + usage 1,248.5 (late 20) = 62 units of 20 + 13.5 carried over",
        "  free 1, token_flex 0, flex 0, pay as you go 61",
        "  61 x 1.15 = 70.15 EUR",
        "",
        "Net    70.15 EUR, the sum of the lines, each rounded half up to 2 decimals",
        "Tax    14.03 EUR, 20 % of the net once",
        "Total  84.18 EUR",
        "Bank transfer, due 2026-10-02",
        "",
        "No document yet: `billing invoices render`",
        *_pinned(explain(shop.home, "INV-2026-000003")),
    ]
    assert Decimal(5) + Decimal("1248.5") == 62 * 20 + Decimal("13.5")


def _pinned(facts: dict[str, Any]) -> list[str]:
    pin = facts["pinned_by"]
    assert (pin["close_no"], pin["as_of"], pin["batch_no"], pin["load_no"]) == (2, "2026-09-02T00:00:00Z", 2, 1)
    return [
        "Pinned by close 2 as of 2026-09-02T00:00:00Z: usage up to batch 2, reference data of load 1, zones of tzdata "
        f"{pin['tzdata']}, version {pin['version']}"
    ]


def test_rounding_is_said_where_it_happened(shop: Shop) -> None:
    """Rule 6.1: 3 x 0.335 is 1.005, half away from zero 1.01; and the tax on it once."""
    closed(shop, unit_prices=ODD, free_allowances=[])
    said = words(shop, "INV-2026-000001")
    assert "  3 x 0.335 = 1.005, rounded half up 1.01 EUR" in said
    assert "Tax    0.20 EUR, 20 % of the net once is 0.202, rounded half up" in said


def test_apis_that_cost_nothing_are_told_too(shop: Shop) -> None:
    """Rule 6.6: what tokens paid for, and usage that is only shown."""
    closed(shop)
    two = words(shop, "INV-2026-000002")
    place = two.index("Not charged: Rendering (render)")
    assert two[place + 1 : place + 3] == [
        "  opening carry-over 0 + usage 65 = 3 units of 20 + 5 carried over",
        "  free 0, token_flex 0, flex 3, pay as you go 0",
    ]
    one = words(shop, "INV-2026-000001")
    assert one[one.index("Not charged: browse") + 1] == "  usage 7, shown and never charged"


CHECKED = "c2,Buyer Two,2 street,,2000,Town,,DE,DE136695976,ap@example.com,en-GB,,,,,,2026-06-30T09:00:00Z,W-77"


@pytest.mark.parametrize(
    ("customer", "expected"),
    [
        (
            REFERENCE["customers"][1],
            [
                "Tax AE 0 % (rule 6.2): seller in FR, buyer in DE, both in the EU, and the buyer has a VAT id of its "
                "country",
                "  no evidence is kept that the VAT id was checked",
            ],
        ),
        (
            CHECKED,
            [
                "Tax AE 0 % (rule 6.2): seller in FR, buyer in DE, both in the EU, and the buyer has a VAT id of its "
                "country",
                "  the VAT id was checked at 2026-06-30T09:00:00Z, reference W-77",
            ],
        ),
        (
            REFERENCE["customers"][1].replace("DE136695976", ""),
            [
                "Tax S 19 % (rule 6.2): seller in FR, buyer in DE, both in the EU, and the buyer has no VAT id of its "
                "country",
                "  DE: 19 % since 2026-07-31, in force on 2026-07-31, the period's last day",
            ],
        ),
        (
            REFERENCE["customers"][1].replace("DE,DE136695976", "US,"),
            ["Tax O 0 % (rule 6.2): seller in FR, buyer in US: not both in the EU"],
        ),
    ],
    ids=["reverse charge", "checked", "no id", "outside"],
)
def test_why_this_tax(shop: Shop, customer: str, expected: list[str]) -> None:
    rates = ["FR,2000-01-01,20", "DE,2000-01-01,16", "DE,2026-07-31,19", "DE,2026-08-01,25"]
    closed(shop, customers=[REFERENCE["customers"][0], customer], tax_rates=rates)
    said = words(shop, "INV-2026-000002")
    place = next(k for k, line in enumerate(said) if line.startswith("Tax "))
    assert said[place : said.index("", place)] == expected


def test_boundaries_are_told_on_the_local_clock_and_in_utc(shop: Shop) -> None:
    """Rule 3.2: a cycle begins at a local midnight."""
    paris = [
        line.replace("2026-07-01T00:00:00Z,UTC", "2026-06-30T22:00:00Z,Europe/Paris")
        for line in REFERENCE["subscriptions"]
    ]
    closed(shop, subscriptions=paris)
    said = words(shop, "INV-2026-000001")
    assert "  period   2026-07-01 to 2026-07-31, days in Europe/Paris" in said
    assert "           from 2026-07-01 00:00:00 +0200 = 2026-06-30T22:00:00Z" in said
    assert "           until 2026-08-01 00:00:00 +0200 = 2026-07-31T22:00:00Z, which is the next cycle's" in said


def test_how_it_is_collected(shop: Shop) -> None:
    """Rule 6.5."""
    held = [line + ("pm1" if line[:5] == "payg1" else "") for line in REFERENCE["subscriptions"]]
    closed(shop, subscriptions=held, payment_methods=["pm1,c1,stripe,tok_1,visa,4242,2030-01"])
    assert "Charged to visa ending 4242 via stripe, due 2026-08-02" in words(shop, "INV-2026-000001")
    facts = explain(shop.home, "INV-2026-000001")
    assert "tok_1" not in json.dumps(facts), "what a gateway charges by is nobody's business"


def test_credit_notes_and_what_remains(shop: Shop) -> None:
    closed(shop)
    for wanted in ([Wanted(line_no=1, units=1)], [Wanted(line_no=1, amount=Decimal("1.40"))]):
        credit(shop.home, "INV-2026-000002", reason="two jobs failed", wanted=wanted, as_of=AUGUST_3)
    facts = explain(shop.home, "INV-2026-000002")
    notes = [note["number"] for note in facts["credit_notes"]]
    assert facts["remaining"] == {"net": "3.40", "tax": "0.00", "total": "3.40"}
    said = in_words(facts)
    assert f"Credit note {notes[0]} of 2026-08-03 gives back 2.40 EUR: two jobs failed" in said
    assert "Remaining: net 3.40, tax 0.00, total 3.40 EUR" in said
    first, second = (words(shop, number) for number in notes)
    assert first[0] == f"Credit note {notes[0]} gives back of invoice INV-2026-000002: two jobs failed"
    assert "  1 x 2.4 = 2.40 EUR" in first
    assert "  an amount of 1.40 EUR" in second
    assert "Given back" in first
    assert "credit_notes" not in explain(shop.home, notes[0])


def test_an_invoice_that_replaces_another_and_the_one_that_is_replaced(shop: Shop) -> None:
    closed(shop)
    credit(shop.home, "INV-2026-000002", reason="wrong buyer", as_of=AUGUST_3)
    reissue(shop.home, "INV-2026-000002", as_of=AUGUST_3)
    assert "Replaced by invoice INV-2026-000003" in words(shop, "INV-2026-000002")
    assert words(shop, "INV-2026-000003")[0] == "Invoice INV-2026-000003, in place of INV-2026-000002"
    assert explain(shop.home, "INV-2026-000003")["about_invoice"] == "INV-2026-000002"


def test_documents_are_told_by_their_hash(shop: Shop) -> None:
    closed(shop)
    shop.render()
    facts = explain(shop.home, "INV-2026-000001")
    (pdf,) = [one for one in facts["documents"] if one["kind"] == "pdf"]
    assert shop.home.documents.read(pdf["path"], pdf["sha256"]).startswith(b"%PDF-")
    assert any(line.startswith(f"Document pdf: SHA-256 {pdf['sha256']}, ") for line in in_words(facts))


def test_the_keys_stay(shop: Shop) -> None:
    """Whoever reads the JSON relies on them: keys may be added, none goes."""
    closed(shop)
    facts = explain(shop.home, "INV-2026-000001")
    assert json.loads(json.dumps(facts)) == facts
    assert {*facts} >= {
        *("kind", "number", "issue_date", "issued_at", "about_invoice", "reason", "seller", "customer", "team"),
        *("subscription_id", "period", "tax_reason", "lines", "usage", "currency", "minor_digits", "net", "tax_exact"),
        *("tax", "total", "vat_currency", "tax_in_vat_currency", "collected", "documents", "credit_notes"),
        *("remaining", "replaced_by", "pinned_by"),
    }
    assert facts["lines"] == [
        {
            "line_no": 1,
            "api": "render",
            "api_name": "Rendering",
            "charged_units": 2,
            "unit_price": "1.15",
            "exact": "2.3",
            "net": "2.30",
            "currency": "EUR",
            "by_amount": False,
        }
    ]
    assert facts["usage"][0] == {
        "api": "render",
        "api_name": "Rendering",
        "usage_unit": "minute",
        "billing": "rated",
        "unit_sizes": ["20"],
        "opening": "0",
        "usage": "65",
        "late_usage": "0",
        "units": 3,
        "drawn": {"free": 1, "token_flex": 0, "flex": 0, "payg": 2, "unfunded": 0},
        "invoiced_units": 2,
        "closing": "5",
    }


def test_a_number_that_was_never_issued_is_not_explained(shop: Shop) -> None:
    closed(shop)
    with pytest.raises(NotFound, match="No invoice INV-2026-000009 was ever issued"):
        explain(shop.home, "INV-2026-000009")
