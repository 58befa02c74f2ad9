"""The first half of the scenario's close."""

from __future__ import annotations

from billing.core.instants import from_us, parse_instant_us
from billing.steps.close import open_close, pending_shards, rate_shards
from billing.store.home import Home


def rate(home: Home) -> None:
    """Open the close after August and rate all its shards; issue nothing."""
    close_no, _ = open_close(home, from_us(parse_instant_us("2026-09-02T00:00:00Z")))
    for group in pending_shards(home, close_no):
        rate_shards(home, close_no, group)
