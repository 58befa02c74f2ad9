"""Rows of a SELECT in a .sql file as cells of text, from any database that SQLAlchemy knows.

The database is read in one transaction that never writes: one state of it on SQLite and PostgreSQL (others: as their
default isolation has it), whatever the number of queries. Rows are streamed: some thousands are in memory at once.

Parameters are named ``:like_this`` in the query, and are instants. SQLite has no type for instants: there they are
text in UTC as SQLAlchemy's DateTime writes it, ``YYYY-MM-DD HH:MM:SS.ffffff``, in parameters and in the columns that
they are compared with. No message has a password in it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus
from uuid import UUID

from sqlalchemy import URL, Connection, DateTime, Engine, NullPool, TextClause, bindparam, create_engine, exc, make_url
from sqlalchemy import text as sql_text

from billing.core.errors import DataRefused, Finding, SourceUnavailable
from billing.core.instants import format_instant

ROWS_AT_ONCE = 8_192
_CONNECT_S = 30

Row = tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """What a query gives. ``columns``: their names, also where there is no row. ``batches``: at most ``ROWS_AT_ONCE``
    rows each, in the query's order, to be gone through once, while the snapshot is open; a cell is text, None is NULL.
    """

    columns: tuple[str, ...]
    batches: Iterator[list[Row]]


class Snapshot:
    """One state of a database, to read; made by ``open_snapshot``."""

    def __init__(self, connection: Connection, url: URL) -> None:
        self._connection = connection
        self._url = url

    def rows(
        self, query: Path, parameters: Mapping[str, datetime] | None = None, *, instants: Collection[str] = ()
    ) -> Rows:
        """Run a query; parameters that it does not name are left out.

        Cells: text as it is; integers and decimals plain, without exponent or trailing zeros; instants RFC 3339 in
        UTC; dates ISO; UUIDs; ``true`` and ``false``. ``instants``: columns whose text, on SQLite and where it is as
        SQLAlchemy's DateTime writes it, becomes RFC 3339 too.

        Raises ``DataRefused`` (findings with query file, row from 1 on, column) for a query that the database refuses,
        doubled columns, and values without exact text: float, naive datetime, bytes, nested. Raises
        ``SourceUnavailable`` where the database cannot be reached or breaks off. Both may come with any batch.
        """
        statement = _statement(query, parameters or {})
        with _translated(query.name, self._url):
            result = self._connection.execute(statement, execution_options={"yield_per": ROWS_AT_ONCE})
            if not result.returns_rows:
                raise _refused(query.name, [Finding(file=query.name, message="gives no rows; write one SELECT")])
            columns = tuple(result.keys())
        _check_columns(query.name, columns)
        stored = frozenset(instants) if self._url.get_backend_name() == "sqlite" else frozenset()
        return Rows(
            columns=columns, batches=self._batches(result.partitions(ROWS_AT_ONCE), query.name, columns, stored)
        )

    def _batches(
        self, parts: Iterator[Sequence[Any]], name: str, columns: Sequence[str], stored: frozenset[str]
    ) -> Iterator[list[Row]]:
        row = 1
        with _translated(name, self._url):
            for part in parts:
                yield _as_text(part, name, columns, stored, row)
                row += len(part)


@contextmanager
def open_snapshot(url: str) -> Iterator[Snapshot]:
    """Connect, read only; ``postgres://`` and ``postgresql://`` mean psycopg 3, and a SQLite file is never made.

    Raises ``SourceUnavailable`` where there is no connection, ``DataRefused`` where the URL or its driver is at fault.
    """
    parsed = parse_url(url)
    engine = _engine(parsed)
    try:
        with _translated(location_of(parsed), parsed):
            connection = _read_only(engine.connect())
        try:
            yield Snapshot(connection, parsed)
        finally:
            with suppress(exc.DBAPIError):  # nothing was written: a connection that broke needs no goodbye
                connection.close()
    finally:
        engine.dispose()


def parse_url(url: str) -> URL:
    """A SQLAlchemy URL with its driver. ``DataRefused`` without the URL's text for one that cannot be read."""
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):
        parsed = None
    if parsed is None or "@" in (parsed.host or ""):  # what is before the last @ may be a part of the password
        raise DataRefused(
            "The URL of a database cannot be read; write dialect://user:password@host:port/database, with %40 for @ "
            "and %2F for / in a user or password."
        )
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


