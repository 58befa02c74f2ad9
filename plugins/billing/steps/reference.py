"""Load reference data: a full picture, taken whole or refused whole (data contract, "Reference data"; rule 3.6)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, insert, select

from billing.core.errors import DataRefused, Finding
from billing.core.instants import to_us
from billing.core.reference import Reference
from billing.intake.reference_checks import Needs, check_reference
from billing.intake.reference_files import ReferenceFolder, read_reference_folder
from billing.steps.late_reference import LateRow, late_rows
from billing.steps.reference_needs import needed_keys, open_used
from billing.store import log
from billing.store.home import Home
from billing.store.ledger import used_of_grants
from billing.store.reference_history import TableChange, changes, last_load, read_reference, write_changes
from billing.store.tables import reference_history, reference_loads, used_apis


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadSummary:
    """What a load did. ``late`` are rows that would have changed closed cycles (rule 3.6)."""

    load_no: int
    added: int
    changed: int
    removed: int
    late: tuple[LateRow, ...]
    warnings: tuple[Finding, ...]


def load_reference(home: Home, folder: Path, *, allow_removals: bool = False) -> LoadSummary:
    """Take a folder of reference files as what is known from now on.

    Raises ``DataRefused`` with every error of every file; nothing is changed then. A load that changes nothing is
    no load: it takes no number.
    """
    started = datetime.now(UTC)
    new, findings = read_reference_folder(folder)
    # No ingest runs meanwhile: what it accepts is judged by one load.
    with home.database.holding("ingest"), home.database.exclusive("books") as connection:
        load_no = last_load(connection)
        known = read_reference(connection, load_no) if load_no else None
        findings = findings + check_reference(new, known, _needs(home, connection, known, new, allow_removals))
        if findings:
            raise DataRefused(f"{folder}: the reference data is refused, nothing was changed.", findings)
        found = changes(connection, load_no, new.tables)
        return _take(connection, load_no, new, found, folder, started)


def current_reference(home: Home) -> tuple[int, Reference]:
    """The number of the last load and what is known since."""
    with home.database.read() as connection:
        load_no = last_load(connection)
    return load_no, reference_at(home, load_no)


def reference_at(home: Home, load_no: int) -> Reference:
    """What was known at a load."""
    return home.reference(load_no)


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


def _take(
    connection: Connection,
    load_no: int,
    new: ReferenceFolder,
    found: dict[str, TableChange],
    folder: Path,
    started: datetime,
) -> LoadSummary:
    added, changed, removed = (
        sum(len(getattr(c, kind)) for c in found.values()) for kind in ("added", "changed", "removed")
    )
    warnings = tuple(new.warnings)
    if not added + changed + removed:
        return LoadSummary(load_no=load_no, added=0, changed=0, removed=0, late=(), warnings=warnings)
    late = late_rows(connection, load_no, found)
    number = load_no + 1
    write_changes(connection, number, found)
    files = {name: {"file": new.files[name], "sha256": new.sha256[name]} for name in new.tables}
    counts = {"rows_added": added, "rows_changed": changed, "rows_removed": removed}
    row = {
        "load_no": number,
        "loaded_at_us": to_us(started),
        "source": folder.name,
        "files": log.canonical(files),
        **counts,
    }
    connection.execute(insert(reference_loads).values(**row))
    log.append(connection, started, "reference", {"load_no": number, "files": files, "late": len(late), **counts})
    return LoadSummary(load_no=number, added=added, changed=changed, removed=removed, late=late, warnings=warnings)
