"""The index of ids: a second delivery is known whatever its month, team or batch (rule 2.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from billing.store import id_index
from billing.store.home import Home
from billing.store.id_index import RUNS_MAX
from billing.store.lake import CommittedBatches

from .lake_rows import events


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home.at(tmp_path / "home")
    made.create()
    yield made
    made.close()


def texts(values: Sequence[str]) -> pa.Array:
    return pa.array(values, pa.string())


def rows(ids: Sequence[str], content: Sequence[int]) -> pa.Table:
    found = events(ids)
    return found.set_column(found.column_names.index("content_hash"), "content_hash", pa.array(content, pa.int64()))


def append(home: Home, batch_no: int, ids: Sequence[str], content: Sequence[int] | None = None) -> None:
    home.usage.append(batch_no, rows(ids, content or [batch_no] * len(ids)))
    home.ids.merge()
    home.ids.append(batch_no, id_index.hash_ids(texts(ids)))


def runs(home: Home) -> list[str]:
    return sorted(path.name for path in (home.folder / "ids").iterdir())


def look_up(home: Home, ids: Sequence[str], through: int, void: tuple[int, ...] = ()) -> list[int | None]:
    """The content under each id, None where it is not known."""
    found = home.ids.look_up(CommittedBatches(through=through, void=void), texts(ids))
    assert not found.content_hash[~found.known].any()
    return [int(content) if known else None for known, content in zip(found.known, found.content_hash, strict=True)]


def test_ids_are_known_over_all_committed_batches(home: Home) -> None:
    append(home, 1, ["a", "b"], [10, 20])
    append(home, 2, ["c"], [-(2**63)])
    append(home, 3, ["d"], [2**63 - 1])
    assert look_up(home, ["d", "x", "c", "b", "a"], through=3) == [2**63 - 1, None, -(2**63), 20, 10]
    assert look_up(home, ["d", "c", "a"], through=2) == [None, -(2**63), 10], "what came after is not known yet"
    assert look_up(home, ["a", "b", "c", "d"], through=0) == [None] * 4


def test_void_batches_are_as_if_they_had_never_been(home: Home) -> None:
    """Killed between claiming an id and writing the row: counted once (openmeter #5118)."""
    append(home, 1, ["a"], [10])
    append(home, 2, ["b"], [20])
    append(home, 3, ["b"], [30])
    assert look_up(home, ["a", "b"], through=3, void=(2,)) == [10, 30]
    assert look_up(home, ["a", "b"], through=3, void=(1, 2, 3)) == [None, None]


def test_ids_are_compared_code_point_by_code_point(home: Home) -> None:
    """Without trimming, folding or normalising."""
    ids = [
        "é",
        "e\u0301",
        "A",
        "a",
        "a ",
        " a",
        "a\u00a0",
        "ß",
        "ss",
        "\ufffd",
        "\U0001f600",
        "a\x00",
        "a\x00b",
        "0",
        "00",
    ]
    for number, one in enumerate(ids):
        made = Home.at(home.folder / str(number))
        made.create()
        append(made, 1, [one], [7])
        assert look_up(made, [one], through=1) == [7]
        others = [other for other in ids if other != one]
        assert look_up(made, others, through=1) == [None] * len(others), one
        made.close()


def test_ten_thousand_ids_are_found_and_ten_thousand_others_are_not(home: Home) -> None:
    mine, others = [f"event-{n}" for n in range(10_000)], [f"Event-{n}" for n in range(10_000)]
    append(home, 1, mine[:5_000], list(range(5_000)))
    append(home, 2, mine[5_000:], list(range(5_000, 10_000)))
    assert look_up(home, [*others, *mine], through=2) == [None] * 10_000 + list(range(10_000))


def test_more_ids_than_the_engine_hashes_at_once_are_each_found(home: Home) -> None:
    """Its threads answer in no order: every id is told of by itself."""
    mine = [f"event-{n}" for n in range(200_000)]
    append(home, 1, mine, list(range(200_000)))
    others = [f"Event-{n}" for n in range(300_000)]
    found = look_up(home, [*others[:70_000], *mine, *others[70_000:]], through=1)
    assert found == [None] * 70_000 + list(range(200_000)) + [None] * 230_000


def test_nothing_asked_is_nothing_answered(home: Home) -> None:
    append(home, 1, ["a"])
    assert look_up(home, [], through=1) == []


def test_an_index_without_rows_knows_nothing(home: Home) -> None:
    assert look_up(home, ["a"], through=5) == [None]


def test_ids_of_one_hash_are_told_apart(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash only says where to look: with one that is the same for all ids the answers are the same."""
    monkeypatch.setattr(id_index, "hash_ids", lambda ids: np.full(len(ids), 7, dtype=np.uint64))
    monkeypatch.setattr(id_index, "PART_ROWS", 1)
    append(home, 1, ["a", "b"], [10, 20])
    append(home, 2, ["c"], [30])
    append(home, 3, ["d"], [40])
    assert look_up(home, ["x", "d", "b", "a", "c"], through=2, void=(1,)) == [None, None, None, None, 30]
    assert look_up(home, ["x", "d", "b", "a", "c"], through=3) == [None, 40, 20, 10, 30]


@pytest.mark.parametrize("part_rows", [5, 2_000_000])
def test_runs_are_merged_so_that_they_stay_few(home: Home, part_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred batches, and never more runs than are looked through; all ids are known with their batch, in
    however many parts a run is.
    """
    monkeypatch.setattr(id_index, "PART_ROWS", part_rows)
    most = 0
    for number in range(1, 201):
        append(home, number, [f"e{number}-{n}" for n in range(number % 7 + 1)])
        most = max(most, len(runs(home)))
    assert RUNS_MAX / 2 < most <= RUNS_MAX
    asked = [f"e{number}-0" for number in range(1, 201)]
    assert look_up(home, asked, through=200) == list(range(1, 201))
    assert look_up(home, asked, through=150, void=(7,))[5:8] == [6, None, 8]
    sizes = [run.rows for run in home.ids._runs()]
    assert all(size * 2 > sum(sizes[place + 1 :]) for place, size in enumerate(sizes[:2])), sizes


@pytest.mark.parametrize("harm", ["gone", "one gone", "damaged", "cut short", "hashed otherwise"])
def test_runs_are_made_again_from_the_usage_table(home: Home, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no truth of their own: whatever becomes of them, no id is forgotten."""
    monkeypatch.setattr(id_index, "RUNS_MAX", 8)
    for number in range(1, 6):
        append(home, number, [f"e{number}"], [number * 10])
    files = sorted((home.folder / "ids").iterdir())
    if harm == "damaged":
        files[2].write_bytes(b"?" * files[2].stat().st_size)
    elif harm == "cut short":
        files[2].write_bytes(files[2].read_bytes()[:-100])
    elif harm == "hashed otherwise":
        hashes = id_index.hash_ids
        monkeypatch.setattr(id_index, "_probe", lambda: b"another engine")
        monkeypatch.setattr(id_index, "hash_ids", lambda ids: hashes(ids) ^ np.uint64(1))
        monkeypatch.setattr(
            id_index, "_MADE_AGAIN", id_index._MADE_AGAIN.replace("hash(event_id)", "xor(hash(event_id), 1::ubigint)")
        )
    else:
        for file in files if harm == "gone" else files[2:3]:
            file.unlink()
    again = Home.at(home.folder)
    assert look_up(again, [f"e{number}" for number in range(1, 7)], through=5) == [10, 20, 30, 40, 50, None]
    append(again, 6, ["e6"], [60])
    assert look_up(again, ["e1", "e6"], through=6) == [10, 60]
    again.close()


def test_an_older_lake_beside_newer_runs_is_believed(home: Home) -> None:
    """A lake restored from a backup, its numbers used again: what the runs say of them is of no use."""
    append(home, 1, ["a"])
    append(home, 2, ["b", "c"])
    other = Home.at(home.folder.parent / "other")
    other.create()
    append(other, 1, ["a"])
    (home.folder / "ids").rename(home.folder / "newer")
    (other.folder / "ids").rename(other.folder / "unused")
    (home.folder / "newer").rename(other.folder / "ids")
    restored = Home.at(other.folder)
    restored.usage.append(2, rows(["x", "y"], [1, 2]))
    restored.ids.append(2, id_index.hash_ids(texts(["x", "y"])))
    assert look_up(restored, ["a", "b", "x", "y"], through=2) == [1, None, 1, 2]
    for one in (other, restored):
        one.close()


def test_a_batch_that_was_never_indexed_is_added_by_the_next(home: Home) -> None:
    """Killed between the two appends: the rows are there, and count where their batch does."""
    append(home, 1, ["a"])
    home.usage.append(2, rows(["b"], [20]))
    append(home, 3, ["c"])
    assert look_up(home, ["a", "b", "c"], through=3) == [1, 20, 3]
    assert look_up(home, ["a", "b", "c"], through=3, void=(2,)) == [1, None, 3]
