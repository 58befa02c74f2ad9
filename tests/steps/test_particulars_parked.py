"""What cannot be issued legally parks its team, names what is missing, and stops nobody else (rule 3.8)."""

from __future__ import annotations

from sqlalchemy import select

from billing.core.model import ParkedReason
from billing.store.configuration import PRODUCTION, configure
from billing.store.tables import invoices

from .small_world import REFERENCE, Shop

SELLER = REFERENCE["seller"][0]
NAMES = (
    "address_line2,region,registration_id,registration_scheme,electronic_address,electronic_address_scheme,"
    "contact_name,phone,bic,creditor_id,legal_information,payment_days,vat_currency,credit_note_prefix"
).split(",")


def seller(**cells: str) -> list[str]:
    """The seller with some optional cells."""
    return [",".join([SELLER, *(cells.get(name, "") for name in NAMES)])]


def customer(line: str, **cells: str) -> str:
    """A customer with some optional cells."""
    names = ("registration_id", "registration_scheme", "electronic_address", "electronic_address_scheme")
    all_names = (*names, "buyer_reference", "vat_id_checked_at", "vat_id_check_ref")
    return ",".join([line, *(cells.get(name, "") for name in all_names)])


def used(shop: Shop, **reference: list[str]) -> Shop:
    """July's usage of both teams; t2 is a German buyer of a French seller, so that it owes the tax itself."""
    shop.load(**reference)
    shop.ingest(
        "e1,2026-07-02T10:00:00Z,a1,render,100",
        "e2,2026-07-02T10:00:00Z,a2,translate,100",
        now="08-02",
    )
    return shop


def parked(shop: Shop, as_of: str = "08-02") -> list[tuple[str, ParkedReason, str]]:
    return [(one.team_id, one.reason, one.detail) for one in shop.close(as_of).parked]


def numbers(shop: Shop) -> list[tuple[str, str]]:
    with shop.home.database.read() as connection:
        found = connection.execute(select(invoices.c.number, invoices.c.team_id).order_by(invoices.c.number))
        return [(row.number, row.team_id) for row in found]


def test_a_reverse_charge_without_evidence_parks_in_production_only(shop: Shop) -> None:
    with shop.home.database.exclusive("books") as connection:
        configure(connection, PRODUCTION, 1)
    used(shop, seller=seller(registration_id="303265045"))
    missing = "customers.vat_id_checked_at; customers.vat_id_check_ref"
    assert parked(shop) == [("t2", ParkedReason.MISSING_PARTICULARS, missing)]
    assert numbers(shop) == [("INV-2026-000001", "t1")], "no number is used, and nobody else is stopped"
    assert ("t2", "2026-07-01T00:00:00Z", "missing_particulars", missing) in shop.export()["parked"]
    one, two = REFERENCE["customers"]
    evidence = customer(two, vat_id_checked_at="2026-06-30T12:00:00Z", vat_id_check_ref="WAPIAAAAZZZZ")
    shop.load(seller=seller(registration_id="303265045"), customers=[one, evidence])
    assert parked(shop, "08-03") == []
    assert numbers(shop) == [("INV-2026-000001", "t1"), ("INV-2026-000002", "t2")]


def test_outside_production_it_is_issued(shop: Shop) -> None:
    assert parked(used(shop)) == []


def test_tax_in_another_currency_needs_a_rate(shop: Shop) -> None:
    assert parked(used(shop, seller=seller(vat_currency="GBP"))) == [
        ("t1", ParkedReason.MISSING_PARTICULARS, "exchange_rates: EUR on 2026-07-31 (BT-111)")
    ]
    shop.load(seller=seller(vat_currency="GBP"), exchange_rates=["EUR,2026-07-01,1.15"])
    assert parked(shop, "08-03") == []


def test_what_breaks_a_rule_of_the_norm_parks_with_the_rule(shop: Shop) -> None:
    """A code of the right form that is on no list: only the norm's own rules know."""
    [(team_id, reason, detail), _] = parked(
        used(shop, seller=seller(electronic_address="x", electronic_address_scheme="ZZ"))
    )
    assert (team_id, reason) == ("t1", ParkedReason.INVALID_INVOICE)
    assert "FX-SCH-A-000582" in detail and "schemeID" in detail
    shop.load(seller=seller(electronic_address="x@example.com", electronic_address_scheme="EM"))
    assert parked(shop, "08-03") == []
    assert len(numbers(shop)) == 2
