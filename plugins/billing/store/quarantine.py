"""Quarantined records and how each ended: a row is never deleted, and its reason and raw bytes never change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select, true, tuple_, update

from billing.core.errors import ConservationBroken, UsageError
from billing.core.instants import from_day, to_us
from billing.store.deliveries import FileKey, by_source
from billing.store.tables import batch_files, quarantine

Int64s = npt.NDArray[np.int64]

WAITING: Final = ""
ACCEPTED, DUPLICATE, QUARANTINED = "accepted", "duplicate", "quarantined"
REPLACED, DISMISSED = "replaced", "dismissed"
"""How a record ended: replayed by a batch that accepted it, knew it, or quarantined it for another reason (as a row of
its own); replaced by its corrected delivery; given up by a person, with a reason.
"""
ENDINGS: Final = (ACCEPTED, DUPLICATE, QUARANTINED, REPLACED, DISMISSED)

STANDS = quarantine.c.ending.not_in((ACCEPTED, DUPLICATE, QUARANTINED))
"""Rows that still say what became of their record. Of the others the batch that replayed them says it."""

SEARCHED_MAX: Final = 500
"""Characters of an id, an app and an API that a row is looked for by; the whole text is in the record."""
_NUL_SHOWN: Final = "\u2400"
_LINES_AT_ONCE: Final = 5_000


def searched(text: str) -> str:
    """A text as a row is looked for by it: a database takes no NUL, and no index a text without an end."""
    return text[:SEARCHED_MAX].replace("\0", _NUL_SHOWN)


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Place:
    """Where a quarantined record is, written ``BATCH:FILE:LINE``: files are counted from 0 within their batch, lines as
    the data contract counts records.
    """

    batch_no: int
    file_no: int
    line: int

    def __str__(self) -> str:
        return f"{self.batch_no}:{self.file_no}:{self.line}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """From ``BATCH:FILE:LINE``; ``UsageError`` for anything else."""
        parts = text.split(":")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 19 for part in parts):
            raise UsageError(f"{text!a} is no record; write BATCH:FILE:LINE, as `billing usage quarantine list` does.")
        batch_no, file_no, line = map(int, parts)
        return cls(batch_no=batch_no, file_no=file_no, line=line)


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which quarantined records: of each field any of the values, nothing given: all; all fields together.

    ``sources`` are those of the delivery that a record came with; ``days`` are UTC, days since 1970-01-01; ``files``
    are those that hold the row; ``endings`` are how they ended, of which the blank one waits.
    """

    reasons: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()
    sources: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    apis: tuple[str, ...] = ()
    days: tuple[int, ...] = ()
    places: tuple[Place, ...] = ()
    files: tuple[FileKey, ...] = ()
    endings: tuple[str, ...] = (WAITING,)

    def texts(self) -> dict[str, tuple[str, ...]]:
        """What is looked for by a text of the record, by the record's column."""
        named = {"event_id": self.ids, "app_id": self.apps, "api": self.apis}
        return {column: values for column, values in named.items() if values}

    def needs_the_records(self) -> bool:
        """Whether a row may look like what is asked for and be another: only the records tell (``searched``)."""
        asked = [text for values in self.texts().values() for text in values]
        return any(len(text) >= SEARCHED_MAX or "\0" in text or _NUL_SHOWN in text for text in asked)

    def said(self) -> dict[str, list[str]]:
        """As the log keeps it: what was asked for, by field, as text."""
        given = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "endings"}
        given["days"] = tuple(from_day(day).isoformat() for day in self.days)
        return {name: [str(value) for value in values] for name, values in given.items() if values}


def matching(connection: Connection, selection: Selection) -> ColumnElement[bool]:
    """As a condition on ``quarantine``; texts as ``searched``, see ``Selection.needs_the_records``."""
    columns: Mapping[str, Sequence[object]] = {
        "reason": selection.reasons,
        "batch_no": selection.batches,
        "occurred_day": selection.days,
        "ending": selection.endings,
        **{column: tuple(map(searched, values)) for column, values in selection.texts().items()},
    }
    found: list[ColumnElement[bool]] = [quarantine.c[name].in_(values) for name, values in columns.items() if values]
    if selection.sources:
        found.append(by_source(connection, selection.sources))
    if selection.places:
        found.append(or_(*_at(selection.places)))
    if selection.files:
        found.append(tuple_(quarantine.c.batch_no, quarantine.c.file_no).in_(selection.files))
    return and_(true(), *found)


