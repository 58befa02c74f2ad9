"""``billing``: what the DAGs do, from a terminal, by the same functions."""

from __future__ import annotations

import csv
import logging
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from billing.core.errors import BillingError, UsageError
from billing.core.instants import format_instant, format_us, from_us, parse_day, parse_instant_us
from billing.settings import Settings
from billing.steps import progress as steps_progress

if TYPE_CHECKING:
    from billing.core.errors import Finding
    from billing.intake.sources.seam import SourceFile
    from billing.steps.batch import IngestSummary
    from billing.steps.close import CloseSummary
    from billing.steps.inspection import Inspection
    from billing.steps.reference_diff import Diff, RowDifference
    from billing.steps.replay import Foreseen
    from billing.store.home import Home
    from billing.store.late_rows import LateRow
    from billing.store.quarantine import Selection

PARKED_STATUS = 3
_HELP = """Usage billing that can be derived again: raw usage to charged units to PDF invoices.

State lives in a **home** folder: a database, the usage table, the archive of sources and the documents.

A month, from nothing:

    billing --home acme init
    billing --home acme reference load reference/
    billing --home acme usage ingest usage/2026-07-*.csv --now 2026-08-15T01:00:00Z
    billing --home acme cycles close --as-of 2026-08-15T01:00:00Z
    billing --home acme invoices list

Instants are written like 2026-08-15T01:00:00Z or 2026-08-15T03:00:00+02:00.

Exit status: 0 done; 1 the data is refused, reasons on standard error; 2 wrong arguments; 3 done, but teams are parked.
"""
app = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode="markdown", add_completion=False)
reference_app = typer.Typer(help="Reference data: customers, teams, apps, prices, subscriptions.", no_args_is_help=True)
usage_app = typer.Typer(help="Usage: take it in, see what could not be billed.", no_args_is_help=True)
quarantine_app = typer.Typer(help="Records that could not be billed.", no_args_is_help=True)
cycles_app = typer.Typer(help="Billing cycles.", no_args_is_help=True)
checks_app = typer.Typer(help="What was expected of usage and of the books, and what was found.", no_args_is_help=True)
invoices_app = typer.Typer(help="Invoices and their documents.", no_args_is_help=True)
app.add_typer(reference_app, name="reference")
app.add_typer(usage_app, name="usage")
usage_app.add_typer(quarantine_app, name="quarantine")
app.add_typer(cycles_app, name="cycles")
app.add_typer(checks_app, name="checks")
app.add_typer(invoices_app, name="invoices")
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def _parse_instant(text: str) -> datetime:
    try:
        return from_us(parse_instant_us(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _parse_table(text: str) -> str:
    from billing.core.reference import TABLES

    if text not in TABLES:
        raise typer.BadParameter(f"{text!r} is no reference table; there are: {', '.join(TABLES)}")
    return text


def _parse_day(text: str) -> int:
    try:
        return parse_day(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


AcceptAnomaly = Annotated[
    str | None, typer.Option(metavar="REASON", help="Why usage that is not as expected is right; it is logged.")
]
Folder = Annotated[Path, typer.Argument(file_okay=False)]
AllowRemovals = Annotated[
    bool, typer.Option("--allow-removals", help="Rows that are no longer there stop being known.")
]
ReferenceFolder = Annotated[Path | None, typer.Argument(file_okay=False, help="A file a table: customers.csv ...")]
FromSql = Annotated[
    bool, typer.Option("--from-sql", help="Instead, by the queries that [reference] in billing.toml names.")
]
ReferenceTable = Annotated[str | None, typer.Option(parser=_parse_table, metavar="TABLE", help="Only this table.")]
_LATE_SAID_MAX = 100


class LogFormat(StrEnum):
    """How the command says what it does, beside what it prints."""

    NONE = "none"
    JSON = "json"


@app.callback()
def _main(
    context: typer.Context,
    home: Annotated[
        Path | None, typer.Option(help="The home folder. Default: BILLING_HOME, else ./billing-home.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A PostgreSQL database instead of the home's own SQLite: postgresql://..."),
    ] = None,
    log: Annotated[LogFormat, typer.Option(help="json: also say what is done as lines of JSON on standard error.")] = (
        LogFormat.NONE
    ),
) -> None:
    context.obj = (home, database)
    _log_as(log)


def _log_as(form: LogFormat) -> None:
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
def _home(context: typer.Context, *, check: bool = True) -> Iterator[tuple[Home, Settings]]:
    from billing.steps.homes import home_at

    settings = Settings.read(*context.obj)
    home = home_at(settings.home, settings.database_url)
    try:
        if check:
            home.check()
        yield home, settings
    finally:
        home.close()


@contextmanager
def _progress() -> Iterator[steps_progress.Progress]:
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


def _show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
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


@app.command()
def init(context: typer.Context) -> None:
    """Make the home, or bring it to this version. Nothing that is there is lost."""
    with _home(context, check=False) as (home, settings):
        home.create()
        typer.echo(f"The home in {settings.home} is ready.")


@app.command()
def configure(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="close_lag_seconds (3600) or max_units_per_cycle.")],
    value: Annotated[int, typer.Argument(help="A whole number.")],
) -> None:
    """Set how this home bills, from the next close on."""
    from billing.steps.homes import configure as set_up

    with _home(context) as (home, _):
        set_up(home, name, value)


@reference_app.command("load")
def reference_load(
    context: typer.Context,
    folder: ReferenceFolder = None,
    from_sql: FromSql = False,
    allow_removals: AllowRemovals = False,
) -> None:
    """Load reference data: one file or query a table, taken whole or refused whole with every error."""
    from billing.steps.reference import load_reference, load_reference_sql

    _demand_one(folder, from_sql)
    with _home(context) as (home, settings):
        if folder is None:
            done = load_reference_sql(home, *_reference_sql(settings), allow_removals=allow_removals)
        else:
            done = load_reference(home, folder, allow_removals=allow_removals)
    _warn(done.warnings)
    typer.echo(f"Load {done.load_no}: {done.added} rows added, {done.changed} changed, {done.removed} removed.")
    _say_late(done.late[:_LATE_SAID_MAX], done.late_total, f"billing reference late --load {done.load_no}")


@reference_app.command("diff")
def reference_diff(
    context: typer.Context,
    folder: ReferenceFolder = None,
    from_sql: FromSql = False,
    allow_removals: AllowRemovals = False,
    table: ReferenceTable = None,
    limit: Annotated[int, typer.Option(min=0, help="List at most so many rows.")] = 1_000,
) -> None:
    """Show what a load would do, and change nothing: rows added, changed and removed, what is refused, what is late.

    Exit status 1 where the load would be refused. It may be run while usage is taken in.
    """
    from billing.core.errors import DataRefused
    from billing.steps.reference_diff import diff_reference, diff_reference_sql

    _demand_one(folder, from_sql)
    with _home(context) as (home, settings):
        if folder is None:
            sql = _reference_sql(settings)
            found = diff_reference_sql(home, *sql, allow_removals=allow_removals, table=table, limit=limit)
        else:
            found = diff_reference(home, folder, allow_removals=allow_removals, table=table, limit=limit)
    _warn(found.warnings)
    _show_differences(found)
    if found.late is not None:
        _say_late(found.late.rows[:limit], found.late.total, "raise --limit")
    if found.findings:
        raise DataRefused(f"{found.source}: a load of this would be refused.", found.findings)


@reference_app.command("late")
def reference_late(
    context: typer.Context,
    load: Annotated[int | None, typer.Option(help="Only what this load brought.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 1_000,
) -> None:
    """Rows that came too late for a closed cycle, the newest load first: what they would have changed (rule 3.6)."""
    from billing.steps.reference import list_late_rows

    with _home(context) as (home, _):
        found, total = list_late_rows(home, load_no=load, limit=limit)
    columns = ("load", "table", "key", "changed", "team", "cycle", "invoices", "touched", "figures")
    rows = (
        (
            str(number),
            late.table,
            late.key,
            "; ".join(map(str, late.changed)),
            late.team_id,
            format_us(late.cycle_start_us),
            " ".join(late.invoices),
            "; ".join(late.touched),
            "; ".join(map(str, late.figures)),
        )
        for number, late in found
    )
    _show("Late rows", columns, rows)
    if total > len(found):
        errors.print(f"and {total - len(found)} more: raise --limit")


def _demand_one(folder: Path | None, from_sql: bool) -> None:
    if from_sql is not (folder is None):
        raise UsageError("Name either a FOLDER of reference files or --from-sql.")


def _reference_sql(settings: Settings) -> tuple[str, Path]:
    """The URL of the database that reference data comes from, with its password, and the folder of queries."""
    from billing.connections import sql_url

    given = settings.reference
    if given is None:
        raise UsageError(f"{settings.home / 'billing.toml'} has no [reference]: give it a connection or a url there.")
    return given.url or sql_url(given.connection), given.queries


_SIGNS = {"added": "+", "changed": "~", "removed": "-"}


def _show_differences(found: Diff) -> None:
    """A line a row on a terminal, a record a cell in CSV; what sums it up goes to standard error."""
    title = f"What a load would do to load {found.load_no}" if found.load_no else "What the first load would do"
    if sys.stdout.isatty():
        lines = ((row.table, _SIGNS[row.what], row.key, _cells(row)) for row in found.rows)
        _show(title, ("table", "", "key", "cells"), lines)
    else:
        no_cells = (("", "", ""),)
        _show(
            title,
            ("table", "difference", "key", "column", "before", "after"),
            (
                (row.table, row.what, row.key, *cell)
                for row in found.rows
                for cell in [(c.column, c.before, c.after) for c in row.cells] or no_cells
            ),
        )
    if found.rows_total > len(found.rows):
        errors.print(f"and {found.rows_total - len(found.rows)} more rows: raise --limit, or name a --table")
    for counts in found.tables:
        errors.print(str(counts), markup=False)
    if found.late is None:
        errors.print("What would be late is said when the data can be taken.")


def _cells(row: RowDifference) -> str:
    """``column before -> after`` of a changed row; ``column value`` of one that is added or removed."""
    if row.what == "changed":
        return "\n".join(map(str, row.cells))
    return ", ".join(f"{cell.column} {cell.before or cell.after}" for cell in row.cells)


def _warn(warnings: Iterable[Finding]) -> None:
    for warning in warnings:
        errors.print(f"warning: {warning}", markup=False)


def _say_late(late: Sequence[LateRow], total: int, more: str) -> None:
    for row in late:
        errors.print(f"late: {row}", markup=False)
    if total > len(late):
        errors.print(f"late: and {total - len(late)} more: {more}", markup=False)


@usage_app.command("ingest")
def usage_ingest(
    context: typer.Context,
    now: Annotated[
        datetime, typer.Option(parser=_parse_instant, metavar="INSTANT", help="Usage is complete through this instant.")
    ],
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="CSV, JSON Lines (both also .gz) or Parquet.")
    ] = None,
    accept_anomaly: AcceptAnomaly = None,
    replaces: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="FILE is the corrected delivery of this one: its name, or BATCH:FILE. Says nothing of completeness.",
        ),
    ] = None,
    correct: Annotated[
        bool,
        typer.Option("--correct", help="With --replaces: take back what was accepted wrongly, and deliver it anew."),
    ] = False,
) -> None:
    """Validate, attribute and store usage; quarantine what cannot be billed.

    Without a file it only says that usage is complete through --now. Usage that is not as expected is refused.

    With --replaces what waits of the wrong file is replaced; what was accepted from it, and is said otherwise in FILE
    or missing there, is listed.
    """
    from billing.steps.ingest import ingest, local_files
    from billing.steps.inspection import Inspection

    if correct and replaces is None:
        raise UsageError("--correct says what to do with --replaces: name the file that FILE corrects.")
    with _home(context) as (home, settings), _progress() as progress:
        expected, sources = settings.expectations, local_files(files or ())
        if replaces is not None:
            inspection = Inspection.of(expected, compares=False)
            _replace(home, sources, now, replaces, correct, inspection, progress)
            return
        inspection = Inspection.of(expected, accept_anomaly=accept_anomaly)
        done = ingest(home, sources, now, inspector=inspection, progress=progress)
    _say_batch(done, inspection)


