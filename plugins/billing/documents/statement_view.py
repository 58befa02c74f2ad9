"""The usage statement of an invoice as strings: what a buyer needs to check it by hand (rules 4.4, 6.6, 8.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing.core.metering import units_by_size
from billing.core.model import SOURCES, UNFUNDED, ApiBilling, Balance, Cycle, Invoice, Kind, StatementLine
from billing.core.zones import zone
from billing.documents.chart import ChartView, chart_view
from billing.documents.tables import TableView, table_view
from billing.documents.texts import Texts, isolated
from billing.documents.theme import Theme
from billing.documents.view import is_credit, period_text, unit_text

_NONE = "–"


@dataclass(frozen=True, kw_only=True, slots=True)
class StatementView:
    """The statement. The last column of ``usage`` is page 1's number of units; ``notes`` say how to check a row."""

    title: str
    about: str
    usage: TableView
    notes: tuple[str, ...]
    chart: ChartView | None
    balances: TableView | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Column:
    """A column of the usage table: its head, and its cell of a rated API and of one that is not rated."""

    head: str
    rated: Callable[[StatementLine], str]
    unrated: Callable[[StatementLine], str] = lambda line: ""


def statement_view(invoice: Invoice, texts: Texts, theme: Theme) -> StatementView | None:
    """The statement of an invoice; None for one that has none, for a credit note, and where the theme shows none."""
    statement = invoice.statement
    if statement is None or is_credit(invoice) or "statement" not in theme.shown:
        return None
    about = (invoice.number, isolated(invoice.team_name or invoice.team_id), period_text(invoice, texts))
    chart = chart_view(statement.daily, invoice.cycle, texts) if "chart" in theme.shown else None
    balances = _balances(statement.balances, invoice.cycle, texts) if "balances" in theme.shown else None
    return StatementView(
        title=texts("Usage statement"),
        about=" · ".join(about),
        usage=usage_table(statement.lines, texts),
        notes=usage_notes(statement.lines, texts, theme),
        chart=chart,
        balances=balances,
    )


def usage_table(lines: Sequence[StatementLine], texts: Texts) -> TableView:
    """How usage became units, a row an API: the columns that occur (rule 6.6)."""
    shown = _columns(lines, texts)
    rows = tuple(
        tuple(column.rated(line) if _is_rated(line) else column.unrated(line) for column in shown) for line in lines
    )
    # A head is not broken at the hyphen of "carry-over".
    heads = [column.head.replace("-", "\N{NON-BREAKING HYPHEN}") for column in shown]
    return table_view(texts("Usage statement"), heads, rows, text_min_mm=48)


def _columns(lines: Sequence[StatementLine], texts: Texts) -> list[_Column]:
    """The columns that occur."""

    def usage(line: StatementLine) -> str:
        return texts.decimal(line.usage)

    def late_usage(line: StatementLine) -> str:
        return _unless_zero(line.late_usage, texts)

    return [
        _Column(head=texts("API"), rated=_name, unrated=_name),
        _Column(
            head=texts("1 unit ="),
            rated=lambda line: unit_text(_sizes(line, texts), line.usage_unit, texts),
            unrated=lambda line: unit_text((), line.usage_unit, texts),
        ),
        _Column(head=texts("Opening carry-over"), rated=lambda line: texts.decimal(line.opening)),
        _Column(head=texts("Usage"), rated=usage, unrated=usage),
        *([_Column(head=texts("of which late"), rated=late_usage, unrated=late_usage)] if _any_late(lines) else []),
        *(_source_column(source, texts) for source in SOURCES if _occurs(source, lines)),
        _Column(head=texts("Closing carry-over"), rated=lambda line: texts.decimal(line.closing)),
        _Column(
            head=texts("Charged units"),
            rated=lambda line: texts.decimal(line.invoiced_units),
            unrated=lambda line: _NONE,
        ),
    ]


def _source_column(source: str, texts: Texts) -> _Column:
    return _Column(
        head=texts("Units: %(source)s", source=_source_name(source, texts)),
        rated=lambda line: _unless_zero(dict(line.units).get(source, 0), texts),
    )


def _unless_zero(value: Decimal | int, texts: Texts) -> str:
    return texts.decimal(value) if value else ""


def _source_name(source: str, texts: Texts) -> str:
    names = {
        Kind.FREE.value: texts("free"),
        Kind.TOKEN_FLEX.value: texts("token flex"),
        Kind.FLEX.value: texts("flex"),
        Kind.PAYG.value: texts("pay as you go"),
        Kind.CAPACITY.value: texts("capacity"),
        UNFUNDED: texts("unfunded"),
    }
    return names[source]


def _name(line: StatementLine) -> str:
    return isolated(line.api_name)


def _is_rated(line: StatementLine) -> bool:
    return line.billing is ApiBilling.RATED


