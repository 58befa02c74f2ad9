"""``[mail]`` of ``billing.toml``: what is mailed, from whom, and by which connection.

In the file::

    [mail]                               # without it no mail is sent
    since = 2026-08-01T00:00:00Z         # nothing that was issued before is ever mailed
    connection = "smtp_default"          # an Airflow connection of the type smtp
    sender = "Example <bill@example.com>" # default: the connection's from_email, else the seller's address
    reply_to = "ap-desk@example.com"
    finance = ["finance@example.com"]    # run summaries, and what could not be delivered
    copy_to = "archive@example.com"      # a blind copy of all that goes to buyers
    xml = true                           # the e-invoice's XML beside the PDF, which has it inside too
    off = ["card_expiring"]              # kinds that are not sent
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from billing.core.mail_addresses import Mailbox
from billing.core.mail_kinds import MailKind
from billing.settings.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class MailSettings:
    """What is mailed, and by which SMTP connection. ``sender`` and ``reply_to`` are None where nothing was given.

    ``since``: nothing that was issued or due before it is ever sent. ``off``: kinds that are not sent.
    """

    since: datetime
    connection: str = "smtp_default"
    sender: Mailbox | None = None
    reply_to: Mailbox | None = None
    finance: tuple[Mailbox, ...] = ()
    copy_to: tuple[Mailbox, ...] = ()
    xml: bool = True
    off: tuple[str, ...] = ()


def read_mail(table: Table | None) -> MailSettings | None:
    """None without the table."""
    if table is None:
        return None
    table.only(("since", "connection", "sender", "reply_to", "finance", "copy_to", "xml", "off"))
    since = table.instant("since")
    if since is None:
        raise table.wrong("since", "is missing; nothing that was issued before this instant is ever mailed")
    sender, reply_to = table.mailboxes("sender"), table.mailboxes("reply_to")
    for key, found in (("sender", sender), ("reply_to", reply_to)):
        if len(found) > 1:
            raise table.wrong(key, "is one address")
    return MailSettings(
        since=since,
        connection=table.text("connection") or "smtp_default",
        sender=sender[0] if sender else None,
        reply_to=reply_to[0] if reply_to else None,
        finance=table.mailboxes("finance"),
        copy_to=table.mailboxes("copy_to"),
        xml=table.flag("xml", True),
        off=table.names("off", tuple(MailKind)),
    )
