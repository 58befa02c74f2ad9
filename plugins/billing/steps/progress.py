"""How far long work has come: whoever shows it (a bar, a line in a log) passes a function; steps only call it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]
"""``progress(what, done, total)``; a total of 0 is not known yet."""


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""
