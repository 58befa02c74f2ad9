"""A team's month as strings, for its customer: on paper and as a page. Formats; never computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from decimal import Decimal

from babel import numbers

from billing.core.customer_statement import ApiUsage, AppUsage, CustomerStatement, IssuedDocument, PeriodUnits
from billing.core.model import Balance, InvoiceType
from billing.documents.charts.usage import CHARTED_MAX, Bars, Panel, UsageChart
from billing.documents.run_summary_view import reason_name
from billing.documents.statement_view import (
    available_text,
    balance_end,
    balance_name,
    usage_notes,
    usage_table,
)
from billing.documents.tables import PAGE_MM, TableView, columns, table_view
from billing.documents.texts import Texts, isolated
from billing.documents.theme import Theme
from billing.documents.view import PageView, PartyView, buyer_view, days_text, page_view, party_view

APPS_MAX = 200
"""How many apps of an API have a row of their own: the largest ones."""
_APIS_A_TABLE = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class BalanceView:
    """A balance: ``140 of 150`` available, and the share of it that is left, in whole per cent."""

    name: str
    ends: str
    available: str
    left_percent: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PeriodView:
    """A billing period that the month touches; ``state`` says what is provisional, blank where it is closed."""

    title: str
    state: str
    table: TableView | None
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CustomerStatementView:
    """What the templates show. ``number`` stands below the title: the team and the month. ``days`` are tables of usage
    by UTC day, some APIs each.
    """

    lang: str
    title: str
    kind: str
    number: str
    seller: PartyView
    buyer: PartyView
    facts: tuple[tuple[str, str], ...]
    freshness: str
    balances_title: str
    balances: tuple[BalanceView, ...]
    balance_table: TableView
    no_balances: str
    usage_title: str
    no_usage: str
    more: str
    days: tuple[TableView, ...]
    apps: TableView | None
    periods: tuple[PeriodView, ...]
    issued_title: str
    issued: TableView | None
    nothing_issued: str
    notes: tuple[str, ...]
    footer: str
    page: PageView


def customer_statement_view(statement: CustomerStatement, texts: Texts, theme: Theme) -> CustomerStatementView:
    """The view of one statement in one language."""
    kind, month = texts("Usage and balances"), texts.month(statement.month.first_day)
    team = isolated(statement.team_name or statement.team_id)
    title = f"{kind}: {team}, {month}"
    words = theme.texts(texts.language)
    return CustomerStatementView(
        lang=texts.language,
        title=title,
        kind=kind,
        number=f"{team} · {month}",
        seller=party_view(statement.seller, texts),
        buyer=buyer_view(statement.customer, texts),
        facts=_facts(statement, texts),
        freshness=_freshness(statement, texts),
        balances_title=_balances_title(statement, texts),
        balances=tuple(_balance(one, statement, texts) for one in statement.balances),
        balance_table=_balance_table(statement, texts),
        no_balances=texts("No balance was valid then."),
        usage_title=texts("Usage by UTC day"),
        no_usage=texts("Nothing was used."),
        more=_more(statement, texts),
        days=tuple(_day_tables(statement, texts)),
        apps=_apps(statement, texts),
        periods=tuple(_period(one, _until(statement, texts), texts, theme) for one in statement.periods),
        issued_title=texts("Issued in this month"),
        issued=_issued(statement.issued, texts),
        nothing_issued=texts("Nothing was issued."),
        notes=(
            texts(
                "Usage is shown by days in UTC; periods and balances end by days in %(zone)s.", zone=statement.time_zone
            ),
        ),
        footer=" · ".join(text for text in (statement.seller.legal_name, title, words.footer) if text),
        page=page_view(texts),
    )


def usage_chart(statement: CustomerStatement, texts: Texts) -> UsageChart | None:
    """Usage of the first APIs by day, stacked by app; None where nothing was used."""
    if not statement.usage:
        return None
    shown = statement.usage[:CHARTED_MAX]
    first = statement.month.first_day
    days = (statement.month.next.first_day - first).days
    span = {"first": texts.day(first), "last": texts.day(statement.month.last_day)}
    symbols = {"locale": texts.locale}
    return UsageChart(
        title=texts("Usage by UTC day, %(first)s – %(last)s", **span),
        description=texts("Bars of the usage of each UTC day: %(apis)s", apis=", ".join(_api(one) for one in shown)),
        panels=[
            Panel(
                title=_with_unit(one),
                bars=[Bars(name=_app(app, texts), quantities=[float(q) for q in app.quantities]) for app in one.apps],
            )
            for one in shown
        ],
        days=[str(number) for number in range(1, days + 1)],
        other=texts("Other apps"),
        decimal=numbers.get_decimal_symbol(**symbols),
        thousands=numbers.get_group_symbol(**symbols),
    )


def _facts(statement: CustomerStatement, texts: Texts) -> tuple[tuple[str, str], ...]:
    facts = [(texts("Month"), texts.month(statement.month.first_day)), (texts("Team"), _team(statement))]
    if not statement.is_over:
        facts.append((texts("As of"), _until(statement, texts)))
    return tuple(facts)


def _team(statement: CustomerStatement) -> str:
    name = isolated(statement.team_name or statement.team_id)
    return name if name == isolated(statement.team_id) else f"{name} ({isolated(statement.team_id)})"


def _until(statement: CustomerStatement, texts: Texts) -> str:
    return f"{texts.minute(statement.until.astimezone(UTC))} UTC"


def _freshness(statement: CustomerStatement, texts: Texts) -> str:
    if statement.is_over and statement.is_complete:
        return texts("Usage of this month is complete.")
    if statement.complete_through is None:
        return texts("Usage is not known to be complete through any instant.")
    through = min(statement.complete_through, statement.until).astimezone(UTC)
    return texts("Usage is complete through %(instant)s.", instant=f"{texts.minute(through)} UTC")


def _balances_title(statement: CustomerStatement, texts: Texts) -> str:
    if statement.is_over:
        return texts("Balances at the end of the month")
    return texts("Balances as of %(instant)s", instant=_until(statement, texts))


def _balance(one: Balance, statement: CustomerStatement, texts: Texts) -> BalanceView:
    return BalanceView(
        name=balance_name(one, texts),
        ends=balance_end(one, statement.time_zone, texts),
        available=texts("%(share)s available", share=available_text(one, texts)),
        left_percent=int(one.available * 100 // one.granted) if one.granted else 0,
    )


def _balance_table(statement: CustomerStatement, texts: Texts) -> TableView:
    heads = (texts("Balance"), texts("Ends or refreshes"), texts("Available of granted"))
    rows = [
        (balance_name(one, texts), balance_end(one, statement.time_zone, texts), available_text(one, texts))
        for one in statement.balances
    ]
    return table_view(_balances_title(statement, texts), heads, rows)


def _day_tables(statement: CustomerStatement, texts: Texts) -> Iterator[TableView]:
    """A row a day up to the statement's instant, and their total; as many tables as there are APIs for."""
    last = min(statement.month.last_day, statement.until.astimezone(UTC).date())
    days = (last - statement.month.first_day).days + 1
    for low in range(0, len(statement.usage), _APIS_A_TABLE):
        some = statement.usage[low : low + _APIS_A_TABLE]
        heads = (texts("Day"), *(_with_unit(one) for one in some))
        found = [one.quantities for one in some]
        rows = [
            (
                texts.short_day(statement.month.first_day + timedelta(days=place)),
                *(texts.decimal(mine[place]) if mine[place] else "–" for mine in found),
            )
            for place in range(days)
        ]
        rows.append((texts("Total of the month"), *(texts.decimal(one.total) for one in some)))
        fitted = columns(heads, rows, texts=1, page_mm=PAGE_MM, text_min_mm=32)
        yield TableView(title=texts("Usage by UTC day"), heads=heads, rows=tuple(rows), columns=fitted)


