"""The conservation laws: silent on honest books, loud on each kind of tampering."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from billing.core.checks import carry_moves_on, demand, invoices_match_draws, units_are_drawn_once, usage_is_conserved
from billing.core.errors import ConservationBroken, Finding
from billing.core.invoicing import Buyers, DraftInvoice, draft_invoices
from billing.core.rating import Rated

from .small_reference import SmallReference, usage

SIZES = {"a": 20_000_000, "b": 1_000_000}


def small() -> SmallReference:
    """One free unit, then pay as you go; a capacity resource beside."""
    result = SmallReference()
    result.api("a", size="20", price="2")
    result.api("b", price="1")
    result.api("assets", size="", billing="capacity")
    result.free("f", "2026-01-01T00:00:00Z", {"a": 1})
    result.bought("p", "payg", "2026-01-01T00:00:00Z")
    result.bought("c", "capacity", "2026-01-01T00:00:00Z")
    result.capacity("k", "c", "assets", "5", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z")
    result.add("tax_rates", country="FR", valid_from="2000-01-01", percent="20")
    return result


def books() -> tuple[Rated, list[DraftInvoice]]:
    """Two cycles of honest books."""
    reference = small()
    plan = reference.plan(2)
    events = usage(
        ("1", "a", "2026-01-05T00:00:00Z", "50"),
        ("2", "b", "2026-01-06T00:00:00Z", "3.5"),
        ("3", "a", "2026-02-06T00:00:00Z", "75"),
        ("4", "assets", "2026-02-06T00:00:00Z", "7"),
    )
    rated = reference.rated(events, plan)
    cycles = {("t1", c.start_us): c for c in plan.cycles}
    drafts, troubles = draft_invoices(rated.draws, cycles, Buyers.from_reference(reference.frames()))
    assert troubles == []
    return rated, drafts


def findings(rated: Rated, drafts: list[DraftInvoice]) -> list[list[Finding]]:
    """What each law says."""
    return [
        units_are_drawn_once(rated),
        carry_moves_on(rated),
        usage_is_conserved(rated, frozenset(), SIZES),
        invoices_match_draws(rated, drafts),
    ]


def plus_one(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """One row changed by one."""
    changed = frame.copy()
    row = changed.index[changed["api"] == "a"][-1]
    changed.loc[row, column] += 1
    return changed


TAMPERINGS: dict[str, tuple[Callable[[Rated], Rated], set[int]]] = {
    "a unit charged and not drawn": (lambda r: replace(r, carry=plus_one(r.carry, "charged_units")), {0, 2}),
    "a unit drawn and not charged": (lambda r: replace(r, draws=plus_one(r.draws, "charged_units")), {0, 3}),
    "all draws lost": (lambda r: replace(r, draws=r.draws.iloc[:0]), {0, 3}),
    "a cycle opens with more": (lambda r: replace(r, carry=plus_one(r.carry, "opening_micro")), {1, 2}),
    "usage from nowhere": (lambda r: replace(r, carry=plus_one(r.carry, "usage_micro")), {2}),
    "something is left over": (lambda r: replace(r, carry=plus_one(r.carry, "closing_micro")), {2}),
}


def test_honest_books_pass() -> None:
    """Rules 4.2, 4.4, 5.1, 6.1: and there is something to check."""
    rated, drafts = books()
    assert len(rated.carry) == 5
    assert sum(len(draft.lines) for draft in drafts) == 3
    assert findings(rated, drafts) == [[], [], [], []]


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found(name: str) -> None:
    """Rules 4.2, 4.4, 5.1, 6.1: each by the laws that it breaks, and by no other."""
    tamper, broken = TAMPERINGS[name]
    rated, drafts = books()
    assert {law for law, found in enumerate(findings(tamper(rated), drafts)) if found} == broken


def test_a_lost_invoice_is_found() -> None:
    """Rule 6.1: what pay as you go paid for is invoiced."""
    rated, drafts = books()
    assert invoices_match_draws(rated, drafts[1:]) != []


def test_an_api_whose_size_changed_is_left_to_the_metering() -> None:
    """Rule 4.4: the law holds per unit size in force."""
    rated, _ = books()
    wrong = SIZES | {"a": 1}
    assert usage_is_conserved(rated, frozenset(), wrong) != []
    assert usage_is_conserved(rated, frozenset({"a"}), wrong) == []


def test_a_broken_law_stops_everything() -> None:
    """Habit 7: checked before a write, by a named error that says what is wrong."""
    demand([])
    with pytest.raises(ConservationBroken, match="draws: t1: 1 unit too many"):
        demand([Finding(file="draws", message="t1: 1 unit too many")])
