"""Invoices that an earlier version issued: documents without XML, bundles that this version cannot read (rule 7.1)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from billing.core.errors import DataRefused, NotFound
from billing.steps.close import close, open_close, pending_shards, rate_shards
from billing.steps.credit import credit
from billing.steps.reissue import reissue
from billing.steps.render import cii_of, render_again, stored_document
from billing.store.home import Home
from billing.store.tables import documents, reference_history

from .small_world import Shop, instant
from .test_particulars_parked import seller

NUMBER = "INV-2026-000001"


@pytest.fixture
def issued_before(shop: Shop) -> Shop:
    """July of t1 with its PDF, as it was kept before there was XML and before there were themes."""
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", now="08-02")
    shop.close("08-02")
    with pytest.raises(NotFound, match="has no document pdf; `billing invoices render`"):
        cii_of(shop.home, NUMBER)
    shop.render()
    files = {"invoice.html.j2": b"<p>An invoice</p>", "invoice.css": b"", "fonts/A.ttf": b"a font"}
    lines = [
        f"{shop.home.bundles.put_bytes(files[path], Path(path).suffix).sha256}  {path}\n" for path in sorted(files)
    ]
    old = shop.home.bundles.put_bytes("".join(lines).encode(), ".sha256").sha256
    with shop.home.database.write() as connection:
        connection.execute(delete(documents).where(documents.c.kind == "cii"))
        connection.execute(update(documents).values(bundle=old, versions='{"bundle": "", "weasyprint": "1.0"}'))
    return shop


def test_an_invoice_without_xml_gets_it_at_the_first_request(issued_before: Shop) -> None:
    xml = cii_of(issued_before.home, NUMBER)
    assert b"CrossIndustryInvoice" in xml
    assert cii_of(issued_before.home, NUMBER) == xml == stored_document(issued_before.home, NUMBER, "cii")


def test_rule_7_1_a_bundle_that_this_version_cannot_use_is_said_with_what_it_was_made_with(issued_before: Shop) -> None:
    with pytest.raises(
        DataRefused, match="rendered by another version.*made with weasyprint 1.0.*invoices pdf INV-2026"
    ):
        render_again(issued_before.home, NUMBER)


def test_rule_6_4_an_invoice_that_was_never_checked_can_be_given_back_and_issued_anew(shop: Shop) -> None:
    """Its seller breaks a rule of EN 16931, and so must its credit note; what takes its place must not."""
    shop.load(seller=seller(electronic_address="x", electronic_address_scheme="ZZ"))
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", now="08-02")
    close(shop.home, instant("08-02"), e_invoices=False)
    given = credit(shop.home, NUMBER, reason="No valid address", as_of=instant("08-03"))
    assert given.net_left == 0
    with pytest.raises(DataRefused, match="FX-SCH-A-000582"):
        reissue(shop.home, NUMBER, as_of=instant("08-03"))
    shop.load(seller=seller(electronic_address="x@example.com", electronic_address_scheme="EM"))
    assert reissue(shop.home, NUMBER, as_of=instant("08-03")).replaces == NUMBER


def test_rule_3_4_a_close_that_an_earlier_version_rated_is_finished(shop: Shop) -> None:
    """That version asked for no VAT id of the seller; what it had pinned cannot be mended."""
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", now="08-02")
    close_no, _ = open_close(shop.home, instant("08-02"))
    for group in pending_shards(shop.home, close_no):
        rate_shards(shop.home, close_no, group)
    with shop.home.database.write() as connection:
        connection.execute(update(reference_history["seller"]).values(vat_id=""))
    again = replace(shop, home=Home.at(shop.home.folder, shop.home.database.url))
    assert again.close("08-02").invoices == (NUMBER,)
    again.home.close()
