"""Properties are given all the time that a busy machine needs."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no_deadline", deadline=None, print_blob=True)
settings.load_profile("no_deadline")
