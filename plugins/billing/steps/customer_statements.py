"""A team's month for its customer: balances, usage by day, units by source, what was issued; as PDF and one HTML file
(rules 6.6, 8.1, 8.2).

Put together from the books at the month's end, whatever has come since: what a closed cycle holds is told as it was
closed, what is open as it is known now, and said to be so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache, partial
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Row, select

from billing.core.customer_statement import ApiUsage, AppUsage, CustomerStatement, IssuedDocument, PeriodUnits
from billing.core.cycles import CycleSpan, first_start_us
from billing.core.errors import DataRefused, NotFound
from billing.core.frames import rows
from billing.core.instants import day_number, from_day, from_us, to_us
from billing.core.issuing import ApiFacts, Facts, api_facts
from billing.core.model import ApiBilling, Balance, InvoiceType, ParkedReason, StatementLine
from billing.core.months import Month
from billing.core.quantity import decimal_of_micro
from billing.core.reference import Reference
from billing.core.terms import Terms, subscriptions_of
from billing.core.usage_views import Freshness, UsageSeries, oldest_month
from billing.documents.errors import DocumentFailed
from billing.documents.renderer import Renderer
from billing.steps.books_at import Books, books_at
from billing.steps.progress import Progress, silent
from billing.steps.reference import demanded_load, reference_at
from billing.steps.render import DEFAULT_THEME
from billing.steps.statements import rated_line, told_balances
from billing.store.home import Home
from billing.store.invoices import from_minor
from billing.store.ledger import ISSUED
from billing.store.tables import carry, credit_notes, cycles, draws, invoices
from billing.store.usage_months import freshness, month_series, read_view

_TEAMS_AT_ONCE = 500
_NAME_MAX = 120
_Key = tuple[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class StatementsWritten:
    """How many teams' statements were written, each as two files; ``failed`` are teams without a PDF, and why."""

    written: int
    failed: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """What the statements of some teams need beside the books, read at once."""

    cycles: Mapping[str, Sequence[Row[Any]]]
    carry: Mapping[_Key, Sequence[Any]]
    draws: Mapping[_Key, Sequence[Any]]
    issued: Mapping[str, Sequence[IssuedDocument]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Told:
    """What all statements of a month have in common. ``apis_at``: what was known of APIs at a load."""

    month: Month
    until_us: int
    books: Books
    terms: Terms
    facts: Facts
    apis_at: Callable[[int], Mapping[str, ApiFacts]]
    app_names: Mapping[str, str]
    freshness: Freshness
    open: Mapping[str, Sequence[CycleSpan]]
    carry: Mapping[_Key, Sequence[Any]]
    draws: Mapping[_Key, Sequence[Any]]


def statements_of(
    home: Home, month: Month, now: datetime, teams: Sequence[str] | None = None
) -> Iterator[CustomerStatement]:
    """The statements of a month for some teams, or for all that had a subscription by its end, in the order of ids.

    Raises ``DataRefused`` for a month that has not begun at ``now``, or is older than 24 months; ``NotFound`` for a
    team that is not known.
    """
    _demand_shown(month, now)
    with home.database.read() as connection:
        load_no = demanded_load(connection)
        until_us = min(month.end_us("UTC"), to_us(now))
        reference = reference_at(home, load_no)
        chosen = _chosen(reference, until_us, teams)
        limit = None if teams is None else _drawing_with(connection, reference, chosen)
        books = books_at(home, connection, until_us, limit)
        told = _Told(
            month=month,
            until_us=until_us,
            books=books,
            terms=Terms.from_reference(reference, chosen),
            facts=Facts.from_reference(reference),
            apis_at=cache(partial(_apis_at, home)),
            app_names=dict(zip(reference["apps"]["app_id"], reference["apps"]["name"], strict=True)),
            freshness=freshness(connection, read_view(connection)),
            open=_open_cycles(books),
            carry=_by(rows(books.carry), _cycle_key),
            draws=_by(rows(books.draws), _cycle_key),
        )
        for low in range(0, len(chosen), _TEAMS_AT_ONCE):
            some = chosen[low : low + _TEAMS_AT_ONCE]
            found = _read(connection, month, until_us, some)
            for team_id in some:
                yield _statement(connection, told, found, team_id)


def write_statements(
    home: Home,
    month: Month,
    now: datetime,
    folder: Path,
    templates: Path,
    *,
    teams: Sequence[str] | None = None,
    theme: str = DEFAULT_THEME,
    progress: Progress = silent,
) -> StatementsWritten:
    """Write each statement into ``folder`` as PDF and as one HTML file. A PDF that fails stops no other."""
    renderer, written = Renderer.open(templates, theme), 0
    failed: list[tuple[str, str]] = []
    folder.mkdir(parents=True, exist_ok=True)
    for done, statement in enumerate(statements_of(home, month, now, teams)):
        progress("statements", done, 0)
        place = folder / file_name(statement.team_id, month)
        place.with_name(f"{place.name}.html").write_text(renderer.customer_statement_html(statement), "utf-8")
        try:
            pdf = renderer.render_customer_statement(statement)
        except DocumentFailed as problem:
            failed.append((statement.team_id, str(problem)))
            continue
        place.with_name(f"{place.name}.pdf").write_bytes(pdf)
        written += 1
    return StatementsWritten(written=written, failed=tuple(failed))


def file_name(team_id: str, month: Month) -> str:
    """What a statement's files are called, without suffix: an id that is no name of a file is written with %."""
    name = quote(team_id, safe="")
    if len(name) > _NAME_MAX:
        name = f"{name[:_NAME_MAX]}-{sha256(team_id.encode()).hexdigest()[:16]}"
    return f"statement-{name}-{month}"


def _demand_shown(month: Month, now: datetime) -> None:
    if month.start_us("UTC") >= to_us(now):
        raise DataRefused(f"{month} has not begun in UTC.")
    if month < (oldest := oldest_month(now.date())):
        raise DataRefused(f"Usage is shown for 24 months back, from {oldest} on; {month} is older.")


def _chosen(reference: Reference, until_us: int, teams: Sequence[str] | None) -> list[str]:
    if teams is None:
        return sorted(t for t, held in subscriptions_of(reference).items() if first_start_us(held) < until_us)
    known = set(reference["teams"]["team_id"])
    for team_id in teams:
        if team_id not in known:
            raise NotFound(f"There is no team {team_id!r} in the newest reference data.")
    return list(teams)


def _drawing_with(connection: Connection, reference: Reference, teams: Sequence[str]) -> Collection[str]:
    """The teams, and all that ever drew on a subscription of theirs: it may have been another's once."""
    held = [s.subscription_id for team in teams for s in subscriptions_of(reference).get(team, ())]
    query = select(draws.c.team_id).where(draws.c.subscription_id.in_(held)).distinct()
    return {*teams, *connection.execute(query).scalars()}


def _read(connection: Connection, month: Month, until_us: int, teams: Sequence[str]) -> _Read:
    touched = (cycles.c.cycle_start_us < until_us, cycles.c.cycle_end_us > month.start_us("UTC"))
    query = select(cycles).where(cycles.c.team_id.in_(teams), cycles.c.state == ISSUED, *touched)
    found = _by(connection.execute(query.order_by(cycles.c.cycle_start_us)), lambda row: row.team_id)
    starts = [row.cycle_start_us for mine in found.values() for row in mine]
    since = min(starts, default=until_us)
    kept = {}
    for table in (carry, draws):
        mine = table.c.team_id.in_(teams), table.c.cycle_start_us >= since, table.c.cycle_start_us < until_us
        kept[table.name] = _by(connection.execute(select(table).where(*mine)), _cycle_key)
    return _Read(cycles=found, carry=kept["carry"], draws=kept["draws"], issued=_issued(connection, month, teams))


def _apis_at(home: Home, load_no: int) -> Mapping[str, ApiFacts]:
    reference = reference_at(home, load_no)
    return api_facts(rows(reference["apis"]), rows(reference["unit_rates"]))


def _by(found: Any, key: Any) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for row in found:
        groups[key(row)].append(row)
    return groups


def _cycle_key(row: Any) -> _Key:
    return row.team_id, int(row.cycle_start_us)


def _statement(connection: Connection, told: _Told, found: _Read, team_id: str) -> CustomerStatement:
    periods = sorted((*_closed(told, found, team_id), *_open(told, team_id)), key=lambda one: one.cycle.start)
    parties = told.facts.parties
    seller = parties.seller
    return CustomerStatement(
        month=told.month,
        until=from_us(told.until_us),
        seller=seller,
        customer=parties.customer(parties.customer_by_team[team_id]),
        team_id=team_id,
        team_name=parties.team_name[team_id],
        time_zone=periods[-1].cycle.time_zone if periods else seller.time_zone,
        complete_through=told.freshness.complete_through,
        balances=tuple(_balances(told, team_id)),
        usage=_usage(told, month_series(connection, team_id, told.month)),
        periods=tuple(periods),
        issued=tuple(found.issued.get(team_id, ())),
    )


def _closed(told: _Told, found: _Read, team_id: str) -> Iterator[PeriodUnits]:
    for row in found.cycles.get(team_id, ()):
        cycle = CycleSpan(row.cycle_start_us, row.cycle_end_us, row.time_zone, row.payg_subscription_id or None)
        key = (team_id, row.cycle_start_us)
        lines = _lines(found.carry.get(key, ()), found.draws.get(key, ()), cycle, told.apis_at(row.pinned_load))
        yield PeriodUnits(cycle=cycle.describe(), is_closed=True, lines=lines)


def _open_cycles(books: Books) -> Mapping[str, Sequence[CycleSpan]]:
    """By team, those that are not closed."""
    cut = ((team_id, one.cycle) for (team_id, _), one in books.cut.items() if not one.is_closed)
    over = ((team_id, cycle) for (team_id, _), cycle in books.not_closed.items())
    found: dict[str, list[CycleSpan]] = defaultdict(list)
    for team_id, cycle in (*over, *cut):
        found[team_id].append(cycle)
    return found


def _open(told: _Told, team_id: str) -> Iterator[PeriodUnits]:
    """Cycles that are not closed, as they are known now up to the statement's instant."""
    for cycle in told.open.get(team_id, ()):
        if cycle.end_us <= told.month.start_us("UTC"):
            continue
        key = (team_id, cycle.start_us)
        reasons = [t.reason for t in told.books.troubles if (t.team_id, t.cycle_start_us) == key]
        yield PeriodUnits(
            cycle=cycle.describe(),
            is_closed=False,
            lines=_lines(told.carry.get(key, ()), told.draws.get(key, ()), cycle, told.facts.apis),
            trouble=min(reasons, key=list(ParkedReason).index, default=None),
        )


def _lines(
    carried: Sequence[Any], drawn: Sequence[Any], cycle: CycleSpan, apis: Mapping[str, ApiFacts]
) -> tuple[StatementLine, ...]:
    """Of rated APIs, in their order."""
    rated = sorted((row for row in carried if row.billing == ApiBilling.RATED), key=lambda row: row.api)
    return tuple(rated_line(row, drawn, cycle, apis[row.api]) for row in rated)


def _balances(told: _Told, team_id: str) -> Iterator[Balance]:
    """At the last instant: what is refreshed at the end is told as it was before."""
    team = told.terms.teams.get(team_id)
    if team is not None:
        yield from told_balances(team_id, team, told.books.used, told.until_us - 1, told.facts.apis)


def _usage(told: _Told, series: Sequence[UsageSeries]) -> tuple[ApiUsage, ...]:
    return tuple(
        ApiUsage(
            api=api,
            api_name=told.facts.apis[api].name if api in told.facts.apis else api,
            usage_unit=told.facts.apis[api].usage_unit if api in told.facts.apis else "",
            apps=tuple(
                AppUsage(
                    app_id=one.app_id,
                    app_name=told.app_names.get(one.app_id, ""),
                    quantities=tuple(map(decimal_of_micro, one.quantities_micro)),
                )
                for one in mine
            ),
        )
        for api, mine in ((api, list(group)) for api, group in groupby(series, key=lambda one: one.api))
    )


def _issued(connection: Connection, month: Month, teams: Sequence[str]) -> dict[str, list[IssuedDocument]]:
    """What was issued in the month by its date, invoices before credit notes."""
    low, high = day_number(month.first_day), day_number(month.next.first_day)
    cycle = (cycles.c.cycle_end_us, cycles.c.time_zone, cycles.c.payg_subscription_id)
    own = (cycles.c.team_id == invoices.c.team_id) & (cycles.c.cycle_start_us == invoices.c.cycle_start_us)
    heads = (invoices.c.team_id, invoices.c.cycle_start_us, invoices.c.currency, *cycle)
    found: dict[str, list[IssuedDocument]] = defaultdict(list)
    for table, kind in ((invoices, InvoiceType.INVOICE), (credit_notes, InvoiceType.CREDIT_NOTE)):
        source = invoices.join(cycles, own)
        if table is credit_notes:
            source = source.join(credit_notes, credit_notes.c.invoice_number == invoices.c.number)
        amounts = (table.c.number, table.c.issue_day, table.c.net_minor, table.c.tax_minor, table.c.total_minor)
        days = (table.c.issue_day >= low, table.c.issue_day < high)
        query = select(*heads, *amounts).select_from(source).where(invoices.c.team_id.in_(teams), *days)
        for row in connection.execute(query.order_by(table.c.year, table.c.prefix, table.c.sequence)):
            found[row.team_id].append(_document(row, kind))
    return found


def _document(row: Any, kind: InvoiceType) -> IssuedDocument:
    sign = -1 if kind is InvoiceType.CREDIT_NOTE else 1
    net, tax, total = (
        sign * from_minor(minor, row.currency) for minor in (row.net_minor, row.tax_minor, row.total_minor)
    )
    span = CycleSpan(row.cycle_start_us, row.cycle_end_us, row.time_zone, row.payg_subscription_id or None)
    return IssuedDocument(
        number=row.number,
        type=kind,
        issue_date=from_day(row.issue_day),
        cycle=span.describe(),
        currency=row.currency,
        net=Decimal(net),
        tax=Decimal(tax),
        total=Decimal(total),
    )