def _at(places: Sequence[Place]) -> Iterator[ColumnElement[bool]]:
    by_file: dict[FileKey, list[int]] = {}
    for place in places:
        by_file.setdefault((place.batch_no, place.file_no), []).append(place.line)
    for (batch_no, file_no), lines in by_file.items():
        of_file = (quarantine.c.batch_no == batch_no, quarantine.c.file_no == file_no)
        yield and_(*of_file, quarantine.c.line.in_(lines))


def rows(connection: Connection, selection: Selection, limit: int | None = None) -> Sequence[Row[Any]]:
    """Rows of ``quarantine`` with the ``name`` of their file, in the order of batch, file and line."""
    file = and_(batch_files.c.batch_no == quarantine.c.batch_no, batch_files.c.file_no == quarantine.c.file_no)
    query = select(quarantine, batch_files.c.name).join(batch_files, file).where(matching(connection, selection))
    order = (quarantine.c.batch_no, quarantine.c.file_no, quarantine.c.line)
    return connection.execute(query.order_by(*order).limit(limit)).all()


def places(connection: Connection, selection: Selection) -> tuple[Int64s, list[str]]:
    """Where the selected records are, int64 of shape (records, 3): batch, file and line, in that order; and their
    reasons.
    """
    columns = (quarantine.c.batch_no, quarantine.c.file_no, quarantine.c.line, quarantine.c.reason)
    query = select(*columns).where(matching(connection, selection)).order_by(*columns[:3])
    found = connection.execute(query).all()
    return np.array([row[:3] for row in found], dtype=np.int64).reshape(-1, 3), [row.reason for row in found]


def counts(
    connection: Connection, selection: Selection, by: Sequence[str]
) -> list[tuple[FileKey, tuple[Any, ...], int]]:
    """How many records are selected, by file and these columns of ``quarantine`` (``name``: that of the file)."""
    file = and_(batch_files.c.batch_no == quarantine.c.batch_no, batch_files.c.file_no == quarantine.c.file_no)
    columns = [batch_files.c.name if name == "name" else quarantine.c[name] for name in by]
    grouped = (quarantine.c.batch_no, quarantine.c.file_no, *columns)
    query = select(*grouped, func.count()).join(batch_files, file).where(matching(connection, selection))
    found = connection.execute(query.group_by(*grouped))
    return [((row[0], row[1]), tuple(row[2:-1]), int(row[-1])) for row in found]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How records end: ``ending``, the batch that ended them if one did, when, and why where a person says it."""

    ending: str
    at: datetime
    batch_no: int | None = None
    why: str = ""


def sha256_of(connection: Connection, batch_no: int) -> str:
    """Over the records that a batch put into quarantine, as they came: where they stood, why, and their bytes. How they
    end later is not part of it.
    """
    columns = (quarantine.c.file_no, quarantine.c.line, quarantine.c.reason, quarantine.c.raw)
    query = select(*columns).where(quarantine.c.batch_no == batch_no).order_by(*columns[:2])
    total = sha256()
    for row in connection.execute(query):
        total.update(f"{row.file_no} {row.line} {row.reason} {sha256(row.raw).hexdigest()}\n".encode())
    return total.hexdigest()


def end(connection: Connection, where: Int64s, ending: Ending) -> None:
    """End the records at these places, int64 of shape (records, 3). One that has ended otherwise than by being
    dismissed breaks the books: the caller holds the lock ``ingest`` since it selected them.
    """
    values = {"ending": ending.ending, "ended_in": ending.batch_no, "ended_at_us": to_us(ending.at)}
    if ending.why:
        values["ended_why"] = ending.why
    ended = 0
    for (batch_no, file_no), lines in _by_file(where):
        mine = (quarantine.c.batch_no == batch_no, quarantine.c.file_no == file_no)
        may_end = quarantine.c.ending.in_((WAITING, DISMISSED))
        query = update(quarantine).where(*mine, quarantine.c.line.in_(lines), may_end)
        ended += connection.execute(query.values(**values)).rowcount
    if ended != len(where):
        raise ConservationBroken(f"{len(where)} quarantined records were to end as {ending.ending}; {ended} did.")


def _by_file(where: Int64s) -> Iterator[tuple[FileKey, list[int]]]:
    """Places by file, some thousands of lines at a time."""
    ordered = where[np.lexsort(where.T[::-1])]
    breaks = np.flatnonzero((np.diff(ordered[:, :2], axis=0) != 0).any(axis=1)) + 1
    for part in np.split(ordered, breaks):
        for low in range(0, len(part), _LINES_AT_ONCE):
            yield (int(part[0, 0]), int(part[0, 1])), part[low : low + _LINES_AT_ONCE, 2].tolist()
