"""A mail given to an SMTP server, so that it is always known whether it went: yes, surely not, or not known.

Nothing here tries anything twice. Connections are opened by whoever gives them (``connections.smtp``).
"""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from billing.core.errors import BillingError, SourceUnavailable
from billing.core.mail_addresses import one_line
from billing.outbound.mail_message import Mail, envelope

_SAID_MAX = 300


class NotSent(BillingError):
    """The mail surely did not go. ``code`` is the server's, 0 where the connection was lost."""

    def __init__(self, code: int, said: str) -> None:
        self.code, self.said = code, said
        super().__init__(f"{code} {said}" if code else said)

    @property
    def is_permanent(self) -> bool:
        """Whether the server says that another try would end the same."""
        return self.code >= 500


class MaybeSent(BillingError):
    """The message was given to the server, which never said what became of it."""


class CannotCarry(BillingError):
    """The server does not know how to carry this mail: an address is not ASCII."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """What the server said when it took a mail, and which recipients it did not take."""

    answer: str
    refused: tuple[str, ...]


class Outgoing:
    """One connection for many mails. A connection that broke is replaced before the next one, never within one."""

    def __init__(self, opened: Callable[[], smtplib.SMTP]) -> None:
        self._opened = opened
        self._client: smtplib.SMTP | None = None

    def ready(self) -> None:
        """See that there is a connection. Raises what ``connections.smtp`` raises."""
        if self._client is not None:
            with suppress(smtplib.SMTPException, OSError):
                if self._client.noop()[0] == 250:
                    return
            self.close()
        self._client = self._opened()

    def send(self, mail: Mail, message: bytes) -> Accepted:
        """Give a mail to the server; ``ready`` was called before. At least one of those whom it is for was taken, or it
        is not sent. Raises ``NotSent``, ``MaybeSent``, ``CannotCarry``.
        """
        if self._client is None:
            raise SourceUnavailable("There is no connection to the mail server. Run again.")
        try:
            refused = self._begin(self._client, mail)
        except (smtplib.SMTPException, OSError) as error:
            self._drop()
            raise NotSent(0, f"the connection was lost before the mail was given ({type(error).__name__})") from None
        try:
            self._client.send(_stuffed(message))
            code, said = self._client.getreply()
        except (smtplib.SMTPException, OSError) as error:
            self._drop()
            raise MaybeSent(f"the server did not say whether it took the mail ({type(error).__name__})") from None
        if 400 <= code < 600:
            self._reset()
            raise NotSent(code, _said(said))
        if not 200 <= code < 300:
            self._drop()
            raise MaybeSent(f"the server's answer is none that mail knows ({code} {_said(said)})")
        return Accepted(answer=f"{code} {_said(said)}", refused=refused)

    def close(self) -> None:
        """Take leave; what goes wrong with that changes nothing."""
        if self._client is not None:
            with suppress(smtplib.SMTPException, OSError):
                self._client.quit()
            self._drop()

    def _begin(self, client: smtplib.SMTP, mail: Mail) -> tuple[str, ...]:
        """Everything before the message itself; the recipients that the server did not take."""
        client.ehlo_or_helo_if_needed()
        if mail.needs_utf8 and not client.has_extn("smtputf8"):
            raise CannotCarry("the mail server does not carry addresses that are not ASCII (SMTPUTF8)")
        client.command_encoding = "utf-8" if mail.needs_utf8 else "ascii"
        sender, to, copies = envelope(mail)
        self._demand(client.mail(sender, ["SMTPUTF8"] if mail.needs_utf8 else []), 250)
        refused, last = _refused(client, [*to, *copies])
        if all(one in refused for one in to):
            self._reset()
            raise NotSent(*last)
        self._demand(client.docmd("DATA"), 354)
        return tuple(refused)

    def _demand(self, reply: tuple[int, bytes], wanted: int) -> None:
        code, said = reply
        if code == -1:
            raise smtplib.SMTPServerDisconnected("closed")
        if code != wanted:
            self._reset()
            raise NotSent(code, _said(said))

    def _reset(self) -> None:
        """Begin anew on this connection, or without it."""
        try:
            if self._client is not None:
                self._client.rset()
        except (smtplib.SMTPException, OSError):
            self._drop()

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None


def _refused(client: smtplib.SMTP, addresses: Sequence[str]) -> tuple[list[str], tuple[int, str]]:
    """The recipients that were refused, and what was said to the first of them."""
    refused: list[str] = []
    first = (0, "")
    for address in addresses:
        code, said = client.rcpt(address)
        if code == -1:
            raise smtplib.SMTPServerDisconnected("closed")
        if code not in (250, 251):
            refused.append(address)
            first = first if first[0] else (code, _said(said))
    return refused, first


def _stuffed(message: bytes) -> bytes:
    """As the wire has it: lines that begin with a dot get another, and a dot alone ends it."""
    lines = message.removesuffix(b"\r\n").split(b"\r\n")
    return b"".join(b"." * line.startswith(b".") + line + b"\r\n" for line in lines) + b".\r\n"


def _said(said: bytes) -> str:
    """The server's words as one short line."""
    return one_line(said.decode("utf-8", "replace"))[:_SAID_MAX]
