"""Look at a batch before it is written: an extract that is not as expected stops, unless a person says why it is right;
nothing bad is ever accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection

from billing.core.errors import AnomalyFound, ConservationBroken, Finding, UsageError
from billing.core.instants import DAY_US, to_us
from billing.intake.containers import format_of
from billing.intake.expectations.accepted import Acceptance, accepted_suite
from billing.intake.expectations.bounds import Bounds
from billing.intake.expectations.evaluation import inspect
from billing.intake.expectations.extract import Extract, extract_suite, is_silent
from billing.intake.expectations.history import History, PastWindow
from billing.intake.expectations.suite import Inspected
from billing.intake.judging import ACCEPTED, REASONS, Reason
from billing.steps.batch import Also, Judged
from billing.steps.ingest import Occasion
from billing.store import log, source_windows, validations
from billing.store.home import Home
from billing.store.validations import NewValidation

COMMAND = "command"
"""The run of what is done by hand, without Airflow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """An ``Inspector``: both suites, their pages, and a row for each in ``validations``.

    accept_anomaly  why an extract that is not as expected is right; None where nobody said so. Blank is refused with
                    ``UsageError``. It is kept and logged only where there was something to accept
    run             ``dag_id/run_id``
    compares        False for records that were looked at when they came (a replay): only what is accepted is checked
    warnings        what was seen and stops nothing, in words, after the call
    """

    accept_anomaly: str | None = None
    run: str = COMMAND
    bounds: Bounds = field(default_factory=Bounds)
    compares: bool = True
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        bounds: Mapping[str, float],
        *,
        accept_anomaly: str | None = None,
        run: str = COMMAND,
        compares: bool = True,
    ) -> Inspection:
        """With the bounds that the home's settings change. Raises ``UsageError`` for one that makes no sense."""
        return cls(accept_anomaly=accept_anomaly, run=run, bounds=Bounds.of(bounds), compares=compares)

    def __post_init__(self) -> None:
        if self.accept_anomaly is not None and not self.accept_anomaly.strip():
            raise UsageError("An anomaly is accepted with a reason; the one given is blank.")

    def __call__(self, home: Home, judged: Judged, occasion: Occasion) -> Also:
        """Raise ``AnomalyFound``, saying every expectation that does not hold, or ``ConservationBroken`` for a bug of
        ours; what was seen is kept either way. Else return what the committing transaction writes of it.

        A window without records is looked at only where it comes after a pause that was never seen.
        """
        extract = extract_of(home, judged, occasion)
        history = history_of(home, occasion, self.bounds) if self.compares else History()
        seen = []
        if self.compares and (extract.records or is_silent(extract, history, self.bounds)):
            seen.append(inspect(*extract_suite(extract, history, self.bounds)))
            self._demand_usual(home, seen[0])
        if extract.records:
            seen.append(inspect(*accepted_suite(acceptance_of(home, judged, occasion, extract.subject))))
            self._demand_right(home, seen[-1])
        self.warnings.extend(str(each) for one in seen for each in one.failures if each not in one.critical)
        return self._also(home, occasion, seen)

    def _demand_usual(self, home: Home, seen: Inspected) -> None:
        if not seen.critical or self.accept_anomaly is not None:
            return
        keep(home, [kept(home, seen, self.run)])
        many = f"{len(seen.critical)} expectations do not hold" if len(seen.critical) > 1 else "not as expected"
        findings = [Finding(file=failure.name, message=_said(failure)) for failure in seen.critical]
        raise AnomalyFound(f"{seen.subject}: {many}. Nothing was taken", findings)

    def _demand_right(self, home: Home, seen: Inspected) -> None:
        if seen.critical:
            keep(home, [kept(home, seen, self.run)])
            said = "\n".join(f"  {failure}" for failure in seen.critical)
            raise ConservationBroken(f"{seen.subject}: what was about to be accepted breaks a rule.\n{said}")

    def _also(self, home: Home, occasion: Occasion, seen: Sequence[Inspected]) -> Also:
        rows = [kept(home, each, self.run, accepted_why=self._reason(each)) for each in seen]
        accepted = [row for row in rows if row.accepted_why]

        def write(connection: Connection, batch_no: int) -> None:
            for row in rows:
                validations.write(connection, row, batch_no)
            for row in accepted:
                log.append(connection, datetime.now(UTC), "anomaly accepted", _accepted(row, occasion, batch_no))

        return write

    def _reason(self, seen: Inspected) -> str:
        return (self.accept_anomaly or "").strip() if seen.critical else ""


def kept(
    home: Home, seen: Inspected, run: str, *, close_no: int | None = None, accepted_why: str = ""
) -> NewValidation:
    """What of a suite's outcome is kept; its page is in ``Home.checks`` from now on."""
    return NewValidation(
        suite=seen.suite,
        subject=seen.subject,
        run=run,
        at=datetime.now(UTC),
        expectations=seen.expectations,
        failed=[{name: getattr(each, name) for name in each.__slots__} for each in seen.failures],
        page=validations.keep_page(home.checks, seen.page),
        close_no=close_no,
        accepted_why=accepted_why,
    )