def _replace(
    home: Home,
    sources: Sequence[SourceFile],
    now: datetime,
    replaces: str,
    correct: bool,
    inspection: Inspection,
    progress: steps_progress.Progress,
) -> None:
    from billing.steps.quarantine import printable
    from billing.steps.replacement import replace_file

    if len(sources) != 1:
        raise UsageError("--replaces takes one FILE, the corrected one.")
    done = replace_file(home, sources[0], now, replaces, correct=correct, inspector=inspection, progress=progress)
    _say_batch(done.batch, inspection)
    typer.echo(f"{done.ended} waiting records of {printable(done.replaced)} were replaced.")
    for difference in done.differences:
        kept = difference.why_left or ("" if correct else "stands")
        errors.print(printable(f"accepted: {difference}" + (f"; {kept}" if kept else "")), markup=False)
    if correct:
        typer.echo(f"{done.corrections} corrections were made.")
    elif done.differences:
        errors.print(f"{len(done.differences)} accepted events differ and stand: --correct puts them right.")


def _say_batch(done: IngestSummary, inspection: Inspection) -> None:
    for warning in (*done.warnings, *inspection.warnings):
        errors.print(f"warning: {warning}", markup=False)
    typer.echo(
        f"Batch {done.batch_no}: {done.records} records = {done.accepted} accepted + {done.duplicates} duplicates "
        f"+ {done.quarantined} quarantined."
    )
    for reason, count in done.reasons.items():
        typer.echo(f"  {reason}: {count}")


