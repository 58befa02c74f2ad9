"""The ledger: closes, cycles, carry-over, draws, parked teams. What is written here of a closed cycle never changes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, desc, func, insert, select, update

from billing.core.cycles import CycleSpan, day_of
from billing.core.instants import DAY_US
from billing.core.model import Kind, Parked, ParkedReason
from billing.core.rating import Rated
from billing.core.spans import Opening, Used
from billing.core.streams import TeamPlan
from billing.store.database import in_parts, insert_columns, insert_rows
from billing.store.shards import shard_of
from billing.store.tables import carry, close_shards, closes, cycles, draws, parked, usage_days

OPEN, RATED, APPROVED, ISSUED = "open", "rated", "approved", "issued"
"""A cycle is rated once its close has pinned and rated it, approved where that was asked for, and closed once it is
issued. Its close is open until it is issued, or rated from when it asks for approval on (rule 6.7).
"""


_CLOSED_DRAW = and_(
    cycles.c.team_id == draws.c.team_id, cycles.c.cycle_start_us == draws.c.cycle_start_us, cycles.c.state == ISSUED
)
# No period of a free balance is longer (rule 5.2).
_PERIOD_US = 32 * DAY_US


@dataclass(frozen=True, kw_only=True, slots=True)
class Close:
    """A run of the close with what it pinned (rule 3.4)."""

    close_no: int
    state: str
    as_of_us: int
    due_through_us: int
    pinned_batch: int
    pinned_load: int
    shards: int
    approval: str = ""
    approved_at_us: int | None = None

    @property
    def issue_us(self) -> int:
        """The issue instant: the approval's where it was approved, else ``as_of`` (rule 6.3)."""
        return self.as_of_us if self.approved_at_us is None else self.approved_at_us


@dataclass(frozen=True, kw_only=True, slots=True)
class LastClosed:
    """Where a team's closed cycles end, and the batch pinned by the last of them."""

    end_us: int
    pinned_batch: int


def last_close(connection: Connection) -> Close | None:
    """The newest close, whatever its state."""
    row = connection.execute(select(closes).order_by(desc(closes.c.close_no)).limit(1)).first()
    return _close(row) if row else None


def read_close(connection: Connection, close_no: int) -> Close:
    """A close by its number."""
    return _close(connection.execute(select(closes).where(closes.c.close_no == close_no)).one())


def rated_shards(connection: Connection, close_no: int) -> set[int]:
    """The shards of a close that are rated already."""
    return set(connection.execute(select(close_shards.c.shard).where(close_shards.c.close_no == close_no)).scalars())


def last_closed(
    connection: Connection,
    shards: Iterable[int] | None = None,
    *,
    ended_by_us: int | None = None,
    before_close: int | None = None,
) -> dict[str, LastClosed]:
    """The last closed cycle of every team (of some shards) that has one; of those that end by ``ended_by_us`` only, and
    that an earlier close than ``before_close`` has closed, where these are given.
    """
    mine = _closed_by(ended_by_us, before_close)
    newest = select(cycles.c.team_id, func.max(cycles.c.cycle_start_us).label("start")).where(mine)
    if shards is not None:
        newest = newest.where(cycles.c.shard.in_(list(shards)))
    last = newest.group_by(cycles.c.team_id).subquery()
    query = select(cycles.c.team_id, cycles.c.cycle_end_us, cycles.c.pinned_batch).join(
        last, and_(cycles.c.team_id == last.c.team_id, cycles.c.cycle_start_us == last.c.start)
    )
    return {
        row.team_id: LastClosed(end_us=row.cycle_end_us, pinned_batch=row.pinned_batch)
        for row in connection.execute(query)
    }


def plans_of(spans: Mapping[str, Sequence[CycleSpan]], last: Mapping[str, LastClosed]) -> list[TeamPlan]:
    """What is to be rated of teams: these cycles, from where their last closed ones ended; in the order given."""
    return [
        TeamPlan(team_id=name, cycles=tuple(mine), pinned_batch=last[name].pinned_batch if name in last else 0)
        for name, mine in spans.items()
    ]


def read_opening(
    connection: Connection,
    shards: Iterable[int] | None,
    grant_subscriptions: Sequence[str],
    *,
    ended_by_us: int | None = None,
    before_close: int | None = None,
    since_us: int = -(2**62),
) -> Opening:
    """Where closed cycles left the teams of some shards (all where None): those that end by ``ended_by_us``, and that
    earlier closes than ``before_close`` have closed, where these are given.

    Carry-over is that of each team's last closed cycle; draws are summed over every closed cycle that drew on the
    subscriptions, whichever team they belonged to then. Nothing is said of periods that were over by ``since_us``.
    """
    closed = _closed_by(ended_by_us, before_close)
    mine = [closed] + ([] if shards is None else [cycles.c.shard.in_(list(shards))])
    newest = (
        select(cycles.c.team_id, func.max(cycles.c.cycle_start_us).label("start"))
        .where(*mine)
        .group_by(cycles.c.team_id)
        .subquery()
    )
    last = and_(carry.c.team_id == newest.c.team_id, carry.c.cycle_start_us == newest.c.start)
    rows = connection.execute(select(carry.c.team_id, carry.c.api, carry.c.closing_micro).join(newest, last))
    carried = {(row.team_id, row.api): int(row.closing_micro) for row in rows if row.closing_micro}
    return Opening(carry_micro=carried, used=_used(connection, grant_subscriptions, closed, since_us))


