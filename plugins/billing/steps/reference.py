"""Load reference data: a full picture, taken whole or refused whole (data contract, "Reference data"; rule 3.6).

A **picture** is what somebody has: a folder of files, or what the queries of a folder read from a database. To load is
to examine a picture and to take it; ``reference_diff`` examines only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Connection, insert, select

from billing.core.errors import DataRefused, Finding
from billing.core.instants import to_us
from billing.core.reference import Reference
from billing.intake.reference_checks import Needs, check_reference, in_force
from billing.intake.reference_files import ReferenceFolder, read_reference_folder
from billing.intake.reference_sql import read_reference_sql
from billing.steps.late_reference import Late, late_rows
from billing.steps.origin import origin
from billing.steps.reference_needs import needed_keys, open_used
from billing.store import log
from billing.store.files import archive_suffix
from billing.store.home import Home
from billing.store.late_rows import LateRow, read_late_rows, write_late_rows
from billing.store.ledger import used_of_grants
from billing.store.reference_history import (
    TableChange,
    changes,
    last_load,
    read_numbered,
    without_numbers,
    write_changes,
)
from billing.store.tables import reference_history, reference_loads, used_apis


@dataclass(frozen=True, kw_only=True, slots=True)
class TableCounts:
    """How many rows of a table a load adds, changes and removes."""

    table: str
    added: int
    changed: int
    removed: int

    def __str__(self) -> str:
        counts = f"{self.added} added, {self.changed} changed, {self.removed} removed"
        return f"{self.table}: {counts if self.added or self.changed or self.removed else 'the same'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadSummary:
    """What a load did. ``late`` are rows that would have changed closed cycles (rule 3.6), ``late_total`` is how many
    there are; ``tables`` are those that came.
    """

    load_no: int
    added: int
    changed: int
    removed: int
    late: tuple[LateRow, ...]
    late_total: int
    warnings: tuple[Finding, ...]
    tables: tuple[TableCounts, ...]
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """Reference data as they were read. ``findings``: what could not be. ``source``: where they come from, without
    credentials; ``name``: how a load remembers that. ``staged``: by table the files that were read, to
    be archived with the load.
    """

    new: ReferenceFolder
    findings: tuple[Finding, ...]
    source: str
    name: str
    staged: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """A picture beside what is known at load ``load_no``: all that it would be refused for, what it changes, and what
    of that is late. ``late`` is None where more is wrong than removals: nothing can be said of such data then.
    """

    load_no: int
    picture: Picture
    findings: tuple[Finding, ...]
    changes: Mapping[str, TableChange]
    late: Late | None


def load_reference(home: Home, folder: Path, *, allow_removals: bool = False) -> LoadSummary:
    """Take a folder of reference files as what is known from now on.

    Raises ``DataRefused`` with every error of every file; nothing is changed then. A load that changes nothing is
    no load: it takes no number.
    """
    return _load(home, picture_of_folder(folder), datetime.now(UTC), allow_removals)


def load_reference_sql(home: Home, url: str, queries: Path, *, allow_removals: bool = False) -> LoadSummary:
    """The same from SQL: each ``TABLE.sql`` of the folder ``queries`` is run in one snapshot of the database at
    ``url`` (SQLAlchemy). What was read is archived with the load. Raises ``SourceUnavailable`` too.
    """
    started = datetime.now(UTC)
    with picture_of_sql(url, queries) as picture:
        return _load(home, picture, started, allow_removals)


def picture_of_folder(folder: Path) -> Picture:
    """Read a folder of reference files."""
    new, findings = read_reference_folder(folder)
    staged = {table: folder / name for table, name in new.files.items()}
    return Picture(new=new, findings=tuple(findings), source=str(folder), name=folder.name, staged=staged)


@contextmanager
def picture_of_sql(url: str, queries: Path) -> Iterator[Picture]:
    """Read a database by a folder of queries; the staged files are there inside the block only."""
    with TemporaryDirectory(prefix="billing-reference-") as staging:
        read = read_reference_sql(url, queries, Path(staging))
        yield Picture(
            new=read.new, findings=read.findings, source=read.location, name=read.location, staged=read.staged
        )


def examine(home: Home, connection: Connection, picture: Picture, *, allow_removals: bool) -> Examined:
    """Everything there is to say about a picture before it is taken. Writes nothing."""
    new, load_no = picture.new, last_load(connection)
    numbered = read_numbered(connection, load_no)
    known = without_numbers(numbered) if load_no else None
    needs = _needs(home, connection, known, new, allow_removals)
    findings = (*picture.findings, *check_reference(new, known, needs))
    found = changes(numbered, new.tables)
    late = None
    if not findings or not (picture.findings or check_reference(new, known, _removals_aside(needs))):
        late = late_rows(connection, known, in_force(new, known), found)
    return Examined(load_no=load_no, picture=picture, findings=findings, changes=found, late=late)


def table_counts(examined: Examined) -> tuple[TableCounts, ...]:
    """By table that came, in the order of the contract. Of one that was not read whole no row counts as removed."""
    incomplete = examined.picture.new.incomplete
    return tuple(
        TableCounts(
            table=name,
            added=len(change.added),
            changed=len(change.changed),
            removed=0 if name in incomplete else len(change.removed),
        )
        for name, change in examined.changes.items()
    )


def list_late_rows(
    home: Home, *, load_no: int | None = None, limit: int = 1_000
) -> tuple[list[tuple[int, LateRow]], int]:
    """What loads brought too late (rule 3.6), with the number of the load: the newest load first, at most ``limit``;
    and how many there are.
    """
    with home.database.read() as connection:
        return read_late_rows(connection, load_no=load_no, limit=limit)


def current_reference(home: Home) -> tuple[int, Reference]:
    """The number of the last load and what is known since."""
    with home.database.read() as connection:
        load_no = last_load(connection)
    return load_no, reference_at(home, load_no)


def reference_at(home: Home, load_no: int) -> Reference:
    """What was known at a load."""
    return home.reference(load_no)


def demanded_load(connection: Connection) -> int:
    """The number of the last load; ``DataRefused`` before the first."""
    load_no = last_load(connection)
    if not load_no:
        raise DataRefused("There are no reference data yet: run `billing reference load FOLDER`.")
    return load_no


def seller_zone(reference: Reference) -> str:
    """The seller's time zone."""
    return str(reference["seller"]["time_zone"].iloc[0])


