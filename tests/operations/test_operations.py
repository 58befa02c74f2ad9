"""``docs/operations.md`` acted out: the commands of each entry, in a home where that is wrong, say what it says."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from billing.cli import app
from billing.core.errors import BillingError
from billing.store.home import Home

from .transcript import differs, entries
from .worlds import CHECKOUT, WORLDS, World

DOCUMENT = CHECKOUT / "docs" / "operations.md"
ENTRIES = entries(DOCUMENT)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in [name for name in os.environ if name.startswith("BILLING_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BILLING_HOME", "home")
    monkeypatch.setenv("COLUMNS", "1000")
    home = Home.at(tmp_path / "home")
    home.create()
    yield World(folder=tmp_path, home=home)
    home.close()


def run(line: str) -> list[str]:
    """What a command says on standard output and standard error, in the order in which it says it."""
    if not line.startswith("billing "):
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            line, shell=True, capture_output=True, text=True, env={**os.environ, "PATH": path}, check=False
        )
        return (done.stdout + done.stderr).splitlines()
    done = CliRunner().invoke(app, shlex.split(line)[1:])
    said = done.output.splitlines()
    if isinstance(done.exception, BillingError):
        said += str(done.exception).splitlines()
    elif done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return said


@pytest.mark.parametrize("heading", list(WORLDS))
def test_what_the_runbook_says_is_what_one_sees(world: World, heading: str) -> None:
    WORLDS[heading](world)
    for command in ENTRIES[heading]:
        said = run(command.line)
        missing = differs(command.says, said)
        assert missing is None, f"$ {command.line}\nis said to print:\n{missing}\nand prints:\n" + "\n".join(said)


def test_every_entry_is_acted_out() -> None:
    assert set(ENTRIES) == set(WORLDS)
