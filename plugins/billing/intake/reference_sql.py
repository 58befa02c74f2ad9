"""Reference data from a database: a folder of queries to a folder of reference files (data contract, "Reference data").

Each ``TABLE.sql`` is one SELECT whose columns are named like the table's. All of them are run in one snapshot, so that
the picture is of one instant. Their rows become Parquet files of text, which are then read like any others: every rule
for files holds, and findings name the query's file, its row (the first is 1) and the column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from billing.core.errors import DataRefused, Finding
from billing.core.reference import TABLES, ColumnKind
from billing.intake.reference_files import ReferenceFolder, read_reference_folder
from billing.intake.reference_findings import FindingList
from billing.intake.sources.extracts import write_rows
from billing.intake.sources.sql_rows import Snapshot, location_of, open_snapshot, parse_url

_QUERY, _STAGED = ".sql", ".parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceRead:
    """What the queries gave: as ``read_reference_folder`` has it, its files named after the queries. ``staged`` are the
    files by table; ``location`` is where the database is, without credentials.
    """

    new: ReferenceFolder
    findings: tuple[Finding, ...]
    staged: Mapping[str, Path]
    location: str


def read_reference_sql(url: str, queries: Path, staging: Path) -> ReferenceRead:
    """Run the queries of a folder against the database at ``url`` (SQLAlchemy) and read what they give.

    ``staging`` is an empty folder for the files. Queries that cannot be run, and values without exact text, are
    findings. Raises ``DataRefused`` where the URL or the folder is wrong, ``SourceUnavailable`` where the database
    cannot be reached or breaks off.
    """
    location, names = location_of(parse_url(url)), _query_names(queries)
    tables = [name for name in TABLES if name + _QUERY in names]
    staged, refused = _stage(url, queries, tables, staging)
    new, found = read_reference_folder(staging)
    of_staged = [finding for finding in found if finding.file.removesuffix(_STAGED) in staged]
    return ReferenceRead(
        new=replace(
            new,
            files={name: name + _QUERY for name in new.files},
            warnings=[*_as_queries(new.warnings), *_ignored(names)],
            incomplete=new.incomplete | (set(tables) - staged.keys()),
        ),
        findings=(*_missing(tables), *refused, *_as_queries(of_staged)),
        staged=staged,
        location=location,
    )


def _query_names(queries: Path) -> list[str]:
    if not queries.is_dir():
        raise DataRefused(f"{queries}: is not a folder; name one with a query for each table, like customers{_QUERY}.")
    return sorted(path.name for path in queries.iterdir() if path.is_file() and not path.name.startswith("."))


def _stage(url: str, queries: Path, tables: Sequence[str], staging: Path) -> tuple[dict[str, Path], list[Finding]]:
    """A file for each query, all of one snapshot; and why queries were refused. After one that was, the others are run
    in another snapshot: nothing of this will be taken, but all that is wrong is said at once.
    """
    staged: dict[str, Path] = {}
    refused: list[Finding] = []
    left = list(tables)
    while left:
        with open_snapshot(url) as snapshot:
            while left:
                name = left.pop(0)
                try:
                    staged[name] = _stage_table(snapshot, name, queries, staging)
                except DataRefused as refusal:
                    refused += refusal.findings or [Finding(file=name + _QUERY, message=refusal.summary)]
                    break
    return staged, refused


def _stage_table(snapshot: Snapshot, name: str, queries: Path, staging: Path) -> Path:
    """Run one query and write its rows as they come. Its file has its name only when it is whole."""
    instants = [column.name for column in TABLES[name].columns if column.kind is ColumnKind.INSTANT]
    rows = snapshot.rows(queries / (name + _QUERY), instants=instants)
    path, part = staging / (name + _STAGED), staging / f".{name}"
    try:
        write_rows(part, rows)
        return part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def _missing(tables: Sequence[str]) -> list[Finding]:
    message = "is missing; add it, with a SELECT of the table's columns (one that gives no rows if there are none)"
    return [
        Finding(file=name + _QUERY, message=message)
        for name, table in TABLES.items()
        if not table.optional and name not in tables
    ]


def _ignored(names: Sequence[str]) -> list[Finding]:
    found = FindingList()
    for name in names:
        if name.removesuffix(_QUERY) not in TABLES or not name.endswith(_QUERY):
            found.add("", name, "is not named like a query of a reference table, and was ignored")
    return found.report()


def _as_queries(findings: Sequence[Finding]) -> list[Finding]:
    """The same findings, of the queries whose rows a staged file holds."""
    return [replace(finding, file=finding.file.removesuffix(_STAGED) + _QUERY) for finding in findings]
