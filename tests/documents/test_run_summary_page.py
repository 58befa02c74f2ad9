"""The summary of a close on one page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO

import pytest
from pypdf import PdfReader

from billing.core.model import Parked, ParkedReason
from billing.core.run_summary import LargestInvoice, NetChange, RunSummary, RunTotals
from billing.documents.bundle import read_bundle
from billing.documents.renderer import Renderer
from billing.documents.run_summary_view import RunSummaryView, run_summary_view
from billing.documents.texts import Catalogues
from billing.documents.theme import read_theme

from .invoices import OUT_OF_SCOPE, SELLER, STANDARD, TEMPLATES

BUNDLE = read_bundle(TEMPLATES)
SUMMARY = RunSummary(
    close_no=12,
    as_of=datetime(2025, 8, 15, 6, tzinfo=UTC),
    issued_at=datetime(2025, 8, 15, 6, tzinfo=UTC),
    issue_date=date(2025, 8, 15),
    seller=SELLER,
    pinned_batch=311,
    pinned_load=40,
    cycles=212,
    invoices=200,
    zero_total=3,
    credit_notes=1,
    first_number="INV-2025-000042",
    last_number="INV-2025-000241",
    totals=(
        RunTotals(
            currency="EUR",
            tax_treatment=STANDARD,
            invoices=120,
            net=Decimal("1000.00"),
            tax=Decimal("200.00"),
            total=Decimal("1200.00"),
        ),
        RunTotals(
            currency="JPY",
            tax_treatment=OUT_OF_SCOPE,
            invoices=80,
            net=Decimal(900),
            tax=Decimal(0),
            total=Decimal(900),
        ),
    ),
    largest=tuple(
        LargestInvoice(
            number=f"INV-2025-00004{place}", customer="Meridian SARL", currency="EUR", total=Decimal("99.50")
        )
        for place in range(5)
    ),
    compared_with=11,
    changes=(NetChange(currency="EUR", net=Decimal("1000.00"), before=Decimal("1250.50")),),
    waiting=4,
    complete_through=datetime(2025, 8, 15, 5, tzinfo=UTC),
    parked=tuple(
        Parked(
            team_id=f"t{place}",
            cycle_start_us=0,
            reason=ParkedReason.MISSING_PARTICULARS,
            detail="customers.city (BT-52)",
        )
        for place in range(15)
    ),
    parked_reasons=((ParkedReason.MISSING_PARTICULARS, 15),),
)


def show(summary: RunSummary, locale: str = "en") -> RunSummaryView:
    return run_summary_view(summary, Catalogues(BUNDLE).texts(locale), read_theme(BUNDLE, "default"))


def test_what_finance_looks_at_first() -> None:
    shown = show(SUMMARY)
    assert shown.title == "Billing run 12"
    assert dict(shown.facts)["Numbers"] == "INV-2025-000042 – INV-2025-000241"
    totals, changes, largest, parked = shown.tables
    assert totals.rows[0] == ("EUR", "S\xa020%", "120", "1,000.00", "200.00", "1,200.00")
    assert totals.rows[1] == ("JPY", "O", "80", "900", "0", "900")
    assert changes.rows == (("Total before tax", "EUR", "1,000.00", "1,250.50", "-250.50"),)
    assert len(largest.rows) == 5 and largest.rows[0][2] == "EUR\xa099.50"
    assert parked.rows[0] == ("t0", "missing particulars: customers.city (BT-52)")
    assert shown.notes[:3] == (
        "All reasons: missing particulars: 15.",
        "The first 6 of 15 teams are named.",
        "Cycles that are over and wait for their usage: 4.",
    )


def test_a_first_run_with_nothing_in_it() -> None:
    nothing = replace(
        SUMMARY,
        invoices=0,
        first_number="",
        last_number="",
        totals=(),
        largest=(),
        compared_with=None,
        changes=(),
        waiting=0,
        complete_through=None,
        parked=(),
        parked_reasons=(),
    )
    shown = show(nothing)
    assert (shown.tables, dict(shown.facts)["Numbers"]) == ((), "–")
    assert shown.notes == ("Usage is not known to be complete through any instant.",)


@pytest.mark.parametrize("locale", ["en", "de", "ja"])
def test_it_is_one_page_and_the_same_bytes_again(renderer: Renderer, locale: str) -> None:
    pdf = renderer.render_run_summary(SUMMARY, locale)
    assert len(PdfReader(BytesIO(pdf)).pages) == 1
    assert renderer.render_run_summary(SUMMARY, locale) == pdf
