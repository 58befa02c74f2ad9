"""What finance books at a month's end: accrued revenue of pay as you go, and what became of prepaid tokens.

A month is one of the seller's calendar, and ends at the start of the next month's first day in the seller's zone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from sqlalchemy import Connection, select

from billing.core.accrual import AccruedLine, accrued_lines, net_by_currency
from billing.core.errors import DataRefused
from billing.core.instants import day_number, from_day, from_us
from billing.core.model import Parked
from billing.core.months import Month
from billing.core.quantity import decimal_of_micro, minor_digits, total
from billing.core.token_movements import MoneyMovement, TokenMovement, money, movement, sold_grants
from billing.outbound.spreadsheets import Cell, Sheet, write_sheets
from billing.steps.books_at import Books, CutCycle, Known, books_at
from billing.steps.reference import demanded_load, reference_at, seller_zone
from billing.store.home import Home
from billing.store.invoices import from_minor
from billing.store.tables import cycles, invoices

ACCRUAL_COLUMNS = (
    "entry_date",
    "reversal_date",
    "team_id",
    "subscription_id",
    "cycle_start",
    "cycle_end",
    "cycle_state",
    "api",
    "charged_units",
    "unit_price",
    "currency",
    "net",
    "batch_no",
    "load_no",
)
ENTRY_COLUMNS = ("date", "entry", "team_id", "subscription_id", "currency", "net")
UNDATED_COLUMNS = ("team_id", "subscription_id", "cycle_end", "number", "issue_date", "currency", "net")
TOKEN_COLUMNS = (
    "grant_id",
    "team_id",
    "subscription_id",
    "kind",
    "sold_at",
    "ends_at",
    "granted",
    "used_before",
    "opening",
    "sold",
    "used",
    "expired",
    "remaining",
    "currency",
    "amount",
    "deferred_before",
    "amount_sold",
    "recognised",
    "breakage",
    "deferred",
)
TOKEN_TOTALS_COLUMNS = (
    "kind",
    "opening",
    "sold",
    "used",
    "expired",
    "remaining",
)
MONEY_TOTALS_COLUMNS = ("kind", "currency", "deferred_before", "amount_sold", "recognised", "breakage", "deferred")


@dataclass(frozen=True, kw_only=True, slots=True)
class Undated:
    """Net of a cycle that was over by the month's end without an invoice dated by then: its invoice bears a later date
    (``number``), or it is not closed yet (blank, ``issue_date`` None).
    """

    team_id: str
    subscription_id: str
    cycle_end_us: int
    number: str
    issue_day: int | None
    currency: str
    net: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class Accrual:
    """Accrued revenue at the end of a month. ``lines`` are of cycles that hold its end; ``undated`` is beside them, no
    part of them. ``known`` is what counts where a cycle is still open; ``troubles`` are cycles that cannot be rated
    honestly.
    """

    month: Month
    at_us: int
    known: Known
    lines: tuple[tuple[AccruedLine, CutCycle], ...]
    undated: tuple[Undated, ...]
    troubles: tuple[Parked, ...]

    @property
    def net(self) -> dict[str, Decimal]:
        """What is accrued, by currency."""
        return net_by_currency((line.currency, line.net) for line, _ in self.lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """What a month did to every grant of tokens, with the same in money where an amount is known."""

    month: Month
    at_us: int
    known: Known
    grants: tuple[tuple[TokenMovement, MoneyMovement | None], ...]
    troubles: tuple[Parked, ...]


def accrue(home: Home, month: Month, now: datetime) -> Accrual:
    """Accrued revenue at the end of a month that is over at ``now``."""
    with home.database.read() as connection:
        zone = demand_over(home, connection, month, now)
        books = books_at(home, connection, month.end_us(zone))
        undated = (*_dated_later(connection, month, books), *_not_closed(books))
    lines = accrued_lines(books.draws, books.cut.keys())
    return Accrual(
        month=month,
        at_us=books.at_us,
        known=books.known,
        lines=tuple((line, books.cut[line.team_id, line.cycle_start_us]) for line in lines),
        undated=tuple(sorted(undated, key=lambda one: (one.team_id, one.cycle_end_us, one.subscription_id))),
        troubles=books.troubles,
    )


def tokens(home: Home, month: Month, now: datetime) -> Tokens:
    """What a month that is over at ``now`` did to prepaid tokens."""
    with home.database.read() as connection:
        zone = demand_over(home, connection, month, now)
        before = books_at(home, connection, month.start_us(zone))
        books = books_at(home, connection, month.end_us(zone))
    return Tokens(
        month=month,
        at_us=books.at_us,
        known=books.known,
        grants=moved_grants(before, books),
        troubles=books.troubles,
    )


def moved_grants(before: Books, books: Books) -> tuple[tuple[TokenMovement, MoneyMovement | None], ...]:
    """What became of every grant between two instants, as the later books know it."""
    used_before, used = before.used.granted_micro, books.used.granted_micro
    moved = [
        movement(grant, used_before.get(grant.grant_id, 0), used.get(grant.grant_id, 0), before.at_us, books.at_us)
        for grant in sold_grants(books.reference)
    ]
    return tuple((one, money(one)) for one in moved if one is not None)


def demand_over(home: Home, connection: Connection, month: Month, now: datetime) -> str:
    """The seller's zone; ``DataRefused`` where the month is not over in it at ``now``, or nothing is known yet."""
    zone = seller_zone(reference_at(home, demanded_load(connection)))
    end = from_us(month.end_us(zone))
    if now < end:
        raise DataRefused(f"{month} is not over in {zone}: it ends at {end.isoformat()}. Run this again after that.")
    return zone


