"""Settings of payments: gateways, and how money is collected; what is wrong there is said by file, table and key."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from billing.core.collecting import CollectingRules
from billing.core.errors import UsageError
from billing.settings.payments import GatewaySettings, PaymentSettings
from tests.settings.homes import read, refusal

STRIPE = '[payments.gateways.stripe]\nkind = "stripe"\nconnection = "stripe_key"\n'


def test_without_a_table_there_is_no_gateway(tmp_path: Path) -> None:
    assert read(tmp_path).payments == PaymentSettings()
    assert read(tmp_path, "[payments.gateways]").payments == PaymentSettings(is_set_up=True)


def test_gateways_are_what_their_tables_say_in_the_order_of_their_names(tmp_path: Path) -> None:
    toml = (
        STRIPE
        + '[payments.gateways.old]\nkind = "stripe"\nconnection = "c"\nlabel = "acme-2"\n'
        + 'minimum = { EUR = "1.00", JPY = "100", KWD = "0.150" }'
    )
    old, stripe = read(tmp_path, toml).payments.gateways
    assert stripe == GatewaySettings(name="stripe", kind="stripe", connection="stripe_key", label="stripe")
    assert (old.name, old.connection, old.label) == ("old", "c", "acme-2")
    assert old.minimum == {"EUR": Decimal("1.00"), "JPY": Decimal(100), "KWD": Decimal("0.150")}


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[payments]\ngateway = 1", "[payments] 'gateway' is not a setting; there are: gateways"),
        ("[payments]\ngateways = 1", "[payments] 'gateways' is a table; write it as [payments.gateways]."),
        ('[payments.gateways."a b"]', "[payments.gateways] 'a b' is no name of a gateway"),
        ("[payments.gateways.manual]", "[payments.gateways] 'manual' is the name of bank transfers"),
        ("[payments.gateways.a]", "[payments.gateways.a] 'kind' is one of stripe; it is missing."),
        ('[payments.gateways.a]\nkind = "x"', "[payments.gateways.a] 'kind' is one of stripe, not 'x'."),
        (
            '[payments.gateways.a]\nkind = "stripe"',
            "[payments.gateways.a] 'connection' is missing; name an Airflow connection",
        ),
        (STRIPE + "url = 1", "[payments.gateways.stripe] 'url' is not a setting; there are: kind, connection, label"),
        (STRIPE + 'label = "a b"', "[payments.gateways.stripe] 'label' is no label"),
        (STRIPE + 'api_key = "hush"', "[payments.gateways.stripe] 'api_key' holds a secret; define an Airflow"),
        (STRIPE + 'secret = "hush"', "[payments.gateways.stripe] 'secret' holds a secret; define an Airflow"),
        (STRIPE + 'label = "sk_live_hush"', "[payments.gateways.stripe] 'label' holds a secret; define an Airflow"),
        (
            '[payments.gateways.a]\nkind = "stripe"\nconnection = "rk_test_hush"',
            "[payments.gateways.a] 'connection' holds a secret; define an Airflow connection",
        ),
        (STRIPE + "minimum = 1", "[payments.gateways.stripe] 'minimum' is a table"),
        (STRIPE + 'minimum = { eur = "1" }', "[payments.gateways.stripe.minimum] 'eur' is no currency"),
        (STRIPE + "minimum = { EUR = true }", "[payments.gateways.stripe.minimum] 'EUR' is a number"),
        (
            STRIPE + 'minimum = { EUR = "0.505" }',
            "[payments.gateways.stripe.minimum] 'EUR' is an amount from 0 on, with at most 2 decimals.",
        ),
        (STRIPE + "minimum = { JPY = 50.5 }", "[payments.gateways.stripe.minimum] 'JPY' is an amount from 0 on"),
        (STRIPE + 'minimum = { EUR = "-1" }', "[payments.gateways.stripe.minimum] 'EUR' is an amount from 0 on"),
    ],
)
def test_what_is_wrong_with_a_gateway_is_said_and_never_a_secret(tmp_path: Path, toml: str, says: str) -> None:
    assert refusal(tmp_path, toml).startswith(says)


def test_rules_of_collecting_and_their_defaults(tmp_path: Path) -> None:
    assert read(tmp_path).payments.rules == CollectingRules()
    toml = "[payments]\nretry_after_days = [2, 4]\nat_once = 1\nsince = 2026-08-01\nignore_foreign_charges = true\n"
    assert read(tmp_path, toml).payments.rules == CollectingRules(
        retry_after_days=(2, 4), at_once=1, since=date(2026, 8, 1), ignore_foreign_charges=True
    )


def test_at_most_ten_charges_are_worked_on_at_once(tmp_path: Path) -> None:
    assert read(tmp_path, "[payments]\nat_once = 10").payments.rules.at_once == 10
    said = refusal(tmp_path, "[payments]\nat_once = 1000")
    assert said.startswith("[payments] 'at_once' is at most 10, not 1000") and said.endswith("write a smaller number.")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("retry_after_days = [3, 1]", "'retry_after_days' is a list of whole days from 1 on"),
        ("retry_after_days = [0]", "'retry_after_days' is a list of whole days from 1 on"),
        ("overdue_mail_days = 3", "'overdue_mail_days' is a list of whole days from 1 on"),
        ("at_once = 0", "'at_once' is a whole number from 1 on"),
        ("at_once = 1.5", "'at_once' is a whole number from 1 on"),
        ("at_once = 11", "'at_once' is at most 10, not 11: each charge that is worked on takes one"),
        ("ignore_foreign_charges = 1", "'ignore_foreign_charges' is true or false"),
        ("since = 2026-08-01T00:00:00Z", "'since' is a date"),
        ("retries = 3", "'retries' is not a setting"),
    ],
)
def test_what_is_wrong_with_the_rules_of_collecting_is_said(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"[payments] {said}")):
        read(tmp_path, f"[payments]\n{line}\n")
