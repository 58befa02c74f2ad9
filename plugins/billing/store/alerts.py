"""Alerts as they were raised: each key once, with when it ended."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, select, update

from billing.core.alerting import Alert
from billing.store.database import in_parts, insert_rows
from billing.store.log import canonical
from billing.store.tables import alerts


def known_alerts(connection: Connection, keys: Collection[str]) -> dict[str, int | None]:
    """Those of these keys that were ever raised, with when they ended; None where they hold."""
    found: dict[str, int | None] = {}
    for some in in_parts(sorted(keys)):
        mine = alerts.c.alert_key.in_(some)
        found |= {row.alert_key: row.ended_at_us for row in connection.execute(select(alerts).where(mine))}
    return found


def holding_alerts(connection: Connection, team_ids: Collection[str]) -> set[str]:
    """The keys of alerts that hold for these teams."""
    holding = select(alerts.c.alert_key, alerts.c.team_id).where(alerts.c.ended_at_us.is_(None))
    return {row.alert_key for row in connection.execute(holding) if row.team_id in team_ids}


def write_raised(connection: Connection, raised: Iterable[Alert], at_us: int) -> None:
    """Raise new ones."""
    rows = [
        {
            "alert_key": alert.key,
            "kind": alert.kind.value,
            "team_id": alert.team_id,
            "subject_id": alert.subject_id,
            "raised_at_us": at_us,
            "ended_at_us": None,
            "detail": canonical({**alert.detail, "subject": alert.subject}),
        }
        for alert in raised
    ]
    insert_rows(connection, alerts, rows)


def set_ended(connection: Connection, keys: Collection[str], at_us: int | None) -> None:
    """Say that these do not hold any more from an instant on, or (None) that they hold again."""
    for some in in_parts(sorted(keys)):
        connection.execute(update(alerts).where(alerts.c.alert_key.in_(some)).values(ended_at_us=at_us))


def read_alerts(
    connection: Connection, team_ids: Collection[str] | None = None, *, ended: bool = False
) -> list[tuple[Row[Any], Mapping[str, Any]]]:
    """Alerts that hold (all that were ever raised, with ``ended``), each with its detail; of some teams where they are
    given. The newest first.
    """
    query = select(alerts).order_by(alerts.c.raised_at_us.desc(), alerts.c.alert_key)
    if not ended:
        query = query.where(alerts.c.ended_at_us.is_(None))
    rows = connection.execute(query)
    return [(row, json.loads(row.detail)) for row in rows if team_ids is None or row.team_id in team_ids]
