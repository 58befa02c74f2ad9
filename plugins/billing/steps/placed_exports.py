"""Exports where others take them from: a folder, or object storage; a set of files each, whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from billing.core.cycles import local_date
from billing.core.focus import Service
from billing.core.instants import to_us
from billing.core.months import Month
from billing.outbound.file_sets import Staged, placed_at, placed_in
from billing.outbound.focus_files import VERSIONS
from billing.steps.export import write_all
from billing.steps.focus import place_focus
from billing.steps.places import Place
from billing.steps.reference import demanded_load, reference_at, seller_zone
from billing.store.home import Home


@dataclass(frozen=True, kw_only=True, slots=True)
class Exports(Place):
    """Where exports go."""

    @contextmanager
    def set_of(self, name: str) -> Iterator[Staged]:
        """A set of files below the place, which is opened when the block begins. What fails in the block is told as it
        is: only what the storage says is put in words.
        """
        reaching = partial(self.reaching, "exports cannot be placed")
        with reaching():
            files = self.storage()
            root = f"{self.root(files)}/{name}"
        placed = placed_in(Path(root), reaching) if "file" in files.protocol else placed_at(files, root, reaching)
        with placed as staged:
            yield staged


def place(home: Home, where: Exports, at: datetime, service: Service) -> dict[str, int]:
    """Place the outputs, and FOCUS of the seller's month that holds ``at`` and of the one before; rows by set.

    ``DataRefused`` where the place may not be written, ``SourceUnavailable`` where it cannot be reached now.
    """
    with home.database.read() as connection:
        load_no = demanded_load(connection)
    zone = seller_zone(reference_at(home, load_no))
    month = Month.of(local_date(zone, to_us(at)))
    done: dict[str, int] = {}
    done["outputs"] = sum(write_all(home, where.set_of("outputs")).values())
    for one in (month.before, month):
        name = f"focus/{one}"
        days = (one.first_day, one.last_day)
        found = place_focus(home, where.set_of(name), *days, version=VERSIONS[0], service=service)
        done[name] = sum(found.rows.values())
    return done
