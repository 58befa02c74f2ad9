"""Which usage records are accepted, and the first reason why the others are not (rules 2.1 to 2.4).

Columnar: one pass of masks in the order of the reasons. Only corrections are taken one after the other, since
each depends on those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from billing.core.attribution import Owners
from billing.intake.usage_columns import picked

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]


class Reason(StrEnum):
    """Why a record is not billed, in the order in which the first one is given (data contract, "Usage events")."""

    UNREADABLE = "unreadable"
    MISSING_EVENT_ID = "missing_event_id"
    BAD_OCCURRED_AT = "bad_occurred_at"
    UNKNOWN_API = "unknown_api"
    BAD_QUANTITY = "bad_quantity"
    OCCURRED_IN_FUTURE = "occurred_in_future"
    DUPLICATE = "duplicate"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"
    BAD_CORRECTION = "bad_correction"
    UNATTRIBUTED_APP = "unattributed_app"
    NO_SUBSCRIPTION = "no_subscription"


REASONS = tuple(Reason)
ACCEPTED = -1
_UNJUDGED = -2


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageRecords:
    """Records of one ingest in file order; every array is of shape (records,), text is blank (``""``) where absent.

    ``team_id`` counts only where ``app_id`` is blank.
    """

    unreadable: Bools
    event_id: pa.StringArray
    occurred_at_us: Int64s
    occurred_at_ok: Bools
    app_id: pa.StringArray
    api: pa.StringArray
    quantity_micro: Int64s
    quantity_ok: Bools
    corrects: pa.StringArray
    team_id: pa.StringArray


@dataclass(slots=True)
class Correctable:
    """An accepted event as a correction sees it (rule 2.3). ``taken_back_micro`` grows as corrections are accepted."""

    app_id: str
    api: str
    occurred_at_us: int
    team_id: str
    quantity_micro: int
    taken_back_micro: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedIds:
    """What is known of ids, shapes (ids,): ``code`` is the same for equal ids and below their number, ``id_hash`` what
    they are found by later; ``content_hash`` counts where an id was accepted before, ``known``.
    """

    code: Int64s
    id_hash: Hashes
    known: Bools
    content_hash: Int64s


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What was accepted before this ingest.

    ids     of ids that may stand there more than once, what was accepted under them
    events  accepted events by id, with what was taken back of them
    """

    ids: Callable[[pa.StringArray], AskedIds]
    events: Callable[[list[str], list[int]], Mapping[str, Correctable]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdicts:
    """Per record: ``reason`` is the place in ``REASONS`` or ``ACCEPTED``; ``team`` the owner's place in the owners'
    teams
    (-1 where not accepted); ``content_hash`` what a second delivery is compared by; ``known_before`` whether its id was
    accepted by an earlier ingest, and ``id_code`` the place of its id among the distinct ones (-1 where nobody asked);
    both None where they were not kept. ``id_hash`` is what the id is found by later, 0 where nobody asked."""

    reason: Int64s
    team: Int64s
    content_hash: Int64s
    id_hash: Hashes
    known_before: Bools | None = None
    id_code: Int64s | None = None


def judge(
    records: UsageRecords,
    *,
    apis: pa.StringArray,
    owners: Owners,
    now_us: int,
    content_hash: Callable[[UsageRecords], Int64s],
    known: Known,
) -> Verdicts:
    """Judge every record of one ingest. Records with ``corrects`` are taken after all others (data contract).

    ``content_hash`` gives what a second delivery is compared by, shape (records,).
    """
    reason = np.full(len(records.occurred_at_us), _UNJUDGED, dtype=np.int64)
    corrects = _true(pc.not_equal(records.corrects, ""))
    _mark(reason, records.unreadable, Reason.UNREADABLE)
    _mark(reason, _true(pc.equal(records.event_id, "")), Reason.MISSING_EVENT_ID)
    _mark(reason, ~records.occurred_at_ok, Reason.BAD_OCCURRED_AT)
    _mark(reason, ~_true(pc.is_in(records.api, value_set=apis)), Reason.UNKNOWN_API)
    _mark(reason, ~records.quantity_ok | ((records.quantity_micro < 0) & ~corrects), Reason.BAD_QUANTITY)
    _mark(reason, records.occurred_at_us > now_us, Reason.OCCURRED_IN_FUTURE)

    candidates = np.flatnonzero(reason == _UNJUDGED)
    ordinary = candidates[~corrects[candidates]]
    team = np.full(len(reason), -1, dtype=np.int64)
    with ThreadPoolExecutor(max_workers=1) as beside:
        looking_up = beside.submit(known.ids, picked(records.event_id, candidates))
        content = content_hash(records)
        team[ordinary] = _team_of(records, owners, ordinary)
        asked = looking_up.result()
    id_code, id_hash = np.full(len(reason), -1, dtype=np.int64), np.zeros(len(reason), dtype=np.uint64)
    id_code[candidates], id_hash[candidates] = asked.code, asked.id_hash
    seen = _Seen(known=np.zeros(len(candidates), dtype=bool), content_hash=np.zeros(len(candidates), dtype=np.int64))
    seen.known[asked.code], seen.content_hash[asked.code] = asked.known, asked.content_hash

    _judge_ordinary(records, owners, ordinary, id_code, content, seen, reason, team)
    _judge_corrections(records, owners, candidates[corrects[candidates]], id_code, content, seen, known, reason, team)
    known_before = np.zeros(len(reason), dtype=bool)
    known_before[candidates] = asked.known
    return Verdicts(
        reason=reason,
        team=np.where(reason == ACCEPTED, team, -1),
        content_hash=content,
        id_hash=id_hash,
        known_before=known_before,
        id_code=id_code,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """By distinct id: whether it is accepted by now, and its content. Grows as records are accepted."""

    known: Bools
    content_hash: Int64s


def _judge_ordinary(
    records: UsageRecords,
    owners: Owners,
    rows: Int64s,
    id_code: Int64s,
    content: Int64s,
    seen: _Seen,
    reason: Int64s,
    team: Int64s,
) -> None:
    """The first acceptable record of an id is accepted; those after it, and all of an id known before, are second
    deliveries.
    """
    at_us = records.occurred_at_us[rows]
    funded = owners.had_subscription(team[rows], at_us)
    acceptable = rows[(team[rows] >= 0) & funded]
    fresh = acceptable[~seen.known[id_code[acceptable]]]
    ids, first = np.unique(id_code[fresh], return_index=True)
    accepted = fresh[first]
    accepted_at = np.full(len(seen.known), np.iinfo(np.int64).max)
    accepted_at[ids] = accepted
    accepted_at[seen.known] = -1
    seen.known[ids] = True
    seen.content_hash[ids] = content[accepted]
    second = np.zeros(len(reason), dtype=bool)
    second[rows] = rows > accepted_at[id_code[rows]]
    same = np.zeros(len(reason), dtype=bool)
    same[rows] = content[rows] == seen.content_hash[id_code[rows]]
    reason[accepted] = ACCEPTED
    _mark(reason, second & same, Reason.DUPLICATE)
    _mark(reason, second & ~same, Reason.CONFLICTING_DUPLICATE)
    left = np.zeros(len(reason), dtype=bool)
    left[rows] = True
    _mark(reason, left & (team < 0), Reason.UNATTRIBUTED_APP)
    _mark(reason, left, Reason.NO_SUBSCRIPTION)


def _judge_corrections(
    records: UsageRecords,
    owners: Owners,
    rows: Int64s,
    id_code: Int64s,
    content: Int64s,
    seen: _Seen,
    known: Known,
    reason: Int64s,
    team: Int64s,
) -> None:
    """Corrections in file order (rule 2.3); each sees what those before it took back."""
    if not len(rows):
        return
    wanted = records.corrects.take(pa.array(rows)).to_pylist()
    targets = _targets(records, owners, rows, wanted, reason, team, known)
    place = {team_id: place for place, team_id in enumerate(owners.team_ids)}
    for row, corrected in zip(rows.tolist(), wanted, strict=True):
        code = id_code[row]
        if seen.known[code]:
            same = seen.content_hash[code] == content[row]
            reason[row] = REASONS.index(Reason.DUPLICATE if same else Reason.CONFLICTING_DUPLICATE)
            continue
        target = targets.get(corrected)
        if target is None or not _takes_back(records, row, target):
            reason[row] = REASONS.index(Reason.BAD_CORRECTION)
            continue
        if target.team_id not in place:
            reason[row] = REASONS.index(Reason.UNATTRIBUTED_APP)
            continue
        target.taken_back_micro -= int(records.quantity_micro[row])
        seen.known[code], seen.content_hash[code] = True, content[row]
        reason[row], team[row] = ACCEPTED, place[target.team_id]


def _targets(
    records: UsageRecords, owners: Owners, rows: Int64s, wanted: list[str], reason: Int64s, team: Int64s, known: Known
) -> Mapping[str, Correctable]:
    """What corrections may take back: accepted before or in this ingest; corrections cannot be corrected."""
    months = sorted(set(records.occurred_at_us[rows].tolist()))
    targets = dict(known.events(sorted(set(wanted)), months))
    named = _true(pc.is_in(records.event_id, value_set=pa.array(wanted, pa.string())))
    for row in np.flatnonzero(named & (reason == ACCEPTED)).tolist():
        targets[records.event_id[row].as_py()] = Correctable(
            app_id=records.app_id[row].as_py(),
            api=records.api[row].as_py(),
            occurred_at_us=int(records.occurred_at_us[row]),
            team_id=owners.team_ids[int(team[row])],
            quantity_micro=int(records.quantity_micro[row]),
        )
    return targets


def _takes_back(records: UsageRecords, row: int, target: Correctable) -> bool:
    """Whether a correction matches its event and takes back no more than is left of it (rule 2.3)."""
    quantity = int(records.quantity_micro[row])
    app_id, team_id = records.app_id[row].as_py(), records.team_id[row].as_py()
    return (
        quantity < 0 < target.quantity_micro
        and app_id == target.app_id
        and (app_id != "" or team_id in ("", target.team_id))
        and records.api[row].as_py() == target.api
        and int(records.occurred_at_us[row]) == target.occurred_at_us
        and target.taken_back_micro - quantity <= target.quantity_micro
    )


def _team_of(records: UsageRecords, owners: Owners, rows: Int64s) -> Int64s:
    """Attribution at the instant of use; an event without an app names its team itself (rule 1.2)."""
    app = picked(records.app_id, rows)
    team = owners.team_at(_places(app, owners.app_ids), records.occurred_at_us[rows])
    named = _places(picked(records.team_id, rows), owners.team_ids)
    return np.where(_true(pc.equal(app, "")), named, team)


def _places(values: pa.StringArray, among: object) -> Int64s:
    found = pc.index_in(values, value_set=pa.array(among, pa.string()))
    result: Int64s = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return result


def _mark(reason: Int64s, where: Bools, why: Reason) -> None:
    reason[where & (reason == _UNJUDGED)] = REASONS.index(why)


def _true(values: pa.BooleanArray) -> Bools:
    result: Bools = values.to_numpy(zero_copy_only=False)
    return result
