"""Settings of alerts; what is wrong there is said by file, table and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from billing.core.alert_rules import AlertKind, AlertRules
from billing.core.errors import UsageError
from tests.settings.homes import read


def test_alerts_are_on_without_any_setting(tmp_path: Path) -> None:
    assert read(tmp_path).alerts == read(tmp_path, "[alerts]").alerts == AlertRules()


def test_alerts_are_told_when_the_file_says(tmp_path: Path) -> None:
    toml = """
        [alerts]
        low_percent = [5, 50]
        least_granted = 100
        ends_within_days = 14
        runs_out_within_days = 7
        free = true
        off = ["payment_missing"]
        mail = false
        mails_at_once_max = 10
    """
    assert read(tmp_path, toml).alerts == AlertRules(
        low_percent=(50, 5),
        least_granted_micro=100_000_000,
        ends_within_days=14,
        runs_out_within_days=7,
        free=True,
        off=frozenset({AlertKind.PAYMENT_MISSING}),
        mail=False,
        mails_at_once_max=10,
    )


@pytest.mark.parametrize(
    ("toml", "otherwise"),
    [
        ("[alerts]", set()),
        ("[payments]", {AlertKind.PAYMENT_EXPIRES}),
        ("[alerts]\n[payments]", {AlertKind.PAYMENT_EXPIRES}),
        ('[payments]\n[mail]\nsince = "2026-08-01T00:00:00Z"', {AlertKind.PAYMENT_EXPIRES}),
        ('[payments]\n[mail]\nsince = "2026-08-01T00:00:00Z"\noff = ["card_expiring"]', set()),
    ],
)
def test_one_mail_tells_that_a_card_expires(tmp_path: Path, toml: str, otherwise: set[AlertKind]) -> None:
    """The collecting of payments where it is set up and may; else the alert."""
    assert read(tmp_path, toml).alerts == AlertRules(told_otherwise=frozenset(otherwise))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("low_percent = 20", "'low_percent' is a list of whole numbers from 0 to 99"),
        ("low_percent = [0.2]", "'low_percent' is a list of whole numbers from 0 to 99"),
        ("least_granted = -1", "'least_granted' is a whole number from 0 on"),
        ("free = 1", "'free' is true or false"),
        ('off = ["lows"]', "'off' is a list of kinds of alerts; there are: unfunded, payment_missing"),
        ("lows = 1", "'lows' is not a setting; there are: low_percent"),
    ],
)
def test_wrong_settings_of_alerts_are_named(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{tmp_path / 'billing.toml'}: [alerts] {says}")):
        read(tmp_path, f"[alerts]\n{line}\n")
