"""What is expected of usage that is about to be written: nothing bad passes. A failure is a bug, never the data's.

Row rules are decided record by record elsewhere; here their outcome is looked at again, by other code and in groups: a
bound on the least and the greatest of a group is a bound on each of its records.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from billing.core.attribution import Owners
from billing.intake.expectations.suite import Expected, Frames, Suite, between, limited, one_of, same
from billing.intake.judging import ACCEPTED, REASONS, Reason, UsageRecords, Verdicts

Int64s = npt.NDArray[np.int64]

USAGE, CORRECTIONS, TOTALS = "usage", "corrections", "totals"
MAGNITUDE_MAX_MICRO = 10**18
"""Data contract, ``bad_quantity``: 10^12 units."""

_ADVICE = (
    "This is a bug, not an anomaly, so it cannot be accepted; nothing was written. Keep the files and report it with "
    "this page."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """All records of an ingest, their verdicts, and what they were judged by. ``subject`` says of what, in words."""

    records: UsageRecords
    verdicts: Verdicts
    owners: Owners
    apis: frozenset[str]
    now_us: int
    subject: str


def accepted_suite(acceptance: Acceptance) -> tuple[Suite, Frames]:
    """The suite, and its frames: a row a group (app, API, team) of usage, the same of corrections, and totals."""
    taken = _Taken.of(acceptance)
    corrections = taken.quantity < 0
    frames = {
        USAGE: _groups(acceptance, taken, np.flatnonzero(~corrections)),
        CORRECTIONS: _groups(acceptance, taken, np.flatnonzero(corrections)),
        TOTALS: _totals(acceptance, taken),
    }
    unknown = () if "known_before" in frames[TOTALS] else (f"{TOTALS}.no_id_known_before",)
    expectations = tuple(expected for expected in _EXPECTATIONS if expected.name not in unknown)
    return Suite(name="accepted", subject=acceptance.subject, expectations=expectations), frames


@dataclass(frozen=True, kw_only=True, slots=True)
class _Taken:
    """The accepted records, shapes (accepted,): codes of app and API, the team's place, instant and quantity."""

    rows: Int64s
    app: pa.DictionaryArray
    api: pa.DictionaryArray
    team: Int64s
    at_us: Int64s
    quantity: Int64s
    names_event: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, acceptance: Acceptance) -> _Taken:
        records, rows = acceptance.records, np.flatnonzero(acceptance.verdicts.reason == ACCEPTED)
        index = pa.array(rows)
        return cls(
            rows=rows,
            app=records.app_id.take(index).dictionary_encode(),
            api=records.api.take(index).dictionary_encode(),
            team=acceptance.verdicts.team[rows],
            at_us=records.occurred_at_us[rows],
            quantity=records.quantity_micro[rows],
            names_event=pc.not_equal(records.corrects.take(index), "").to_numpy(zero_copy_only=False),
        )


def _groups(acceptance: Acceptance, taken: _Taken, rows: Int64s) -> pd.DataFrame:
    """A row a group: what its records are of, and the least and the greatest of what is bounded."""
    keys = {"app": taken.app.indices, "api": taken.api.indices, "team": pa.array(taken.team)}
    values = {"at_us": taken.at_us, "quantity": taken.quantity, "names_event": taken.names_event.astype(np.int8)}
    table = pa.table({**keys, **{name: pa.array(value) for name, value in values.items()}}).take(pa.array(rows))
    wanted = [(name, function) for name in values for function in ("min", "max")]
    grouped = table.group_by(list(keys)).aggregate([*wanted, ("team", "count")]).to_pandas()
    return _described(acceptance, taken, grouped)


def _described(acceptance: Acceptance, taken: _Taken, grouped: pd.DataFrame) -> pd.DataFrame:
    owners = acceptance.owners
    app_names, api_names = taken.app.dictionary.to_pylist(), taken.api.dictionary.to_pylist()
    team = grouped["team"].to_numpy()
    is_team = (team >= 0) & (team < len(owners.team_ids))
    team = np.where(is_team, team, -1)
    place = {app: number for number, app in enumerate(owners.app_ids)}
    app = np.array([place.get(name, -1) for name in app_names], dtype=np.int64)[grouped["app"]]
    has_app = np.array([bool(name) for name in app_names], dtype=bool)[grouped["app"]]
    first, last = grouped["at_us_min"].to_numpy(), grouped["at_us_max"].to_numpy()
    pairs = zip(grouped["app"].tolist(), grouped["api"].tolist(), strict=True)
    names = [f"app {app_names[app] or '(none)'}, API {api_names[api]}" for app, api in pairs]
    return pd.DataFrame(
        {
            "records": grouped["team_count"].to_numpy(),
            "api_is_known": np.array([name in acceptance.apis for name in api_names], dtype=bool)[grouped["api"]],
            "app_is_known": ~has_app | (app >= 0),
            "team_is_known": is_team,
            "first_is_owned": ~has_app | (is_team & (owners.team_at(app, first) == team)),
            "last_is_owned": ~has_app | (is_team & (owners.team_at(app, last) == team)),
            "first_is_funded": owners.had_subscription(team, first),
            "first_us": first,
            "last_us": last,
            "now_us": np.full(len(grouped), acceptance.now_us),
            "least_micro": grouped["quantity_min"].to_numpy(),
            "most_micro": grouped["quantity_max"].to_numpy(),
            "limit_micro": np.full(len(grouped), MAGNITUDE_MAX_MICRO),
            "least_limit_micro": np.full(len(grouped), -MAGNITUDE_MAX_MICRO),
            "names_event_least": grouped["names_event_min"].to_numpy(),
        },
        index=names,
    )


