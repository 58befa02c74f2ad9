"""Text without regard to case, the same on both databases: what people search by and lists are sorted by."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import ColumnElement, Connection, Engine, collate, func, text

SQLITE_FUNCTION = "billing_lower"
"""SQLite's own ``lower`` knows ASCII only; connections are given this one (``store.database``)."""

_UNICODE = "pg_c_utf8"
_collations: WeakKeyDictionary[Engine, str] = WeakKeyDictionary()


def folded(connection: Connection, column: ColumnElement[str]) -> ColumnElement[str]:
    """A column of text in lower case, as ``str.lower`` writes it; PostgreSQL before 17 goes by its own locale."""
    if connection.dialect.name == "sqlite":
        made: Any = getattr(func, SQLITE_FUNCTION)(column, type_=column.type)
        return made  # type: ignore[no-any-return]
    lowered: Any = func.lower(collate(column, _collation(connection)), type_=column.type)
    return collate(lowered, "C")


def _collation(connection: Connection) -> str:
    """A collation that knows all letters: PostgreSQL's own from 17 on, else the database's."""
    if connection.engine not in _collations:
        there = text("select 1 from pg_collation where collname = :name")
        found = connection.execute(there, {"name": _UNICODE}).first()
        _collations[connection.engine] = _UNICODE if found else "default"
    return _collations[connection.engine]