@usage_app.command("windows")
def usage_windows(
    context: typer.Context,
    since: Annotated[
        datetime | None,
        typer.Option(parser=_parse_instant, metavar="INSTANT", help="Only windows that end later. Default: all."),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Every window by itself, not those alike put together.")] = False,
) -> None:
    """Which windows of each source were taken, were empty, or are missing, and why."""
    from billing.steps.window_history import window_history

    with _home(context) as (home, _):
        found = window_history(home, datetime.now(UTC).replace(microsecond=0), since=since, each=each)
    _show(
        "Windows",
        ("source", "state", "from", "to", "windows", "records", "quarantined", "why"),
        (
            (
                one.source,
                one.state.value,
                format_instant(one.start) if one.start else "",
                format_instant(one.end),
                *map(str, (one.windows, one.records, one.quarantined)),
                one.why,
            )
            for one in found
        ),
    )


@usage_app.command("take")
def usage_take(
    context: typer.Context,
    source: Annotated[str | None, typer.Option(help="Only this source. Default: every one of `billing.toml`.")] = None,
    window_start: Annotated[
        datetime | None,
        typer.Option(parser=_parse_instant, metavar="INSTANT", help="Default: where the source's last window ended."),
    ] = None,
    window_end: Annotated[
        datetime | None, typer.Option(parser=_parse_instant, metavar="INSTANT", help="Default: now.")
    ] = None,
    accept_anomaly: AcceptAnomaly = None,
) -> None:
    """Take what arrived at the sources, as the DAG `usage_ingest` does every ten minutes."""
    from billing import connections
    from billing.steps.inspection import Inspection
    from billing.steps.sources import await_sources, open_source
    from billing.steps.windows import take_window

    end = window_end or datetime.now(UTC).replace(microsecond=0)
    with _home(context) as (home, settings), _progress() as progress:
        names = await_sources(home, settings.sources)
        for name in [settings.source(source).name] if source else names:
            opened = open_source(settings.source(name), connections)
            inspection = Inspection.of(settings.expectations, accept_anomaly=accept_anomaly)
            start = window_start or end - timedelta(minutes=10)
            done = take_window(home, opened, start, end, inspector=inspection, progress=progress)
            typer.echo(f"{name}: {done.files} files from {format_instant(done.window_start)} to {format_instant(end)}.")
            if done.ingested:
                _say_batch(done.ingested, inspection)


@usage_app.command("set-aside")
def usage_set_aside(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="The source that the file lies at.")],
    file: Annotated[str, typer.Argument(help="The file's name, as the refusal gives it.")],
    why: Annotated[str, typer.Option(help="The reason, for whoever asks later.")],
) -> None:
    """Let windows go on without a file that cannot be read. It is not touched; a new one of its name is taken."""
    from billing import connections
    from billing.steps.sources import open_source
    from billing.steps.windows import set_aside

    with _home(context) as (home, settings):
        set_aside(home, open_source(settings.source(source), connections), file, why)
    typer.echo(f"{file} is set aside. Now: billing usage take --source {source}")


