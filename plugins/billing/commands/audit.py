"""``billing audit``: closed cycles again, traces, the log, the laws, SQL."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from billing.commands.terminal import errors, opened_home, parse_instant, progress_shown, show_table
from billing.core.errors import UsageError
from billing.core.instants import format_us
from billing.core.quantity import format_micro

if TYPE_CHECKING:
    from billing.settings.settings import Settings
    from billing.steps.audit.choosing import Choice
    from billing.steps.audit.heads import Heads
    from billing.steps.audit.page import Asked
    from billing.steps.audit.report import Outcome
    from billing.steps.audit.trace import Place, TracedEvent

RENDERER_STATUS = 3

audit_app = typer.Typer(help="Prove what was billed: closed cycles again, the log, the laws.", no_args_is_help=True)


@audit_app.command("rerun")
def audit_rerun(
    context: typer.Context,
    what: Annotated[
        list[str] | None, typer.Argument(metavar="[INVOICE | TEAM [CYCLE]]", help="CYCLE: the instant it begins at.")
    ] = None,
    ended_from: Annotated[
        datetime | None,
        typer.Option("--from", parser=parse_instant, metavar="INSTANT", help="Cycles that ended from then on."),
    ] = None,
    ended_before: Annotated[
        datetime | None,
        typer.Option("--to", parser=parse_instant, metavar="INSTANT", help="Cycles that ended before then."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every closed cycle.")] = False,
    documents: Annotated[bool, typer.Option("--documents/--no-documents", help="Make XML and PDF again, too.")] = True,
    from_genesis: Annotated[
        bool,
        typer.Option(
            "--from-genesis", help="Trust no stored attribution and no opening: begin with the archived source bytes."
        ),
    ] = False,
    as_known_now: Annotated[
        bool, typer.Option("--as-known-now", help="Show what today's knowledge would change, and by how much.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write every comparison into this file.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a report for people into this file.")
    ] = None,
) -> None:
    """Rate closed cycles again from what their close had pinned, and compare every figure and document.

    Nothing is changed. Ends with 0 where all is equal, with 1 where anything differs, with 3 where only the renderer
    does: a document of the same text, whose bytes other versions have made.
    """
    from billing.steps.audit.comparing import Verdict
    from billing.steps.audit.genesis import genesis
    from billing.steps.audit.page import REPORTED, leave_page
    from billing.steps.audit.report import take
    from billing.steps.audit.rerun import rerun

    if from_genesis and as_known_now:
        raise UsageError("Either --from-genesis or --as-known-now: what was known then, or what is known now.")
    choice = _choice(what or [], ended_from, ended_before, everything)
    if as_known_now:
        _as_known_now(context, choice, out, page)
        return
    again = genesis if from_genesis else rerun
    with opened_home(context) as (home, settings), progress_shown() as progress:
        found = take(again(home, choice, documents=documents, progress=progress), out, REPORTED)
        if page is not None:
            asked = _asked(choice, documents=documents, from_genesis=from_genesis)
            leave_page(home, page, asked, found, settings, csv=out.name if out else "")
    _show(found)
    if found.count(Verdict.DIFFERS):
        raise typer.Exit(1)
    if found.count(Verdict.RENDERER):
        raise typer.Exit(RENDERER_STATUS)


def _as_known_now(context: typer.Context, choice: Choice, out: Path | None, page: Path | None) -> None:
    from billing.steps.audit.comparing import Verdict
    from billing.steps.audit.known_now import known_now
    from billing.steps.audit.page import REPORTED, leave_page, money_rows
    from billing.steps.audit.report import take

    with opened_home(context) as (home, settings):
        comparisons = known_now(home, choice)
        money, found = money_rows(comparisons), take(comparisons, out, REPORTED)
        if page is not None:
            asked = _asked(choice, documents=False, as_known_now=True)
            leave_page(home, page, asked, found, settings, money, csv=out.name if out else "")
    show_table("Invoices, as known now", ("team_id", "currency", "billed", "would_be", "difference"), money)
    _show_different(found)
    if found.count(Verdict.DIFFERS):
        raise typer.Exit(1)


def _asked(choice: Choice, *, documents: bool, from_genesis: bool = False, as_known_now: bool = False) -> Asked:
    """Asked for here and now, by this machine's user."""
    from billing.steps.audit.page import Asked
    from billing.steps.origin import user

    kinds = {"documents": documents, "from_genesis": from_genesis, "as_known_now": as_known_now}
    return Asked(choice=choice, **kinds, by=user(), at=datetime.now(UTC))


