"""Take quarantined records again, once the cause was mended (rule 2.4): what could be billed now, and billing it.

A replay is a batch of its own over the original files in the archive, restricted to some of their records. It takes
what its outcome changes; what would be quarantined for the same reason again stays where it is, so that a replay that
is made twice, or was killed, leaves what one leaves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from billing.core.errors import Finding, UsageError
from billing.core.instants import format_instant
from billing.core.reference import Reference
from billing.intake.judging import ACCEPTED, REASONS, Reason, Verdicts
from billing.steps import commit_points
from billing.steps.batch import Also, Judged, judge_files, write_batch
from billing.steps.chosen import Chosen, choose, some_chosen, some_gathered
from billing.steps.ingest import Inspector, Occasion
from billing.steps.progress import Progress, silent
from billing.steps.reference import current_reference
from billing.store import log, quarantine
from billing.store.batches import REPLAY, open_batch
from billing.store.home import Home
from billing.store.quarantine import DISMISSED, WAITING, Ending, Place, Selection

Int64s = npt.NDArray[np.int64]
SOURCE = "replay"
"""What a replay's batch says of its source; its records keep the source that they were delivered by."""
_DUPLICATE = REASONS.index(Reason.DUPLICATE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prospect:
    """A quarantined record, why it is there, and what becomes of it: ``accepted`` or the reason why not. One whose
    outcome is its reason stays.
    """

    place: Place
    file: str
    reason: str
    outcome: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Foreseen:
    """What would happen now to chosen records, by the reference data of load ``load_no``; nothing of it is written."""

    chosen: Chosen
    judged: Judged
    load_no: int

    @property
    def changes(self) -> Int64s:
        """The places of the records whose outcome is another than the reason why they are there, ascending."""
        return np.flatnonzero(self.judged.verdicts.reason != self.chosen.reason)

    def outcomes(self) -> dict[tuple[str, str], int]:
        """How many records, by the reason why they are there and the outcome, in the order of the reasons."""
        pairs = zip(self.chosen.reason.tolist(), self.judged.verdicts.reason.tolist(), strict=True)
        counted = sorted(Counter(pairs).items())
        return {(REASONS[old].value, _outcome(new)): count for (old, new), count in counted}

    def prospects(self) -> Iterator[Prospect]:
        """Record by record, in the order in which they were delivered."""
        outcomes = self.judged.verdicts.reason.tolist()
        reasons, files = self.chosen.reason.tolist(), self.chosen.file_no.tolist()
        for (batch_no, file_no, line), file, old, new in zip(
            self.chosen.where.tolist(), files, reasons, outcomes, strict=True
        ):
            place = Place(batch_no=batch_no, file_no=file_no, line=line)
            name = self.chosen.files[file].name
            yield Prospect(place=place, file=name, reason=REASONS[old].value, outcome=_outcome(new))


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplaySummary:
    """What a replay did. ``batch_no`` is None where it changed nothing and took no number; ``selected`` records are
    those it took, accepted + duplicates + quarantined (for another reason now), and ``stayed``.
    """

    batch_no: int | None
    selected: int
    accepted: int
    duplicates: int
    quarantined: int
    stayed: int
    outcomes: Mapping[tuple[str, str], int]
    warnings: tuple[Finding, ...]

    def __str__(self) -> str:
        if self.batch_no is None:
            return f"{self.selected} records, of which nothing changed: no batch was taken."
        taken = f"{self.accepted} accepted + {self.duplicates} duplicates + {self.quarantined} quarantined"
        return f"Batch {self.batch_no}: {self.selected} records = {taken} + {self.stayed} that stayed."


def foresee(home: Home, selection: Selection, now: datetime, *, progress: Progress = silent) -> Foreseen:
    """What would become of the selected records if they were replayed at ``now``: the judgement of a replay, without
    writing, and without keeping anybody from ingesting meanwhile.
    """
    load_no, reference = current_reference(home)
    chosen, gathered = choose(home, selection, progress)
    judged = judge_files(home, chosen.files, gathered, reference, now)
    return Foreseen(chosen=chosen, judged=judged, load_no=load_no)


def replay(
    home: Home,
    selection: Selection,
    now: datetime,
    *,
    inspector: Inspector | None = None,
    progress: Progress = silent,
) -> ReplaySummary:
    """Take the selected records again, judged by the current reference data at ``now``, as they were delivered: by
    batch, file and line, corrections after all others.

    What is accepted now is usage of this batch: late where its cycle is closed (rule 3.5). Records that were given up
    are taken only where they are named by their place. Raises ``ConservationBroken`` where the archive was changed.
    """
    asked = to_replay(selection)
    with home.database.holding("ingest"):
        foreseen = foresee(home, asked, now, progress=progress)
        changes = foreseen.changes
        if not len(changes):
            return _summary(None, foreseen)
        number = _write(home, asked, now, foreseen, changes, inspector)
    return _summary(number, foreseen)


def to_replay(selection: Selection) -> Selection:
    """What of a selection can be replayed: what waits, and what was given up and is named by its place."""
    return replace(selection, endings=(WAITING, DISMISSED) if selection.places else (WAITING,))


def demand_a_choice(selection: Selection, everything: bool) -> None:
    """Raise ``UsageError`` unless something is selected, or everything on purpose."""
    if bool(selection.said()) == everything:
        raise UsageError("Say which records: at least one filter, or --all for everything that waits; not both.")


def outcome_lines(outcomes: Mapping[tuple[str, str], int]) -> list[str]:
    """Counts by reason and outcome, a line each, as a person reads them."""
    return [
        f"  {why} -> {outcome}: {count}" if why != outcome else f"  {why}, as before: {count}"
        for (why, outcome), count in outcomes.items()
    ]


def replay_again(
    home: Home, batch_no: int, places: Sequence[Place], load: tuple[int, Reference], now: datetime
) -> None:
    """Take a replay's records once more, in a home that has come to the same point and where the batch is open: those
    at ``places``, judged by the reference data of its load.
    """
    load_no, reference = load
    chosen, gathered = choose(home, Selection(places=tuple(places)))
    judged = judge_files(home, chosen.files, gathered, reference, now)
    foreseen = Foreseen(chosen=chosen, judged=judged, load_no=load_no)
    everything = np.arange(len(chosen))
    ending = _ending(chosen, judged, now, None)
    write_batch(home, batch_no, _some_judged(foreseen, everything), now, {"source": SOURCE}, ending)


def _write(
    home: Home,
    selection: Selection,
    now: datetime,
    foreseen: Foreseen,
    changes: Int64s,
    inspector: Inspector | None,
) -> int:
    chosen, judged = some_chosen(foreseen.chosen, changes), _some_judged(foreseen, changes)
    occasion = Occasion(source=SOURCE, window_start=None, now=now, load_no=foreseen.load_no)
    inspected = inspector(home, judged, occasion) if inspector else None
    started = datetime.now(UTC)
    said = {
        "source": SOURCE,
        "now": format_instant(now),
        "of": [f"{batch}:{file}" for batch, file in chosen.roots],
        "selection": selection.said(),
        "stayed": len(foreseen.chosen) - len(chosen),
    }
    number = open_batch(
        home,
        kind=REPLAY,
        source=SOURCE,
        request=sha256(log.canonical([said, foreseen.load_no]).encode()).hexdigest(),
        window=(None, now),
        load_no=foreseen.load_no,
        at=started,
    )
    commit_points.reached(commit_points.INGEST_OPENED)
    write_batch(home, number, judged, started, said, _ending(chosen, judged, started, inspected))
    return number


def _some_judged(foreseen: Foreseen, rows: Int64s) -> Judged:
    """The judged records that a replay takes. The others are quarantined, and no verdict depends on one that is."""
    judged, chosen = foreseen.judged, some_chosen(foreseen.chosen, rows)
    parts = {field.name: getattr(judged.verdicts, field.name) for field in fields(Verdicts)}
    kept: dict[str, Any] = {name: None if values is None else values[rows] for name, values in parts.items()}
    return Judged(
        files=chosen.files,
        gathered=some_gathered(judged.gathered, rows),
        verdicts=Verdicts(**kept),
        owners=judged.owners,
    )


def _ending(chosen: Chosen, judged: Judged, at: datetime, inspected: Also | None) -> Also:
    """Say of every quarantined row how it ended, in the transaction that makes the replay count."""
    reason = judged.verdicts.reason
    ends = {
        quarantine.ACCEPTED: reason == ACCEPTED,
        quarantine.DUPLICATE: reason == _DUPLICATE,
        quarantine.QUARANTINED: (reason != ACCEPTED) & (reason != _DUPLICATE),
    }

    def write(connection: Connection, number: int) -> None:
        for ending, rows in ends.items():
            quarantine.end(connection, chosen.where[rows], Ending(ending=ending, at=at, batch_no=number))
        if inspected is not None:
            inspected(connection, number)

    return write


def _summary(number: int | None, foreseen: Foreseen) -> ReplaySummary:
    reason = foreseen.judged.verdicts.reason
    accepted, duplicates = (int((reason == code).sum()) for code in (ACCEPTED, _DUPLICATE))
    stayed = len(foreseen.chosen) - len(foreseen.changes)
    return ReplaySummary(
        batch_no=number,
        selected=len(foreseen.chosen),
        accepted=accepted,
        duplicates=duplicates,
        quarantined=len(foreseen.chosen) - accepted - duplicates - stayed,
        stayed=stayed,
        outcomes=foreseen.outcomes(),
        warnings=foreseen.judged.gathered.warnings,
    )


def _outcome(code: int) -> str:
    return quarantine.ACCEPTED if code == ACCEPTED else REASONS[code].value
