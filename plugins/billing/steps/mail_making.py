"""A mail of the outbox as it would go: to whom, from whom, in which words, with which stored files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from billing.core.errors import DataRefused, NotFound
from billing.core.frames import ByKey
from billing.core.mail_addresses import Mailbox, parse_address, parse_mailbox
from billing.core.mail_kinds import MailKind
from billing.documents.mails import MailTexts
from billing.outbound.mail_message import Attachment, Mail, as_bytes, attachment_name, message_id
from billing.steps.mail_issued import CII, kind_of, payload_of
from billing.steps.reference import reference_at
from billing.steps.render import read_issued
from billing.steps.run_summary import SUMMARY
from billing.store.documents import PDF, documents_of
from billing.store.home import Home
from billing.store.mailings import Mailing
from billing.store.reference_history import last_load

_LOCALE_OF_FINANCE = "en"
_ATTACHED: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    MailKind.INVOICE: ((PDF, ".pdf", "application/pdf"), (CII, ".xml", "application/xml")),
    MailKind.CREDIT_NOTE: ((PDF, ".pdf", "application/pdf"), (CII, ".xml", "application/xml")),
    MailKind.RUN_SUMMARY: ((SUMMARY, ".pdf", "application/pdf"),),
}
"""Kind of the document, suffix and media type. Reminders have none: a buyer's machine would take the XML of one for a
second invoice.
"""


class DescribedMail(Protocol):
    """What the settings say of mail; see ``MailSettings`` there."""

    @property
    def since(self) -> datetime: ...
    @property
    def connection(self) -> str: ...
    @property
    def sender(self) -> Mailbox | None: ...
    @property
    def reply_to(self) -> Mailbox | None: ...
    @property
    def finance(self) -> Sequence[Mailbox]: ...
    @property
    def copy_to(self) -> Sequence[Mailbox]: ...
    @property
    def xml(self) -> bool: ...
    @property
    def off(self) -> Sequence[str]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Undeliverable:
    """Why a mail has nobody to go to; ``address`` is what was found, blank where there is none."""

    address: str
    problem: str


class Maker:
    """Makes mails by what is known now: the newest reference data, the settings, the templates."""

    def __init__(self, home: Home, mail: DescribedMail | None, sender: str, templates: Path, theme: str) -> None:
        """``sender`` is the connection's own address, blank where it has none. ``DataRefused`` where nobody is known
        whom mails could be from.
        """
        with home.database.read() as connection:
            load_no = last_load(connection)
        if not load_no:
            raise DataRefused("There are no reference data yet, so there is nobody to write to: load them first.")
        reference = reference_at(home, load_no)
        self._home, self._mail = home, mail
        self._seller: Mapping[str, Any] = reference["seller"].to_dict("records")[0]  # type: ignore[assignment]
        self._customers = ByKey(reference["customers"], "customer_id")
        self._texts = MailTexts.open(templates, theme)
        self._sender = self._from(sender)

    def address_of(self, mailing: Mailing) -> str:
        """Where it would go, as the reference data or the settings have it; blank where there is nobody."""
        if not mailing.customer_id:
            return ", ".join(one.address for one in self._mail.finance) if self._mail else ""
        return str(self._customers.get(mailing.customer_id, {}).get("email", ""))

    def make(self, mailing: Mailing) -> Mail | Undeliverable:
        """Raises ``TemplateBroken`` where its words cannot be written, ``NotFound`` or ``ConservationBroken`` where a
        stored file is not there as it was.
        """
        to = self._recipients(mailing)
        if isinstance(to, Undeliverable):
            return to
        customer = self._customers.get(mailing.customer_id, {})
        seller, buyer = str(self._seller["legal_name"]), str(customer.get("legal_name", ""))
        locale = str(customer.get("locale", "")) if customer else _LOCALE_OF_FINANCE
        said = self._texts.write(mailing.kind, mailing.payload, locale=locale, seller=seller, buyer=buyer)
        return Mail(
            message_id=self._message_id(mailing),
            sender=self._sender,
            to=to,
            subject=said.subject,
            text=said.text,
            html=said.html,
            language=said.language,
            reply_to=self._mail.reply_to if self._mail else None,
            copies=tuple(self._mail.copy_to) if self._mail and mailing.customer_id else (),
            attachments=tuple(self._attachments(mailing)),
        )

    def _recipients(self, mailing: Mailing) -> tuple[Mailbox, ...] | Undeliverable:
        if not mailing.customer_id:
            to = tuple(self._mail.finance) if self._mail else ()
            return to or Undeliverable(address="", problem="[mail] of billing.toml names no address of finance")
        customer = self._customers.get(mailing.customer_id)
        if customer is None:
            gone = f"customer {mailing.customer_id} is not in the reference data any more"
            return Undeliverable(address="", problem=gone)
        address = str(customer["email"])
        try:
            return (parse_address(address, str(customer["legal_name"])),)
        except ValueError as error:
            return Undeliverable(address=address, problem=f"customer {mailing.customer_id}: {error}")

    def _from(self, of_connection: str) -> Mailbox:
        """The setting's, else the connection's, else the seller's own; under the seller's name where it has none."""
        if self._mail and self._mail.sender:
            found = self._mail.sender
        else:
            try:
                found = parse_mailbox(of_connection or str(self._seller["email"]))
            except ValueError as error:
                raise DataRefused(f"Nobody is known whom mails are from ({error}): set sender in [mail].") from None
        if found.name:
            return found
        return parse_address(found.address, str(self._seller["legal_name"]))

    def _message_id(self, mailing: Mailing) -> str:
        """The same however often it is tried; another where a person has sent again what had been sent."""
        seller = f"{self._seller['invoice_prefix']} {self._seller['vat_id']}"
        return message_id(seller, mailing.key, len(mailing.earlier), self._sender.domain)

    def _attachments(self, mailing: Mailing) -> list[Attachment]:
        wanted = _ATTACHED.get(mailing.kind, ())
        if not wanted:
            return []
        with self._home.database.read() as connection:
            there = {one.kind: one for one in documents_of(connection, mailing.subject_id)}
        if wanted[0][0] not in there:
            raise NotFound(f"{mailing.subject_id} has no document yet: run `billing invoices render`.")
        return [
            Attachment(
                name=attachment_name(mailing.subject_id, suffix),
                media_type=media_type,
                content=self._home.documents.read(there[kind].path, there[kind].sha256),
            )
            for kind, suffix, media_type in wanted
            if kind in there and (kind != CII or self._mail is None or self._mail.xml)
        ]


def preview_mail(
    home: Home, number: str, mail: DescribedMail | None, sender: str, templates: Path, theme: str
) -> bytes:
    """The mail that a buyer gets with an invoice or credit note, dated by its issue instant. Nothing is sent.

    ``NotFound`` for a number that was never issued or has no document, ``DataRefused`` where it cannot be delivered.
    """
    [issued] = read_issued(home, [number])
    kind = kind_of(issued)
    mailing = Mailing(
        key=f"{kind.value}:{number}",
        kind=kind.value,
        subject_id=number,
        customer_id=issued.customer.customer_id,
        payload=payload_of(issued),
        due=issued.issued_at,
        state="",
        attempts=0,
        recipient="",
        message_id="",
        claimed_at=None,
        ended_at=None,
        proof={},
    )
    made = Maker(home, mail, sender, templates, theme).make(mailing)
    if isinstance(made, Undeliverable):
        raise DataRefused(f"{number} cannot be mailed: {made.problem}.")
    return as_bytes(made, issued.issued_at)
