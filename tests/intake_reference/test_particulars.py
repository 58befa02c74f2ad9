"""The optional columns: absent, blank, right and wrong (docs/particulars.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.core.reference import BLANK, FOREVER_US, TABLES
from billing.intake.reference_files import read_reference_folder

from .folders import EARLY, header, load, places, small, write


def with_cells(folder: Path, table: str, **cells: str) -> Path:
    """The small folder, with further columns in the first row of one table."""
    rows = small()
    write(folder, rows)
    names = [*header(table), *cells]
    first = [*rows[table][0], *cells.values()]
    others = [[*row, *[""] * len(cells)] for row in rows[table][1:]]
    text = "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in [names, first, *others])
    (folder / f"{table}.csv").write_text(text, encoding="utf-8")
    return folder


def test_files_without_them_are_files_with_blanks(tmp_path: Path) -> None:
    found, findings = read_reference_folder(write(tmp_path / "a", small()))
    assert findings == [] and found.warnings == []
    seller, customers = found.tables["seller"].iloc[0], found.tables["customers"].iloc[0]
    assert (seller["registration_id"], seller["payment_days"]) == ("", BLANK)
    assert (customers["vat_id_checked_at"], found.tables["token_grants"]["amount"][0]) == (FOREVER_US, BLANK)
    for table in TABLES.values():
        assert list(found.tables[table.name].columns) == [column.name for column in table.columns]


@pytest.mark.parametrize(
    ("table", "cells"),
    [
        ("seller", {"registration_id": "303265045", "registration_scheme": "0002"}),
        ("seller", {"electronic_address": "a@b.example", "electronic_address_scheme": "EM"}),
        ("seller", {"bic": "AGRIFRPP882", "creditor_id": "FR72ZZZ123456", "payment_days": "14"}),
        ("seller", {"vat_currency": "EUR", "credit_note_prefix": "CN"}),
        ("customers", {"vat_id_checked_at": EARLY, "vat_id_check_ref": "WAPIAAAAX", "buyer_reference": "04011000-1"}),
        ("subscriptions", {"purchase_order": "PO 7"}),
        ("token_grants", {"amount": "99.50", "currency": "EUR"}),
        ("payment_methods", {"mandate": "M-1"}),
    ],
)
def test_what_is_right_is_taken(tmp_path: Path, table: str, cells: dict[str, str]) -> None:
    assert load(with_cells(tmp_path / "a", table, **cells)) == []


@pytest.mark.parametrize(
    ("table", "cells", "column", "message"),
    [
        ("seller", {"registration_id": "1", "registration_scheme": "SIREN"}, "registration_scheme", "four digits"),
        ("seller", {"registration_scheme": "0002"}, "registration_scheme", "nothing without registration_id"),
        ("customers", {"electronic_address": "x"}, "electronic_address", "without electronic_address_scheme"),
        (
            "customers",
            {"electronic_address": "x", "electronic_address_scheme": "mail"},
            "electronic_address_scheme",
            "no EAS",
        ),
        ("seller", {"bic": "AGRI"}, "bic", "no BIC"),
        ("seller", {"creditor_id": "FR00ZZZ123456"}, "creditor_id", "creditor identifier"),
        ("seller", {"payment_days": "400"}, "payment_days", "from 0 to 365"),
        ("seller", {"payment_days": "-1"}, "payment_days", "from 0 to 365"),
        ("seller", {"vat_currency": "EURO"}, "vat_currency", "no ISO 4217"),
        ("seller", {"credit_note_prefix": "INV"}, "credit_note_prefix", "series of their own"),
        ("seller", {"credit_note_prefix": "a b"}, "credit_note_prefix", "no prefix"),
        ("token_grants", {"amount": "1"}, "amount", "belong together"),
        ("token_grants", {"amount": "-1", "currency": "EUR"}, "amount", "below 0"),
        ("token_grants", {"amount": "1", "currency": "XXX"}, "currency", "no ISO 4217"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(
    tmp_path: Path, table: str, cells: dict[str, str], column: str, message: str
) -> None:
    findings = load(with_cells(tmp_path / "a", table, **cells))
    assert (f"{table}.csv", 2, column) in places(findings)
    assert message in " ".join(finding.message for finding in findings)


def test_evidence_needs_the_vat_id_that_it_is_of(tmp_path: Path) -> None:
    folder = with_cells(tmp_path / "a", "customers", vat_id_check_ref="WAPI")
    text = (folder / "customers.csv").read_text().replace("FR83404833048", "")
    (folder / "customers.csv").write_text(text)
    assert places(load(folder)) == [("customers.csv", 2, "vat_id_checked_at")]


def test_exchange_rates_are_above_0_and_of_known_currencies(tmp_path: Path) -> None:
    rows = small()
    rows["exchange_rates"] = [["USD", "2026-01-01", "0"], ["usd", "2026-01-01", "1"]]
    assert places(load(write(tmp_path / "a", rows))) == [
        ("exchange_rates.csv", 2, "rate"),
        ("exchange_rates.csv", 3, "currency"),
    ]
