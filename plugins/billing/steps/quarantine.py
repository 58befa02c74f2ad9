"""What could not be billed, as a place to work: what is there, how much, one record with its history, and giving up
what will never be billed (rule 2.4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row

from billing.core.errors import DataRefused, NotFound, UsageError
from billing.core.instants import from_day, from_us
from billing.intake.judging import Reason
from billing.steps.chosen import narrowed
from billing.steps.replay import foresee
from billing.store import deliveries, log, quarantine
from billing.store.home import Home
from billing.store.quarantine import DISMISSED, ENDINGS, WAITING, Ending, Place, Selection

GROUPS = {
    "reason": "reason",
    "source": None,
    "app": "app_id",
    "api": "api",
    "day": "occurred_day",
    "file": "name",
    "batch": "batch_no",
    "ending": "ending",
}
"""What records are counted by, and its column; a source is that of the delivery."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantinedListed:
    """A quarantined record: where it stood, why it is there, what it is found by, its raw bytes as text (undecodable
    ones escaped), and how it ended (blank: it waits).

    ``source`` is that of the delivery it came with; ``event_id``, ``app_id`` and ``api`` are cut to 500 characters;
    ``day`` is the UTC day ``YYYY-MM-DD``, blank where it cannot be read; ``ended_in`` is the batch that ended it.
    """

    batch_no: int
    file_no: int
    file: str
    line: int
    reason: str
    raw: str
    source: str
    event_id: str
    app_id: str
    api: str
    day: str
    ending: str
    ended_in: int | None
    ended_at: datetime | None
    ended_why: str

    @property
    def place(self) -> Place:
        """Where the row is."""
        return Place(batch_no=self.batch_no, file_no=self.file_no, line=self.line)


def select_records(
    *,
    reasons: Sequence[str] = (),
    batches: Sequence[int] = (),
    sources: Sequence[str] = (),
    ids: Sequence[str] = (),
    apps: Sequence[str] = (),
    apis: Sequence[str] = (),
    days: Sequence[int] = (),
    places: Sequence[str] = (),
    endings: Sequence[str] = (),
) -> Selection:
    """A selection as a person gives it: ``places`` as ``BATCH:FILE:LINE``, ``endings`` with ``waiting`` and ``any``.
    Raises ``UsageError`` for a reason, an ending or a place that there is not.
    """
    _demand_known("reason", reasons, [reason.value for reason in Reason if reason is not Reason.DUPLICATE])
    _demand_known("ending", endings, ["waiting", "any", *ENDINGS])
    wanted = tuple(WAITING if ending == "waiting" else ending for ending in endings) or (WAITING,)
    return Selection(
        reasons=tuple(reasons),
        batches=tuple(batches),
        sources=tuple(sources),
        ids=tuple(ids),
        apps=tuple(apps),
        apis=tuple(apis),
        days=tuple(days),
        places=tuple(map(Place.parse, places)),
        endings=() if "any" in wanted else wanted,
    )


