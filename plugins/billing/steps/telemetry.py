"""Structured logs: an event and its fields (batch, source, team, cycle, close), for machines that search them.

Whoever runs the steps configures structlog: Airflow does in every task, the command by ``--log``. Where nobody did,
nothing is said. Counts come back from the steps; what is made of them (metrics) is the caller's.
"""

from __future__ import annotations

import structlog


def say(event: str, **fields: object) -> None:
    """What happened, at level info."""
    if structlog.is_configured():
        structlog.get_logger("billing").info(event, **fields)


def say_detail(event: str, **fields: object) -> None:
    """One of many things alike, at level debug."""
    if structlog.is_configured():
        structlog.get_logger("billing").debug(event, **fields)


def warn(event: str, **fields: object) -> None:
    """What someone should look at, at level warning."""
    if structlog.is_configured():
        structlog.get_logger("billing").warning(event, **fields)
