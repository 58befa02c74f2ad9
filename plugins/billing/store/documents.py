"""Files of what was issued: which there are, with what they were made, and where they are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, String, cast, insert, literal, select

from billing.store import log
from billing.store.files import Stored, WriteOnce
from billing.store.tables import documents

PDF = "pdf"


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A file of an invoice, a credit note or a run. ``bundle`` is the hash of what it was rendered with; ``versions``
    are those of all that decided its bytes.
    """

    number: str
    kind: str
    sha256: str
    size_bytes: int
    path: str
    bundle: str
    versions: Mapping[str, str]


def own_document(number: ColumnElement[str], kind: str) -> ColumnElement[bool]:
    """What joins ``documents`` to whatever has a ``number``."""
    return (documents.c.number == number) & (documents.c.kind == kind)


def name_of_close(close_no: ColumnElement[int]) -> ColumnElement[str]:
    """The ``number`` of a close's own documents and mails, as it is in ``f"close-{close_no}"``."""
    return literal("close-").concat(cast(close_no, String))


def documents_of(connection: Connection, number: str | None = None) -> list[Document]:
    """Every document, or those of one number, in the order of number and kind."""
    query = select(documents).order_by(documents.c.number, documents.c.kind)
    rows = connection.execute(query if number is None else query.where(documents.c.number == number))
    return [
        Document(
            number=row.number,
            kind=row.kind,
            sha256=row.sha256,
            size_bytes=row.bytes,
            path=row.path,
            bundle=row.bundle,
            versions=json.loads(row.versions),
        )
        for row in rows
    ]


def write_document(
    connection: Connection, number: str, kind: str, stored: Stored, bundle: str, versions: Mapping[str, str]
) -> None:
    """Say that a file is a document. The caller has seen that there is none of this kind."""
    row = {"number": number, "kind": kind, "sha256": stored.sha256, "bytes": stored.size_bytes, "path": stored.path}
    connection.execute(insert(documents).values(**row, bundle=bundle, versions=log.canonical(versions)))


def files_of_bundle(bundles: WriteOnce, digest: str) -> Iterator[tuple[str, str]]:
    """Hash and path of each file of a bundle, as its list says."""
    listing = bundles.read(bundles.stored(digest, 0, ".sha256").path, digest).decode()
    for line in listing.splitlines():
        sha256, _, path = line.partition("  ")
        yield sha256, path
