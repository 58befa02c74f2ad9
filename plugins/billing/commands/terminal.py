"""What all commands share: instants and folders as arguments, the home, progress, tables, logs."""

from __future__ import annotations

import csv
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from billing.core.instants import from_us, parse_day, parse_instant_us
from billing.settings.settings import Settings
from billing.steps import progress as steps_progress

if TYPE_CHECKING:
    from billing.core.errors import Finding
    from billing.store.home import Home

errors = Console(stderr=True, highlight=False, soft_wrap=True)


def parse_instant(text: str) -> datetime:
    try:
        return from_us(parse_instant_us(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def parse_day_number(text: str) -> int:
    try:
        return parse_day(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Folder = Annotated[Path, typer.Argument(file_okay=False)]


class LogFormat(StrEnum):
    """How the command says what it does, beside what it prints."""

    NONE = "none"
    JSON = "json"


def log_as(form: LogFormat) -> None:
    """Lines of JSON on standard error, or nothing: what libraries say never goes to standard output."""
    level = logging.INFO if form is LogFormat.JSON else logging.CRITICAL
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    structlog.configure(
        processors=[structlog.processors.add_log_level, stamp, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


@contextmanager
def opened_home(context: typer.Context, *, check: bool = True) -> Iterator[tuple[Home, Settings]]:
    """The home that the command names; what disk or database say when they fail becomes a refusal in words."""
    from billing import connections
    from billing.steps.homes import home_at
    from billing.steps.origin import acting_for

    settings = Settings.read(*context.obj)
    home = home_at(settings.home, settings.database_url, settings.lake, connections, memory_mb=settings.memory_mb)
    try:
        if check:
            home.check()
        with acting_for(context.command_path):
            yield home, settings
    except Exception as error:
        from billing.steps.failures import explained

        refusal = explained(error, settings.home)
        if refusal is None or refusal is error:
            raise
        raise refusal from error
    finally:
        home.close()


@contextmanager
def progress_shown() -> Iterator[steps_progress.Progress]:
    """Bars on a terminal, a line every few seconds in a log."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as bars:
        task = bars.add_task("starting", total=None)
        yield lambda what, done, total: bars.update(task, description=what, completed=done, total=total or None)


def _lines(every_s: float = 5.0) -> steps_progress.Progress:
    last = time.monotonic()

    def show(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= every_s:
            last = time.monotonic()
            errors.print(f"{what}: {done} of {total}" if total else what)

    return show


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on a terminal; CSV where the output goes to a file or another program."""
    if not sys.stdout.isatty():
        writer = csv.writer(sys.stdout)
        writer.writerow(columns)
        writer.writerows(rows)
        return
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(cell.replace("[", "\\[") for cell in row))
    Console().print(table)


def warn(warnings: Iterable[Finding]) -> None:
    for warning in warnings:
        errors.print(f"warning: {warning}", markup=False)
