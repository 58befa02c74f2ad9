"""What a corrected file says otherwise than what was accepted from the wrong one, and the records that put it right.

Accepted events cannot be edited (rules 2.2, 2.3). Where one differs or is missing, a negative event takes back all that
is left of it, and the corrected record is a new event; both have ids derived from the old one::

    ID#taken-back-1   takes back ID             ID#corrected-1   the corrected record
    ID#taken-back-2   takes back ID#corrected-1 ID#corrected-2   the record corrected once more

An event and the corrections of it go together: where a correction differs, its event is taken back with it and both are
delivered anew, since a correction cannot be corrected.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Final

from billing.core.instants import format_us
from billing.core.quantity import format_micro

TAKEN_BACK: Final = "taken-back"
CORRECTED: Final = "corrected"
_DERIVED = re.compile(rf"(.*)#({TAKEN_BACK}|{CORRECTED})-([0-9]+)", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """A usage event, accepted or as a file says it. ``team_id`` counts only where ``app_id`` is blank; ``place`` says
    where it stands: ``BATCH:FILE:LINE`` of one that is accepted, else its line.
    """

    event_id: str
    occurred_at_us: int
    app_id: str
    api: str
    quantity_micro: int
    corrects: str
    team_id: str
    place: str

    def content(self) -> tuple[object, ...]:
        """What two records of one id are compared by (rule 2.2), but what they correct."""
        team = "" if self.app_id else self.team_id
        return (self.occurred_at_us, self.app_id, self.api, self.quantity_micro, team)

    def record(self) -> str:
        """As a record of a usage file: a line of JSON."""
        cells = {
            "event_id": self.event_id,
            "occurred_at": format_us(self.occurred_at_us),
            "app_id": self.app_id,
            "api": self.api,
            "quantity": format_micro(self.quantity_micro),
            "corrects": self.corrects,
            "team_id": "" if self.app_id else self.team_id,
        }
        return json.dumps(cells, ensure_ascii=False)

    def __str__(self) -> str:
        return f"{format_micro(self.quantity_micro)} of {self.api} at {format_us(self.occurred_at_us)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """An accepted event that the corrected file says otherwise (``new``) or lacks (None).

    ``left_micro`` is what is left of it to take back; ``why_left`` says why nothing puts it right, blank where the
    corrections do.
    """

    old: Event
    new: Event | None
    left_micro: int = 0
    why_left: str = ""
    note: str = ""

    def __str__(self) -> str:
        now = f"differs: {self.new}" if self.new else "is missing"
        return f"{self.old.event_id} ({self.old.place}), {self.old}, {now}" + (f"; {self.note}" if self.note else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The differences, and the new records that put them right, in the order in which they are written. ``anew`` are
    the lines of the corrected file whose record is among them under a new id, ``stands`` those whose record was
    accepted under a new id before.
    """

    differences: tuple[Difference, ...]
    taken_back: tuple[Event, ...]
    corrected: tuple[Event, ...]
    anew: frozenset[int]
    stands: frozenset[int]

    @property
    def records(self) -> tuple[Event, ...]:
        """All new records: what takes back comes first."""
        return (*self.taken_back, *self.corrected)


def derived(event_id: str, role: str, number: int) -> str:
    """The id of an event that takes back or corrects another: the same, whoever derives it and whenever."""
    return f"{event_id}#{role}-{number}"


def derived_from(event_id: str) -> tuple[str, str, int]:
    """What a derived id was made of: the id, the role and the number."""
    match = _DERIVED.fullmatch(event_id)
    if match is None:
        raise ValueError(f"{event_id!a} is no derived id")
    return match[1], match[2], int(match[3])


@dataclass(slots=True)
class Known:
    """Accepted events of a file and of what has replaced it, by the id that the source gave.

    ordinary   ids of all that are not corrections
    standing   of these the newest of each id that the source gave, and its number (0: the first)
    retracted  ids of those that were taken back by a replacement
    own        corrections of an event, by its id and then by their own
    newest     the newest accepted record of each id, of whichever kind, and its number
    """

    ordinary: set[str] = field(default_factory=set)
    standing: dict[str, tuple[Event, int]] = field(default_factory=dict)
    retracted: set[str] = field(default_factory=set)
    own: dict[str, dict[str, Event]] = field(default_factory=dict)
    newest: dict[str, tuple[Event, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Iterable[Event], made: Iterable[Event]) -> Known:
        """From events as sources delivered them, and from those that replacements have made."""
        known = cls()
        named = [(event, event.event_id, CORRECTED, 0) for event in given]
        for event, base, role, number in sorted([*named, *_made(made)], key=lambda one: one[3]):
            if role == TAKEN_BACK:
                known.retracted.add(event.corrects)
                continue
            known.newest[base] = (event, number)
            if event.corrects:
                known.own.setdefault(event.corrects, {})[base] = event
            else:
                known.ordinary.add(event.event_id)
                known.standing[base] = (event, number)
        return known


def _made(events: Iterable[Event]) -> Iterator[tuple[Event, str, str, int]]:
    for event in events:
        yield (event, *derived_from(event.event_id))


@dataclass(slots=True)
class Said:
    """What the corrected file says, by id: the first record of each id; and the corrections of an event."""

    first: dict[str, Event] = field(default_factory=dict)
    corrections: dict[str, dict[str, Event]] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Event]) -> Said:
        said = cls()
        for record in records:
            if said.first.setdefault(record.event_id, record) is record and record.corrects:
                said.corrections.setdefault(record.corrects, {})[record.event_id] = record
        return said

    def ordinary(self, event_id: str) -> Event | None:
        """The record of an id, where it is not a correction."""
        found = self.first.get(event_id)
        return found if found and not found.corrects else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Changed:
    """What is to be done: events that are wrong, as they stand (by the source's id, with what the file says now);
    records that are delivered anew; differences that stay. ``stands``: records that an earlier replacement has
    delivered anew, as they are said now.
    """

    wrong: Mapping[str, tuple[Event, int, Event | None]]
    anew: tuple[Event, ...]
    stands: tuple[Event, ...]
    stays: tuple[Difference, ...]


