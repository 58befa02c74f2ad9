"""The corrected delivery of a file: what waits of the wrong one is replaced, and what was accepted wrongly is told, and
put right by corrections where that is asked for (rules 2.2, 2.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import PurePath

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, func, select

from billing.core.errors import ConservationBroken, DataRefused, NotFound
from billing.core.instants import format_instant, from_us
from billing.core.reference import Reference
from billing.intake.judging import ACCEPTED, REASONS, Reason
from billing.intake.sources.seam import SourceFile
from billing.steps import commit_points
from billing.steps.batch import Also, IngestSummary, Judged, judge_files, write_batch
from billing.steps.corrections import (
    Changed,
    Difference,
    Event,
    Known,
    Plan,
    Said,
    compare,
    plan,
    usage_file,
)
from billing.steps.gathering import ArchivedFile, Gathered, content_hash, gather
from billing.steps.ingest import Inspector, Occasion, archive_files, done_already
from billing.steps.progress import Progress, silent
from billing.steps.reference import current_reference
from billing.store import log, quarantine
from billing.store.batches import REPLACEMENT, committed, open_batch
from billing.store.deliveries import (
    Delivered,
    FileKey,
    Lineage,
    delivered,
    lineage,
    replacing,
    root_file,
)
from billing.store.files import archive_suffix
from billing.store.home import Home
from billing.store.lake import CommittedBatches
from billing.store.quarantine import Ending, Selection
from billing.store.tables import batch_files
from billing.store.tables import quarantine as quarantine_table

SOURCE = "replacement"
"""What the batch says of its source; its records count for the source of the file that they replace."""
SUFFIX = ".corrections.jsonl"
"""What follows the corrected file's name in the name of the file of corrections."""
_KEY = re.compile(r"[0-9]{1,18}:[0-9]{1,18}")
_CANDIDATES_MAX = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Replacement:
    """What a corrected delivery did: its batch, the file it replaced, how many waiting records ended so, what was
    accepted from the wrong file and is said otherwise now, and how many corrections were made (0: not asked for).
    """

    batch: IngestSummary
    replaced: str
    ended: int
    differences: tuple[Difference, ...]
    corrections: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """A request: the corrected file, the line of the one it replaces, and what it is judged by."""

    archived: ArchivedFile
    line: Lineage
    correct: bool
    request: str
    occasion: Occasion
    reference: Reference


@dataclass(frozen=True, kw_only=True, slots=True)
class _Delivery:
    """The files of a corrected delivery, the one of corrections first: what it takes back is taken back before the
    corrected file's own corrections are judged.
    """

    asked: _Asked
    files: tuple[ArchivedFile, ...]
    plan: Plan
    corrections: tuple[Event, ...]


def replace_file(
    home: Home,
    file: SourceFile,
    now: datetime,
    replaces: str,
    *,
    correct: bool = False,
    inspector: Inspector | None = None,
    progress: Progress = silent,
) -> Replacement:
    """Take ``file`` as the corrected delivery of ``replaces``: the name of a file that was delivered, or
    ``BATCH:FILE``. The corrected file is the whole file: what it lacks was wrong.

    One batch. What waits in quarantine of the replaced file ends as replaced; what was right is a duplicate. Events
    that were accepted and are said otherwise now are told; with ``correct`` they are taken back and delivered anew, by
    a file of corrections in the same batch, late where their cycle is closed (rules 3.5, 4.3). It says nothing of
    completeness. Raises ``NotFound`` or ``DataRefused`` where ``replaces`` names no file or several, where an event
    cannot be taken back, and as ``ingest`` does; then nothing is changed.
    """
    with home.database.holding("ingest"):
        (archived,) = archive_files(home, [file])
        made: list[ArchivedFile] = []
        commit_points.reached(commit_points.INGEST_ARCHIVED)
        try:
            asked = _asked(home, archived, replaces, now, correct)
            if (done := done_already(home, asked.request)) is not None:
                return _done(home, asked, done)
            delivery = _prepare(home, asked, made, progress)
            return _take(home, delivery, inspector, progress)
        except (DataRefused, NotFound):
            for one in (archived, *made):
                home.archive.take_back(one.stored)
            raise


