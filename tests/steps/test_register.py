"""The register of what was issued, from a shop's own closes (rules 6.1 to 6.4)."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from openpyxl import load_workbook
from sqlalchemy import delete, update

from billing.core.crediting import Wanted
from billing.core.errors import ConservationBroken, UsageError
from billing.core.register import Register
from billing.steps.credit import credit
from billing.steps.register import COLUMNS, TOTALS_COLUMNS, register, write_register
from billing.steps.reissue import reissue
from billing.store.tables import draws, invoice_lines, invoices

from .small_world import REFERENCE, Shop, rows_of

AUGUST = (date(2026, 8, 1), date(2026, 8, 31))
NAMED = ["c1,=cmd|' /C calc'!A0,1 street,,1000,Town,,FR,FR83404833048,ap@example.com,en-GB", REFERENCE["customers"][1]]


def closed(shop: Shop, **changed: list[str]) -> None:
    """July, closed on 2 August: t1 (French) pays 3 units of render less 1 free, t2 (German, with a VAT id) 3 of
    translate.
    """
    shop.load(**changed)
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", "e2,2026-07-06T00:00:00Z,a2,translate,3,,", now="08-02")
    shop.close("08-02")


def august(shop: Shop) -> Register:
    return register(shop.home, *AUGUST)


def cells(shop: Shop) -> list[dict[str, str]]:
    """The register as its CSV has it."""
    path = shop.fresh("register.csv")
    write_register(august(shop), path)
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows_of(path)]


def test_every_column_of_an_invoice(shop: Shop) -> None:
    closed(shop)
    first, second = cells(shop)
    assert first == {
        "kind": "invoice",
        "number": "INV-2026-000001",
        "about_invoice": "",
        "issue_date": "2026-08-02",
        "issued_at": "2026-08-02T00:00:00Z",
        "customer_id": "c1",
        "customer": "Buyer One",
        "country": "FR",
        "vat_id": "FR83404833048",
        "team_id": "t1",
        "subscription_id": "payg1",
        "period_first_day": "2026-07-01",
        "period_last_day": "2026-07-31",
        "cycle_start": "2026-07-01T00:00:00Z",
        "cycle_end": "2026-08-01T00:00:00Z",
        "currency": "EUR",
        "net": "2.30",
        "tax_category": "S",
        "tax_percent": "20",
        "tax": "0.46",
        "total": "2.76",
        "vat_currency": "",
        "tax_in_vat_currency": "",
        "payment": "transfer",
        "document_sha256": "",
    }
    assert (second["net"], second["tax_category"], second["tax_percent"], second["tax"]) == ("7.20", "AE", "0", "0.00")


def test_the_document_is_named_by_its_hash(shop: Shop) -> None:
    closed(shop)
    shop.render()
    for row in cells(shop):
        path = shop.home.documents.locate(f"{row['document_sha256'][:2]}/{row['document_sha256']}.pdf")
        assert path.read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize(
    ("first", "last", "count"),
    [("2026-08-02", "2026-08-02", 2), ("2026-08-03", "2026-08-31", 0), ("2026-07-01", "2026-08-01", 0)],
)
def test_both_days_are_included(shop: Shop, first: str, last: str, count: int) -> None:
    closed(shop)
    assert len(register(shop.home, date.fromisoformat(first), date.fromisoformat(last)).rows) == count


def test_days_are_those_of_the_sellers_zone(shop: Shop) -> None:
    """Rule 6.3: 22:30Z on 31 July is 1 August in Paris."""
    bought = [line.replace("2026-07-01T00:00:00Z", "2026-06-30T00:00:00Z") for line in REFERENCE["subscriptions"]]
    shop.load(subscriptions=bought)
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", now="08-02")
    shop.close("2026-07-31T22:30:00Z")
    assert [row["issue_date"] for row in cells(shop)] == ["2026-08-01"]
    assert not register(shop.home, date(2026, 7, 1), date(2026, 7, 31)).rows


def test_no_day_at_all_is_a_wrong_argument(shop: Shop) -> None:
    with pytest.raises(UsageError, match="from 2026-08-02 to 2026-08-01 has no day in it"):
        register(shop.home, date(2026, 8, 2), date(2026, 8, 1))


def test_an_empty_home_has_an_empty_register(shop: Shop) -> None:
    assert august(shop).rows == august(shop).totals == ()


def test_credit_notes_stand_in_it_with_amounts_below_0(shop: Shop) -> None:
    closed(shop)
    credit(shop.home, "INV-2026-000001", reason="wrong app", as_of=datetime(2026, 8, 3, tzinfo=UTC))
    note = cells(shop)[-1]
    assert (note["kind"], note["about_invoice"]) == ("credit note", "INV-2026-000001")
    assert (note["net"], note["tax"], note["total"]) == ("-2.30", "-0.46", "-2.76")
    assert (note["issue_date"], note["period_last_day"], note["team_id"]) == ("2026-08-03", "2026-07-31", "t1")
    eur = august(shop).totals[-1]
    assert (eur.invoices, eur.credit_notes, eur.net, eur.tax, eur.total) == (
        2,
        1,
        Decimal("7.20"),
        Decimal("0.00"),
        Decimal("7.20"),
    )


def test_tax_in_the_sellers_vat_currency_where_it_has_another(shop: Shop) -> None:
    """Of credit notes what each adds to the sum that is given back: the parts are never more than the whole."""
    zloty = [
        "Example SAS,1 rue Exemple,75002,Paris,FR,FR40303265045,INV,Europe/Paris,,b@example.com" + "," * 13 + "PLN,"
    ]
    closed(shop, seller=zloty, exchange_rates=["EUR,2026-01-01,0.2337"])
    for _ in range(2):
        one = [Wanted(line_no=1, units=1)]
        credit(shop.home, "INV-2026-000001", reason="x", wanted=one, as_of=datetime(2026, 8, 3, tzinfo=UTC))
    found = [(row["vat_currency"], row["tax_in_vat_currency"]) for row in cells(shop)]
    assert found == [("PLN", "1.97"), ("", ""), ("PLN", "-0.98"), ("PLN", "-0.99")]


def test_how_it_is_collected(shop: Shop) -> None:
    subscriptions = [
        *REFERENCE["subscriptions"][:1],
        REFERENCE["subscriptions"][1] + "pm1",
        *REFERENCE["subscriptions"][2:],
    ]
    closed(shop, subscriptions=subscriptions, payment_methods=["pm1,c1,stripe,tok_1,visa,4242,2030-01"])
    assert [row["payment"] for row in cells(shop)] == ["card", "transfer"]


def test_names_that_could_be_formulas_are_defused(shop: Shop) -> None:
    closed(shop, customers=NAMED)
    assert cells(shop)[0]["customer"] == "'=cmd|' /C calc'!A0"
    (path,) = write_register(august(shop), shop.fresh("register.xlsx"))
    cell = load_workbook(path)["Register"]["G2"]
    assert (cell.value, cell.data_type, cell.quotePrefix) == ("=cmd|' /C calc'!A0", "s", True)


def test_the_totals_are_a_second_sheet_or_file(shop: Shop) -> None:
    closed(shop)
    path = shop.fresh("register.csv")
    _, totals = write_register(august(shop), path)
    assert rows_of(totals) == [
        ("EUR", "AE", "0", "1", "0", "7.20", "0.00", "7.20"),
        ("EUR", "S", "20", "1", "0", "2.30", "0.46", "2.76"),
        ("EUR", "all", "", "2", "0", "9.50", "0.46", "9.96"),
    ]
    assert totals.name == f"{path.stem}-totals.csv"
    (book,) = write_register(august(shop), shop.fresh("register.xlsx"))
    sheet = load_workbook(book)["Totals"]
    assert [cell.value for cell in sheet[1]] == list(TOTALS_COLUMNS)
    assert [cell.value for cell in sheet[4]] == ["EUR", "all", None, 2, 0, 9.5, 0.46, 9.96]
    assert sheet["F4"].number_format == "0.00"


def test_the_same_register_is_the_same_bytes(shop: Shop) -> None:
    closed(shop)
    for suffix in ("csv", "xlsx"):
        first, again = (shop.fresh(f"register.{suffix}") for _ in range(2))
        write_register(august(shop), first)
        write_register(august(shop), again)
        assert first.read_bytes() == again.read_bytes()


def tampered(shop: Shop, statement: object) -> None:
    with shop.home.database.write() as connection:
        connection.execute(statement)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            update(draws).where(draws.c.team_id == "t2").values(charged_units=4),
            r"INV-2026-000002: translate at 2.4: 3 units on the invoice, 4 drawn",
        ),
        (
            update(invoice_lines).where(invoice_lines.c.number == "INV-2026-000001").values(net_minor=231),
            r"INV-2026-000001: render: 2 x 1.15 is 2.30, the line says 2.31",
        ),
        (
            update(invoices).where(invoices.c.number == "INV-2026-000001").values(net_minor=229),
            r"INV-2026-000001: net 2.29 EUR, by the ledger 2.30",
        ),
    ],
    ids=["units", "line", "net"],
)
def test_a_cent_that_the_ledger_does_not_have_is_named(shop: Shop, statement: object, said: str) -> None:
    closed(shop)
    tampered(shop, statement)
    with pytest.raises(ConservationBroken, match=said):
        august(shop)


def test_what_was_drawn_and_never_invoiced_is_named(shop: Shop) -> None:
    closed(shop)
    for table in (invoice_lines, invoices):
        tampered(shop, delete(table).where(table.c.number == "INV-2026-000002"))
    with pytest.raises(ConservationBroken, match=r"team t2, cycle of 2026-07-01T00:00:00Z: payg2 .* no invoice"):
        august(shop)
    assert not register(shop.home, date(2026, 9, 1), date(2026, 9, 30)).rows, "only closes of these days are asked for"


def test_an_invoice_that_replaces_another_is_checked_like_it(shop: Shop) -> None:
    """Rule 6.4: it charges the same draws again, and says whose place it takes."""
    closed(shop)
    at = datetime(2026, 8, 3, tzinfo=UTC)
    credit(shop.home, "INV-2026-000002", reason="wrong buyer", as_of=at)
    reissue(shop.home, "INV-2026-000002", as_of=at)
    assert sorted((row["kind"], row["about_invoice"], row["net"]) for row in cells(shop)[2:]) == [
        ("credit note", "INV-2026-000002", "-7.20"),
        ("invoice", "INV-2026-000002", "7.20"),
    ]
    assert august(shop).totals[0].net == Decimal("7.20"), "once"
