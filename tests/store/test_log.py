"""The log: a chain of hashes that shows any change (architecture: "The log")."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy import Executable, delete, insert, select, update

from billing.core.errors import ConservationBroken
from billing.core.instants import format_us
from billing.store import log
from billing.store.home import Home
from billing.store.tables import log as rows_of_log

AT = datetime(2026, 7, 1, 12, tzinfo=UTC)


def append(home: Home, count: int) -> None:
    for number in range(count):
        with home.database.exclusive("books") as connection:
            log.append(connection, AT, "test", {"number": number, "name": "é \u2028 'quoted'"})


def verify(home: Home) -> tuple[int, str]:
    with home.database.read() as connection:
        return log.verify(connection)


def finds(home: Home, *changes: Executable) -> str:
    """What ``verify`` says of a log that was changed so; the change is rolled back."""
    with home.database.write() as connection:
        for change in changes:
            connection.execute(change)
        try:
            return f"{log.verify(connection)}"
        except ConservationBroken as broken:
            return str(broken)
        finally:
            connection.rollback()


def test_an_empty_log_is_a_chain(home: Home) -> None:
    assert verify(home) == (0, log.GENESIS)


def test_anyone_can_check_the_chain_with_json_and_sha256(home: Home) -> None:
    """The hash of a row, made as the module's docstring says, by nothing of ours."""
    append(home, 3)
    previous = "0" * 64
    with home.database.read() as connection:
        for row in connection.execute(select(rows_of_log).order_by(rows_of_log.c.seq)):
            array = [row.seq, format_us(row.at_us), row.kind, row.payload, previous]
            text = json.dumps(array, ensure_ascii=False, separators=(",", ":"))
            previous = sha256(text.encode()).hexdigest()
            assert row.hash == previous
    assert verify(home) == (3, previous)


OTHER: dict[str, Any] = {
    "at_us": 2**62,
    "kind": "Test",
    "payload": "{}",
    "previous_hash": "1" * 64,
    "hash": "1" * 64,
    "seq": 77,
}


def test_any_changed_column_of_any_row_is_found(home: Home) -> None:
    append(home, 5)
    for seq in range(1, 6):
        for column, value in OTHER.items():
            change = update(rows_of_log).where(rows_of_log.c.seq == seq).values({column: value})
            assert finds(home, change).startswith("The log breaks at row"), (seq, column)
        small = update(rows_of_log).where(rows_of_log.c.seq == seq).values(at_us=rows_of_log.c.at_us + 1)
        assert finds(home, small) == f"The log breaks at row {seq}: it was changed after it was written."
    assert verify(home)[0] == 5


def test_a_row_taken_out_is_found(home: Home) -> None:
    append(home, 5)
    for seq in range(1, 5):
        message = f"The log breaks at row {seq + 1}: a row before it is missing or was changed."
        assert finds(home, delete(rows_of_log).where(rows_of_log.c.seq == seq)) == message


def test_a_row_taken_out_and_the_rest_moved_up_is_found(home: Home) -> None:
    append(home, 5)
    move = [update(rows_of_log).where(rows_of_log.c.seq == seq).values(seq=seq - 1) for seq in (4, 5)]
    assert finds(home, delete(rows_of_log).where(rows_of_log.c.seq == 3), *move).startswith("The log breaks at row 3")


def test_rows_taken_off_the_end_show_against_a_head_that_was_kept(home: Home) -> None:
    append(home, 5)
    assert finds(home, delete(rows_of_log).where(rows_of_log.c.seq == 5)) != str(verify(home))


def test_a_row_put_in_is_found(home: Home) -> None:
    append(home, 2)
    row = {"seq": 3, "at_us": 0, "kind": "x", "payload": "{}", "previous_hash": verify(home)[1], "hash": "0" * 64}
    assert finds(home, insert(rows_of_log).values(**row)).startswith("The log breaks at row 3")


def test_a_transaction_that_fails_leaves_no_row(home: Home) -> None:
    append(home, 1)

    def fail() -> None:
        with home.database.exclusive("books") as connection:
            log.append(connection, AT, "test", {})
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    append(home, 1)
    assert verify(home)[0] == 2


APPENDING = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from billing.store import log
from billing.store.database import Database
database = Database(sys.argv[1], Path(sys.argv[2]))
for number in range(25):
    with database.exclusive("books") as connection:
        log.append(connection, datetime(2026, 7, 1, 12, tzinfo=UTC), "test", {"number": number})
"""


def test_two_processes_do_not_fork_the_chain(home: Home) -> None:
    command = [sys.executable, "-c", APPENDING, home.database.url, str(home.folder / "locks")]
    processes = [subprocess.Popen(command) for _ in range(2)]
    append(home, 25)
    assert [process.wait(60) for process in processes] == [0, 0]
    assert verify(home)[0] == 75


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_say_is_refused(value: float) -> None:
    with pytest.raises(ValueError):
        log.canonical({"x": value})


def test_one_spelling_for_one_value() -> None:
    assert (
        log.canonical({"b": [1, "é"], "a": None})
        == '{"a":null,"b":[1,"é"]}'
        == log.canonical({"a": None, "b": (1, "é")})
    )
