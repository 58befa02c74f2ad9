"""The demo's books as they stand by now: what was mended in them after the demo counts."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from billing.core.alert_rules import AlertRules
from billing.core.instants import from_us, parse_instant_us
from billing.demo.dataset import CLOSES
from billing.demo.reference import MENDED_COUNTRY
from billing.steps.homes import home_at
from billing.steps.open_ratings import refresh_open
from billing.steps.reference import current_reference
from billing.steps.standings import refresh_standings
from billing.steps.status import status
from billing.steps.usage_views import refresh_views


def tell_how_teams_stand(folder: Path) -> datetime:
    """What the pages show, as of the last close, whose instant is returned: in a home that lives, ``balances_refresh``
    does it all the time.
    """
    home = home_at(folder / "home")
    try:
        last = status(home).last_close
        at = max(CLOSES[-1], from_us(parse_instant_us(last))) if last else CLOSES[-1]
        refresh_open(home)
        refresh_standings(home, at, AlertRules(mail=False))
        refresh_views(home, at)
        return at
    finally:
        home.close()


def reference_folder(folder: Path) -> Path:
    """The reference data to go on with: once the mended ones were loaded, the others would take a tax rate back."""
    home = home_at(folder / "home")
    try:
        _, known = current_reference(home)
        is_mended = MENDED_COUNTRY in set(known["tax_rates"]["country"])
    finally:
        home.close()
    return folder / "data" / ("reference-mended" if is_mended else "reference")
