"""DuckDB, as the store uses it: one engine a process, a connection of its own for each piece of work."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import duckdb

MEMORY_MB = 512
THREADS = 2


@contextmanager
def engine(memory_mb: int = MEMORY_MB) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that sees nothing but what is registered in it, and is closed afterwards.

    ``memory_mb`` bounds what the process's engine holds from now on; a query goes on on disk beyond it.
    """
    with _of_process(os.getpid()).cursor() as connection:
        connection.execute(f"set global memory_limit = '{memory_mb}MB'")
        yield connection


@lru_cache(maxsize=1)
def _of_process(pid: int) -> duckdb.DuckDBPyConnection:
    """The engine of this process; a forked one makes its own, since threads are not forked."""
    made = duckdb.connect()
    made.execute(f"set global threads = {THREADS}")
    made.execute("set global preserve_insertion_order = false")
    made.execute("set global temp_directory = ?", [str(Path(tempfile.gettempdir()) / f"billing-engine-{pid}")])
    return made
