"""Documents made again and compared with those that were kept: XML and PDF, by SHA-256 (rule 7.1)."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO

from pypdf import PdfReader
from sqlalchemy import select

from billing.core.errors import BillingError, DataRefused
from billing.core.model import Invoice
from billing.documents.e_invoice.syntaxes import Syntax
from billing.documents.errors import DocumentFailed
from billing.steps.audit.choosing import Cycles
from billing.steps.audit.comparing import Comparison, Verdict
from billing.steps.e_invoices import xml_of
from billing.steps.progress import Progress
from billing.steps.render import Rerenderer, read_issued
from billing.store import credit_notes
from billing.store.documents import PDF, Document, documents_of
from billing.store.home import Home
from billing.store.tables import invoices


def documents_again(home: Home, mine: Cycles, progress: Progress) -> Iterator[Comparison]:
    """Make every kept document of the cycles' invoices again, and of the credit notes to them."""
    placed = _numbers(home, mine)
    with home.database.read() as connection:
        kept: dict[str, list[Document]] = {}
        for document in documents_of(connection):
            if document.number in placed:
                kept.setdefault(document.number, []).append(document)
    numbers = list(kept)
    renderer = Rerenderer(home)
    for done, one in enumerate(read_issued(home, numbers)):
        progress("making documents again", done, len(numbers))
        team_id, start_us = placed[one.number]
        for document in kept[one.number]:
            for field, (again, verdict) in (
                ("file", _file(home, document)),
                ("sha256", _again(home, renderer, one, document)),
            ):
                yield Comparison(
                    what=document.kind,
                    team_id=team_id,
                    cycle_start_us=start_us,
                    key=one.number,
                    field=field,
                    stored=document.sha256,
                    again=again,
                    verdict=verdict,
                )
    progress("making documents again", len(numbers), len(numbers))


def _numbers(home: Home, mine: Cycles) -> dict[str, tuple[str, int]]:
    """The cycle of every invoice and credit note, in the order of their numbers."""
    with home.database.read() as connection:
        rows = connection.execute(select(invoices.c.number, invoices.c.team_id, invoices.c.cycle_start_us)).all()
        found = {row.number: (row.team_id, row.cycle_start_us) for row in rows}
        found = {number: cycle for number, cycle in found.items() if cycle in mine}
        notes = credit_notes.of_invoices(connection, list(found))
    found |= {note.number: found[number] for number, given in notes.items() for note in given}
    return dict(sorted(found.items()))


def _file(home: Home, document: Document) -> tuple[str, Verdict]:
    """The hash of the file that lies there, or what is wrong with it."""
    try:
        home.documents.read(document.path, document.sha256)
    except BillingError as problem:
        return str(problem), Verdict.DIFFERS
    return document.sha256, Verdict.EQUAL


def _again(home: Home, renderer: Rerenderer, one: Invoice, document: Document) -> tuple[str, Verdict]:
    """What a document is again: its hash, or why there is none; and the verdict."""
    if document.kind != PDF:
        xml = xml_of(one, Syntax(document.kind))
        return _verdict(document, sha256(xml or b"").hexdigest())
    try:
        again = renderer.render(one, document)
    except (DataRefused, DocumentFailed) as problem:
        return str(problem), Verdict.DIFFERS if isinstance(problem, DocumentFailed) else Verdict.RENDERER
    digest = sha256(again.pdf).hexdigest()
    if again.same or not again.differing:
        return _verdict(document, digest)
    said = f"{digest} ({'; '.join(again.differing)})"
    try:
        stored = home.documents.read(document.path, document.sha256)
    except BillingError:  # said of the file already
        return said, Verdict.RENDERER
    return said, Verdict.RENDERER if _text(stored) == _text(again.pdf) else Verdict.DIFFERS


def _verdict(document: Document, digest: str) -> tuple[str, Verdict]:
    return digest, Verdict.EQUAL if digest == document.sha256 else Verdict.DIFFERS


def _text(pdf: bytes) -> list[list[str]]:
    """The words of each page, in their order."""
    return [page.extract_text().split() for page in PdfReader(BytesIO(pdf)).pages]