def _choice(what: list[str], ended_from: datetime | None, ended_before: datetime | None, everything: bool) -> Choice:
    from billing.steps.audit.choosing import Choice

    if len(what) > 2:
        raise UsageError("Name an invoice, or a team, or a team and the start of its cycle.")
    name, start = what[0] if what else None, parse_instant(what[1]) if len(what) == 2 else None
    return Choice.asked(name, start, ended_from, ended_before, everything)


def _show(found: Outcome) -> None:
    from billing.steps.audit.comparing import Verdict

    kinds = dict.fromkeys(what for what, _ in found.counts)
    show_table(
        "Compared",
        ("what", *(verdict.value for verdict in Verdict)),
        [(what, *(str(found.counts.get((what, verdict), 0)) for verdict in Verdict)) for what in kinds],
    )
    _show_different(found)


def _show_different(found: Outcome) -> None:
    from billing.steps.audit.report import SHOWN, as_cells

    for one in found.different[:SHOWN]:
        what, team_id, start, key, field, stored, again, verdict = as_cells(one)
        said = f"stored {stored or 'nothing'}, again {again or 'nothing'}"
        whose = f" of team {team_id}, cycle of {start}" if team_id else ""
        where = f"{what} {key}{whose}, {field}"
        errors.print(f"{verdict}: {where}: {said}", markup=False, soft_wrap=True)


@audit_app.command("usage-days")
def audit_usage_days(context: typer.Context) -> None:
    """Compare usage by day, as it is shown, with the usage table, row by row.

    Ends with 1 where anything differs; `billing usage days --rebuild` derives it again.
    """
    from billing.steps.usage_views import views_that_differ

    with opened_home(context) as (home, _), progress_shown() as progress:
        found = list(views_that_differ(home, datetime.now(UTC), progress))
    rows = ((str(d.month), d.team_id, d.api, d.app_id, _days(d.kept_micro), _days(d.derived_micro)) for d in found)
    show_table("Usage by day", ("month", "team_id", "api", "app_id", "kept", "derived"), rows)
    if found:
        errors.print(f"{len(found)} rows differ. Derive them again: billing usage days --rebuild", markup=False)
        raise typer.Exit(1)


def _days(quantities: tuple[int, ...] | None) -> str:
    return "" if quantities is None else " ".join(map(format_micro, quantities))


@audit_app.command("log")
def audit_log(
    context: typer.Context,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="HEAD|FOLDER|URL",
            help="A head that was kept elsewhere, or a place that holds such heads: the log must still hold them.",
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the head where `[audit]` of billing.toml says, as the DAG does daily.")
    ] = False,
    files: Annotated[
        bool, typer.Option("--files/--no-files", help="Read the archived files that it names, too: all of them.")
    ] = True,
) -> None:
    """Verify the hash-chained log and print its head: keep that where nobody who can write here can write."""
    from billing.steps.audit.chain import Head, verify_log
    from billing.steps.audit.heads import demand_some, keep_head, verify_kept
    from billing.steps.audit.logged import demand_files

    with opened_home(context) as (home, settings):
        if keep:
            if settings.audit is None:
                raise UsageError(f"{settings.home / 'billing.toml'} has no [audit] that says where heads are kept.")
            head, is_new = keep_head(home, _heads(settings, settings.audit.heads), datetime.now(UTC))
            said = f"It is kept in {settings.audit.heads}" + ("." if is_new else ", as before.")
        elif against and ("://" in against or Path(against).is_dir()):
            heads = _heads(settings, against)
            head, kept = verify_kept(home, heads)
            demand_some(heads, kept)
            said = f"The log holds all {len(kept)} heads in {against}, {min(kept)} to {max(kept)}."
        else:
            head = verify_log(home, one := Head.parse(against) if against else None)
            said = f"The log holds {one}." if one else ""
        if files:
            demand_files(home)
    typer.echo(f"{head.seq} rows hang together. Head: {head}")
    if said:
        typer.echo(said)


def _heads(settings: Settings, location: str) -> Heads:
    """A place of heads; the connection of the settings is for the place that they name."""
    from billing import connections
    from billing.steps.audit.heads import Heads

    is_ours = settings.audit is not None and settings.audit.heads == location
    return Heads.at(location, settings.audit.connection if settings.audit and is_ours else "", connections)


@audit_app.command("usage")
def audit_usage(context: typer.Context) -> None:
    """Compare the digest of every batch's usage with the one that the log keeps. Ends with 1 where one differs."""
    from billing.steps.audit.batches import usage_beside_the_log
    from billing.steps.audit.comparing import Verdict
    from billing.steps.audit.report import take

    with opened_home(context) as (home, _):
        found = take(usage_beside_the_log(home))
    _show(found)
    if found.count(Verdict.DIFFERS):
        raise typer.Exit(1)


