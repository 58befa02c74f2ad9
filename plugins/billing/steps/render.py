"""Issued invoices and credit notes as documents: a PDF with its XML inside, and the XML beside it.

Written once, with the hash-named bundle that they were made with (rule 7.1); made again from that bundle at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from sqlalchemy import Connection, select

from billing.core.errors import DataRefused, NotFound
from billing.core.model import Invoice
from billing.documents.e_invoice.syntaxes import Syntax
from billing.documents.e_invoice.writing import versions as xml_versions
from billing.documents.errors import DocumentFailed, TemplateBroken
from billing.documents.renderer import Renderer
from billing.documents.sample import sample_invoice
from billing.steps import commit_points
from billing.steps.credit import read_credit_notes, unrendered_credit_notes
from billing.steps.e_invoices import findings, xml_of
from billing.steps.invoices import read_invoices
from billing.steps.progress import Progress, silent
from billing.store import log
from billing.store.documents import PDF, Document, documents_of, files_of_bundle, own_document, write_document
from billing.store.files import Stored
from billing.store.home import Home
from billing.store.tables import credit_notes, documents, invoices

CII, UBL = Syntax.CII.value, Syntax.UBL.value
DEFAULT_THEME = "default"
_READ_AT_ONCE = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderSummary:
    """What was rendered; ``failed`` are numbers with what kept them from having a document. They keep their number."""

    rendered: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """A document made again from the bundle that it was made with. ``differing`` names the recorded versions that are
    others here, as ``name: recorded -> here``; where there are none the bytes must be the same (rule 7.1).
    """

    number: str
    pdf: bytes
    same: bool
    differing: tuple[str, ...]


def unrendered(home: Home, close_no: int | None = None) -> list[str]:
    """Numbers of what was issued and has no document yet, in order: invoices of one close, or all, and credit notes."""
    with home.database.read() as connection:
        query = (
            select(invoices.c.number)
            .outerjoin(documents, own_document(invoices.c.number, PDF))
            .where(documents.c.number.is_(None))
        )
        query = query.order_by(invoices.c.year, invoices.c.prefix, invoices.c.sequence)
        if close_no is not None:
            return list(connection.execute(query.where(invoices.c.close_no == close_no)).scalars())
        found = list(connection.execute(query).scalars())
    return found + unrendered_credit_notes(home)


def render(
    home: Home, numbers: Sequence[str], templates: Path, progress: Progress = silent, *, theme: str = DEFAULT_THEME
) -> RenderSummary:
    """Render a batch in one warm renderer. One document that fails stops no other; what has a document keeps it."""
    if not numbers:
        return RenderSummary(rendered=(), failed=())
    renderer = Renderer.open(templates, theme)
    keep_bundle(home, renderer.bundle_files())
    versions = renderer.recorded_versions()  # hashes every font: once a batch
    rendered: list[str] = []
    failed: list[tuple[str, str]] = []
    for done, invoice in enumerate(read_issued(home, numbers)):
        progress("rendering invoices", done, len(numbers))
        xml = xml_of(invoice)
        try:
            pdf = renderer.render(invoice, xml)
        except DocumentFailed as problem:
            failed.append((invoice.number, str(problem)))
            continue
        _keep(home, invoice.number, pdf, xml, versions)
        rendered.append(invoice.number)
    progress("rendering invoices", len(numbers), len(numbers))
    return RenderSummary(rendered=tuple(rendered), failed=tuple(failed))


def render_close(
    home: Home, close_no: int, templates: Path, progress: Progress = silent, *, theme: str = DEFAULT_THEME
) -> RenderSummary:
    """Render every invoice of a close that has no document yet."""
    return render(home, unrendered(home, close_no), templates, progress, theme=theme)


def render_again(home: Home, number: str) -> Again:
    """Make a document again from what was kept: the same bundle, the pinned data. Nothing is written (rule 7.1)."""
    with home.database.read() as connection:
        recorded = _recorded(connection, number, PDF)
    [invoice] = read_issued(home, [number])
    return Rerenderer(home).render(invoice, recorded)


class Rerenderer:
    """Makes documents again, with one warm renderer a bundle."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._renderers: dict[str, tuple[Renderer, Mapping[str, str]]] = {}

    def render(self, invoice: Invoice, recorded: Document) -> Again:
        """The document of an invoice as ``recorded`` says that it was made. Nothing is written.

        Raises ``DataRefused`` where this version has no use for its templates, ``DocumentFailed`` where it fails.
        """
        renderer, here = self._as_it_was(recorded)
        pdf = renderer.render(invoice, xml_of(invoice))
        names = sorted(here.keys() | recorded.versions.keys())
        pairs = ((name, recorded.versions.get(name, "none"), here.get(name, "none")) for name in names)
        return Again(
            number=invoice.number,
            pdf=pdf,
            same=sha256(pdf).hexdigest() == recorded.sha256,
            differing=tuple(f"{name}: {was} -> {now}" for name, was, now in pairs if was != now),
        )

    def _as_it_was(self, recorded: Document) -> tuple[Renderer, Mapping[str, str]]:
        if recorded.bundle not in self._renderers:
            renderer = _as_it_was(self._home, recorded)
            self._renderers[recorded.bundle] = renderer, renderer.recorded_versions()  # hashes every font
        return self._renderers[recorded.bundle]


def preview(templates: Path, theme: str, locale: str) -> bytes:
    """An invented invoice in a theme and a language, with its XML. Nothing is read or issued."""
    invoice = sample_invoice(locale)
    return Renderer.open(templates, theme).render(invoice, xml_of(invoice))