def location_of(url: URL) -> str:
    """Where a database is, without user, password and options."""
    place = URL.create(url.get_backend_name(), host=url.host, port=url.port, database=url.database)
    return place.render_as_string(hide_password=True)


# --- the connection


def _engine(url: URL) -> Engine:
    options: dict[str, Any] = {}
    backend = url.get_backend_name()
    if backend == "sqlite" and url.database and url.database != ":memory:" and not url.database.startswith("file:"):
        # Opened by its path alone, SQLite would make a file that is not there.
        file = f"file:{quote(str(Path(url.database).absolute()))}?mode=ro"
        wait_s = float(str(url.query.get("timeout", _CONNECT_S)))
        options["creator"] = lambda: sqlite3.connect(file, uri=True, timeout=wait_s)
    elif backend == "postgresql" and "connect_timeout" not in url.query:
        options["connect_args"] = {"connect_timeout": _CONNECT_S}
    try:
        return create_engine(url, poolclass=NullPool, **options)
    except (exc.NoSuchModuleError, ImportError):
        raise DataRefused(
            f"{location_of(url)}: no driver for {url.drivername!r} is installed; install one beside this package, and "
            "name it in the URL, as in dialect+driver://"
        ) from None


def _read_only(connection: Connection) -> Connection:
    """One transaction, never committed, that sees one state and cannot write."""
    backend = connection.dialect.name
    if backend == "postgresql":
        connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        # Columns without a zone are compared with instants as if in the session's zone.
        connection.exec_driver_sql("set local time zone 'UTC'")
    elif backend == "sqlite":
        connection.connection.isolation_level = None  # type: ignore[attr-defined]  # the driver begins at writes only
        connection.exec_driver_sql("pragma query_only = on")
        connection.exec_driver_sql("begin")
    return connection


@contextmanager
def _translated(what: str, url: URL) -> Iterator[None]:
    """Errors of the database as ours. ``what``: the query's file, or where the database is."""
    try:
        yield
    except exc.DBAPIError as error:
        cause = _without_secrets(str(error.orig).strip().partition("\n")[0], url)
        if _may_pass(error):
            raise SourceUnavailable(
                f"{location_of(url)}: cannot be reached, or broke off ({cause}). Nothing was taken. See that the "
                "database is up and that its connection is right, and run again."
            ) from None
        raise _refused(what, [Finding(file=what, message=f"the database refuses it ({cause}); mend it")]) from None
    except (exc.SQLAlchemyError, UnicodeError) as error:
        cause = _without_secrets(str(error).strip().partition("\n")[0], url)
        raise _refused(what, [Finding(file=what, message=f"cannot be read ({cause}); mend it")]) from None


# SQLSTATE: connection, rollback (a standby that replays), resources, intervention (shutdown, time-out), system.
_PASSING_STATES = ("08", "40", "53", "57", "58")
_PASSING_SQLITE = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_SCHEMA,
)


def _may_pass(error: exc.DBAPIError) -> bool:
    """Whether trying again may help: what the drivers call operational is also a wrong query on SQLite."""
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _PASSING_SQLITE
    state = getattr(error.orig, "sqlstate", None)
    if state:
        return str(state).startswith(_PASSING_STATES)
    return isinstance(error, exc.OperationalError | exc.InterfaceError)


def _without_secrets(message: str, url: URL) -> str:
    secrets = {url.password, *(str(value) for key, value in url.query.items() if "pass" in key.lower())}
    for secret in filter(None, secrets):
        for spelled in (secret, quote(secret, safe=""), quote_plus(secret)):
            message = message.replace(spelled, "***")
    return message


# --- the query