def _totals(acceptance: Acceptance, taken: _Taken) -> pd.DataFrame:
    reason = acceptance.verdicts.reason
    duplicates = int((reason == REASONS.index(Reason.DUPLICATE)).sum())
    rejected = int(((reason >= 0) & (reason < len(REASONS))).sum())
    ids = acceptance.records.event_id.take(pa.array(taken.rows))
    counted = {
        "records": len(reason),
        "accounted_for": len(taken.rows) + rejected,
        "duplicates": duplicates,
        "accepted": len(taken.rows),
        "distinct_ids": _distinct(acceptance.verdicts.id_code, taken.rows, ids),
        "blank_ids": pc.sum(pc.equal(ids, "")).as_py() or 0,
        "nulls": sum(_nulls(acceptance.records, taken.rows)),
        "malformed": int(_malformed(acceptance.records)[taken.rows].sum()),
    }
    if acceptance.verdicts.known_before is not None:
        counted["known_before"] = int(acceptance.verdicts.known_before[taken.rows].sum())
    return pd.DataFrame({name: [value] for name, value in counted.items()}, index=["all records"])


def _distinct(id_code: Int64s | None, rows: Int64s, ids: pa.StringArray) -> int:
    if id_code is None:
        return int(pc.count_distinct(ids).as_py())
    return int(np.count_nonzero(np.bincount(id_code[rows]))) if len(rows) else 0


def _nulls(records: UsageRecords, rows: Int64s) -> list[int]:
    index = pa.array(rows)
    return [getattr(records, name).take(index).null_count for name in ("event_id", "app_id", "api", "corrects")]


def _malformed(records: UsageRecords) -> npt.NDArray[np.bool_]:
    return records.unreadable | ~records.occurred_at_ok | ~records.quantity_ok


def _each(frame: str, *expectations: tuple[str, tuple[str, dict[str, object]], str]) -> tuple[Expected, ...]:
    return tuple(
        Expected(name=f"{frame}.{name}", frame=frame, kind=kind, arguments=arguments, says=says, advice=_ADVICE)
        for name, (kind, arguments), says in expectations
    )


def _true(column: str) -> tuple[str, dict[str, object]]:
    return one_of(column, [True])


_BOTH = (
    ("api", _true("api_is_known"), "the API is in the reference data (2.4)"),
    ("app", _true("app_is_known"), "the app is in the reference data, or blank (1.2)"),
    ("team", _true("team_is_known"), "a team owns it (2.4)"),
    ("not_in_future", limited("last_us", "now_us"), "it occurred by the ingest's `now` (2.4)"),
)
_EXPECTATIONS = (
    *_each(
        USAGE,
        *_BOTH,
        ("owned_first", _true("first_is_owned"), "the first was used while the app belonged to the team (1.2)"),
        ("owned_last", _true("last_is_owned"), "the last was used while the app belonged to the team (1.2)"),
        ("funded", _true("first_is_funded"), "the team had bought a subscription by then (2.4)"),
        ("above_zero", between("least_micro", 1, None), "quantities are above 0 (2.3)"),
        ("not_too_much", limited("most_micro", "limit_micro"), "quantities are at most 10^12 units"),
    ),
    *_each(
        CORRECTIONS,
        *_BOTH,
        ("names_its_event", between("names_event_least", 1, 1), "each names the event that it corrects (2.3)"),
        ("below_zero", between("most_micro", None, -1), "quantities are below 0 (2.3)"),
        ("not_too_much", limited("least_limit_micro", "least_micro"), "quantities are at least -10^12 units"),
    ),
    *_each(
        TOTALS,
        ("every_record_counted", same("records", "accounted_for"), "records = accepted + rejected (2.4)"),
        ("every_id_once", same("accepted", "distinct_ids"), "no id is accepted twice (2.2)"),
        ("no_id_known_before", between("known_before", 0, 0), "no id was accepted by an earlier batch (2.2)"),
        ("no_blank_id", between("blank_ids", 0, 0), "no id is blank (2.4)"),
        ("nothing_missing", between("nulls", 0, 0), "no text is missing"),
        ("nothing_malformed", between("malformed", 0, 0), "instants and quantities are well formed (2.4)"),
    ),
)