def accrual_sheets(found: Accrual) -> tuple[Sheet, ...]:
    """The accrual line by line, its journal entries with their reversals, and what is beside it."""
    return (
        Sheet(
            name="Accrual", columns=ACCRUAL_COLUMNS, rows=tuple(_line_cells(found.month, *one) for one in found.lines)
        ),
        Sheet(name="Entries", columns=ENTRY_COLUMNS, rows=tuple(_entries(found))),
        Sheet(name="Not dated yet", columns=UNDATED_COLUMNS, rows=tuple(_undated_cells(one) for one in found.undated)),
    )


def token_sheets(found: Tokens) -> tuple[Sheet, ...]:
    """Grant by grant, and the totals by kind, in tokens and in money."""
    return (
        Sheet(name="Tokens", columns=TOKEN_COLUMNS, rows=tuple(_grant_cells(*one) for one in found.grants)),
        Sheet(name="Totals", columns=TOKEN_TOTALS_COLUMNS, rows=tuple(_token_totals(found))),
        Sheet(name="Money", columns=MONEY_TOTALS_COLUMNS, rows=tuple(_money_totals(found))),
    )


def write_accrual(found: Accrual, path: Path) -> list[Path]:
    """Write the accrual as CSV or XLSX, by the suffix; the paths that were written."""
    return write_sheets(path, accrual_sheets(found), from_us(found.at_us))


def write_tokens(found: Tokens, path: Path) -> list[Path]:
    """Write the tokens as CSV or XLSX, by the suffix; the paths that were written."""
    return write_sheets(path, token_sheets(found), from_us(found.at_us))


def _dated_later(connection: Connection, month: Month, books: Books) -> Iterator[Undated]:
    """Invoices of cycles that were over by then, with a later date. One that replaces another is no new revenue."""
    own = (cycles.c.team_id == invoices.c.team_id) & (cycles.c.cycle_start_us == invoices.c.cycle_start_us)
    query = select(invoices, cycles.c.cycle_end_us).join(cycles, own)
    later = (invoices.c.issue_day > day_number(month.last_day), invoices.c.revision == 1)
    for row in connection.execute(query.where(cycles.c.cycle_end_us <= books.at_us, *later)):
        yield Undated(
            team_id=row.team_id,
            subscription_id=row.subscription_id,
            cycle_end_us=row.cycle_end_us,
            number=row.number,
            issue_day=row.issue_day,
            currency=row.currency,
            net=from_minor(row.net_minor, row.currency),
        )


