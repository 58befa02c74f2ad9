"""``[approval]`` of ``billing.toml``: when a person is asked before invoices are issued.

In the file::

    [approval]                           # who is asked before a close issues its invoices; without it, nobody
    when = "above"                       # or "always", or "never": where a total is above a bound, or an outlier
    invoice_above = { EUR = 10000 }      # the total of any invoice, a bound a currency
    close_above = { EUR = 250000 }       # the total of all of them
    outlier_times = 50                   # an invoice of so many times its subscription's usual net is an outlier: the
    outlier_cycles = 6                   # median of so many invoices before it,
    outlier_floor = { EUR = 10 }         # or this where that is less (default 1)
    approvers = ["ada"]                  # ids of users of Airflow's auth manager: nobody else may answer there
    within_hours = 72                    # unanswered for so long, the run ends red, and the next one asks again
    mail = "finance@example.com"         # is told that a close waits, by Airflow's SMTP connection
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from billing.core.approval import NEVER_ASKED, Policy, When
from billing.settings.table import Table

_LONGEST_WAIT_HOURS = 24 * 365


@dataclass(frozen=True, kw_only=True, slots=True)
class ApprovalSettings:
    """When a person is asked before a close issues its invoices (``policy``), who may answer in Airflow (``approvers``:
    empty where anyone may who may answer there at all), how long the request waits, and whom a mail tells (blank:
    nobody).
    """

    policy: Policy
    approvers: tuple[str, ...] = ()
    within: timedelta = timedelta(hours=72)
    mail: str = ""


def read_approval(table: Table | None) -> ApprovalSettings:
    """Without the table nobody is asked."""
    if table is None:
        return ApprovalSettings(policy=NEVER_ASKED)
    numbers = ("outlier_times", "outlier_cycles", "within_hours")
    bounds = ("invoice_above", "close_above", "outlier_floor")
    table.only(("when", *bounds, *numbers, "approvers", "mail"))
    policy = Policy(
        when=When(table.choice("when", tuple(When), "")),
        invoice_above=table.amounts("invoice_above", least=0),
        close_above=table.amounts("close_above", least=0),
        outlier_times=table.whole("outlier_times", 50, least=2),
        outlier_cycles=table.whole("outlier_cycles", 6, least=1),
        outlier_floor=table.amounts("outlier_floor", least=1),
    )
    within = table.number("within_hours", 72)
    if not 0 < within <= _LONGEST_WAIT_HOURS:
        raise table.wrong("within_hours", f"is a number above 0 and up to {_LONGEST_WAIT_HOURS}")
    return ApprovalSettings(
        policy=policy,
        approvers=table.texts("approvers"),
        within=timedelta(hours=within),
        mail=table.text("mail"),
    )
