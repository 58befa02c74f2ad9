"""What came of the demo's invoices. There is no payment gateway: finance records transfers and issues a credit note."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from billing.settings.settings import Settings
from billing.steps.credit import credit
from billing.steps.homes import home_at
from billing.steps.payments.by_hand import record
from billing.steps.payments.story import list_payments
from billing.steps.render import render


class _Transfer(NamedTuple):
    number: str
    amount: Decimal
    on: date
    reference: str


_TRANSFERS = (
    _Transfer("INV-2024-000001", Decimal("162.50"), date(2024, 3, 12), "METRO 0312"),
    _Transfer("INV-2024-000016", Decimal("5.00"), date(2024, 4, 2), "LIFFEY 0402"),
)
_CREDITED = "INV-2024-000002"
STORY = (
    "Madrid's INV-2024-000001 was paid by bank transfer; Dublin's INV-2024-000016 in part, 5.00 of 6.75 EUR; Madrid's "
    "INV-2024-000002 was given back by a credit note. The other invoices of March over more than 0.00 are overdue."
)


def settle(folder: Path, at: datetime) -> None:
    """Record what is not recorded yet; ``at`` is the instant of the credit note, not before the last close."""
    home = home_at(folder / "home")
    try:
        known = {one.number: one for one in list_payments(home, at)}
        for number, amount, on, reference in _TRANSFERS:
            if not Decimal(known[number].held):
                record(home, number, amount=amount, on=on, reference=reference, now=at)
        if not Decimal(known[_CREDITED].credited):
            note = credit(
                home, _CREDITED, reason="Agreed with Metro Diseño: the last days are free of charge", as_of=at
            )
            render(home, [note.number], Settings.read().templates)
    finally:
        home.close()
