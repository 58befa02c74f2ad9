"""Copies of documents in a folder or in object storage, where others take them from: each once, whole, compared after
it was written, and never over a file that is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Protocol

from sqlalchemy import ColumnElement, Connection, Select, exists, func, insert, select

from billing.core.errors import BillingError
from billing.core.file_layout import Layout
from billing.core.instants import from_day, from_us, to_us
from billing.core.invoicing import issue_date
from billing.documents.e_invoice.syntaxes import Syntax
from billing.intake.sources.opening import Resolver
from billing.outbound.new_files import create
from billing.steps import commit_points
from billing.steps.origin import origin
from billing.steps.places import Place
from billing.steps.progress import Progress, silent
from billing.steps.reference import reference_at, seller_zone
from billing.steps.run_summary import SUMMARY
from billing.steps.telemetry import say
from billing.store import log
from billing.store.documents import PDF, name_of_close
from billing.store.home import Home
from billing.store.tables import closes, credit_notes, documents, invoices, placed_files

SUFFIXES = {PDF: "pdf", Syntax.CII.value: "xml", Syntax.UBL.value: "ubl.xml", SUMMARY: "pdf"}
_AT_ONCE = 50


class DescribedFiles(Protocol):
    """What the settings say of files; see ``FilesSettings`` there."""

    @property
    def location(self) -> str: ...
    @property
    def connection(self) -> str: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def summaries(self) -> Layout: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """A place of copies, and how they are laid out in it."""

    place: Place
    layout: Layout
    summaries: Layout

    @classmethod
    def at(cls, files: DescribedFiles, resolve: Resolver) -> Destination:
        """As the settings say: opened by their connection, else by this machine's environment."""
        place = Place.at(files.location, files.connection, resolve)
        return cls(place=place, layout=files.layout, summaries=files.summaries)

    @property
    def location(self) -> str:
        """Where the place is."""
        return self.place.location


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """A copy that is there. ``path`` is below the destination."""

    destination: str
    path: str
    number: str
    kind: str
    sha256: str
    size_bytes: int
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedSummary:
    """How many copies were made now, and what kept others from it, as ``path: problem``; they are tried again."""

    placed: int
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    """A document that has no copy at the destination yet."""

    number: str
    kind: str
    sha256: str
    kept_at: str
    path: str


def place_files(home: Home, destination: Destination, progress: Progress = silent) -> PlacedSummary:
    """Copy every document that is not at the destination yet. One at a time does so; a second one finds it done.

    One file that cannot be placed stops no other. Raises ``SourceUnavailable`` where the destination cannot be reached,
    ``DataRefused`` where it cannot be written to at all.
    """
    with home.database.holding("files"):
        with home.database.read() as connection:
            wanted = list(_wanted(home, connection, destination))
        placed, problems = 0, []
        for low in range(0, len(wanted), _AT_ONCE):
            progress("placing files", low, len(wanted))
            done = []
            for one in wanted[low : low + _AT_ONCE]:
                if problem := _place(home, destination, one):
                    problems.append(f"{one.path}: {problem}")
                else:
                    done.append(one)
            _record(home, destination, done)
            placed += len(done)
    if placed:
        say("files placed", files=placed, destination=destination.location)
    return PlacedSummary(placed=placed, problems=tuple(problems))


def count_unplaced(home: Home, location: str) -> int:
    """How many documents have no copy at a location yet. Nothing is asked of it."""
    with home.database.read() as connection:
        query = select(func.count()).select_from(documents).where(*_unplaced(location))
        return int(connection.execute(query).scalar_one())


def list_placed(home: Home, number: str | None = None) -> list[Placed]:
    """Every copy that was made, or those of one number, in the order of destination and path."""
    query = select(placed_files).order_by(placed_files.c.destination, placed_files.c.path)
    with home.database.read() as connection:
        rows = connection.execute(query if number is None else query.where(placed_files.c.number == number)).all()
    return [
        Placed(
            destination=row.destination,
            path=row.path,
            number=row.number,
            kind=row.kind,
            sha256=row.sha256,
            size_bytes=row.bytes,
            at=from_us(row.at_us),
        )
        for row in rows
    ]


