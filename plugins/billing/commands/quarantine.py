"""``billing usage quarantine``: what could not be billed, why, and again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from billing.commands.terminal import opened_home, parse_day_number, parse_instant, progress_shown, show_table
from billing.core.instants import format_instant

if TYPE_CHECKING:
    from billing.steps.replay import Foreseen
    from billing.store.quarantine import Selection

quarantine_app = typer.Typer(help="Records that could not be billed.", no_args_is_help=True)


Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Only this reason.")]


Batches = Annotated[list[int] | None, typer.Option("--batch", help="Only this batch.")]


Sources = Annotated[list[str] | None, typer.Option("--source", help="Only what this source delivered.")]


Ids = Annotated[list[str] | None, typer.Option("--id", help="Only this event id.")]


Apps = Annotated[list[str] | None, typer.Option("--app", help="Only this app.")]


Apis = Annotated[list[str] | None, typer.Option("--api", help="Only this API.")]


Days = Annotated[
    list[int] | None,
    typer.Option("--day", parser=parse_day_number, metavar="YYYY-MM-DD", help="Only what occurred on this UTC day."),
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
    with opened_home(context) as (home, _):
        found = list_quarantine(home, chosen, limit=limit)
    rows = (
        (str(q.batch_no), q.file, str(q.line), q.reason, str(q.place), q.source)
        + (q.event_id, q.app_id, q.api, q.day, q.ending or "waiting", q.raw)
        for q in found
    )
    show_table("Quarantine", QUARANTINED, (tuple(map(printable, row)) for row in rows))


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
    with opened_home(context) as (home, _):
        found = count_quarantine(home, names, chosen)
    show_table("Quarantine", (*names, "records"), ((*map(printable, values), str(count)) for values, count in found))


@quarantine_app.command("show")
def quarantine_show(
    context: typer.Context,
    record: Annotated[str, typer.Argument(metavar="BATCH:FILE:LINE", help="As `list` shows it.")],
    now: Annotated[
        datetime | None,
        typer.Option(parser=parse_instant, metavar="INSTANT", help="What would happen then. Default: at this moment."),
    ] = None,
) -> None:
    """One record: its raw text, where it stood, what would become of it now, and its history across replays."""
    from billing.steps.quarantine import printable, select_records, show

    (place,) = select_records(places=[record]).places
    with opened_home(context) as (home, _):
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
            parser=parse_instant, metavar="INSTANT", help="What occurred later is in the future. Default: now."
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
    with opened_home(context) as (home, settings), progress_shown() as progress:
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
        show_table("If replayed now", ("record", "file", "reason", "outcome"), cells)
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
    with opened_home(context) as (home, _):
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
