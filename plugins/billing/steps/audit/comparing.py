"""What is stored beside what a rerun gives: a comparison a value, equal or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

Key = tuple[object, ...]


class Verdict(StrEnum):
    """What came of a comparison. ``renderer``: a document whose bytes differ because a recorded version is another one
    here, while its text is the same (rule 7.1).
    """

    EQUAL = "equal"
    DIFFERS = "differs"
    RENDERER = "renderer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One value of a closed cycle. ``what`` is the table or kind of document, ``key`` what tells it from its siblings,
    ``field`` its name; ``stored`` and ``again`` are blank where there is none. What belongs to no team and cycle (a
    batch) has a blank team and no start.
    """

    what: str
    team_id: str
    cycle_start_us: int | None
    key: str
    field: str
    stored: str
    again: str
    verdict: Verdict


def compared(
    what: str, fields: Sequence[str], stored: Mapping[Key, Sequence[object]], again: Mapping[Key, Sequence[object]]
) -> Iterator[Comparison]:
    """A comparison a row and field, in the order of the keys: (team_id, start of the cycle in microseconds, more ...).

    A row that only one side has differs in every field.
    """
    for key in sorted(stored.keys() | again.keys(), key=_sortable):
        before, after = stored.get(key), again.get(key)
        for place, field in enumerate(fields):
            was, now = ("" if row is None else _text(row[place]) for row in (before, after))
            same = before is not None and after is not None and was == now
            yield Comparison(
                what=what,
                team_id=str(key[0]),
                cycle_start_us=None if key[1] is None else int(str(key[1])),
                key=" ".join(_text(part) for part in key[2:]).strip(),
                field=field,
                stored=was,
                again=now,
                verdict=Verdict.EQUAL if same else Verdict.DIFFERS,
            )


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _sortable(key: Key) -> tuple[object, ...]:
    return (
        key[0],
        -1 if key[1] is None else key[1],
        *(part if isinstance(part, int) else _text(part) for part in key[2:]),
    )
