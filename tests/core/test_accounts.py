"""Accounts of the journal: names that beancount takes, whatever ids hold, and no two ids in one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.core.accounts import DEFAULTS, PLACES, Accounts, component, demand_pattern

BEANCOUNT = re.compile(r"(?:Assets|Liabilities|Equity|Income|Expenses)(?::[A-Z0-9][A-Za-z0-9-]*)+")
IDS = [
    "render",
    "Render",
    "RENDER",
    "FR",
    "fr",
    "flow_graph",
    "flow-graph",
    "flow__graph",
    "",
    " ",
    "=1+1",
    "ﬀ",
    "x" * 99,
]


@pytest.mark.parametrize(
    ("text", "name"), [("render", "Render"), ("flow_graph", "Flow-graph"), ("FR", "FR"), ("stripe", "Stripe")]
)
def test_plain_ids_keep_their_letters(text: str, name: str) -> None:
    assert component(text) == name


@given(st.lists(st.one_of(st.text(), st.sampled_from(IDS)), unique=True))
def test_no_two_ids_give_one_account(ids: list[str]) -> None:
    assert len({component(text) for text in ids}) == len(ids)


@given(st.one_of(st.text(), st.sampled_from(IDS)))
def test_whatever_an_id_holds_its_account_is_one_of_beancount(text: str) -> None:
    for role, places in PLACES.items():
        assert BEANCOUNT.fullmatch(Accounts().of(role, **dict.fromkeys((*places, "kind"), text))), role


def test_the_defaults_are_patterns() -> None:
    for role, pattern in DEFAULTS.items():
        demand_pattern(role, pattern)


@pytest.mark.parametrize(
    ("role", "pattern"),
    [
        ("receivable", "assets:Receivable"),
        ("receivable", "Assets"),
        ("receivable", "Assets:Receivable:{api}"),
        ("usage", "Income:{api!r}"),
        ("usage", "Income:{api"),
        ("usage", "Income:{}"),
        ("vat", "Liabilities:V A T"),
        ("bank", 'Assets:Bank"\n'),
    ],
)
def test_what_is_no_account_is_refused(role: str, pattern: str) -> None:
    with pytest.raises(ValueError):
        demand_pattern(role, pattern)


def test_an_api_may_have_an_account_of_its_own() -> None:
    accounts = Accounts(overrides={("usage", "render"): "Income:Rendering"})
    assert accounts.of("usage", api="render", country="FR") == "Income:Rendering"
    assert accounts.of("usage", api="translate", country="FR") == "Income:Usage:Translate"