def _asked(home: Home, archived: ArchivedFile, replaces: str, now: datetime, correct: bool) -> _Asked:
    with home.database.read() as connection:
        root = _replaced_file(connection, replaces, archived.stored.sha256)
        line = lineage(connection, root, archived.stored.sha256)
    load_no, reference = current_reference(home)
    parts = [archived.name, archived.stored.sha256, correct, load_no, format_instant(now)]
    request = replacing(root, sha256(log.canonical(parts).encode()).hexdigest())
    occasion = Occasion(source=SOURCE, window_start=None, now=now, load_no=load_no)
    return _Asked(
        archived=archived, line=line, correct=correct, request=request, occasion=occasion, reference=reference
    )


def _prepare(home: Home, asked: _Asked, made: list[ArchivedFile], progress: Progress) -> _Delivery:
    gathered = gather(home, [asked.archived], progress)
    found = _plan(home, asked.line, gathered)
    corrections = found.records if asked.correct else ()
    if corrections:
        _demand_free(home, corrections, gathered)
        name = asked.archived.name + SUFFIX
        stored = home.archive.put_bytes(usage_file(corrections), archive_suffix(name))
        made.append(ArchivedFile(name=name, stored=stored))
    return _Delivery(asked=asked, files=(*made, asked.archived), plan=found, corrections=corrections)


# --- which file ------------------------------------------------------------------------------------------------------


def _replaced_file(connection: Connection, text: str, sha: str) -> FileKey:
    """The first delivery of the file that is meant. Several of one name are told apart by their bytes; the corrected
    file itself, delivered under that name before, is not meant.
    """
    named = delivered(connection, batch_files.c.name == text)
    if not named and _KEY.fullmatch(text):
        return _by_key(connection, text)
    roots = {root_file(connection, one.file) for one in named}
    others = {root_file(connection, one.file) for one in named if one.sha256 != sha}
    roots = others or roots
    if len(roots) == 1:
        return roots.pop()
    if roots:
        files = [one for one in named if one.file in roots]
        raise DataRefused(f"Several files were delivered as {text}; say which by BATCH:FILE:\n{_listed(files)}")
    raise NotFound(f"No file was delivered as {text}. {_alike(connection, text)}")


def _by_key(connection: Connection, text: str) -> FileKey:
    batch_no, file_no = map(int, text.split(":"))
    try:
        return root_file(connection, (batch_no, file_no))
    except KeyError:
        raise NotFound(f"There is no file {text} (BATCH:FILE). {_alike(connection, text)}") from None


def _alike(connection: Connection, text: str) -> str:
    """Files that may be meant: those of the same name in another folder, else the newest ones."""
    files = delivered(connection)
    alike = [one for one in files if PurePath(one.name).name == PurePath(text).name]
    some = (alike or files)[-_CANDIDATES_MAX:]
    return f"There are:\n{_listed(some)}" if some else "Nothing was delivered yet."


def _listed(files: Sequence[Delivered]) -> str:
    return "\n".join(f"  {one}" for one in files)


# --- what differs ----------------------------------------------------------------------------------------------------


def _plan(home: Home, line: Lineage, gathered: Gathered) -> Plan:
    """The differences between what was accepted and what the corrected file says, and what puts them right."""
    batches = _committed(home)
    accepted = _accepted(home, batches, line)
    made = {f"{batch}:{file}" for batch, file in line.made}
    settled = _settled(home, batches, gathered, accepted, made)
    events = [event for event in accepted if event.event_id not in settled]
    is_made = [event.place.rpartition(":")[0] in made for event in events]
    known = Known.of(
        [event for event, mine in zip(events, is_made, strict=True) if not mine],
        [event for event, mine in zip(events, is_made, strict=True) if mine],
    )
    changed = compare(known, Said.of(event for event in _said(gathered) if event.event_id not in settled))
    left, notes = _left(home, batches, changed, {event.event_id for event in accepted})
    return plan(known, changed, left, notes)


def _committed(home: Home) -> CommittedBatches:
    with home.database.read() as connection:
        return committed(connection)


def _accepted(home: Home, batches: CommittedBatches, line: Lineage) -> list[Event]:
    """Every event that was accepted from the file or from what came of it, in the order of its place."""
    numbers = sorted({batch for batch, _ in line.files})
    mine = batches.filter() & pc.field("batch_no").isin(numbers)
    rows = home.usage.lake.dataset().to_table(filter=mine)
    keys = zip(rows["batch_no"].to_pylist(), rows["file_no"].to_pylist(), strict=True)
    rows = rows.filter(pa.array([key in line.files for key in keys], pa.bool_()))
    rows = rows.sort_by([("batch_no", "ascending"), ("file_no", "ascending"), ("line", "ascending")])
    return list(_events(rows))


