"""Take quarantined usage again, once the cause was mended: an app that had no owner, an API that was not known, a
subscription that came later than its usage.

Run it from its form: it has no schedule. Say which records by reason, batch, event ids, source, app or API; all that
you fill in must hold. **Dry run** is on unless you switch it off: the task then prints what would happen, by the reason
why records are in quarantine and their outcome now, and changes nothing.

Switched off, the records whose outcome has changed become a batch of their own, judged by the reference data of now.
What would be quarantined for the same reason again stays where it is, so that a run that is repeated changes nothing
more. Usage of a cycle that is closed is late usage: it is on the next invoice. What is in quarantine, record by record,
is told by `billing usage quarantine list`, `count` and `show`.
"""

# mypy: allow-untyped-decorators
from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Param, dag, get_current_context, task

from observed import count, done_within, lineage
from wiring import COMMON, home_and_settings, instant_of, instant_param, run_instant, run_name

REASONS = (
    "unreadable",
    "missing_event_id",
    "bad_occurred_at",
    "unknown_api",
    "bad_quantity",
    "occurred_in_future",
    "conflicting_duplicate",
    "bad_correction",
    "unattributed_app",
    "no_subscription",
)

FILTERS = {"reason": "reasons", "batch": "batches", "source": "sources", "app": "apps", "api": "apis"}


def _text(title: str, description: str) -> Param:
    return Param(None, type=["null", "string"], title=title, description_md=description)


@dag(
    schedule=None,
    doc_md=__doc__,
    deadline=done_within(timedelta(hours=1)),
    params={
        "dry_run": Param(
            True, type="boolean", title="Dry run", description_md="Say what would happen, and change nothing."
        ),
        "reason": Param(
            None,
            type=["null", "string"],
            enum=[None, *REASONS],
            title="Reason",
            description_md="Only records that are in quarantine for this reason.",
        ),
        "batch": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Batch",
            description_md="Only records that this batch put into quarantine.",
        ),
        "ids": Param(
            None,
            type=["null", "array"],
            items={"type": "string"},
            title="Event ids",
            description_md="Only these, one a line, exactly as they were delivered.",
        ),
        "source": _text("Source", "Only what this source delivered."),
        "app": _text("App", "Only usage of this app."),
        "api": _text("API", "Only usage of this API."),
        "everything": Param(
            False,
            type="boolean",
            title="Everything",
            description_md="All that waits, where nothing above says which. A dry run needs no choice.",
        ),
        "now": instant_param("Now", "What occurred after this instant is in the future. Empty: when the run was due."),
    },
    **COMMON,
)
def quarantine_replay() -> None:
    @task
    def replay_quarantine() -> dict[str, object]:
        from billing.steps.inspection import Inspection
        from billing.steps.quarantine import select_records
        from billing.steps.replay import demand_a_choice, foresee, outcome_lines, replay

        context = get_current_context()
        params = context["params"]
        asked = {plural: [params[name]] for name, plural in FILTERS.items() if params[name]}
        now = instant_of(params["now"]) or run_instant(context)
        with home_and_settings() as (home, settings):
            chosen = select_records(**asked, ids=params["ids"] or [])
            if params["dry_run"]:
                foreseen = foresee(home, chosen, now)
                print("\n".join([f"{len(foreseen.chosen)} records; if replayed:", *outcome_lines(foreseen.outcomes())]))
                return {"dry_run": True, "selected": len(foreseen.chosen), "would_change": len(foreseen.changes)}
            demand_a_choice(chosen, params["everything"])
            inspection = Inspection.of(settings.expectations, run=run_name(context), compares=False)
            done = replay(home, chosen, now, inspector=inspection)
        print("\n".join([str(done), *outcome_lines(done.outcomes)]))
        count("usage.replayed", done.selected)
        lineage(["quarantine", "reference"], ["usage", "quarantine"])
        counts = ("selected", "accepted", "duplicates", "quarantined", "stayed")
        return {"dry_run": False, "batch": done.batch_no} | {name: getattr(done, name) for name in counts}

    replay_quarantine()


quarantine_replay()
