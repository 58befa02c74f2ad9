"""Data contract, "Reference data": each reason for which a load is refused, by one change to a folder that is fine."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.core.reference import TABLES

from .folders import CARD, EARLY, LATE, header, load, places, small, write

BETWEEN = "2025-06-01T00:00:00Z"
LATER = "2027-01-01T00:00:00Z"

# (table, row to change or None to add, {column: cell}, line, column, part of the message)
CHANGES = [
    # blank where not allowed
    ("customers", 0, {"legal_name": ""}, 2, "legal_name", "blank"),
    ("app_hubs", 2, {"valid_from": ""}, 4, "valid_from", "blank"),
    ("unit_rates", 0, {"unit_size": ""}, 2, "unit_size", "blank"),
    ("free_allowances", 0, {"units_per_period": ""}, 2, "units_per_period", "blank"),
    ("tax_rates", 0, {"valid_from": ""}, 2, "valid_from", "blank"),
    # unknown references
    ("teams", 1, {"customer_id": "c9"}, 3, "customer_id", "'c9' is not in customers"),
    ("hub_teams", 0, {"hub_id": "h9"}, 2, "hub_id", "not in hubs"),
    ("hub_teams", 0, {"team_id": "T1"}, 2, "team_id", "not in teams"),
    ("app_hubs", 0, {"app_id": "a1 "}, 2, "app_id", "'a1 ' is not in apps"),
    ("app_hubs", 0, {"hub_id": "h9"}, 2, "hub_id", "not in hubs"),
    ("unit_rates", 0, {"api": "x"}, 2, "api", "not in apis"),
    ("unit_prices", 0, {"api": "x"}, 2, "api", "not in apis"),
    ("subscriptions", 4, {"team_id": "t9"}, 6, "team_id", "not in teams"),
    ("free_allowances", 0, {"subscription_id": "s9"}, 2, "subscription_id", "not in subscriptions"),
    ("free_allowances", 0, {"api": "x"}, 2, "api", "not in apis"),
    ("token_grants", 0, {"subscription_id": "s9"}, 2, "subscription_id", "not in subscriptions"),
    ("capacity_grants", 0, {"subscription_id": "s9"}, 2, "subscription_id", "not in subscriptions"),
    ("capacity_grants", 0, {"api": "x"}, 2, "api", "not in apis"),
    ("payment_methods", None, {"payment_method_id": "pm2", "customer_id": "c9"}, 3, "customer_id", "not in customers"),
    ("subscriptions", 2, {"payment_method_id": "pm9"}, 4, "payment_method_id", "not in payment_methods"),
    ("payment_methods", 0, {"customer_id": "c2"}, ("subscriptions.csv", 4), "payment_method_id", "another customer"),
    # two rows with one key
    ("apis", None, {}, 5, "api", "has the key of line 2"),
    ("unit_rates", None, {"valid_from": "2025-01-01T01:00:00+01:00"}, 4, "api", "has the key of line 2"),
    ("unit_prices", None, {}, 4, "api", "has the key of line 2"),
    ("tax_rates", None, {}, 4, "country", "has the key of line 2"),
    ("hub_teams", None, {"valid_to": BETWEEN}, 5, "hub_id", "has the key of line 2"),
    # overlapping validities (rules 1.1, 1.3)
    ("hub_teams", 1, {"valid_from": "2025-12-31T23:59:59.999999Z"}, 3, "valid_from", "hub has a team"),
    ("hub_teams", 2, {"valid_from": BETWEEN}, 4, "valid_from", "team has a hub at that time already, by line 2"),
    ("app_hubs", 1, {"valid_from": BETWEEN}, 3, "valid_from", "app has a hub at that time already, by line 2"),
    ("subscriptions", 3, {"purchased_at": BETWEEN}, 5, "purchased_at", "active payg subscription at that time"),
    # codes
    ("seller", 0, {"time_zone": "Europe/Pariss"}, 2, "time_zone", "no IANA time zone"),
    ("subscriptions", 0, {"time_zone": "Factory"}, 2, "time_zone", "no IANA time zone"),
    ("subscriptions", 0, {"time_zone": "localtime"}, 2, "time_zone", "no IANA time zone"),
    ("subscriptions", 0, {"time_zone": "posixrules"}, 2, "time_zone", "no IANA time zone"),
    ("subscriptions", 0, {"time_zone": "europe/paris"}, 2, "time_zone", "no IANA time zone"),
    ("subscriptions", 0, {"time_zone": "../UTC"}, 2, "time_zone", "no IANA time zone"),
    ("subscriptions", 2, {"currency": "EURO"}, 4, "currency", "no ISO 4217"),
    ("unit_prices", 0, {"currency": "eur"}, 2, "currency", "no ISO 4217"),
    ("unit_prices", 0, {"currency": "XAU"}, 2, "currency", "no ISO 4217"),
    ("customers", 1, {"country": "EL"}, 3, "country", "write GR"),
    ("customers", 1, {"country": "UK"}, 3, "country", "write GB"),
    ("seller", 0, {"country": "fr"}, 2, "country", "no ISO 3166-1"),
    ("tax_rates", 0, {"country": "XX"}, 2, "country", "no ISO 3166-1"),
    ("subscriptions", 5, {"kind": "Token_Flex"}, 7, "kind", "no kind of subscription"),
    ("apis", 1, {"billing": "free"}, 3, "billing", "no billing"),
    # VAT ids
    ("seller", 0, {"vat_id": "FR40303265046"}, 2, "vat_id", "not a valid VAT id of FR"),
    ("customers", 0, {"vat_id": "83404833048"}, 2, "vat_id", "no country prefix"),
    ("customers", 1, {"vat_id": "DE136695977"}, 3, "vat_id", "not a valid VAT id of DE"),
    # an end not after its beginning
    ("hub_teams", 1, {"valid_to": LATE}, 3, "valid_to", "not after valid_from"),
    ("app_hubs", 2, {"valid_to": EARLY}, 4, "valid_to", "not after valid_from"),
    ("subscriptions", 0, {"ends_at": "2024-01-01T00:00:00Z"}, 2, "ends_at", "not after purchased_at"),
    ("token_grants", 0, {"expires_at": EARLY}, 2, "expires_at", "not after valid_from"),
    ("capacity_grants", 0, {"expires_at": EARLY}, 2, "expires_at", "not after valid_from"),
    ("token_grants", 0, {"expires_at": ""}, 2, "expires_at", "blank"),
    # sizes, tokens, prices, percent
    ("unit_rates", 0, {"unit_size": "0"}, 2, "unit_size", "above 0"),
    ("unit_rates", 0, {"unit_size": "-1"}, 2, "unit_size", "above 0"),
    ("unit_rates", 0, {"tokens_per_unit": "0"}, 2, "tokens_per_unit", "above 0"),
    ("unit_rates", 0, {"tokens_per_unit": "-0.000001"}, 2, "tokens_per_unit", "above 0"),
    ("unit_prices", 0, {"unit_price": "-0.000001"}, 2, "unit_price", "not be below 0"),
    ("token_grants", 0, {"tokens": "0.0"}, 2, "tokens", "above 0"),
    ("capacity_grants", 0, {"quantity": "-1"}, 2, "quantity", "above 0"),
    ("free_allowances", 0, {"units_per_period": "-1"}, 2, "units_per_period", "not be below 0"),
    ("free_allowances", 0, {"units_per_period": "1.5"}, 2, "units_per_period", "not a whole number"),
    ("tax_rates", 0, {"percent": "100.000001"}, 2, "percent", "from 0 to 100"),
    ("tax_rates", 0, {"percent": "-1"}, 2, "percent", "from 0 to 100"),
    ("token_grants", 0, {"tokens": "9223372036854.775808"}, 2, "tokens", "64 bits"),
    ("token_grants", 0, {"tokens": "9" * 5000}, 2, "tokens", "..."),
    ("unit_prices", 0, {"unit_price": "9223372036854.775808"}, 2, "unit_price", "64 bits"),
    ("unit_prices", 0, {"unit_price": "1e3"}, 2, "unit_price", "not a decimal"),
    ("unit_prices", 0, {"unit_price": " 1"}, 2, "unit_price", "not a decimal"),
    ("unit_prices", 0, {"unit_price": "٣"}, 2, "unit_price", "not a decimal"),
    # instants and days
    ("subscriptions", 0, {"purchased_at": "2025-01-01T00:00:00"}, 2, "purchased_at", "not an instant"),
    ("subscriptions", 0, {"purchased_at": "2025-01-01T24:00:00Z"}, 2, "purchased_at", "not an instant"),
    ("token_grants", 0, {"valid_from": "2025-02-30T00:00:00Z"}, 2, "valid_from", "not an instant"),
    ("tax_rates", 0, {"valid_from": "2014-13-01"}, 2, "valid_from", "not a date"),
    # kinds
    ("subscriptions", 2, {"currency": ""}, 4, "currency", "payg subscription needs its currency"),
    ("free_allowances", 0, {"subscription_id": "s-payg"}, 2, "subscription_id", "has the kind payg"),
    ("token_grants", 0, {"subscription_id": "s-free"}, 2, "subscription_id", "token_flex or flex only"),
    ("capacity_grants", 0, {"subscription_id": "s-flex"}, 2, "subscription_id", "capacity only"),
    ("capacity_grants", 0, {"api": "automation"}, 2, "api", "has the billing rated"),
    ("free_allowances", 0, {"api": "calls"}, 2, "api", "has the billing unrated"),
    # the seller
    ("seller", None, {"legal_name": "Another"}, 3, None, "second seller"),
    ("seller", 0, {"invoice_prefix": "INV 1"}, 2, "invoice_prefix", "no invoice prefix"),
    ("seller", 0, {"invoice_prefix": "I" * 21}, 2, "invoice_prefix", "no invoice prefix"),
    ("seller", 0, {"invoice_prefix": "INV\n"}, 2, "invoice_prefix", "no invoice prefix"),
    # what cannot be kept
    ("customers", 0, {"city": "Ly\x00on"}, 2, "city", "NUL"),
    ("payment_methods", 0, {"brand": "\x00"}, 2, "brand", "NUL"),
    # cards
    ("payment_methods", 0, {"last4": "424"}, 2, "last4", "four digits"),
    ("payment_methods", 0, {"last4": "４２４２"}, 2, "last4", "four digits"),
    ("payment_methods", 0, {"token": CARD}, 2, "token", "full card number"),
    ("payment_methods", 0, {"brand": "visa 4111111111111111 (old)"}, 2, "brand", "full card number"),
    ("payment_methods", 0, {"brand": "378282246310005"}, 2, "brand", "full card number"),
    ("payment_methods", 0, {"expires": "4222222222222"}, 2, "expires", "full card number"),
]


@pytest.mark.parametrize(
    ("table", "row", "cells", "line", "column", "message"), CHANGES, ids=[f"{c[0]}-{c[4]}-{c[5][:20]}" for c in CHANGES]
)
def test_one_mistake_is_one_finding_in_its_place(tmp_path: Path, table, row, cells, line, column, message):
    rows = small()
    changed = dict(zip(header(table), rows[table][row or 0], strict=True)) | cells
    if row is None:
        rows[table].append(list(changed.values()))
    else:
        rows[table][row] = list(changed.values())
    file, line = line if isinstance(line, tuple) else (f"{table}.csv", line)

    findings = load(write(tmp_path, rows))

    assert (file, line, column) in places(findings)
    mine = [finding for finding in findings if (finding.file, finding.line, finding.column) == (file, line, column)]
    assert message in mine[0].message
    assert len(str(mine[0])) < 400
    # What follows from the mistake may be reported too, but only where the changed cell is used.
    assert len(findings) <= 3


ALLOWED = [
    ("unit_rates", 0, {"tokens_per_unit": ""}),
    ("unit_prices", 0, {"unit_price": "0"}),
    ("free_allowances", 0, {"units_per_period": "10.0"}),
    ("tax_rates", 0, {"percent": "0"}),
    ("tax_rates", 0, {"percent": "100"}),
    ("token_grants", 0, {"tokens": "9223372036854.775807"}),
    ("customers", 0, {"vat_id": "fr 83.404-833 048"}),
    ("customers", 0, {"vat_id": "DE136695976"}),
    ("customers", 0, {"country": "GR", "vat_id": "EL094259216"}),
    ("customers", 0, {"country": "GR", "vat_id": "GR 094259216"}),
    ("customers", 1, {"vat_id": "12-3456789"}),
    ("customers", 1, {"country": "CH", "vat_id": "CHE-107.787.577"}),
    ("customers", 1, {"country": "CH", "vat_id": "CHE-107.787.577 IVA"}),
    ("customers", 1, {"country": "NO", "vat_id": "995525828"}),
    ("customers", 1, {"country": "GB", "vat_id": "GB980780684"}),
    ("customers", 1, {"country": "GB", "vat_id": "980780684"}),
    ("customers", 1, {"country": "JP", "vat_id": "T5835678256246"}),
    ("customers", 1, {"country": "MX", "vat_id": "ATO840101XX1"}),  # begins like an Austrian id
    ("customers", 0, {"vat_id": "XI110305878"}),
    ("subscriptions", 0, {"currency": "KWD"}),
    ("unit_prices", 0, {"currency": "BGN"}),  # left ISO 4217 in 2026; its prices stay history
    ("seller", 0, {"invoice_prefix": "A-b_1/2.x"}),
    ("seller", 0, {"time_zone": "Etc/GMT+12"}),
    ("payment_methods", 0, {"last4": ""}),
    ("payment_methods", 0, {"token": "4111111111111112"}),  # fails Luhn's check
    ("payment_methods", 0, {"token": "12345674-1111-4111-8111-111111111111"}),
    ("subscriptions", 5, {"payment_method_id": "pm1"}),  # not assigned: whose it is cannot be said yet
]


@pytest.mark.parametrize(("table", "row", "cells"), ALLOWED, ids=[str(change) for change in ALLOWED])
def test_what_is_allowed_is_taken(tmp_path: Path, table, row, cells):
    rows = small()
    rows[table][row] = list((dict(zip(header(table), rows[table][row], strict=True)) | cells).values())
    assert load(write(tmp_path, rows)) == []


def test_the_small_folder_is_fine(tmp_path: Path):
    assert load(write(tmp_path, small())) == []


def test_every_error_is_in_one_report_in_the_order_of_the_tables(tmp_path: Path):
    rows = small()
    rows["seller"][0][4] = "ZZ"
    rows["teams"][0][1] = "c9"
    rows["unit_rates"][1][2] = "0"
    rows["unit_rates"][0][1] = "yesterday"
    rows["tax_rates"].append(["FR", "2014-01-01", "21"])
    folder = write(tmp_path, rows)
    (folder / "hubs.csv").write_text("hub_id\nh1\nh2\n")

    assert places(load(folder)) == [
        ("hubs.csv", None, None),
        ("unit_rates.csv", 2, "valid_from"),
        ("unit_rates.csv", 3, "unit_size"),
        ("seller.csv", 2, "country"),
        ("teams.csv", 2, "customer_id"),
        ("tax_rates.csv", 4, "country"),
    ]


def test_a_long_report_ends_in_a_count(tmp_path: Path):
    rows = small()
    rows["apps"] += [["", ""] for _ in range(2_500)]
    findings = load(write(tmp_path, rows))
    assert len(findings) == 1_001
    assert "1,500 more" in findings[-1].message


def test_no_row_and_no_seller(tmp_path: Path):
    rows = small() | {"seller": []}
    assert [(f.file, f.line) for f in load(write(tmp_path, rows))] == [("seller.csv", None)]


def test_only_a_header_is_enough_for_every_other_table(tmp_path: Path):
    rows = {table: [] for table in TABLES} | {"seller": small()["seller"]}
    assert load(write(tmp_path, rows)) == []


@pytest.mark.parametrize("secret", [CARD, "4111111111111111", "4111–1111–1111–1111"])
@pytest.mark.parametrize("column", range(8))
def test_a_card_number_is_refused_wherever_it_stands_and_never_shown(tmp_path: Path, secret, column):
    """An eighth column that the contract does not know, too."""
    rows = small()
    cells = [*rows["payment_methods"][0], "extra"]
    cells[column] = secret
    folder = write(tmp_path, rows)
    text = ",".join([*header("payment_methods"), "number"]) + "\n" + ",".join(cells) + "\n"
    (folder / "payment_methods.csv").write_text(text, encoding="utf-8")
    rows["subscriptions"][2][7] = secret
    (folder / "subscriptions.csv").write_text("")
    write(folder, {"subscriptions": rows["subscriptions"]})

    findings = load(folder)

    assert any("full card number" in finding.message and finding.file == "payment_methods.csv" for finding in findings)
    assert not any("1111" in str(finding) for finding in findings)


@pytest.mark.parametrize(
    "text",
    [
        "payment_method_id,customer_id,gateway,token,brand,last4,expires\npm1,c1,x,tok,visa,,,4111111111111111\n",
        "payment_method_id,customer_id,gateway,token,brand,last4,expires,4111111111111111\npm1,c1,x,tok,visa,,,\n",
        '{"payment_method_id":"pm1","customer_id":"c1","gateway":"x","token":"t","x":4111111111111111}\n',
        '{"payment_method_id":"pm1","customer_id":"c1","gateway":"x","token":"t","x":{"y":"4111111111111111"}}\n',
    ],
)
def test_a_card_number_outside_the_cells_is_refused_too(tmp_path: Path, text):
    rows = small()
    del rows["payment_methods"]
    folder = write(tmp_path, rows)
    name = "payment_methods.jsonl" if text.startswith("{") else "payment_methods.csv"
    (folder / name).write_text(text)
    findings = load(folder)
    assert any("full card number" in finding.message for finding in findings)
    assert not any("1111" in str(finding) for finding in findings)
