"""Keep the head of the log where nobody who can write into the books can write: once a day, a file of its own.

The log is walked from its first row, and must still hold every head that was kept before; a run that is red here means
that rows were written anew, or that an older database was restored. Then today's head is kept as `DATE-ROW.head` in the
place that `[audit]` of `billing.toml` names (a folder, or object storage with a retention lock). A file that is there
is never replaced. If an address is set there or in the form, the head goes there by mail too, by Airflow's SMTP
connection.

Without `[audit]` the run is skipped. By hand: `billing audit log --keep`, and `billing audit log --against PLACE`.
"""

# mypy: allow-untyped-decorators
from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from observed import done_within
from wiring import COMMON, home_and_settings


@dag(
    schedule=CronTriggerTimetable("20 4 * * *", timezone="UTC"),
    doc_md=__doc__,
    deadline=done_within(timedelta(hours=1)),
    params={
        "mail": Param(
            None,
            type=["null", "string"],
            title="Mail",
            description_md="Send the head to this address too. Empty: the one in `billing.toml`, if there is any.",
        ),
    },
    **COMMON,
)
def audit_heads() -> None:
    @task
    def keep_head_of_log() -> dict[str, object]:
        from datetime import UTC, datetime

        from billing import connections
        from billing.steps.audit.heads import Heads, keep_head

        context = get_current_context()
        with home_and_settings() as (home, settings):
            audit = settings.audit
            if audit is None:
                raise AirflowSkipException("billing.toml has no [audit]: heads are kept nowhere.")
            heads = Heads.at(audit.heads, audit.connection, connections)
            head, is_new = keep_head(home, heads, datetime.now(UTC))
        print(f"{head} is kept in {audit.heads}" + ("" if is_new else ", as before"))
        if address := context["params"]["mail"] or audit.mail:
            _mail(address, str(head), context)
        return {"head": str(head), "new": is_new, "mailed": address or ""}

    keep_head_of_log()


def _mail(address: str, head: str, context: Any) -> None:
    """Send a head by Airflow's connection ``smtp_default``, which names the sender too."""
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    subject = f"Head of the billing log: row {head.partition(':')[0]}"
    SmtpNotifier(to=address, subject=subject, html_content=head).notify(context)


audit_heads()