def _demand_known(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    wrong = [value for value in given if value not in known]
    if wrong:
        raise UsageError(f"{wrong[0]!a} is no {what}; there are: {', '.join(known)}.")


def list_quarantine(
    home: Home, selection: Selection | None = None, *, limit: int | None = 1_000
) -> list[QuarantinedListed]:
    """Quarantined records in the order of batch, file and line, at most ``limit``; those that wait, unless selected."""
    chosen = narrowed(home, selection or Selection())
    with home.database.read() as connection:
        return _listed(connection, quarantine.rows(connection, chosen, limit))


def _listed(connection: Connection, rows: Sequence[Row[Any]]) -> list[QuarantinedListed]:
    sources = deliveries.sources(connection, {(row.batch_no, row.file_no) for row in rows})
    kept = ("batch_no", "file_no", "line", "reason", "event_id", "app_id", "api", "ending", "ended_in", "ended_why")
    return [
        QuarantinedListed(
            **{name: getattr(row, name) for name in kept},
            file=row.name,
            raw=row.raw.decode("utf-8", "backslashreplace"),
            source=sources[row.batch_no, row.file_no],
            day="" if row.occurred_day is None else from_day(row.occurred_day).isoformat(),
            ended_at=None if row.ended_at_us is None else from_us(row.ended_at_us),
        )
        for row in rows
    ]


def count_quarantine(
    home: Home, by: Sequence[str], selection: Selection | None = None
) -> list[tuple[tuple[str, ...], int]]:
    """How many records, by the values of ``by`` (names of ``GROUPS``) as text, the most first."""
    _demand_known("thing to count by", by, list(GROUPS))
    columns = [GROUPS[name] for name in by]
    chosen = narrowed(home, selection or Selection())
    with home.database.read() as connection:
        found = quarantine.counts(connection, chosen, [column for column in columns if column])
        sources = deliveries.sources(connection, {file for file, _, _ in found})
    counted: Counter[tuple[str, ...]] = Counter()
    for file, values, count in found:
        given = iter(values)
        counted[tuple(sources[file] if c is None else _cell(c, next(given)) for c in columns)] += count
    return sorted(counted.items(), key=lambda item: (-item[1], item[0]))


def _cell(column: str, value: Any) -> str:
    if column == "occurred_day":
        return "" if value is None else from_day(value).isoformat()
    return value or "waiting" if column == "ending" else str(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A quarantined record, all its rows from the delivery on across replays, and what would become of it now (blank
    where it has ended for good).
    """

    record: QuarantinedListed
    history: tuple[QuarantinedListed, ...]
    outcome: str


def show(home: Home, place: Place, now: datetime) -> Shown:
    """One record. Raises ``NotFound`` where there is none."""
    with home.database.read() as connection:
        history = tuple(_listed(connection, _history(connection, place)))
    (record,) = [row for row in history if row.place == place]
    if record.ending not in (WAITING, DISMISSED):
        return Shown(record=record, history=history, outcome="")
    (prospect,) = foresee(home, Selection(places=(place,), endings=()), now).prospects()
    return Shown(record=record, history=history, outcome=prospect.outcome)


def _history(connection: Connection, place: Place) -> Sequence[Row[Any]]:
    """The rows of one delivered record: its own and those of the replays that took it again."""
    origin = deliveries.origins(connection)
    root = deliveries.root_of(origin, (place.batch_no, place.file_no))
    files = [root, *(file for file, of in origin.items() if of == root)]
    places = tuple(Place(batch_no=batch, file_no=file, line=place.line) for batch, file in files)
    rows = quarantine.rows(connection, Selection(places=places, endings=()))
    if not any((row.batch_no, row.file_no) == (place.batch_no, place.file_no) for row in rows):
        raise NotFound(f"There is no quarantined record {place}: `billing usage quarantine list --ending any` has all.")
    return rows


def dismiss(home: Home, selection: Selection, why: str) -> int:
    """Give up the selected records that wait, with a reason; returns how many. They stay in the output ``rejected``,
    and a replay takes them only where it names them by their place. Raises ``DataRefused`` without a reason.
    """
    if not why.strip():
        raise DataRefused("Say why: a record is given up for a reason that others can read later.")
    with home.database.holding("ingest"):
        chosen = narrowed(home, selection)
        at = datetime.now(UTC)
        with home.database.exclusive("books") as connection:
            where, _ = quarantine.places(connection, replace(chosen, endings=(WAITING,)))
            if not len(where):
                return 0
            quarantine.end(connection, where, Ending(ending=DISMISSED, at=at, why=why))
            records = {"records": len(where), "places": _ranges(where.tolist())}
            log.append(connection, at, "dismissed", {"why": why, "selection": selection.said(), **records})
    return len(where)


def _ranges(where: Sequence[tuple[int, int, int]]) -> dict[str, str]:
    """Places in order, as text by file: ``{"1:0": "2-5,9"}``."""
    found: dict[str, list[list[int]]] = {}
    for batch_no, file_no, line in where:
        runs = found.setdefault(f"{batch_no}:{file_no}", [])
        if runs and runs[-1][1] + 1 == line:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    return {file: ",".join(f"{a}-{b}" if a < b else str(a) for a, b in runs) for file, runs in found.items()}


def printable(text: str) -> str:
    """A text that no terminal acts on: whatever it would not print (controls, escapes, invisible or turning marks) is
    written as ``\\x1b``, ``\\u202e`` and the like.
    """
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
