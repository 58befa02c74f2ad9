"""Reference data as history: what was known at each load (rules 3.4, 3.6)."""

from __future__ import annotations

import time

import pandas as pd
from sqlalchemy import insert, select

from billing.core.instants import parse_day, parse_instant_us
from billing.core.reference import BLANK, FOREVER_US, NO_TOKENS, TABLES, ColumnKind, empty_frame
from billing.store.home import Home
from billing.store.reference_history import changes, last_load, read_numbered, read_reference, write_changes
from billing.store.tables import reference_history, reference_loads

JULY = parse_instant_us("2026-07-01T00:00:00Z")


def frame_of(table: str, *rows: tuple[object, ...]) -> pd.DataFrame:
    """A typed frame of a table from rows in the order of its columns."""
    columns = TABLES[table].columns
    types = {c.name: (object if c.kind is ColumnKind.TEXT else "int64") for c in columns}
    blanks = ["" if c.kind is ColumnKind.TEXT else BLANK for c in columns]
    full = [[*row, *blanks[len(row) :]] for row in rows]
    return pd.DataFrame(full, columns=[c.name for c in columns], dtype=object).astype(types)


def load(home: Home, tables: dict[str, pd.DataFrame]) -> tuple[int, int, int]:
    """Take these tables as the next load; returns how many rows it added, changed and removed."""
    with home.database.exclusive("books") as connection:
        last = last_load(connection)
        found = changes(read_numbered(connection, last), tables)
        write_changes(connection, last + 1, found)
        counts = tuple(sum(len(getattr(c, kind)) for c in found.values()) for kind in ("added", "changed", "removed"))
        names = ("rows_added", "rows_changed", "rows_removed")
        row = {
            "load_no": last + 1,
            "loaded_at_us": 0,
            "source": "",
            "files": "",
            **dict(zip(names, counts, strict=True)),
        }
        connection.execute(insert(reference_loads).values(**row))
    return counts  # type: ignore[return-value]


def known(home: Home, table: str, load_no: int) -> list[tuple[object, ...]]:
    """The rows of a table as they were known at a load, in any order."""
    with home.database.read() as connection:
        frame = read_reference(connection, load_no)[table]
    return sorted(frame.itertuples(index=False, name=None))


def test_a_load_is_known_from_then_on_and_as_it_was_for_ever(home: Home) -> None:
    """Rule 3.4: what a close pinned can be read again, whatever was loaded since."""
    first, renamed = ("t1", "c1", "Team"), ("t1", "c1", "Team, renamed")
    second = ("t2", "c1", "")
    assert load(home, {"teams": frame_of("teams", first)}) == (1, 0, 0)
    assert load(home, {"teams": frame_of("teams", renamed, second)}) == (1, 1, 0)
    assert load(home, {"teams": frame_of("teams", second)}) == (0, 0, 1)
    assert load(home, {"teams": frame_of("teams", second, first)}) == (1, 0, 0)
    assert known(home, "teams", 0) == []
    assert known(home, "teams", 1) == [first]
    assert known(home, "teams", 2) == [renamed, second]
    assert known(home, "teams", 3) == [second]
    assert known(home, "teams", 4) == [first, second]
    assert known(home, "teams", 99) == [first, second], "known until something changes"


def test_a_row_that_changes_back_is_three_versions(home: Home) -> None:
    for name in ("A", "B", "A"):
        load(home, {"apps": frame_of("apps", ("app", name))})
    assert [known(home, "apps", number) for number in (1, 2, 3)] == [[("app", "A")], [("app", "B")], [("app", "A")]]
    history = reference_history["apps"]
    with home.database.read() as connection:
        rows = connection.execute(select(history.c.name, history.c.known_from).order_by(history.c.row_no)).all()
    assert [tuple(row) for row in rows] == [("A", 1), ("B", 2), ("A", 3)]


def test_a_table_that_does_not_come_stays_known(home: Home) -> None:
    """Data contract: "an absent file says nothing about its table"."""
    load(home, {"hubs": frame_of("hubs", ("h1", "")), "apps": frame_of("apps", ("a1", ""))})
    assert load(home, {"hubs": frame_of("hubs", ("h1", ""), ("h2", ""))}) == (1, 0, 0)
    assert known(home, "apps", 2) == [("a1", "")]


