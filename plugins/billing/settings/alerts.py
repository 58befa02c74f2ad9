"""``[alerts]`` of ``billing.toml``: when admins of a team are told of what.

In the file::

    [alerts]                             # of what admins of a team are told, once each (docs/balances.md)
    low_percent = [20, 5]                # when so much or less is left of a balance
    least_granted = 10                   # of smaller balances nobody is told (units, tokens, or the resource)
    ends_within_days = 30                # grants that end with something left, payment methods that expire
    runs_out_within_days = 60            # balances that will be used up before they end or refresh
    free = false                         # free balances too
    off = ["payment_missing"]            # kinds that are not raised; default: none
    mail = true                          # false: they are listed and shown, and nobody gets mail
    mails_at_once_max = 200              # more at one refresh become one, to finance
"""

from __future__ import annotations

from billing.core.alert_rules import AlertKind, AlertRules
from billing.core.mail_kinds import MailKind
from billing.core.quantity import MICRO
from billing.settings.mail import read_mail
from billing.settings.table import Table


def read_alerts(table: Table | None) -> AlertRules:
    """What it leaves out is the default of ``core/alert_rules.py``."""
    given = AlertRules()
    if table is None:
        return given
    days = ("ends_within_days", "runs_out_within_days")
    table.only(("low_percent", "least_granted", *days, "free", "off", "mail", "mails_at_once_max"))
    return AlertRules(
        low_percent=_percents(table, given.low_percent),
        least_granted_micro=table.whole("least_granted", given.least_granted_micro // MICRO, least=0) * MICRO,
        ends_within_days=table.whole("ends_within_days", given.ends_within_days, least=0),
        runs_out_within_days=table.whole("runs_out_within_days", given.runs_out_within_days, least=0),
        free=table.flag("free", given.free),
        off=_kinds(table),
        mail=table.flag("mail", given.mail),
        mails_at_once_max=table.whole("mails_at_once_max", given.mails_at_once_max, least=0),
    )


def told_by_collecting(file: Table) -> frozenset[AlertKind]:
    """That a card expires is told by the collecting of payments where it is set up, unless its mail is off."""
    mail = read_mail(file.table("mail"))
    is_told = file.table("payments") is not None and (mail is None or MailKind.CARD_EXPIRING.value not in mail.off)
    return frozenset({AlertKind.PAYMENT_EXPIRES} if is_told else ())


def _percents(table: Table, default: tuple[int, ...]) -> tuple[int, ...]:
    value = table.content.get("low_percent", list(default))
    if not isinstance(value, list) or not all(type(one) is int and 0 <= one <= 99 for one in value):
        raise table.wrong("low_percent", "is a list of whole numbers from 0 to 99, like [20, 5]")
    return tuple(sorted(set(value), reverse=True))


def _kinds(table: Table) -> frozenset[AlertKind]:
    value, known = table.content.get("off", []), [kind.value for kind in AlertKind]
    if not isinstance(value, list) or not all(one in known for one in value):
        raise table.wrong("off", f"is a list of kinds of alerts; there are: {', '.join(known)}")
    return frozenset(AlertKind(one) for one in value)