@audit_app.command("laws")
def audit_laws(context: typer.Context) -> None:
    """Run every law of the books (`sql/checks`) and compare the control totals. Ends with 1 where one is broken."""
    from billing.steps.ledger_checks import look

    with opened_home(context) as (home, settings):
        laws, totals = look(home, settings.sql / "checks")
    rows = [(law.name, "holds" if not law.violations else "BROKEN", law.says) for law in laws]
    rows += [(total.name, "holds" if total.left == total.right else "BROKEN", total.says) for total in totals]
    show_table("Laws", ("law", "state", "says"), rows)
    for law in laws:
        for row in law.rows:
            errors.print(f"{law.name}: {row}", markup=False, soft_wrap=True)
    for total in totals:
        if total.left != total.right:
            errors.print(f"{total.name}: {total.left} and {total.right}", markup=False, soft_wrap=True)
    if any(state == "BROKEN" for _, state, _ in rows):
        raise typer.Exit(1)


@audit_app.command("sql")
def audit_sql(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A query; `sql/audit/` has some.")],
) -> None:
    """Run SQL over everything: every table of the database, and `usage`, the accepted events. Changes nothing."""
    from billing.steps.audit.sql import run_sql

    with opened_home(context) as (home, _):
        found = run_sql(home, file.read_text("utf-8"))
    show_table(file.name, found.columns, [["" if cell is None else str(cell) for cell in row] for row in found.rows])


@audit_app.command("trace")
def audit_trace(
    context: typer.Context,
    number: Annotated[str | None, typer.Argument(metavar="[INVOICE]")] = None,
    line: Annotated[int | None, typer.Option(help="One line of it; all unless given.")] = None,
    event: Annotated[str | None, typer.Option(metavar="ID", help="Where an event was billed or quarantined.")] = None,
) -> None:
    """List the events behind an invoice's lines, in the order in which they completed units; or find an event."""
    from billing.steps.audit.trace import trace, whereabouts

    if (number is None) == (event is None):
        raise UsageError("Name an invoice, or an event by --event.")
    with opened_home(context) as (home, _):
        if event is not None:
            places = [_place(one) for one in whereabouts(home, event)]
            show_table(
                f"Event {event}", ("state", "team_id", "cycle_start", "batch", "file", "record", "detail"), places
            )
            return
        found = trace(home, number or "", line)
    for one in found:
        priced = ", ".join(f"{units} on line {line_no}" for line_no, units in one.lines)
        opening, closing = format_micro(one.opening_micro), format_micro(one.closing_micro)
        errors.print(
            f"{one.api}: {opening} carried over, {len(one.events)} events, {one.charged_units} units ({priced}), "
            f"{closing} carried on",
            markup=False,
            soft_wrap=True,
        )
    rows = [(one.api, *_event(each)) for one in found for each in one.events]
    columns = ("api", "event_id", "occurred_at", "app_id", "quantity", "corrects", "late", "units", "carry")
    show_table(f"Events behind {number}", (*columns, "batch", "file", "record"), rows)


@audit_app.command("manifest")
def audit_manifest(
    context: typer.Context,
    kind: Annotated[
        str | None, typer.Argument(metavar="[load|batch|close|credit-note|reissue]", help="What kind of run.")
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="[NUMBER]", help="Which of them.")] = None,
    everything: Annotated[
        Path | None, typer.Option("--all", metavar="FOLDER", file_okay=False, help="Write those of every run there.")
    ] = None,
) -> None:
    """Print what a run took, did and left, and who had it run: JSON, the same bytes at any later time."""
    from billing.steps.audit.manifest import KINDS, file_all, manifest

    if (everything is None) == (name is None) or (kind is not None and kind not in KINDS):
        raise UsageError(f"Name one of {', '.join(KINDS)} and its number, or a folder by --all.")
    with opened_home(context) as (home, _):
        if everything is not None:
            typer.echo(f"{file_all(home, everything)} manifests written to {everything}.")
            return
        typer.echo(manifest(home, kind or "", name or ""), nl=False)


def _place(one: Place) -> tuple[str, ...]:
    start = "" if one.cycle_start_us is None else format_us(one.cycle_start_us)
    return one.state, one.team_id, start, str(one.batch_no), one.file, str(one.record), one.detail


def _event(one: TracedEvent) -> tuple[str, ...]:
    return (
        one.event_id,
        format_us(one.occurred_at_us),
        one.app_id,
        format_micro(one.quantity_micro),
        one.corrects,
        "late" if one.is_late else "",
        str(one.charged_units),
        format_micro(one.carry_micro),
        str(one.batch_no),
        one.file,
        str(one.record),
    )
