"""Open cycles as they were rated last, provisionally: kept so that only teams with new usage are rated again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from sqlalchemy import Connection, Table, delete, insert, select

from billing.core.rating import DRAW_COLUMNS, Rated
from billing.core.streams import TeamPlan
from billing.store.database import in_parts, insert_columns
from billing.store.ledger import draw_columns
from billing.store.tables import open_carry, open_draws, open_ratings, open_teams

_BY_NAME_MAX = 5_000
CARRIED = ("team_id", "cycle_start_us", "api", "opening_micro", "usage_micro", "closing_micro")
"""What is kept of a rating's carry frame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRating:
    """Usage up to ``through_batch`` that was effective before ``until_us``, by the reference data of a load.

    ``teams``: where the rating of each begins, and the batch pinned by its last close. ``rating_no`` counts ratings.
    """

    rating_no: int
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
    told = {name: getattr(row, name) for name in ("rating_no", "through_batch", "load_no", "until_us")}
    return OpenRating(**told, teams=teams)


def rated_since(connection: Connection, rating_no: int) -> set[str]:
    """The teams that a later rating has rated."""
    return set(connection.execute(select(open_teams.c.team_id).where(open_teams.c.rating_no > rating_no)).scalars())


def read_draws(connection: Connection, team_ids: Collection[str]) -> pd.DataFrame:
    """What open cycles of these teams have drawn: a frame with ``rating.DRAW_COLUMNS``."""
    return pd.DataFrame(
        _of_teams(connection, open_draws, DRAW_COLUMNS, team_ids), columns=list(DRAW_COLUMNS), dtype=object
    )


def read_carry(connection: Connection, team_ids: Collection[str]) -> pd.DataFrame:
    """What open cycles of these teams carry: a frame with ``CARRIED``, by team, API and cycle."""
    rows = _of_teams(connection, open_carry, CARRIED, team_ids)
    frame = pd.DataFrame(rows, columns=list(CARRIED), dtype=object)
    return frame.sort_values(["team_id", "api", "cycle_start_us"], ignore_index=True)


def _of_teams(
    connection: Connection, table: Table, names: Sequence[str], team_ids: Collection[str]
) -> list[tuple[object, ...]]:
    """Rows of some teams: asked for by name unless they are many, else chosen among all."""
    query = select(*(table.c[name] for name in names))
    if len(team_ids) > _BY_NAME_MAX:
        return [tuple(row) for row in connection.execute(query) if row.team_id in team_ids]
    parts = in_parts(sorted(team_ids))
    return [tuple(row) for some in parts for row in connection.execute(query.where(table.c.team_id.in_(some)))]


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
    number = int(connection.execute(select(open_ratings.c.rating_no)).scalar() or 0) + bool(plans or gone)
    for_teams = sorted({plan.team_id for plan in plans} | set(gone))
    for some in in_parts(for_teams):
        for table in (open_teams, open_draws, open_carry):
            connection.execute(delete(table).where(table.c.team_id.in_(some)))
    starts: dict[str, list[object]] = {
        "team_id": [plan.team_id for plan in plans],
        "from_us": [plan.start_us for plan in plans],
        "pinned_batch": [plan.pinned_batch for plan in plans],
        "rating_no": [number] * len(plans),
    }
    insert_columns(connection, open_teams, starts)
    insert_columns(connection, open_draws, draw_columns(rated.draws[list(DRAW_COLUMNS)]))
    insert_columns(connection, open_carry, {name: rated.carry[name].tolist() for name in CARRIED})
    connection.execute(delete(open_ratings))
    row = {
        "rating_no": number,
        "through_batch": through_batch,
        "load_no": load_no,
        "until_us": until_us,
        "at_us": at_us,
    }
    connection.execute(insert(open_ratings).values(**row))
