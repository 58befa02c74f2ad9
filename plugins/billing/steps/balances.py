"""Balances at an instant: what is available of what was granted, open cycles included (rule 8.1)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import pandas as pd

from billing.core.balances import balances_at
from billing.core.errors import DataRefused
from billing.core.instants import format_us, to_us
from billing.steps.open_ratings import used_at
from billing.store.home import Home
from billing.store.ledger import LastClosed, last_closed
from billing.store.reference_history import last_load


def balances(home: Home, at: datetime) -> pd.DataFrame:
    """Every balance valid at ``at``: a frame with ``core.balances.BALANCE_COLUMNS``, sorted as it is exported.

    Refused for an instant before a team's last close: what was open then is not told any more.
    """
    at_us = to_us(at)
    with home.database.read() as connection:
        demand_told(last_closed(connection).values(), at_us)
        terms, used = used_at(home, connection, last_load(connection), at_us)
    return balances_at(terms.teams, used, at_us)


def demand_told(last: Iterable[LastClosed], at_us: int) -> None:
    """Raise ``DataRefused`` for an instant before any team's last close."""
    end_us = max((one.end_us for one in last), default=at_us)
    if at_us < end_us:
        end = format_us(end_us)
        raise DataRefused(f"Balances are told from the last close on: the last closed cycle ends at {end}.")