def _events(rows: pa.Table) -> Iterator[Event]:
    text = ("event_id", "app_id", "api", "corrects", "team_id")
    columns = [rows[name].to_pylist() for name in text]
    at_us = rows["occurred_at"].cast(pa.int64()).to_pylist()
    places = zip(*(rows[name].to_pylist() for name in ("batch_no", "file_no", "line")), strict=True)
    for *cells, at, micro, place in zip(*columns, at_us, rows["quantity_micro"].to_pylist(), places, strict=True):
        named = dict(zip(text, cells, strict=True))
        yield Event(**named, occurred_at_us=at, quantity_micro=micro, place=":".join(map(str, place)))


def _said(gathered: Gathered) -> Iterator[Event]:
    """The records of the corrected file that can be read: with an id, an instant and a quantity of the right sign."""
    records = gathered.records
    text = ("event_id", "app_id", "api", "corrects", "team_id")
    columns = [getattr(records, name).to_pylist() for name in text]
    numbers = [values.tolist() for values in (records.occurred_at_us, records.quantity_micro, gathered.line)]
    good = (~records.unreadable & records.occurred_at_ok & records.quantity_ok).tolist()
    for *cells, at, micro, line, ok in zip(*columns, *numbers, good, strict=True):
        named = dict(zip(text, cells, strict=True))
        if ok and named["event_id"] and (micro < 0) == bool(named["corrects"]):
            yield Event(**named, occurred_at_us=at, quantity_micro=micro, place=str(line))


def _settled(
    home: Home, batches: CommittedBatches, gathered: Gathered, accepted: Sequence[Event], made: set[str]
) -> frozenset[str]:
    """Ids that need no comparison, as a rule nearly all: accepted as the file says them, never corrected."""
    records = gathered.records
    ids = pc.unique(records.event_id)
    known = home.ids.look_up(batches, ids)
    place = pc.index_in(records.event_id, value_set=ids).to_numpy(zero_copy_only=False)
    same = known.known[place] & (known.content_hash[place] == content_hash(records))
    same &= pc.equal(records.corrects, "").to_numpy(zero_copy_only=False)
    involved = {event.corrects for event in accepted} | set(pc.unique(records.corrects).to_pylist())
    involved |= {event.event_id.rpartition("#")[0] for event in accepted if event.place.rpartition(":")[0] in made}
    equal = records.event_id.take(pa.array(np.flatnonzero(same))).to_pylist()
    return frozenset(equal) - involved


def _left(
    home: Home, batches: CommittedBatches, changed: Changed, own: set[str]
) -> tuple[Mapping[str, int], Mapping[str, str]]:
    """What is left of each wrong event after all corrections of it, by its id; and which of these came elsewhere."""
    wrong = {event.event_id: event for event, _, _ in changed.wrong.values()}
    left = {name: event.quantity_micro for name, event in wrong.items()}
    elsewhere: dict[str, list[str]] = {}
    months = sorted({from_us(event.occurred_at_us).strftime("%Y-%m") for event in wrong.values()})
    for event in _events(home.usage.corrected(batches, sorted(wrong), months)) if wrong else ():
        if event.corrects in left:
            left[event.corrects] += event.quantity_micro
            if event.event_id not in own:
                elsewhere.setdefault(event.corrects, []).append(f"{event.event_id} ({event.place})")
    says = "a correction that came in another file took back part of it and counts no more: "
    return left, {name: says + ", ".join(sorted(ids)) for name, ids in elsewhere.items()}


def _demand_free(home: Home, corrections: Sequence[Event], gathered: Gathered) -> None:
    """Derived ids are new: a source that uses one of them is told so, and nothing is counted twice or dropped."""
    ids = pa.array([event.event_id for event in corrections], pa.string())
    taken = home.ids.look_up(_committed(home), ids).known
    taken |= pc.is_in(ids, value_set=gathered.records.event_id).to_numpy(zero_copy_only=False)
    if taken.any():
        first = ids[int(np.flatnonzero(taken)[0])].as_py()
        raise DataRefused(
            f"The corrections need {int(taken.sum())} ids that a source has used already, {first!a} the first of them: "
            "nothing was changed. Take these events back by corrections of your own, with ids of your own."
        )


# --- taking it -------------------------------------------------------------------------------------------------------


