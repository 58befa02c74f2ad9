"""Which delivery the files of replays and of corrected deliveries come from.

A file of a batch is spoken of by ``(batch_no, file_no)``, written ``BATCH:FILE``. A replay takes records of files that
were delivered before, a replacement takes the place of one: both lead back to a file of a delivery, its **root**.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select, tuple_

from billing.store.batches import COMMITTED, DELIVERY, REPLACEMENT, REPLAY
from billing.store.database import in_parts
from billing.store.tables import batch_files, batches, quarantine

FileKey = tuple[int, int]
_BY_REPLAY: Final = ("accepted", "duplicate", "quarantined")


def origins(connection: Connection) -> dict[FileKey, FileKey]:
    """The root of every file of a replay. A replay's files are those of its records, in the order of their roots."""
    passed = select(quarantine.c.ended_in, quarantine.c.batch_no, quarantine.c.file_no).distinct()
    passed = passed.where(quarantine.c.ending.in_(_BY_REPLAY)).order_by(quarantine.c.ended_in)
    found: dict[FileKey, FileKey] = {}
    if connection.execute(select(batches.c.batch_no).where(batches.c.kind == REPLAY).limit(1)).first() is None:
        return found
    for number, files in groupby(connection.execute(passed), key=lambda row: int(row.ended_in)):
        roots = sorted({root_of(found, (row.batch_no, row.file_no)) for row in files})
        found |= {(number, place): root for place, root in enumerate(roots)}
    return found


def root_of(origin: dict[FileKey, FileKey], file: FileKey) -> FileKey:
    """The delivered file behind a file of a batch, by ``origins``."""
    return origin.get(file, file)


def replacing(root: FileKey, request: str) -> str:
    """What a batch keeps as its request where it replaces a file: which one, and its own request."""
    return f"replaces {root[0]}:{root[1]} {request}"


def replaced(connection: Connection) -> dict[int, FileKey]:
    """Batches that replaced a file, and which one."""
    query = select(batches.c.batch_no, batches.c.request)
    query = query.where(batches.c.kind == REPLACEMENT, batches.c.state == COMMITTED).order_by(batches.c.batch_no)
    found: dict[int, FileKey] = {}
    for number, request in connection.execute(query):
        batch_no, file_no = request.split()[1].split(":")
        found[int(number)] = (int(batch_no), int(file_no))
    return found


def sources(connection: Connection, files: Iterable[FileKey]) -> dict[FileKey, str]:
    """The source of the delivery that each of these files comes from."""
    origin, instead_of = origins(connection), replaced(connection)
    source = {int(n): str(s) for n, s in connection.execute(select(batches.c.batch_no, batches.c.source))}
    found = {}
    for file in files:
        batch_no = root_of(origin, file)[0]
        found[file] = source[instead_of[batch_no][0] if batch_no in instead_of else batch_no]
    return found


def by_source(connection: Connection, wanted: Sequence[str]) -> ColumnElement[bool]:
    """The condition on ``quarantine`` that a record's delivery is of one of these sources."""
    delivered = batches.c.kind == DELIVERY
    simple = select(batches.c.batch_no).where(delivered, batches.c.source.in_(wanted))
    others = select(batches.c.batch_no).where(~delivered)
    held = select(quarantine.c.batch_no, quarantine.c.file_no).distinct().where(quarantine.c.batch_no.in_(others))
    files = [(int(row.batch_no), int(row.file_no)) for row in connection.execute(held)]
    mine = [file for file, source in sources(connection, files).items() if source in wanted]
    return or_(quarantine.c.batch_no.in_(simple), tuple_(quarantine.c.batch_no, quarantine.c.file_no).in_(mine))


def file_rows(connection: Connection, numbers: Iterable[int]) -> dict[FileKey, Row[Any]]:
    """The rows of ``batch_files`` of these batches, by file."""
    found: dict[FileKey, Row[Any]] = {}
    for some in in_parts(sorted(set(numbers)), 5_000):
        query = select(batch_files).where(batch_files.c.batch_no.in_(some))
        found |= {(row.batch_no, row.file_no): row for row in connection.execute(query)}
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivered:
    """A file that was delivered, or that replaced one: how it was named, its bytes, and how many records it has."""

    file: FileKey
    name: str
    sha256: str
    records: int

    def __str__(self) -> str:
        return f"{self.file[0]}:{self.file[1]} {self.name} ({self.records} records, SHA-256 {self.sha256[:12]})"


def delivered(connection: Connection, *where: ColumnElement[bool]) -> list[Delivered]:
    """The files of committed batches, but of replays, in the order in which they came."""
    query = select(batch_files).join(batches, batches.c.batch_no == batch_files.c.batch_no)
    query = query.where(batches.c.state == COMMITTED, batches.c.kind != REPLAY, *where)
    rows = connection.execute(query.order_by(batch_files.c.batch_no, batch_files.c.file_no))
    names = ("name", "sha256", "records")
    return [Delivered(file=(r.batch_no, r.file_no), **{name: getattr(r, name) for name in names}) for r in rows]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """A delivered file and all that came of it.

    root    its first delivery
    files   it, however often the same file (name and bytes) was delivered; what has replaced it; replays of these
    made    of these, the files of corrections that replacements have made
    """

    root: Delivered
    files: frozenset[FileKey]
    made: frozenset[FileKey]


def root_file(connection: Connection, file: FileKey) -> FileKey:
    """The first delivery of the file behind a file of any batch."""
    instead = replaced(connection)
    file = root_of(origins(connection), file)
    file = instead.get(file[0], file)
    row = file_rows(connection, [file[0]])[file]
    same = delivered(connection, batch_files.c.name == row.name, batch_files.c.sha256 == row.sha256)
    return next(one.file for one in same if one.file[0] not in instead)


def lineage(connection: Connection, root: FileKey, sha256: str) -> Lineage:
    """All that came of a file by its first delivery; deliveries of the bytes ``sha256``, which are to replace it, are
    reckoned among what has replaced it.
    """
    instead = [number for number, file in replaced(connection).items() if file == root]
    row = file_rows(connection, [root[0]])[root]
    again = and_(batch_files.c.name == row.name, batch_files.c.sha256 == row.sha256)
    same = delivered(connection, or_(again, batch_files.c.sha256 == sha256))
    by_replacement = {one.file for one in delivered(connection, batch_files.c.batch_no.in_(instead))}
    made = {(number, 0) for number in instead if (number, 1) in by_replacement}
    (first,) = [one for one in same if one.file == root]
    files = _with_replays(connection, {one.file for one in same} | by_replacement)
    return Lineage(root=first, files=files, made=_with_replays(connection, made))


def _with_replays(connection: Connection, files: set[FileKey]) -> frozenset[FileKey]:
    return frozenset(files | {file for file, of in origins(connection).items() if of in files})
