"""The billing database: one schema on both engines, versions, transactions and locks."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, insert, inspect, select, text

from billing.core.errors import StoreOutOfDate, UsageError
from billing.store.configuration import CLOSE_LAG_SECONDS, MAX_UNITS_PER_CYCLE, configure, configured
from billing.store.database import Database, in_parts
from billing.store.home import Home
from billing.store.tables import configuration, invoices, metadata

SOON_S, LONG_S = 0.3, 30


# --- the schema ------------------------------------------------------------------------------------------------------


def test_migrations_make_the_schema_that_the_tables_say(database: Database) -> None:
    database.upgrade()
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        made = inspect(connection)
        assert {*made.get_table_names()} == {*metadata.tables, "alembic_version"}
        for name, table in metadata.tables.items():
            assert made.get_pk_constraint(name)["constrained_columns"] == [c.name for c in table.primary_key]
            assert len(made.get_foreign_keys(name)) == len(table.foreign_key_constraints)
            assert {c["name"]: c["nullable"] for c in made.get_columns(name)} == {
                c.name: c.nullable for c in table.columns
            }


def test_every_text_of_postgresql_sorts_by_code_point_whatever_the_database_does(database: Database) -> None:
    """Rule 6.3: "by code point whatever the database's collation"."""
    if database.is_sqlite:
        pytest.skip("SQLite compares bytes; the next test shows it")
    database.upgrade()
    query = """select table_name, column_name, collation_name from information_schema.columns
               where table_schema = 'public' and data_type = 'text' and table_name <> 'alembic_version'"""
    with database.read() as connection:
        rows = connection.execute(text(query)).all()
    texts = [c for table in metadata.tables.values() for c in table.columns if str(c.type) == "TEXT"]
    assert len(rows) == len(texts)
    assert {row.collation_name for row in rows} == {"C"}


def test_ids_sort_by_code_point(database: Database) -> None:
    names = ["B", "a", "é", "e\u0301", "Z", "z", " a", "a ", "_", "-", "\ufffd", "\U0001f600", "10", "9", "ä", "ß", ""]
    database.upgrade()
    with database.write() as connection:
        connection.execute(insert(configuration), [{"name": name, "value": ""} for name in names])
    with database.read() as connection:
        ordered = list(connection.execute(select(configuration.c.name).order_by(configuration.c.name)).scalars())
        least, most = connection.execute(select(func.min(configuration.c.name), func.max(configuration.c.name))).one()
    assert ordered == sorted(names)
    assert (least, most) == (min(names), max(names))


def test_a_database_without_a_schema_is_refused_with_the_cure(database: Database) -> None:
    with pytest.raises(StoreOutOfDate, match="is not initialised: run `billing init`"):
        database.check_version()


@pytest.mark.parametrize("revision", ["0000", "9999"])
def test_an_older_or_a_newer_schema_is_refused_with_the_cure(database: Database, revision: str) -> None:
    database.upgrade()
    database.check_version()
    with database.write() as connection:
        connection.execute(text("update alembic_version set version_num = :revision"), {"revision": revision})
    with pytest.raises(StoreOutOfDate, match=f"has schema {revision}, this version needs .*run `billing init`"):
        database.check_version()


def test_a_second_upgrade_keeps_what_is_there(database: Database) -> None:
    database.upgrade()
    with database.write() as connection:
        configure(connection, CLOSE_LAG_SECONDS, 7)
    database.upgrade()
    with database.read() as connection:
        assert configured(connection, CLOSE_LAG_SECONDS) == 7


def test_a_home_that_is_not_there_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(StoreOutOfDate, match=f"no home in {tmp_path}: run `billing --home {tmp_path} init`"):
        Home.at(tmp_path).check()


def test_a_home_without_its_lake_is_named_with_the_cure(tmp_path: Path, database: Database) -> None:
    """A killed ``billing init``, or another folder than the one that this database belongs to."""
    database.upgrade()
    home = Home.at(tmp_path / "other", None if database.is_sqlite else database.url)
    if database.is_sqlite:
        home.folder.mkdir()
        home.database.upgrade()
    with pytest.raises(StoreOutOfDate, match="no usage table.*init"):
        home.check()
    home.create()
    home.check()


def in_a_process(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process, with ``Database`` at hand and its arguments as ``sys.argv[1:]``."""
    prelude = "import sys, time\nfrom pathlib import Path\nfrom billing.store.database import Database\n"
    return subprocess.Popen(
        [sys.executable, "-c", prelude + code, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_may_upgrade_at_once(database: Database, tmp_path: Path) -> None:
    code = "Database(sys.argv[1], Path(sys.argv[2])).upgrade()"
    processes = [in_a_process(code, database.url, tmp_path / "locks") for _ in range(2)]
    assert [process.wait(LONG_S) for process in processes] == [0, 0]
    database.check_version()


def test_an_upgrade_waits_for_a_writer(database: Database) -> None:
    """SQLite gives up at once where a reader turns writer after another has written; so it writes from the first."""
    with database.write() as connection:
        connection.execute(text("create table of_somebody_else (x integer)"))
    done, failed = Event(), []

    def upgrade() -> None:
        try:
            database.upgrade()
        except Exception as error:
            failed.append(error)
        done.set()

    thread = Thread(target=upgrade)
    with database.write() as connection:
        connection.execute(text("insert into of_somebody_else values (1)"))
        thread.start()
        time.sleep(SOON_S)
    assert done.wait(LONG_S)
    thread.join()
    assert failed == []
    database.check_version()


def test_only_sqlite_and_postgresql_are_spoken(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names 'mysql'; sqlite and postgresql are supported") as refused:
        Database("mysql://host/db", tmp_path)
    assert refused.value.exit_status == 2


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_spoken_to_by_psycopg(tmp_path: Path, scheme: str) -> None:
    database = Database(f"{scheme}://user:secret@host/db", tmp_path)
    assert database.url == "postgresql+psycopg://user:secret@host/db"
    assert not database.is_sqlite


# --- transactions and locks ------------------------------------------------------------------------------------------


def count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(configuration)).scalar_one()


def put(connection: Connection, name: str) -> None:
    connection.execute(insert(configuration).values(name=name, value=""))


def test_a_reader_sees_one_state_of_the_books(database: Database) -> None:
    database.upgrade()
    with database.read() as reader:
        assert count(reader) == 0
        with database.write() as writer:
            put(writer, "a")
        assert count(reader) == 0
    with database.read() as reader:
        assert count(reader) == 1


def test_a_write_is_all_or_nothing(database: Database) -> None:
    database.upgrade()

    def fail() -> None:
        with database.write() as connection:
            put(connection, "a")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with database.read() as connection:
        assert count(connection) == 0


def test_a_writer_does_not_keep_readers_waiting(database: Database) -> None:
    database.upgrade()
    with database.exclusive("books") as writer:
        put(writer, "a")
        with database.read() as reader:
            assert count(reader) == 0


def test_exclusive_writes_of_one_name_follow_each_other(database: Database) -> None:
    """Each reads what the one before it wrote: no number is given twice."""
    database.upgrade()

    def take() -> None:
        for _ in range(10):
            with database.exclusive("books") as connection:
                put(connection, str(count(connection)))

    threads = [Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        names = set(connection.execute(select(configuration.c.name)).scalars())
    assert names == {str(number) for number in range(60)}


def test_names_do_not_wait_for_each_other_on_postgresql(database: Database) -> None:
    database.upgrade()
    if database.is_sqlite:
        pytest.skip("SQLite has one writer, whatever its name")
    with database.exclusive("books") as one, database.exclusive("rating") as other:
        put(one, "a")
        put(other, "b")
    with database.read() as connection:
        assert count(connection) == 2


def test_a_held_lock_keeps_others_out_until_it_is_given_back(database: Database) -> None:
    database.upgrade()
    entered, order = Event(), []

    def second() -> None:
        entered.set()
        with database.holding("ingest"):
            order.append("second")

    thread = Thread(target=second)
    with database.holding("ingest"):
        thread.start()
        entered.wait(LONG_S)
        time.sleep(SOON_S)
        with database.exclusive("books") as connection:
            put(connection, "transactions are free meanwhile")
        order.append("first")
    thread.join(LONG_S)
    assert order == ["first", "second"]


def test_a_held_lock_is_given_back_after_an_error(database: Database) -> None:
    database.upgrade()

    def fail() -> None:
        with database.holding("ingest"):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with database.holding("ingest"):
        pass


def test_a_lock_is_gone_when_its_process_is(database: Database, tmp_path: Path) -> None:
    database.upgrade()
    code = """with Database(sys.argv[1], Path(sys.argv[2])).holding("ingest"):
        print("holding", flush=True)
        time.sleep(600)"""
    process = in_a_process(code, database.url, tmp_path / "locks")
    assert process.stdout
    assert process.stdout.readline() == "holding\n"
    process.kill()
    process.wait()
    began = time.monotonic()
    with database.holding("ingest"):
        assert time.monotonic() - began < LONG_S


def test_connections_are_given_back(database: Database) -> None:
    """More pieces of work than a pool has connections, one after the other."""
    database.upgrade()
    for number in range(40):
        with database.holding("ingest"), database.exclusive("books") as connection:
            put(connection, str(number))
        with database.read() as connection:
            assert count(connection) == number + 1


# --- what is set -----------------------------------------------------------------------------------------------------


def test_settings_have_defaults_and_refuse_what_makes_no_sense(home: Home) -> None:
    with home.database.write() as connection:
        assert configured(connection, CLOSE_LAG_SECONDS) == 3600, "rule 3.4: default one hour"
        assert configured(connection, MAX_UNITS_PER_CYCLE) == 2**62
        configure(connection, MAX_UNITS_PER_CYCLE, 10)
        configure(connection, MAX_UNITS_PER_CYCLE, 0)
        assert configured(connection, MAX_UNITS_PER_CYCLE) == 0
        with pytest.raises(UsageError, match="no setting 'lag'; there are: close_lag_seconds, max_units_per_cycle"):
            configure(connection, "lag", 1)
        with pytest.raises(UsageError, match="is -1; it cannot be below 0"):
            configure(connection, CLOSE_LAG_SECONDS, -1)


def test_foreign_keys_are_kept_on_both(home: Home) -> None:
    from sqlalchemy.exc import IntegrityError

    from billing.store.tables import invoice_lines

    amounts = {"charged_units": 1, "unit_price_micro": 1, "net_minor": 1}
    row = {"number": "INV-2026-000001", "line_no": 1, "api": "a", **amounts}

    def write() -> None:
        with home.database.write() as connection:
            connection.execute(insert(invoice_lines).values(**row))

    with pytest.raises(IntegrityError):
        write()
    with home.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(invoices)).scalar_one() == 0


def test_any_number_of_values_is_named_some_at_a_time_and_in_order() -> None:
    many = [f"t{number}" for number in range(1_001)]
    assert [len(some) for some in in_parts(many)] == [500, 500, 1]
    assert [name for some in in_parts(reversed(many), 7) for name in some] == many[::-1]
    assert list(in_parts(many[:500])) == [many[:500]]
    assert list(in_parts([])) == []
