"""The named points at which a step has just made something durable, or (``... written``, of what is issued by hand) is
about to.

Whoever wants to know (a test that kills the process there) listens by ``listen``; otherwise nothing happens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

INGEST_ARCHIVED: Final = "ingest: sources archived"
INGEST_OPENED: Final = "ingest: batch opened"
INGEST_USAGE_APPENDED: Final = "ingest: usage appended"
INGEST_IDS_APPENDED: Final = "ingest: ids appended"
INGEST_COMMITTED: Final = "ingest: batch committed"
CLOSE_OPENED: Final = "close: opened and pinned"
CLOSE_SHARDS_RATED: Final = "close: shards rated"
CLOSE_RATED: Final = "close: all rated"
CLOSE_ISSUED: Final = "close: invoices issued"
RENDER_WRITTEN: Final = "render: document written"
RENDER_RECORDED: Final = "render: document recorded"
CREDIT_NOTE_WRITTEN: Final = "credit: note written"
CREDIT_NOTE_ISSUED: Final = "credit: note issued"
REISSUE_WRITTEN: Final = "reissue: invoice written"
REISSUE_ISSUED: Final = "reissue: invoice issued"
STANDINGS_PACES: Final = "standings: paces written"
STANDINGS_TEAMS: Final = "standings: a part of the teams written"
STANDINGS_ALERTS: Final = "standings: alerts and mails written"
STANDINGS_TOLD: Final = "standings: all told"
UPKEEP_PARTITION: Final = "upkeep: a partition put together"
UPKEEP_CHECKPOINT: Final = "upkeep: checkpoint written"
UPKEEP_VACUUMED: Final = "upkeep: old files deleted"

BY_HAND: Final = (CREDIT_NOTE_WRITTEN, CREDIT_NOTE_ISSUED, REISSUE_WRITTEN, REISSUE_ISSUED)
"""What a person does to an issued invoice (rule 6.4)."""

UPKEEP: Final = (UPKEEP_PARTITION, UPKEEP_CHECKPOINT, UPKEEP_VACUUMED)
"""What changes no number."""

STANDINGS: Final = (STANDINGS_PACES, STANDINGS_TEAMS, STANDINGS_ALERTS, STANDINGS_TOLD)
"""What tells how teams stand, and bills nothing."""

ALL: Final = (
    INGEST_ARCHIVED,
    INGEST_OPENED,
    INGEST_USAGE_APPENDED,
    INGEST_IDS_APPENDED,
    INGEST_COMMITTED,
    CLOSE_OPENED,
    CLOSE_SHARDS_RATED,
    CLOSE_RATED,
    CLOSE_ISSUED,
    RENDER_WRITTEN,
    RENDER_RECORDED,
)
"""What usage goes through on its way to documents."""

_listeners: list[Callable[[str], None]] = []


def listen(listener: Callable[[str], None]) -> None:
    """Call ``listener`` with the name of every point that is reached from now on."""
    _listeners.append(listener)


def reached(point: str) -> None:
    """Say that a point is reached."""
    for listener in _listeners:
        listener(point)