def _not_closed(books: Books) -> Iterator[Undated]:
    """Cycles that were over by then and are not closed to this day."""
    sums: dict[tuple[str, int, str, str], list[Decimal]] = {}
    for line in accrued_lines(books.draws, books.not_closed.keys()):
        sums.setdefault((line.team_id, line.cycle_start_us, line.subscription_id, line.currency), []).append(line.net)
    for (team_id, start_us, subscription_id, currency), nets in sums.items():
        yield Undated(
            team_id=team_id,
            subscription_id=subscription_id,
            cycle_end_us=books.not_closed[team_id, start_us].end_us,
            number="",
            issue_day=None,
            currency=currency,
            net=total(nets, minor_digits(currency)),
        )


def _line_cells(month: Month, line: AccruedLine, cut: CutCycle) -> tuple[Cell, ...]:
    return (
        month.last_day,
        month.next.first_day,
        line.team_id,
        line.subscription_id,
        from_us(cut.cycle.start_us),
        from_us(cut.cycle.end_us),
        "closed" if cut.is_closed else "open",
        line.api,
        line.charged_units,
        line.unit_price,
        line.currency,
        line.net,
        cut.known.batch_no,
        cut.known.load_no,
    )


def _entries(found: Accrual) -> Iterator[tuple[Cell, ...]]:
    """What is booked at the month's last day, and taken back on the next month's first."""
    sums: dict[tuple[str, str, str], list[Decimal]] = {}
    for line, _ in found.lines:
        sums.setdefault((line.team_id, line.subscription_id, line.currency), []).append(line.net)
    nets = {key: total(amounts, minor_digits(key[2])) for key, amounts in sums.items()}
    for key, net in nets.items():
        yield (found.month.last_day, "accrual", *key, net)
    for key, net in nets.items():
        yield (found.month.next.first_day, "reversal", *key, net.copy_negate())


def _undated_cells(one: Undated) -> tuple[Cell, ...]:
    issued: Cell = None if one.issue_day is None else from_day(one.issue_day)
    who = (one.team_id, one.subscription_id, from_us(one.cycle_end_us))
    return (*who, one.number, issued, one.currency, one.net)


def _grant_cells(moved: TokenMovement, amounts: MoneyMovement | None) -> tuple[Cell, ...]:
    grant = moved.grant
    return (
        grant.grant_id,
        grant.team_id,
        grant.subscription_id,
        grant.kind.value,
        from_us(grant.sold_at_us),
        from_us(grant.ended_at_us),
        decimal_of_micro(grant.granted_micro),
        decimal_of_micro(moved.used_before_micro),
        *(decimal_of_micro(micro) for micro in _micros(moved)),
        grant.currency,
        grant.amount,
        *(_money_cells(amounts) if amounts is not None else (None,) * 5),
    )


def _micros(moved: TokenMovement) -> tuple[int, ...]:
    return (moved.opening_micro, moved.sold_micro, moved.used_micro, moved.expired_micro, moved.remaining_micro)


def _money_cells(amounts: MoneyMovement) -> tuple[Decimal, ...]:
    return (amounts.opening, amounts.sold, amounts.recognised, amounts.breakage, amounts.deferred)


def _token_totals(found: Tokens) -> Iterator[tuple[Cell, ...]]:
    sums: dict[str, Sequence[int]] = {}
    for moved, _ in found.grants:
        mine = sums.get(moved.grant.kind.value, (0,) * 5)
        sums[moved.grant.kind.value] = [one + more for one, more in zip(mine, _micros(moved), strict=True)]
    for kind in sorted(sums):
        yield (kind, *(decimal_of_micro(micro) for micro in sums[kind]))


def _money_totals(found: Tokens) -> Iterator[tuple[Cell, ...]]:
    parts: dict[tuple[str, str], list[tuple[Decimal, ...]]] = {}
    for moved, amounts in found.grants:
        if amounts is not None:
            parts.setdefault((moved.grant.kind.value, moved.grant.currency), []).append(_money_cells(amounts))
    for kind, currency in sorted(parts):
        digits = minor_digits(currency)
        yield (kind, currency, *(total(column, digits) for column in zip(*parts[kind, currency], strict=True)))