def _any_late(lines: Sequence[StatementLine]) -> bool:
    return any(line.late_usage for line in lines)


def _occurs(source: str, lines: Sequence[StatementLine]) -> bool:
    """Whether a source gave units. What pay as you go gave is the last column, unless another invoice has a part."""
    if source == Kind.PAYG and all(dict(line.units).get(source, 0) == line.invoiced_units for line in lines):
        return False
    return any(units for line in lines for name, units in line.units if name == source)


def _sizes(line: StatementLine, texts: Texts) -> tuple[str, ...]:
    return tuple(texts.decimal(size) for size in line.unit_sizes)


def usage_notes(lines: Sequence[StatementLine], texts: Texts, theme: Theme) -> tuple[str, ...]:
    """What is to be said below the rows."""
    return (
        *(_equation(lines, texts) if "equation" in theme.shown else ()),
        *(
            [texts("Late usage belongs to earlier periods and arrived after they were closed.")]
            if _any_late(lines)
            else []
        ),
        *([texts("Unfunded units are not charged.")] if _occurs(UNFUNDED, lines) else []),
        *([texts("APIs with – are not charged by units.")] if not all(map(_is_rated, lines)) else []),
    )


def _equation(lines: Sequence[StatementLine], texts: Texts) -> tuple[str, ...]:
    """How to check a row (rule 4.4), with the figures of the first one that has a single unit size, and of each whose
    size changed: units by size, where the sums say them.
    """
    rule = texts("To check a row: opening carry-over + usage = units × unit size + closing carry-over.")
    rated = [line for line in lines if _is_rated(line)]
    line = next((line for line in rated if len(line.unit_sizes) == 1 and line.units), None)
    changed = [line for line in rated if len(line.unit_sizes) > 1 and line.units]
    return (
        rule if line is None else f"{rule} {_figures(line, _units_by_source(line, texts), texts)}",
        *(_figures(line, by_size, texts) for line in changed if (by_size := _units_by_size(line, texts))),
    )


def _figures(line: StatementLine, units: str, texts: Texts) -> str:
    left = f"{texts.decimal(line.opening)} + {texts.decimal(line.usage)}"
    value = f"{left} = {units} + {texts.decimal(line.closing)}"
    return texts("%(label)s: %(value)s", label=isolated(line.api_name), value=value)


def _units_by_source(line: StatementLine, texts: Texts) -> str:
    units = " + ".join(texts.decimal(count) for _, count in line.units)
    return f"{f'({units})' if len(line.units) > 1 else units} × {texts.decimal(line.unit_sizes[0])}"


def _units_by_size(line: StatementLine, texts: Texts) -> str:
    """``68 × 20 + 2 × 16``; blank where the sums do not say it."""
    used_up = line.opening + line.usage - line.closing
    counts = units_by_size(line.unit_sizes, used_up, sum(count for _, count in line.units))
    sizes = zip(counts or (), line.unit_sizes, strict=bool(counts))
    return " + ".join(f"{texts.decimal(count)} × {texts.decimal(size)}" for count, size in sizes)


def _balances(balances: Sequence[Balance], cycle: Cycle, texts: Texts) -> TableView | None:
    """What is left, with dates local to the cycle's zone (rule 8.1)."""
    if not balances:
        return None
    heads = (texts("Balance"), texts("Ends or refreshes"), texts("Available of granted"))
    rows = [
        (balance_name(one, texts), balance_end(one, cycle.time_zone, texts), available_text(one, texts))
        for one in balances
    ]
    return table_view(texts("Balances at the end of the period"), heads, rows)


def balance_name(balance: Balance, texts: Texts) -> str:
    """What pays, for what, and the grant."""
    source = _source_name(balance.source.value, texts)
    of_what = isolated(balance.api_name) if balance.api else texts("tokens")
    name = texts("%(source)s, %(of_what)s", source=source, of_what=of_what)
    return f"{name[:1].upper()}{name[1:]} ({balance.grant_id})" if balance.grant_id else f"{name[:1].upper()}{name[1:]}"


def balance_end(balance: Balance, time_zone: str, texts: Texts) -> str:
    """When it refreshes, else when it ends, in local days; blank where it does neither."""
    local = zone(time_zone)
    if balance.refreshes_at is not None:
        return texts("refreshes %(day)s", day=texts.day(balance.refreshes_at.astimezone(local).date()))
    if balance.ends_at is not None:
        return texts("ends %(day)s", day=texts.day(balance.ends_at.astimezone(local).date()))
    return ""


def available_text(balance: Balance, texts: Texts) -> str:
    """``140 of 150``."""
    amounts = {"available": texts.decimal(balance.available), "granted": texts.decimal(balance.granted)}
    return texts("%(available)s of %(granted)s", **amounts)
