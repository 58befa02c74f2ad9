"""Run a scenario in a scratch home, by the same steps as everything else (data contract, "Commands")."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from billing.core.errors import DataRefused
from billing.core.instants import from_us, parse_instant_us
from billing.intake.sources.seam import SourceFile
from billing.steps.balances import balances
from billing.steps.close import CloseSummary, close
from billing.steps.export import export, export_balances
from billing.steps.ingest import ingest
from billing.steps.progress import Progress, silent
from billing.steps.reference import load_reference
from billing.steps.render import copy_documents, render_close
from billing.store.batches import pinnable
from billing.store.configuration import CLOSE_LAG_SECONDS, configure
from billing.store.home import Home
from billing.store.reference_history import last_load

Step = Mapping[str, object]


def simulate(
    home: Home, scenario: Path, out: Path, *, templates: Path | None = None, progress: Progress = silent
) -> bool:
    """Run the scenario's steps in ``home`` (which is new) and write the outputs into ``out``.

    With ``templates`` every invoice is checked as an e-invoice and rendered, into ``out/documents``. Returns whether
    any team is parked at the end. Nothing is inspected: nobody is there to be asked whether an anomaly is right.
    """
    steps = read_steps(scenario)
    home.create()
    _demand_new(home)
    for number, step in enumerate(steps, start=1):
        progress(f"step {number} of {len(steps)}: {step['do']}", number - 1, len(steps))
        more = {"number": number, "documents": templates is not None}
        result = _RUN[str(step["do"])](home, scenario, {**step, **more}, out)
        if isinstance(result, CloseSummary) and templates is not None:
            render_close(home, result.close_no, templates)
    progress("writing outputs", len(steps), len(steps))
    if templates is not None:
        copy_documents(home, out / "documents")
    return export(home, out)["parked"] > 0


def _demand_new(home: Home) -> None:
    """A scenario never runs in a home that bills someone."""
    with home.database.read() as connection:
        if last_load(connection) or pinnable(connection):
            raise DataRefused("The database holds billing data already; a scenario needs an empty one.")


def read_steps(scenario: Path) -> list[Step]:
    """The scenario's steps, checked: ``DataRefused`` where ``steps.json`` is missing or unclear."""
    path = scenario / "steps.json"
    try:
        steps = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataRefused(f"{path}: not a scenario's steps: {error}") from None
    for number, step in enumerate(steps if isinstance(steps, list) else [steps], start=1):
        known = isinstance(step, dict) and isinstance(step.get("do"), str) and step["do"] in _RUN
        missing = [] if not known else [name for name in _NEEDS[step["do"]] if name not in step]
        if not known or missing:
            wanted = f"it lacks {', '.join(missing)}" if missing else f'"do" must be one of {", ".join(_RUN)}'
            raise DataRefused(f"{path}, step {number}: {wanted}.")
    return list(steps)


def _configure(home: Home, scenario: Path, step: Step, out: Path) -> None:
    with home.database.exclusive("books") as connection:
        configure(connection, CLOSE_LAG_SECONDS, _whole(step["close_lag_seconds"]))


def _reference(home: Home, scenario: Path, step: Step, out: Path) -> None:
    load_reference(home, scenario / str(step["folder"]))


def _ingest(home: Home, scenario: Path, step: Step, out: Path) -> None:
    name = str(step["file"])
    # Each step is a delivery of its own, whatever it has in common with another.
    source = f"step {step['number']}"
    ingest(home, [SourceFile(path=scenario / name, name=name)], _instant(step["now"]), source=source)


def _close(home: Home, scenario: Path, step: Step, out: Path) -> CloseSummary:
    return close(home, _instant(step["as_of"]), assume_complete=True, e_invoices=bool(step["documents"]))


def _balances(home: Home, scenario: Path, step: Step, out: Path) -> None:
    export_balances(balances(home, _instant(step["at"])), out / f"{step['out']}.csv")


def _whole(number: object) -> int:
    try:
        return int(str(number))
    except ValueError:
        raise DataRefused(f"steps.json: {number!r} is not a whole number of seconds") from None


def _instant(text: object) -> datetime:
    try:
        return from_us(parse_instant_us(str(text)))
    except ValueError as error:
        raise DataRefused(f"steps.json: {error}") from None


_RUN: Mapping[str, Callable[[Home, Path, Step, Path], object]] = {
    "configure": _configure,
    "reference": _reference,
    "ingest": _ingest,
    "close": _close,
    "balances": _balances,
}
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "configure": ("close_lag_seconds",),
    "reference": ("folder",),
    "ingest": ("file", "now"),
    "close": ("as_of",),
    "balances": ("at", "out"),
}
