"""Settings of accounts; what is wrong there is said by file, table and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.core.errors import UsageError
from tests.settings.homes import read


def test_accounts_are_read(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
        [accounts]
        receivable = "Assets:Debtors:{customer}"
        [accounts.usage]
        "a.b" = "Income:AB"
        """,
    ).accounts
    assert found.of("receivable", customer="c1") == "Assets:Debtors:C1"
    assert found.of("usage", api="a.b", country="FR") == "Income:AB"


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ('[accounts]\nreceivable = "assets:x"', "is an account like"),
        ('[accounts]\nreceivable = "Assets:{api}"', r"may name \{customer\} only"),
        ('[accounts]\nbank = "Assets:Receivable"', "are both Assets:Receivable"),
        ('[accounts.bank]\nx = "Assets:X"', "is one account"),
        ('[accounts.vat]\nFR = "Liabilities:{country}"', "is a whole name here"),
        ('[accounts]\nshelf = "Assets:X"', "is not a setting"),
    ],
)
def test_what_is_wrong_with_accounts_is_said(tmp_path: Path, toml: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(tmp_path, toml)
