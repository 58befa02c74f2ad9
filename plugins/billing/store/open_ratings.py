"""Open cycles as they were rated last, provisionally: kept so that only teams with new usage are rated again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from sqlalchemy import Connection, delete, insert, select

from billing.core.rating import Rated
from billing.core.streams import TeamPlan
from billing.store.database import insert_columns
from billing.store.ledger import draw_columns
from billing.store.tables import open_carry, open_draws, open_ratings, open_teams

_NAMED_AT_ONCE = 500
_DRAWN = ("team_id", "api", "source", "subscription_id", "grant_id", "period_start_us", "charged_units", "tokens_micro")


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRating:
    """Usage up to ``through_batch`` that was effective before ``until_us``, by the reference data of a load.

    ``teams``: where the rating of each begins, and the batch pinned by its last close.
    """

    through_batch: int
    load_no: int
    until_us: int
    teams: Mapping[str, tuple[int, int]]

    def holds(self, plan: TeamPlan) -> bool:
        """Whether a team was rated from where the plan begins."""
        return self.teams.get(plan.team_id) == (plan.start_us, plan.pinned_batch)


def read_rating(connection: Connection) -> OpenRating | None:
    """The newest rating; None before the first."""
    row = connection.execute(select(open_ratings)).first()
    if row is None:
        return None
    teams = {r.team_id: (r.from_us, r.pinned_batch) for r in connection.execute(select(open_teams))}
    return OpenRating(through_batch=row.through_batch, load_no=row.load_no, until_us=row.until_us, teams=teams)


def read_draws(connection: Connection, team_ids: Collection[str]) -> pd.DataFrame:
    """What open cycles of these teams have drawn: team_id, and those of ``rating.DRAW_COLUMNS`` that balances take."""
    rows = connection.execute(select(*(open_draws.c[name] for name in _DRAWN)).order_by(open_draws.c.draw_no)).all()
    return pd.DataFrame([row for row in rows if row.team_id in team_ids], columns=list(_DRAWN), dtype=object)


def write_rating(
    connection: Connection,
    *,
    through_batch: int,
    load_no: int,
    until_us: int,
    at_us: int,
    plans: Sequence[TeamPlan],
    rated: Rated,
    gone: Collection[str],
) -> None:
    """Replace what is said of the planned teams, and take out those that are ``gone``."""
    for_teams = sorted({plan.team_id for plan in plans} | set(gone))
    for low in range(0, len(for_teams), _NAMED_AT_ONCE):
        some = for_teams[low : low + _NAMED_AT_ONCE]
        for table in (open_teams, open_draws, open_carry):
            connection.execute(delete(table).where(table.c.team_id.in_(some)))
    starts: dict[str, list[object]] = {
        "team_id": [plan.team_id for plan in plans],
        "from_us": [plan.start_us for plan in plans],
        "pinned_batch": [plan.pinned_batch for plan in plans],
    }
    insert_columns(connection, open_teams, starts)
    insert_columns(connection, open_draws, draw_columns(rated.draws[list(_DRAWN)]))
    last = rated.carry.drop_duplicates(["team_id", "api"], keep="last")
    insert_columns(connection, open_carry, {n: last[n].tolist() for n in ("team_id", "api", "closing_micro")})
    connection.execute(delete(open_ratings))
    row = {"rating_no": 1, "through_batch": through_batch, "load_no": load_no, "until_us": until_us, "at_us": at_us}
    connection.execute(insert(open_ratings).values(**row))
