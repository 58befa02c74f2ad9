"""``billing usage``: take usage in, by file or by source, and see which windows are missing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from billing.commands.quarantine import quarantine_app
from billing.commands.terminal import (
    errors,
    opened_home,
    parse_day_number,
    parse_instant,
    progress_shown,
    show_table,
)
from billing.core.errors import UsageError
from billing.core.instants import day_number, format_instant, from_day
from billing.steps import progress as steps_progress

if TYPE_CHECKING:
    from billing.intake.sources.seam import SourceFile
    from billing.steps.batch import IngestSummary
    from billing.steps.inspection import Inspection
    from billing.store.home import Home

usage_app = typer.Typer(help="Usage: take it in, see what could not be billed.", no_args_is_help=True)
AcceptAnomaly = Annotated[
    str | None, typer.Option(metavar="REASON", help="Why usage that is not as expected is right; it is logged.")
]
usage_app.add_typer(quarantine_app, name="quarantine")


@usage_app.command("ingest")
def usage_ingest(
    context: typer.Context,
    now: Annotated[
        datetime, typer.Option(parser=parse_instant, metavar="INSTANT", help="Usage is complete through this instant.")
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
    with opened_home(context) as (home, settings), progress_shown() as progress:
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
        typer.Option(parser=parse_instant, metavar="INSTANT", help="Only windows that end later. Default: all."),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Every window by itself, not those alike put together.")] = False,
) -> None:
    """Which windows of each source were taken, were empty, or are missing, and why."""
    from billing.steps.window_history import window_history

    with opened_home(context) as (home, _):
        found = window_history(home, datetime.now(UTC).replace(microsecond=0), since=since, each=each)
    show_table(
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
        typer.Option(parser=parse_instant, metavar="INSTANT", help="Default: where the source's last window ended."),
    ] = None,
    window_end: Annotated[
        datetime | None, typer.Option(parser=parse_instant, metavar="INSTANT", help="Default: now.")
    ] = None,
    accept_anomaly: AcceptAnomaly = None,
) -> None:
    """Take what arrived at the sources, as the DAG `usage_ingest` does every ten minutes."""
    from billing import connections
    from billing.steps.inspection import Inspection
    from billing.steps.sources import await_sources, open_source
    from billing.steps.windows import take_window

    end = window_end or datetime.now(UTC).replace(microsecond=0)
    with opened_home(context) as (home, settings), progress_shown() as progress:
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

    with opened_home(context) as (home, settings):
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

    with opened_home(context) as (home, _):
        retire(home, source, why)
    typer.echo(f"Nothing is awaited from {source} any more.")


@usage_app.command("reconcile")
def usage_reconcile(context: typer.Context) -> None:
    """After the database was restored from a backup: void the batches that only the usage table knows.

    Their files have to be ingested again; nothing is counted twice.
    """
    from billing.steps.reconcile import reconcile

    with opened_home(context) as (home, _):
        voided = reconcile(home)
    typer.echo(
        f"Voided batches: {', '.join(map(str, voided))}."
        if voided
        else "The database knows every batch of the usage table."
    )


@usage_app.command("compact")
def usage_compact(
    context: typer.Context,
    keep_days: Annotated[
        int,
        typer.Option(
            min=0, max=7, help="Delete old files that nobody has read from for so long; 0: nothing else runs."
        ),
    ] = 7,
) -> None:
    """Put the usage table's many small files together, and delete old ones, as the DAG `lake_upkeep` does every day.

    No number changes by it, and everything else may run meanwhile.
    """
    from billing.steps.upkeep import upkeep

    with opened_home(context) as (home, _), progress_shown() as progress:
        done = upkeep(home, keep_days, progress=progress)
    typer.echo(
        f"{done.files_before} files ({done.bytes_before} bytes) are {done.files_after} ({done.bytes_after} bytes); "
        f"{done.deleted} old ones deleted, in {done.seconds:.1f} s."
    )


@usage_app.command("days")
def usage_days(
    context: typer.Context,
    team: Annotated[str | None, typer.Option(help="The team whose usage is shown.")] = None,
    first: Annotated[
        int | None, typer.Option("--from", parser=parse_day_number, metavar="DAY", help="Default: 30 days before.")
    ] = None,
    last: Annotated[
        int | None, typer.Option("--to", parser=parse_day_number, metavar="DAY", help="The last day. Default: today.")
    ] = None,
    api: Annotated[str | None, typer.Option(help="Only this API.")] = None,
    app: Annotated[str | None, typer.Option(help="Only this app.")] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Derive all days of all teams again, first.")] = False,
) -> None:
    """Actual usage by UTC day, for at most 24 months back: one team's, or with --rebuild alone everybody's anew.

    What was ingested since the last time is added first, as the DAG `balances_refresh` does every ten minutes.
    """
    from billing.steps.usage_views import day_rows, read_usage, refresh_views

    if team is None and not rebuild:
        raise UsageError("Name a team by --team, or derive all days again by --rebuild.")
    now = datetime.now(UTC)
    today = day_number(now.date())
    with opened_home(context) as (home, _), progress_shown() as progress:
        done = refresh_views(home, now, rebuild=rebuild, progress=progress)
        if rebuild:
            errors.print(f"{done.rows} rows derived, through batch {done.through_batch}.")
        if team is None:
            return
        until = today if last is None else last
        days = from_day(until - 30 if first is None else first), from_day(until)
        found = read_usage(home, team, *days, api=api, app_id=app)
    show_table(f"Usage of {team} by UTC day", ("day", "api", "app_id", "quantity"), day_rows(found))
    fresh = found.freshness
    complete = format_instant(fresh.complete_through) if fresh.complete_through else "not known"
    errors.print(f"Complete through: {complete}; through batch {fresh.through_batch}.", markup=False)
