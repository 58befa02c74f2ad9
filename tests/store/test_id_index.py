"""The index of ids: a second delivery is known whatever its month, team or batch (rule 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from billing.store.id_index import BUCKETS, IdIndex, hash_text
from billing.store.lake import CommittedBatches


@pytest.fixture
def index(tmp_path: Path) -> IdIndex:
    made = IdIndex(tmp_path / "ids")
    made.lake.create()
    return made


def texts(values: Sequence[str]) -> pa.Array:
    return pa.array(values, pa.string())


def append(index: IdIndex, batch_no: int, ids: Sequence[str], content: Sequence[int] | None = None) -> None:
    index.append(batch_no, texts(ids), np.array(content or [batch_no] * len(ids), dtype=np.int64))


def look_up(index: IdIndex, ids: Sequence[str], through: int, void: tuple[int, ...] = ()) -> list[int | None]:
    """The content under each id, None where it is not known."""
    found = index.look_up(CommittedBatches(through=through, void=void), texts(ids))
    assert not found.content_hash[~found.known].any()
    return [int(content) if known else None for known, content in zip(found.known, found.content_hash, strict=True)]


def test_the_hash_of_a_text_is_the_same_for_ever() -> None:
    """Content and buckets are kept by it. If an upgrade of pandas changes these values, every second delivery of
    what was accepted before would be a conflict: pin pandas, or keep the old hash."""
    pinned = {
        "": 1760245841805064774,
        "a": -4496393130729816112,
        "event-1": 252973815321668626,
        "é": -1537934940950697753,
        "e\u0301": 6860317513358903046,
        "\U0001f600": 8676411665159080067,
        "A" * 1000: -8597304961961053830,
    }
    assert dict(zip(pinned, hash_text(texts(list(pinned))).tolist(), strict=True)) == pinned
    assert hash_text(texts([])).tolist() == []


def test_ids_are_known_over_all_committed_batches(index: IdIndex) -> None:
    append(index, 1, ["a", "b"], [10, 20])
    append(index, 2, ["c"], [-(2**63)])
    append(index, 3, ["d"], [2**63 - 1])
    assert look_up(index, ["d", "x", "c", "b", "a"], through=3) == [2**63 - 1, None, -(2**63), 20, 10]
    assert look_up(index, ["d", "c", "a"], through=2) == [None, -(2**63), 10], "what came after is not known yet"
    assert look_up(index, ["a", "b", "c", "d"], through=0) == [None] * 4


def test_void_batches_are_as_if_they_had_never_been(index: IdIndex) -> None:
    """Killed between claiming an id and writing the row: counted once (openmeter #5118)."""
    append(index, 1, ["a"], [10])
    append(index, 2, ["b"], [20])
    append(index, 3, ["b"], [30])
    assert look_up(index, ["a", "b"], through=3, void=(2,)) == [10, 30]
    assert look_up(index, ["a", "b"], through=3, void=(1, 2, 3)) == [None, None]


def test_ids_are_compared_code_point_by_code_point(index: IdIndex) -> None:
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
        others = [other for other in ids if other != one]
        made = IdIndex(Path(f"{index.lake._location}-{number}"))
        made.lake.create()
        append(made, 1, [one], [7])
        assert look_up(made, [one], through=1) == [7]
        assert look_up(made, others, through=1) == [None] * len(others), one


def test_ten_thousand_ids_are_found_and_ten_thousand_others_are_not(index: IdIndex) -> None:
    mine, others = [f"event-{n}" for n in range(10_000)], [f"Event-{n}" for n in range(10_000)]
    append(index, 1, mine[:5_000], list(range(5_000)))
    append(index, 2, mine[5_000:], list(range(5_000, 10_000)))
    assert look_up(index, [*others, *mine], through=2) == [None] * 10_000 + list(range(10_000))
    assert len(index.lake.rows_by("bucket")) == BUCKETS


def test_nothing_asked_is_nothing_answered(index: IdIndex) -> None:
    append(index, 1, ["a"])
    assert look_up(index, [], through=1) == []


def test_an_index_without_rows_knows_nothing(index: IdIndex) -> None:
    assert look_up(index, ["a"], through=5) == [None]
