"""One engine a process, and nothing shared between pieces of work."""

from __future__ import annotations

import os

import duckdb
import pyarrow as pa
import pytest

from billing.store.engine import MEMORY_MB, bound_memory, engine


def test_what_is_registered_is_gone_afterwards() -> None:
    with engine() as connection, engine() as other:
        connection.register("mine", pa.table({"n": [1, 2]}))
        assert connection.execute("select sum(n) from mine").fetchone() == (3,)
        with pytest.raises(duckdb.CatalogException):
            other.execute("select * from mine")
    with engine() as connection, pytest.raises(duckdb.CatalogException):
        connection.execute("select * from mine")


def test_memory_is_bounded_as_asked() -> None:
    """A sum that needs more goes on on disk."""
    bound_memory(64)
    try:
        with engine() as connection:
            assert connection.execute("select current_setting('memory_limit')").fetchone() == ("61.0 MiB",)
            query = "select count(*) from (select range, count(*) from range(4_000_000) group by range)"
            assert connection.execute(query).fetchone() == (4_000_000,)
    finally:
        bound_memory(MEMORY_MB)


def test_a_forked_process_has_an_engine_of_its_own() -> None:
    """Airflow's tasks are forked, and threads are not: the parent's engine would never answer."""
    with engine() as connection:
        connection.execute("select sum(range) from range(100_000)").fetchone()
    child = os.fork()
    if not child:
        with engine() as connection:
            found = connection.execute("select sum(range) from range(100_000)").fetchone()
        os._exit(0 if found == (4999950000,) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
