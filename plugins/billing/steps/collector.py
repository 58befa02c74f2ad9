"""Python's collector of cyclic garbage, out of the way while many rows are alive."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """No cycles are looked for meanwhile; what is not referred to any more is freed as ever.

    Rating makes hundreds of thousands of small tuples, none of them part of a cycle: to look through them again and
    again took a fifth of a close.
    """
    was_at_work = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_at_work:
            gc.enable()
