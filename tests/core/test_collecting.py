"""Rule 6.5: when an attempt is made, what a charge covers, what goes back, what finance sees."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.core.collecting import (
    InvoiceState,
    Standing,
    Todo,
    Waiting,
    can_get_better,
    has_expired,
    joined,
    last_day,
    next_attempt,
    parse_expiry,
    refunds_due,
    shared,
    what_to_do,
)
from billing.core.payments import ChargeState, EventKind, Money

FIRST = datetime(2026, 8, 2, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = (1, 3, 5, 7)


def test_attempts_are_days_after_the_first_one() -> None:
    assert [next_attempt(DAYS, FIRST, n, FIRST + day * DAY) for n, day in ((1, 0), (2, 1), (3, 3), (4, 5), (5, 7))] == [
        *(FIRST + day * DAY for day in DAYS),
        None,
    ]


@given(late=st.integers(0, 400), attempts=st.integers(1, 4))
def test_a_pipeline_that_stood_still_does_not_make_up_for_it_at_once(late: int, attempts: int) -> None:
    """At least half of the distance to the attempt before is kept."""
    before = (0, *DAYS)[attempts - 1]
    now = FIRST + before * DAY + timedelta(hours=late)
    due = next_attempt(DAYS, FIRST, attempts, now)
    assert due is not None
    assert due - now >= (DAYS[attempts - 1] - before) * DAY / 2


@pytest.mark.parametrize(
    ("state", "due", "other", "todo"),
    [
        (ChargeState.OPEN, None, False, Todo.ATTEMPT),
        (ChargeState.BLOCKED, None, False, Todo.ATTEMPT),
        (ChargeState.DECLINED, FIRST, False, Todo.ATTEMPT),
        (ChargeState.DECLINED, FIRST + DAY, False, Todo.REST),
        (ChargeState.DECLINED, FIRST + DAY, True, Todo.REST),
        (ChargeState.DECLINED, None, False, Todo.LOOK),
        (ChargeState.DECLINED, None, True, Todo.ATTEMPT),
        (ChargeState.AUTHENTICATION_REQUIRED, None, False, Todo.LOOK),
        (ChargeState.AUTHENTICATION_REQUIRED, None, True, Todo.ATTEMPT),
        (ChargeState.PROCESSING, None, True, Todo.LOOK),
        (ChargeState.UNCOLLECTED, None, True, Todo.LOOK),
        (ChargeState.WAITING, None, False, Todo.REST),
        (ChargeState.PAID, None, True, Todo.REST),
        (ChargeState.CANCELLED, None, True, Todo.REST),
    ],
)
def test_what_may_be_attempted_when(state: ChargeState, due: datetime | None, other: bool, todo: Todo) -> None:
    assert what_to_do(state, next_attempt=due, now=FIRST, is_other_method=other) is todo


def test_some_declines_cannot_get_better() -> None:
    assert [can_get_better(code) for code in ("insufficient_funds", "lost_card", "expired_card", "")] == [
        *(True, False, False, True),
    ]


@pytest.mark.parametrize(
    ("text", "month"),
    [("2027-08", (2027, 8)), ("08/27", (2027, 8)), ("8/2027", (2027, 8)), ("", None), ("2027-13", None), ("x", None)],
)
def test_expiry_as_it_is_written(text: str, month: tuple[int, int] | None) -> None:
    assert parse_expiry(text) == month


def test_a_card_is_good_until_its_last_month_is_over() -> None:
    assert [has_expired((2026, 8), day) for day in (date(2026, 8, 31), date(2026, 9, 1))] == [False, True]
    assert not has_expired(None, date(2999, 1, 1))
    assert [last_day(month) for month in ((2026, 2), (2024, 2), (2026, 12))] == [
        *(date(2026, 2, 28), date(2024, 2, 29), date(2026, 12, 31)),
    ]


parts = st.lists(st.integers(1, 1000), min_size=1, max_size=5).map(
    lambda amounts: [(f"n{k}", amount) for k, amount in enumerate(amounts)]
)


@given(parts, st.integers(0, 6000))
def test_a_share_is_of_its_part_and_all_of_them_are_the_amount(of: list[tuple[str, int]], amount: int) -> None:
    shares = shared(amount, of)
    assert sum(shares.values()) == amount
    assert all(shares[number] <= part for number, part in of[:-1] if number in shares)
    assert amount > sum(part for _, part in of) or all(shares.get(number, 0) <= part for number, part in of)


notes = st.lists(st.integers(1, 300), max_size=4)


@given(notes, st.integers(0, 1000), st.sets(st.integers(0, 3)), st.integers(300, 1500))
def test_no_more_goes_back_than_is_held_beyond_what_is_owed(
    totals: list[int], held: int, done: set[int], total: int
) -> None:
    """And no more for a note than it says, once."""
    named = [(f"cn{k}", amount) for k, amount in enumerate(totals)]
    owed = total - sum(totals)
    due = refunds_due(held, owed, named, {f"cn{k}" for k in done})
    assert sum(amount for _, amount in due) <= max(0, held - owed)
    assert all(0 < amount <= dict(named)[number] and number not in {f"cn{k}" for k in done} for number, amount in due)
    if not done and held <= total:
        assert sum(amount for _, amount in due) == max(0, held - owed), "all that is owed to the buyer"


def test_a_note_from_before_the_money_takes_nothing_back() -> None:
    assert refunds_due(700, 500, [("before", 300), ("after", 200)], set()) == [("after", 200)]


events = st.lists(st.tuples(st.sampled_from(list(EventKind)), st.integers(1, 500)), max_size=8)


@given(events, st.randoms())
def test_any_order_of_events_gives_the_same(happened: list[tuple[EventKind, int]], random: object) -> None:
    mixed = list(happened)
    random.shuffle(mixed)  # type: ignore[attr-defined]

    def state(of: list[tuple[EventKind, int]]) -> InvoiceState:
        standing = Standing(total_minor=900, credited_minor=100, money=Money.of(of), charge=None, due=date(2026, 9, 1))
        return standing.state(date(2026, 9, 2))

    assert Money.of(mixed) == Money.of(happened)
    assert state(mixed) is state(happened)


@pytest.mark.parametrize(
    ("happened", "credited", "charge", "state"),
    [
        ([], 0, None, InvoiceState.OVERDUE),
        ([], 0, ChargeState.OPEN, InvoiceState.OPEN),
        ([(EventKind.RECEIVED, 900)], 0, ChargeState.PAID, InvoiceState.PAID),
        ([(EventKind.RECEIVED, 900)], 100, None, InvoiceState.OVERPAID),
        ([(EventKind.RECEIVED, 900), (EventKind.REFUNDED, 100)], 100, None, InvoiceState.PAID),
        (
            [(EventKind.RECEIVED, 900), (EventKind.REFUNDED, 100), (EventKind.REFUND_FAILED, 100)],
            *(100, None, InvoiceState.OVERPAID),
        ),
        ([(EventKind.RECEIVED, 900), (EventKind.DISPUTED, 900)], 0, ChargeState.PAID, InvoiceState.DISPUTED),
        (
            [(EventKind.RECEIVED, 900), (EventKind.DISPUTED, 900), (EventKind.DISPUTE_WON, 900)],
            *(0, ChargeState.PAID, InvoiceState.PAID),
        ),
        (
            [(EventKind.RECEIVED, 900), (EventKind.DISPUTED, 900), (EventKind.DISPUTE_LOST, 900)],
            *(0, ChargeState.PAID, InvoiceState.CHARGED_BACK),
        ),
        ([], 900, ChargeState.CANCELLED, InvoiceState.CREDITED),
        ([(EventKind.WRITTEN_OFF, 900)], 0, ChargeState.UNCOLLECTED, InvoiceState.WRITTEN_OFF),
        ([(EventKind.DECLINED, 900)], 0, ChargeState.DECLINED, InvoiceState.DECLINED),
        ([], 0, ChargeState.WAITING, InvoiceState.WAITING),
        ([], 0, ChargeState.PROCESSING, InvoiceState.PROCESSING),
        ([], 0, ChargeState.BLOCKED, InvoiceState.BLOCKED),
        ([], 0, ChargeState.AUTHENTICATION_REQUIRED, InvoiceState.AUTHENTICATION_REQUIRED),
        ([(EventKind.DECLINED, 900)], 0, ChargeState.UNCOLLECTED, InvoiceState.UNCOLLECTED),
    ],
)
def test_what_finance_sees(
    happened: list[tuple[EventKind, int]], credited: int, charge: ChargeState | None, state: InvoiceState
) -> None:
    standing = Standing(
        total_minor=900, credited_minor=credited, money=Money.of(happened), charge=charge, due=date(2026, 9, 1)
    )
    assert standing.state(date(2026, 9, 2)) is state


def test_a_part_is_seen_as_a_part_until_it_is_overdue() -> None:
    standing = Standing(
        total_minor=900,
        credited_minor=0,
        money=Money.of([(EventKind.RECEIVED, 1)]),
        charge=None,
        due=date(2026, 9, 1),
    )
    assert [standing.state(date(2026, 9, day)) for day in (1, 2)] == [InvoiceState.PARTLY_PAID, InvoiceState.OVERDUE]


def waiting(key: str, amount: int, group: str = "g", is_open: bool = False) -> Waiting:
    return Waiting(key=key, group=(group,), amount_minor=amount, is_open_there=is_open)


@pytest.mark.parametrize(
    ("charges", "found"),
    [
        ([waiting("a", 30), waiting("b", 30)], {}),
        ([waiting("a", 30), waiting("b", 80)], {"a": ["b"]}),
        ([waiting("a", 30), waiting("b", 80, "other")], {}),
        ([waiting("a", 100), waiting("b", 100)], {}),
        ([waiting("b", 80), waiting("a", 30, is_open=False), waiting("c", 30, is_open=True)], {"c": ["a", "b"]}),
        ([waiting("a", 30, is_open=True), waiting("b", 80, is_open=True)], {}),
    ],
)
def test_what_is_too_small_alone_is_taken_together(charges: list[Waiting], found: dict[str, list[str]]) -> None:
    """Of one customer, gateway, currency and method; what a gateway knows joins nothing."""
    assert joined(charges, {("g",): 100, ("other",): 100}) == found
    assert joined(charges[::-1], {("g",): 100, ("other",): 100}) == found
