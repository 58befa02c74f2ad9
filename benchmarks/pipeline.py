"""Ours: the same steps as everything else, each measured in a process of its own.

    python -m benchmarks.pipeline prepare | ingest | rate | issue | simulate  WORKLOAD HOME FOLDER

========  ===========================================================================================================
prepare   a new home with the reference data, history ingested, and all closed that is over; not measured
ingest    every usage file, one batch each
rate      one close of all usage: pin, read, rate, check, write the ledger; without EN 16931, as scenarios are
issue     the invoices of that close; then, not measured, the outputs of the home go into ``FOLDER/ours``
simulate  the whole scenario in a new home; its outputs go into ``FOLDER/simulate``
========  ===========================================================================================================
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from benchmarks.measuring import Figures, measuring, tell
from benchmarks.workload import ALL_CLOSED
from billing.core.errors import BillingError
from billing.steps.close import close, issue, open_close, pending_shards, rate_shards
from billing.steps.export import export
from billing.steps.homes import configure, home_at
from billing.steps.ingest import ingest, local_files
from billing.steps.reference import load_reference
from billing.steps.simulate import simulate
from billing.store.home import Home


def prepare(workload: Path, home: Home, folder: Path) -> None:
    """The home as it is before the measured month."""
    home.create()
    configure(home, "close_lag_seconds", 3600)
    load_reference(home, workload / "reference")
    for step in json.loads((workload / "history.json").read_text("utf-8")):
        if step["do"] == "ingest":
            _take(home, workload / step["file"], step["now"])
        else:
            close(home, _instant(step["as_of"]), assume_complete=True, e_invoices=False)


def ingest_all(workload: Path, home: Home, folder: Path) -> Figures:
    """Every file of the measured month."""
    steps = json.loads((workload / "steps.json").read_text("utf-8"))
    files = [(workload / step["file"], step["now"]) for step in steps if step["do"] == "ingest"]
    with measuring() as figures:
        for path, now in files:
            _take(home, path, now)
    return figures


def _take(home: Home, path: Path, now: str) -> None:
    found = ingest(home, local_files([path]), _instant(now))
    if found.accepted != found.records:
        raise SystemExit(f"{path.name}: {found.accepted:,} of {found.records:,} were accepted: {found.reasons}")


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def rate_all(workload: Path, home: Home, folder: Path) -> Figures:
    """One close of all that is open, until its ledger is written."""
    with measuring() as figures:
        close_no, _ = open_close(home, ALL_CLOSED, assume_complete=True)
        for shards in pending_shards(home, close_no):
            rate_shards(home, close_no, shards, e_invoices=False)
    return figures


def issue_all(workload: Path, home: Home, folder: Path) -> Figures:
    """Number and write the invoices of that close; what was closed is exported for those who compare."""
    close_no, _ = open_close(home, ALL_CLOSED, assume_complete=True)  # finds the one that is not issued
    with measuring() as figures:
        issue(home, close_no)
    if export(home, folder / "ours")["parked"]:
        raise SystemExit("teams are parked")
    return figures


def simulate_all(workload: Path, home: Home, folder: Path) -> Figures:
    """Ingests and closes day by day, as months end, and the outputs."""
    with measuring() as figures:
        parked = simulate(home, workload, folder / "simulate")
    if parked:
        raise SystemExit("teams are parked at the end of the scenario")
    return figures


STEPS: dict[str, Callable[[Path, Home, Path], Figures | None]] = {
    "prepare": prepare,
    "ingest": ingest_all,
    "rate": rate_all,
    "issue": issue_all,
    "simulate": simulate_all,
}


def main() -> None:
    """One step."""
    step, workload, home, folder = sys.argv[1], *map(Path, sys.argv[2:])
    try:
        found = STEPS[step](workload, home_at(home), folder)
    except BillingError as error:
        sys.exit(str(error))
    tell(**({f"ours_{step}": found} if found else {}))


if __name__ == "__main__":
    main()
