"""Which delivery the files of replays and of corrected deliveries come from.

A file of a batch is spoken of by ``(batch_no, file_no)``, written ``BATCH:FILE``. A replay takes records of files that
were delivered before, a replacement takes the place of one: both lead back to a file of a delivery, its **root**.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, or_, select, tuple_

from billing.store.batches import COMMITTED, DELIVERY, REPLACEMENT, REPLAY
from billing.store.tables import batch_files, batches, quarantine

FileKey = tuple[int, int]
_BY_REPLAY: Final = ("accepted", "duplicate", "quarantined")
_BATCHES_AT_ONCE: Final = 5_000


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
    wanted = sorted(set(numbers))
    found: dict[FileKey, Row[Any]] = {}
    for low in range(0, len(wanted), _BATCHES_AT_ONCE):
        some = batch_files.c.batch_no.in_(wanted[low : low + _BATCHES_AT_ONCE])
        found |= {(row.batch_no, row.file_no): row for row in connection.execute(select(batch_files).where(some))}
    return found
