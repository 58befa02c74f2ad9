"""What does not add up on an invoice is found, each thing by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from documents.invoices import OUT_OF_SCOPE, REVERSE, invoice, line

from billing.core.document_checks import document_findings
from billing.core.model import Invoice, InvoiceReference, InvoiceType, TaxTreatment
from billing.core.quantity import minor_digits

GOOD = invoice(3)
"""3081.60 + 16069.98 + 80.50 = 19232.08, and 20 %: 3846.42."""
BEFORE = InvoiceReference(number="INV-2025-000000", issue_date=date(2025, 7, 15))


def credit(**changes: Any) -> Invoice:
    return replace(GOOD, type=InvoiceType.CREDIT_NOTE, preceding=BEFORE, **changes)


def with_line(**changes: Any) -> Invoice:
    return replace(GOOD, lines=(replace(GOOD.lines[0], **changes), *GOOD.lines[1:]))


def messages(document: Invoice) -> list[str]:
    found = document_findings(document)
    assert {finding.file for finding in found} <= {document.number}
    return [finding.message for finding in found]


@pytest.mark.parametrize("currency", ["EUR", "USD", "JPY", "KWD", "CLF"])
@pytest.mark.parametrize("treatment", [GOOD.tax_treatment, REVERSE, OUT_OF_SCOPE])
def test_what_adds_up_has_no_finding(currency: str, treatment: TaxTreatment) -> None:
    good = invoice(12, currency=currency, tax_treatment=treatment)
    assert messages(good) == []
    assert messages(replace(good, type=InvoiceType.CREDIT_NOTE, preceding=BEFORE)) == []
    nothing = tuple(
        replace(each, unit_price=Decimal(0), net=Decimal(0).scaleb(-minor_digits(currency))) for each in good.lines
    )
    assert messages(invoice(nothing, currency=currency, tax_treatment=treatment)) == []


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (with_line(charged_units=1285), "line 1: net is 3081.60, and 1285 x 2.4 is not"),
        (with_line(unit_price=Decimal("2.400004")), "line 1: net is 3081.60, and 1284 x 2.400004 is not"),
        (with_line(by_amount=True), "line 1: only a credit note gives back an amount"),
        (with_line(line_no=2), "line 2 follows line 2"),
        (with_line(line_no=7), "line 2 follows line 7"),
        (
            replace(GOOD, tax=Decimal("3846.41"), total=Decimal("23078.49")),
            "tax is 3846.41, and 20 % of 19232.08 is not",
        ),
        (replace(GOOD, total=Decimal("23078.51")), "total is 23078.51, and net and tax are 23078.50"),
        (replace(GOOD, total=Decimal("23078.500")), "total is 23078.500, and EUR has 2 decimals"),
        (replace(GOOD, total=Decimal("23078.5")), "total is 23078.5, and EUR has 2 decimals"),
        (replace(GOOD, total=Decimal("NaN")), "total is NaN"),
        (replace(GOOD, net=Decimal("Infinity")), "net is Infinity"),
        (replace(GOOD, tax_treatment=replace(REVERSE, percent=Decimal(20))), "category AE has a rate of 20 %"),
        (replace(GOOD, vat_total=Decimal("1.00")), "a VAT total in no currency beside one in EUR"),
        (replace(GOOD, due_date=date(2025, 8, 14)), "due on 2025-08-14, before its issue on 2025-08-15"),
        (
            replace(GOOD, issued_at=datetime(2025, 8, 14, 21, tzinfo=UTC)),
            "issued at 2025-08-14 21:00:00+00:00, before the cycle's end at 2025-08-14 22:00:00+00:00",
        ),
        (
            replace(GOOD, cycle=replace(GOOD.cycle, period_first_day=date(2025, 8, 15))),
            "the period ends on 2025-08-14, before it begins on 2025-08-15",
        ),
        (
            replace(GOOD, preceding=replace(BEFORE, issue_date=date(2025, 8, 16))),
            "issued on 2025-08-15, before INV-2025-000000 on 2025-08-16",
        ),
        (replace(credit(), preceding=None), "a credit note without the invoice that it is about"),
    ],
)
def test_each_thing_that_does_not_add_up_is_found(document: Invoice, found: str) -> None:
    assert found in messages(document)


def test_a_sum_that_is_not_the_lines_is_found() -> None:
    wrong = replace(GOOD, net=Decimal("19232.09"), total=Decimal("23078.51"))
    assert messages(wrong) == ["net is 19232.09, and the lines are 19232.08"]


def test_amounts_below_nothing_are_found() -> None:
    below = invoice((line(1, unit_price=Decimal("-2.4")),))
    assert messages(below) == [
        "line 1: net is -3081.60, below 0",
        "net is -3081.60, below 0",
        "tax is -616.32, below 0",
        "total is -3697.92, below 0",
        "line 1: 1284 x -2.4, below 0",
    ]


def test_a_document_without_lines_is_found() -> None:
    assert messages(invoice(())) == ["no line"]


@pytest.mark.parametrize(
    ("tax", "well"), [("3846.40", False), ("3846.41", True), ("3846.42", True), ("3846.43", False)]
)
def test_a_credit_notes_tax_may_be_off_by_less_than_a_minor_unit(tax: str, well: bool) -> None:
    """20 % of 19232.08 is 3846.416: what one credit rounds up, another of the same invoice rounds down."""
    document = credit(tax=Decimal(tax), total=Decimal("19232.08") + Decimal(tax))
    assert messages(document) == ([] if well else [f"tax is {tax}, a minor unit or more from 20 % of 19232.08"])


def test_a_credit_of_an_amount_is_once_the_amount() -> None:
    given_back = invoice(
        (line(1, net=Decimal("7.77"), by_amount=True),), type=InvoiceType.CREDIT_NOTE, preceding=BEFORE
    )
    assert messages(given_back) == []


def test_a_vat_total_has_the_digits_of_its_own_currency() -> None:
    seller = replace(GOOD.seller, vat_currency="JPY")
    assert messages(replace(GOOD, seller=seller, vat_total=Decimal(1500))) == []
    assert messages(replace(GOOD, seller=seller, vat_total=Decimal("1500.1"))) == [
        "vat_total is 1500.1, and JPY has 0 decimals"
    ]
