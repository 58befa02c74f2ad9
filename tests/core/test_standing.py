"""What a list of teams says of each: the least that is left, and what ends or refreshes first (rule 8.1)."""

from __future__ import annotations

import pytest

from billing.core.instants import DAY_US
from billing.core.reference import FOREVER_US
from billing.core.standing import BalanceState, Standing, StandingBalance


def balance(
    granted: int,
    left: int,
    *,
    source: str = "flex",
    api: str = "",
    ends: int | None = None,
    refreshes: int | None = None,
    state: BalanceState = BalanceState.VALID,
) -> StandingBalance:
    """Days from the instant at which the team stands so; None: never."""
    return StandingBalance(
        source=source,
        subscription_id="s",
        grant_id="" if source == "free" else f"g{ends}",
        api=api,
        state=state,
        begins_at_us=0,
        granted_micro=granted,
        used_micro=granted - left,
        available_micro=left,
        ends_at_us=FOREVER_US if ends is None else ends * DAY_US,
        refreshes_at_us=FOREVER_US if refreshes is None else refreshes * DAY_US,
    )


def standing(*balances: StandingBalance) -> Standing:
    return Standing(
        team_id="t",
        as_of_us=0,
        cycle=None,
        subscription_id="",
        currency="",
        spend_minor=0,
        unfunded_units=0,
        balances=balances,
        apis=(),
        changes_at_us=FOREVER_US,
    )


@pytest.mark.parametrize(
    ("balances", "least"),
    [
        ([balance(100, 0, ends=9), balance(100, 40, ends=20)], 200_000),
        ([balance(100, 0, ends=9), balance(100, 40, source="token_flex", ends=20)], 0),
        ([balance(30, 0, source="free", api="a"), balance(10, 10, source="free", api="b")], 0),
        ([balance(30, 0, source="free", api="a"), balance(10, 10, source="free", api="a")], 250_000),
        ([balance(100, 60, ends=9), balance(100, 0, ends=-1, state=BalanceState.EXPIRED)], 600_000),
        ([balance(0, 0, ends=9)], None),
        ([], None),
    ],
)
def test_the_least_left_is_of_what_pays_together(balances: list[StandingBalance], least: int | None) -> None:
    """Grants of one kind, and free units of one API, are one balance: what one of them has left is left."""
    assert standing(*balances).least_left_micro == least


@pytest.mark.parametrize(
    ("balances", "day"),
    [
        ([balance(100, 0, ends=9), balance(100, 1, ends=20)], 20),
        ([balance(100, 0, ends=9)], None),
        ([balance(30, 0, source="free", refreshes=2), balance(100, 1, ends=20)], 2),
        ([balance(30, 0, source="free", ends=5), balance(100, 1, ends=20)], 20),
        ([balance(30, 7, source="free", ends=5, refreshes=2)], 2),
        ([balance(100, 1)], None),
    ],
)
def test_a_grant_that_is_used_up_ends_nothing(balances: list[StandingBalance], day: int | None) -> None:
    """But free units that are used up come again."""
    assert standing(*balances).first_end_us == (None if day is None else day * DAY_US)
