"""Addresses of mail: which ones can be written to, and why not.

Only what SMTP carries everywhere is taken: no quoted local parts, no literal domains. Letters beyond ASCII may be in
both parts: a domain then goes as IDNA, a local part needs a server that knows SMTPUTF8 (RFC 6531).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_LETTERS = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_LOCAL = re.compile(rf"{_LETTERS}(\.{_LETTERS})*")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_WITH_NAME = re.compile(r'\s*"?([^"<>]*?)"?\s*<([^<>]*)>\s*')
_LOCAL_BYTES_MAX, _ADDRESS_BYTES_MAX = 64, 254


@dataclass(frozen=True, kw_only=True, slots=True)
class Mailbox:
    """Where a mail goes to or comes from. ``name`` may be blank; ``domain`` is in ASCII."""

    local: str
    domain: str
    name: str = ""

    @property
    def address(self) -> str:
        """As SMTP takes it."""
        return f"{self.local}@{self.domain}"

    @property
    def needs_utf8(self) -> bool:
        """Whether only a server that knows SMTPUTF8 can carry it."""
        return not self.local.isascii()


def one_line(text: str) -> str:
    """A text without line breaks, control characters and repeated blanks: it can stand in a header."""
    plain = "".join(" " if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") else letter for letter in text)
    return " ".join(plain.split())


def parse_address(text: str, name: str = "") -> Mailbox:
    """One address as reference data has it. ``ValueError`` says what is wrong with it."""
    if not text.strip():
        raise ValueError("no address")
    local, at, domain = text.strip().rpartition("@")
    if not at or "@" in local:
        raise ValueError(f"{text!r} is not one address")
    if not _LOCAL.fullmatch(local) or not _is_printable(local) or len(local.encode()) > _LOCAL_BYTES_MAX:
        raise ValueError(f"{text!r} has no name before the @ that mail can carry")
    found = Mailbox(local=local, domain=_in_ascii(domain, text), name=one_line(name))
    if len(found.address.encode()) > _ADDRESS_BYTES_MAX:
        raise ValueError(f"{text!r} is longer than {_ADDRESS_BYTES_MAX} bytes")
    return found


def parse_mailbox(text: str) -> Mailbox:
    """An address alone, or with a name: ``Accounts <billing@example.com>``. ``ValueError`` says what is wrong."""
    match = _WITH_NAME.fullmatch(text)
    return parse_address(match[2], match[1]) if match else parse_address(text)


def _is_printable(text: str) -> bool:
    return all(unicodedata.category(letter)[0] not in "CZ" for letter in text)


def _in_ascii(domain: str, text: str) -> str:
    try:
        labels = domain.encode("idna").decode("ascii").lower().split(".")
    except UnicodeError:
        labels = [""]
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{text!r} has no domain that there can be")
    return ".".join(labels)
