"""``[[notify]]`` of ``billing.toml``: notifiers of Airflow, and what they are told of.

In the file::

    [[notify]]                           # any notifier of Airflow, told of every close; of new alerts too by "alerts"
    notifier = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
    on = ["success", "failure"]
    arguments = { to = "team@example.com", subject = "Close {{ close_no }}", html_content = "<pre>{{ summary }}</pre>" }
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from billing.settings.table import Table, is_secret

_OUTCOMES = ("success", "failure")
_TOLD = (*_OUTCOMES, "alerts")


@dataclass(frozen=True, kw_only=True, slots=True)
class NotifierSettings:
    """A notifier of Airflow that is told how a close ended, or of new alerts: the path of its class, and what that is
    made with. ``on``: of what; blank is of closes only.
    """

    notifier: str
    on: tuple[str, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)


def read_notifier(table: Table) -> NotifierSettings:
    """One of them. A secret among its arguments is refused."""
    table.only(("notifier", "on", "arguments"))
    path = table.text("notifier")
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", path):
        raise table.wrong("notifier", "is the path of a class, like package.module.SlackNotifier")
    arguments = table.inner("arguments").content if "arguments" in table.content else {}
    for key in arguments:
        if is_secret(key):
            raise table.wrong(
                f"arguments.{key}", "holds a secret; name an Airflow connection as the notifier's *_conn_id"
            )
    on = table.names("on", _TOLD) or _OUTCOMES
    return NotifierSettings(notifier=path, on=on, arguments=arguments)
