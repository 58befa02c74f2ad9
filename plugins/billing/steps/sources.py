"""Sources as they are set up, for those above the steps: opened, and awaited from the first moment on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from billing.intake.sources import opening
from billing.intake.sources.opening import Described, Resolver
from billing.intake.sources.seam import Source
from billing.store import log, sources
from billing.store.home import Home


def open_source(described: Described, resolve: Resolver) -> Source:
    """The source, its credentials found by ``resolve``. Nothing is read yet."""
    return opening.open_source(described, resolve)


def await_sources(home: Home, described: Sequence[Described]) -> list[str]:
    """From now on usage is complete only where all of these are, those that never worked among them; their names."""
    now = datetime.now(UTC)
    with home.database.read() as connection:
        known = set(sources.active(connection))
    new = [sources.KnownSource(name=one.name, kind=one.kind, location="") for one in described if one.name not in known]
    if new:
        with home.database.exclusive("books") as connection:
            for source in new:
                sources.register(connection, source, now)
                log.append(connection, now, "source", {"name": source.name, "kind": source.kind, "location": ""})
    return [one.name for one in described]
