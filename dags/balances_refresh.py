"""Rate open cycles again where there is new usage, so that balances are told at once; add it to usage by day.

After each ten minutes of usage this run looks which teams used anything, were closed, or hold something else now,
and rates those provisionally: from the end of their last closed cycle to the last event. Nothing is billed by it, and
nothing that is closed changes. A run that was missed is made up by the next; without one, balances are still right, and
only slower to tell. By hand: `billing cycles refresh`.

Usage by day, as it is shown for 24 months, gets what the new batches brought (by hand: `billing usage days`). What
arrived at a source is shown so within 30 minutes: it is ingested every ten, and this run follows four minutes later.

*From scratch* rates every team, whatever was kept: the result is the same, or what was kept was wrong.
"""

# mypy: allow-untyped-decorators
from __future__ import annotations

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task

from observed import done_within, gauge
from wiring import COMMON, home_and_settings


@dag(
    schedule=CronTriggerTimetable("4/10 * * * *", timezone="UTC"),
    doc_md=__doc__,
    deadline=done_within(timedelta(minutes=15)),
    params={
        "from_scratch": Param(
            False,
            type="boolean",
            title="From scratch",
            description_md="Rate every team again, also those without new usage; derive all usage by day again.",
        ),
    },
    **COMMON,
)
def balances_refresh() -> None:
    @task
    def rate_open_cycles() -> dict[str, int]:
        from billing.steps.open_ratings import refresh_open

        with home_and_settings() as (home, _):
            done = refresh_open(home, from_scratch=get_current_context()["params"]["from_scratch"])
        gauge("open.teams", done.teams)
        gauge("open.teams_rated", done.rated)
        return {"teams": done.teams, "rated": done.rated, "through_batch": done.through_batch}

    @task
    def refresh_usage_by_day() -> dict[str, int]:
        from datetime import UTC, datetime

        from billing.steps.usage_views import refresh_views

        with home_and_settings() as (home, _):
            rebuild = get_current_context()["params"]["from_scratch"]
            done = refresh_views(home, datetime.now(UTC), rebuild=rebuild)
        return {"rows": done.rows, "forgotten": done.forgotten, "through_batch": done.through_batch}

    rate_open_cycles()
    refresh_usage_by_day()


balances_refresh()
