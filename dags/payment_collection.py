"""Collect what is owed: charge issued invoices, try again what was declined, give back what was credited; once a day
compare every payment with the gateway's list, to the cent (rule 6.5).

Every six hours, and after each close (there by the close's own run). An invoice is charged once, whatever happens: a
run that was killed, at any instant, is run again and goes on.

* `what_would_be_done` lists it. With *Only list* in the form nothing else happens.
* `collect_payments` charges, retries, refunds, takes over disputes, and writes the mails to buyers into the outbox.
* `reconcile_payments` compares with the gateways: in the first run of a day (UTC), or where the form gives a period.
  Red where a difference remains: each is named with what to do.
* `name_what_is_stuck` is red where something goes on only if a person does something: an invoice that could not be
  collected on its schedule, a payment that is on its way for too long, a dispute that must be answered soon.

By hand: `billing payments list`, `show`, `collect`, `retry`, `record`, `write-off`, `reconcile`. What each state means
and what to do about it is in `docs/payments.md`; the schedule is `[payments]` in `billing.toml`.
"""

# mypy: allow-untyped-decorators
from __future__ import annotations

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from collecting import collect_due, opened_gateways
from observed import done_within, gauge
from wiring import COMMON, instant_of, instant_param, run_instant

FIRST_HOURS = 6
"""A run in the first hours of a day in UTC reconciles too: that is one of each day's."""


@dag(
    schedule=CronTriggerTimetable("40 */6 * * *", timezone="UTC"),
    doc_md=__doc__,
    deadline=done_within(timedelta(hours=2)),
    params={
        "only_list": Param(
            False,
            type="boolean",
            title="Only list",
            description_md="Say what would be charged, tried again and given back, and do nothing.",
        ),
        "reconcile_from": instant_param("Reconcile from", "Compare what was opened at the gateways since then."),
        "reconcile_to": instant_param("Reconcile to", "... and before this. Empty: the last sixty days, once a day."),
    },
    **COMMON,
)
def payment_collection() -> None:
    @task
    def what_would_be_done() -> int:
        from datetime import UTC, datetime

        from billing.steps.collect import would_do

        only_list = get_current_context()["params"]["only_list"]
        with opened_gateways() as (home, gateways, rules):
            plan = would_do(home, gateways, rules, datetime.now(UTC))
        for one in plan:
            print(f"{one.number}: {one.amount} {one.currency}, {one.what}")
        if only_list:
            raise AirflowSkipException(f"{len(plan)} things would be done; nothing was, as the form asked.")
        return len(plan)

    @task
    def collect_payments(would: int) -> list[str]:
        from datetime import UTC, datetime

        return list(collect_due(datetime.now(UTC)).stuck)

    @task
    def reconcile_payments(stuck: list[str]) -> int:
        from datetime import UTC, datetime

        from billing.steps.payment_reconciliation import DEFAULT_PERIOD, reconcile

        context = get_current_context()
        begin, end = (instant_of(context["params"][name]) for name in ("reconcile_from", "reconcile_to"))
        if begin is None and end is None and run_instant(context).hour >= FIRST_HOURS:
            raise AirflowSkipException("Reconciled in the first run of a day, or where the form gives a period.")
        now = datetime.now(UTC)
        end = end or now + timedelta(days=1)
        begin = begin or end - DEFAULT_PERIOD
        with opened_gateways() as (home, gateways, rules):
            found = reconcile(home, gateways, rules, now, begin=begin, end=end)
        for (gateway, currency), (here, there) in found.received.items():
            print(f"received by {gateway}: {here} {currency} in the books, {there} there")
        print("\n".join(f"recorded: {said}" for said in found.recorded))
        gauge("payments.differences", len(found.differences))
        if found.differences:
            listed = "\n".join(str(difference) for difference in found.differences)
            raise AirflowFailException(f"{len(found.differences)} differences remain:\n{listed}")
        return found.charges

    @task
    def name_what_is_stuck(stuck: list[str]) -> None:
        if stuck:
            listed = "\n".join(stuck)
            raise AirflowFailException(f"{len(stuck)} payments wait for a person:\n{listed}")

    stuck = collect_payments(what_would_be_done())
    reconcile_payments(stuck)
    name_what_is_stuck(stuck)


payment_collection()
