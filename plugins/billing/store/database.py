"""The billing database: SQLite beside the home, or PostgreSQL by a URL; the same SQL on both."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Table, create_engine, event, make_url, text

from billing.core.errors import StoreOutOfDate, UsageError
from billing.store.folding import SQLITE_FUNCTION

_WAIT_S = 600
_ROWS_AT_ONCE = 5_000
# Databases bound the number of values that a statement may name: PostgreSQL at 65,535.
_NAMED_AT_ONCE = 500
_T = TypeVar("_T")
_VERSIONS = "alembic_version"
_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """Connections and locks. ``read`` sees one snapshot; ``write`` is one transaction; ``exclusive`` is a write
    that no other process enters at the same time; ``holding`` keeps others out of a long piece of work."""

    def __init__(self, url: str, lock_folder: Path) -> None:
        self.url = _with_driver(url)
        self.is_sqlite = self.url.startswith("sqlite")
        self._lock_folder = lock_folder
        self._engine = _engine(self.url, self.is_sqlite)

    def upgrade(self) -> None:
        """Make the schema, or bring it to this version. Safe to call from several processes at once."""
        with self.holding("migrations"), self.write() as connection:
            config = _alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def check_version(self) -> None:
        """Raise ``StoreOutOfDate`` unless the schema is the one this version works with."""
        wanted = _wanted_schema()
        found = self.schema()
        if found != wanted:
            state = f"has schema {found}, this version needs {wanted}" if found else "is not initialised"
            raise StoreOutOfDate(f"The billing database {state}: run `billing init` (it keeps what is there).")

    def schema(self) -> str:
        """The version of the tables; blank where there are none."""
        with self._engine.connect() as connection:
            # Asked at every page: Alembic's own way to ask writes two lines into the log each time.
            if not connection.dialect.has_table(connection, _VERSIONS):
                return ""
            found = connection.execute(text(f"select version_num from {_VERSIONS}")).scalar()  # noqa: S608
            return str(found or "")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the books."""
        with self._engine.connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: all of it or nothing."""
        with self._engine.connect() as connection, connection.execution_options(billing_write=True).begin():
            yield connection

    @contextmanager
    def exclusive(self, name: str) -> Iterator[Connection]:
        """A write transaction that waits until no other process is in one of the same name."""
        with self.write() as connection:
            if not self.is_sqlite:
                connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _lock_key(name)})
            yield connection

    @contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """A lock for work that is longer than a transaction; it is gone when the process is."""
        if self.is_sqlite:
            self._lock_folder.mkdir(parents=True, exist_ok=True)
            with (self._lock_folder / f"{name}.lock").open("w") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield
            return
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            key = {"key": _lock_key(name)}
            connection.execute(text("select pg_advisory_lock(:key)"), key)
            try:
                yield
            finally:
                connection.execute(text("select pg_advisory_unlock(:key)"), key)

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()


def in_parts(values: Iterable[_T], at_once: int = _NAMED_AT_ONCE) -> Iterator[list[_T]]:
    """Any number of values in their order, as many at a time as a statement may name."""
    left = iter(values)
    while some := list(islice(left, at_once)):
        yield some


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[Any, object]]) -> None:
    """Insert any number of rows, some thousands at a time."""
    for low in range(0, len(rows), _ROWS_AT_ONCE):
        connection.execute(table.insert(), [dict(row) for row in rows[low : low + _ROWS_AT_ONCE]])


def insert_columns(connection: Connection, table: Table, columns: Mapping[str, Sequence[object]]) -> None:
    """Insert many rows given column by column, straight by the driver: of integers, texts and None only."""
    quoted = ", ".join(map(connection.dialect.identifier_preparer.quote, columns))
    places = ", ".join(["?" if connection.dialect.paramstyle == "qmark" else "%s"] * len(columns))
    rows = list(zip(*columns.values(), strict=True))
    for low in range(0, len(rows), _ROWS_AT_ONCE):
        statement = f"insert into {table.name} ({quoted}) values ({places})"  # noqa: S608 - names of our own
        connection.exec_driver_sql(statement, rows[low : low + _ROWS_AT_ONCE])


def _with_driver(url: str) -> str:
    """``postgresql://`` means psycopg 3."""
    parsed = make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise UsageError(f"The database URL names {parsed.get_backend_name()!r}; sqlite and postgresql are supported.")
    return parsed.render_as_string(hide_password=False)


def _engine(url: str, is_sqlite: bool) -> Engine:
    if not is_sqlite:
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": _WAIT_S})

    @event.listens_for(engine, "connect")
    def _prepare(dbapi: Any, _: object) -> None:
        dbapi.isolation_level = None  # transactions begin where SQLAlchemy begins them, not at the first write
        dbapi.execute("pragma journal_mode=wal")
        dbapi.execute("pragma synchronous=full")
        dbapi.execute("pragma foreign_keys=on")
        dbapi.create_function(SQLITE_FUNCTION, 1, _lower, deterministic=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that will write takes its lock at once: two readers that both turn writers would fail.
        write = connection.get_execution_options().get("billing_write")
        connection.exec_driver_sql("begin immediate" if write else "begin")

    return engine


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


@cache
def _wanted_schema() -> str | None:
    """The newest migration of this version; to look takes ten times as long as a page's own queries."""
    return ScriptDirectory.from_config(_alembic_config()).get_current_head()


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def _lock_key(name: str) -> int:
    return crc32(f"carryover:{name}".encode())