def read_issued(home: Home, numbers: Sequence[str]) -> Iterator[Invoice]:
    """Invoices and credit notes in the order asked for, some at a time, so that memory does not grow with them.

    Raises ``NotFound`` for a number that was never issued.
    """
    with home.database.read() as connection:
        notes = set(connection.execute(select(credit_notes.c.number)).scalars())
    for low in range(0, len(numbers), _READ_AT_ONCE):
        some = numbers[low : low + _READ_AT_ONCE]
        of_notes = [number for number in some if number in notes]
        found = {one.number: one for one in read_credit_notes(home, of_notes)}
        found |= {one.number: one for one in read_invoices(home, [n for n in some if n not in notes])}
        yield from (found[number] for number in some)


def stored_document(home: Home, number: str, kind: str = PDF) -> bytes:
    """The bytes that were kept, checked against their hash. ``NotFound`` where there is no such document."""
    with home.database.read() as connection:
        recorded = _recorded(connection, number, kind)
    return home.documents.read(recorded.path, recorded.sha256)


def cii_of(home: Home, number: str) -> bytes:
    """The XML that was issued with the PDF. A PDF from before there was any gets it at the first request, as ``ubl_of``
    makes it. ``NotFound`` where there is no PDF yet either.
    """
    with home.database.read() as connection:
        _recorded(connection, number, PDF)
    return _made_at_request(home, number, Syntax.CII)


def ubl_of(home: Home, number: str) -> bytes:
    """An invoice or credit note as UBL 2.1, made at the first request and kept.

    ``DataRefused`` where EN 16931 cannot write it, or its rules find something wrong with it.
    """
    return _made_at_request(home, number, Syntax.UBL)


def _made_at_request(home: Home, number: str, syntax: Syntax) -> bytes:
    with home.database.read() as connection:
        if any(document.kind == syntax.value for document in documents_of(connection, number)):
            return stored_document(home, number, syntax.value)
    [invoice] = read_issued(home, [number])
    xml = xml_of(invoice, syntax)
    if xml is None:
        raise DataRefused(f"{number}: EN 16931 has amounts of two decimals only, and {invoice.currency} has more here.")
    if wrong := findings([invoice], syntax)[number]:
        raise DataRefused(f"{number} is no valid {syntax.name}: {'; '.join(wrong)}")
    stored = home.documents.put_bytes(xml, ".xml")
    _record(home, number, {syntax.value: stored}, "", xml_versions())
    return xml


def copy_documents(home: Home, folder: Path) -> int:
    """Copy what was issued into a folder under its number, PDF and XML; returns how many have a PDF."""
    suffixes = {PDF: ".pdf", CII: ".xml", UBL: ".ubl.xml"}
    with home.database.read() as connection:
        found = [each for each in documents_of(connection) if each.kind in suffixes]
    folder.mkdir(parents=True, exist_ok=True)
    for each in found:
        suffix = suffixes[each.kind]
        (folder / f"{each.number.replace('/', '_')}{suffix}").write_bytes(home.documents.read(each.path, each.sha256))
    return sum(1 for each in found if each.kind == PDF)


def keep_bundle(home: Home, files: Mapping[str, bytes]) -> None:
    """Every file under its hash, and the list of them, whose own hash is the bundle's (rule 7.1)."""
    lines = []
    for path, content in sorted(files.items()):
        stored = home.bundles.put_bytes(content, Path(path).suffix)
        lines.append(f"{stored.sha256}  {path}\n")
    home.bundles.put_bytes("".join(lines).encode(), ".sha256")


def _read_bundle(home: Home, digest: str) -> dict[str, bytes]:
    """The files of a bundle that was kept, by path."""
    return {
        path: home.bundles.read(home.bundles.stored(one, 0, Path(path).suffix).path, one)
        for one, path in files_of_bundle(home.bundles, digest)
    }


def _as_it_was(home: Home, recorded: Document) -> Renderer:
    """The renderer of a document's own bundle. ``DataRefused`` where this version has no use for its templates."""
    try:
        return Renderer.from_bundle(_read_bundle(home, recorded.bundle))
    except TemplateBroken as problem:
        made_with = ", ".join(f"{name} {was}" for name, was in recorded.versions.items() if name != "bundle")
        raise DataRefused(
            f"{recorded.number} was rendered by another version, whose templates this one cannot use ({problem}): it "
            f"cannot be made again here. It was made with {made_with}. What was issued is kept: "
            f"`billing invoices pdf {recorded.number}`."
        ) from problem


def _recorded(connection: Connection, number: str, kind: str) -> Document:
    for document in documents_of(connection, number):
        if document.kind == kind:
            return document
    raise NotFound(f"{number} has no document {kind}; `billing invoices render` makes what is missing.")


def _keep(home: Home, number: str, pdf: bytes, xml: bytes | None, versions: dict[str, str]) -> None:
    """Files first, then their rows in one transaction: a document is there with its XML or not at all."""
    files = {PDF: home.documents.put_bytes(pdf, ".pdf")}
    if xml is not None:
        files[CII] = home.documents.put_bytes(xml, ".xml")
    commit_points.reached(commit_points.RENDER_WRITTEN)
    _record(home, number, files, versions["bundle"], versions)
    commit_points.reached(commit_points.RENDER_RECORDED)


def _record(home: Home, number: str, files: dict[str, Stored], bundle: str, versions: dict[str, str]) -> None:
    with home.database.exclusive("books") as connection:
        known = {document.kind for document in documents_of(connection, number)}
        for kind, stored in files.items():
            if kind in known:
                continue
            write_document(connection, number, kind, stored, bundle, versions)
            payload = {"number": number, "kind": kind, "sha256": stored.sha256, "bundle": bundle}
            log.append(connection, datetime.now(UTC), "document", payload)