def _place(home: Home, destination: Destination, one: _Wanted) -> str:
    """Make one copy and read it again; what is wrong with it, blank where it is as it should be."""
    try:
        content = home.documents.read(one.kept_at, one.sha256)
    except BillingError as problem:
        return str(problem)
    with destination.place.reaching("files cannot be placed"):
        files = destination.place.storage()
        place = f"{destination.place.root(files)}/{one.path}"
        files.invalidate_cache()
        is_new = create(files, place, content)
        files.invalidate_cache()
        there = files.cat_file(place)
    commit_points.reached(commit_points.FILE_WRITTEN)
    if len(there) == len(content) and sha256(there).hexdigest() == one.sha256:
        return ""
    if is_new:
        return f"reads back with other bytes than were written ({len(there)} of {len(content)})"
    return "another file is there; it is not replaced: move it away, or give [files] another layout"


def _record(home: Home, destination: Destination, done: list[_Wanted]) -> None:
    if not done:
        return
    at = datetime.now(UTC)
    with home.database.exclusive("books") as connection:
        for one in done:
            size = home.documents.locate(one.kept_at).stat().st_size
            row = {"number": one.number, "kind": one.kind, "sha256": one.sha256, "bytes": size}
            where = {"destination": destination.location, "path": one.path}
            connection.execute(insert(placed_files).values(**where, **row, at_us=to_us(at)))
            log.append(connection, at, "file", where | row | {"by": origin()})
    commit_points.reached(commit_points.FILE_RECORDED)


def _wanted(home: Home, connection: Connection, destination: Destination) -> Iterator[_Wanted]:
    """Documents of invoices, credit notes and closes that have no copy there, in the order of their numbers."""
    missing = _unplaced(destination.location)
    query = select(documents).where(*missing)
    rows = connection.execute(query.order_by(documents.c.number, documents.c.kind)).all()
    if not rows:
        return
    facts = _facts(home, connection, select(documents.c.number).where(*missing))
    for row in rows:
        day, customer_id = facts[row.number]
        layout = destination.summaries if row.kind == SUMMARY else destination.layout
        values = {"year": f"{day:%Y}", "month": f"{day:%m}", "customer_id": customer_id}
        path = layout.path(values | {"number": row.number, "kind": SUFFIXES[row.kind]})
        yield _Wanted(number=row.number, kind=row.kind, sha256=row.sha256, kept_at=row.path, path=path)


def _unplaced(location: str) -> tuple[ColumnElement[bool], ...]:
    """What says of a document that it has no copy there."""
    mine = (
        placed_files.c.destination == location,
        placed_files.c.number == documents.c.number,
        placed_files.c.kind == documents.c.kind,
    )
    return documents.c.kind.in_(SUFFIXES), ~exists().where(*mine)


def _facts(home: Home, connection: Connection, wanted: Select[tuple[str]]) -> dict[str, tuple[date, str]]:
    """Issue date and customer by number, of those that are wanted; a close's customer is ``all``."""
    columns = (invoices.c.number, invoices.c.issue_day, invoices.c.customer_id)
    found = {
        row.number: (from_day(row.issue_day), row.customer_id)
        for row in connection.execute(select(*columns).where(invoices.c.number.in_(wanted)))
    }
    of_invoice = credit_notes.c.invoice_number == invoices.c.number
    notes = select(credit_notes.c.number, credit_notes.c.issue_day, invoices.c.customer_id).join(invoices, of_invoice)
    for row in connection.execute(notes.where(credit_notes.c.number.in_(wanted))):
        found[row.number] = from_day(row.issue_day), row.customer_id
    issued = closes.c.issued_at_us.is_not(None), closes.c.pinned_load > 0
    for row in connection.execute(select(closes).where(*issued, name_of_close(closes.c.close_no).in_(wanted))):
        zone = seller_zone(reference_at(home, row.pinned_load))
        found[f"close-{row.close_no}"] = (issue_date(from_us(row.issued_at_us), zone), "all")
    return found