def _take(home: Home, delivery: _Delivery, inspector: Inspector | None, progress: Progress) -> Replacement:
    asked = delivery.asked
    gathered = gather(home, delivery.files, progress)
    judged = judge_files(home, delivery.files, gathered, asked.reference, asked.occasion.now)
    _demand_taken_back(delivery, judged)
    inspected = inspector(home, judged, asked.occasion) if inspector else None
    done = _write(home, delivery, judged, inspected)
    return Replacement(
        batch=done,
        replaced=str(asked.line.root),
        ended=_ended_in(home, done.batch_no),
        differences=delivery.plan.differences,
        corrections=len(delivery.corrections),
    )


def _done(home: Home, asked: _Asked, done: IngestSummary) -> Replacement:
    """What a request did that is made again: what still differs is what it left."""
    with home.database.read() as connection:
        files = delivered(connection, batch_files.c.batch_no == done.batch_no)
    return Replacement(
        batch=done,
        replaced=str(asked.line.root),
        ended=_ended_in(home, done.batch_no),
        differences=_plan(home, asked.line, gather(home, [asked.archived])).differences,
        corrections=files[0].records if len(files) > 1 else 0,
    )


def _demand_taken_back(delivery: _Delivery, judged: Judged) -> None:
    """All that is to be taken back is, else nothing is: an event and its correction must not both be billed."""
    reason, many = judged.verdicts.reason, len(delivery.plan.taken_back) if delivery.corrections else 0
    refused = np.flatnonzero(reason[:many] != ACCEPTED)
    if len(refused):
        place = int(refused[0])
        event = delivery.plan.taken_back[place]
        raise DataRefused(
            f"{len(refused)} events cannot be taken back, {event.corrects!a} the first of them: its correction would "
            f"be refused as {REASONS[reason[place]].value}. Nothing was changed. Mend the reference data, or leave "
            "out --correct."
        )


def _write(home: Home, delivery: _Delivery, judged: Judged, inspected: Also | None) -> IngestSummary:
    started, asked = datetime.now(UTC), delivery.asked
    root, occasion = asked.line.root, asked.occasion
    number = open_batch(
        home,
        kind=REPLACEMENT,
        source=SOURCE,
        request=asked.request,
        window=(None, occasion.now),
        load_no=occasion.load_no,
        at=started,
    )
    commit_points.reached(commit_points.INGEST_OPENED)
    said = {
        "source": SOURCE,
        "now": format_instant(occasion.now),
        "replaces": f"{root.file[0]}:{root.file[1]}",
        "replaced": root.name,
        "corrections": len(delivery.corrections),
    }
    return write_batch(home, number, judged, started, said, _ending(delivery, judged, started, inspected))


def _ending(delivery: _Delivery, judged: Judged, at: datetime, inspected: Also | None) -> Also:
    """End what waits of the replaced file, and what of the corrected one the corrections bring under a new id."""
    anew = _anew(delivery, judged)

    def write(connection: Connection, number: int) -> None:
        where, _ = quarantine.places(connection, Selection(files=tuple(sorted(delivery.asked.line.files))))
        quarantine.end(connection, where, Ending(ending=quarantine.REPLACED, at=at, batch_no=number))
        file_no = len(delivery.files) - 1
        mine = np.array([(number, file_no, line) for line in anew], dtype=np.int64).reshape(-1, 3)
        why = "delivered under a new id by a file of corrections"
        quarantine.end(connection, mine, Ending(ending=quarantine.REPLACED, at=at, batch_no=number, why=why))
        if inspected is not None:
            inspected(connection, number)

    return write


def _anew(delivery: _Delivery, judged: Judged) -> list[int]:
    """Lines of the corrected file that are in quarantine under their own id, and delivered anew under another."""
    reason, gathered = judged.verdicts.reason, judged.gathered
    lines = delivery.plan.stands | (delivery.plan.anew if delivery.corrections else frozenset())
    mine: npt.NDArray[np.bool_] = gathered.file_no == len(delivery.files) - 1
    mine &= np.isin(gathered.line, np.array(sorted(lines), dtype=np.int64))
    if (mine & (reason == ACCEPTED)).any():
        raise ConservationBroken("A record would be billed under its own id and under a new one; nothing was changed.")
    found: list[int] = gathered.line[mine & (reason != REASONS.index(Reason.DUPLICATE))].tolist()
    return found


def _ended_in(home: Home, batch_no: int) -> int:
    ended = quarantine_table.c.ending == quarantine.REPLACED, quarantine_table.c.ended_in == batch_no
    query = select(func.count()).select_from(quarantine_table).where(*ended, quarantine_table.c.batch_no != batch_no)
    with home.database.read() as connection:
        return int(connection.execute(query).scalar_one())
