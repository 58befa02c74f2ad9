"""A run of collecting in a process that may be killed; the gateway is kept in a file and survives it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from billing.core.collecting import CollectingRules
from billing.steps.collect import collect
from billing.steps.homes import home_at
from tests.kills.driver import die_at
from tests.payments.fake_gateway import FakeGateway


def run(folder: Path, url: str | None, gateway: Path, now: str, kill: Sequence[object] = ()) -> None:
    """Collect at an instant; die at a point when it is reached for the n-th time (``kill``)."""
    if kill:
        die_at(str(kill[0]), int(str(kill[1])))
    home = home_at(folder, url)
    instant = datetime.fromisoformat(now).astimezone(UTC)
    collect(home, {"fake": FakeGateway(file=gateway)}, CollectingRules(at_once=2), instant)
    home.close()
