"""Drive a scenario through the real command, remember how far it came, and die where told to.

    python -m tests.kills.driver SCENARIO WORK [--database URL] [--kill POINT --time N] [--commands N]

Each command that ended is written down in ``WORK/done``; started again, the driver goes on with the one that was
interrupted, as an operator would who repeats the command that failed. ``--kill`` ends the process by SIGKILL when
``POINT`` (``billing.steps.commit_points``) is reached for the N-th time in this process. ``--commands N`` stops after
the first N commands of the scenario.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from billing.cli import PARKED_STATUS, app
from billing.steps import commit_points


def commands(scenario: Path) -> list[list[str]]:
    """A scenario's steps as command lines; usage is said to be complete through each close."""
    lines = [["init"]]
    for step in json.loads((scenario / "steps.json").read_text("utf-8")):
        match step["do"]:
            case "configure":
                lines.append(["configure", "close_lag_seconds", str(step["close_lag_seconds"])])
            case "reference":
                lines.append(["reference", "load", step["folder"]])
            case "ingest":
                lines.append(["usage", "ingest", step["file"], "--now", step["now"]])
            case "replay":
                lines.append(["usage", "quarantine", "replay", "--all", "--now", step["now"]])
            case "replace":
                replaces = ["--replaces", step["replaces"], "--correct"]
                lines.append(["usage", "ingest", step["file"], *replaces, "--now", step["now"]])
            case "close":
                lines.append(["usage", "ingest", "--now", step["as_of"]])
                lines.append(["cycles", "close", "--as-of", step["as_of"]])
    return lines


def drive(arguments: Sequence[str], said: Path) -> None:
    """``main`` in a process that was forked for it: its output goes into a file."""
    _write_into(said)
    main(arguments)


def give(lines: Sequence[list[str]], folder: Path, said: Path, kill: str = "") -> None:
    """These commands, one after the other, in a process that was forked for them, and killed at the point ``kill``."""
    _write_into(said)
    os.chdir(folder)
    if kill:
        die_at(kill, 1)
    for line in lines:
        _run(line)


def _write_into(said: Path) -> None:
    with said.open("ab") as handle:
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is left of the scenario."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--database")
    parser.add_argument("--kill")
    parser.add_argument("--time", type=int, default=1)
    parser.add_argument("--commands", type=int)
    chosen = parser.parse_args(arguments)
    if chosen.kill:
        die_at(chosen.kill, chosen.time)
    chosen.work.mkdir(exist_ok=True)
    done = chosen.work / "done"
    reached = int(done.read_text()) if done.exists() else 0
    where = ["--home", str((chosen.work / "home").absolute())]
    where += ["--database", chosen.database] if chosen.database else []
    os.chdir(chosen.scenario)
    for number, line in enumerate(commands(Path())[reached : chosen.commands], start=reached + 1):
        _run([*where, *line])
        done.with_suffix(".new").write_text(str(number))
        done.with_suffix(".new").replace(done)  # whole, or as it was: killed here too
    if chosen.commands:
        return
    _run([*where, "export", str(chosen.work.absolute() / "out")])
    _run([*where, "status"])


def _run(line: list[str]) -> None:
    try:
        status = app(line, standalone_mode=False)
    except typer.Exit as end:
        status = end.exit_code
    if status not in (None, 0, PARKED_STATUS):
        sys.exit(f"{line} ended with {status}")


def die_at(point: str, times: int) -> None:
    """Die when a point is reached for the so-manieth time."""
    left = times

    def count_down(reached: str) -> None:
        nonlocal left
        left -= reached == point
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    commit_points.listen(count_down)


if __name__ == "__main__":
    main()