def test_the_one_seller_changes_though_it_has_no_key(home: Home) -> None:
    def seller(prefix: str) -> pd.DataFrame:
        return frame_of("seller", ("S", "1 street", "", "Paris", "FR", "", prefix, "Europe/Paris", "", ""))

    assert load(home, {"seller": seller("INV")}) == (1, 0, 0)
    assert load(home, {"seller": seller("FAC")}) == (0, 1, 0)
    assert load(home, {"seller": seller("FAC")}) == (0, 0, 0)
    assert [known(home, "seller", number)[0][6] for number in (1, 2, 3)] == ["INV", "FAC", "FAC"]


def test_the_same_load_again_changes_nothing_whatever_the_order_of_its_rows(home: Home) -> None:
    rows = [(f"h{number}", f"Hub {number}") for number in range(50)]
    load(home, {"hubs": frame_of("hubs", *rows)})
    assert load(home, {"hubs": frame_of("hubs", *reversed(rows))}) == (0, 0, 0)


def every_kind_of_cell(table: str) -> pd.DataFrame:
    """Blanks, open ends, the largest and smallest numbers, unicode, quotes, blanks around, line ends."""
    texts = ["", "é", "e\u0301", "\U0001f600", "\ufffd", " 'x', \"y\"; -- ", "a\nb\tc\\", "%s {} :name"]
    wholes = {
        ColumnKind.INSTANT: [JULY, FOREVER_US, -1],
        ColumnKind.DAY: [parse_day("2026-07-01"), -1, 0],
        ColumnKind.MICRO: [10**18, NO_TOKENS, 0],
        ColumnKind.WHOLE: [2**62, 0, 1],
    }

    def cell(kind: ColumnKind, n: int) -> object:
        return texts[n % 8] if kind is ColumnKind.TEXT else wholes[kind][n % 3]

    rows = [tuple(cell(c.kind, n + k) for k, c in enumerate(TABLES[table].columns)) for n in range(8)]
    return frame_of(table, *rows)


def test_every_table_comes_back_as_it_went_in(home: Home) -> None:
    """Values and dtypes; the order of rows says nothing."""
    went_in = {table: every_kind_of_cell(table) for table in TABLES}
    load(home, went_in)
    with home.database.read() as connection:
        came_back = read_reference(connection, 1)
    for table, frame in went_in.items():
        columns = list(frame.columns)
        pair = [one.sort_values(columns, ignore_index=True) for one in (came_back[table], frame)]
        pd.testing.assert_frame_equal(*pair, obj=table)
    assert load(home, went_in) == (0, 0, 0), "and all rows are the same again"


def test_a_reference_before_the_first_load_is_empty_and_typed(home: Home) -> None:
    with home.database.read() as connection:
        assert last_load(connection) == 0
        found = read_reference(connection, 0)
    assert list(found) == list(TABLES)
    for name, table in TABLES.items():
        pd.testing.assert_frame_equal(found[name], empty_frame(table), check_index_type=False)


def test_rows_are_told_apart_by_code_point(home: Home) -> None:
    """No folding, no trimming, no normalising: six ids, six rows, on every database."""
    ids = ["é", "e\u0301", "A", "a", "a ", " a"]
    assert load(home, {"hubs": frame_of("hubs", *((i, "") for i in ids))}) == (6, 0, 0)
    assert load(home, {"hubs": frame_of("hubs", *((i, "x") for i in ids))}) == (0, 6, 0)
    assert [row[0] for row in known(home, "hubs", 2)] == sorted(ids)


def test_sixty_thousand_rows_are_quick(home: Home) -> None:
    """A picture of 60,000 subscriptions, then one of them changed: seconds, not minutes."""
    rows = [(f"s{n}", f"t{n}", "payg", JULY + n, "Europe/Paris", FOREVER_US, "EUR", "") for n in range(60_000)]
    began = time.monotonic()
    assert load(home, {"subscriptions": frame_of("subscriptions", *rows)}) == (60_000, 0, 0)
    rows[30_000] = (*rows[30_000][:5], JULY + 10**12, "EUR", "")
    assert load(home, {"subscriptions": frame_of("subscriptions", *rows)}) == (0, 1, 0)
    with home.database.read() as connection:
        assert len(read_reference(connection, 2)["subscriptions"]) == 60_000
    assert time.monotonic() - began < 60