def compare(known: Known, said: Said) -> Changed:
    """Which events are wrong, each with its corrections, and which records of the corrected file are delivered anew."""
    wrong: dict[str, tuple[Event, int, Event | None]] = {}
    anew: dict[str, Event] = {}
    for base, (event, number) in known.standing.items():
        new, wanted = said.ordinary(base), said.corrections.get(base, {})
        gone, own = event.event_id in known.retracted, known.own.get(event.event_id, {})
        if new is not None and not gone and new.content() == event.content() and _all_kept(own, wanted):
            if number:  # what names the first one now corrects the one that took its place
                anew |= {name: one for name, one in wanted.items() if name not in own}
            continue
        if not gone:
            wrong[base] = (event, number, said.first.get(base))
        if new is not None:
            anew |= {base: new} | wanted
    stays = dict(_stays(known, said))
    anew |= {name: one for name, one in said.first.items() if name not in stays and _otherwise(known, name, one)}
    gone_now = known.retracted | {event.event_id for event, _, _ in wrong.values()}
    left = {name: one for name, one in said.first.items() if name not in anew and name not in stays}
    stands = tuple(one for name, one in left.items() if _stands_anew(known, name, gone_now))
    return Changed(wrong=wrong, anew=tuple(anew.values()), stands=stands, stays=tuple(stays.values()))


def _stands_anew(known: Known, name: str, gone: Set[str]) -> bool:
    """Whether a record was delivered anew before, and neither it nor the event that it corrects was taken back."""
    event, number = known.newest.get(name, (None, 0))
    return event is not None and number > 0 and not {event.event_id, event.corrects} & gone


def _all_kept(own: Mapping[str, Event], wanted: Mapping[str, Event]) -> bool:
    return all(name in wanted and wanted[name].content()[:4] == old.content()[:4] for name, old in own.items())


def _stays(known: Known, said: Said) -> Iterator[tuple[str, Difference]]:
    """By the source's id, corrections of events that came in other files: a correction cannot be taken back."""
    for event_id, corrections in known.own.items():
        if event_id in known.ordinary:
            continue
        for name, old in corrections.items():
            new = said.first.get(name)
            if new is None or (new.corrects, *new.content()[:4]) != (event_id, *old.content()[:4]):
                why = f"a correction cannot be taken back, and the event it corrects, {event_id}, came in another file"
                yield name, Difference(old=old, new=new, why_left=why)


def _otherwise(known: Known, name: str, record: Event) -> bool:
    """Whether a record was accepted as one of another kind, or as a correction of another event."""
    if name not in known.newest:
        return False
    old, _ = known.newest[name]
    corrected = known.standing.get(record.corrects)
    meant = corrected[0].event_id if corrected else record.corrects
    return bool(record.corrects) != bool(old.corrects) or (
        bool(old.corrects) and old.corrects not in (record.corrects, meant)
    )


def plan(known: Known, changed: Changed, left_micro: Mapping[str, int], notes: Mapping[str, str]) -> Plan:
    """The records that put it right. ``left_micro``: by id of a wrong event, what is left of it; ``notes``: what else
    there is to say of it.
    """
    taken_back = [
        _taking_back(base, event, number + 1, left_micro[event.event_id])
        for base, (event, number, _) in changed.wrong.items()
        if left_micro[event.event_id]
    ]
    names = {record.event_id: _next(known, record.event_id) for record in changed.anew}
    now = {base: event.event_id for base, (event, _) in known.standing.items()} | {
        record.event_id: names[record.event_id] for record in changed.anew if not record.corrects
    }
    corrected = [
        replace(record, event_id=names[record.event_id], corrects=now.get(record.corrects, record.corrects))
        for record in changed.anew
    ]
    differences = [
        Difference(old=event, new=new, left_micro=left_micro[event.event_id], note=notes.get(event.event_id, ""))
        for event, _, new in changed.wrong.values()
        if new is not None or left_micro[event.event_id]
    ]
    return Plan(
        differences=(*differences, *changed.stays),
        taken_back=tuple(taken_back),
        corrected=tuple(sorted(corrected, key=lambda record: int(record.place))),
        anew=frozenset(int(record.place) for record in changed.anew),
        stands=frozenset(int(record.place) for record in changed.stands),
    )


def _taking_back(base: str, event: Event, number: int, left_micro: int) -> Event:
    """What takes back all that is left of an event (rule 2.3)."""
    name = derived(base, TAKEN_BACK, number)
    return replace(event, event_id=name, quantity_micro=-left_micro, corrects=event.event_id)


def _next(known: Known, base: str) -> str:
    """The id of the next record of an id."""
    number = known.newest[base][1] + 1 if base in known.newest else 1
    return derived(base, CORRECTED, number)


def usage_file(records: Sequence[Event]) -> bytes:
    """Records as a usage file: JSON Lines, the same bytes whenever it is made."""
    return "".join(f"{record.record()}\n" for record in records).encode()
