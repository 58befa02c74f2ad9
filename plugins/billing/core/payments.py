"""What becomes of an issued invoice's money: the nouns, and what is still owed (rule 6.5).

An invoice never changes by what happens here. Amounts are integers of the currency's minor unit, 0 or more; the kind of
an event says which way the money went.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

MANUAL = "manual"
"""The gateway of invoices that are paid by bank transfer: nothing is charged, what comes is recorded by a person."""


class EventKind(StrEnum):
    """What happened to an invoice's money. Those of attempts move none."""

    RECEIVED = "received"  # by the gateway or the bank
    REFUNDED = "refunded"  # given back, for a credit note
    REFUND_FAILED = "refund_failed"  # what was given back did not arrive, and is ours again
    DISPUTED = "disputed"  # taken back by the buyer's bank until it is decided
    DISPUTE_WON = "dispute_won"  # given to us again
    DISPUTE_LOST = "dispute_lost"  # stays with the buyer; moves nothing more
    WRITTEN_OFF = "written_off"  # finance gave it up, with a reason
    DECLINED = "declined"  # an attempt, refused
    AUTHENTICATION_REQUIRED = "authentication_required"  # an attempt that only the buyer can finish


class ChargeState(StrEnum):
    """Where a charge is. What finance sees of an invoice is derived from this and its events."""

    WAITING = "waiting"  # below the gateway's minimum: collected with the customer's next invoice
    OPEN = "open"  # to be attempted at next_attempt_us
    PROCESSING = "processing"  # the gateway is at it, or its answer is not known
    PAID = "paid"
    DECLINED = "declined"  # is tried again at next_attempt_us
    AUTHENTICATION_REQUIRED = "authentication_required"  # waits for the buyer
    BLOCKED = "blocked"  # cannot be attempted as things are: problem says why
    UNCOLLECTED = "uncollected"  # the schedule of retries is used up: finance decides
    CANCELLED = "cancelled"  # nothing is owed any more before anything was taken


@dataclass(frozen=True, kw_only=True, slots=True)
class Money:
    """What an invoice's events add up to, in minor units."""

    received: int = 0
    refunded: int = 0  # and not come back
    disputed: int = 0  # taken back by disputes and not won again
    lost: int = 0  # of these, decided against us
    written_off: int = 0

    @classmethod
    def of(cls, events: Iterable[tuple[EventKind, int]]) -> Money:
        """Add up events: kind and amount each, in any order."""
        sums = dict.fromkeys(EventKind, 0)
        for kind, amount_minor in events:
            sums[kind] += amount_minor
        return cls(
            received=sums[EventKind.RECEIVED],
            refunded=sums[EventKind.REFUNDED] - sums[EventKind.REFUND_FAILED],
            disputed=sums[EventKind.DISPUTED] - sums[EventKind.DISPUTE_WON],
            lost=sums[EventKind.DISPUTE_LOST],
            written_off=sums[EventKind.WRITTEN_OFF],
        )

    @property
    def held(self) -> int:
        """What we have of the buyer's money."""
        return self.received - self.refunded - self.disputed

    def outstanding(self, total_minor: int, credited_minor: int) -> int:
        """What is still owed of a total of which credit notes gave some back; below 0 is owed to the buyer."""
        return total_minor - credited_minor - self.held - self.written_off