@usage_app.command("retire")
def usage_retire(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="The name of a source that is in `billing.toml` no more.")],
    why: Annotated[str, typer.Option(help="The reason, for whoever asks later.")],
) -> None:
    """Await nothing from a source any more: usage is complete without it from now on."""
    from billing.steps.windows import retire

    with _home(context) as (home, _):
        retire(home, source, why)
    typer.echo(f"Nothing is awaited from {source} any more.")


@usage_app.command("reconcile")
def usage_reconcile(context: typer.Context) -> None:
    """After the database was restored from a backup: void the batches that only the usage table knows.

    Their files have to be ingested again; nothing is counted twice.
    """
    from billing.steps.reconcile import reconcile

    with _home(context) as (home, _):
        voided = reconcile(home)
    typer.echo(
        f"Voided batches: {', '.join(map(str, voided))}."
        if voided
        else "The database knows every batch of the usage table."
    )


Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Only this reason.")]
Batches = Annotated[list[int] | None, typer.Option("--batch", help="Only this batch.")]
Sources = Annotated[list[str] | None, typer.Option("--source", help="Only what this source delivered.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="Only this event id.")]
Apps = Annotated[list[str] | None, typer.Option("--app", help="Only this app.")]
Apis = Annotated[list[str] | None, typer.Option("--api", help="Only this API.")]
Days = Annotated[
    list[int] | None,
    typer.Option("--day", parser=_parse_day, metavar="YYYY-MM-DD", help="Only what occurred on this UTC day."),
]
Records = Annotated[
    list[str] | None, typer.Option("--record", metavar="BATCH:FILE:LINE", help="Only this record; given up or not.")
]
Endings = Annotated[
    list[str] | None,
    typer.Option("--ending", help="waiting (default), accepted, duplicate, quarantined, replaced, dismissed, any."),
]
Everything = Annotated[bool, typer.Option("--all", help="Everything that waits.")]
QUARANTINED = ("batch", "file", "line", "reason", "record", "source", "id", "app", "api", "day", "ending", "raw")


@quarantine_app.command("list")
def quarantine_list(
    context: typer.Context,
    reason: Reasons = None,
    batch: Batches = None,
    source: Sources = None,
    event_id: Ids = None,
    app_id: Apps = None,
    api: Apis = None,
    day: Days = None,
    ending: Endings = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 1_000,
) -> None:
    """What could not be billed: where it stood, why, and its raw text. Each option may be given several times.

    Controls and what is invisible are shown as \\x1b or \\u202e.
    """
    from billing.steps.quarantine import list_quarantine, printable

    chosen = _selection(reason, batch, source, event_id, app_id, api, day, ending=ending)
    with _home(context) as (home, _):
        found = list_quarantine(home, chosen, limit=limit)
    rows = (
        (str(q.batch_no), q.file, str(q.line), q.reason, str(q.place), q.source)
        + (q.event_id, q.app_id, q.api, q.day, q.ending or "waiting", q.raw)
        for q in found
    )
    _show("Quarantine", QUARANTINED, (tuple(map(printable, row)) for row in rows))


@quarantine_app.command("count")
def quarantine_count(
    context: typer.Context,
    by: Annotated[
        str, typer.Option(help="Any of reason, source, app, api, day, file, batch, ending, with commas.")
    ] = "reason",
    reason: Reasons = None,
    batch: Batches = None,
    source: Sources = None,
    event_id: Ids = None,
    app_id: Apps = None,
    api: Apis = None,
    day: Days = None,
    ending: Endings = None,
) -> None:
    """How much could not be billed, by reason, source, app, API, day or file."""
    from billing.steps.quarantine import count_quarantine, printable

    names = [name.strip() for name in by.split(",") if name.strip()]
    chosen = _selection(reason, batch, source, event_id, app_id, api, day, ending=ending)
    with _home(context) as (home, _):
        found = count_quarantine(home, names, chosen)
    _show("Quarantine", (*names, "records"), ((*map(printable, values), str(count)) for values, count in found))


@quarantine_app.command("show")
def quarantine_show(
    context: typer.Context,
    record: Annotated[str, typer.Argument(metavar="BATCH:FILE:LINE", help="As `list` shows it.")],
    now: Annotated[
        datetime | None,
        typer.Option(parser=_parse_instant, metavar="INSTANT", help="What would happen then. Default: at this moment."),
    ] = None,
) -> None:
    """One record: its raw text, where it stood, what would become of it now, and its history across replays."""
    from billing.steps.quarantine import printable, select_records, show

    (place,) = select_records(places=[record]).places
    with _home(context) as (home, _):
        shown = show(home, place, now or datetime.now(UTC))
    one = shown.record
    for name, value in (
        ("file", one.file),
        ("line", str(one.line)),
        ("source", one.source),
        ("id", one.event_id),
        ("app", one.app_id),
        ("api", one.api),
        ("day", one.day),
        ("raw", one.raw),
        ("if replayed now", shown.outcome or "it has ended"),
    ):
        typer.echo(f"{name:16} {printable(value)}")
    for row in shown.history:
        ended = f"{row.ending} {format_instant(row.ended_at)}" if row.ended_at else "waits"
        batch = f" by batch {row.ended_in}" if row.ended_in else ""
        why = f": {printable(row.ended_why)}" if row.ended_why else ""
        typer.echo(f"{'history':16} {row.place} {row.reason}; {ended}{batch}{why}")


@quarantine_app.command("replay")
def quarantine_replay(
    context: typer.Context,
    reason: Reasons = None,
    batch: Batches = None,
    source: Sources = None,
    event_id: Ids = None,
    app_id: Apps = None,
    api: Apis = None,
    day: Days = None,
    record: Records = None,
    everything: Everything = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")] = False,
    records: Annotated[bool, typer.Option("--records", help="With --dry-run: record by record.")] = False,
    now: Annotated[
        datetime | None,
        typer.Option(
            parser=_parse_instant, metavar="INSTANT", help="What occurred later is in the future. Default: now."
        ),
    ] = None,
) -> None:
    """Take records again once their cause was mended, as a batch of its own.

    Records that would be quarantined for the same reason stay where they are.
    """
    from billing.steps.inspection import Inspection
    from billing.steps.replay import demand_a_choice, foresee, outcome_lines, replay

    at = now or datetime.now(UTC)
    chosen = _selection(reason, batch, source, event_id, app_id, api, day, record=record)
    demand_a_choice(chosen, everything)
    with _home(context) as (home, settings), _progress() as progress:
        if dry_run:
            _show_foreseen(foresee(home, chosen, at, progress=progress), records)
            return
        inspection = Inspection.of(settings.expectations, compares=False)
        done = replay(home, chosen, at, inspector=inspection, progress=progress)
    typer.echo("\n".join([str(done), *outcome_lines(done.outcomes)]))


def _show_foreseen(foreseen: Foreseen, records: bool) -> None:
    from billing.steps.quarantine import printable
    from billing.steps.replay import outcome_lines

    if records:
        cells = ((str(p.place), printable(p.file), p.reason, p.outcome) for p in foreseen.prospects())
        _show("If replayed now", ("record", "file", "reason", "outcome"), cells)
        return
    said = f"{len(foreseen.chosen)} records; if replayed now:"
    typer.echo("\n".join([said, *outcome_lines(foreseen.outcomes())]))


@quarantine_app.command("dismiss")
def quarantine_dismiss(
    context: typer.Context,
    why: Annotated[str, typer.Option(help="Why it will never be billed; kept with each record, and in the log.")],
    reason: Reasons = None,
    batch: Batches = None,
    source: Sources = None,
    event_id: Ids = None,
    app_id: Apps = None,
    api: Apis = None,
    day: Days = None,
    record: Records = None,
    everything: Everything = False,
) -> None:
    """Give up records that will never be billed (test data, say), with a reason. They stay in `rejected`.

    To take one up again, name it: `replay --record BATCH:FILE:LINE`.
    """
    from billing.steps.quarantine import dismiss
    from billing.steps.replay import demand_a_choice

    chosen = _selection(reason, batch, source, event_id, app_id, api, day, record=record)
    demand_a_choice(chosen, everything)
    with _home(context) as (home, _):
        count = dismiss(home, chosen, why)
    typer.echo(f"{count} records were given up.")


def _selection(
    reason: list[str] | None,
    batch: list[int] | None,
    source: list[str] | None,
    event_id: list[str] | None,
    app_id: list[str] | None,
    api: list[str] | None,
    day: list[int] | None,
    *,
    record: list[str] | None = None,
    ending: list[str] | None = None,
) -> Selection:
    from billing.steps.quarantine import select_records

    return select_records(
        reasons=reason or (),
        batches=batch or (),
        sources=source or (),
        ids=event_id or (),
        apps=app_id or (),
        apis=api or (),
        days=day or (),
        places=record or (),
        endings=ending or (),
    )


@cycles_app.command("close")
def cycles_close(
    context: typer.Context,
    as_of: Annotated[
        datetime, typer.Option(parser=_parse_instant, metavar="INSTANT", help="Close what is due at this instant.")
    ],
    documents: Annotated[
        bool, typer.Option("--documents/--no-documents", help="Render the invoices' documents too.")
    ] = True,
) -> None:
    """Close every cycle that is due, rate it, issue its invoices; name what is missing or parked."""
    from billing.steps.close import close
    from billing.steps.ledger_checks import check_ledger
    from billing.steps.render import render, unrendered

    if as_of > datetime.now(UTC):
        raise UsageError(f"{format_instant(as_of)} is in the future: nothing is closed before it is over (rule 6.3).")
    with _home(context) as (home, settings), _progress() as progress:
        done = close(home, as_of, progress=progress)
        failed = render(home, unrendered(home), settings.templates, progress).failed if documents else ()
        _say_close(done, failed)
        check_ledger(home, settings.sql / "checks", close_no=done.close_no)
    if done.parked:
        raise typer.Exit(PARKED_STATUS)


def _say_close(done: CloseSummary, failed: Iterable[tuple[str, str]]) -> None:
    typer.echo(f"Close {done.close_no}: {done.cycles} cycles closed, {len(done.invoices)} invoices issued.")
    if done.invoices:
        typer.echo(f"  {done.invoices[0]} to {done.invoices[-1]}")
    if done.waiting.cycles:
        through = done.waiting.complete_through
        said = (
            f"usage is complete through {format_instant(through)}"
            if through
            else "usage is complete through no instant yet"
        )
        errors.print(f"{done.waiting.cycles} cycles are over and wait: {said}.")
    for source in done.waiting.awaited:
        errors.print(f"waits for {source}", markup=False)
    for number, problem in failed:
        errors.print(
            f"no document for {number}: {problem}. The invoice stands; mend the cause, then `billing invoices render`.",
            markup=False,
        )
    for team in done.parked:
        errors.print(
            f"parked: team {team.team_id}, cycle of {format_us(team.cycle_start_us)}: {team.reason}", markup=False
        )


@checks_app.command("list")
def checks_list(
    context: typer.Context,
    run: Annotated[str | None, typer.Option(help="Only of this run: DAG_ID/RUN_ID, or `command`.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 100,
) -> None:
    """What was expected of usage and of the books, what was found, and who let it pass."""
    from billing.steps.checks import list_checks

    with _home(context) as (home, _):
        found = list_checks(home, limit=limit, run=run)
    _show(
        "Checks",
        ("check", "at", "suite", "subject", "run", "outcome", "not as expected", "accepted because"),
        (
            (
                str(one.validation_no),
                format_us(one.at_us // 1_000_000 * 1_000_000),
                one.suite,
                one.subject,
                one.run,
                one.outcome,
                ", ".join(failure["name"] for failure in one.failed),
                one.accepted_why,
            )
            for one in found
        ),
    )


@checks_app.command("show")
def checks_show(
    context: typer.Context,
    check: Annotated[int, typer.Argument(help="Its number, as `billing checks list` gives it.")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="Write its page into this file, for a browser.")],
) -> None:
    """The page of a check (Data Docs): one file that needs no network."""
    from billing.steps.checks import check_page

    with _home(context) as (home, _):
        page = check_page(home, check)
    out.write_bytes(page)
    typer.echo(f"{out}: {len(page)} bytes")


@cycles_app.command("list")
def cycles_list(
    context: typer.Context, team: Annotated[str | None, typer.Option(help="Only this team's.")] = None
) -> None:
    """Closed cycles and each team's running one, with the time zone data that bounds it."""
    from billing.steps.cycle_listing import list_cycles

    with _home(context) as (home, _):
        found = list_cycles(home, team)
    columns = ("team", "start", "end", "first day", "last day", "time zone", "state", "tzdata")
    _show(
        "Cycles",
        columns,
        ((c.team_id, c.start, c.end, c.first_day, c.last_day, c.time_zone, c.state, c.tzdata) for c in found),
    )


@invoices_app.command("list")
def invoices_list(context: typer.Context) -> None:
    """Every invoice, in the order of its number, and where its document is."""
    from billing.steps.invoices import list_invoices

    with _home(context) as (home, _):
        found = list_invoices(home)
    columns = ("number", "team", "customer", "issue date", "period", "total", "currency", "document")
    _show(
        "Invoices",
        columns,
        ((i.number, i.team_id, i.customer, i.issue_date, i.period, i.total, i.currency, i.document) for i in found),
    )


@invoices_app.command("render")
def invoices_render(context: typer.Context) -> None:
    """Render the documents of issued invoices that have none yet."""
    from billing.steps.render import render, unrendered

    with _home(context) as (home, settings), _progress() as progress:
        done = render(home, unrendered(home), settings.templates, progress)
    typer.echo(f"{len(done.rendered)} documents rendered.")
    for number, problem in done.failed:
        errors.print(f"no document for {number}: {problem}", markup=False)
    if done.failed:
        raise typer.Exit(1)


@app.command()
def balances(
    context: typer.Context,
    at: Annotated[
        datetime, typer.Option(parser=_parse_instant, metavar="INSTANT", help="Not before a team's last close.")
    ],
    out: Annotated[Path | None, typer.Option(help="Write them as CSV into this file.")] = None,
) -> None:
    """What is available of what was granted, when it ends or refreshes, open cycles included."""
    from billing.steps.balances import balances as balances_at
    from billing.steps.export import BALANCES, balance_cells, export_balances

    with _home(context) as (home, _):
        found = balances_at(home, at)
    if out is not None:
        typer.echo(f"{export_balances(found, out)} balances written to {out}.")
        return
    _show(f"Balances at {format_instant(at)}", BALANCES, sorted(balance_cells(found)))


@app.command()
def export(context: typer.Context, folder: Folder) -> None:
    """Write the outputs: cycles, carry, charges, invoices, invoice_lines, rejected, parked."""
    from billing.steps.export import export as export_all

    with _home(context) as (home, _):
        for name, rows in export_all(home, folder).items():
            typer.echo(f"{folder / name}.csv: {rows} rows")


@app.command()
def simulate(
    context: typer.Context,
    scenario: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A folder with steps.json.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Where the outputs go.")],
    documents: Annotated[
        bool, typer.Option("--documents", help="Render the invoices too, into OUT/documents.")
    ] = False,
) -> None:
    """Run a scenario in a scratch home, by the same functions, and write the outputs.

    The scratch home is gone afterwards; with --database it uses that database, which must be empty.
    """
    from billing.steps.homes import home_at
    from billing.steps.simulate import simulate as run

    settings, database_url = Settings.read(), context.obj[1]
    with tempfile.TemporaryDirectory(prefix="billing-simulate-") as scratch, _progress() as progress:
        home = home_at(Path(scratch), database_url)
        try:
            parked = run(home, scenario, out, templates=settings.templates if documents else None, progress=progress)
        finally:
            home.close()
    if parked:
        errors.print(f"Teams are parked: see {out / 'parked.csv'}.")
        raise typer.Exit(PARKED_STATUS)


@app.command()
def status(context: typer.Context) -> None:
    """How the home stands, and what waits for someone. Verifies the log's chain on the way."""
    from billing.steps.status import status as read_status

    with _home(context) as (home, settings):
        found = read_status(home)
    quarantined = ", ".join(f"{count} {reason}" for reason, count in found.quarantined.items()) or "nothing"
    for name, value in (
        ("home", str(settings.home)),
        (
            "reference data",
            f"load {found.reference_load}" if found.reference_load else "none yet: billing reference load FOLDER",
        ),
        (
            "usage",
            f"{found.accepted} events accepted in {found.batches} batches, {found.duplicates} duplicates dropped",
        ),
        ("complete through", found.complete_through or "nothing ingested yet"),
        ("quarantine", quarantined),
        ("last close", f"as of {found.last_close} ({found.last_close_state})" if found.last_close else "none yet"),
        ("closed cycles", str(found.closed_cycles)),
        ("time zones", found.tzdata + (f" (last close: {found.last_close_tzdata})" if found.last_close_tzdata else "")),
        ("invoices", f"{found.invoices}, {found.documents} with a document"),
        ("log", f"{found.log_rows} rows, chain verified, head {found.log_head[:16]}"),
    ):
        typer.echo(f"{name:17} {value}")
    for source in found.awaited:
        typer.echo(f"{'usage is missing':17} {source}")
    for run in found.overdue:
        typer.echo(
            f"{'overdue':17} {run.dag_id} {run.run_id}: not done {run.limit_minutes} minutes after it was queued"
        )
    for team_id, cycle_start, reason in found.parked:
        typer.echo(f"{'parked':17} team {team_id}, cycle of {cycle_start}: {reason}")


def main() -> None:
    """Run the command; a refusal is said on standard error and ends with its status."""
    try:
        app()
    except BillingError as refusal:
        errors.print(str(refusal), markup=False)
        sys.exit(refusal.exit_status)


if __name__ == "__main__":
    main()
