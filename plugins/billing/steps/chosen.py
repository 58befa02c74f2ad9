"""Quarantined records that somebody chose, read again from the archive: the true file and record of each.

What is chosen by a text of the record is chosen by the record itself where the database's column may be another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from billing.core.errors import BillingError, ConservationBroken
from billing.core.instants import from_us
from billing.intake.judging import REASONS, UsageRecords
from billing.steps.gathering import ArchivedFile, Gathered, gather
from billing.steps.progress import Progress, silent
from billing.store import quarantine
from billing.store.deliveries import FileKey, file_rows, origins, root_of
from billing.store.files import archive_suffix
from billing.store.home import Home
from billing.store.quarantine import Place, Selection

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
_CODE = {reason.value: place for place, reason in enumerate(REASONS)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """Chosen records in the order in which they were delivered, with the files that they were delivered in.

    Shapes (records,): ``file_no`` is the place in ``files``; ``where`` is (records, 3): batch, file and line of the
    quarantined row, which a replay may have written; ``reason`` is the place in ``REASONS`` of why it is there.
    """

    files: tuple[ArchivedFile, ...]
    roots: tuple[FileKey, ...]
    file_no: Int64s
    line: Int64s
    where: Int64s
    reason: Int64s

    def __len__(self) -> int:
        return len(self.line)


def choose(home: Home, selection: Selection, progress: Progress = silent) -> tuple[Chosen, Gathered]:
    """The selected records, and what they say. Raises ``NotFound`` or ``ConservationBroken`` where the archive no
    longer has what was delivered.
    """
    chosen = _selected(home, selection)
    for file in chosen.files:
        demand_unchanged(home, file)
    gathered = gather(home, chosen.files, progress)
    if not (np.array_equal(gathered.file_no, chosen.file_no) and np.array_equal(gathered.line, chosen.line)):
        raise ConservationBroken("The archive lacks records that are in quarantine: restore it from a backup.")
    if not selection.needs_the_records():
        return chosen, gathered
    keep = np.flatnonzero(_says(gathered.records, selection))
    return some_chosen(chosen, keep), some_gathered(gathered, keep)


def narrowed(home: Home, selection: Selection) -> Selection:
    """The same records, selected so that the database's columns tell them from all others."""
    if not selection.needs_the_records():
        return selection
    chosen, _ = choose(home, selection)
    places = [Place(batch_no=batch, file_no=file, line=line) for batch, file, line in chosen.where.tolist()]
    return Selection(places=tuple(places) or (_NOWHERE,), endings=selection.endings)


_NOWHERE = Place(batch_no=0, file_no=0, line=0)


def some_chosen(chosen: Chosen, rows: Int64s) -> Chosen:
    """Only these, int64 and ascending, of the chosen records, and the files that they are in."""
    held, file_no = np.unique(chosen.file_no[rows], return_inverse=True)
    kept = {name: getattr(chosen, name)[rows] for name in ("line", "where", "reason")}
    lines = [chosen.line[rows][file_no == place] for place in range(len(held))]
    files = [replace(chosen.files[old], lines=mine) for old, mine in zip(held.tolist(), lines, strict=True)]
    roots = tuple(chosen.roots[old] for old in held.tolist())
    return Chosen(files=tuple(files), roots=roots, file_no=file_no.astype(np.int64), **kept)


def some_gathered(gathered: Gathered, rows: Int64s) -> Gathered:
    """Only these, int64 and ascending, of the gathered records, and the files that they are in."""
    index = pa.array(rows, pa.int64())
    parts = {field.name: getattr(gathered.records, field.name) for field in fields(UsageRecords)}
    records = UsageRecords(**{n: v[rows] if isinstance(v, np.ndarray) else v.take(index) for n, v in parts.items()})
    _, file_no = np.unique(gathered.file_no[rows], return_inverse=True)
    line = gathered.line[rows]
    return Gathered(records=records, file_no=file_no.astype(np.int64), line=line, warnings=gathered.warnings)


def _selected(home: Home, selection: Selection) -> Chosen:
    with home.database.read() as connection:
        where, reasons = quarantine.places(connection, selection)
        origin = origins(connection)
        files, of_file = np.unique(where[:, :2], axis=0, return_inverse=True)
        roots = [root_of(origin, (int(batch), int(file))) for batch, file in files.tolist()]
        rows = file_rows(connection, (batch for batch, _ in roots))
    held = sorted(set(roots))
    place = {root: number for number, root in enumerate(held)}
    file_no = np.array([place[root] for root in roots], dtype=np.int64)[of_file.reshape(-1)]
    order = np.lexsort((where[:, 2], file_no))
    reason = np.array([_CODE[reason] for reason in reasons], dtype=np.int64)
    lines = _lines_by_file(file_no[order], where[order, 2], len(held))
    archived = tuple(archived_file(home, rows[root], mine) for root, mine in zip(held, lines, strict=True))
    numbers = {"file_no": file_no[order], "line": where[order, 2]}
    return Chosen(files=archived, roots=tuple(held), **numbers, where=where[order], reason=reason[order])


def _lines_by_file(file_no: Int64s, line: Int64s, files: int) -> list[Int64s]:
    return np.split(line, np.searchsorted(file_no, np.arange(1, files))) if files else []


def archived_file(home: Home, row: object, lines: Int64s | None = None) -> ArchivedFile:
    """A file by its row of ``batch_files``."""
    name, arrived_us = row.name, row.arrived_at_us  # type: ignore[attr-defined]
    stored = home.archive.stored(row.sha256, row.bytes, archive_suffix(name))  # type: ignore[attr-defined]
    arrived_at = None if arrived_us is None else from_us(arrived_us)
    return ArchivedFile(name=name, stored=stored, arrived_at=arrived_at, lines=lines)


def demand_unchanged(home: Home, file: ArchivedFile) -> None:
    """Raise ``NotFound`` or ``ConservationBroken`` where the archive does not hold the bytes that were delivered."""
    try:
        home.archive.demand(file.stored)
    except BillingError as problem:
        raise type(problem)(f"{file.name}: {problem}") from problem


def _says(records: UsageRecords, selection: Selection) -> Bools:
    """Whether each record says what is asked for, compared code point by code point."""
    found = np.ones(len(records.occurred_at_us), dtype=np.bool_)
    for column, wanted in selection.texts().items():
        found &= _among(getattr(records, column), wanted)
    return found


def _among(values: pa.StringArray, wanted: Sequence[str]) -> Bools:
    found: Bools = pc.is_in(values, value_set=pa.array(wanted, pa.string())).to_numpy(zero_copy_only=False)
    return found