def _apps(statement: CustomerStatement, texts: Texts) -> TableView | None:
    heads = (texts("App"), texts("API"), texts("Usage"))
    rows = [row for api in statement.usage for row in _app_rows(api, texts)]
    return table_view(texts("Usage by app"), heads, rows) if rows else None


def _app_rows(api: ApiUsage, texts: Texts) -> Iterator[tuple[str, str, str]]:
    """The largest apps first; those that have no row of their own are one together."""
    ordered = sorted(api.apps, key=lambda app: (-app.total, app.app_id))
    for app in ordered[:APPS_MAX]:
        yield _app(app, texts), _with_unit(api), texts.decimal(app.total)
    if left := ordered[APPS_MAX:]:
        name = texts("%(label)s: %(value)s", label=texts("Other apps"), value=texts.decimal(len(left)))
        yield name, _with_unit(api), texts.decimal(sum((app.total for app in left), Decimal(0)))


def _period(one: PeriodUnits, until: str, texts: Texts, theme: Theme) -> PeriodView:
    title = texts("Billing period %(days)s (%(zone)s)", days=days_text(one.cycle, texts), zone=one.cycle.time_zone)
    told = texts(
        "Not closed yet: these are its figures up to %(instant)s, and they can change until it is closed.",
        instant=until,
    )
    state = "" if one.is_closed else told
    if one.trouble is not None:
        state += " " + texts("It cannot be charged yet: %(reason)s.", reason=reason_name(one.trouble, texts))
    return PeriodView(
        title=title,
        state=state,
        table=usage_table(one.lines, texts) if one.lines else None,
        notes=usage_notes(one.lines, texts, theme) if one.lines else (texts("Nothing was used."),),
    )


def _issued(issued: Sequence[IssuedDocument], texts: Texts) -> TableView | None:
    heads = (texts("Number"), texts("Period"), texts("Issue date"), texts("Net"), texts("VAT"), texts("Total"))
    rows = [
        (
            one.number if one.type is InvoiceType.INVOICE else texts("Credit note %(number)s", number=one.number),
            days_text(one.cycle, texts),
            texts.day(one.issue_date),
            texts.money(one.net, one.currency),
            texts.money(one.tax, one.currency),
            texts.money(one.total, one.currency),
        )
        for one in issued
    ]
    return table_view(texts("Issued in this month"), heads, rows, text_min_mm=86) if rows else None


def _more(statement: CustomerStatement, texts: Texts) -> str:
    if len(statement.usage) <= CHARTED_MAX:
        return ""
    counts = {"shown": texts.decimal(CHARTED_MAX), "all": texts.decimal(len(statement.usage))}
    return texts("The first %(shown)s of %(all)s APIs are drawn.", **counts)


def _api(one: ApiUsage) -> str:
    return isolated(one.api_name or one.api)


def _with_unit(one: ApiUsage) -> str:
    return f"{_api(one)} ({one.usage_unit.replace('_', ' ')})" if one.usage_unit else _api(one)


def _app(app: AppUsage, texts: Texts) -> str:
    if not app.app_id:
        return texts("without an app")
    name = isolated(app.app_name or app.app_id)
    return name if app.app_name in ("", app.app_id) else f"{name} ({isolated(app.app_id)})"