def used_before(
    connection: Connection, subscriptions: Sequence[str], team_id: str, close_no: int, start_us: int
) -> Used:
    """What of subscriptions was used before a team's cycle that a close has closed: by what earlier closes have closed,
    and by the team's earlier cycles in the same close.
    """
    same_close = (cycles.c.close_no == close_no) & (cycles.c.team_id == team_id) & (cycles.c.cycle_start_us < start_us)
    earlier = (cycles.c.close_no < close_no) | same_close
    return _used(connection, subscriptions, (cycles.c.state == ISSUED) & earlier, start_us)


def write_rated(
    connection: Connection,
    close: Close,
    shard_by_team: Mapping[str, int],
    due: Mapping[str, Sequence[CycleSpan]],
    rated: Rated,
) -> None:
    """Write a shard's rated cycles: pinned, not closed before they are issued."""
    insert_columns(connection, cycles, _cycle_columns(close, shard_by_team, due))
    insert_columns(connection, carry, _columns(rated.carry))
    insert_columns(connection, draws, draw_columns(rated.draws))
    days = _columns(rated.days.drop(columns="quantities_micro"))
    quantities = [json.dumps(one, separators=(",", ":")) for one in rated.days["quantities_micro"]]
    insert_columns(connection, usage_days, days | {"quantities": quantities})


def write_parked(
    connection: Connection,
    close: Close,
    shards: Sequence[int],
    now_parked: Sequence[Parked],
    shard_by_team: Mapping[str, int],
) -> None:
    """Replace what is said of the teams of these shards: those that are not parked at this close are taken out."""
    connection.execute(delete(parked).where(parked.c.shard.in_(shards)))
    insert_rows(connection, parked, [_parked_row(p, close.close_no, shard_by_team[p.team_id]) for p in now_parked])


def read_parked(connection: Connection, close_no: int | None = None) -> tuple[Parked, ...]:
    """Who is parked now, by team: all, or those whom this close has parked."""
    query = select(parked).order_by(parked.c.team_id)
    if close_no is not None:
        query = query.where(parked.c.close_no == close_no)
    return tuple(
        Parked(team_id=r.team_id, cycle_start_us=r.cycle_start_us, reason=ParkedReason(r.reason), detail=r.detail)
        for r in connection.execute(query)
    )


def _parked_row(team: Parked, close_no: int, shard: int) -> dict[str, object]:
    return {
        "team_id": team.team_id,
        "cycle_start_us": team.cycle_start_us,
        "reason": team.reason.value,
        "detail": team.detail,
        "close_no": close_no,
        "shard": shard,
    }


def finish_shards(connection: Connection, close_no: int, rows: Sequence[Mapping[str, int]]) -> None:
    """Say that shards are rated; a second writer of the same shard is refused by the key."""
    insert_rows(connection, close_shards, [{"close_no": close_no, **row} for row in rows])


def open_close(connection: Connection, values: Mapping[str, object]) -> None:
    """Write a new close."""
    connection.execute(insert(closes).values(**values))


def ask_always(connection: Connection, close_no: int, approval: str) -> None:
    """Have a close that was interrupted ask for approval: its settings gave way to those of a person."""
    connection.execute(update(closes).where(closes.c.close_no == close_no).values(approval=approval))


def turn(connection: Connection, close_no: int, state: str, **values: object) -> None:
    """Move a close and its cycles to the next state."""
    connection.execute(update(closes).where(closes.c.close_no == close_no).values(state=state, **values))
    connection.execute(update(cycles).where(cycles.c.close_no == close_no).values(state=state))


def discard(connection: Connection, close_no: int, team_ids: Iterable[str]) -> None:
    """Take back what a close has rated of teams and not issued, as if it had not (rule 6.7)."""
    of_close = cycles.c.close_no == close_no
    for some in in_parts(sorted(team_ids)):
        for table in (carry, draws, usage_days):
            same = and_(cycles.c.team_id == table.c.team_id, cycles.c.cycle_start_us == table.c.cycle_start_us)
            rated = select(cycles.c.team_id).where(same, of_close).exists()
            connection.execute(delete(table).where(table.c.team_id.in_(some), rated))
        connection.execute(delete(cycles).where(cycles.c.team_id.in_(some), of_close))


def park_rejected(connection: Connection, close_no: int, rejected: Sequence[Parked]) -> None:
    """Park teams beside those that are parked; what is said of these gives way."""
    for some in in_parts(sorted(team.team_id for team in rejected)):
        connection.execute(delete(parked).where(parked.c.team_id.in_(some)))
    insert_rows(connection, parked, [_parked_row(p, close_no, shard_of(p.team_id)) for p in rejected])


