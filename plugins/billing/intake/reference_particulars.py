"""What the optional columns for e-invoices may say (docs/particulars.md).

Whether a code is on the norm's own list of the day is said when an invoice is checked; here it is its form.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from stdnum import bic
from stdnum.eu import at_02

from billing.core.reference import BLANK, FOREVER_US
from billing.intake.reference_codes import currencies
from billing.intake.reference_findings import FindingList, shown
from billing.intake.reference_tables import TableInForce, Tables

INVOICE_PREFIX = re.compile(r"[\w./-]{1,20}")
_ICD = re.compile(r"[0-9]{4}")
_EAS = re.compile(r"[0-9]{4}|[A-Z]{2}")


def check_particulars(tables: Tables, found: FindingList) -> None:
    """Refused: codes, ids and pairs of columns that no invoice could carry."""
    seller, customers, grants = tables["seller"], tables["customers"], tables["token_grants"]
    for own in (seller, customers):
        _check_cells(own, "registration_scheme", _ICD.fullmatch, "is no ISO 6523 code; write four digits", found)
        message = "is no EAS code of an electronic address; write four digits, or EM for e-mail"
        _check_cells(own, "electronic_address_scheme", _EAS.fullmatch, message, found)
        _check_pair(own, "electronic_address", "electronic_address_scheme", found)
        _check_needs(own, "registration_scheme", "registration_id", found)
    _check_cells(seller, "bic", bic.is_valid, "is no BIC (ISO 9362)", found)
    _check_cells(seller, "creditor_id", at_02.is_valid, "is no SEPA creditor identifier (AT-02)", found)
    known = currencies()
    _check_cells(seller, "vat_currency", known.__contains__, "is no ISO 4217 code of a currency", found)
    message = "is no prefix; use 1 to 20 letters, digits, -, _, / and ."
    _check_cells(seller, "credit_note_prefix", INVOICE_PREFIX.fullmatch, message, found)
    prefixes = seller.frame
    same = (
        (prefixes["credit_note_prefix"] == prefixes["invoice_prefix"]) & (prefixes["invoice_prefix"] != "")
    ).to_numpy()
    seller.report(
        found, same, "credit_note_prefix", "is the invoice_prefix too; credit notes have a series of their own"
    )
    _check_evidence(customers, found)
    _check_amounts(grants, found)


def _check_cells(
    own: TableInForce, column: str, allowed: Callable[[str], object], message: str, found: FindingList
) -> None:
    cells = own.texts(column)
    bad = np.array([text != "" and not allowed(text) for text in cells], dtype=bool)
    own.report(found, bad, column, lambda row: f"{shown(cells[row])} {message}")


def _check_pair(own: TableInForce, left: str, right: str, found: FindingList) -> None:
    _check_needs(own, left, right, found)
    _check_needs(own, right, left, found)


def _check_needs(own: TableInForce, column: str, other: str, found: FindingList) -> None:
    lonely = ((own.frame[column] != "") & (own.frame[other] == "")).to_numpy()
    own.report(found, lonely, column, f"says nothing without {other}; give both, or neither")


def _check_evidence(customers: TableInForce, found: FindingList) -> None:
    checked = customers.frame["vat_id_checked_at"] != FOREVER_US
    lonely = ((checked | (customers.frame["vat_id_check_ref"] != "")) & (customers.frame["vat_id"] == "")).to_numpy()
    customers.report(found, lonely, "vat_id_checked_at", "is evidence of no VAT id; give the vat_id that was checked")


def _check_amounts(grants: TableInForce, found: FindingList) -> None:
    """What was paid for a grant, and in which currency."""
    has_amount, has_currency = grants.frame["amount"] != BLANK, grants.frame["currency"] != ""
    lonely = (has_amount != has_currency).to_numpy()
    grants.report(found, lonely, "amount", "and currency belong together; give both, or neither")