def keep(home: Home, rows: Sequence[NewValidation]) -> None:
    """Write validations in a transaction of their own."""
    with home.database.write() as connection:
        for row in rows:
            validations.write(connection, row)


def _said(failure: object) -> str:
    return str(failure).partition(": ")[2]


def _accepted(row: NewValidation, occasion: Occasion, batch_no: int) -> dict[str, object]:
    return {
        "batch_no": batch_no,
        "source": occasion.source,
        "subject": row.subject,
        "run": row.run,
        "why": row.accepted_why,
        "failed": [dict(failure) for failure in row.failed],
        "page": row.page.sha256,
    }


def extract_of(home: Home, judged: Judged, occasion: Occasion) -> Extract:
    """What is measured of judged records: counts a file, and of the window."""
    records, reason, end_us = judged.gathered.records, judged.verdicts.reason, to_us(occasion.now)
    past = records.occurred_at_us[records.occurred_at_ok & (records.occurred_at_us <= end_us)]
    counts = judged.reasons()
    duplicates = counts.get(Reason.DUPLICATE, 0)
    return Extract(
        source=occasion.source,
        start_us=None if occasion.window_start is None else to_us(occasion.window_start),
        end_us=end_us,
        files=_files(judged),
        records=len(reason),
        quarantined=sum(counts.values()) - duplicates,
        duplicates=duplicates,
        reasons={why: count for why, count in counts.items() if why != Reason.DUPLICATE},
        newest_us=int(past.max()) if len(past) else None,
        **_names(home, judged, occasion),
    )


def _files(judged: Judged) -> pd.DataFrame:
    gathered, names = judged.gathered, [file.name for file in judged.files]
    records = gathered.records
    per_file = {
        "records": np.ones(len(gathered.file_no), dtype=bool),
        "unreadable": records.unreadable,
        "bad_instants": ~records.unreadable & ~records.occurred_at_ok,
        "bad_quantities": ~records.unreadable & ~records.quantity_ok,
    }
    ignored = [finding.file for finding in gathered.warnings]
    counts = {n: np.bincount(gathered.file_no[where], minlength=len(names)) for n, where in per_file.items()}
    formats = [_format(name) for name in names]
    unknown = np.array([ignored.count(name) for name in names], dtype=np.int64)
    return pd.DataFrame({"format": formats, "unknown_columns": unknown, **counts}, index=names)


def _format(name: str) -> str:
    found = format_of(name)
    return found.kind + (".gz" if found.gzipped else "")


def _names(home: Home, judged: Judged, occasion: Occasion) -> dict[str, int]:
    """How many names nobody knows, and how many APIs are used for the first time."""
    records, reason = judged.gathered.records, judged.verdicts.reason
    apis = _distinct(records.api, reason == REASONS.index(Reason.UNKNOWN_API))
    apps = _distinct(records.app_id, reason == REASONS.index(Reason.UNATTRIBUTED_APP)) - set(judged.owners.app_ids)
    used = _distinct(records.api, reason == ACCEPTED)
    with home.database.read() as connection:
        for column, names in (("api", apis), ("app_id", apps)):
            if names:
                names -= source_windows.sent_before(connection, occasion.source, column, names) | {""}
        first = used - source_windows.apis_in_use(connection)
    return {"unknown_apis": len(apis), "unknown_apps": len(apps), "first_used_apis": len(first)}


def _distinct(values: pa.StringArray, where: np.ndarray) -> set[str]:
    return set(pc.unique(values.take(pa.array(np.flatnonzero(where)))).to_pylist())


def history_of(home: Home, occasion: Occasion, bounds: Bounds) -> History:
    """What the source's windows were like before this one's end."""
    days, at_least = int(bounds.history_days), int(bounds.windows_min)
    end_us = to_us(occasion.now)
    with home.database.read() as connection:
        taken = source_windows.windows_before(connection, occasion.source, end_us, days, at_least)
        since_us = min((window.end_us for window in taken), default=end_us - days * DAY_US)
        pauses = validations.accepted_pauses(connection, occasion.source, "silent_hours", since_us)
    compared = sum(1 for window in taken if window.records) >= at_least and occasion.window_start is not None
    newest = home.usage.newest_by_batch(min(window.batch_no for window in taken)) if compared else {}
    windows = [
        PastWindow(
            start_us=window.start_us,
            end_us=window.end_us,
            records=window.records,
            quarantined=window.quarantined,
            duplicates=window.duplicates,
            newest_us=newest.get(window.batch_no),
        )
        for window in taken
    ]
    filled = [window.end_us for window in windows if window.records]
    silences = [end - max(before) for end in pauses if (before := [each for each in filled if each <= end])]
    return History(windows=tuple(windows), silences_us=tuple(silences))


def acceptance_of(home: Home, judged: Judged, occasion: Occasion, subject: str) -> Acceptance:
    """What is about to be accepted, and what it was judged by."""
    return Acceptance(
        records=judged.gathered.records,
        verdicts=judged.verdicts,
        owners=judged.owners,
        apis=frozenset(home.reference(occasion.load_no)["apis"]["api"]),
        now_us=to_us(occasion.now),
        subject=subject,
    )
