"""Close every billing cycle that is due: rate it, issue its invoices, render their documents.

A cycle is due an hour (`close_lag_seconds`) after its end, once usage is complete through that instant. Each team
has cycles of its own, in the time zone of its purchase, so that some are due at almost every hour.

* `pin_what_is_known` fixes the usage and reference data that this close sees. A close that was interrupted is
  finished first, with what it had pinned.
* `rate_teams` turns usage into charged units, carry-over and draws, a group of shards a task.
* `ask_for_approval` finds whether a person is asked first, as `[approval]` of `billing.toml` says: always, or where a
  total is above its bound or an invoice far from what is usual. `approval` then waits, without a slot, for an answer in
  the form under *Required Actions*; it is skipped where nobody is asked. `take_answer` writes who answered into the
  books; teams that are left out are parked. Without an answer in time the run ends red, nothing is issued, and the next
  run asks again. One run is active at a time, so that no other close begins meanwhile.
* `issue_invoices` gives numbers without gap, in one transaction; a second run finds it done.
* `check_ledger` looks for rows that break a law of the books (`sql/checks`), over the whole ledger. It ends the run red
  and names them; nobody can accept that. What was checked is under *Checks* on the run's page.
* `render_documents` makes the PDFs with their XML, in batches. One that fails stops no other and keeps its number.
* `collect_payments` charges what was issued to the stored payment methods (rule 6.5). What is declined is tried again
  by `payment_collection`, and turns nothing red here.
* `summarise` puts the run on one page for finance, a PDF that is kept (`billing cycles summary N --out FILE`).
* `deliver` sends the mails of what was issued and copies the documents, where `billing.toml` has `[mail]` or `[files]`;
  it ends red where a document is missing. `delivery` goes on with what is tried again.
* `report` names what waits for usage, and ends the run red if a team is parked.

How a run ended is told by every notifier of Airflow that `[[notify]]` in `billing.toml` names.

Run it again, or clear any task, at any time: the outcome is the same. To close as of an earlier instant than now,
give it in the form; an instant before the last close is refused.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, TriggerRule, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

import notified
from approving import ASK, DO_NOT_ASK, CloseApproval, answer_form, approval_param, question_for, take
from collecting import collect_due
from observed import count, done_within, gauge, lineage
from wiring import COMMON, home_and_settings, instant_of, instant_param, run_instant, run_name

DOCUMENTS_AT_ONCE = 200


@dag(
    schedule=CronTriggerTimetable("15 * * * *", timezone="UTC"),
    doc_md=__doc__,
    deadline=done_within(timedelta(hours=1)),
    on_success_callback=notified.on_success,
    on_failure_callback=notified.on_failure,
    params={
        "as_of": instant_param(
            "As of", "Close what is due at this instant. Empty: when the run was due. Never in the future."
        ),
        "groups": Param(
            2,
            type="integer",
            minimum=1,
            maximum=64,
            title="Groups",
            description_md="Rate in at least so many parallel tasks.",
        ),
        "approval": approval_param(),
    },
    **COMMON,
)
def cycle_close() -> None:
    @task
    def pin_what_is_known() -> dict[str, object]:
        from datetime import UTC, datetime

        from billing.steps.close import earliest_as_of, open_close

        context = get_current_context()
        given = instant_of(context["params"]["as_of"])
        if given is not None and given > datetime.now(UTC):
            raise AirflowFailException(f"{given} is in the future; nothing is closed before it is over.")
        with home_and_settings() as (home, settings):
            # A run that was due while another waited for its approval comes after what that issued.
            as_of = given or max(run_instant(context), earliest_as_of(home) or run_instant(context))
            policy = settings.approval.policy
            wanted = policy.asked() if context["params"]["approval"] == ASK else policy
            close_no, waiting = open_close(home, as_of, approval=wanted)
        awaited = [str(source) for source in waiting.awaited]
        return {
            "close_no": close_no,
            "waiting": waiting.cycles,
            "awaited": awaited,
            "complete_through": str(waiting.complete_through),
        }

    @task
    def share_out_teams(close: dict[str, object]) -> list[list[int]]:
        from billing.steps.close import pending_shards

        with home_and_settings() as (home, _):
            return pending_shards(home, int(str(close["close_no"])), at_least=get_current_context()["params"]["groups"])

    @task(map_index_template="shards {{ task.op_kwargs['shards'] | join(', ') }}")
    def rate_teams(close: dict[str, object], shards: list[int]) -> int:
        from billing.steps.close import rate_shards

        with home_and_settings() as (home, _):
            cycles = rate_shards(home, int(str(close["close_no"])), shards)
        lineage(["usage", "reference"], ["ledger"])
        count("cycles.closed", cycles)
        return cycles

    @task(trigger_rule=TriggerRule.NONE_FAILED)
    def ask_for_approval(close: dict[str, object]) -> dict[str, object]:
        from billing.steps.approval import ask

        with home_and_settings() as (home, settings):
            proposal = ask(home, int(str(close["close_no"])))
            if proposal is None:
                return {}
            if get_current_context()["params"]["approval"] == DO_NOT_ASK:
                raise AirflowFailException(
                    f"Close {proposal.close_no} is not to be asked for, and must be: {'; '.join(proposal.asked_why)}. "
                    "Nothing is issued; the next run asks."
                )
            gauge("approval.invoices", len(proposal.invoices))
            return question_for(settings, proposal)

    @task
    def take_answer(asked: dict[str, object], answer: dict[str, object]) -> str:
        with home_and_settings() as (home, settings):
            return take(home, settings, asked, answer)

    @task(trigger_rule=TriggerRule.NONE_FAILED)
    def issue_invoices(close: dict[str, object]) -> int:
        from billing.steps.close import issue

        with home_and_settings() as (home, _):
            issued = len(issue(home, int(str(close["close_no"]))))
        lineage(["ledger", "reference"], ["invoices"])
        count("invoices.issued", issued)
        return issued

    @task
    def check_ledger(close: dict[str, object], issued: int) -> int:
        from billing.steps.ledger_checks import check_ledger as check

        with home_and_settings() as (home, settings):
            number, run = int(str(close["close_no"])), run_name(get_current_context())
            return check(home, settings.sql / "checks", close_no=number, run=run)

    @task
    def batches_of_documents(issued: int) -> list[list[str]]:
        from billing.steps.render import unrendered

        with home_and_settings() as (home, _):
            numbers = unrendered(home)
        return [numbers[low : low + DOCUMENTS_AT_ONCE] for low in range(0, len(numbers), DOCUMENTS_AT_ONCE)]

    @task(map_index_template="{{ task.op_kwargs['numbers'][0] }} and on")
    def render_documents(numbers: list[str]) -> int:
        from billing.steps.render import render

        with home_and_settings() as (home, settings):
            done = render(home, numbers, settings.templates, theme=settings.theme)
        lineage(["invoices"], ["documents"])
        count("documents.rendered", len(done.rendered))
        if done.failed:
            problems = "\n".join(f"{number}: {problem}" for number, problem in done.failed)
            raise AirflowFailException(f"{len(done.failed)} invoices are issued but have no document yet:\n{problems}")
        return len(done.rendered)

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def collect_payments(issued: int) -> int:
        from datetime import UTC, datetime

        done = collect_due(datetime.now(UTC))
        print("\n".join(done.stuck))
        return done.paid

    @task
    def summarise(close: dict[str, object], issued: int) -> str:
        from billing.steps.run_summary import has_page, in_words, render_summary, run_summary

        close_no = int(str(close["close_no"]))
        with home_and_settings() as (home, settings):
            if not has_page(home, close_no):
                return "nothing to tell: there are no reference data yet"
            found = run_summary(home, close_no)
            kept = render_summary(home, found, settings.templates, settings.theme)
        print("\n".join(in_words(found)))
        return f"{kept.number}: {kept.sha256}"

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def deliver(close: dict[str, object]) -> None:
        from delivering import deliver_close

        deliver_close(int(str(close["close_no"])))

    @task
    def report(close: dict[str, object], issued: int) -> None:
        from billing.core.instants import format_us
        from billing.steps.close import parked_teams

        print(f"{issued} invoices issued; usage is complete through {close['complete_through']}.")
        print(f"{close['waiting']} cycles are over and wait for usage.")
        for source in close["awaited"]:  # type: ignore[attr-defined]
            print(f"waits for {source}")
        with home_and_settings() as (home, _):
            parked = parked_teams(home)
        gauge("cycles.parked", len(parked))
        gauge("cycles.waiting", int(str(close["waiting"])))
        if parked:
            listed = "\n".join(
                f"team {p.team_id}, cycle of {format_us(p.cycle_start_us)}: {p.described}" for p in parked
            )
            raise AirflowFailException(f"{len(parked)} teams are parked; all others are billed:\n{listed}")

    close = pin_what_is_known()
    rated = rate_teams.partial(close=close).expand(shards=share_out_teams(close))
    asked = ask_for_approval(close)
    approval = CloseApproval(task_id="approval", asked=asked, params=answer_form())
    answered = take_answer(asked, approval.output)
    issued = issue_invoices(close)
    rated >> asked >> approval >> answered >> issued
    check_ledger(close, issued)
    rendered = render_documents.expand(numbers=batches_of_documents(issued))
    collected = collect_payments(issued)
    rendered >> collected
    [rendered, collected, summarise(close, issued)] >> deliver(close)
    report(close, issued)


cycle_close()
