"""Section 5 of the rules: which balance pays, against loops of one unit and of 10^-6 at a time."""

from __future__ import annotations

import random
from collections import Counter
from copy import deepcopy
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.core.drawdown import (
    Balances,
    Demand,
    Draw,
    Drawn,
    FreeBalance,
    GrantBalance,
    Payg,
    draw_span,
    order_can_matter,
    use_capacity,
)
from billing.core.model import UNFUNDED, Kind

PAYG = Payg("p", 1_000_000, "EUR")
Sums = dict[Draw, tuple[int, int]]


def summed(drawn: list[Drawn]) -> Sums:
    """Units and tokens per draw."""
    units: Counter[Draw] = Counter()
    tokens: Counter[Draw] = Counter()
    for one in drawn:
        units[one.draw] += one.charged_units
        tokens[one.draw] += one.tokens_micro
    return {draw: (units[draw], tokens[draw]) for draw in units | tokens | dict.fromkeys(units, 0)}


def draw_one(demand: Demand, balances: Balances) -> list[Drawn]:
    """Rules 5.1 to 5.5 for one unit, as they are written."""
    for free in balances.free.get(demand.api, ()):
        if free.left:
            free.left -= 1
            period = free.period_start_us
            return [Drawn(Draw(demand.api, Kind.FREE, free.subscription_id, period_start_us=period), 1, 0)]
    for kind in (Kind.TOKEN_FLEX, Kind.FLEX):
        needed = demand.tokens_per_unit_micro
        pool = balances.pools.get(kind, ())
        if needed is None or sum(grant.left_micro for grant in pool) < needed:
            continue
        drawn: list[Drawn] = []
        for grant in pool:
            part = min(grant.left_micro, needed)
            if part:
                draw = Draw(demand.api, kind, grant.subscription_id, grant.grant_id)
                drawn.append(Drawn(draw, 0 if drawn else 1, part))
                grant.left_micro -= part
                grant.used_micro += part
                needed -= part
        return drawn
    payg = demand.payg
    if payg is None:
        return [Drawn(Draw(demand.api, UNFUNDED), 1, 0)]
    return [Drawn(Draw(demand.api, Kind.PAYG, payg.subscription_id, "", payg.unit_price_micro, payg.currency), 1, 0)]


def unit_by_unit(demands: list[Demand], balances: Balances) -> Sums:
    """Every unit of every demand, one after the other."""
    return summed([one for d in demands for _ in range(d.units) for one in draw_one(d, balances)])


def single_units(demands: list[Demand]) -> list[Demand]:
    """The same units, one demand each."""
    return [d._replace(units=1) for d in demands for _ in range(d.units)]


@st.composite
def spans(draw: st.DrawFn) -> tuple[list[Demand], Balances]:
    """Sums of up to three APIs, and balances that run out in the middle of things."""
    apis = draw(st.lists(st.sampled_from("abc"), unique=True, min_size=1))
    demands = []
    for api in apis:
        cost = draw(st.sampled_from([None, 1, 2, 3, 5]))
        # One API twice: late usage has a payer of its own (rule 5.1).
        payers = draw(st.sampled_from([[None], [PAYG], [PAYG], [None, PAYG]]))
        demands += [Demand(api, draw(st.integers(1, 6)), cost, payg) for payg in payers]
    free = {
        api: [FreeBalance(f"f{n}", n, left) for n, left in enumerate(draw(st.lists(st.integers(0, 4), max_size=2)))]
        for api in apis
    }
    pools = {
        kind: [
            GrantBalance(f"s-{kind}", f"{kind}{n}", left)
            for n, left in enumerate(draw(st.lists(st.sampled_from([0, 1, 2, 3, 4, 7, 30]), max_size=3)))
        ]
        for kind in (Kind.TOKEN_FLEX, Kind.FLEX)
    }
    return demands, Balances(free=free, pools=pools)


@given(spans())
@settings(max_examples=400)
def test_sums_are_drawn_like_units_one_by_one(span: tuple[list[Demand], Balances]) -> None:
    """Rules 5.1, 5.3: the closed form gives each grant the tokens and the units of the loop: a unit is counted on the
    grant that gave its first token, and is never over two kinds."""
    demands, balances = span
    loop = deepcopy(balances)
    assert summed(draw_span(demands, balances)) == unit_by_unit(demands, loop)
    assert balances == loop


@given(spans(), st.integers(0, 2**32))
@settings(max_examples=600)
def test_where_order_cannot_matter_it_does_not(span: tuple[list[Demand], Balances], seed: int) -> None:
    """Rule 1.4: where ``order_can_matter`` says no, the sums give what the events give in any order."""
    demands, balances = span
    if order_can_matter(demands, balances):
        return
    at_once = summed(draw_span(demands, deepcopy(balances)))
    units = single_units(demands)
    random.Random(seed).shuffle(units)
    assert summed(draw_span(units, deepcopy(balances))) == at_once
    assert unit_by_unit(units[::-1], balances) == at_once


