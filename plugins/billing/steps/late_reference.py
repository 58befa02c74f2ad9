"""Reference rows that come too late: what they would have changed of closed cycles (rule 3.6).

A closed cycle stands whatever comes later. A load that would have changed one is taken, and says so: which row, what
of it changed, which team and cycle, their invoices, and what would have been touched. Figures are given only where
they are certain and follow from what the books hold: a line's net at another price, an invoice's tax at another rate,
a boundary of a cycle. Each is that of all rows of its table together, and of no other table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from billing.core.reference import Reference
from billing.steps.late_balances import balance_hits
from billing.steps.late_closed import Hit, anything_closed, invoice_numbers
from billing.steps.late_prices import price_hits, rate_hits
from billing.steps.late_taxes import tax_hits
from billing.steps.reference_versions import Version, versions
from billing.store.late_rows import LateRow, Touched
from billing.store.reference_history import TableChange

LISTED_MAX = 100_000
_Place = tuple[str, int, str, str]
"""Team, start of its cycle, table and key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Late:
    """Late rows by team, cycle, table and key: the first ``LISTED_MAX``, and how many there are."""

    rows: tuple[LateRow, ...] = ()
    total: int = 0


def late_rows(
    connection: Connection, before: Reference | None, after: Reference, found: Mapping[str, TableChange]
) -> Late:
    """Every closed cycle that a new, changed or removed row would have changed, with that row. ``before`` and ``after``
    are what is known before the load (None before the first) and after it.
    """
    if before is None or not anything_closed(connection):
        return Late()
    by_table = {name: versions(name, change) for name, change in found.items()}
    hits = _together(_hits(connection, by_table, before, after))
    listed = hits[:LISTED_MAX]
    numbers = invoice_numbers(connection, (hit for _, hit in listed))
    return Late(rows=tuple(_late_row(place, hit, numbers.get(place[:2], ())) for place, hit in listed), total=len(hits))


def _hits(
    connection: Connection, found: Mapping[str, Sequence[Version]], before: Reference, after: Reference
) -> Iterator[Hit]:
    yield from balance_hits(connection, found, before, after)
    yield from rate_hits(connection, found.get("unit_rates", ()), before, after)
    yield from price_hits(connection, found.get("unit_prices", ()), before, after)
    yield from tax_hits(connection, found, before, after)


def _together(hits: Iterable[Hit]) -> list[tuple[_Place, Hit]]:
    """One hit a row and cycle, in order."""
    found: dict[_Place, Hit] = {}
    for hit in hits:
        place = (hit.team_id, hit.cycle_start_us, hit.version.table, hit.version.key)
        other = found.get(place, hit)
        found[place] = Hit(
            version=hit.version,
            team_id=hit.team_id,
            cycle_start_us=hit.cycle_start_us,
            touched=other.touched | hit.touched,
            figures=tuple(dict.fromkeys((*other.figures, *hit.figures))),
        )
    return sorted(found.items(), key=lambda entry: entry[0])


def _late_row(place: _Place, hit: Hit, numbers: tuple[str, ...]) -> LateRow:
    team_id, cycle_start_us, table, key = place
    return LateRow(
        table=table,
        key=key,
        changed=hit.version.cells(),
        team_id=team_id,
        cycle_start_us=cycle_start_us,
        touched=tuple(touched for touched in Touched if touched in hit.touched),
        invoices=numbers,
        figures=hit.figures,
    )
