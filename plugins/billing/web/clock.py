"""The instant of a request: now, or the one that a data set of the past is shown at (``BILLING_PAGES_AT``)."""

from __future__ import annotations

from datetime import UTC, datetime

from billing.settings.settings import Settings


def now() -> datetime:
    """From which relative times are told."""
    return Settings.read().pages_at or datetime.now(UTC)


def is_set() -> bool:
    """Whether the pages are told what time it is; they say so then."""
    return Settings.read().pages_at is not None
