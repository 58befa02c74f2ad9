"""An SMTP server on loopback that keeps what it was given and misbehaves as it is told to, and what leads to it."""

from __future__ import annotations

import json
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope

from billing.core.mail_addresses import parse_mailbox
from billing.settings.mail import MailSettings
from billing.steps.deliver_mail import Delivered, deliver_mail
from billing.steps.mail_issued import Outboxed, mail_issued
from billing.steps.render import stored_document
from billing.store import log
from billing.store.documents import write_document

from .small_world import TEMPLATES, Shop, instant

SINCE = instant("2026-07-01T00:00:00Z")


@dataclass
class Server:
    """``rcpt`` and ``data`` are answers by recipient; ``drop`` is where the connection is cut: rcpt, data, answer."""

    rcpt: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    drop: dict[str, str] = field(default_factory=dict)
    mails: list[tuple[list[str], EmailMessage, bytes]] = field(default_factory=list)
    before: Callable[[], None] = lambda: None
    port: int = 0

    async def handle_RCPT(
        self, server: SMTP, session: object, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.drop.get(address) == "rcpt":
            server.transport.abort()  # type: ignore[union-attr]
            return "421 gone"
        if answer := self.rcpt.get(address):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: object, envelope: Envelope) -> str:
        to = list(envelope.rcpt_tos)
        if answer := self.data.get(to[0]):
            return answer
        self.before()
        if self.drop.get(to[0]) == "data":  # everything came, nothing was kept
            server.transport.abort()  # type: ignore[union-attr]
            return "421 gone"
        content = bytes(envelope.content or b"")
        self.mails.append((to, message_from_bytes(content, _class=EmailMessage, policy=default), content))
        if self.drop.get(to[0]) == "answer":  # it was kept, and nobody is told
            server.transport.abort()  # type: ignore[union-attr]
        return "250 taken"

    def to(self, address: str) -> list[EmailMessage]:
        """What somebody got."""
        return [message for to, message, _ in self.mails if address in to]


class Served(Controller):
    """A server at a free port. ``utf8``: whether it carries addresses that are not ASCII."""

    def __init__(
        self, handler: Server, *, utf8: bool = True, tls: ssl.SSLContext | None = None, password: str = ""
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            handler.port = free.getsockname()[1]
        more: dict[str, object] = {"enable_SMTPUTF8": utf8}
        if tls is not None:
            more |= {"tls_context": tls, "require_starttls": True}
        if password:
            more |= {
                "authenticator": lambda server, session, envelope, mechanism, data: AuthResult(
                    success=data.password == password.encode(), handled=False
                ),
                "auth_require_tls": False,
                "auth_required": True,
            }
        super().__init__(handler, hostname="127.0.0.1", port=handler.port, **more)  # type: ignore[arg-type]


@contextmanager
def serving(handler: Server, **how: Any) -> Iterator[Server]:
    """The server at work; ``how`` as ``Served`` takes it."""
    served = Served(handler, **how)
    served.start()
    try:
        yield handler
    finally:
        served.stop()


@dataclass(frozen=True)
class Straight:
    """Connections without Airflow: what ``connections`` gives otherwise."""

    server: Server

    def smtp(self, conn_id: str, /) -> smtplib.SMTP:
        """To the server."""
        return smtplib.SMTP("127.0.0.1", self.server.port, timeout=10)

    def smtp_sender(self, conn_id: str, /) -> str:
        """As a connection has it."""
        return "billing@example.com"


def connection_to(port: int, **extra: object) -> str:
    """A connection of Airflow, as its environment has it."""
    plain = {"disable_ssl": True, "disable_tls": True, "from_email": "billing@example.com", "retry_limit": 0}
    return json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": plain | extra})


@dataclass
class Post:
    """A shop with a server to send to."""

    shop: Shop
    server: Server
    settings: MailSettings = field(default_factory=lambda: MailSettings(since=SINCE))

    def set(self, **changed: object) -> None:
        """Other settings."""
        self.settings = replace(self.settings, **changed)  # type: ignore[arg-type]

    def finance(self, *addresses: str) -> None:
        """Who is told."""
        self.set(finance=tuple(parse_mailbox(one) for one in addresses))

    def outbox(self, at: datetime) -> Outboxed:
        """Write what was issued into the outbox."""
        mail = self.settings
        return mail_issued(self.shop.home, since=mail.since, now=at, off=mail.off, finance=bool(mail.finance))

    def send(self, at: datetime) -> Delivered:
        """Send what is due."""
        return deliver_mail(self.shop.home, self.settings, Straight(self.server), TEMPLATES, "default", at)

    def run(self, at: datetime) -> Delivered:
        """Both."""
        self.outbox(at)
        return self.send(at)


def issue(shop: Shop, customers: tuple[str, ...]) -> None:
    """An invoice of July for each of the two teams."""
    shop.load(customers=customers)
    usage = ("e1,2026-07-05T00:00:00Z,a1,translate,3,,", "e2,2026-07-06T00:00:00Z,a2,translate,3,,")
    shop.ingest(*usage, now="08-02")
    shop.close("08-02")


def keep_document(shop: Shop, number: str) -> None:
    """A document that nobody rendered, kept as the renderer's are."""
    for kind, suffix in (("pdf", ".pdf"), ("cii", ".xml")):
        kept = shop.home.documents.put_bytes(f"{number} as {kind}\r\n.\r\n".encode(), suffix)
        with shop.home.database.exclusive("books") as connection:
            write_document(connection, number, kind, kept, "", {})
            told = {"number": number, "kind": kind, "sha256": kept.sha256, "bundle": ""}
            log.append(connection, instant("08-02"), "document", told)


def stored(shop: Shop, number: str, kind: str) -> bytes:
    """A document as it was kept."""
    return stored_document(shop.home, number, kind)


def attached(message: EmailMessage) -> dict[str, bytes]:
    """The files of a mail by name."""
    return {str(part.get_filename()): part.get_payload(decode=True) for part in message.iter_attachments()}  # type: ignore[misc]


def said(message: EmailMessage, kind: str = "plain") -> str:
    """The text of a mail, or its HTML."""
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content())
