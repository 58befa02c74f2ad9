"""What admins were told of, as it is shown and counted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, case, func, select

from billing.core.alert_rules import AlertKind
from billing.core.instants import from_us
from billing.store.tables import CodePointText, alerts
from billing.web.reading import known
from billing.web.reading.known import instant

ENDED = 20
_Said = tuple[Row[Any], Mapping[str, Any]]

_LOW = alerts.c.kind == AlertKind.LOW.value
TOLD_ONCE: ColumnElement[str] = case(
    # Without "low/20%/": what is low begins with a kind of subscription, and no kind with any of these characters.
    (_LOW, func.ltrim(alerts.c.alert_key, "low/0123456789%", type_=CodePointText)),
    else_=alerts.c.alert_key,
)
"""What an alert is counted by: a balance that fell below several shares is low once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertRow:
    """What admins were told of; ``ended_at`` is None as long as it is so. ``detail``: what the alert says, by name;
    ``apis``: the APIs that it names, by id.
    """

    alert_key: str
    kind: str
    subject_id: str
    raised_at: datetime
    ended_at: datetime | None
    detail: Mapping[str, Any]
    apis: Mapping[str, known.Api]


def alerts_of(connection: Connection, team_id: str) -> tuple[AlertRow, ...]:
    """Those of a team that hold, newest first, then the last 20 that ended. Of a balance that fell below several shares
    that holds which tells the smallest.
    """
    mine = select(alerts, TOLD_ONCE.label("told")).where(alerts.c.team_id == team_id)
    newest = (alerts.c.raised_at_us.desc(), alerts.c.alert_key)
    held = connection.execute(mine.where(alerts.c.ended_at_us.is_(None)).order_by(*newest)).all()
    ended = mine.where(alerts.c.ended_at_us.is_not(None)).order_by(alerts.c.ended_at_us.desc(), alerts.c.alert_key)
    shown = _smallest([(row, json.loads(row.detail)) for row in held])
    shown += [(row, json.loads(row.detail)) for row in connection.execute(ended.limit(ENDED))]
    apis = known.apis(connection, {api for _, detail in shown for api in _named(detail)})
    return tuple(
        AlertRow(
            alert_key=row.alert_key,
            kind=row.kind,
            subject_id=row.subject_id,
            raised_at=from_us(row.raised_at_us),
            ended_at=instant(row.ended_at_us),
            detail=detail,
            apis={api: apis[api] for api in _named(detail)},
        )
        for row, detail in shown
    )


def _smallest(held: Sequence[_Said]) -> list[_Said]:
    """The same without those of which a smaller share is told as well."""
    least: dict[str, int] = {}
    for row, detail in held:
        least[row.told] = min(int(detail.get("percent", 0)), least.get(row.told, 100))
    return [(row, detail) for row, detail in held if int(detail.get("percent", 0)) == least[row.told]]


def _named(detail: Mapping[str, Any]) -> set[str]:
    """The APIs that an alert is about."""
    return {api for api in (*detail.get("apis", ()), detail.get("api", "")) if api}
