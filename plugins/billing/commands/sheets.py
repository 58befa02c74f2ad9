"""Tables of finance on a terminal, and what was written of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from billing.commands.terminal import show_table

if TYPE_CHECKING:
    from billing.outbound.spreadsheets import Sheet


def show_sheets(sheets: Sequence[Sheet]) -> None:
    """Tables one below the other; what could be taken for a formula begins with an apostrophe here too."""
    for place, sheet in enumerate(sheets):
        if place:
            typer.echo()
        show_table(sheet.name, sheet.columns, sheet.texts())
    sys.stdout.flush()  # before what is said of them on standard error


def say_written(paths: Iterable[Path]) -> None:
    """Which files were written."""
    for path in paths:
        typer.echo(f"{path} written.")