# Text and quoted names as they are, and comments: what looks like a parameter there is none.
_QUIET = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/""", re.DOTALL)
_PARAMETER = re.compile(r"(?<![:\w\\]):(?=\w)")


def parameters_of(query: Path) -> list[str]:
    """Names of the parameters of a query. ``DataRefused`` where it is no file of text."""
    return list(_parsed(query).compile().params)


def _statement(query: Path, parameters: Mapping[str, datetime]) -> TextClause:
    """The query with its parameters bound. ``DataRefused`` where it names others."""
    named = parameters_of(query)
    others = [
        Finding(file=query.name, message=f"there is no parameter :{name}; there are: {_listed(parameters)}")
        for name in named
        if name not in parameters
    ]
    if others:
        raise _refused(query.name, others)
    bound = [bindparam(name, parameters[name].astimezone(UTC), DateTime(timezone=True)) for name in named]
    return _parsed(query).bindparams(*bound)


def _parsed(query: Path) -> TextClause:
    try:
        return sql_text(_QUIET.sub(_quiet, query.read_text("utf-8-sig")))
    except (OSError, UnicodeDecodeError) as error:
        raise DataRefused(f"{query}: the query cannot be read ({error}); it is a file of SQL in UTF-8.") from None


def _quiet(found: re.Match[str]) -> str:
    part = found.group()
    return " " if part.startswith(("--", "/*")) else _PARAMETER.sub(r"\\:", part)


def _listed(names: Collection[str]) -> str:
    return ", ".join(f":{name}" for name in names) or "none"


def _check_columns(name: str, columns: Sequence[str]) -> None:
    """Spelled in capitals or not, a column counts as the same: some engines hold it so."""
    folded = [column.casefold() for column in columns]
    findings = [
        Finding(file=name, column=column, message="the column is there more than once; keep one, or name it otherwise")
        for place, column in enumerate(columns)
        if folded.count(folded[place]) > 1 and folded.index(folded[place]) == place
    ]
    if findings:
        raise _refused(name, findings)


def _refused(name: str, findings: Sequence[Finding]) -> DataRefused:
    return DataRefused(f"{name}: the extract is refused.", findings)


# --- the cells


class _NoText(ValueError):
    """A value without exact text; says what to do."""


def _decimal_text(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _instant_text(value: datetime) -> str:
    if value.tzinfo is None:
        raise _NoText("a time without an offset is no instant; give it its zone in the query (at time zone '...')")
    return format_instant(value)


_TEXT_OF: dict[type, Callable[[Any], str]] = {
    bool: lambda value: "true" if value else "false",
    int: str,
    Decimal: _decimal_text,
    datetime: _instant_text,
    date: date.isoformat,
    UUID: str,
}
_NO_TEXT: dict[type, str] = {
    float: "a float is not exact; cast it to numeric or text in the query",
    bytes: "binary data is no text; leave it out, or encode it in the query",
    memoryview: "binary data is no text; leave it out, or encode it in the query",
}
_STORED_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?")


def _as_text(
    part: Sequence[Any], name: str, columns: Sequence[str], stored: frozenset[str], first_row: int
) -> list[Row]:
    """A batch's cells as text; ``DataRefused`` with the first row of every column that has a value without text."""
    findings: list[Finding] = []
    texts: list[Sequence[str | None]] = []
    for column, values in zip(columns, zip(*part, strict=True), strict=True):
        try:
            cells = [_text_of(value) for value in values]
        except _NoText:
            place, problem = _first_problem(values)
            findings.append(Finding(file=name, line=first_row + place, column=column, message=problem))
        else:
            texts.append([_from_stored(cell) for cell in cells] if column in stored else cells)
    if findings:
        raise _refused(name, findings)
    return list(zip(*texts, strict=True))


def _first_problem(values: Sequence[object]) -> tuple[int, str]:
    """Place and message of the first value without text."""
    for place, value in enumerate(values):
        try:
            _text_of(value)
        except _NoText as problem:
            return place, str(problem)
    raise RuntimeError("no value is at fault; this is a bug")


def _text_of(value: object) -> str | None:
    if value is None or type(value) is str:
        return value
    kind = type(value)
    if kind not in _TEXT_OF:
        raise _NoText(_NO_TEXT.get(kind, f"{kind.__name__} is no plain value; cast it to text in the query"))
    return _TEXT_OF[kind](value)


def _from_stored(value: str | None) -> str | None:
    if value is None or not _STORED_INSTANT.fullmatch(value):
        return value
    try:
        return format_instant(datetime.fromisoformat(value).replace(tzinfo=UTC))
    except ValueError:
        return value
