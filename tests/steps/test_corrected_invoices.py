"""What else a corrected invoice must not disturb: what its close did, and what late reference data say (rule 6.4)."""

from __future__ import annotations

from typing import Any

import pytest

from billing.steps.close import invoice_numbers, issue
from billing.steps.credit import credit
from billing.steps.reissue import reissue

from .small_world import ALWAYS, REFERENCE, Shop, instant

GIVEN_BACK, STANDS = "INV-2026-000001", "INV-2026-000002"


@pytest.fixture
def corrected(shop: Shop) -> Shop:
    """July of t1, invoiced, given back whole, and issued anew."""
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", now="08-02")
    assert shop.close("08-02").invoices == (GIVEN_BACK,)
    credit(shop.home, GIVEN_BACK, reason="Wrong address", as_of=instant("08-03"))
    assert reissue(shop.home, GIVEN_BACK, as_of=instant("08-03")).number == STANDS
    return shop


def test_rule_6_4_a_close_that_is_run_again_did_what_it_had_done(corrected: Shop) -> None:
    assert issue(corrected.home, 1) == invoice_numbers(corrected.home, 1) == (GIVEN_BACK,)


@pytest.mark.parametrize(
    "late",
    [
        {"tax_rates": ["FR,2000-01-01,21", "DE,2000-01-01,19"]},
        {"unit_prices": [f"render,EUR,{ALWAYS},1.25", REFERENCE["unit_prices"][1]]},
    ],
)
def test_rule_3_6_late_data_are_told_of_the_invoice_that_stands(corrected: Shop, late: dict[str, Any]) -> None:
    """What was given back whole can be wrong no more."""
    (row,) = corrected.load(**late).late
    assert row.invoices == (STANDS,)
    assert [figure.what.partition(":")[0].partition(",")[0] for figure in row.figures] == [STANDS]
