"""How money is collected (rule 6.5): when an attempt is made, what a charge covers, what goes back, what finance sees.

Amounts are integers of the currency's minor unit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from billing.core.payments import ChargeState, Money

CARD_EXPIRED = "card_expired"
"""The problem of a charge that was not attempted, because its card can no longer be used."""

NO_METHOD, NOT_CONFIGURED, CANCELLED_THERE = "no_payment_method", "not_configured", "cancelled_at_gateway"
"""Problems of charges that cannot be attempted as things are."""

FINAL_DECLINES = frozenset(
    {
        "expired_card",
        "lost_card",
        "stolen_card",
        "pickup_card",
        "restricted_card",
        "invalid_account",
        "incorrect_number",
        "invalid_number",
        "card_not_supported",
        "currency_not_supported",
        "revocation_of_authorization",
        "revocation_of_all_authorizations",
        "stop_payment_order",
        "account_closed",
        "bank_account_closed",
        "debit_not_authorized",
        "mandate_invalid",
        "no_account",
    }
)
"""Declines after which the same payment method is not tried again: only another one, or by hand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectingRules:
    """How money is collected, as it is set up. Days ascend. ``since``: the first issue date that is collected here;
    None where all are.
    """

    retry_after_days: tuple[int, ...] = (1, 3, 5, 7)
    overdue_mail_days: tuple[int, ...] = (3, 14, 30)
    warn_expiry_days: int = 30
    at_once: int = 4
    stuck_after_hours: int = 168
    answer_disputes_days: int = 7
    ignore_foreign_charges: bool = False
    since: date | None = None


class Todo(StrEnum):
    """What a run does with a charge."""

    ATTEMPT = "attempt"
    LOOK = "look"  # ask the gateway how it stands; an attempt follows only where none has happened
    REST = "rest"


class InvoiceState(StrEnum):
    """What finance sees of an invoice."""

    NOTHING_DUE = "nothing_due"  # a total of 0
    OPEN = "open"
    OVERDUE = "overdue"
    PARTLY_PAID = "partly_paid"
    PAID = "paid"
    OVERPAID = "overpaid"
    WAITING = "waiting"
    PROCESSING = "processing"
    DECLINED = "declined"
    AUTHENTICATION_REQUIRED = "authentication_required"
    BLOCKED = "blocked"
    UNCOLLECTED = "uncollected"
    DISPUTED = "disputed"
    CHARGED_BACK = "charged_back"
    CREDITED = "credited"
    WRITTEN_OFF = "written_off"


OF_CHARGES = {
    ChargeState.WAITING: InvoiceState.WAITING,
    ChargeState.PROCESSING: InvoiceState.PROCESSING,
    ChargeState.DECLINED: InvoiceState.DECLINED,
    ChargeState.AUTHENTICATION_REQUIRED: InvoiceState.AUTHENTICATION_REQUIRED,
    ChargeState.BLOCKED: InvoiceState.BLOCKED,
    ChargeState.UNCOLLECTED: InvoiceState.UNCOLLECTED,
}
"""What finance sees of an invoice of which something is owed, where its charge says it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """All that decides how an invoice stands. ``charge`` is None where none was opened (a bank transfer)."""

    total_minor: int
    credited_minor: int
    money: Money
    charge: ChargeState | None
    due: date

    @property
    def owed_minor(self) -> int:
        """What the invoice asks for after its credit notes."""
        return self.total_minor - self.credited_minor

    @property
    def outstanding_minor(self) -> int:
        """What is still to come; below 0 is owed to the buyer."""
        return self.money.outstanding(self.total_minor, self.credited_minor)

    def state(self, today: date) -> InvoiceState:
        """What finance sees on a day. A dispute goes before all else; then what is owed to whom; then the charge."""
        if self.total_minor == 0:
            return InvoiceState.NOTHING_DUE
        if self.money.disputed > self.money.lost:
            return InvoiceState.DISPUTED
        if self.outstanding_minor < 0:
            return InvoiceState.OVERPAID
        if self.outstanding_minor == 0:
            return self._settled()
        if self.money.lost:
            return InvoiceState.CHARGED_BACK
        return self._unsettled(today)

    def _settled(self) -> InvoiceState:
        if self.money.written_off:
            return InvoiceState.WRITTEN_OFF
        return InvoiceState.CREDITED if self.owed_minor == 0 else InvoiceState.PAID

    def _unsettled(self, today: date) -> InvoiceState:
        if self.charge in OF_CHARGES:
            return OF_CHARGES[self.charge]
        if self.charge is not ChargeState.OPEN and self.due < today:
            return InvoiceState.OVERDUE
        return InvoiceState.PARTLY_PAID if self.money.held > 0 else InvoiceState.OPEN


def what_to_do(state: ChargeState, *, next_attempt: datetime | None, now: datetime, is_other_method: bool) -> Todo:
    """What a run does with a charge at ``now``. ``is_other_method``: the payment method is not the one last tried.

    While a buyer must authenticate, and after a decline that cannot get better, only another method is tried. What was
    given up is finance's to decide. What may have been taken is looked up before anything is done again.
    """
    match state:
        case ChargeState.OPEN | ChargeState.BLOCKED:
            return Todo.ATTEMPT
        case ChargeState.DECLINED if next_attempt is not None:
            return Todo.ATTEMPT if next_attempt <= now else Todo.REST
        case ChargeState.DECLINED | ChargeState.AUTHENTICATION_REQUIRED:
            return Todo.ATTEMPT if is_other_method else Todo.LOOK
        case ChargeState.PROCESSING | ChargeState.UNCOLLECTED:
            return Todo.LOOK
        case ChargeState.WAITING | ChargeState.PAID | ChargeState.CANCELLED:
            return Todo.REST


def next_attempt(days: Sequence[int], first: datetime, attempts: int, now: datetime) -> datetime | None:
    """When the attempt after ``attempts`` (1 or more) is made: so many ``days`` after the first one; None where the
    schedule is used up.

    A pipeline that stood still does not make up for what it missed at once: the distance to the attempt before is kept.
    """
    if attempts > len(days):
        return None
    gap = timedelta(days=days[attempts - 1] - (days[attempts - 2] if attempts > 1 else 0))
    planned = first + timedelta(days=days[attempts - 1])
    return planned if planned >= now + gap / 2 else now + gap


def can_get_better(problem: str) -> bool:
    """Whether a decline may pass with time."""
    return problem not in FINAL_DECLINES


def has_expired(expires: tuple[int, int] | None, today: date) -> bool:
    """Whether a card's last month (year, month) is over."""
    return expires is not None and (today.year, today.month) > expires


