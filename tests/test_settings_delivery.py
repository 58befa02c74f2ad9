"""Settings of mail, copies of documents, and notifiers; what is wrong there is said by file, table and key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from billing.core.errors import UsageError
from billing.settings.settings import Settings

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def read(home: Path, toml: str = "") -> Settings:
    (home / "billing.toml").write_text(toml, "utf-8")
    return Settings.read(home)


def test_mail_as_it_is_written(tmp_path: Path) -> None:
    assert read(tmp_path).mail is None and read(tmp_path).files is None and read(tmp_path).notify == ()
    found = read(
        tmp_path,
        """[mail]
        since = 2026-01-01T00:00:00Z
        sender = "Example <bill@example.com>"
        finance = ["a@example.com", "B <b@example.com>"]
        copy_to = "archive@example.com"
        xml = false
        off = ["card_expiring"]
        """,
    ).mail
    assert found is not None
    assert (found.since, found.connection, found.xml, found.off) == (
        NEW_YEAR,
        "smtp_default",
        False,
        ("card_expiring",),
    )
    assert found.sender is not None and (found.sender.name, found.sender.address) == ("Example", "bill@example.com")
    assert [one.address for one in found.finance] == ["a@example.com", "b@example.com"]
    assert [one.address for one in found.copy_to] == ["archive@example.com"] and found.reply_to is None


def test_the_kinds_are_those_of_the_outbox() -> None:
    from billing.settings.mail import MAIL_KINDS
    from billing.store.mailings import MailKind

    assert set(MAIL_KINDS) == {kind.value for kind in MailKind}


def test_files_and_notifiers_as_they_are_written(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """[files]
        location = "out"
        [[notify]]
        notifier = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
        on = "failure"
        arguments = { to = "a@example.com" }
        [[notify]]
        notifier = "my_company.Pager"
        [[notify]]
        notifier = "my_company.Pager"
        on = ["alerts"]
        """,
    )
    assert found.files is not None
    assert (found.files.location, found.files.connection) == (str(tmp_path / "out"), "")
    assert found.files.layout.pattern == "{year}/{customer_id}/{number}.{kind}"
    first, second, third = found.notify
    assert (first.on, dict(first.arguments)) == (("failure",), {"to": "a@example.com"})
    assert (second.notifier, second.on) == ("my_company.Pager", ("success", "failure"))
    assert third.on == ("alerts",), "of alerts only where they are named"


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[mail]", r"\[mail\] 'since' is missing"),
        ("[mail]\nsince = 2026-01-01", r"\[mail\] 'since' is an instant"),
        (
            '[mail]\nsince = 2026-01-01T00:00:00Z\nfinance = "a"',
            r"'finance' is an address of mail.*'a' is not one address",
        ),
        ("[mail]\nsince = 2026-01-01T00:00:00Z\nxml = 1", r"'xml' is true or false"),
        ('[mail]\nsince = 2026-01-01T00:00:00Z\noff = ["x"]', r"'off' has 'x'; there are: invoice"),
        ('[mail]\nsince = 2026-01-01T00:00:00Z\nsender = ["a@b.c", "d@e.f"]', r"'sender' is one address"),
        ('[mail]\nsince = 2026-01-01T00:00:00Z\npassword = "x"', r"'password' is not a setting"),
        ("[files]", r"\[files\] 'location' is missing"),
        ('[files]\nlocation = "out"\nlayout = "../{number}.{kind}"', r"'layout' is relative"),
        ('[files]\nlocation = "s3://k:secret@b"', r"holds a password"),
        ('[[notify]]\nnotifier = "x"', r"\[notify, 1\] 'notifier' is the path of a class"),
        ('[[notify]]\nnotifier = "x.Y"\narguments = { password = "p" }', r"'arguments.password' holds a secret"),
        ('[notify]\nnotifier = "x.Y"', r"write each as \[\[notify\]\]"),
    ],
)
def test_what_is_wrong_with_delivery_is_told(tmp_path: Path, toml: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(tmp_path, toml)
