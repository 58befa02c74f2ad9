"""Settings of notifiers; what is wrong there is said by file, table and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.core.errors import UsageError
from tests.settings.homes import read


def test_notifiers_as_they_are_written(tmp_path: Path) -> None:
    assert read(tmp_path).notify == ()
    first, second, third = read(
        tmp_path,
        """[[notify]]
        notifier = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
        on = "failure"
        arguments = { to = "a@example.com" }
        [[notify]]
        notifier = "my_company.Pager"
        [[notify]]
        notifier = "my_company.Pager"
        on = ["alerts"]
        """,
    ).notify
    assert (first.on, dict(first.arguments)) == (("failure",), {"to": "a@example.com"})
    assert (second.notifier, second.on) == ("my_company.Pager", ("success", "failure"))
    assert third.on == ("alerts",), "of alerts only where they are named"


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ('[[notify]]\nnotifier = "x"', r"\[notify, 1\] 'notifier' is the path of a class"),
        ('[[notify]]\nnotifier = "x.Y"\narguments = { password = "p" }', r"'arguments.password' holds a secret"),
        ('[notify]\nnotifier = "x.Y"', r"write each as \[\[notify\]\]"),
    ],
)
def test_what_is_wrong_with_a_notifier_is_told(tmp_path: Path, toml: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(tmp_path, toml)
