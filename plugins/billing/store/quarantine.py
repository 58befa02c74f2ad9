"""Quarantined records and how each ended: a row is never deleted, and its reason and raw bytes never change."""

from __future__ import annotations

from typing import Final

from billing.store.tables import quarantine

WAITING: Final = ""
ACCEPTED, DUPLICATE, QUARANTINED = "accepted", "duplicate", "quarantined"
REPLACED, DISMISSED = "replaced", "dismissed"
"""How a record ended: replayed by a batch that accepted it, knew it, or quarantined it again (as a row of its own);
replaced by its corrected delivery; given up by a person, with a reason.
"""

STANDS = quarantine.c.ending.not_in((ACCEPTED, DUPLICATE, QUARANTINED))
"""Rows that still say what became of their record. Of the others the batch that replayed them says it."""
