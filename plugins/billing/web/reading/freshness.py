"""How fresh what is shown is: usage is complete through an instant, and figures tell of batches up to a number."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, select

from billing.store import sources
from billing.store.batches import Completeness, completeness, pinnable
from billing.store.standings import read_refresh
from billing.store.tables import usage_views
from billing.web.reading.known import instant


@dataclass(frozen=True, kw_only=True, slots=True)
class Freshness:
    """``complete_through``: before that instant all usage is in that its sources had (None before the first window).
    ``batch``: the newest batch of which all before are settled. ``as_of`` and ``through_batch``: the instant and the
    batch of the figures shown (None where there are none yet).
    """

    complete_through: datetime | None
    batch: int
    as_of: datetime | None
    through_batch: int | None


_Known = tuple[int, tuple[str, ...], frozenset[str]]
_found: WeakKeyDictionary[Engine, tuple[_Known, Completeness]] = WeakKeyDictionary()


def settled(connection: Connection) -> tuple[int, Completeness]:
    """The newest settled batch, and how far usage is complete with it.

    That depends on the batches up to it and on the sources that are awaited, and on nothing else: it is put together
    from every window that was ever taken once a batch, not once a page.
    """
    batch = pinnable(connection)
    known = (batch, tuple(sources.active(connection)), frozenset(sources.retired(connection)))
    kept = _found.get(connection.engine)
    if kept is None or kept[0] != known:
        kept = known, completeness(connection, batch)
        _found[connection.engine] = kept
    return batch, kept[1]


def of_standing(connection: Connection, as_of_us: int | None, through_batch: int | None) -> Freshness:
    """How fresh figures are that were put together at an instant, with usage up to a batch."""
    batch, found = settled(connection)
    return Freshness(
        complete_through=instant(found.through_us),
        batch=batch,
        as_of=instant(as_of_us),
        through_batch=through_batch,
    )


def of_standings(connection: Connection, as_of_us: int | None, through_batch: int | None) -> Freshness:
    """How fresh balances are that were written as of an instant, with usage up to a batch (None where none are).

    A refresh finds how every team stands and writes those that stand otherwise: what it left alone is as fresh as it.
    """
    if as_of_us is None or through_batch is None:
        return of_standing(connection, None, None)
    last = read_refresh(connection)
    if last is not None:
        as_of_us, through_batch = max(as_of_us, last.as_of_us), max(through_batch, last.through_batch)
    return of_standing(connection, as_of_us, through_batch)


def of_usage(connection: Connection) -> Freshness:
    """How fresh daily usage is."""
    view = connection.execute(select(usage_views)).first()
    if view is None:
        return of_standing(connection, None, None)
    return of_standing(connection, view.at_us, view.through_batch)
