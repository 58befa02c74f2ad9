"""What a customer is told of a team's month: its balances, its usage by day, how that became units, what was issued.

A month is one of UTC, as usage is shown by UTC day (rule 8.2); periods are a team's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from billing.core.model import Balance, Customer, Cycle, InvoiceType, ParkedReason, Seller, StatementLine
from billing.core.months import Month


@dataclass(frozen=True, kw_only=True, slots=True)
class AppUsage:
    """Usage by one app (both blank where no app made it), a quantity a UTC day from the month's first on."""

    app_id: str
    app_name: str
    quantities: tuple[Decimal, ...]

    @property
    def total(self) -> Decimal:
        """All of it."""
        return sum(self.quantities, Decimal(0))


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiUsage:
    """Usage of one API in the month; ``apps`` are in the order of their ids."""

    api: str
    api_name: str
    usage_unit: str
    apps: tuple[AppUsage, ...]

    @property
    def quantities(self) -> tuple[Decimal, ...]:
        """A quantity a day, of all apps."""
        return tuple(sum(day, Decimal(0)) for day in zip(*(app.quantities for app in self.apps), strict=True))

    @property
    def total(self) -> Decimal:
        """All of it."""
        return sum((app.total for app in self.apps), Decimal(0))


@dataclass(frozen=True, kw_only=True, slots=True)
class PeriodUnits:
    """How usage became units in a cycle that the month touches (rule 6.6): in the whole cycle where it is closed, else
    up to the statement's instant. ``trouble`` is why it cannot be rated honestly (rule 3.8).
    """

    cycle: Cycle
    is_closed: bool
    lines: tuple[StatementLine, ...]
    trouble: ParkedReason | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class IssuedDocument:
    """An invoice or credit note with an issue date in the month; a credit note's amounts are below 0."""

    number: str
    type: InvoiceType
    issue_date: date
    cycle: Cycle
    currency: str
    net: Decimal
    tax: Decimal
    total: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class CustomerStatement:
    """A team's month, complete: nothing is left to compute.

    ``until`` is the month's end, or the instant that it is told at where it is still running; ``balances`` are those
    just before it (rule 8.1), with days local to ``time_zone``. ``complete_through`` says how far usage is known to be
    complete, None where nothing is known of it.
    """

    month: Month
    until: datetime
    seller: Seller
    customer: Customer
    team_id: str
    team_name: str
    time_zone: str
    complete_through: datetime | None
    balances: tuple[Balance, ...]
    usage: tuple[ApiUsage, ...]
    periods: tuple[PeriodUnits, ...]
    issued: tuple[IssuedDocument, ...]

    @property
    def is_over(self) -> bool:
        """Whether the month was over."""
        return self.until.date() > self.month.last_day

    @property
    def is_complete(self) -> bool:
        """Whether its usage is known to be complete."""
        return self.complete_through is not None and self.complete_through >= self.until
