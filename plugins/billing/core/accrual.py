"""Revenue earned in cycles that a month's end cuts: what they would be invoiced for up to that instant.

The cut is the instant M at which the month ends. An accrual is of the units that pay as you go paid for with an
effective instant before M, each line rounded as an invoice's (rule 6.1). They are the first units of the cycle's own
invoice, so no line is above the invoice's, and what the invoice has more is the next month's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal

import pandas as pd

from billing.core.frames import rows
from billing.core.model import Kind
from billing.core.quantity import decimal_of_micro, minor_digits, multiply, round_half_up, total


@dataclass(frozen=True, kw_only=True, slots=True)
class AccruedLine:
    """Units of one API at one price that a subscription paid for in one cycle. ``net`` has the currency's minor
    digits.
    """

    team_id: str
    cycle_start_us: int
    subscription_id: str
    currency: str
    api: str
    charged_units: int
    unit_price: Decimal
    net: Decimal


def accrued_lines(draws: pd.DataFrame, cycles: Collection[tuple[str, int]]) -> tuple[AccruedLine, ...]:
    """The lines of these cycles, by (team_id, start in microseconds), in that order, then by API and price.

    ``draws`` has the columns of ``rating.DRAW_COLUMNS`` and counts what is effective before the cut.
    """
    units: dict[tuple[str, int, str, str, str, int], int] = {}
    for row in rows(draws[(draws["source"] == Kind.PAYG.value) & (draws["charged_units"] > 0)]):
        if (row.team_id, int(row.cycle_start_us)) in cycles:
            where = (row.team_id, int(row.cycle_start_us), row.subscription_id, row.currency)
            key = (*where, row.api, int(row.unit_price_micro))
            units[key] = units.get(key, 0) + int(row.charged_units)
    return tuple(_line(key, count) for key, count in sorted(units.items()))


def _line(key: tuple[str, int, str, str, str, int], units: int) -> AccruedLine:
    team_id, start_us, subscription_id, currency, api, price_micro = key
    price = decimal_of_micro(price_micro)
    return AccruedLine(
        team_id=team_id,
        cycle_start_us=start_us,
        subscription_id=subscription_id,
        currency=currency,
        api=api,
        charged_units=units,
        unit_price=price,
        net=round_half_up(multiply(units, price), minor_digits(currency)),
    )


def net_by_currency(amounts: Iterable[tuple[str, Decimal]]) -> dict[str, Decimal]:
    """The sum of amounts by their currency, in the order of the currencies."""
    by_currency: dict[str, list[Decimal]] = {}
    for currency, amount in amounts:
        by_currency.setdefault(currency, []).append(amount)
    return {currency: total(by_currency[currency], minor_digits(currency)) for currency in sorted(by_currency)}