def pool(*tokens: int) -> Balances:
    """Token flex grants g0, g1 ... with so many tokens left."""
    return Balances(pools={Kind.TOKEN_FLEX: [GrantBalance("t", f"g{n}", left) for n, left in enumerate(tokens)]})


def one_free_unit_of(api: str) -> Balances:
    """An allowance that is nearly used up."""
    return Balances(free={api: [FreeBalance("f", 0, 1)]})


@pytest.mark.parametrize(
    ("demands", "balances", "can"),
    [
        ([Demand("a", 9, 1, None)], pool(3, 3), False),
        ([Demand("a", 2, 1, None), Demand("b", 1, 2, None)], pool(4), False),
        ([Demand("a", 2, 1, None), Demand("b", 1, 2, None)], pool(3), True),
        ([Demand("a", 2, 1, None), Demand("b", 1, 2, None)], pool(3, 3), True),
        ([Demand("a", 2, 3, None), Demand("b", 1, 3, None)], pool(2), False),
        ([Demand("a", 2, None, None), Demand("b", 9, 3, None)], pool(20, 2), False),
        ([Demand("a", 1, 1, None), Demand("a", 1, 1, PAYG)], pool(1), True),
        ([Demand("a", 1, 1, None), Demand("b", 1, 1, None)], pool(), False),
        ([Demand("a", 3, 1, None), Demand("b", 1, 2, None), Demand("c", 1, 9, None)], pool(3), True),
        ([Demand("a", 1, None, None), Demand("a", 1, None, PAYG)], one_free_unit_of("a"), True),
    ],
)
def test_when_order_can_matter(demands: list[Demand], balances: Balances, can: bool) -> None:
    """Rule 5.3: two APIs on one pool that is short, or spread over grants; otherwise the sums decide, which is fast."""
    assert order_can_matter(demands, balances) is can


def test_order_does_matter_where_it_can() -> None:
    """Rule 5.3: first come, first served: an example in which each order gives another result."""
    demands = [Demand("a", 1, 1, PAYG), Demand("b", 1, 2, PAYG)]
    results = [summed(draw_span(order, pool(2))) for order in permutations(demands)]
    assert results[0] != results[1]


@given(spans())
def test_granted_is_used_and_left(span: tuple[list[Demand], Balances]) -> None:
    """Rule 8.1: granted = used + left for every grant, and draws say where each token and each free unit went."""
    demands, balances = span
    before = deepcopy(balances)
    sums = summed(draw_span(demands, balances))
    for kind in (Kind.TOKEN_FLEX, Kind.FLEX):
        for granted, now in zip(before.pools[kind], balances.pools[kind], strict=True):
            assert now.left_micro >= 0
            assert granted.left_micro == now.used_micro + now.left_micro
            assert now.used_micro == sum(t for draw, (_, t) in sums.items() if draw.grant_id == now.grant_id)
    free_before = sum(b.left for held in before.free.values() for b in held)
    free_now = sum(b.left for held in balances.free.values() for b in held)
    assert free_before - free_now == sum(units for draw, (units, _) in sums.items() if draw.source == Kind.FREE)


@given(spans())
def test_every_unit_has_one_payer(span: tuple[list[Demand], Balances]) -> None:
    """Rules 5.1, 5.5: all units of an API are drawn, once; those paid in tokens cost what they cost."""
    demands, balances = span
    sums = summed(draw_span(demands, balances))
    for demand in demands:
        mine = {draw: amounts for draw, amounts in sums.items() if draw.api == demand.api}
        assert sum(units for units, _ in mine.values()) == sum(d.units for d in demands if d.api == demand.api)
        for kind in (Kind.TOKEN_FLEX, Kind.FLEX):
            of_kind = [amounts for draw, amounts in mine.items() if draw.source == kind]
            assert sum(t for _, t in of_kind) == sum(u for u, _ in of_kind) * (demand.tokens_per_unit_micro or 0)


def paid(demands: list[Demand], balances: Balances) -> dict[tuple[str, str], tuple[int, int]]:
    """(api, grant or subscription or source) -> units, tokens."""
    sums = summed(draw_span(demands, balances))
    return {(d.api, d.grant_id or d.subscription_id or d.source): amounts for d, amounts in sums.items()}


def test_the_order_of_the_payers() -> None:
    """Rule 5.1: free, then token flex, then flex, then pay as you go."""
    balances = Balances(
        free={"a": [FreeBalance("f1", 0, 1), FreeBalance("f2", 0, 1)]},
        pools={Kind.FLEX: [GrantBalance("x", "gx", 2)], Kind.TOKEN_FLEX: [GrantBalance("t", "gt", 2)]},
    )
    expected = {("a", "f1"): (1, 0), ("a", "f2"): (1, 0), ("a", "gt"): (1, 2), ("a", "gx"): (1, 2), ("a", "p"): (3, 0)}
    assert paid([Demand("a", 7, 2, PAYG)], balances) == expected


