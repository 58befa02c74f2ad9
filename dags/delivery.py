"""Deliver what was issued: mails to buyers and to finance, copies of documents to a folder or to object storage.

* `send_mails` writes a mail for every invoice and credit note that has a document and none yet, and for the summary of
  every close; then it sends what is due: those, reminders of payments, and mails whose last try surely failed. A mail
  that may have gone is never sent again by itself.
* `place_files` copies PDF and XML to the place that `[files]` of `billing.toml` names, each once, compared after it was
  written; a file that is there is never replaced.
* `report` ends the run red while a mail waits for a person, and names it: failed (refused too often), unknown (the
  server never said whether it took it), undeliverable (no address that mail can carry).

What waits is decided by hand: `billing mail show KEY`, then `billing mail resend KEY --reason ...` or
`billing mail drop KEY --reason ...`; an address is mended in the reference data. Without `[mail]` and `[files]` in
`billing.toml` nothing is sent or copied, and the tasks are skipped. Run it again at any time.
"""

# mypy: allow-untyped-decorators
from __future__ import annotations

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, TriggerRule, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from delivering import demand_delivered, place_copies, send_mails
from observed import done_within
from wiring import COMMON


@dag(
    schedule=CronTriggerTimetable("*/10 * * * *", timezone="UTC"),
    doc_md=__doc__,
    deadline=done_within(timedelta(hours=1)),
    params={
        "mails": Param(True, type="boolean", title="Mails", description_md="Send mails that are due."),
        "files": Param(True, type="boolean", title="Files", description_md="Copy documents to their destination."),
    },
    **COMMON,
)
def delivery() -> None:
    @task(task_id="send_mails")
    def send() -> int:
        from datetime import UTC, datetime

        _wanted("mails")
        return send_mails(datetime.now(UTC))

    @task(task_id="place_files")
    def place() -> int:
        _wanted("files")
        return place_copies()

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def report() -> None:
        demand_delivered()

    place()
    send() >> report()


def _wanted(name: str) -> None:
    if not get_current_context()["params"][name]:
        raise AirflowSkipException(f"{name} were not asked for in the form.")


delivery()
