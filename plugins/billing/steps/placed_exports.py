"""Exports where others take them from: a folder, or object storage; a set of files each, whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import fsspec
from fsspec import AbstractFileSystem

from billing.core.cycles import local_date
from billing.core.errors import BillingError, DataRefused, SourceUnavailable
from billing.core.focus import Service
from billing.core.instants import to_us
from billing.core.months import Month
from billing.intake.sources.opening import Resolver
from billing.outbound.file_sets import Staged, placed_at, placed_in
from billing.outbound.focus_files import VERSIONS
from billing.steps.export import write_all
from billing.steps.focus import place_focus
from billing.steps.reference import reference_at
from billing.store.home import Home
from billing.store.reference_history import last_load


@dataclass(frozen=True, kw_only=True, slots=True)
class Exports:
    """Where exports go. ``storage`` opens the file system, at each use."""

    location: str
    storage: Callable[[], AbstractFileSystem] = field(repr=False)

    @classmethod
    def at(cls, location: str, connection: str = "", resolve: Resolver | None = None) -> Exports:
        """A folder or a URL, which ``connection`` opens, else this machine's environment."""
        if connection and resolve is not None:
            return cls(location=location, storage=lambda: resolve.storage(connection, location))
        return cls(location=location, storage=lambda: fsspec.url_to_fs(location)[0])

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """What the storage says when it fails, in words."""
        try:
            yield
        except BillingError:
            raise
        except (PermissionError, FileNotFoundError, ImportError, ValueError) as error:
            raise DataRefused(f"{self.location}: exports cannot be placed here ({error}).") from None
        except OSError as error:
            raise SourceUnavailable(f"{self.location}: cannot be reached ({error}). Run again.") from None

    def set_of(self, name: str) -> AbstractContextManager[Staged]:
        """A set of files below the place."""
        files = self.storage()
        root = f"{str(files._strip_protocol(self.location)).rstrip('/')}/{name}"
        return placed_in(Path(root)) if "file" in files.protocol else placed_at(files, root)


def place(home: Home, where: Exports, at: datetime, service: Service) -> dict[str, int]:
    """Place the outputs, and FOCUS of the seller's month that holds ``at`` and of the one before; rows by set.

    ``DataRefused`` where the place may not be written, ``SourceUnavailable`` where it cannot be reached now.
    """
    with home.database.read() as connection:
        load_no = last_load(connection)
    if not load_no:
        raise DataRefused("There are no reference data yet: run `billing reference load FOLDER`.")
    zone = str(reference_at(home, load_no)["seller"]["time_zone"].iloc[0])
    month = Month.of(local_date(zone, to_us(at)))
    done: dict[str, int] = {}
    with where.reaching():
        done["outputs"] = sum(write_all(home, where.set_of("outputs")).values())
        for one in (month.before, month):
            name = f"focus/{one}"
            version = {"version": VERSIONS[0], "service": service}
            found = place_focus(home, where.set_of(name), one.first_day, one.last_day, **version)  # type: ignore[arg-type]
            done[name] = sum(found.rows.values())
    return done
