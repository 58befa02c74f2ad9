"""Settings of mail; what is wrong there is said by file, table and key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from billing.core.errors import UsageError
from billing.core.mail_kinds import MailKind
from tests.settings.homes import read

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def test_mail_as_it_is_written(tmp_path: Path) -> None:
    assert read(tmp_path).mail is None
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


def test_every_kind_of_mail_may_be_off(tmp_path: Path) -> None:
    found = read(tmp_path, f"[mail]\nsince = 2026-01-01T00:00:00Z\noff = {[kind.value for kind in MailKind]}").mail
    assert found is not None and set(found.off) == set(MailKind)


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
    ],
)
def test_what_is_wrong_with_mail_is_told(tmp_path: Path, toml: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(tmp_path, toml)
