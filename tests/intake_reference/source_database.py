"""A database that somebody keeps reference data in: tables named like the contract's, with a database's own types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

from sqlalchemy import BigInteger, Column, Date, DateTime, Engine, MetaData, Numeric, Table, Text, create_engine, text

from billing.core.instants import from_us, parse_instant_us
from billing.core.reference import TABLES, ColumnKind

SHIPPED = Path(__file__).parents[2] / "sql" / "extract" / "reference"
# SQLite has no decimals: what is exact there is text.
_TYPES = {
    ColumnKind.TEXT: Text(),
    ColumnKind.INSTANT: DateTime(timezone=True),
    ColumnKind.DAY: Date(),
    ColumnKind.MICRO: Numeric(30, 9).with_variant(Text(), "sqlite"),
    ColumnKind.WHOLE: BigInteger(),
}
_SOURCE = MetaData()
_TABLES = {
    name: Table(name, _SOURCE, *(Column(c.name, _TYPES[c.kind]) for c in table.columns if not c.optional))
    for name, table in TABLES.items()
}


def make_source(url: str, rows: Mapping[str, Sequence[Sequence[str]]]) -> Engine:
    """Make the tables and fill them: cells as the contract writes them, in the order of its columns; blank is null."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.execute(text("pragma journal_mode=wal"))  # it is written to while somebody reads
    _SOURCE.create_all(engine)
    for name, cells in rows.items():
        add(engine, name, *cells)
    return engine


def add(engine: Engine, name: str, *rows: Sequence[str]) -> None:
    """Insert rows into a table and commit."""
    columns, exact = [c for c in TABLES[name].columns if not c.optional], engine.dialect.name != "sqlite"
    made = [{c.name: _value(c.kind, cell, exact) for c, cell in zip(columns, row, strict=True)} for row in rows]
    with engine.begin() as connection:
        if made:
            connection.execute(_TABLES[name].insert(), made)


def _value(kind: ColumnKind, cell: str, exact: bool) -> object:
    if cell == "":
        return None
    if kind is ColumnKind.INSTANT:
        return from_us(parse_instant_us(cell))
    if kind is ColumnKind.DAY:
        return date.fromisoformat(cell)
    if kind is ColumnKind.MICRO and exact:
        return Decimal(cell)
    return int(cell) if kind is ColumnKind.WHOLE else cell
