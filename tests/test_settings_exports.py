"""Settings of exports, accounts and services; what is wrong there is said by file, table and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.core.errors import UsageError
from billing.settings.settings import Settings


def test_accounts_exports_and_services_are_read(tmp_path: Path) -> None:
    (tmp_path / "billing.toml").write_text(
        """
        [accounts]
        receivable = "Assets:Debtors:{customer}"
        [accounts.usage]
        "a.b" = "Income:AB"
        [exports]
        location = "out"
        [focus]
        service_category = "Media"
        service_subcategory = "Content Creation"
        """,
        "utf-8",
    )
    found = Settings.read(tmp_path)
    assert found.accounts.of("receivable", customer="c1") == "Assets:Debtors:C1"
    assert found.accounts.of("usage", api="a.b", country="FR") == "Income:AB"
    assert found.exports is not None and found.exports.location == str(tmp_path / "out")
    assert found.service.subcategory == "Content Creation"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[accounts]\nreceivable = "assets:x"', "is an account like"),
        ('[accounts]\nreceivable = "Assets:{api}"', r"may name \{customer\} only"),
        ('[accounts]\nbank = "Assets:Receivable"', "are both Assets:Receivable"),
        ('[accounts.bank]\nx = "Assets:X"', "is one account"),
        ('[accounts.vat]\nFR = "Liabilities:{country}"', "is a whole name here"),
        ('[accounts]\nshelf = "Assets:X"', "is not a setting"),
        ('[exports]\nconnection = "x"', "'location' is missing"),
        ('[focus]\nservice_category = "Cloud"', "is one of AI and Machine Learning"),
        ('[focus]\nservice_category = "Media"', "goes with a service_subcategory of"),
    ],
)
def test_what_is_wrong_with_accounts_exports_and_services_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "billing.toml").write_text(text, "utf-8")
    with pytest.raises(UsageError, match=message):
        Settings.read(tmp_path)
