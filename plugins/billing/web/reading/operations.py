"""How the pipeline runs: sources and their windows, batches, rejects, parked teams, and which DAG run did what."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from sqlalchemy import ColumnElement, Connection, Row, func, select

from billing.core.instants import from_us
from billing.store import ledger, validations
from billing.store.batches import Completeness
from billing.store.reference_history import last_load
from billing.store.sources import last_stop
from billing.store.tables import (
    alerts,
    batches,
    charges,
    close_shards,
    log,
    mailings,
    open_ratings,
    parked,
    quarantine,
    reference_loads,
    sources,
    usage_views,
)
from billing.web.reading import known
from billing.web.reading.alerts import TOLD_ONCE
from billing.web.reading.finance import ParkedTeam, parked_teams
from billing.web.reading.freshness import Freshness, of_standing, settled
from billing.web.reading.keys import read_key, write_key
from billing.web.reading.known import instant
from billing.web.viewer import Viewer

BATCHES = 50
MOST_BATCHES = 500
RUNS = 50
PARKED = 100
_LOG_ROWS = 500
_MISSING = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRow:
    """An ingest batch (rule 3.7): records = accepted + duplicates + quarantined (rule 2.4), all 0 until it is
    committed. ``window_start`` is None where it says "all up to its end".
    """

    batch_no: int
    state: str
    kind: str
    source: str
    window_start: datetime | None
    window_end: datetime
    opened_at: datetime
    committed_at: datetime | None
    records: int
    accepted: int
    duplicates: int
    quarantined: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingWindow:
    """A window that was not taken, though a later one was."""

    start: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRow:
    """A source of usage: how far it is complete (None: nothing was taken yet), the first 20 windows that are missing,
    and why the last attempt after that took nothing (blank where there was none). ``location`` holds no credentials.
    """

    name: str
    kind: str
    location: str
    retired_at: datetime | None
    complete_through: datetime | None
    missing: tuple[MissingWindow, ...]
    missing_windows: int
    stopped_at: datetime | None
    stopped_kind: str
    stopped_why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """How many there are of something."""

    name: str
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """What a run did last: a DAG's (``href``: its page in Airflow, relative to Airflow's root), or a command's (blank).
    ``did``: kinds of the rows that it wrote into the log; ``checks``: outcomes of its checks.
    """

    run: str
    dag_id: str
    run_id: str
    href: str
    at: datetime
    did: tuple[str, ...]
    checks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CloseRow:
    """The newest close: what it pinned and how far it is."""

    close_no: int
    state: str
    as_of: datetime
    pinned_batch: int
    pinned_load: int
    shards: int
    shards_rated: int


@dataclass(frozen=True, kw_only=True, slots=True)
class OperationsPage:
    """``rejects``: records that wait in quarantine by reason. ``batches``: a page, newest first; blank ``next_key``:
    the last one. ``runs``: the last ones that wrote anything, newest first. ``charges`` and ``mailings`` by state,
    ``alerts`` that hold by kind. ``open_rated_through``: open cycles are rated with usage up to this instant.
    """

    freshness: Freshness
    sources: tuple[SourceRow, ...]
    batches: tuple[BatchRow, ...]
    next_key: str
    rejects: tuple[Count, ...]
    parked: tuple[ParkedTeam, ...]
    parked_total: int
    runs: tuple[RunRow, ...]
    close: CloseRow | None
    reference_load: int
    reference_loaded_at: datetime | None
    open_rated_through: datetime | None
    usage_through_batch: int | None
    charges: tuple[Count, ...]
    mailings: tuple[Count, ...]
    alerts: tuple[Count, ...]


def operations(connection: Connection, viewer: Viewer, *, key: str = "", limit: int = BATCHES) -> OperationsPage:
    """All of it. Raises ``NotForYou``; ``UsageError`` for what is no key of a page of batches."""
    viewer.demand_operator()
    page, next_key = _batches(connection, key, min(limit, MOST_BATCHES))
    found = settled(connection)[1]
    rated = connection.execute(select(open_ratings)).first()
    load = connection.execute(select(reference_loads).order_by(reference_loads.c.load_no.desc()).limit(1)).first()
    return OperationsPage(
        freshness=of_standing(
            connection, None if rated is None else rated.at_us, None if rated is None else rated.through_batch
        ),
        sources=_sources(connection, found),
        batches=page,
        next_key=next_key,
        rejects=_counts(connection, quarantine.c.reason, quarantine.c.ending == ""),
        parked=parked_teams(connection, PARKED),
        parked_total=known.count(connection, select(parked.c.team_id)),
        runs=_runs(connection),
        close=_close(connection),
        reference_load=last_load(connection),
        reference_loaded_at=None if load is None else from_us(load.loaded_at_us),
        open_rated_through=None if rated is None else from_us(rated.until_us),
        usage_through_batch=connection.execute(select(usage_views.c.through_batch)).scalar(),
        charges=_counts(connection, charges.c.state),
        mailings=_counts(connection, mailings.c.state),
        alerts=_counts(
            connection, alerts.c.kind, alerts.c.ended_at_us.is_(None), number=func.count(TOLD_ONCE.distinct())
        ),
    )


def _batches(connection: Connection, key: str, limit: int) -> tuple[tuple[BatchRow, ...], str]:
    query = select(batches).order_by(batches.c.batch_no.desc()).limit(limit + 1)
    before = read_key(key, "batches", (int,))
    if before is not None:
        query = query.where(batches.c.batch_no < before[0])
    rows = connection.execute(query).all()
    shown = tuple(_batch(row) for row in rows[:limit])
    return shown, write_key("batches", [shown[-1].batch_no]) if len(rows) > limit else ""


def _batch(row: Row[Any]) -> BatchRow:
    return BatchRow(
        batch_no=row.batch_no,
        state=row.state,
        kind=row.kind,
        source=row.source,
        window_start=instant(row.window_start_us),
        window_end=from_us(row.window_end_us),
        opened_at=from_us(row.opened_at_us),
        committed_at=instant(row.committed_at_us),
        records=row.records,
        accepted=row.accepted,
        duplicates=row.duplicates,
        quarantined=row.quarantined,
    )


def _sources(connection: Connection, found: Completeness) -> tuple[SourceRow, ...]:
    """Those that are registered, and those that were only ever delivered by hand."""
    registered = {row.name: row for row in connection.execute(select(sources))}
    return tuple(
        _source(connection, name, registered.get(name), found) for name in sorted({*registered, *found.sources})
    )


def _source(connection: Connection, name: str, row: Row[Any] | None, found: Completeness) -> SourceRow:
    through_us = found.sources.get(name)
    gaps = [missing for missing in found.missing if missing.source == name]
    stop = last_stop(connection, name, through_us)
    return SourceRow(
        name=name,
        kind=row.kind if row else "",
        location=row.location if row else "",
        retired_at=instant(row.retired_at_us) if row else None,
        complete_through=instant(through_us),
        missing=tuple(MissingWindow(start=from_us(gap.start_us), end=from_us(gap.end_us)) for gap in gaps[:_MISSING]),
        missing_windows=len(gaps),
        stopped_at=None if stop is None else from_us(stop.at_us),
        stopped_kind="" if stop is None else stop.kind,
        stopped_why="" if stop is None else stop.message,
    )


def _counts(
    connection: Connection, column: Any, *where: Any, number: ColumnElement[int] | None = None
) -> tuple[Count, ...]:
    """How many rows have each value, or the ``number`` of them."""
    of = func.count() if number is None else number
    rows = connection.execute(select(column, of).where(*where).group_by(column).order_by(column))
    return tuple(Count(name=name, count=int(count)) for name, count in rows)


def _runs(connection: Connection) -> tuple[RunRow, ...]:
    """From the last rows of the log and the last checks: runs by when they wrote last."""
    did: dict[str, dict[str, None]] = {}
    checks: dict[str, list[str]] = {}
    at: dict[str, int] = {}
    newest = select(log.c.at_us, log.c.kind, log.c.payload).order_by(log.c.seq.desc()).limit(_LOG_ROWS)
    for row in connection.execute(newest):
        if run := _run_of(row.payload):
            did.setdefault(run, {})[row.kind] = None
            at[run] = max(row.at_us, at.get(run, row.at_us))
    for check in validations.newest(connection, _LOG_ROWS):
        checks.setdefault(check.run, []).append(check.outcome)
        at[check.run] = max(check.at_us, at.get(check.run, check.at_us))
    last = sorted(at, key=lambda run: (-at[run], run))[:RUNS]
    return tuple(_run(run, at[run], did.get(run, ()), checks.get(run, ())) for run in last)


def _run_of(payload: str) -> str:
    by = json.loads(payload).get("by")
    run = by.get("run", "") if isinstance(by, dict) else ""
    return run if isinstance(run, str) else ""


def _run(run: str, at_us: int, did: Iterable[str], checks: Iterable[str]) -> RunRow:
    dag_id, slash, run_id = run.partition("/")
    is_dag = bool(slash) and " " not in dag_id
    return RunRow(
        run=run,
        dag_id=dag_id if is_dag else "",
        run_id=run_id if is_dag else "",
        href=f"dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}" if is_dag else "",
        at=from_us(at_us),
        did=tuple(sorted(did)),
        checks=tuple(sorted(set(checks))),
    )


def _close(connection: Connection) -> CloseRow | None:
    last = ledger.last_close(connection)
    if last is None:
        return None
    rated = select(close_shards.c.shard).where(close_shards.c.close_no == last.close_no)
    return CloseRow(
        close_no=last.close_no,
        state=last.state,
        as_of=from_us(last.as_of_us),
        pinned_batch=last.pinned_batch,
        pinned_load=last.pinned_load,
        shards=last.shards,
        shards_rated=known.count(connection, rated),
    )
