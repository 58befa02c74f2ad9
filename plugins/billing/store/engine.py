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
_ENGINES: dict[int, duckdb.DuckDBPyConnection] = {}


@contextmanager
def engine(memory_mb: int = MEMORY_MB) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that sees nothing but what is registered in it, and is closed afterwards.

    ``memory_mb`` bounds what the process's engine holds from now on; a query goes on on disk beyond it.
    """
    with _of_process(os.getpid()).cursor() as connection:
        connection.execute(f"set global memory_limit = '{memory_mb}MB'")
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
        _ENGINES[pid] = made
    return _ENGINES[pid]
