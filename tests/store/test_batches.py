"""Ingest batches: exactly once, and how far usage is complete (rules 3.4, 3.7)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, insert, select, update

from billing.core.errors import ConservationBroken
from billing.core.instants import to_us
from billing.steps.reconcile import reconcile
from billing.store import log, sources
from billing.store.batches import (
    COMMITTED,
    DELIVERY,
    OPEN,
    REPLAY,
    VOID,
    BatchFile,
    Completeness,
    Missing,
    Outcome,
    QuarantinedRecord,
    commit_batch,
    committed,
    completeness,
    open_batch,
    pinnable,
)
from billing.store.files import Stored
from billing.store.home import Home
from billing.store.tables import batches, duplicate_ranges, quarantine

from .lake_rows import append, usage_ids

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def at(hour: int) -> datetime:
    return NOON + timedelta(hours=hour)


def outcome(
    accepted: int, *, records: int | None = None, duplicates: tuple[tuple[int, int, int], ...] = (), bad: int = 0
) -> Outcome:
    stored = Stored(sha256="0" * 64, size_bytes=10, path="00/0")
    dropped = sum(last - first + 1 for _, first, last in duplicates)
    total = accepted + bad + dropped if records is None else records
    return Outcome(
        files=(BatchFile(name="f.csv", stored=stored, records=total, arrived_at=NOON),),
        accepted=accepted,
        quarantined=tuple(
            QuarantinedRecord(file_no=0, line=n, reason="unknown_api", raw=b"\xff\x00") for n in range(bad)
        ),
        duplicates=duplicates,
    )


def begin(home: Home, start: int | None = None, end: int = 0, source: str = "drop", kind: str = DELIVERY) -> int:
    """Open a batch of the window from ``start`` to ``end`` hours after noon."""
    return open_batch(
        home,
        kind=kind,
        source=source,
        request="",
        window=(None if start is None else at(start), at(end)),
        load_no=1,
        at=NOON,
    )


def commit(home: Home, number: int, what: Outcome | None = None) -> None:
    with home.database.exclusive("books") as connection:
        commit_batch(connection, number, what or outcome(0), NOON)


def window(home: Home, start: int | None, end: int, source: str = "drop", kind: str = DELIVERY) -> int:
    number = begin(home, start, end, source, kind)
    commit(home, number)
    return number


def states(home: Home) -> dict[int, str]:
    with home.database.read() as connection:
        return {row.batch_no: row.state for row in connection.execute(select(batches.c.batch_no, batches.c.state))}


def found(home: Home, through: int | None = None) -> tuple[datetime | None, list[tuple[int, int]]]:
    """Complete through which instant, and the missing windows in hours after noon."""
    with home.database.read() as connection:
        complete = completeness(connection, pinnable(connection) if through is None else through)
    gaps = [(one.start_us, one.end_us) for one in complete.missing]
    hours = [tuple((us - to_us(NOON)) // 3_600_000_000 for us in gap) for gap in gaps]
    return (
        None if complete.through_us is None else NOON + timedelta(microseconds=complete.through_us - to_us(NOON))
    ), hours  # type: ignore[return-value]


# --- exactly once ----------------------------------------------------------------------------------------------------


def test_numbers_follow_each_other(home: Home) -> None:
    assert [window(home, None, hour) for hour in range(3)] == [1, 2, 3]
    assert states(home) == dict.fromkeys((1, 2, 3), COMMITTED)


def test_what_an_ingest_that_died_left_open_is_void_and_its_number_is_never_used_again(home: Home) -> None:
    assert begin(home) == 1
    append(home, 1, ["a"])
    assert begin(home) == 2
    append(home, 2, ["a"])
    commit(home, 2, outcome(1))
    assert states(home) == {1: VOID, 2: COMMITTED}
    with home.database.read() as connection:
        kept = committed(connection)
        assert (kept.through, kept.void, pinnable(connection)) == (2, (1,), 2)
    assert usage_ids(home, kept) == ["a"], "counted once"


def test_an_open_batch_is_neither_read_nor_pinned(home: Home) -> None:
    window(home, None, 1)
    begin(home)
    append(home, 2, ["b"])
    with home.database.read() as connection:
        assert pinnable(connection) == 1
        assert usage_ids(home, committed(connection)) == []


def test_a_batch_that_was_made_void_meanwhile_cannot_be_committed(home: Home) -> None:
    """An ingest that lost its lock (a connection that broke) must not say that its records count."""
    first = begin(home)
    second = begin(home)
    with pytest.raises(ConservationBroken, match="Batch 1 is not open any more"):
        commit(home, first)
    commit(home, second)
    assert states(home) == {1: VOID, 2: COMMITTED}


def test_counts_that_do_not_add_up_are_never_written(home: Home) -> None:
    """Rule 2.4: rows in = accepted + duplicates + quarantined, always."""
    number = begin(home)
    with pytest.raises(ConservationBroken, match=r"do not add up \(rule 2.4\)"):
        commit(home, number, outcome(3, records=4))
    assert states(home) == {1: OPEN}
    with home.database.read() as connection:
        assert sources.files_taken(connection, "drop") == set(), "and nothing of it stays"


def test_what_was_rejected_is_kept_with_its_raw_bytes(home: Home) -> None:
    number = begin(home)
    commit(home, number, outcome(2, duplicates=((0, 5, 9), (0, 11, 11)), bad=6_000))
    with home.database.read() as connection:
        row = connection.execute(select(batches)).one()
        assert (row.records, row.accepted, row.duplicates, row.quarantined) == (6_008, 2, 6, 6_000)
        assert {bytes(raw) for raw in connection.execute(select(quarantine.c.raw)).scalars()} == {b"\xff\x00"}
        ranges = connection.execute(select(duplicate_ranges.c.first_line, duplicate_ranges.c.last_line)).all()
    assert sorted(map(tuple, ranges)) == [(5, 9), (11, 11)]


def test_files_of_batches_that_never_counted_are_not_taken(home: Home) -> None:
    window(home, None, 1)
    begin(home)
    with home.database.read() as connection:
        assert sources.files_taken(connection, "drop") == {("f.csv", 10, to_us(NOON))}


# --- a database that was restored ------------------------------------------------------------------------------------


def forget(home: Home, number: int) -> None:
    """What a database knows that was restored from a backup of before that batch."""
    with home.database.write() as connection:
        connection.execute(delete(batches).where(batches.c.batch_no >= number))


def test_a_number_that_only_the_lake_knows_stops_the_ingest_and_says_what_to_do(home: Home) -> None:
    for hour in range(3):
        number = begin(home, None, hour)
        append(home, number, [f"e{number}"])
        commit(home, number, outcome(1))
    forget(home, 2)
    with pytest.raises(
        ConservationBroken, match="The usage table holds batch 2.*restored.*`billing usage reconcile`, then ingest"
    ):
        begin(home)
    assert states(home) == {1: COMMITTED}, "nothing was begun"
    assert reconcile(home) == (2, 3)
    assert states(home) == {1: COMMITTED, 2: VOID, 3: VOID}
    assert reconcile(home) == (), "once"
    number = begin(home)
    append(home, number, ["e2"])
    commit(home, number, outcome(1))
    with home.database.read() as connection:
        assert (number, usage_ids(home, committed(connection))) == (4, ["e1", "e2"])
        assert log.verify(connection)[0] == 1, "it is in the log"


def test_a_database_that_knows_more_than_the_lake_bills_nothing(home: Home) -> None:
    """The wrong home beside the right database, or a lake that was lost: known ids would be taken again."""
    number = begin(home)
    commit(home, number, outcome(5))
    with pytest.raises(ConservationBroken, match="batch 1.*is not in the usage table"):
        begin(home)


# --- completeness ----------------------------------------------------------------------------------------------------


def test_nothing_ingested_is_complete_through_no_instant(home: Home) -> None:
    assert found(home) == (None, [])


def test_windows_are_put_end_to_end(home: Home) -> None:
    window(home, 0, 2)
    window(home, 2, 3)
    assert found(home) == (at(3), [])


def test_a_gap_is_named_and_what_follows_it_does_not_count(home: Home) -> None:
    window(home, 0, 1)
    window(home, 2, 3)
    window(home, 5, 6)
    assert found(home) == (at(1), [(1, 2), (3, 5)])


def test_a_gap_that_is_filled_later_is_none(home: Home) -> None:
    window(home, 0, 1)
    window(home, 2, 3)
    window(home, 1, 2)
    assert found(home) == (at(3), [])


def test_windows_may_overlap_and_come_in_any_order(home: Home) -> None:
    for start, end in ((4, 6), (0, 3), (1, 2), (2, 5)):
        window(home, start, end)
    assert found(home) == (at(6), [])


def test_a_batch_without_a_beginning_says_complete_through_its_end(home: Home) -> None:
    """``usage ingest --now``: a statement, not a window."""
    window(home, None, 4)
    assert found(home) == (at(4), [])
    window(home, None, 2)
    assert found(home) == (at(4), []), "an earlier statement takes nothing back"
    window(home, 3, 5)
    assert found(home) == (at(5), []), "a window that touches it goes on from there"
    window(home, 7, 8)
    assert found(home) == (at(5), [(5, 7)])
    window(home, None, 9)
    assert found(home) == (at(9), []), "a later statement fills the gaps before it"


def test_only_committed_batches_through_the_pin_count(home: Home) -> None:
    window(home, 0, 1)
    begin(home, 1, 2)
    assert found(home) == (at(1), [])
    number = window(home, 1, 3)
    assert found(home) == (at(3), [])
    assert found(home, through=number - 1) == (at(1), [])


def test_a_microsecond_is_a_gap(home: Home) -> None:
    window(home, 0, 1)
    number = window(home, 1, 2)
    with home.database.write() as connection:
        later = update(batches).where(batches.c.batch_no == number).values(window_start_us=to_us(at(1)) + 1)
        connection.execute(later)
        end = to_us(at(1))
        gap = Missing(source="drop", start_us=end, end_us=end + 1)
        found = completeness(connection, number)
        assert found == Completeness(through_us=end, sources={"drop": end}, missing=(gap,))


def test_usage_is_complete_where_every_source_is(home: Home) -> None:
    """Rule 3.4: extraction is complete through an instant where no source is missing."""
    window(home, 0, 5)
    window(home, 1, 3, source="warehouse")
    assert found(home) == (at(3), [])
    window(home, 3, 9, source="warehouse")
    assert found(home) == (at(5), [])
    window(home, None, 7)
    assert found(home) == (at(7), []), "a statement is one of all that comes by hand"


def test_a_source_that_is_registered_is_awaited_until_it_is_retired(home: Home) -> None:
    window(home, 0, 5)
    with home.database.write() as connection:
        sources.register(connection, sources.KnownSource(name="late", kind="sql", location="db"), NOON)
    assert found(home) == (None, [])
    with home.database.write() as connection:
        sources.retire(connection, "late", NOON, "was a trial")
    assert found(home) == (at(5), [])
    window(home, 1, 2, source="late")
    assert found(home) == (at(5), []), "what a retired source says counts no more"


def test_a_delivery_by_hand_says_nothing_of_registered_sources(home: Home) -> None:
    """A corrected file must not make a source look complete whose windows are missing."""
    window(home, 0, 5)
    with home.database.write() as connection:
        sources.register(connection, sources.KnownSource(name="drop", kind="files", location="here"), NOON)
    window(home, None, 9)
    assert found(home) == (at(5), [])
    window(home, 5, 10)
    assert found(home) == (at(10), [])


def test_a_replay_says_nothing_of_completeness(home: Home) -> None:
    window(home, 0, 5)
    window(home, None, 9, kind=REPLAY)
    window(home, 7, 9, kind=REPLAY)
    assert found(home) == (at(5), [])


def test_twenty_thousand_windows_are_quick(home: Home) -> None:
    """Every ten minutes for more than four months."""
    row = {"state": COMMITTED, "kind": DELIVERY, "source": "drop", "request": "", "load_no": 1, "opened_at_us": 0}
    counts = dict.fromkeys(("records", "accepted", "duplicates", "quarantined"), 0)
    rows = [
        {
            "batch_no": n + 1,
            "window_start_us": to_us(NOON) + n * 600,
            "window_end_us": to_us(NOON) + (n + 1) * 600,
            **row,
            **counts,
        }
        for n in range(20_000)
    ]
    with home.database.write() as connection:
        for low in range(0, len(rows), 5_000):
            connection.execute(insert(batches), rows[low : low + 5_000])
        end = to_us(NOON) + 12_000_000
        assert completeness(connection, 20_000) == Completeness(through_us=end, sources={"drop": end}, missing=())
