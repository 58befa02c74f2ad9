"""A home: where one seller's billing is kept: database, lake, archive and documents, opened together.

The database may be elsewhere (a URL), and so may the usage table (an S3 API). All the rest lies in the home's folder:
the archive of sources, documents with their bundles, checks, the index of ids, and SQLite's locks. Workers on several
machines share that folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from billing.core.attribution import Owners
from billing.core.errors import StoreOutOfDate
from billing.core.reference import Reference
from billing.core.terms import Terms
from billing.store.database import Database
from billing.store.files import WriteOnce, sweep
from billing.store.id_index import IdIndex
from billing.store.lake_storage import ObjectStorage
from billing.store.reference_history import read_reference
from billing.store.usage_table import UsageTable

_LOADS_KEPT = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Home:
    """Everything that is kept. ``templates`` is read, never written."""

    folder: Path
    database: Database
    usage: UsageTable
    ids: IdIndex
    archive: WriteOnce
    reference_archive: WriteOnce
    documents: WriteOnce
    bundles: WriteOnce
    checks: WriteOnce
    _references: dict[int, Reference] = field(default_factory=dict)
    _owners: list[tuple[Reference, Owners]] = field(default_factory=list)
    _terms: list[tuple[Reference, Terms]] = field(default_factory=list)

    @classmethod
    def at(cls, folder: Path, database_url: str | None = None, lake: ObjectStorage | None = None) -> Home:
        """A home in ``folder``; its database is SQLite there unless a URL points elsewhere, and so is its usage table
        unless object storage is given. Opens nothing yet.
        """
        url = database_url or f"sqlite:///{folder.absolute() / 'billing.db'}"
        usage = UsageTable(lake.below("usage") if lake else folder / "lake" / "usage")
        return cls(
            folder=folder,
            database=Database(url, folder / "locks"),
            usage=usage,
            ids=IdIndex(folder / "ids", usage.lake),
            archive=WriteOnce(folder / "archive"),
            reference_archive=WriteOnce(folder / "reference-archive"),
            documents=WriteOnce(folder / "documents"),
            bundles=WriteOnce(folder / "bundles"),
            checks=WriteOnce(folder / "checks"),
        )

    def create(self) -> None:
        """Make what is not there yet, or bring it to this version; nothing that is there is lost."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.database.upgrade()
        self.usage.lake.create()

    def check(self) -> None:
        """Raise ``StoreOutOfDate`` unless this version can work with what is there."""
        self.check_database()
        if not self.usage.lake.exists():
            raise StoreOutOfDate(
                f"There is no usage table in {self.usage.lake.storage.uri}. Where the home is new, run `billing init`; "
                "where it is not, name the right home, see to [lake] in its billing.toml, or restore the table from a "
                "backup."
            )

    def check_database(self) -> None:
        """Raise ``StoreOutOfDate`` unless this version can work with the database; enough for who reads no usage."""
        if self.database.is_sqlite and not (self.folder / "billing.db").exists():
            raise StoreOutOfDate(f"There is no home in {self.folder}: run `billing --home {self.folder} init`.")
        self.database.check_version()

    def sweep(self, now: datetime) -> int:
        """Delete the unfinished files that writers left behind when they were killed; how many."""
        kept = (self.archive, self.reference_archive, self.documents, self.bundles, self.checks)
        return sum(sweep(folder, now) for folder in (*(each.folder for each in kept), self.folder / "ids"))

    def reference(self, load_no: int) -> Reference:
        """What was known at a load. A load never changes, so it is read once; the last few are kept."""
        if load_no not in self._references:
            with self.database.read() as connection:
                self._references[load_no] = read_reference(connection, load_no)
            for old in list(self._references)[:-_LOADS_KEPT]:
                del self._references[old]
        return self._references[load_no]

    def owners(self, reference: Reference) -> Owners:
        """Who owned which app when, arranged once for the reference data that was asked for last."""
        if not self._owners or self._owners[0][0] is not reference:
            self._owners[:] = [(reference, Owners.from_reference(reference))]
        return self._owners[0][1]

    def terms(self, reference: Reference) -> Terms:
        """The terms of all teams, arranged once for the reference data that was asked for last."""
        if not self._terms or self._terms[0][0] is not reference:
            self._terms[:] = [(reference, Terms.from_reference(reference))]
        return self._terms[0][1]

    def close(self) -> None:
        """Give the database's connections back."""
        self.database.close()