def test_a_short_pool_is_passed_over_and_pays_for_a_cheaper_unit() -> None:
    """Rule 5.3: a pool with too few tokens for the dear unit still pays for the cheaper one, later."""
    demands = [Demand("dear", 1, 5, PAYG), Demand("cheap", 1, 3, PAYG)]
    assert paid(demands, pool(2, 2)) == {("dear", "p"): (1, 0), ("cheap", "g0"): (1, 2), ("cheap", "g1"): (0, 1)}


def test_a_unit_is_never_over_two_kinds() -> None:
    """Rule 5.3: two tokens of each kind do not pay for a unit of three."""
    balances = Balances(pools={Kind.TOKEN_FLEX: [GrantBalance("t", "gt", 2)], Kind.FLEX: [GrantBalance("x", "gx", 2)]})
    assert paid([Demand("a", 1, 3, None)], balances) == {("a", UNFUNDED): (1, 0)}
    assert balances.pools[Kind.TOKEN_FLEX][0].left_micro == 2


def test_a_unit_over_grants_counts_where_it_began() -> None:
    """Rule 5.3: 3 units of 2 tokens over grants of 3, 1 and 2: the second began on the first grant."""
    assert paid([Demand("a", 3, 2, None)], pool(3, 1, 2)) == {
        ("a", "g0"): (2, 3),
        ("a", "g1"): (0, 1),
        ("a", "g2"): (1, 2),
    }


def test_an_api_without_tokens_per_unit_is_not_paid_in_tokens() -> None:
    """Rule 5.3."""
    assert paid([Demand("a", 1, None, PAYG)], pool(100)) == {("a", "p"): (1, 0)}


def test_a_price_of_0_pays() -> None:
    """Rule 5.4."""
    (draw,) = summed(draw_span([Demand("a", 2, None, Payg("p", 0, "EUR"))], Balances()))
    assert draw == Draw("a", Kind.PAYG, "p", "", 0, "EUR")


def test_what_nothing_can_pay_for_is_unfunded() -> None:
    """Rule 5.5."""
    assert paid([Demand("a", 2, 1, None)], Balances()) == {("a", UNFUNDED): (2, 0)}


def test_an_allowance_of_another_api_pays_nothing() -> None:
    """Rule 5.2: units per API."""
    balances = Balances(free={"b": [FreeBalance("f", 0, 5)]})
    assert paid([Demand("a", 1, None, PAYG)], balances) == {("a", "p"): (1, 0)}


# Capacity


def step_by_step(quantities: list[int], grants: list[GrantBalance], credit: int) -> int:
    """Rule 5.6 in steps of 10^-6."""
    for quantity in quantities:
        for _ in range(abs(quantity)):
            if quantity > 0 and credit:
                credit -= 1
            elif quantity > 0 and (open_grants := [g for g in grants if g.left_micro]):
                open_grants[0].left_micro -= 1
                open_grants[0].used_micro += 1
            elif quantity < 0 and (used_grants := [g for g in grants if g.used_micro]):
                used_grants[0].left_micro += 1
                used_grants[0].used_micro -= 1
            elif quantity < 0:
                credit += 1
    return credit


@given(
    st.lists(st.integers(-12, 12), max_size=8),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=3),
    st.integers(0, 8),
)
def test_capacity_is_counted_like_steps_of_a_millionth(
    quantities: list[int], held: list[tuple[int, int]], credit: int
) -> None:
    """Rule 5.6: in the order of the grants; a correction gives back in the same order, the rest is a credit that later
    usage fills first; granted = used + left always."""
    grants = [GrantBalance("c", f"g{n}", left, used) for n, (left, used) in enumerate(held)]
    steps = deepcopy(grants)
    assert use_capacity(quantities, grants, credit) == step_by_step(quantities, steps, credit)
    assert grants == steps
    assert [(g.left_micro + g.used_micro) for g in grants] == [left + used for left, used in held]


@given(st.lists(st.integers(0, 12), max_size=8), st.lists(st.integers(0, 20), max_size=3), st.integers(0, 8))
def test_usage_without_corrections_may_be_summed(quantities: list[int], left: list[int], credit: int) -> None:
    """Rule 5.6: what rating relies on where nothing is corrected."""
    one = [GrantBalance("c", f"g{n}", each) for n, each in enumerate(left)]
    other = deepcopy(one)
    assert use_capacity(quantities, one, credit) == use_capacity([sum(quantities)], other, credit)
    assert one == other
