"""An auditor's own SQL, in one engine over everything: the database's tables and the accepted usage, read only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa
from sqlalchemy import BigInteger, Connection, Integer, LargeBinary, Table, select

from billing.core.errors import DataRefused
from billing.store.batches import committed, demand_lake
from billing.store.engine import engine
from billing.store.home import Home
from billing.store.tables import metadata

USAGE = "usage"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a query gives: the names of its columns, and its rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def run_sql(home: Home, query: str) -> Answer:
    """Run a query of DuckDB's SQL. ``usage`` are the accepted events of committed batches, every other name is a table
    of the database (``store.tables``); copies of those that the query names, so that nothing it says reaches the books.

    Raises ``DataRefused`` for SQL that cannot be run.
    """
    named = set(re.findall(r"[a-z_]+", query.lower()))
    with home.database.read() as connection, engine() as own:
        for name in sorted(named & metadata.tables.keys()):
            own.register(name, _copy(connection, metadata.tables[name]))
        if USAGE in named:
            demand_lake(home, connection)
            own.execute(_usage(home, connection, own))
        try:
            found = own.execute(query)
            columns = [column[0] for column in found.description or ()]
            return Answer(columns=columns, rows=found.fetchall() if columns else [])
        except duckdb.Error as problem:
            raise DataRefused(f"This SQL cannot be run: {problem}") from problem


def _copy(connection: Connection, table: Table) -> pa.Table:
    schema = pa.schema([(column.name, _type(column.type)) for column in table.c])
    rows = connection.execute(select(table)).all()
    cells = zip(*map(tuple, rows), strict=True) if rows else [()] * len(schema)
    return pa.table([pa.array(values, field.type) for field, values in zip(schema, cells, strict=True)], schema=schema)


def _type(kind: object) -> pa.DataType:
    if isinstance(kind, BigInteger | Integer):
        return pa.int64()
    return pa.binary() if isinstance(kind, LargeBinary) else pa.string()


def _usage(home: Home, connection: Connection, own: duckdb.DuckDBPyConnection) -> str:
    """SQL that makes the view of usage."""
    lake = home.usage.lake
    table = lake.read_in(own, lake.paths(lambda files: pa.array([True] * files.num_rows)))
    counts = committed(connection).sql()
    return f"create or replace temp view {USAGE} as select * from {table} where {counts}"  # noqa: S608 - names of our own
