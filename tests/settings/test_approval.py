"""Settings of approval; what is wrong there is said by file, table and key."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from billing.core.approval import NEVER_ASKED, Policy, When
from billing.core.errors import UsageError
from billing.settings.approval import ApprovalSettings
from tests.settings.homes import read


def test_without_approval_nobody_is_asked(tmp_path: Path) -> None:
    assert read(tmp_path).approval == ApprovalSettings(policy=NEVER_ASKED)


def test_approval_is_read_with_exact_amounts(tmp_path: Path) -> None:
    toml = """
[approval]
when = "above"
invoice_above = { EUR = 10000, KWD = 0.105 }
close_above = { EUR = 250000.50 }
outlier_times = 20
outlier_cycles = 3
outlier_floor = { EUR = 10 }
approvers = ["ada", "7"]
within_hours = 0.5
mail = "finance@example.com"
"""
    found = read(tmp_path, toml).approval
    assert found.policy == Policy(
        when=When.ABOVE,
        invoice_above={"EUR": Decimal(10000), "KWD": Decimal("0.105")},
        close_above={"EUR": Decimal("250000.5")},
        outlier_times=20,
        outlier_cycles=3,
        outlier_floor={"EUR": Decimal(10)},
    )
    assert (found.approvers, found.within) == (("ada", "7"), timedelta(minutes=30))
    assert found.mail == "finance@example.com"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "'when' is one of never, above, always; it is missing"),
        ('when = "often"', "'when' is one of never, above, always, not 'often'"),
        ('when = "above"\ninvoice_above = 5', "'invoice_above' is a table"),
        ('when = "above"\ninvoice_above = { euro = 5 }', "'euro' is no currency"),
        ('when = "above"\nclose_above = { EUR = "five" }', "'EUR' is an amount from 0 on"),
        ('when = "above"\nclose_above = { EUR = -5 }', "'EUR' is an amount from 0 on"),
        ('when = "above"\noutlier_floor = { EUR = 0 }', "'EUR' is an amount from 1 on"),
        ('when = "above"\noutlier_times = 1', "'outlier_times' is a whole number from 2 on"),
        ('when = "above"\noutlier_cycles = 1.5', "'outlier_cycles' is a whole number from 1 on"),
        ('when = "always"\nwithin_hours = 0', "'within_hours' is a number above 0"),
        ('when = "always"\napprovers = "ada"', "'approvers' is a list of texts"),
        ('when = "always"\nwho = "ada"', "'who' is not a setting"),
    ],
)
def test_what_is_wrong_with_approval_is_said(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        read(tmp_path, f"[approval]\n{line}")
