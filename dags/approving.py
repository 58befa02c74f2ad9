"""The person in `cycle_close`: asked by Airflow's own form, before a close issues its invoices.

What is asked comes from the task before as a value, and is never rendered as a template: names in it are only text.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from wiring import home_and_settings

APPROVE, REJECT_ALL = "Approve", "Reject all"
AS_CONFIGURED, ASK, DO_NOT_ASK = "as configured", "ask", "do not ask"


def approval_param() -> Param:
    """Whether a run asks, in its form. What the settings demand cannot be switched off there."""
    return Param(
        AS_CONFIGURED,
        type="string",
        enum=[AS_CONFIGURED, ASK, DO_NOT_ASK],
        title="Approval",
        description_md="Ask a person before anything is issued: as `[approval]` of `billing.toml` says, or always. "
        "*Do not ask* ends red, with nothing issued, where the settings demand that somebody is asked.",
    )


def answer_form() -> dict[str, Param]:
    """What is asked beside the two options."""
    return {
        "left_out": Param(
            "",
            type=["null", "string"],
            format="multiline",
            title="Leave out, a line each: TEAM = REASON",
            description_md="Teams that are not billed now, a line each: `TEAM = REASON`. They are parked.",
        ),
        "reason": Param(
            "",
            type=["null", "string"],
            title="Reason to reject all, or a comment",
            description_md="Needed to reject all; kept with an approval as its comment.",
        ),
    }


class CloseApproval(HITLOperator):  # type: ignore[misc]  # Airflow is not typed for mypy here
    """Waits for a person, without a slot, until one answers or the time is up. Skipped where nobody is asked.

    ``asked`` is what ``ask_for_approval`` returns: empty, or who is asked what, and for how long.
    """

    template_fields: Collection[str] = ("asked",)

    def __init__(self, *, asked: Any, **kwargs: Any) -> None:
        super().__init__(subject="Issue invoices?", options=[APPROVE, REJECT_ALL], **kwargs)
        self.asked = asked

    def execute(self, context: Any) -> Any:
        if not self.asked:
            raise AirflowSkipException("Nobody is asked for this close.")
        self.subject, self.body = self.asked["subject"], self.asked["body"]
        self.assigned_users = [{"id": user, "name": user} for user in self.asked["approvers"]] or None
        self.response_timeout = timedelta(seconds=self.asked["within_s"])
        self.notifiers = [self._tell] if self.asked["mail"] else []
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        if event.get("error_type") != "timeout":
            return super().execute_complete(context, event)
        from billing.steps.approval import answer_for

        close_no = self.asked["close_no"]
        with home_and_settings() as (home, _):
            elsewhere = answer_for(home, close_no)
        if elsewhere is None:  # not tried again: that would ask, and wait, as long once more
            hours = self.asked["within_s"] / 3600
            raise AirflowFailException(
                f"Nobody answered for close {close_no} within {hours:g} hours. Nothing is issued; the close stays "
                "rated, and the next run asks again."
            )
        return {"chosen_options": [], "params_input": {}, "answered_by": elsewhere.approved_by}

    def _tell(self, context: Any) -> None:
        """Mail that a close waits, by Airflow's connection ``smtp_default``. Without it the page still asks."""
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        link = self.generate_link_to_ui_from_context(context=context)
        text = f'<p>{self.asked["in_short"]}</p><p>Look at it and answer: <a href="{link}">{link}</a></p>'
        try:
            SmtpNotifier(to=self.asked["mail"], subject=self.asked["subject"], html_content=text).notify(context)
        except Exception as error:
            self.log.warning("No mail was sent to %s: %s", self.asked["mail"], error)


def question_for(settings: Any, proposal: Any) -> dict[str, Any]:
    """Who is asked what, and for how long, for ``CloseApproval``."""
    from billing.steps.approval import question

    approval = settings.approval
    return {
        **question(proposal),
        "close_no": proposal.close_no,
        "approvers": list(approval.approvers),
        "within_s": approval.within.total_seconds(),
        "mail": approval.mail,
    }


def take(home: Any, settings: Any, asked: dict[str, Any], answer: dict[str, Any]) -> str:
    """Write a person's answer into the books; what it was, in words."""
    from billing.steps.approval import approve, parse_rejected, reject_all

    if not answer["chosen_options"]:
        return f"answered elsewhere by {answer['answered_by']}"
    by, form = _answered_by(settings, answer), answer["params_input"]
    at, reason = answer["responded_at"], form.get("reason") or ""
    at = at if isinstance(at, datetime) else datetime.fromisoformat(at)
    close_no, seen = int(asked["close_no"]), asked["seen"]
    if answer["chosen_options"] == [REJECT_ALL]:
        done = reject_all(home, close_no, reason=reason, by=by, at=at, seen=seen)
    else:
        left_out = parse_rejected(home, close_no, (form.get("left_out") or "").splitlines())
        done = approve(home, close_no, by=by, at=at, rejected=left_out, comment=reason, seen=seen)
    rejected = ", ".join(list(done.answer.rejected)[:20]) or "nobody"
    return f"answered by {done.answer.approved_by}: {len(done.answer.rejected)} teams left out ({rejected})"


def _answered_by(settings: Any, answer: dict[str, Any]) -> str:
    """Who it was, by id; Airflow has asked whether that is an approver, and it is asked once more."""
    user = answer.get("responded_by_user") or {}
    who = str(user.get("id", ""))
    if not who or (settings.approval.approvers and who not in settings.approval.approvers):
        raise AirflowFailException(f"{who or 'Nobody known'} answered, and is no approver by billing.toml.")
    return who if user.get("name") in (None, who) else f"{user['name']} ({who})"
