"""FOCUS: shares of usage and of what was paid for tokens add up exactly; a missing cent is told."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.core.focus import (
    Charge,
    Grant,
    Metered,
    Payer,
    Period,
    purchase_charge,
    reconciles,
    shared_out,
    tax_charge,
    token_charge,
    unused_charge,
)
from billing.core.model import Kind
from billing.core.quantity import minor_digits, total

PAYER = Payer(seller="S", customer_id="c", customer="C", team_id="t", team="T")
PERIOD = Period(start_us=0, end_us=10, billing_start_us=0, billing_end_us=10)
API = Metered(api="a", name="A", usage_unit="job", charged_unit="job", takes_tokens=True)


@given(st.integers(-(10**18), 10**18), st.lists(st.integers(0, 10**9), min_size=1, max_size=8))
def test_parts_of_usage_add_up_to_the_whole(whole: int, weights: list[int]) -> None:
    parts = shared_out(whole, weights)
    assert sum(parts) == whole
    assert len(parts) == len(weights)
    assert all(not part for part, weight in zip(parts, weights, strict=True) if not weight) or not any(weights)


@given(
    st.sampled_from(["EUR", "JPY", "KWD"]),
    st.integers(1, 10**9),
    st.integers(1, 10**12),
    st.lists(st.integers(0, 10**11), max_size=6),
)
def test_over_a_grant_the_effective_cost_is_what_was_paid(
    currency: str, minor: int, granted: int, uses: list[int]
) -> None:
    """The rows of its use and of what expired add up to the purchase, to the minor unit."""
    amount = Decimal(minor).scaleb(-minor_digits(currency))
    grant = Grant(
        grant_id="g", subscription_id="s", kind=Kind.FLEX, granted_micro=granted, currency=currency, amount=amount
    )
    rows: list[Charge] = [purchase_charge(grant, payer=PAYER, period=PERIOD)]
    used = 0
    for tokens in uses:
        taken = min(tokens, granted - used)
        rows.append(
            token_charge(
                API,
                grant,
                payer=PAYER,
                period=PERIOD,
                charged_units=1,
                tokens_micro=taken,
                used_before_micro=used,
                consumed_micro=0,
            )
        )
        used += taken
    rows.append(unused_charge(grant, payer=PAYER, period=PERIOD, used_micro=used))
    digits = minor_digits(currency)
    assert total((row.effective for row in rows), digits) == total((row.billed for row in rows), digits) == amount
    for row in rows:
        assert row.priced == row.unit_price * row.pricing_quantity  # type: ignore[operator]


def test_a_cent_that_is_missing_is_told() -> None:
    row = tax_charge(
        payer=PAYER,
        period=PERIOD,
        currency="EUR",
        number="I-1",
        about="",
        is_correction=False,
        tax_category="S",
        tax_percent=Decimal(20),
        tax=Decimal("0.46"),
    )
    assert reconciles([row], {"I-1": Decimal("0.46")}) == []
    assert [one.file for one in reconciles([row], {"I-1": Decimal("0.47"), "I-2": Decimal("1.00")})] == ["I-1", "I-2"]