def close_cycles(connection: Connection, close_no: int) -> dict[tuple[str, int], CycleSpan]:
    """The cycles of a close by team and start."""
    rows = connection.execute(select(cycles).where(cycles.c.close_no == close_no))
    return {
        (r.team_id, r.cycle_start_us): CycleSpan(
            r.cycle_start_us, r.cycle_end_us, r.time_zone, r.payg_subscription_id or None
        )
        for r in rows
    }


def close_draws(connection: Connection, close_no: int, source: Kind) -> pd.DataFrame:
    """The draws of a close from one source: a frame with the columns of ``core.rating.DRAW_COLUMNS``."""
    mine = and_(
        cycles.c.team_id == draws.c.team_id,
        cycles.c.cycle_start_us == draws.c.cycle_start_us,
        cycles.c.close_no == close_no,
    )
    columns = [c for c in draws.c if c.name != "draw_no"]
    rows = connection.execute(select(*columns).join(cycles, mine).where(draws.c.source == source.value)).all()
    return pd.DataFrame(rows, columns=[c.name for c in columns], dtype=object)


def used_of_grants(connection: Connection) -> dict[str, int]:
    """What closed cycles have used of every grant, in 10^-6, by grant_id."""
    return _grants_used(connection, draws.c.grant_id != "")


def _closed_by(end_us: int | None, before_close: int | None) -> ColumnElement[bool]:
    """Closed cycles: all, or those that end by an instant, or that earlier closes have closed."""
    closed = cycles.c.state == ISSUED
    if end_us is not None:
        closed &= cycles.c.cycle_end_us <= end_us
    return closed if before_close is None else closed & (cycles.c.close_no < before_close)


def _used(connection: Connection, subscriptions: Sequence[str], closed: ColumnElement[bool], since_us: int) -> Used:
    free: dict[tuple[str, str, int], int] = {}
    granted: dict[str, int] = {}
    key = (draws.c.subscription_id, draws.c.api, draws.c.period_start_us)
    units = select(*key, func.sum(draws.c.charged_units).label("units")).join(cycles, _CLOSED_DRAW).group_by(*key)
    for some in in_parts(subscriptions):
        mine = and_(draws.c.subscription_id.in_(some), closed)
        still_running = draws.c.period_start_us > since_us - _PERIOD_US
        found = connection.execute(units.where(mine, draws.c.source == Kind.FREE.value, still_running))
        free |= {(r.subscription_id, r.api, r.period_start_us): int(r.units) for r in found}
        granted |= _grants_used(connection, mine)
    return Used(free_units=free, granted_micro=granted)


def _grants_used(connection: Connection, where: ColumnElement[bool]) -> dict[str, int]:
    totals = select(draws.c.grant_id, func.sum(draws.c.tokens_micro).label("tokens")).join(cycles, _CLOSED_DRAW)
    found = connection.execute(totals.where(where, draws.c.grant_id != "").group_by(draws.c.grant_id))
    return {r.grant_id: int(r.tokens) for r in found}


def _close(row: Row[tuple[object, ...]]) -> Close:
    return Close(**{name: getattr(row, name) for name in Close.__slots__})


def draw_columns(drawn: pd.DataFrame) -> dict[str, list[object]]:
    """Draws as a driver takes them: a frame with some of ``core.rating.DRAW_COLUMNS``, ``source`` among them."""
    columns = _columns(drawn.astype(object).where(drawn.notna(), None))
    # Members of an enumeration, which drivers take for something of their own.
    return columns | {"source": [str(source) for source in columns["source"]]}


def _columns(frame: pd.DataFrame) -> dict[str, list[object]]:
    return {str(name): frame[name].tolist() for name in frame}


def _cycle_columns(
    close: Close, shard_by_team: Mapping[str, int], due: Mapping[str, Sequence[CycleSpan]]
) -> dict[str, list[Any]]:
    spans = [span for mine in due.values() for span in mine]
    teams = [team_id for team_id, mine in due.items() for _ in mine]
    same: dict[str, Any] = {
        "close_no": close.close_no,
        "state": RATED,
        "pinned_batch": close.pinned_batch,
        "pinned_load": close.pinned_load,
    }
    return {
        "team_id": teams,
        "cycle_start_us": [span.start_us for span in spans],
        "cycle_end_us": [span.end_us for span in spans],
        "period_first_day": [day_of(span.time_zone, span.start_us) for span in spans],
        "period_last_day": [day_of(span.time_zone, span.end_us - 1) for span in spans],
        "time_zone": [span.time_zone for span in spans],
        "payg_subscription_id": [span.payg_subscription_id or "" for span in spans],
        "shard": [shard_by_team[team_id] for team_id in teams],
        **{name: [value] * len(spans) for name, value in same.items()},
    }
