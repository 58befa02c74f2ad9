"""JSON Lines: what is taken apart by shape is what one record after the other gives (data contract, "Conventions")."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from billing.intake import usage_files
from billing.intake.usage_files import COLUMNS, read_usage

VALUES = st.sampled_from(
    [
        *('""', '"e1"', '"a b"', '"é€😀"', r'"\u00e9"', r'"\ud800"', '"a\\"b"', '"a\tb"', '"null"', '"},{"', '":"'),
        *("1", "-0", "0.5", "01", "1.", ".5", "1e3", "1E+400", "-2.50", "+1", "9" * 30, "NaN", "Infinity"),
        *("true", "false", "null", "True", "{}", "[]", '{"a": 1}', "", '"2025-07-20T12:00:00Z"', '"\x7f"'),
    ]
)
KEYS = st.sampled_from([*COLUMNS, "note", "n.o*te", "clé", r"\u0061pi", ""])
GAPS = st.sampled_from(["", " ", "\t", "  "])
ENDS = st.sampled_from(["", " ", "x", "}", ","])


@st.composite
def lines(draw: st.DrawFn) -> str:
    """A line, as a rule like the others of its file but for some value."""
    keys = draw(st.sampled_from([list(COLUMNS[:5]), list(COLUMNS), ["event_id", "event_id"]]) | st.lists(KEYS))
    gap = draw(GAPS)
    cells = (f'{gap}"{key}"{gap}:{gap}{draw(VALUES)}{gap}' for key in keys)
    return f"{gap}{{{','.join(cells)}}}{draw(ENDS)}"


def plain(event_id: str, quantity: str) -> str:
    return f'{{"event_id": "{event_id}", "occurred_at": "", "app_id": "a1", "api": "x", "quantity": {quantity}}}'


def read(path: Path) -> tuple[list[list[object]], set[str]]:
    unknown: set[str] = set()
    names = (
        "line",
        "unreadable",
        *COLUMNS[:1],
        "app_id",
        "api",
        "corrects",
        "team_id",
        "quantity_micro",
        "quantity_ok",
    )
    columns: list[list[object]] = [[] for _ in names]
    for chunk in read_usage(path, "u.jsonl", chunk_rows=4, unknown=unknown):
        for column, name in zip(columns, names, strict=True):
            values = getattr(chunk, name)
            column += values.tolist() if isinstance(values, np.ndarray) else values.to_pylist()
    return columns, unknown


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jsonl") / "u.jsonl"


@given(st.lists(lines(), min_size=1, max_size=9), st.sampled_from(["\n", "\r\n", "\n\n"]))
@example([plain("e1", "1"), plain("e2", "null"), plain("e3", '"2"'), plain("e4", "3")], "\n")
@example([plain("e1", "1"), plain("e\x002", "1"), plain("e3", "1") + "{"], "\r\n")
@settings(max_examples=400, deadline=None)
def test_by_shape_or_one_by_one_is_the_same(path: Path, texts: list[str], end: str) -> None:
    path.write_bytes(end.join(texts).encode())
    by_shape = read(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(usage_files, "_shape_of", lambda line: None)
        assert by_shape == read(path)


def test_records_of_one_shape_are_not_decoded_one_by_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("\n".join(plain(f"e{n}", f"{n}.5") for n in range(1, 40)))
    decoded = []
    one_by_one = usage_files._json_record
    monkeypatch.setattr(usage_files, "_json_record", lambda line: decoded.append(line) or one_by_one(line))
    columns, _ = read(path)
    assert columns[2] == [f"e{n}" for n in range(1, 40)]
    assert columns[7] == [n * 1_000_000 + 500_000 for n in range(1, 40)]
    assert len(decoded) < 20, "the first of each chunk shows its shape"
