"""DuckDB, as the store uses it: one engine a process, a connection of its own for each piece of work."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

MEMORY_MB = 512
THREADS = 2
_bound_mb = MEMORY_MB
_ENGINES: dict[int, duckdb.DuckDBPyConnection] = {}


def bound_memory(memory_mb: int) -> None:
    """From now on the engine of this process holds so much at most, and goes on on disk beyond it."""
    global _bound_mb
    _bound_mb = memory_mb


@contextmanager
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that sees nothing but what is registered in it, and is closed afterwards."""
    with _of_process(os.getpid()).cursor() as connection:
        connection.execute(f"set global memory_limit = '{_bound_mb}MB'")
        yield connection


def _of_process(pid: int) -> duckdb.DuckDBPyConnection:
    """The engine of this process. A forked one makes its own and leaves the other alone: threads are not forked, and
    closing it would wait for them.
    """
    if pid not in _ENGINES:
        made = duckdb.connect()
        made.execute(f"set global threads = {THREADS}")
        made.execute("set global preserve_insertion_order = false")
        made.execute("set global temp_directory = ?", [str(Path(tempfile.gettempdir()) / f"billing-engine-{pid}")])
        _ENGINES.setdefault(pid, made)  # another thread may have been faster
    return _ENGINES[pid]
