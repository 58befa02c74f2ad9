"""What a close did, on one page: the nouns of its run summary."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from billing.core.model import Parked, ParkedReason, Seller, TaxTreatment
from billing.core.quantity import minor_digits, total


@dataclass(frozen=True, kw_only=True, slots=True)
class RunTotals:
    """The invoices of a close in one currency under one tax category and rate. Amounts carry the currency's minor
    digits.
    """

    currency: str
    tax_treatment: TaxTreatment
    invoices: int
    net: Decimal
    tax: Decimal
    total: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class LargestInvoice:
    """One of the five largest invoices of its currency. ``customer`` is the legal name."""

    number: str
    customer: str
    currency: str
    total: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class NetChange:
    """The net of a close beside that of the close before it, in one currency; 0 where one of them has none in it."""

    currency: str
    net: Decimal
    before: Decimal

    @property
    def change(self) -> Decimal:
        """What this close has more (below 0: less)."""
        return total((self.net, self.before.copy_negate()), minor_digits(self.currency))


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummary:
    """A close run as finance reads it: one page.

    ``issued_at`` is the issue instant of its invoices and ``issue_date`` the seller's local date of it;
    ``pinned_batch`` and ``pinned_load`` are what it had seen (rule 3.4). ``invoices`` include those with a total of 0,
    told apart as ``zero_total``; ``credit_notes`` are those issued since that name one of its invoices. ``waiting`` are
    cycles that are over and could not close, as usage is complete through ``complete_through`` only (None: through no
    instant).

    ``totals`` are ordered by currency, category and rate; ``largest`` by currency, then from the largest on;
    ``changes`` by currency: against close ``compared_with``, the last one before it that issued anything. Where there
    is none, ``compared_with`` is None and ``changes`` is empty. ``parked`` are the teams that this close parked, as
    they are told now; ``parked_reasons`` counts them by reason, in the order of rule 3.8. ``first_number`` and
    ``last_number`` are blank where nothing was issued.
    """

    close_no: int
    as_of: datetime
    issued_at: datetime
    issue_date: date
    seller: Seller
    pinned_batch: int
    pinned_load: int
    cycles: int
    invoices: int
    zero_total: int
    credit_notes: int
    first_number: str
    last_number: str
    totals: tuple[RunTotals, ...]
    largest: tuple[LargestInvoice, ...]
    compared_with: int | None
    changes: tuple[NetChange, ...]
    waiting: int
    complete_through: datetime | None
    parked: tuple[Parked, ...]
    parked_reasons: tuple[tuple[ParkedReason, int], ...]
