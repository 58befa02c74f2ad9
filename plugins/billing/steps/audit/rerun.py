"""Closed cycles rated again from what their close had pinned, compared with what is stored (rules 7.1 and 3.4 to 3.6).

Read is usage up to the pinned batch, reference data of the pinned load, and where earlier closes left carry-over and
balances. Nothing is written. An invoice is drafted again from the draws of the rerun and compared row by row; its
documents are made again with the bundle that they were made with.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from sqlalchemy import Connection, Table, select

from billing.core.cycles import CycleSpan
from billing.core.frames import rows
from billing.core.model import Kind
from billing.core.rating import DRAW_COLUMNS, Rated
from billing.core.terms import Terms
from billing.core.zones import TZDATA_VERSION
from billing.steps.audit.choosing import Choice, Cycles
from billing.steps.audit.comparing import Comparison, Key, Verdict, compared
from billing.steps.audit.documents import documents_again
from billing.steps.audit.invoices import invoices_again, of_cycles
from billing.steps.close import due_cycles
from billing.steps.collector import collector_paused
from billing.steps.progress import Progress, silent
from billing.steps.rating_in_parts import rate_in_parts
from billing.steps.reference import reference_at
from billing.store import ledger
from billing.store.batches import committed, demand_rows
from billing.store.home import Home
from billing.store.ledger import Close
from billing.store.shards import shard_of
from billing.store.tables import carry, closes, cycles, draws, usage_days

_CYCLE = ("cycle_end_us", "time_zone", "payg_subscription_id")
_CARRY = ("billing", "opening_micro", "usage_micro", "late_usage_micro", "charged_units", "closing_micro")
_DRAWN = ("charged_units", "tokens_micro")
_DAYS = ("first_day", "quantities", "late_micro")


@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """Some cycles of a close rated again: their spans as reference data gives them, and what came of them; ``closed``
    are all cycles that the close has closed, as they are stored.
    """

    closed: Mapping[tuple[str, int], CycleSpan]
    spans: Mapping[tuple[str, int], CycleSpan]
    rated: Rated


def rerun(home: Home, choice: Choice, *, documents: bool = True, progress: Progress = silent) -> Iterator[Comparison]:
    """Compare every carry-over, charge, line, total, XML and PDF of the chosen closed cycles; close by close.

    Raises ``NotFound`` where no cycle was chosen, and whatever keeps the usage table from being read.
    """
    with home.database.read() as connection:
        chosen = choice.read(connection)
    for done, (close_no, mine) in enumerate(chosen.items()):
        progress("rating closes again", done, len(chosen))
        yield from _close_again(home, close_no, mine)
    progress("rating closes again", len(chosen), len(chosen))
    if documents:
        yield from documents_again(home, frozenset().union(*chosen.values()), progress)


@collector_paused()
def _close_again(home: Home, close_no: int, mine: Cycles) -> list[Comparison]:
    with home.database.read() as connection:
        this = ledger.read_close(connection, close_no)
        demand_rows(home, connection, this.pinned_batch)
        again = rate_again(home, connection, this, mine)
        return compare_close(home, connection, this, mine, again)


def compare_close(home: Home, connection: Connection, this: Close, mine: Cycles, again: Again) -> list[Comparison]:
    """What is stored of the chosen cycles of a close beside what came of them again."""
    paid = again.rated.draws[again.rated.draws["source"] == Kind.PAYG.value]
    return [
        *_zones(connection, this.close_no, mine),
        *_ledger(connection, this, mine, again),
        *invoices_again(home, connection, this, mine, of_cycles(paid, mine), again.spans),
    ]


def rate_again(
    home: Home,
    connection: Connection,
    this: Close,
    mine: Cycles,
    closed: Mapping[tuple[str, int], CycleSpan] | None = None,
) -> Again:
    """Rate the cycles of the chosen teams that the close has closed, by what it pinned. ``closed`` are all that it has,
    where this home's ledger does not know them.
    """
    reference = reference_at(home, this.pinned_load)
    teams = {team_id for team_id, _ in mine}
    shards = sorted({shard_of(team_id) for team_id in teams})
    last = ledger.last_closed(connection, shards, before_close=this.close_no)
    due = due_cycles(reference, last, shards, this.due_through_us)
    # A team that was parked has closed the cycles before that one only.
    closed = ledger.close_cycles(connection, this.close_no) if closed is None else closed
    counts = Counter(team_id for team_id, _ in closed)
    plans = ledger.plans_of({name: due[name][: counts[name]] for name in sorted(teams) if due.get(name)}, last)
    terms = Terms.from_reference(reference, [plan.team_id for plan in plans])
    opening = ledger.read_opening(
        connection,
        shards,
        terms.with_balances(),
        before_close=this.close_no,
        since_us=min((plan.start_us for plan in plans), default=this.as_of_us),
    )
    usage = home.usage.unbilled(committed(connection, this.pinned_batch))
    spans = {(plan.team_id, span.start_us): span for plan in plans for span in plan.cycles}
    return Again(closed=closed, spans=spans, rated=rate_in_parts(terms, plans, usage, opening))


def _zones(connection: Connection, close_no: int, mine: Cycles) -> Iterator[Comparison]:
    """Only said where it differs: dates may come out otherwise by other rules of zones."""
    was = connection.execute(select(closes.c.tzdata).where(closes.c.close_no == close_no)).scalar_one()
    if was != TZDATA_VERSION:
        team_id, start_us = min(mine)
        yield Comparison(
            what="version",
            team_id=team_id,
            cycle_start_us=start_us,
            key=f"close {close_no}",
            field="tzdata",
            stored=was,
            again=TZDATA_VERSION,
            verdict=Verdict.RENDERER,
        )


def _ledger(connection: Connection, this: Close, mine: Cycles, again: Again) -> Iterator[Comparison]:
    """Cycles, carry-over, draws, and usage by day."""
    stored, spans = _spans(again.closed, mine), _spans(again.spans, mine)
    yield from compared("cycle", _CYCLE, stored, spans)
    rated = again.rated
    for name, table, key, fields, frame in (
        ("carry", carry, ("api",), _CARRY, rated.carry),
        ("draw", draws, DRAW_COLUMNS[2:-2], _DRAWN, rated.draws),
        ("usage by day", usage_days, ("api",), _DAYS, _written(rated.days)),
    ):
        columns = ("team_id", "cycle_start_us", *key)
        kept, made = _stored(connection, this.close_no, table, (*key, *fields), mine), of_cycles(frame, mine)
        yield from compared(name, fields, _by_key(kept, columns, fields), _by_key(made, columns, fields))


def _spans(spans: Mapping[tuple[str, int], CycleSpan], mine: Cycles) -> dict[Key, Sequence[object]]:
    return {key: (span.end_us, span.time_zone, span.payg_subscription_id) for key, span in spans.items() if key in mine}


def _written(days: pd.DataFrame) -> pd.DataFrame:
    quantities = [json.dumps(one, separators=(",", ":")) for one in days["quantities_micro"]]
    return days.drop(columns="quantities_micro").assign(quantities=quantities)


def _stored(connection: Connection, close_no: int, table: Table, names: Sequence[str], mine: Cycles) -> pd.DataFrame:
    """The rows of a close's chosen cycles."""
    same = (cycles.c.team_id == table.c.team_id) & (cycles.c.cycle_start_us == table.c.cycle_start_us)
    columns = [table.c.team_id, table.c.cycle_start_us, *(table.c[name] for name in names)]
    found = connection.execute(select(*columns).join(cycles, same).where(cycles.c.close_no == close_no)).all()
    frame = pd.DataFrame(map(tuple, found), columns=[column.name for column in columns], dtype=object)
    return of_cycles(frame, mine)


def _by_key(frame: pd.DataFrame, key: Sequence[str], fields: Sequence[str]) -> dict[Key, Sequence[object]]:
    """Rows by their key; amounts of rows with one key are added up (a balance may be drawn on more than once)."""
    found: dict[Key, list[object]] = {}
    plain = frame[[*key, *fields]].astype(object).where(frame[[*key, *fields]].notna(), None)
    for row in rows(plain):
        cells = tuple(row)
        name, values = cells[: len(key)], list(cells[len(key) :])
        found[name] = values if name not in found else [a + b for a, b in zip(found[name], values, strict=True)]
    return dict(found)