def _load(home: Home, picture: Picture, started: datetime, allow_removals: bool) -> LoadSummary:
    # No ingest runs meanwhile: what it accepts is judged by one load.
    with home.database.holding("ingest"), home.database.exclusive("books") as connection:
        examined = examine(home, connection, picture, allow_removals=allow_removals)
        if examined.findings:
            summary = f"{picture.source}: the reference data is refused, nothing was changed."
            raise DataRefused(summary, examined.findings)
        return _take(home, connection, examined, started)


def _needs(
    home: Home, connection: Connection, known: Reference | None, new: ReferenceFolder, allow_removals: bool
) -> Needs:
    """What the books need of reference data."""
    closed = used_of_grants(connection)
    everything = {} if known is None else open_used(home, connection, known, new.tables, closed)
    apis = set(connection.execute(select(used_apis.c.api)).scalars())
    apis_ever = reference_history["apis"]
    query = select(apis_ever.c.api, apis_ever.c.billing).order_by(apis_ever.c.row_no)
    billing = {row.api: row.billing for row in connection.execute(query)}  # as last known, removed ones too
    return Needs(
        billing_by_used_api={api: billing[api] for api in apis if api in billing},
        used_tokens_micro=everything,
        used_capacity_micro=everything,
        allow_removals=allow_removals,
        needed_keys=needed_keys(home, connection, known) if known is not None and allow_removals else {},
    )


def _removals_aside(needs: Needs) -> Needs:
    return replace(needs, allow_removals=True, needed_keys={})


def _take(home: Home, connection: Connection, examined: Examined, started: datetime) -> LoadSummary:
    """Write what differs, with its late rows and the log's entry; the caller's transaction makes it one."""
    tables, late = table_counts(examined), examined.late or Late()
    counts = {f"rows_{kind}": sum(getattr(one, kind) for one in tables) for kind in ("added", "changed", "removed")}
    number = examined.load_no
    if any(counts.values()):
        number += 1
        _archive(home, examined.picture)
        write_changes(connection, number, examined.changes)
        write_late_rows(connection, number, late.rows)
        _write_load(connection, number, examined.picture, started, counts, late.total)
    return LoadSummary(
        load_no=number,
        added=counts["rows_added"],
        changed=counts["rows_changed"],
        removed=counts["rows_removed"],
        late=late.rows,
        late_total=late.total,
        warnings=tuple(examined.picture.new.warnings),
        tables=tables,
        source=examined.picture.source,
    )


def _archive(home: Home, picture: Picture) -> None:
    """Keep the bytes that this load was made from."""
    for table, path in picture.staged.items():
        stored = home.reference_archive.put_file(path, archive_suffix(path.name))
        if stored.sha256 != picture.new.sha256[table]:
            home.reference_archive.take_back(stored)
            raise DataRefused(f"{path} was changed while it was read; nothing was taken. Load again.")


def _write_load(
    connection: Connection, number: int, picture: Picture, started: datetime, counts: Mapping[str, int], late: int
) -> None:
    new = picture.new
    files = {name: {"file": new.files[name], "sha256": new.sha256[name]} for name in new.tables}
    row = {"load_no": number, "loaded_at_us": to_us(started), "source": picture.name, "files": log.canonical(files)}
    connection.execute(insert(reference_loads).values(**row, **counts))
    log.append(
        connection, started, "reference", {"load_no": number, "by": origin(), "files": files, "late": late, **counts}
    )
