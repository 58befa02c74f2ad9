"""When admins are told of what: the kinds of alerts, and the numbers that a home may set for them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from billing.core.quantity import MICRO


class AlertKind(StrEnum):
    """What can be told, the most urgent first."""

    UNFUNDED = "unfunded"
    PAYMENT_MISSING = "payment_missing"
    PAYMENT_EXPIRES = "payment_expires"
    LOW = "low"
    RUNS_OUT = "runs_out"
    ENDS = "ends"
    UNASSIGNED = "unassigned"


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertRules:
    """When admins are told (settings ``[alerts]``).

    ``low_percent``: shares left at which a balance is low; ``least_granted_micro``: smaller ones are not worth it;
    ``ends_within_days``, ``runs_out_within_days``: how long before; ``free``: whether free balances count, which are
    meant to be used up every month; ``off``: kinds that are not raised. ``mail``: whether anybody gets mail; more than
    ``mails_at_once_max`` at one refresh become one, to finance. ``told_otherwise``: kinds that are raised, and of which
    another mail tells the buyer.
    """

    low_percent: tuple[int, ...] = (20, 5)
    least_granted_micro: int = 10 * MICRO
    ends_within_days: int = 30
    runs_out_within_days: int = 60
    free: bool = False
    off: frozenset[AlertKind] = frozenset()
    mail: bool = True
    mails_at_once_max: int = 200
    told_otherwise: frozenset[AlertKind] = frozenset()