def last_day(expires: tuple[int, int]) -> date:
    """The last day on which a card can be used."""
    year, month = expires
    return date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)


def parse_expiry(text: str) -> tuple[int, int] | None:
    """A card's last month as it is written (2027-08, 08/27, 08/2027); None where there is none that can be read."""
    left, _, right = text.strip().replace("/", "-").partition("-")
    if not (left.isascii() and right.isascii() and left.isdecimal() and right.isdecimal()):
        return None
    year, month = (left, right) if len(left) == 4 else (right, left)
    if len(year) not in (2, 4) or not 1 <= int(month) <= 12 or (len(year) == 4 and not 1 <= int(year) < 9999):
        return None
    return int(year) + (2000 if len(year) == 2 else 0), int(month)


def shared(amount_minor: int, parts: Sequence[tuple[str, int]]) -> dict[str, int]:
    """An amount over the parts of a charge (number and amount each), in their order, each up to its own amount; what
    is beyond all of them is the last one's. Shares of 0 are left out; the sum is the amount.
    """
    shares: dict[str, int] = {}
    left = amount_minor
    for number, part in parts:
        shares[number] = min(left, part)
        left -= shares[number]
    if parts and left:
        shares[parts[-1][0]] += left
    return {number: share for number, share in shares.items() if share}


def refunds_due(
    held_minor: int, owed_minor: int, notes: Sequence[tuple[str, int]], done: Collection[str]
) -> list[tuple[str, int]]:
    """What goes back for which credit note (number and total each, in the order of their issue): never more than is
    held beyond what is owed, never more than the note says, and once. Notes from before the money came took nothing,
    so the newest come first.
    """
    left = held_minor - owed_minor
    found = []
    for number, total in reversed(notes):
        amount = min(left, total)
        if number not in done and amount > 0:
            found.append((number, amount))
            left -= amount
    return found[::-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A charge that may wait for others: ``group`` is what they must share (customer, gateway, currency, method)."""

    key: str
    group: tuple[str, ...]
    amount_minor: int
    is_open_there: bool  # the gateway knows it, so others may join it and it joins none


def joined(charges: Iterable[Waiting], minimum: dict[tuple[str, ...], int]) -> dict[str, list[str]]:
    """Which charges go into which other, where together they reach the gateway's minimum: by the key that stays, those
    that go. In the order of the keys; one that the gateway knows stays.
    """
    groups: dict[tuple[str, ...], list[Waiting]] = {}
    for charge in sorted(charges, key=lambda one: one.key):
        groups.setdefault(charge.group, []).append(charge)
    found: dict[str, list[str]] = {}
    for group, members in groups.items():
        stays = next((one for one in members if one.is_open_there), members[0])
        together = [one for one in members if one is stays or not one.is_open_there]
        is_small = any(one.amount_minor < minimum[group] for one in together)
        if len(together) > 1 and is_small and sum(one.amount_minor for one in together) >= minimum[group]:
            found[stays.key] = [one.key for one in together if one is not stays]
    return found
