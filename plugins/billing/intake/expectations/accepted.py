"""What is expected of usage that is about to be written: nothing bad passes. A failure is a bug, never the data's.

Row rules are decided record by record elsewhere; here their outcome is looked at again, by other code: how many of an
API's records break a rule, and the least and the greatest of what is bounded, which bounds every one between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from billing.core.attribution import Owners
from billing.intake.expectations.suite import Expected, Frames, Suite, between, limited, same
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
    """The suite, and its frames: a row an API of accepted usage, the same of corrections, and totals."""
    taken = _Taken.of(acceptance)
    corrections = taken.quantity < 0
    frames = {
        USAGE: _by_api(acceptance, taken, np.flatnonzero(~corrections)),
        CORRECTIONS: _by_api(acceptance, taken, np.flatnonzero(corrections)),
        TOTALS: _totals(acceptance, taken),
    }
    unknown = () if "known_before" in frames[TOTALS] else (f"{TOTALS}.no_id_known_before",)
    expectations = tuple(expected for expected in _EXPECTATIONS if expected.name not in unknown)
    return Suite(name="accepted", subject=acceptance.subject, expectations=expectations), frames


@dataclass(frozen=True, kw_only=True, slots=True)
class _Taken:
    """The accepted records, shapes (accepted,): codes of app and API, the team's place (-1 for one that is none),
    instant and quantity.
    """

    rows: Int64s
    app: pa.DictionaryArray
    api: pa.DictionaryArray
    team: Int64s
    at_us: Int64s
    quantity: Int64s

    @classmethod
    def of(cls, acceptance: Acceptance) -> _Taken:
        records, rows = acceptance.records, np.flatnonzero(acceptance.verdicts.reason == ACCEPTED)
        index, team = pa.array(rows), acceptance.verdicts.team[rows]
        return cls(
            rows=rows,
            app=records.app_id.take(index).dictionary_encode(),
            api=records.api.take(index).dictionary_encode(),
            team=np.where((team >= 0) & (team < len(acceptance.owners.team_ids)), team, -1),
            at_us=records.occurred_at_us[rows],
            quantity=records.quantity_micro[rows],
        )


def _by_api(acceptance: Acceptance, taken: _Taken, rows: Int64s) -> pd.DataFrame:
    """A row an API: how many of its records break a rule, and the least and the greatest of what is bounded."""
    wrong = _wrong(acceptance, taken, rows)
    bounded = {"us": taken.at_us[rows], "micro": taken.quantity[rows]}
    api = taken.api.indices.take(pa.array(rows))
    table = pa.table({"api": api, **{name: pa.array(values) for name, values in (wrong | bounded).items()}})
    wanted = [*((name, "sum") for name in wrong), *((name, end) for name in bounded for end in ("min", "max"))]
    found = table.group_by("api").aggregate(wanted).to_pandas()
    found = found.rename(columns={f"{name}_sum": name for name in wrong})
    limits = {"now_us": acceptance.now_us, "limit_micro": MAGNITUDE_MAX_MICRO, "low_limit_micro": -MAGNITUDE_MAX_MICRO}
    names = taken.api.dictionary.to_pylist()
    labels = [f"API {names[code]}" for code in found["api"]]
    labelled: pd.DataFrame = found.assign(**limits).set_axis(labels).drop(columns="api")
    return labelled


def _wrong(acceptance: Acceptance, taken: _Taken, rows: Int64s) -> dict[str, npt.NDArray[np.int8]]:
    """By rule, 1 for each record that breaks it. A correction is of its event's team, whoever owns the app by now."""
    owners, team, at_us = acceptance.owners, taken.team[rows], taken.at_us[rows]
    place = {app: number for number, app in enumerate(owners.app_ids)}
    app_names, api_names = taken.app.dictionary.to_pylist(), taken.api.dictionary.to_pylist()
    app_code, api_code = (codes.indices.to_numpy(zero_copy_only=False)[rows] for codes in (taken.app, taken.api))
    app = np.array([place.get(name, -1) for name in app_names], dtype=np.int64)[app_code]
    has_app = np.array([bool(name) for name in app_names], dtype=bool)[app_code]
    known = np.array([name in acceptance.apis for name in api_names], dtype=bool)[api_code]
    corrects = acceptance.records.corrects.take(pa.array(taken.rows[rows]))
    names_no_event = pc.equal(corrects, "").to_numpy(zero_copy_only=False)
    found = {
        "unknown_api": ~known,
        "unknown_app": has_app & (app < 0),
        "no_team": team < 0,
        "not_owned": has_app & (owners.team_at(app, at_us) != team),
        "not_funded": ~owners.had_subscription(team, at_us),
        "names_an_event": ~names_no_event,
        "names_no_event": names_no_event,
    }
    return {name: where.astype(np.int8) for name, where in found.items()}


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


def _none(column: str) -> tuple[str, dict[str, object]]:
    return between(column, 0, 0)


_BOTH = (
    ("api", _none("unknown_api"), "the API is in the reference data (2.4)"),
    ("app", _none("unknown_app"), "the app is in the reference data, or blank (1.2)"),
    ("team", _none("no_team"), "a team owns it (2.4)"),
    ("not_in_future", limited("us_max", "now_us"), "it occurred by the ingest's `now` (2.4)"),
)
_EXPECTATIONS = (
    *_each(
        USAGE,
        *_BOTH,
        ("owned", _none("not_owned"), "its app belonged to the team when it was used (1.2)"),
        ("funded", _none("not_funded"), "the team had bought a subscription by then (2.4)"),
        ("corrects_nothing", _none("names_an_event"), "only what takes back names another event (2.3)"),
        ("above_zero", between("micro_min", 1, None), "quantities are above 0 (2.3)"),
        ("not_too_much", limited("micro_max", "limit_micro"), "quantities are at most 10^12 units"),
    ),
    *_each(
        CORRECTIONS,
        *_BOTH,
        ("names_its_event", _none("names_no_event"), "each names the event that it corrects (2.3)"),
        ("not_too_much", limited("low_limit_micro", "micro_min"), "quantities are at least -10^12 units"),
    ),
    *_each(
        TOTALS,
        ("every_record_counted", same("records", "accounted_for"), "records = accepted + rejected (2.4)"),
        ("every_id_once", same("accepted", "distinct_ids"), "no id is accepted twice (2.2)"),
        ("no_id_known_before", _none("known_before"), "no id was accepted by an earlier batch (2.2)"),
        ("no_blank_id", _none("blank_ids"), "no id is blank (2.4)"),
        ("nothing_missing", _none("nulls"), "no text is missing"),
        ("nothing_malformed", _none("malformed"), "instants and quantities are well formed (2.4)"),
    ),
)
