"""A mail as it goes over the wire: text and HTML, attachments byte for byte, headers that nothing can be slipped into.

The same mail gives the same bytes, but for its date: also the boundaries between its parts are made from its id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from hashlib import sha256

from billing.core.mail_addresses import Mailbox, one_line


@dataclass(frozen=True, kw_only=True, slots=True)
class Attachment:
    """A file that goes along. ``media_type`` is like ``application/pdf``."""

    name: str
    media_type: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Of its bytes."""
        return sha256(self.content).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Mail:
    """All of a mail but its date. ``copies`` get it blind; ``message_id`` is in angle brackets."""

    message_id: str
    sender: Mailbox
    to: tuple[Mailbox, ...]
    subject: str
    text: str
    html: str
    language: str
    reply_to: Mailbox | None = None
    copies: tuple[Mailbox, ...] = ()
    attachments: tuple[Attachment, ...] = ()

    @property
    def needs_utf8(self) -> bool:
        """Whether only a server that knows SMTPUTF8 can carry it: an address in it is not ASCII."""
        others = (self.reply_to,) if self.reply_to else ()
        return any(one.needs_utf8 for one in (self.sender, *self.to, *self.copies, *others))


def message_id(seller: str, key: str, sending: int, domain: str) -> str:
    """The id of a mail: the same for the same key, seller and sending, so that it is known again wherever it went."""
    name = sha256("\n".join([seller, key, str(sending)]).encode()).hexdigest()[:40]
    return f"<{name}@{domain}>"


def as_bytes(mail: Mail, at: datetime) -> bytes:
    """The message, dated ``at``, with lines that end in CR LF."""
    policy = SMTPUTF8 if mail.needs_utf8 else SMTP
    message = EmailMessage(policy)
    message["From"] = _shown(mail.sender)
    message["To"] = tuple(_shown(one) for one in mail.to)
    if mail.reply_to:
        message["Reply-To"] = _shown(mail.reply_to)
    message["Subject"] = one_line(mail.subject)
    message["Date"] = format_datetime(at)
    message["Message-ID"] = mail.message_id
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "OOF, AutoReply"
    message.set_content(mail.text, cte="quoted-printable")
    message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
    for one in mail.attachments:
        kind, _, subtype = one.media_type.partition("/")
        message.add_attachment(one.content, maintype=kind, subtype=subtype, filename=one.name)
    message["Content-Language"] = mail.language  # last: what adds a part moves such headers into it
    _bound(message, mail.message_id)
    return message.as_bytes()


def attachment_name(number: str, suffix: str) -> str:
    """A file's name that every mail program and file system takes."""
    plain = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in number)
    return f"{plain.lstrip('.') or '_'}{suffix}"


def envelope(mail: Mail) -> tuple[str, Sequence[str], Sequence[str]]:
    """Who it is from, whom it is for, and who gets a copy, as SMTP takes them."""
    return mail.sender.address, [one.address for one in mail.to], [one.address for one in mail.copies]


def _shown(box: Mailbox) -> Address:
    return Address(display_name=box.name, username=box.local, domain=box.domain)


def _bound(message: EmailMessage, name: str) -> None:
    """Boundaries that are the same each time; no base64 or quoted-printable line can look like one."""
    for number, part in enumerate(part for part in message.walk() if part.is_multipart()):
        part.set_boundary(f"=_{number}_{sha256(name.encode()).hexdigest()[:32]}")
